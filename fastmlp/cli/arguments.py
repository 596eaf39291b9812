"""What options of several subcommands have in common."""

import argparse
import difflib
from collections.abc import Iterable, Sequence

from fastmlp.cli.errors import BadInput


def positive(text: str) -> int:
    """Return the integer that an option gives, which must be at least 1."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return value


def widths(text: str) -> tuple[int, ...]:
    """Return the widths of hidden layers: integers with commas between them."""
    return tuple(positive(part.strip()) for part in text.split(","))


def closest(name: str, names: Iterable[str]) -> str:
    """Return the end of a message about a name that is not there: the one that is meant, perhaps, and all."""
    names = list(names)
    folded = {other.casefold(): other for other in names}
    close = difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=0.6)
    guess = f"did you mean {folded[close[0]]!r}? " if close else ""
    shown = ", ".join(names[:30]) + (f" and {len(names) - 30} more" if len(names) > 30 else "")
    return f"{guess}there {'are ' + shown if names else 'is none'}"


def names_of(texts: Sequence[str], option: str, columns: Sequence[str]) -> list[str]:
    """Return the columns that an option names, once or more often, with commas between them.

    Raises
    ------
    BadInput
        If the table has not got one of them.
    """
    names = []
    for text in texts:
        names += [text] if text in columns else [part.strip() for part in text.split(",") if part.strip()]
    for name in names:
        if name not in columns:
            raise BadInput(f"{option}: the table has no column {name!r}; {closest(name, columns)}")
    return names
