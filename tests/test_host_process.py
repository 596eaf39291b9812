"""A process that trains survives: fits of several threads, forks, pools, its end, and Ctrl-C.

Each script runs in a process of its own that has SECONDS; a deadlock is a failure as well as a crash.
"""

import os
import signal
import subprocess
import sys
import time
from importlib import import_module

import numpy as np
import pytest

from fastmlp import MLPRegressor
from fastmlp.cpu import engine, threads
from fastmlp.cpu.step import EPOCHS, HALT, LAST_BLOCK
from fastmlp.cpu.threads import Pace

SECONDS = 300
FULL = os.environ.get("FASTMLP_TRUST") == "full"
PREAMBLE = """
import faulthandler, multiprocessing, os, queue, signal, sys, threading, time, warnings
import numpy as np
from fastmlp import MLPClassifier
from sklearn.exceptions import ConvergenceWarning

warnings.simplefilter("error")
warnings.simplefilter("ignore", ConvergenceWarning)
X = np.random.default_rng(0).normal(size=(600, 12))
y = (X[:, 0] > 0).astype(int)

def fit(seed=0, n_threads=2):
    settings = dict(batch_size=64, tol=1e9, n_iter_no_change=4)  # it ends without a warning
    model = MLPClassifier((16,), random_state=seed, n_threads=n_threads, **settings).fit(X, y)
    return model.predict_proba(X).tobytes()

def fit_in_threads(count):
    found = {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: fit(i % 2)})) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: expected[i % 2] for i in range(count)}

def in_fork(job):
    child = os.fork()
    if child == 0:
        code = 3
        try:
            faulthandler.dump_traceback_later(100, exit=True)
            code = 0 if job() else 4
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def fit_in_fork():
    in_fork(lambda: fit() == expected[0] and fit(1, None) == expected[1])

if __name__ == "__main__":
    expected = fit(0), fit(1)
"""
has_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
LAYERS = {"workqueue": "workqueue", "omp": "omppool", "tbb": "tbbpool"}


def run(script, folder, **environment):
    """Run a script after the preamble; return what it printed."""
    path = folder / "script.py"
    path.write_text(PREAMBLE + script)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_eight_threads_and_joblib(tmp_path):
    script = """
import joblib

if __name__ == "__main__":
    fit_in_threads(8)
    for backend in ("threading", "loky"):
        found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit)(i % 2) for i in range(6))
        assert found == [expected[i % 2] for i in range(6)]
"""
    run(script, tmp_path)


@has_fork
def test_forks(tmp_path):
    """After fits, and while other threads fit."""
    script = """
from fastmlp.cpu import threads

fit_in_fork()
fit_in_threads(2)
fit_in_fork()
assert fit() == expected[0]
ends = threading.Event()

def fits():
    while not ends.is_set():
        fit()

others = [threading.Thread(target=fits) for _ in range(2)]
for other in others:
    other.start()
try:
    for _ in range(3):
        with threads._lock:  # at the worst moment
            fit_in_fork()
finally:
    ends.set()
"""
    run(script, tmp_path)


@has_fork
def test_forks_wherever_another_thread_is(tmp_path):
    """As each function is called for the first time: what locks a thread then has, nobody releases in the child."""
    script = """
X, y = X[:100], y[:100]
reached, seen, goes_on = queue.SimpleQueue(), set(), threading.Semaphore(0)
settings = dict(hidden_layer_sizes=(4,), max_iter=2, batch_size=50, random_state=0)
kinds = {}, dict(n_threads=1, verbose=2), dict(solver="lbfgs")

def stop(frame, event, argument):
    code = frame.f_code
    if event == "call" and code not in seen and any(part in code.co_filename for part in PARTS):
        seen.add(code)
        reached.put(code.co_qualname if hasattr(code, "co_qualname") else code.co_name)
        goes_on.acquire()

def fit_and_stop():
    try:
        for kind in kinds:
            reached.put(kind)
            sys.setprofile(stop)
            MLPClassifier(**settings, **kind).fit(X, y)
            sys.setprofile(None)
    finally:
        reached.put(None)

threading.Thread(target=fit_and_stop, daemon=True).start()
while (place := reached.get()) is not None:
    if isinstance(place, dict):
        kind = place
        continue
    print(place, flush=True)
    in_fork(lambda: MLPClassifier(**settings, **kind).fit(X, y).n_iter_ == 2)
    goes_on.release()
"""
    parts = ("fastmlp/",) if FULL else ("fastmlp/training/", "fastmlp/cpu/threads")
    places = run(script.replace("PARTS", repr((*parts, "threadpoolctl"))), tmp_path).split()
    assert {"Shuffle.order", "Bar.__init__", "ThreadpoolController.limit"} <= set(places) or sys.version_info < (3, 11)


