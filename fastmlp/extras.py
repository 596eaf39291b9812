"""Packages that only some features need, imported where they are used."""

from importlib import import_module
from types import ModuleType


def import_extra(module: str, extra: str, user: str) -> ModuleType:
    """Return a module that an extra brings.

    Parameters
    ----------
    module : str
        What to import.
    extra : str
        Which extra of fastmlp has it.
    user : str
        What needs it, for the error.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If it is not installed, or cannot be imported.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(missing_extra(extra, user, error)) from error


def missing_extra(extra: str, user: str, error: object) -> str:
    """Return what to say where an extra is not installed."""
    return f"{user} needs the extra {extra!r}, which is not installed: pip install 'fastmlp[{extra}]' ({error})."
