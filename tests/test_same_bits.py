"""Same seed, same bits: for any number of threads, any order in which they meet, under load, in other processes, and
whether or not a fit was cut off, pickled or saved on its way.

By default some dozens of cases, FASTMLP_TRUST=full in the environment: 10,000 of the first property, 1,000 of each
other. What a fit gave when this was written is stored for each instruction set; see `DIGESTS`.
"""

import ast
import hashlib
import os
import pickle
import platform
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from scipy import sparse
from test_checkpoint import Killed, kill_after

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.callbacks import Checkpoint
from fastmlp.cpu import describe
from fastmlp.cpu import engine as cpu_engine
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.updates import UPDATES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Got `batch_size`"),
]
FULL = os.environ.get("FASTMLP_TRUST") == "full"
HERE = Path(__file__).parent


def examples(few, many=1_000):
    """Return the settings of a property that is tried so often: the same cases in each run, but many new ones."""
    return settings(
        max_examples=many if FULL else few,
        deadline=None,
        derandomize=not FULL,
        database=None,
        phases=[Phase.generate],  # what fails is small already, and to make it smaller takes as many fits again
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )


@st.composite
def cases(draw, solvers=(*UPDATES, "lbfgs")):
    """Draw (kind of estimator, its parameters, rows, features, classes or columns, whether rows are CSR, dtype)."""
    classifier, csr = draw(st.booleans()), draw(st.booleans())
    hidden = draw(st.lists(st.integers(1, 40), min_size=1, max_size=3))
    solver = draw(st.sampled_from(solvers))
    parameters = {
        "hidden_layer_sizes": tuple(hidden),
        "activation": draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=len(hidden), max_size=len(hidden))),
        "solver": solver,
        "random_state": draw(st.integers(0, 2**32 - 1)),
        "max_iter": draw(st.integers(1, 6)),
    }
    rows = draw(st.integers(4, 160))
    if solver != "lbfgs":
        parameters |= {
            "batch_size": draw(st.integers(max(1, rows // 12), rows)),
            "learning_rate_init": 0.001 if solver == "sgd" else 0.01,
            "dropout": draw(st.sampled_from([0.0, 0.3])),
            "max_grad_norm": draw(st.sampled_from([None, 0.1])),
            "shuffle": draw(st.booleans()),
        }
        if not csr and draw(st.booleans()):
            parameters["augment"] = draw(st.sampled_from([{"jitter": 0.1}, {"jitter": 0.1, "mixup": 0.4}]))
    outputs = draw(st.integers(1, 4))
    return classifier, parameters, rows, draw(st.integers(1, 30)), outputs, csr, draw(st.sampled_from("fd"))


def data_of(case):
    _, _, rows, features, outputs, csr, dtype = case
    classifier = case[0]
    random = np.random.default_rng(rows * features)
    X = random.normal(size=(rows, features)).astype(dtype)
    y = np.arange(rows) % (outputs + 1) if classifier else random.normal(size=(rows, outputs))
    return sparse.csr_array(X) if csr else X, y if classifier or outputs > 1 else y.ravel()


def make(case, **more):
    return (MLPClassifier if case[0] else MLPRegressor)(**{**case[1], **more})


def bits(model, X):
    """Return a digest of all that a fit has learnt, and what it predicts."""
    numbers = [
        *model.coefs_,
        *model.intercepts_,
        np.array(getattr(model, "loss_curve_", [model.loss_])),
        model.predict(X),
    ]
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in numbers)).hexdigest()


def fitted_bits(case, **more):
    """Return the digest of a fit, or of one that diverges the error, which says in which epoch."""
    X, y = data_of(case)
    model = make(case, **more)
    try:
        model.fit(X, y)
    except ValueError as error:
        if "non-finite" not in str(error):
            raise
        return str(error)
    return bits(model, X)


@contextmanager
def random_jobs(seed):
    """Let a generator choose the threads and the batches of each job, in place of the clock."""
    random, seen = np.random.default_rng(seed), []

    def next_job(pace):
        pace.settled = bool(random.integers(4) == 0)  # then a job of one thread ends the helpers
        seen.append(int(random.integers(1, pace.choices[-1] + 1)))
        return seen[-1], int(random.integers(1, 9))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_engine.Pace, "next", next_job)
        patch.setattr(cpu_engine.Pace, "done", lambda pace, team, batches, seconds: None)
        yield seen


