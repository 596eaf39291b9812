"""Helper threads of one fit, and the choice of how many of them to use."""

import multiprocessing
import os
import sys
import threading
import time
from _thread import allocate_lock, start_new_thread
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

import numpy as np
from numba import config

from fastmlp.cpu.step import ASLEEP, EXPECTED, HALT, HELPERS, IDLE, LINE, STOP
from fastmlp.futures import complete

_here = threading.local()  # `limit`: the most threads that this thread may use
_fits, _lock = 0, threading.Lock()  # how many fits are running in this process
_predictions: list[None] = []  # one for each that is being made; to add and to take one is atomic
WAIT_SECONDS = 0.1  # after which Windows sees Ctrl-C, which ends no wait there


def resolve_threads(n_threads: int | None) -> int:
    """Return how many threads may be used: `n_threads`, or as many as the process may use; starts none.

    That is as many as Numba may, but one in a worker of a pool of processes, and no more than OMP_NUM_THREADS says,
    unless NUMBA_NUM_THREADS is set: what starts many workers, such as Dask and Ray, sets the former.
    """
    most = _threads_of_process() if n_threads is None else n_threads
    return max(1, min(most, getattr(_here, "limit", most)))


def _threads_of_process():
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None and parallel._is_initialized:  # then somebody may have set a number
        return parallel.get_num_threads()
    if "NUMBA_NUM_THREADS" in os.environ:
        return config.NUMBA_NUM_THREADS
    if multiprocessing.current_process().daemon:
        return 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(int(asked) if asked.isdecimal() else config.NUMBA_NUM_THREADS, config.NUMBA_NUM_THREADS)


@contextmanager
def limit_threads(n_threads: int) -> Iterator[None]:
    """Let what this thread does in the block use at most so many threads, itself among them."""
    before = vars(_here).copy()
    _here.limit = n_threads
    try:
        yield
    finally:
        vars(_here).clear()
        vars(_here).update(before)


def fit_begins() -> None:
    """Count one more fit that is running."""
    global _fits
    with _lock:
        _fits += 1


def fit_ends() -> None:
    """Count one less."""
    global _fits
    with _lock:
        _fits -= 1


def prediction_begins() -> None:
    """Count one more prediction."""
    _predictions.append(None)


def prediction_ends() -> None:
    """Count one less."""
    with suppress(IndexError):  # where this thread itself was forked meanwhile
        _predictions.pop()


def _begin_anew() -> None:
    """Forget what other threads do, which are not in a process that was forked, while one may have the lock."""
    global _fits, _lock
    _fits, _lock = 0, threading.Lock()
    _predictions.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)


