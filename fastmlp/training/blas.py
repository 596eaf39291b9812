"""One thread for a BLAS that has next to nothing to do."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_users = 0
_limit: Any = None


@functools.cache
def _controller() -> ThreadpoolController:
    """Look for the libraries, once in a process: it takes milliseconds."""
    return ThreadpoolController()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the BLAS of this process to one thread until the last of those who want that is done.

    Its threads wait for each other in loops. Where other processes have the cores, too, that takes longer than what
    there is to compute; and how many threads add up a sum decides its last bits.
    """
    global _users, _limit
    with _lock:
        _users += 1
        if _users == 1:
            _limit = _controller().limit(limits=1, user_api="blas")
    try:
        yield
    finally:
        with _lock:
            _users = max(0, _users - 1)  # 0 already where this thread itself was forked
            if _users == 0:
                _limit.restore_original_limits()


def _begin_anew() -> None:
    """Forget the users of other threads, none of which is in a process that was forked, while one may have the lock."""
    global _lock, _users
    if _users > 0 and _limit is not None:
        _limit.restore_original_limits()
    _lock, _users = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
