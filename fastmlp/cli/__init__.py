"""The command line, a file for each subcommand; `main.py` chooses among them, and says how they end."""