teams = set()


@examples(40, many=10_000)
@given(case=cases(), n_threads=st.integers(1, 8), seed=st.integers(0, 2**32 - 1))
def test_any_threads_and_any_jobs(case, n_threads, seed):
    expected = fitted_bits(case, n_threads=1)
    with random_jobs(seed) as seen:
        assert fitted_bits(case, n_threads=n_threads) == expected
    teams.update(seen)


def test_teams_of_many_sizes_were_tried():
    assert len(teams) >= 5, "the property before this one has not had them"


@pytest.fixture
def load():
    """Twice as many busy processes as this one may use threads."""
    command = [sys.executable, "-c", "while True: pass"]
    busy = [subprocess.Popen(command) for _ in range(2 * describe()["threads"])]
    yield
    for process in busy:
        process.kill()
        process.wait()


@examples(4)
@given(case=cases(), n_threads=st.integers(2, 8), seed=st.integers(0, 2**32 - 1))
def test_under_load(load, case, n_threads, seed):
    expected = fitted_bits(case, n_threads=1)
    with random_jobs(seed):
        assert fitted_bits(case, n_threads=n_threads) == expected
    assert fitted_bits(case) == expected  # as the clock chooses


@examples(4)
@given(several=st.lists(cases(), min_size=2, max_size=4), seed=st.integers(0, 2**32 - 1))
def test_fits_side_by_side(several, seed):
    """Fits in threads of one process share its cores, but nothing else."""
    expected = [fitted_bits(case, n_threads=1) for case in several]
    got = [None] * len(several)

    def fit(place):
        got[place] = fitted_bits(several[place], n_threads=3)

    with random_jobs(seed):
        threads = [threading.Thread(target=fit, args=(place,)) for place in range(len(several))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert got == expected


OTHER_PROCESS = """
import pickle, sys, warnings
warnings.simplefilter("ignore")
import test_same_bits
several = pickle.load(sys.stdin.buffer)
for case in several:
    print(test_same_bits.fitted_bits(case))
"""


def run_python(program, given, **environment):
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", **environment}
    command = [sys.executable, "-c", program]
    return subprocess.run(
        command, input=pickle.dumps(given), env=environment, cwd=HERE.parent, stdout=subprocess.PIPE, check=True
    ).stdout.decode()


def test_other_process():
    """Strings have other hashes there, and arrays other addresses."""
    several = []
    examples(30)(given(case=cases())(lambda case: several.append(case)))()
    expected = [fitted_bits(case) for case in several]
    assert len(set(expected)) > len(expected) // 2
    assert run_python(OTHER_PROCESS, several, PYTHONHASHSEED="7", NUMBA_NUM_THREADS="1").splitlines() == expected


@examples(10)
@given(case=cases(solvers=tuple(UPDATES)), number=st.integers(1, 6), n_threads=st.integers(1, 8))
def test_cut_off_and_gone_on(case, number, n_threads, tmp_path):
    X, y = data_of(case)
    expected = make(case).fit(X, y)
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    with pytest.raises(Killed):
        make(case, callbacks=[checkpoint, kill_after(min(number, expected.n_iter_))]).fit(X, y)
    model = make(case, callbacks=checkpoint, n_threads=n_threads).fit(X, y)
    os.remove(checkpoint.path)
    assert bits(model, X) == bits(expected, X)
    assert model.loss_curve_ == expected.loss_curve_


def pickled(model, path):
    return pickle.loads(pickle.dumps(model))


def saved(model, path):
    model.save(path)
    return fastmlp.load(path)


@examples(12)
@given(case=cases(solvers=tuple(UPDATES)), ways=st.lists(st.sampled_from([pickled, saved]), min_size=1, max_size=4))
def test_pickled_and_saved_between_calls(case, ways, tmp_path):
    X, y = data_of(case)
    classes = {"classes": np.unique(y)} if case[0] else {}
    one, other = (make(case, keep_optimizer=True).partial_fit(X, y, **classes) for _ in range(2))
    for way in ways:
        other = way(other, tmp_path / "model")
        one.partial_fit(X, y)
        other.partial_fit(X, y)
        assert bits(other, X) == bits(one, X)


# Digests of fits, by what these depend on beside this package: the instructions that kernels are compiled to use, and
# the compiler, which chooses where a product and a sum become one rounding (FMA), and the tree of a sum over the lanes
# of a register. NumPy's part are the numbers of RandomState, which its releases keep, and square roots, which are
# exact; the data are exact in float32. scikit-learn, SciPy and the BLAS compute nothing here, and neither caches nor
# cores have a say in the order of sums. Left out are mixup, whose Beta numbers a release of NumPy may change.
FITS = {
    "classifier, adam, relu, float32": (MLPClassifier, {"hidden_layer_sizes": (37, 11)}, "f", 3),
    "classifier, adam, tanh, float64": (MLPClassifier, {"hidden_layer_sizes": (19,), "activation": "tanh"}, "d", 2),
    "regressor, sgd, logistic, float64": (MLPRegressor, {"solver": "sgd", "activation": "logistic"}, "d", 0),
    "classifier, adagrad, gelu and mish, clipped, dropout": (
        MLPClassifier,
        {
            "hidden_layer_sizes": (37, 11),
            "activation": ["gelu", "mish"],
            "solver": "adagrad",
            "max_grad_norm": 0.1,
            "dropout": 0.3,
            "l1_ratio": 0.5,
        },
        "f",
        4,
    ),
    "regressor, rmsprop, augmented": (
        MLPRegressor,
        {"solver": "rmsprop", "augment": {"jitter": 0.1, "drop_features": 0.2}},
        "d",
        0,
    ),
}
DIGESTS = {
    ("baseline", "0.68", 22): {
        "classifier, adam, relu, float32": "0d98e1100f178ded",
        "classifier, adam, tanh, float64": "6f4a08c24eb9d9ae",
        "regressor, sgd, logistic, float64": "1d5170daa5db4549",
        "classifier, adagrad, gelu and mish, clipped, dropout": "4cc1142a023a377b",
        "regressor, rmsprop, augmented": "b1eb4c205a6109d0",
    },
    ("AVX2", "0.68", 22): {
        "classifier, adam, relu, float32": "41f47669cfe98cd1",
        "classifier, adam, tanh, float64": "de26bafe7a8ab1f3",
        "regressor, sgd, logistic, float64": "3384ebbd61eb3ec2",
        "classifier, adagrad, gelu and mish, clipped, dropout": "57be9656207e3a3f",
        "regressor, rmsprop, augmented": "42305743e546839f",
    },
}


def digests():
    """Return {name of a fit: digest of its weights}."""
    place = np.arange(203 * 13).reshape(203, 13)
    X = (place * 7919 % 1024 - 512) / 256
    got = {}
    for name, (kind, parameters, dtype, classes) in FITS.items():
        y = place[:, 3] * 31 % classes if classes else X[:, 0] * X[:, 1]
        model = kind(max_iter=4, batch_size=50, random_state=0, tol=0, dtype=np.dtype(dtype).name, **parameters).fit(
            X, y
        )
        numbers = b"".join(array.tobytes() for array in [*model.coefs_, *model.intercepts_])
        got[name] = hashlib.sha256(numbers).hexdigest()[:16]
    return got


def compiler():
    """Return (release of Numba, of LLVM), as the stored digests know them."""
    return ".".join(numba.__version__.split(".")[:2]), llvm.llvm_version_info[0]


PRINT_DIGESTS = """
import warnings
warnings.simplefilter("ignore")
import test_same_bits
print((test_same_bits.describe()["instruction set"], *test_same_bits.compiler()), test_same_bits.digests())
"""


@pytest.mark.parametrize("name", ["baseline", "AVX2", "AVX-512", "NEON"])
def test_stored_digests(name, tmp_path):
    processors = {"baseline": "generic", "AVX2": "haswell"}
    if name == describe()["instruction set"]:
        got = digests()
    elif FULL and name in processors and platform.machine() == "x86_64":
        environment = {"NUMBA_CPU_NAME": processors[name], "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
        printed = run_python(PRINT_DIGESTS, None, **environment)
        assert printed.startswith(f"('{name}'")
        got = ast.literal_eval(printed[printed.index("{") :])
    else:
        pytest.skip(f"this machine's kernels are compiled for {describe()['instruction set']}, see FASTMLP_TRUST=full")
    expected = DIGESTS.get((name, *compiler()))
    if expected is None:
        pytest.skip(f"no digests are stored of {name} with Numba {compiler()[0]} and LLVM {compiler()[1]}: {got}")
    assert got == expected
