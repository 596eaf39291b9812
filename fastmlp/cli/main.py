"""Choose the subcommand; turn what it raises into a line on stderr and an exit status."""

import argparse
import os
import sys
from collections.abc import Sequence

from fastmlp import __version__
from fastmlp.cli import demo, example, info, predict, train, warmup
from fastmlp.cli.errors import CommandError

COMMANDS = {"train": train, "predict": predict, "info": info, "warmup": warmup, "example": example, "demo": demo}
STATUSES = "exit status: 0 all is well, 1 it failed, 2 the options or the input are wrong, 130 interrupted"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of all subcommands."""
    parser = argparse.ArgumentParser(
        prog="fastmlp", description="Multilayer perceptrons for tables. Without a command: the demo.", epilog=STATUSES
    )
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        first_line = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=first_line, description=first_line, epilog=STATUSES)
        module.add_arguments(command)
        command.set_defaults(run=module.run, command=name)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Parameters
    ----------
    arguments : sequence of str or None, default=None
        What follows the program's name; None: that of this process. Without a subcommand it is the demo.

    Returns
    -------
    int
        The exit status: 0; 1 for a failure, such as an extra that is not installed; 2 for options or input that are
        wrong; 130 for an interruption.

    Raises
    ------
    SystemExit
        By the parser: with 0 after `--help`, with 2 if the options are wrong.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or (arguments[0].startswith("-") and arguments[0] not in ("-h", "--help", "--version")):
        arguments.insert(0, "demo")
    options = make_parser().parse_args(arguments)
    try:
        status = options.run(options)
        sys.stdout.flush()
    except CommandError as error:
        return _fail(options.command, error, error.status)
    except ImportError as error:  # an extra is not there: the message says which
        return _fail(options.command, error, 1)
    except KeyboardInterrupt:
        return _fail(options.command, "interrupted", 130)
    except BrokenPipeError:  # who read stdout has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _fail(command: str, error: object, status: int) -> int:
    print(f"fastmlp {command}: {error}", file=sys.stderr)
    return status
