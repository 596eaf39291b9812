"""Compiled code on disk: what is spoilt there is compiled anew, and what cannot be written is not kept."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache
from numba.core.serialize import dumps

from fastmlp.files import replace_file

_HASH_BYTES = 32
_warned = False


class _Files:
    """A file for each signature, which begins with a hash of all that it depends on, and of what follows.

    Machine code with a wrong bit, or of another signature, would end the process. And Numba's own files are named in an
    index, which may be newer than they are, or spoilt itself.
    """

    def __init__(self, folder: str, name: str, stamp: tuple):
        self._folder, self._name, self._depends_on = Path(folder), name, (numba.__version__, stamp)

    def _path(self, key):
        return self._folder / f"{self._name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.nbc"

    def _hash(self, key, content):
        # the text of all of this is the same in each process
        return hashlib.sha256(repr((self._depends_on, key)).encode() + content).digest()

    def load(self, key: tuple) -> Any:
        content = self._path(key).read_bytes()
        if content[:_HASH_BYTES] == self._hash(key, content[_HASH_BYTES:]):
            return pickle.loads(content[_HASH_BYTES:])
        return None

    def save(self, key: tuple, data: Any) -> None:
        content = dumps(data)
        replace_file(self._path(key), self._hash(key, content) + content)


class Cache(FunctionCache):
    """Numba's, for a function whose code depends on all files with this stamp; a fault of the disk is no error.

    Raises
    ------
    RuntimeError
        If there is no place to write to.
    """

    def __init__(self, function: Callable, stamp: tuple):
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for a signature; None, for which it is compiled, if there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # as of a file that is not there, or that somebody may not read
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep the code for a signature; warn, once in a process, if it cannot be."""
        global _warned
        try:
            super().save_overload(sig, data)
        except OSError as error:
            if not _warned:
                _warned = True
                warnings.warn(
                    f"Compiled code cannot be kept in {self._cache_path}, so that each process has to compile it: "
                    f"{error}. NUMBA_CACHE_DIR names another folder.",
                    RuntimeWarning,
                    stacklevel=2,
                )
