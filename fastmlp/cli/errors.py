"""How a subcommand ends that cannot do what it was asked for: by a line on stderr and an exit status."""


class CommandError(Exception):
    """What a subcommand was asked for cannot be done; the message is for its user."""

    status = 1


class BadInput(CommandError):
    """The options, a table or a model are not as they must be."""

    status = 2
