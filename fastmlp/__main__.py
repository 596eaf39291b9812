"""The command line: `fastmlp`, or `python -m fastmlp`."""

import sys

from fastmlp.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
