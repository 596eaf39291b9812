"""Rows shared out among threads that sleep between predictions."""

import os
import time
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from itertools import pairwise
from math import inf, isqrt

import numpy as np

from fastmlp.cpu.atomic import atomic_load, pause
from fastmlp.cpu.compile import entry
from fastmlp.cpu.target import ROWS

WAKE_PRODUCTS = 2_500_000  # multiply-adds of a thread in the time in which it wakes another one, and that begins
LOOK_PRODUCTS = 1_000_000  # or calls one that looks for its task, as it does where predictions follow one another soon
LATE_PRODUCTS = 1_000_000  # and in the time between the beginnings of both
PIECE_PRODUCTS = 20_000_000  # of a piece that is worth its call
PIECES_PER_THREAD = 8
STAY_SECONDS = 0.2  # how long a helper waits for the next task: one that sleeps begins in half of a new one's time
SOON_SECONDS = 0.000125  # after the end of a prediction: one that begins by then comes to its kernel while helpers look
LOOK_SECONDS = 0.00025  # how long helpers look for the next prediction before they sleep
SOON_IN_A_ROW = 4  # after so many that began soon the next one is expected to
CALLS = np.zeros(8, np.int64)  # a line of the cache; the first number counts the calls to helpers that look
NO_CALLS = np.empty(0, np.int64)
_idle: list["_Helper"] = []  # the last one is the last that was busy; to add and to take one is atomic


@entry
def look(calls, seen, looks):
    """Wait until calls[0] is no longer `seen`, for so many looks at most."""
    while looks > 0 and atomic_load(calls, 0) == seen:
        pause()
        looks -= 1


@cache
def most_looks() -> int:
    """Return how many looks take LOOK_SECONDS: a pause takes 1 to 50 ns, as the machine has it."""
    never, seconds = np.zeros(1, np.int64), []
    for _ in range(5):
        begin = time.perf_counter()
        look(never, 0, 200)
        seconds.append(time.perf_counter() - begin)
    return int(LOOK_SECONDS / min(seconds) * 200)


class _Task:
    """What a helper is asked to do, unless it comes too late. A `Future` would take microseconds longer.

    soon: whether the helper shall look for another one then.
    """

    def __init__(self, run: Callable[[], None], soon: bool = False):
        self._run, self.soon, self.error = run, soon, None
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
    """A thread that runs a task, and others if they come soon.

    To wake takes 10 to 60 us, and the same again if another thread runs Python then. So where tasks follow one another
    soon a helper looks for the next one in a kernel, until who has the task enters his own. Only the lock says that
    there is one: a call to others, or none in time, costs nothing but time.
    """

    def __init__(self, task: _Task):
        most_looks()  # compiles `look`: not in the other thread, which might do so while the process forks
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
            soon, seen = self._task.soon, int(CALLS[0])
            self._task = None  # it holds rows and parameters
            _idle.append(self)
            if soon:
                look(CALLS, seen, most_looks())
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


class Rhythm:
    """Whether predictions of a thread follow one another so soon that helpers do well to look for the next one.

    Where some do and some do not, helpers would sleep before most, and it would take longer to wake them for these than
    they save; hence several in a row.
    """

    def __init__(self):
        self._end, self._in_a_row = -inf, 0

    def begins(self) -> bool:
        """Take note that a prediction begins; return whether it does in such a rhythm."""
        self._in_a_row = self._in_a_row + 1 if time.perf_counter() - self._end < SOON_SECONDS else 0
        return self._in_a_row >= SOON_IN_A_ROW

    def ends(self) -> None:
        """Take note that it ends."""
        self._end = time.perf_counter()


def threads_worth(products: int, soon: bool = False) -> int:
    """Return how many threads take the least time for so many multiply-adds: that of their share, and to call them.

    soon: whether they look for their task, or will for the next one.
    """
    return max(1, isqrt(products // (LOOK_PRODUCTS if soon else WAKE_PRODUCTS)))


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


def share_rows(
    prepare: Callable[[], tuple[Callable, list[tuple[int, int]]]], n_threads: int, soon: bool = False
) -> None:
    """Run part(thread, first row, last row)() for all pieces in so many threads, this one being number 0.

    Each takes a piece when it is ready. Who has not begun when none is left is not waited for: on a busy machine that
    may take longer than all the rows.

    prepare: returns (part, pieces). Meanwhile the other threads wake, and stand ready when this one enters its first
    kernel and lets them run Python. Where it does so before, they go to sleep again.
    soon: whether the others shall look for another task after this one. Those that look for this one see it when the
    first kernel adds to CALLS.
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

    tasks = [_Task(partial(help_with, thread), soon) for thread in range(1, n_threads)]
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
