"""Writing of files that are whole at any time."""

import os
import shutil
from contextlib import suppress
from uuid import uuid4


def replace_file(path: str | os.PathLike, content: bytes) -> None:
    """Write a file such that there is always a whole one: the last, or from one moment on the new one.

    The content goes to a new file in the same folder and to the disk before that takes the place of the old one. So
    neither an error nor a crash leaves half a file, and whoever reads while it is written sees the last one.

    Parameters
    ----------
    path : str or os.PathLike
        The file; one that is there is replaced, and keeps its permissions. A link stays, and what it names is replaced.
    content : bytes
        What to write.

    Raises
    ------
    OSError
        If it cannot be written. What was there is as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastmlp.files import replace_file
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "some.txt")
    ...     for content in (b"old", b"new"):
    ...         replace_file(path, content)
    ...     path.read_bytes(), len(list(path.parent.iterdir()))
    (b'new', 1)
    """
    path = os.path.realpath(path)
    folder, name = os.path.split(path)
    new = os.path.join(folder, f".{name[:100]}.{uuid4().hex}.new")
    try:
        with open(new, "xb") as file:  # not by tempfile, whose files nobody else may read
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(path):
            shutil.copymode(path, new)
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(new)
        raise
    if os.name == "posix":  # the new name is on the disk when the folder is
        with suppress(OSError):  # some file systems have no such thing
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