def fair_share(n_threads: int) -> int:
    """Return how many of so many threads a fit or a prediction may use beside the others of this process."""
    return max(1, n_threads // max(1, _fits, len(_predictions)))


def may_be_interrupted() -> bool:
    """Return whether Ctrl-C is an exception in this thread."""
    return threading.current_thread() is threading.main_thread()


def run_interruptibly(job: Callable[[], int], control: np.ndarray) -> int:
    """Return what a job returns that Ctrl-C ends at its next block of rows.

    Python knows of a signal only when the main thread is in no kernel. So the job has a thread of its own.
    """
    future: Future = Future()
    ends = allocate_lock()  # Ctrl-C leaves a lock of C as it is, which it may not with what waits for a `Future`
    ends.acquire()

    def run():
        complete(future, job)
        ends.release()

    try:
        try:
            start_new_thread(run, ())  # not a `Thread`: Ctrl-C would end the wait for its start
        except RuntimeError:  # the system has no thread for it
            run()
        while not ends.acquire(timeout=WAIT_SECONDS):
            pass
    except BaseException:
        control[HALT] = 1
        while not future.done():  # it writes to what this fit has
            with suppress(KeyboardInterrupt):  # of who does not wait for the first one
                ends.acquire(timeout=WAIT_SECONDS)
        raise
    return future.result()


class Team:
    """Helpers that live as long as a fit, awake in `serve` or asleep at a semaphore after a long wait for a job.

    No thread outlives the fit and nothing is shared between fits, so that fits may run in several threads at once and
    processes may fork.

    Only the leader takes a helper from ASLEEP to IDLE, or to STOP; the helper leaves IDLE and GO by compare and swap.
    So neither can overwrite what the other wrote.
    """

    def __init__(self, control: np.ndarray, serve: Callable[[int], bool], n_helpers: int):
        self._control, self._serve = control, serve
        self._calls = [threading.Semaphore(0) for _ in range(n_helpers)]
        self._threads = []
        for helper in range(1, n_helpers + 1):
            control[HELPERS + helper * LINE] = IDLE  # it is STOP after another team
            thread = threading.Thread(target=self._live, args=(helper,), daemon=True, name=f"fastmlp-{helper}")
            self._threads.append(thread)
            thread.start()

    def _live(self, helper):
        while self._serve(helper):
            self._calls[helper - 1].acquire()

    def wake(self, wanted: int) -> bool:
        """Wake the helpers of a team of `wanted`; return whether one was asleep.

        The next job counts on them: its first barrier waits for them. So those that are awake stay so until then.
        """
        woken = False
        for helper in range(1, wanted):
            state = HELPERS + helper * LINE
            self._control[state + EXPECTED] = 1
            if self._control[state] == ASLEEP:
                self._control[state] = IDLE
                self._calls[helper - 1].release()
                woken = True
        return woken

    def close(self) -> None:
        """End all helpers; call it between jobs."""
        for helper, thread in enumerate(self._threads, start=1):
            self._control[HELPERS + helper * LINE] = STOP
            self._calls[helper - 1].release()  # it may be asleep, or on its way
            thread.join()
        self._threads = []


class Pace:
    """How many threads and how many batches the next job gets, from the times of the jobs before.

    All threads are not always faster than one: small steps lose more at the barriers than they gain, and under
    outside load a barrier waits for a thread that is not running. So both are measured while training, and the slower
    one again now and then, for a few short jobs. A thread that is not running for some milliseconds is seldom met by so
    short a trial; therefore what wins one must hold for a whole window, and is not tried again soon if it does not.
    Results do not depend on the choice. A team has to be a little faster than one thread: what it takes from others is
    worth something, and where the two are as fast, the clock's errors would choose.

    Where one thread takes a few microseconds a batch, no team is tried, and no helper begins.
    At first a team that lost its trial has another one soon: the threads of OpenBLAS keep a core busy for 0.1 s after
    their last product (measured), which may have been just before the fit.
    """

    MARGIN = 1.07
    SHORT = 4e-6  # seconds of a batch of one thread, which a team's two barriers and what it exchanges take as well
    FAR_BEHIND = 1.3  # times the cost of the other: then one job is trial enough
    JOB_SECONDS = 0.05  # short enough for Ctrl-C, long enough to hide the call
    TRIAL_SECONDS = 0.002
    TRIAL_EVERY = 0.25
    EARLY = 0.4  # part of the wait for the second trial of a team; it doubles from trial to trial
    RARE = 4  # a trial of one thread that is far behind has this many times the wait: a team that slows down shows it
    TRIAL_JOBS = 3
    WINDOW_SECONDS = 0.05  # some turns of the system's scheduler
    RETRY_SECONDS = 1.0

    def __init__(self, n_threads: int):
        self.choices = [1, n_threads] if n_threads > 1 else [1]
        self._rates = {choice: deque(maxlen=5) for choice in self.choices}  # seconds a batch, of the last windows
        self._window = dict.fromkeys(self.choices, (0.0, 0))  # seconds and batches since the last one
        self._untested = set(self.choices)  # whose rates are those of a trial
        self._trial_at = dict.fromkeys(self.choices, 0.0)
        self._trial = None
        self._missed = 0  # jobs of the present trial that had no helpers
        self._part = self.EARLY
        self.wanted = 1
        self.team_first = False  # one thread has the first turn: a short fit ends before it needs helpers
        self.settled = False  # whether the present job is no trial

    def _seconds(self, choice):
        """Return the median seconds of a batch, which a window that something disturbed does not move."""
        rates = sorted(self._rates[choice])
        return rates[len(rates) // 2] if rates else None

    def _cost(self, choice, seconds):
        return float("inf") if seconds is None else seconds * self.MARGIN if choice > 1 else seconds

    def _is_behind(self, choice, seconds, times=1.0):
        """Return whether so many seconds a batch cost more than so many times what another choice does."""
        cost = self._cost(choice, seconds)
        return any(times * self._cost(other, self._seconds(other)) < cost for other in self.choices if other != choice)

    def _begin_anew(self, choice):
        self._rates[choice].clear()
        self._window[choice] = (0.0, 0)

    def _note(self, choice, batches, seconds):
        """Add a job to the window of a choice; the first whole window shows whether a trial has told the truth."""
        seconds, batches = seconds + self._window[choice][0], batches + self._window[choice][1]
        self._window[choice] = (seconds, batches)
        if seconds < self.WINDOW_SECONDS:
            return
        tested = choice not in self._untested
        if not tested:
            self._untested.discard(choice)
            self._begin_anew(choice)
        self._window[choice] = (0.0, 0)
        self._rates[choice].append(seconds / batches)
        if not tested and self._is_behind(choice, seconds / batches):
            self._trial_at[choice] = time.perf_counter() + self.RETRY_SECONDS

    def next(self) -> tuple[int, int]:
        """Return (threads, batches) of the next job."""
        best = min(self.choices, key=lambda choice: self._cost(choice, self._seconds(choice)))
        if self._trial is None and len(self.choices) > 1:
            now = time.perf_counter()
            turns = self.choices[::-1] if self.team_first else self.choices
            if (self._seconds(1) or self.SHORT) < self.SHORT:
                turns = [1]
            self._trial = next((choice for choice in turns if now >= self._trial_at[choice]), None)
            self._missed = 0
            if self._trial is not None and self._trial != best:
                self._begin_anew(self._trial)  # what was true then may not be now
                self._untested.add(self._trial)
        self.wanted, seconds = (best, self.JOB_SECONDS) if self._trial is None else (self._trial, self.TRIAL_SECONDS)
        self.settled = self._trial is None
        known = self._seconds(self.wanted) or self._seconds(best)
        if known is None and self._window[self.wanted][1] > 0:
            known = self._window[self.wanted][0] / self._window[self.wanted][1]
        return self.wanted, max(1, int(seconds / known)) if known else 1

    def done(self, team: int, batches: int, seconds: float) -> None:
        """Take note of a job's time, unless it ran without the helpers that it should have had."""
        choice = self.wanted
        far_behind = self._is_behind(choice, seconds / batches, self.FAR_BEHIND)
        enough = 1 if far_behind or seconds >= self.TRIAL_SECONDS else self.TRIAL_JOBS
        if choice > 1 and team == 1:
            self._missed += 1
        elif self._trial is not None:
            self._rates[choice].append(seconds / batches)
        else:
            self._note(choice, batches, seconds)
        # a trial of large batches is a long one: no more than a fortieth of the time is for trials, but at first
        wait = max(self.TRIAL_EVERY, 40 * enough * seconds)
        if choice > 1:
            wait *= self._part
        elif far_behind:
            wait *= self.RARE
        self._trial_at[choice] = max(self._trial_at[choice], time.perf_counter() + wait)
        if choice == self._trial and len(self._rates[choice]) + self._missed >= enough:
            self._trial = None
            if choice > 1:
                self._part = min(1.0, 2 * self._part)
