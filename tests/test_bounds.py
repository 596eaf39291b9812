"""No kernel of the CPU reads or writes beyond its arrays, at sizes from one to two tiles and one.

By default some of the sizes, with fences on one side of each; FASTMLP_TRUST=full in the environment: all of them, also
with the checks of Numba, and functions of users.
"""

import faulthandler
import itertools
import math
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from problems import FURTHER_OUTPUTS, OUTPUTS, UPDATES, make_network, make_problem, run
from scipy import sparse
from suite import run_kernel_tests

from fastmlp import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.activation import Activation
from fastmlp.cpu import forward, saliency, share
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.layout import BLOCK_ROWS, lanes_of
from fastmlp.cpu.target import PANELS, ROWS
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.network import Network

FULL = os.environ.get("FASTMLP_TRUST") == "full"
DTYPES = (np.float32, np.float64)
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pages are protected by calls of Linux")


def sizes(tile, *others):
    """Return all sizes up to two tiles and one; by default some at the edges of tiles and of the others."""
    if FULL:
        return range(1, 2 * tile + 2)
    return sorted({1, *(size + 1 for size in others), tile, tile + 1, 2 * tile + 1})


def trainings():
    """Yield (name, network, rows, dtype, settings of `run`)."""
    augment = {"jitter": 0.1, "drop_features": 0.1, "mixup": 1.0}
    for dtype in DTYPES:
        lanes = lanes_of(dtype)
        for width, csr in itertools.product(sizes(PANELS * lanes, lanes), (False, True)):
            yield "width", make_network((width, 3, width, 2), "log_loss"), 9, dtype, {"batch": 9, "csr": csr}
            more = {"batch": 9, "csr": csr, "max_norm": 0.1, "l1_ratio": 0.3} | ({} if csr else {"augment": augment})
            network = replace(make_network((width, width, 5, width), activation="gelu"), dropout=(0.3, 0.5))
            yield "width, regularised", network, 9, dtype, more
            yield "width, augmented", make_network((width, 1), "soft_binary_log_loss"), 9, dtype, more
        for rows, csr in itertools.product(sizes(max(ROWS, lanes), ROWS), (False, True)):
            for loss in ("log_loss", "squared_error", "softmax_squared_error"):
                yield "rows", make_network((5, 4, 2), loss), rows, dtype, {"batch": rows, "csr": csr}
            yield "batch", make_network((5, 20, 2)), rows, dtype, {"batch": 2 * rows + 40, "csr": csr}
            yield "last batch", make_network((5, 20, 2)), 40 + rows, dtype, {"batch": 40, "csr": csr}
            yield (
                "last block",
                make_network((5, 9, 2)),
                BLOCK_ROWS + rows,
                dtype,
                {"batch": BLOCK_ROWS + rows, "csr": csr},
            )
        for loss, outputs in itertools.product([*OUTPUTS, *FURTHER_OUTPUTS], sizes(lanes)):
            for weighted in (False, True):
                yield "outputs", make_network((3, 4, outputs), loss), 2 * lanes + 1, dtype, {"weighted": weighted}
        for activation in ACTIVATIONS:
            yield "activation", make_network((7, lanes + 1, 3), "log_loss", activation), 9, dtype, {"batch": 5}
        for update, csr in itertools.product(UPDATES, (False, True)):
            for more in ({}, {"l1_ratio": 0.5, "max_norm": 0.1}):
                network = make_network((7, 19, 5, 3), "log_loss")
                yield "update", network, 75, dtype, {"update": update, "csr": csr, "batch": 70, **more}
        for n_threads, rows in itertools.product((2, 3), (1, ROWS, 2 * ROWS + 1, 203)):
            more = {"batch": 100, "n_threads": n_threads, "epochs": 4}
            yield "threads", make_network((9, 40, 17, 3)), rows, dtype, more
            yield "threads", make_network((9, 40, 17, 3)), rows, dtype, {**more, "csr": True, "max_norm": 0.1}


