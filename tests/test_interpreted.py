"""The kernels without a compiler, line by line in Python, on small networks: the same results, and lines that count.

Coverage sees no line of compiled code. So the same program runs here and in a process without the compiler.
"""

import os
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from problems import FURTHER_OUTPUTS, OUTPUTS, make_network, make_problem, run
from scipy import sparse
from suite import measured

from fastmlp import Activation, MLPClassifier, MLPRegressor, Perceptron
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import FEW_ROWS, forward
from fastmlp.cpu.saliency import hidden_layer, input_gradient
from fastmlp.cpu.threads import Pace
from fastmlp.formulas import derivatives
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Network, flatten

PROGRAM = """
import sys
import interpreted
interpreted.replace_compiler()
import numpy as np
import test_interpreted as test
np.savez(sys.argv[1], **test.results())
"""
RARE = [  # settings of a training, beside the loss, the activation and the update
    {"csr": True, "max_norm": 0.05, "l1_ratio": 0.3},
    {"n_threads": 2, "batch": 18, "max_norm": 1e9},
    {"augment": {"jitter": 0.1, "drop_features": 0.2, "mixup": 0.3}},
    {"weighted": False, "alpha": 0.0},
    {"csr": True, "n_threads": 2},
]


def trainings():
    """Yield a name, a network and settings; between them they have every formula."""
    losses, updates = [*OUTPUTS, *FURTHER_OUTPUTS], list(UPDATES)
    hidden = [name for name in ACTIVATIONS if name != "softmax"]
    for i in range(max(len(losses), len(updates), -(-len(hidden) // 2))):
        network = make_network((3, 5, 2, 1 + i % 3), losses[i % len(losses)])
        if network.loss in ("log_loss", "soft_log_loss", "softmax_squared_error", "grouped_log_loss"):
            network = make_network((3, 5, 2, 3), network.loss)
        activations = (hidden[2 * i % len(hidden)], hidden[(2 * i + 1) % len(hidden)], network.activations[-1])
        network = replace(network, activations=activations, dropout=(0.3, 0.0) if i % 4 == 1 else ())
        settings = {"update": updates[i % len(updates)], "batch": 9, "epochs": 1, **RARE[i % len(RARE)]}
        if network.loss == "log_loss":
            settings.pop("augment", None)  # classes are not mixed
        yield f"{network.loss} {activations} {settings}", network, settings
    own = Network((3, 5, 1), (Activation(user_activation, slope), "identity"), "squared_error")
    yield "a user's functions", own, {"augment": {"function": change}, "epochs": 1}


def user_activation(z):
    return z * z


def slope(z):
    return z + z


def change(row, uniform):
    for i in range(len(row)):
        row[i] += uniform[i]


@mock.patch.object(Pace, "next", lambda pace: (pace.choices[-1], 64))  # whole teams, and several epochs at once
def results():
    """Return what is computed, by name: small trainings, predictions, gradients, and fits of estimators."""
    found = {}
    for name, network, settings in trainings():
        problem = make_problem(network, 18)
        found[f"{name} losses"], found[f"{name} parameters"], found[f"{name} state"] = run(
            Engine, network, problem, np.float64, **settings
        )
        coefs, intercepts = problem[3]
        for rows in (problem[0][:2], sparse.csr_array(problem[0])):
            found[f"{name} forward {rows.shape}"] = forward(network, coefs, intercepts, rows)
    wide = Network((11, 37, 30, 18), ("gelu", "tanh", "identity"), "squared_error")
    X, targets, _, parameters = make_problem(wide, FEW_ROWS + 3)
    found["wide"] = run(Engine, wide, (X, targets, None, parameters), np.float64, weighted=False, epochs=1)[1]
    found["hidden layer"] = hidden_layer(wide, *parameters, X)
    found["input gradient"] = input_gradient(wide, *parameters, X, targets)
    with Engine(wide, np.dtype(np.float64)) as engine:
        engine.load(X, targets)
        loss, gradient = engine.loss_and_gradient(flatten(*parameters), 0.1)
        found["gradient"] = np.append(gradient, loss)
    for function in (value for value in vars(derivatives).values() if is_derivative(value)):
        found[function.__name__] = np.array([function(x) for x in (0.3, 0.9, 2.5)])
    return found | fits()


def is_derivative(value):
    """Return whether this is an elementary function with its derivative, which a user's function may call."""
    return (
        getattr(value, "__module__", None) == derivatives.__name__
        and value.__name__[0] != "_"
        and value is not derivatives.circle_series
    )


def fits():
    random = np.random.default_rng(0)
    X, found = random.normal(size=(40, 4)), {}
    labels, numbers = np.argmax(X[:, :3], axis=1), X[:, :2] @ random.normal(size=(2, 2))
    settings = {"hidden_layer_sizes": (3,), "max_iter": 4, "tol": 10.0, "n_iter_no_change": 2, "random_state": 0}
    models = {
        "classifier": MLPClassifier(**settings, early_stopping=True).fit(X, labels),
        "two classes": MLPClassifier(**settings, early_stopping=True).fit(X, labels > 0),
        "single precision": MLPClassifier(**settings, dtype="float32").fit(X, labels),
        "regressor": MLPRegressor(**settings, early_stopping=True).fit(sparse.csr_array(X), numbers),
        "lbfgs": MLPRegressor(**settings | {"solver": "lbfgs", "max_iter": 30}).fit(X, numbers),
        "perceptron": Perceptron(random_state=0, max_iter=3).fit(X, labels > 0),
        "sparse perceptron": Perceptron(random_state=0, max_iter=3).fit(sparse.csr_array(X), labels),
    }
    for name, model in models.items():
        predict = getattr(model, "predict_proba", None) or getattr(model, "decision_function", None) or model.predict
        found[name] = predict(X)
        found[f"{name} curve"] = np.asarray(getattr(model, "loss_curve_", ()))
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore::RuntimeWarning")
@pytest.mark.skipif(np.__version__ < "2", reason="before NumPy 2 a sum of a signed and an unsigned number is a float")
def test_same_results_without_a_compiler(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "found.npz")],
        env=measured({**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_DISABLE_JIT": "1"}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found, expected = np.load(tmp_path / "found.npz"), results()
    assert {*found} == {*expected}
    for name, array in expected.items():
        rtol, atol = (1e-4, 1e-5) if name.startswith("single") else (1e-9, 1e-11)
        np.testing.assert_allclose(found[name], array, rtol, atol, err_msg=name)
