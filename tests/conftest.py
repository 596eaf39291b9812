"""The engines the tests run on."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest

# Compiled by each process that finds nothing in Numba's cache; so two processes fill the cache before the tests start.
WARM_UP = """
import sys, warnings
import numpy as np
from scipy.sparse import csr_array
from fastmlp import MLPClassifier, MLPRegressor
warnings.simplefilter("ignore")
X = np.ones((40, 3), sys.argv[1])
y = np.arange(40) % 2
for rows in (X, csr_array(X)):
    MLPClassifier((4,), max_iter=1, batch_size=20, early_stopping=True).fit(rows, y).predict(rows[:2])
"""


def on_gpu(expression):
    """Return whether an expression of `-m` asks for the tests that are marked `gpu`."""
    return re.search(r"\bgpu\b", re.sub(r"\bnot\s+gpu\b", "", expression)) is not None


def pytest_configure(config):
    # Numba reads it when it is imported, so nothing above imports it. Processes of xdist know the options as well.
    if not on_gpu(config.getoption("markexpr")):
        os.environ.setdefault("NUMBA_ENABLE_CUDASIM", "1")
    if not hasattr(config, "workerinput"):
        command = [sys.executable, "-c", WARM_UP]
        for process in [subprocess.Popen([*command, dtype]) for dtype in ("float32", "float64")]:
            assert process.wait() == 0, "the package fails on its simplest use"


# They take minutes each, most of them in one test; begun last, one process would wait for the other.
LONG = ["test_asv.py", "test_cuda_compile.py", "test_benchmarks.py", "test_cuda_large_compile.py", "test_cuda.py"]


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


def pytest_addoption(parser):
    parser.addoption("--engine", choices=["default", "reference"], default="default", help="trains the estimators")


@pytest.fixture(autouse=True)
def teams_for_short_batches(monkeypatch):
    """Let fits try all threads where their batches take microseconds, as those of most tests do."""
    from fastmlp.cpu.threads import Pace

    monkeypatch.setattr(Pace, "SHORT", 0.0)


def use_reference(monkeypatch):
    """Put the plain NumPy engine in the place of the one that `fastmlp` chose."""
    from fastmlp import reference
    from fastmlp.training import device

    def without_device(function):
        return lambda *args, device="cpu", stays=False: function(*args)

    monkeypatch.setattr(device, "make_engine", reference.Engine)
    for name in ("forward", "hidden_layer", "input_gradient"):
        monkeypatch.setattr(device, name, without_device(getattr(reference, name)))


@pytest.fixture(autouse=True, scope="module")
def same_environment():
    """Undo what a module leaves in the environment: Dask's workers set the threads of all that is computed after it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def look():
    """Give a tracer a call, at which it begins."""


@pytest.fixture(autouse=True, scope="session")
def untraced_compiler():
    """Let coverage and debuggers not look on as Numba compiles the package's kernels: it would take 1.7 times as long.

    The bodies of intrinsics run at that time; `test_no_place_for_a_cache` lets them be seen, also where all kernels are
    in a cache.
    """
    from numba.core.dispatcher import _FunctionCompiler

    compile = _FunctionCompiler.compile

    def untraced(self, args, return_type):
        tracer, module = sys.gettrace(), self.py_func.__module__
        if tracer is None or not module.startswith("fastmlp.") or module == "fastmlp.cpu.user":
            return compile(self, args, return_type)
        sys.settrace(None)
        try:
            return compile(self, args, return_type)
        finally:
            sys.settrace(tracer)
            look()  # else it would miss the return from here

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_FunctionCompiler, "compile", untraced)
        yield


@pytest.fixture(autouse=True)
def chosen_engine(request, monkeypatch):
    if request.config.getoption("--engine") == "reference":
        use_reference(monkeypatch)


@pytest.fixture(params=["default", "reference"])
def each_engine(request, monkeypatch):
    """Run a test once on the engine that `fastmlp` chose, and once on the reference."""
    if request.param == "reference":
        use_reference(monkeypatch)


@pytest.fixture
def global_random_seed():
    """Stand in for the fixture of scikit-learn's own suite."""
    return 42


@pytest.fixture
def random():
    return np.random.default_rng(0)
