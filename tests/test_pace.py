"""How many threads the engine takes, simulated: batches that take given times, and a clock that they move."""

from itertools import cycle
from types import SimpleNamespace

import numpy as np

from fastmlp.cpu import threads

SERIAL = 1e-4
MOST_BATCHES = 9  # an epoch, and so a job, is as short as this


def mean_seconds(monkeypatch, one, two, fit_seconds=5.0, team_first=False):
    """Return the mean seconds of a batch where one thread's take what `one` holds, in turn, and two threads' `two`."""
    now = 0.0
    monkeypatch.setattr(threads, "time", SimpleNamespace(perf_counter=lambda: now))
    pace = threads.Pace(2)
    pace.team_first = team_first
    turns = {1: cycle(one), 2: cycle(two)}
    count = 0
    while now < fit_seconds:
        wanted, batches = pace.next()
        batches = min(batches, MOST_BATCHES)
        seconds = sum(next(turns[wanted]) for _ in range(batches))
        now += seconds
        count += batches
        pace.done(wanted, batches, seconds)
    return now / count


def test_all_threads_where_they_are_faster(monkeypatch):
    assert mean_seconds(monkeypatch, [SERIAL], [0.6 * SERIAL]) < 1.05 * 0.6 * SERIAL


def test_trials_of_one_thread_are_rare_where_all_are_much_faster(monkeypatch):
    assert mean_seconds(monkeypatch, [SERIAL], [0.5 * SERIAL]) < 1.003 * 0.5 * SERIAL


def test_the_team_has_the_first_turn_where_batches_are_long(monkeypatch):
    """A fit of one long batch is not worth a trial; of several, one thread has its turn as well."""
    one, two = [0.1], [0.06]
    assert mean_seconds(monkeypatch, one, two, fit_seconds=0.05, team_first=True) == 0.06
    assert mean_seconds(monkeypatch, one, two, fit_seconds=0.05) == 0.1
    assert mean_seconds(monkeypatch, one, [0.2], fit_seconds=5.0, team_first=True) < 1.05 * 0.1


def test_a_load_that_begins(monkeypatch):
    """Two threads are fast at first; once they are not, one is taken at once."""
    two = [0.5 * SERIAL] * 10_000 + [2 * SERIAL] * 1_000_000
    assert mean_seconds(monkeypatch, [SERIAL], two, fit_seconds=2.5) < 0.95 * SERIAL


def test_a_core_that_a_library_keeps_busy_at_first(monkeypatch):
    """Threads of OpenBLAS wait for work for 0.1 s, and no team is faster meanwhile."""
    two = [4 * SERIAL] * MOST_BATCHES + [0.5 * SERIAL] * 1_000_000
    assert mean_seconds(monkeypatch, [SERIAL], two, fit_seconds=0.4) < 0.65 * SERIAL


def test_no_team_where_a_batch_takes_a_few_microseconds(monkeypatch):
    """It would start helpers for a fit that may end before one is awake, and lose every trial."""
    monkeypatch.setattr(threads.Pace, "SHORT", 4e-6)
    assert mean_seconds(monkeypatch, [2e-6], [1.0], fit_seconds=1.0) < 2.001e-6


def test_one_thread_where_it_is_faster(monkeypatch):
    assert mean_seconds(monkeypatch, [SERIAL], [1.2 * SERIAL]) < 1.05 * SERIAL


def test_trials_too_short_to_meet_a_thread_that_waits(monkeypatch):
    """Most steps of two threads are fast, but one in a hundred waits for a thread that another process keeps off."""
    two = [0.6 * SERIAL] * 99 + [100 * SERIAL]
    assert np.mean(two) > 1.5 * SERIAL
    assert mean_seconds(monkeypatch, [SERIAL], two) < 1.1 * SERIAL


def test_a_load_that_ends(monkeypatch):
    """Two threads are slow at first, then fast: they are found out, and taken back later."""
    two = [10 * SERIAL] * 100 + [0.6 * SERIAL] * 1_000_000
    assert mean_seconds(monkeypatch, [SERIAL], two, fit_seconds=20.0) < 0.9 * SERIAL
