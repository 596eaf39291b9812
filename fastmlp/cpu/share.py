"""Rows shared out among threads that sleep between predictions."""

import os
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from math import isqrt

from fastmlp.cpu.target import ROWS

WAKE_PRODUCTS = 2_500_000  # multiply-adds of a thread in the time in which it wakes another one, and that begins
LATE_PRODUCTS = 1_500_000  # and in the time between the beginnings of both
PIECE_PRODUCTS = 20_000_000  # of a piece that is worth its call
PIECES_PER_THREAD = 8
STAY_SECONDS = 0.2  # how long a helper waits for the next task: one that sleeps begins in half of a new one's time
_idle: list["_Helper"] = []  # the last one is the last that was busy; to add and to take one is atomic


class _Task:
    """What a helper is asked to do, unless it comes too late. A `Future` would take microseconds longer."""

    def __init__(self, run: Callable[[], None]):
        self._run, self.error = run, None
        self._begun, self._done = allocate_lock(), allocate_lock()
        self._done.acquire()

    def __call__(self) -> None:
        if self._begun.acquire(blocking=False):
            try:
                self._run()
            except BaseException as error:
                self.error = error
            finally:
                self._done.release()

    def end(self) -> None:
        """Wait for who has begun it; else let nobody begin any more."""
        if not self._begun.acquire(blocking=False):
            self._done.acquire()


class _Helper:
    """A thread that runs a task, and others if they come soon."""

    def __init__(self, task: _Task):
        self._task: _Task | None = task
        self._call = allocate_lock()
        self._call.acquire()
        start_new_thread(self._live, ())

    def run(self, task: _Task | None) -> None:
        """Run a task, or end; for who has taken the helper from `_idle`."""
        self._task = task
        self._call.release()

    def _live(self):
        while self._task is not None:
            self._task()
            self._task = None  # it holds rows and parameters
            _idle.append(self)
            if not self._call.acquire(timeout=STAY_SECONDS):
                try:
                    _idle.remove(self)
                except ValueError:  # somebody has taken it just now
                    self._call.acquire()


def _end_idle() -> None:
    """End the helpers that sleep, before a fork: from Python 3.12 on it warns of a process that has other threads then.

    One that goes to sleep just after that is not in the process that was forked, and comes too late for a task there.
    """
    if _idle:
        with suppress(IndexError):  # one has just ended
            while True:
                _idle.pop().run(None)
        time.sleep(0.001)  # in which they end


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_end_idle)


def _help_with(task):
    try:
        _idle.pop().run(task)
    except IndexError:
        _Helper(task)


def threads_worth(products: int) -> int:
    """Return how many threads take the least time for so many multiply-adds: that of their share, and to wake them."""
    return max(1, isqrt(products // WAKE_PRODUCTS))


def pieces_of(n_rows: int, row_products: int, n_threads: int) -> list[tuple[int, int]]:
    """Return the (first, last) rows of the pieces that so many threads take, of whole tiles but for the last one.

    The first one is larger, by what its thread computes until the others begin. So it is not the first that is ready,
    and need not go to sleep.
    """
    if n_threads == 1:
        return [(0, n_rows)]
    count = n_threads * max(1, min(PIECES_PER_THREAD, n_rows * row_products // (PIECE_PRODUCTS * n_threads)))
    more = LATE_PRODUCTS // row_products
    edges = [0, *(-(-(more + (n_rows - more) * i // count) // ROWS) * ROWS for i in range(1, count)), n_rows]
    return [(first, min(last, n_rows)) for first, last in pairwise(edges) if first < min(last, n_rows)]


def share_rows(prepare: Callable[[], tuple[Callable, list[tuple[int, int]]]], n_threads: int) -> None:
    """Run part(thread, first row, last row)() for all pieces in so many threads, this one being number 0.

    Each takes a piece when it is ready. Who has not begun when none is left is not waited for: on a busy machine that
    may take longer than all the rows.

    prepare: returns (part, pieces). Meanwhile the other threads wake, and stand ready when this one enters its first
    kernel and lets them run Python. Where it does so before, they go to sleep again.
    """
    unprepared, left, part = allocate_lock(), iter(()), None
    unprepared.acquire()

    def take(thread):
        for first, last in left:  # to take the next one is atomic
            part(thread, first, last)()

    def help_with(thread):
        with unprepared:
            pass
        take(thread)

    tasks = [_Task(partial(help_with, thread)) for thread in range(1, n_threads)]
    try:
        try:
            with suppress(RuntimeError):  # the system has no thread for it
                for task in tasks:
                    _help_with(task)
            part, pieces = prepare()
            others = iter(pieces)
            begin = part(0, *next(others))
            left = others
        finally:
            unprepared.release()
        begin()
        take(0)
    finally:
        for task in tasks:
            task.end()
    for task in tasks:
        if task.error is not None:
            raise task.error