def train(network, n_rows, dtype, settings):
    return run(Engine, network, make_problem(network, n_rows, dtype), dtype, **settings)


def predictions():
    """Yield (name, network, rows, dtype, threads)."""
    for dtype in DTYPES:
        lanes = lanes_of(dtype)
        for width in sizes(PANELS * lanes, lanes):
            yield "width", make_network((width, width, 5, width), "log_loss", "relu"), 9, dtype, 1
            yield "width", make_network((width, 3, 1), "binary_log_loss", "mish"), 9, dtype, 1
            yield "width", make_network((width, 4, width), "grouped_log_loss"), 9, dtype, 1
        for rows, n_threads in itertools.product(sizes(max(ROWS, lanes), ROWS), (1, 3)):
            yield "rows", make_network((5, 4, 2)), rows, dtype, n_threads
            yield "last block", make_network((5, 9, 2), "log_loss"), BLOCK_ROWS + rows, dtype, n_threads


def predict(network, n_rows, dtype, n_threads):
    """All that asks for outputs; rows go through the weights as they lie, and in blocks."""
    X, targets, weight, (coefs, intercepts) = make_problem(network, n_rows, dtype)
    results = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(share, "WAKE_PRODUCTS", 1)
        for few in (0, 1 << 40):
            patch.setattr(forward, "FEW_ROWS", few)
            patch.setattr(forward, "FEW_PRODUCTS", few)
            for raw in (False, True):
                results.append(forward.forward(network, coefs, intercepts, X, n_threads, raw=raw))
                if few == 0:
                    rows = sparse.csr_array(X)
                    results.append(forward.forward(network, coefs, intercepts, rows, n_threads, raw=raw))
            results.append(saliency.hidden_layer(network, coefs, intercepts, X, n_threads))
    for rows in (X, sparse.csr_array(X)):
        errors = np.ones((n_rows, network.widths[-1]), dtype)
        results.append(saliency.input_gradient(network, coefs, intercepts, rows, errors, n_threads))
    with Engine(network, dtype, n_threads) as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(coefs, intercepts)
        output = engine.forward(X)
        results += [output, engine.mean_loss(output, targets, weight), engine.mean_loss(output, targets)]
    return results


def estimators():
    """Yield (name, what is fitted, rows, dtype, whether rows are CSR)."""
    settings = {"max_iter": 5, "random_state": 0}
    for dtype in DTYPES:
        for features, csr in itertools.product(sizes(lanes_of(dtype)), (False, True)):
            for model in (
                MLPClassifier((9,), **settings),
                MLPClassifier((9,), batch_size=7, early_stopping=True, **settings),
                MLPClassifier((9,), solver="lbfgs", **settings),
                MLPRegressor(hidden_layer_sizes=(9, 8), batch_size=1, solver="sgd", n_threads=2, **settings),
                Perceptron(max_iter=5, random_state=0),
            ):
                yield type(model).__name__, model, features, dtype, csr


def fit(model, features, dtype, csr):
    """Whole epochs at once, validation rows among the others, and more rows at every size."""
    random = np.random.default_rng(0)
    X = random.normal(size=(43, features)).astype(dtype)
    y = (X[:, 0] > 0).astype(int) + (X[:, -1] > 1)
    rows = sparse.csr_array(X) if csr else X
    model.fit(rows, y)
    if not getattr(model, "early_stopping", False) and getattr(model, "solver", "") != "lbfgs":
        model.partial_fit(rows, y)
    return [model.predict(rows), *model.coefs_] if hasattr(model, "coefs_") else [model.predict(rows), model.coef_]


def wave(z):
    return z + math.sin(z) ** 2


def shift(x, uniform):
    for feature in range(x.size):
        x[feature] += uniform[feature]


def of_users():
    """Yield trainings with functions of users, which are compiled here."""
    for dtype in DTYPES:
        for width in sizes(lanes_of(dtype)):
            network = Network((width, width, 2), (Activation(wave), "identity"), "squared_error")
            yield "function", network, 9, dtype, {"augment": {"function": shift}}


