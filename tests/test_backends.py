"""scikit-learn's own searches of our estimators, on the backends of joblib."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import joblib
import numpy as np
import pytest
from numba import config
from sklearn.model_selection import GridSearchCV

from fastmlp import MLPClassifier
from fastmlp.cpu import threads
from fastmlp.cpu.engine import work

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 5)).astype("float32")
y = (X[:, 0] > 0) + 0
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(4,), (7, 3)]}
MODEL = MLPClassifier(max_iter=5, random_state=0)


def scores(model, X, y):
    """Return the accuracy, and what is known of the process that scores."""
    return {
        "accuracy": model.score(X, y),
        "threads": threads.fair_share(threads.resolve_threads(None)),
        "compiled": sum(work.stats.cache_misses.values()),
        "process": os.getpid(),
    }


def search(**named):
    return GridSearchCV(MODEL, GRID, cv=3, scoring=scores, refit="accuracy", **named).fit(X, y)


@pytest.fixture(scope="module")
def serial():
    return search()


def numbers(result, name):
    return np.array([result.cv_results_[f"split{fold}_test_{name}"] for fold in range(3)])


def assert_same(result, serial):
    np.testing.assert_array_equal(numbers(result, "accuracy"), numbers(serial, "accuracy"))
    assert result.best_params_ == serial.best_params_


@pytest.mark.parametrize("backend", ["loky", "multiprocessing"])
def test_processes(serial, backend):
    """The workers together use no more threads than there are cores, and compile nothing that is in the cache."""
    with joblib.parallel_config(backend=backend, n_jobs=2):
        result = search(n_jobs=2)
    assert_same(result, serial)
    assert os.getpid() not in numbers(result, "process")
    workers = np.unique(numbers(result, "process")).size
    assert workers * numbers(result, "threads").max() <= max(2, joblib.cpu_count())
    assert numbers(result, "compiled").max() == (
        numbers(serial, "compiled").max() if backend == "multiprocessing" else 0
    )


def test_threads(serial):
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert_same(search(n_jobs=2), serial)


def test_rows_are_shared_by_memory_map(serial, tmp_path):
    """Rows of more than `max_nbytes` reach the workers of loky as a map of one file, which cannot be written to."""
    with joblib.parallel_config(backend="loky", n_jobs=2, max_nbytes=100, temp_folder=str(tmp_path)):
        assert_same(search(n_jobs=2), serial)
    (kind,) = joblib.Parallel(n_jobs=2, max_nbytes=100)([joblib.delayed(type)(X)])
    assert kind is np.memmap


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_dask(serial):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
        joblib.parallel_config(backend="dask"),
    ):
        result = search(n_jobs=2)
    assert_same(result, serial)
    assert numbers(result, "threads").max() == 1
    assert numbers(result, "compiled").max() == 0


@pytest.mark.filterwarnings("ignore")  # of a peer that is not in every environment
def test_ray(serial):
    ray = pytest.importorskip("ray")
    from ray.util.joblib import register_ray

    register_ray()
    here = {"env_vars": {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env=here)
    try:
        with joblib.parallel_config(backend="ray"):
            result = search(n_jobs=2)
    finally:
        ray.shutdown()
    assert_same(result, serial)
    assert numbers(result, "threads").max() == 1


def resolved(environment=(), daemon=False):
    """Return what a fresh process resolves."""
    program = (
        "import multiprocessing\n"
        "from fastmlp.cpu.threads import resolve_threads\n"
        f"multiprocessing.current_process()._config['daemon'] = {daemon}\n"
        "print(resolve_threads(None), resolve_threads(5))"
    )
    names = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")
    own = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**own, **dict(environment)}, capture_output=True, text=True, check=True
    )
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize(
    ("environment", "daemon", "expected"),
    [
        ({}, False, config.NUMBA_DEFAULT_NUM_THREADS),
        ({"OMP_NUM_THREADS": "1"}, False, 1),
        ({"OMP_NUM_THREADS": "1000"}, False, config.NUMBA_DEFAULT_NUM_THREADS),
        ({"OMP_NUM_THREADS": "2,1"}, False, config.NUMBA_DEFAULT_NUM_THREADS),
        ({"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "2"}, False, 2),
        ({}, True, 1),
        ({"NUMBA_NUM_THREADS": "2"}, True, 2),
    ],
)
def test_what_a_process_may_use(environment, daemon, expected):
    assert resolved(environment, daemon) == [expected, 5]


def test_this_process_is_no_worker():
    assert not multiprocessing.current_process().daemon
