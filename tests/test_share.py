"""Rows shared out among threads that sleep between predictions."""

import gc
import itertools
import os
import threading
import time
import weakref
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from problems import make_network, make_problem

from fastmlp.cpu import forward as cpu_forward
from fastmlp.cpu import share, threads
from fastmlp.cpu.forward import forward
from fastmlp.cpu.share import (
    LATE_PRODUCTS,
    LOOK_PRODUCTS,
    PIECE_PRODUCTS,
    PIECES_PER_THREAD,
    WAKE_PRODUCTS,
    pieces_of,
    share_rows,
    threads_worth,
)
from fastmlp.cpu.target import ROWS

TWO_PIECES = [(0, ROWS), (ROWS, 2 * ROWS)]
SECONDS = 60  # in which what must happen has happened


def wait_until(condition):
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture(autouse=True)
def only_own_helpers(monkeypatch):
    """Those of a test end before the next one begins."""
    helpers, begin = weakref.WeakSet(), share._Helper.__init__

    def noted(helper, task):
        helpers.add(helper)
        begin(helper, task)

    monkeypatch.setattr(share._Helper, "__init__", noted)
    share._end_idle()
    yield
    monkeypatch.undo()

    def all_ended():
        share._end_idle()  # those that have become idle meanwhile
        if helpers:
            gc.collect()  # an error that a test has seen holds them
        return not helpers

    wait_until(all_ended)