def test_processes_of_pools(tmp_path):
    script = """
from concurrent.futures import ProcessPoolExecutor

if __name__ == "__main__":
    for method in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context(method)
        kind = ProcessPoolExecutor if method == "spawn" else context.Pool
        named = {"mp_context": context} if method == "spawn" else {}
        with kind(2 if method == "fork" else 1, **named) as pool:
            assert list(pool.map(fit, [0, 1, 0])) == [expected[0], expected[1], expected[0]]
"""
    run(script, tmp_path)


@pytest.mark.parametrize("layer", LAYERS)
def test_beside_a_threading_layer_of_numba(layer, tmp_path):
    """The engine has threads of its own and starts none of these layers, which some users' code does."""
    try:
        import_module(f"numba.np.ufunc.{LAYERS[layer]}")
    except ImportError:
        pytest.skip(f"Numba has no {layer} here")
    script = """
from numba import get_num_threads, njit, prange, threading_layer
from numba.np.ufunc import parallel

assert not parallel._is_initialized

@njit(parallel=True)
def total(x):
    result = 0.0
    for i in prange(len(x)):
        result += x[i]
    return result

assert total(np.ones(1000)) == 1000
fit_in_threads(8)
if hasattr(os, "fork"):
    fit_in_fork()
assert total(np.ones(1000)) == 1000
print(threading_layer())
"""
    assert run(script, tmp_path, NUMBA_THREADING_LAYER=layer).split() == [layer]


def test_the_interpreter_ends_while_a_daemon_thread_fits(tmp_path):
    script = """
begun = threading.Event()

def long_fit():
    settings = dict(max_iter=10**6, n_iter_no_change=10**6, callbacks=lambda epoch: begun.set(), n_threads=2)
    MLPClassifier((64, 64), **settings).fit(X, y)

for _ in range(2):
    threading.Thread(target=long_fit, daemon=True).start()
assert begun.wait(200)
time.sleep(0.05)
"""
    run(script, tmp_path)


# Ctrl-C

INTERRUPTED = """
X = np.random.default_rng(0).normal(size=(8000, 40)).astype(np.float32)
y = (X[:, 0] > 0).astype(int)
before = signal.default_int_handler
signal.signal(signal.SIGINT, before)  # a process that was started in the background ignores it
settings = dict(hidden_layer_sizes=(300, 300), batch_size=BATCH, random_state=0, tol=0, n_iter_no_change=10**6)

def interrupt(epoch):
    if epoch.number == 2:
        threading.Timer(0.02, SEND).start()

model = MLPClassifier(max_iter=10**6, callbacks=interrupt, **settings)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(X, y)
(warning,) = caught
assert f"Training interrupted by user after {model.n_iter_} " in str(warning.message), warning.message
assert model.n_iter_ == len(model.loss_curve_) >= 2
assert not [one for one in threading.enumerate() if one.name.startswith("fastmlp")]
short = MLPClassifier(max_iter=model.n_iter_, **settings).fit(X, y)
if BATCH == "full":  # steps are epochs, and no part of a step is taken
    for ours, other in zip(model.coefs_, short.coefs_):
        np.testing.assert_array_equal(ours, other)
    np.testing.assert_array_equal(model.predict(X[:1000]), short.predict(X[:1000]))
assert np.isfinite(model.predict_proba(X[:100])).all()
model.set_params(callbacks=None, max_iter=1, warm_start=True).fit(X, y)
assert signal.getsignal(signal.SIGINT) is before
"""


