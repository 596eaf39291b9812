"""Helper threads of one fit, and the choice of how many of them to use."""

import sys
import threading
import time
from collections.abc import Callable

import numpy as np
from numba import config

from fastmlp.cpu.step import ASLEEP, HELPERS, IDLE, LINE, STOP


def resolve_threads(n_threads: int | None) -> int:
    """Return how many threads may be used: `n_threads`, or as many as Numba may use; starts none."""
    if n_threads is not None:
        return n_threads
    parallel = sys.modules.get("numba.np.ufunc.parallel")
    if parallel is not None and parallel._is_initialized:  # then somebody may have set a number
        return parallel.get_num_threads()
    return config.NUMBA_NUM_THREADS


class Team:
    """Helpers that live as long as a fit, awake in `serve` or asleep at a semaphore after a long wait for a job.

    No thread outlives the fit and nothing is shared between fits, so that fits may run in several threads at once and
    processes may fork.
    """

    def __init__(self, control: np.ndarray, serve: Callable[[int], bool], n_helpers: int):
        self._control, self._serve = control, serve
        self._calls = [threading.Semaphore(0) for _ in range(n_helpers)]
        self._called = [False] * n_helpers
        self._closing = False
        self._threads = []
        for helper in range(1, n_helpers + 1):
            thread = threading.Thread(target=self._live, args=(helper,), daemon=True, name=f"fastmlp-{helper}")
            self._threads.append(thread)
            thread.start()

    def _live(self, helper):
        while self._serve(helper):
            self._calls[helper - 1].acquire()
            # a STOP that this IDLE overwrites is not lost: the helper soon comes by here again
            if self._closing:
                return
            self._called[helper - 1] = False
            self._control[HELPERS + helper * LINE] = IDLE

    def wake(self, wanted: int) -> bool:
        """Wake the helpers of a team of `wanted`; nobody waits for them. Return whether all were awake."""
        awake = True
        for index in range(min(wanted - 1, len(self._calls))):
            awake = awake and self._control[HELPERS + (index + 1) * LINE] != ASLEEP
            if self._control[HELPERS + (index + 1) * LINE] == ASLEEP and not self._called[index]:
                self._called[index] = True
                self._calls[index].release()
        return awake

    def close(self) -> None:
        """End all helpers; call it between jobs."""
        self._closing = True
        for index, thread in enumerate(self._threads):
            self._control[HELPERS + (index + 1) * LINE] = STOP
            self._calls[index].release()
            thread.join()
        self._threads = []


class Pace:
    """How many threads and how many batches the next job gets, from the times of the jobs before.

    All threads are not always faster than one: small steps lose more at the barriers than they gain, and under
    outside load
    a barrier waits for a thread that is not running. So both are measured while training, and the slower one again
    now and then, for a short job. Results do not depend on the choice.
    """

    JOB_SECONDS = 0.05  # short enough for Ctrl-C, long enough to hide the call
    TRIAL_SECONDS = 0.002
    TRIAL_EVERY = 0.25

    def __init__(self, n_threads: int):
        self.choices = [n_threads, 1] if n_threads > 1 else [1]
        self._seconds = dict.fromkeys(self.choices)  # a batch
        self._trial_at = dict.fromkeys(self.choices, 0.0)
        self.wanted = 1

    def next(self) -> tuple[int, int]:
        """Return (threads, batches) of the next job."""
        now = time.perf_counter()
        best = min(self.choices, key=lambda choice: self._seconds[choice] or float("inf"))
        self.wanted, seconds = best, self.JOB_SECONDS
        for choice in self.choices:
            if choice != best and now >= self._trial_at[choice]:
                self.wanted, seconds = choice, self.TRIAL_SECONDS
                break
        known = self._seconds[self.wanted] or self._seconds[best]
        return self.wanted, max(1, int(seconds / known)) if known else 1

    def done(self, team: int, batches: int, seconds: float) -> None:
        """Take note of a job's time. A job whose helpers had not yet come counts for one thread."""
        choice = self.wanted if team > 1 else 1
        rate = seconds / batches
        old = self._seconds[choice]
        self._seconds[choice] = rate if old is None else 0.7 * old + 0.3 * rate
        self._trial_at[choice] = time.perf_counter() + self.TRIAL_EVERY
