"""A mark of source files, by which code that was compiled from others is known to be stale."""

from pathlib import Path


def stamp(*folders: str) -> tuple:
    """Return a mark of all source in these folders of the package: name, time and size of each file."""
    package = Path(__file__).parent
    files = sorted(file for folder in folders for file in (package / folder).glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)