@pytest.mark.parametrize("batch", ["full", 256])
def test_ctrl_c_in_a_long_epoch(batch, tmp_path):
    send = "signal.raise_signal(signal.SIGINT)" if os.name == "nt" else "os.kill(os.getpid(), signal.SIGINT)"
    run(INTERRUPTED.replace("SEND", f"lambda: {send}").replace("BATCH", repr(batch)), tmp_path)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [513, 1024, 1400])
def test_a_batch_that_is_told_to_stop_has_changed_nothing(n_threads, rows, monkeypatch, recwarn):
    """Whatever the team: with two threads or three it would wait for itself if not all ended with the same block."""
    X = np.random.default_rng(0).normal(size=(rows, 40))
    y = X[:, :3]
    settings = {"hidden_layer_sizes": (70, 40), "batch_size": "full", "random_state": 0, "n_threads": n_threads}
    expected = MLPRegressor(max_iter=4, **settings).fit(X, y)
    monkeypatch.setattr(Pace, "next", lambda pace: (n_threads, 1))
    monkeypatch.setattr(engine, "LONG_BATCH", 0)
    jobs = []

    def run(job, control):
        jobs.append(job)
        control[HALT], control[LAST_BLOCK] = len(jobs) == 5, 0
        job()
        if len(jobs) == 5:
            raise KeyboardInterrupt
        return n_threads

    monkeypatch.setattr(engine, "run_interruptibly", run)
    model = MLPRegressor(max_iter=9, callbacks=lambda epoch: None, **settings).fit(X, y)
    assert any("interrupted by user after 4 epochs" in str(warning.message) for warning in recwarn)
    assert (model.n_iter_, model._optimizer.step) == (4, 4)
    for ours, other in zip((*model.coefs_, *model.intercepts_), (*expected.coefs_, *expected.intercepts_), strict=True):
        np.testing.assert_array_equal(ours, other)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("long", [False, True])
def test_the_epochs_of_an_interrupted_job_are_counted(long, monkeypatch):
    """Where epochs are short, a job is many of them; a long one may be halted within its first."""
    X = np.random.default_rng(0).normal(size=(700, 5))
    settings = {"hidden_layer_sizes": (8,), "batch_size": "full", "random_state": 0, "n_iter_no_change": 10**6}
    monkeypatch.setattr(Pace, "next", lambda pace: (1, 7))
    work, jobs = engine.work, []

    def interrupted(program, memory, numbers, plan, control, *more):
        jobs.append(control[EPOCHS])
        control[HALT] = long and len(jobs) == 3
        team = work(program, memory, numbers, plan, control, *more)
        if len(jobs) == 3:
            raise KeyboardInterrupt
        return team

    monkeypatch.setattr(engine, "work", interrupted)
    with pytest.warns(UserWarning, match=f"interrupted by user after {14 if long else 21} epochs"):
        model = MLPRegressor(max_iter=50, **settings).fit(X, X[:, 0])
    assert jobs == [7, 7, 7]
    assert model.n_iter_ == len(model.loss_curve_) == model._optimizer.step
    monkeypatch.setattr(engine, "work", work)
    expected = MLPRegressor(max_iter=model.n_iter_, **settings).fit(X, X[:, 0])
    assert model.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


@pytest.fixture
def ctrl_c():
    """Let SIGINT be Ctrl-C also in a process that was started in the background, and so ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_what_a_long_job_raises_and_returns(ctrl_c):
    control = np.zeros(64, np.int64)

    def fail():
        raise ZeroDivisionError

    assert engine.run_interruptibly(lambda: 3, control) == 3
    with pytest.raises(ZeroDivisionError):
        engine.run_interruptibly(fail, control)

    ended = []

    def interrupted():
        signal.raise_signal(signal.SIGINT)
        while control[HALT] == 0:
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)  # by who does not wait
        time.sleep(0.3)
        ended.append(True)

    with pytest.raises(KeyboardInterrupt):
        engine.run_interruptibly(interrupted, control)
    assert ended


def test_a_job_without_a_thread(monkeypatch):
    """Where the system has none, Ctrl-C waits for the end of the job."""

    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads, "start_new_thread", refuse)
    assert threads.run_interruptibly(lambda: 3, np.zeros(64, np.int64)) == 3
