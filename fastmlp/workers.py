"""Threads that take tasks by rank."""

import heapq
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from fastmlp.cpu.threads import limit_threads
from fastmlp.futures import complete


class Workers:
    """Threads that take the task of lowest rank first.

    Parameters
    ----------
    n_workers : int
        How many tasks run at once.
    n_threads : int
        How many threads they may use together.
    """

    def __init__(self, n_workers: int, n_threads: int):
        self._share = max(1, n_threads // n_workers)
        self._tasks, self._count = [], itertools.count()
        self._ready = threading.Condition()
        self._ended = False
        self._threads = [threading.Thread(target=self._live, daemon=True) for _ in range(n_workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, task: Callable[[], Any], rank: Any) -> Future:
        """Let a task be done, before those of higher rank that have not begun; return what will have its result."""
        future = Future()
        with self._ready:
            heapq.heappush(self._tasks, (rank, next(self._count), task, future))
            self._ready.notify()
        return future

    def _live(self):
        with limit_threads(self._share):
            while True:
                with self._ready:
                    self._ready.wait_for(lambda: self._tasks or self._ended)
                    if not self._tasks:
                        return
                    *_, task, future = heapq.heappop(self._tasks)
                if future.set_running_or_notify_cancel():
                    complete(future, task)
                del task, future

    def close(self, cancel: bool = False) -> None:
        """End the threads when all tasks are done, or with those that are running."""
        with self._ready:
            self._ended = True
            tasks = self._tasks[:] if cancel else []
            if cancel:
                self._tasks.clear()
            self._ready.notify_all()
        for *_, future in tasks:
            future.cancel()
        for thread in self._threads:
            thread.join()