# what is fenced, and where: (each region of a flat buffer, or the whole; whether the fence is behind it or before)
WHOLE, REGIONS = [(False, True), (False, False)], [(True, True), (True, False)]
KINDS = {
    "training": (trainings, train, WHOLE + REGIONS if FULL else REGIONS),
    "prediction": (predictions, predict, WHOLE + REGIONS if FULL else REGIONS),
    # after whole epochs the parameters are asked whether they are finite, all in one run over the buffer
    "estimators": (estimators, fit, WHOLE),
}
if FULL:
    KINDS["functions of users"] = (of_users, train, WHOLE + REGIONS)


def run_cases(kind):
    """Run all cases of a kind, with fences and without, and compare; the last line printed is of what failed."""
    from fences import fenced

    faulthandler.enable()
    warnings.simplefilter("ignore")
    cases, function, fences = KINDS[kind]
    count, random = 0, np.random.default_rng(0)
    for name, *arguments in cases():
        expected = function(*arguments)
        for regions, behind in fences if FULL else [fences[random.integers(len(fences))]]:
            described = (" ".join(str(argument).split()) for argument in arguments)
            print(f"{regions=} {behind=}", name, *described, flush=True)
            with fenced(regions, behind):
                got = function(*arguments)
            for one, other in zip(got, expected, strict=True):
                np.testing.assert_array_equal(one, other)
            count += 1
    print(count, "cases", flush=True)


def run_python(program, **environment):
    here = Path(__file__).parent
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{here.parent}", **environment},
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_beyond_the_arrays(kind):
    result = run_python(f"import test_bounds; test_bounds.run_cases({kind!r})")
    last = result.stdout.splitlines()[-1:]
    assert result.returncode == 0, f"exit {result.returncode} in {last}\n{result.stderr[-3000:]}"
    assert last[0].endswith(" cases")


FAULTS = """
import os, signal
import numpy as np
from fences import fenced
from problems import UPDATES, make_network, make_problem
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.layout import BIAS, OUTPUT

def epochs(fault, step, behind):
    network = make_network((5, 20, 2))
    X, targets, weight, parameters = make_problem(network, 9)
    with fenced(regions=True, behind=behind), Engine(network, X.dtype, 1) as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(*parameters)
        order = np.arange(9)
        engine.run_epoch(order, 9, 0.1, UPDATES["adam"])
        if fault == "row":
            order[4] += step * 5
        elif step != 0:
            engine._layout.layers[0][{"bias": BIAS, "output": OUTPUT}[fault]] += step if behind else -step
        engine.run_epoch(order, 9, 0.1, UPDATES["adam"])

epochs("bias", 0, True)
for fault in ("bias", "output", "row"):
    for behind in (True, False) if fault != "row" else (True,):
        for step in (0, 1):
            process = os.fork()
            if process == 0:
                epochs(fault, step, behind)
                os._exit(0)
            print(fault, "behind" if behind else "before", step, os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))
"""


def test_faults_are_seen():
    """One number beyond the biases of a layer is read, one beyond its outputs written, one row beyond the rows read."""
    result = run_python(FAULTS)
    assert result.returncode == 0, result.stderr
    exits = {tuple(line.split()[:3]): int(line.split()[3]) for line in result.stdout.splitlines()}
    assert len(exits) == 10
    assert all(code == (0 if case[2] == "0" else -signal.SIGSEGV) for case, code in exits.items()), exits


CHECKED = """
import numpy as np
from numba import njit
from fastmlp.cpu.compile import OPTIONS
njit(**OPTIONS)(lambda array, place: array[place])(np.zeros(3), 3)
"""


def test_indices_of_numba(tmp_path):
    """What kernels read and write number by number, Numba itself can check."""
    assert "IndexError" in run_python(CHECKED, NUMBA_BOUNDSCHECK="1").stderr
    if FULL:  # to compile one program so takes half a minute
        run_kernel_tests(tmp_path, NUMBA_BOUNDSCHECK="1")
