"""Compiled code on disk: what is spoilt there is compiled anew, and what cannot be written is not kept."""

import hashlib
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile

_HASH_BYTES = 32
_warned = False


def _hash(key: tuple, content: bytes) -> bytes:
    return hashlib.sha256(repr(key).encode() + content).digest()


class _Files(IndexDataCacheFile):
    """Files that begin with a hash: machine code with a wrong bit, or of another signature, would end the process."""

    def load(self, key: tuple) -> Any:
        name = self._load_index().get(key)
        if name is None:
            return None
        content = Path(self._data_path(name)).read_bytes()
        if content[:_HASH_BYTES] != _hash(key, content[_HASH_BYTES:]):
            return None
        return pickle.loads(content[_HASH_BYTES:])

    def save(self, key: tuple, data: Any) -> None:
        content = self._dump(data)
        super().save(key, _hash(key, content) + content)

    def _save_data(self, name: str, data: bytes) -> None:
        with self._open_for_write(self._data_path(name)) as file:
            file.write(data)

    def _load_index(self) -> dict[tuple, str]:
        try:
            return super()._load_index()
        except Exception:  # of a file that is not whole it may be any
            return {}


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
        except Exception:  # as of a file that somebody may not read, or of one that another release has written
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