@pytest.mark.parametrize(("soon", "call"), [(False, WAKE_PRODUCTS), (True, LOOK_PRODUCTS)])
def test_threads_are_worth_what_it_takes_to_call_them(soon, call):
    """The time of T threads for P products, P / T + T * call, has its minimum there."""
    for products in (1, 3 * call, 5 * call, 10**9):
        best = min(range(1, 200), key=lambda count: products / count + count * call)
        assert abs(threads_worth(products, soon) - best) <= 1
    assert [threads_worth(n * call, soon) for n in (0, 1, 3, 4, 8, 9)] == [1, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_rows", [1, ROWS - 1, ROWS, 3 * ROWS + 1, 100, 20_005])
@pytest.mark.parametrize("row_products", [2, 10_000, 150_000])
def test_pieces_of_rows(n_rows, row_products, n_threads):
    """They are whole tiles but the last one, no row is in two of them, and there are neither too few nor too many."""
    given = pieces_of(n_rows, row_products, n_threads)
    assert [end for piece in given for end in piece][::2] == [0, *(last for _, last in given[:-1])]
    assert given[-1][1] == n_rows
    assert all(first < last and first % ROWS == 0 for first, last in given)
    most = PIECES_PER_THREAD * n_threads if n_threads > 1 else 1
    assert len(given) <= most
    if n_rows * row_products > 2 * most * PIECE_PRODUCTS:
        assert len(given) == most
    taken = []
    share_rows(lambda: (lambda thread, *piece: partial(taken.append, piece), given), n_threads)
    assert sorted(taken) == given


def test_the_first_piece_is_larger_by_what_its_thread_computes_until_the_others_begin():
    (first, second) = pieces_of(50 * ROWS, LATE_PRODUCTS // (4 * ROWS), 2)
    assert (first[1] - first[0], second[1] - second[0]) == (27 * ROWS, 23 * ROWS)


def test_errors_in_pieces_of_rows_are_raised():
    """Whoever took the piece; the other threads have ended by then."""
    barrier, caller = threading.Barrier(2, timeout=SECONDS), threading.get_ident()

    def run(failing, thread):
        barrier.wait()  # until both have one
        if (threading.get_ident() == caller) == (failing == 0):
            raise ValueError(f"of thread {thread}")

    for failing in (0, 1):
        with pytest.raises(ValueError, match=f"of thread {failing}"):
            share_rows(lambda failing=failing: (lambda thread, *_: partial(run, failing, thread), TWO_PIECES), 2)


@pytest.mark.parametrize("at_once", [True, False])
def test_nothing_is_done_where_the_preparation_fails(monkeypatch, at_once):
    """Or that of the first piece; those who were woken go to sleep again."""
    monkeypatch.setattr(share, "STAY_SECONDS", SECONDS)
    done, woken = [], threading.Event()

    def part(thread, first, last):
        if thread == 0:
            raise ValueError("no memory")
        return partial(done.append, thread)

    def prepare():
        share._Helper(share._Task(woken.set))  # by then the others wait for what is prepared
        assert woken.wait(SECONDS)
        return part(0, 0, 0) if at_once else (part, TWO_PIECES)

    with pytest.raises(ValueError, match="no memory"):
        share_rows(prepare, 3)
    wait_until(lambda: len(share._idle) == 3)
    assert done == []


def test_who_comes_too_late_is_not_waited_for(monkeypatch):
    late, rows = [], []

    def part(*taken):
        return partial(rows.append, taken)

    monkeypatch.setattr(share, "start_new_thread", lambda run, arguments: late.append(run))
    monkeypatch.setattr(share, "STAY_SECONDS", 0)
    share_rows(lambda: (part, TWO_PIECES), 3)
    assert {thread for thread, _, _ in rows} == {0}
    assert len(late) == 2
    for live in late:
        live()
    assert sum(last - first for _, first, last in rows) == 2 * ROWS

    def fails(function, arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(share, "start_new_thread", fails)
    share_rows(lambda: (part, TWO_PIECES), 3)
    assert sum(last - first for _, first, last in rows) == 4 * ROWS


def threads_of_two_pieces(barrier, soon=False):
    """Return who ran a piece each; `barrier` sees to it that it is not one thread."""
    found = []

    def run():
        barrier.wait()
        found.append(threading.get_ident())

    share_rows(lambda: (lambda *_: run, TWO_PIECES), 2, soon)
    assert len(set(found)) == 2
    return set(found)


def test_helpers_stay_a_while_and_keep_nothing(monkeypatch):
    monkeypatch.setattr(share, "STAY_SECONDS", SECONDS)
    barrier = threading.Barrier(2, timeout=SECONDS)
    first = threads_of_two_pieces(barrier)
    wait_until(lambda: share._idle)
    assert threads_of_two_pieces(barrier) == first
    wait_until(lambda: share._idle)
    seen = weakref.ref(barrier)
    del barrier
    wait_until(lambda: seen() is None)
    (helper,) = share._idle
    monkeypatch.setattr(share, "STAY_SECONDS", 0.001)
    threads_of_two_pieces(threading.Barrier(2, timeout=SECONDS))  # the same one, which now waits for less
    wait_until(lambda: not share._idle)
    ended = weakref.ref(helper)
    del helper
    wait_until(lambda: ended() is None)


def test_a_helper_looks_for_the_next_task_if_that_comes_soon(monkeypatch):
    """It counts from before it can be taken, so that it misses no call."""
    looks, calls = [], np.zeros_like(share.CALLS)
    monkeypatch.setattr(share, "CALLS", calls)
    monkeypatch.setattr(share, "most_looks", lambda: 7)
    monkeypatch.setattr(share, "look", lambda *arguments: looks.append(arguments))
    monkeypatch.setattr(share, "STAY_SECONDS", SECONDS)
    for soon in (False, True, False, True):
        calls += 1
        threads_of_two_pieces(threading.Barrier(2, timeout=SECONDS), soon)
        wait_until(lambda: share._idle)
    wait_until(lambda: len(looks) == 2)
    assert looks == [(calls, 2, 7), (calls, 4, 7)]


def test_a_look_ends_with_a_call_or_after_a_time():
    calls = np.array([5])
    share.look(calls, 4, 1 << 62)
    share.look(calls, 5, 100)
    thread = threading.Thread(target=share.look, args=(calls, 5, 1 << 62))
    thread.start()
    thread.join(0.01)
    assert thread.is_alive()
    calls[0] += 1
    thread.join(SECONDS)
    assert not thread.is_alive()
    share.most_looks.cache_clear()
    begin = time.perf_counter()
    share.look(calls, 6, share.most_looks())
    assert time.perf_counter() - begin > share.LOOK_SECONDS / 10  # a machine that changes its clock may be faster now


@pytest.mark.parametrize("n_rows", [ROWS, 30 * ROWS])
def test_predictions_in_a_rhythm_have_threads_that_look(monkeypatch, n_rows):
    """Where the work is worth it; and each calls them once."""
    network = make_network((11, 37, 3))
    X, _, _, parameters = make_problem(network, n_rows)
    monkeypatch.setattr(cpu_forward, "FEW_ROWS", 0)
    monkeypatch.setattr(cpu_forward, "FEW_PRODUCTS", 0)
    monkeypatch.setattr(share, "LOOK_PRODUCTS", 2 * ROWS * network.n_parameters)
    monkeypatch.setattr(share, "PIECE_PRODUCTS", 1)  # so that there are several
    share.most_looks()
    times, shares = itertools.count(), []
    monkeypatch.setattr(share, "SOON_SECONDS", 2)
    monkeypatch.setattr(share, "time", SimpleNamespace(perf_counter=lambda: next(times), sleep=time.sleep))

    def shared(prepare, n_threads, soon):
        shares.append((n_threads, soon))
        calls = int(share.CALLS[0])
        share_rows(prepare, n_threads, soon)
        assert share.CALLS[0] - calls == (n_threads > 1)

    monkeypatch.setattr(cpu_forward, "share_rows", shared)
    monkeypatch.setattr(cpu_forward, "_spare", threading.local())
    expected = forward(network, *parameters, X)
    shares.clear()
    for _ in range(7):
        np.testing.assert_array_equal(forward(network, *parameters, X, 2), expected)
    in_rhythm = (2 if n_rows > ROWS else 1, True)
    assert shares == [(1, False)] * 3 + [in_rhythm] * 4
    times = itertools.count(100)  # the next one begins later
    forward(network, *parameters, X, 2)
    assert shares[-1] == (1, False)


def test_a_helper_that_is_taken_as_it_ends(monkeypatch):
    """It does what it was taken for."""

    class Taken(list):
        def remove(self, one):
            if one is helper:  # and not another test's
                self.pop()
                helper.run(tasks.pop())
                raise ValueError

    done = []
    tasks = [share._Task(partial(done.append, 2))]
    monkeypatch.setattr(share, "_idle", Taken())
    monkeypatch.setattr(share, "STAY_SECONDS", 0.001)
    monkeypatch.setattr(share, "start_new_thread", lambda run, arguments: None)
    helper = share._Helper(share._Task(partial(done.append, 1)))
    monkeypatch.setattr(Taken, "append", lambda idle, one: list.append(idle, one) if tasks else one.run(None))
    helper._live()
    assert done == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_helpers_end_before_a_fork_and_both_processes_have_others_then(monkeypatch):
    monkeypatch.setattr(share, "STAY_SECONDS", SECONDS)
    monkeypatch.setattr(share, "WAKE_PRODUCTS", 1)
    network = make_network((11, 37, 3))
    X, _, _, parameters = make_problem(network, 200 * ROWS)
    expected = forward(network, *parameters, X)
    threads_of_two_pieces(threading.Barrier(2, timeout=SECONDS))
    wait_until(lambda: share._idle)
    helper = weakref.ref(share._idle[0])
    child = os.fork()
    if child == 0:
        fine = share._idle == [] and all(
            np.array_equal(forward(network, *parameters, X, 3), expected) for _ in range(50)
        )
        os._exit(0 if fine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert share._idle == []
    wait_until(lambda: helper() is None)
    threads_of_two_pieces(threading.Barrier(2, timeout=SECONDS))


def test_a_helper_that_a_process_has_only_the_memory_of_is_not_waited_for(monkeypatch):
    """It went to sleep when others had been ended for the fork."""
    monkeypatch.setattr(share, "start_new_thread", lambda run, arguments: None)
    rows = []
    share._idle.append(share._Helper(share._Task(int)))
    share_rows(lambda: (lambda *taken: partial(rows.append, taken), TWO_PIECES), 2)
    assert rows == [(0, *piece) for piece in TWO_PIECES]
    assert share._idle == []


def test_predictions_at_once_share_the_threads(monkeypatch):
    """A number that is asked for is taken."""
    monkeypatch.setattr(share, "WAKE_PRODUCTS", 1)
    monkeypatch.setattr(cpu_forward, "resolve_threads", lambda n_threads: n_threads or 6)
    network = make_network((11, 37, 3))
    X, _, _, parameters = make_problem(network, 100 * ROWS)
    shares = []

    def shared(prepare, n_threads, soon):
        shares.append(n_threads)
        if len(shares) < 3:
            other = threading.Thread(target=forward, args=(network, *parameters, X, None))
            other.start()
            other.join(SECONDS)
        share_rows(prepare, n_threads, soon)

    monkeypatch.setattr(cpu_forward, "share_rows", shared)
    for asked, expected in ((None, [6, 3, 2]), (4, [4, 3, 2]), (None, [6, 3, 2])):
        shares.clear()
        forward(network, *parameters, X, asked)
        assert shares == expected


def test_an_error_ends_the_share_of_a_prediction(monkeypatch):
    network = make_network((11, 37, 3))
    X, _, _, parameters = make_problem(network, 2000 * ROWS)

    def fails(*arguments):
        raise ValueError("no memory")

    monkeypatch.setattr(cpu_forward, "share_rows", fails)
    before = threads.fair_share(100)
    with pytest.raises(ValueError, match="no memory"):
        forward(network, *parameters, X)
    assert threads.fair_share(100) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_that_was_forked_has_no_predictions_of_others():
    threads.prediction_begins()
    threads.prediction_begins()
    child = os.fork()
    if child == 0:
        alone = threads.fair_share(8)
        threads.prediction_ends()  # of the thread that was forked
        os._exit(0 if alone == threads.fair_share(8) == 8 else 1)
    shared = threads.fair_share(8)
    threads.prediction_ends()
    threads.prediction_ends()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (shared, threads.fair_share(8)) == (4, 8)


def test_many_threads_predict_at_once(monkeypatch):
    monkeypatch.setattr(share, "WAKE_PRODUCTS", 1)
    monkeypatch.setattr(share, "STAY_SECONDS", 0.001)  # helpers end and are taken at the same time
    network = make_network((11, 37, 3))
    X, _, _, parameters = make_problem(network, 100 * ROWS)
    expected, wrong = forward(network, *parameters, X), []

    def predict():
        for k in range(200):
            if not np.array_equal(forward(network, *parameters, X, 2 + k % 2), expected):
                wrong.append(k)
            if k % 10 == 0:
                time.sleep(0.001)

    callers = [threading.Thread(target=predict) for _ in range(4)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert wrong == []
