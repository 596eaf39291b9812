"""Numbers at their limits: how exact predictions are, and that what is huge, tiny, constant or alone stays right.

How exact: an output differs from that of the same weights in exact arithmetic by no more than

    (n_1 + ... + n_L + 5 L) * eps * M

where n_l is the number of inputs of layer l, L the number of layers, eps that of the dtype (1.2e-7 in float32, 2.2e-16
in float64), and M the largest output of the same network with the absolute values of all inputs, weights and biases,
and 1 + z in the place of each activation of z. This is the bound of a sum of n products (Higham, Accuracy and stability
of numerical algorithms, section 3.1) and 5 units of rounding of each activation, whose slope is 1 at most.
"""

import warnings
from itertools import pairwise

import mpmath
import numpy as np
import pytest
import scipy.special
import sklearn.neural_network

from fastmlp import MLPClassifier, MLPRegressor, reference
from fastmlp.cpu.forward import forward
from fastmlp.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DTYPES = [np.float32, np.float64]
FLAT = ["identity", "relu", "tanh", "logistic", "leaky_relu", "elu", "softsign", "arctan", "softplus", "hard_tanh"]


def parameters(widths, dtype, random):
    coefs = [random.normal(size=shape).astype(dtype) / shape[0] ** 0.5 for shape in pairwise(widths)]
    return [coef.astype(dtype) for coef in coefs], [random.normal(size=width).astype(dtype) for width in widths[1:]]


def magnitude(coefs, intercepts, X):
    """Return the outputs of absolute values."""
    values = np.abs(X.astype(np.float64))
    for coef, bias in zip(coefs, intercepts, strict=True):
        values = values @ np.abs(coef).astype(np.float64) + np.abs(bias) + 1
    return values.max()


@pytest.mark.parametrize("activation", FLAT)
@pytest.mark.parametrize("depth", [0, 1, 2, 4, 8, 16])
def test_float32_is_within_the_bound_of_its_depth(depth, activation, random):
    widths = (30, *[20] * depth, 3)
    network = Network(widths, (activation,) * depth + ("identity",), "squared_error")
    coefs, intercepts = parameters(widths, np.float32, random)
    for n_rows in (1, 300):  # few rows take a way of their own
        X = random.normal(size=(n_rows, 30)).astype(np.float32)
        wide = [[array.astype(np.float64) for array in arrays] for arrays in (coefs, intercepts)]
        exact = reference.forward(network, *wide, X.astype(np.float64))
        bound = (sum(widths[:-1]) + 5 * len(coefs)) * np.finfo(np.float32).eps * magnitude(coefs, intercepts, X)
        error = np.abs(forward(network, coefs, intercepts, X) - exact).max()
        assert error <= bound
        # and what is found is far below it, which has to hold for any signs
        assert error <= 40 * (depth + 1) * np.finfo(np.float32).eps * max(1, np.abs(exact).max())


@pytest.mark.parametrize("activation", ["tanh", "logistic", "relu"])
@pytest.mark.parametrize("depth", [1, 3])
def test_float64_against_mpmath(depth, activation, random):
    widths = (5, *[4] * depth, 2)
    network = Network(widths, (activation,) * depth + ("identity",), "squared_error")
    coefs, intercepts = parameters(widths, np.float64, random)
    X = random.normal(size=(3, 5))
    functions = {"tanh": mpmath.tanh, "logistic": lambda z: 1 / (1 + mpmath.exp(-z)), "relu": lambda z: max(z, 0)}
    bound = (sum(widths[:-1]) + 5 * len(coefs)) * np.finfo(np.float64).eps * magnitude(coefs, intercepts, X)
    with mpmath.workdps(40):
        for row, found in zip(X, forward(network, coefs, intercepts, X), strict=True):
            values = [mpmath.mpf(float(one)) for one in row]
            for layer, (coef, bias) in enumerate(zip(coefs, intercepts, strict=True)):
                values = [
                    mpmath.fsum(mpmath.mpf(float(w)) * x for w, x in zip(column, values, strict=True))
                    + mpmath.mpf(float(b))
                    for column, b in zip(coef.T, bias, strict=True)
                ]
                if layer < depth:
                    values = [functions[activation](z) for z in values]
            for one, exact in zip(found, values, strict=True):
                assert abs(mpmath.mpf(float(one)) - exact) <= bound


def classifier_of_logits(labels, dtype):
    """Return a classifier without a hidden layer, whose logits are the features, or the feature for two classes."""
    n_features = 1 if len(labels) == 2 else len(labels)
    model = MLPClassifier((), max_iter=1, random_state=0, dtype=dtype)
    model.fit(np.eye(len(labels))[:, :n_features], labels)
    model.coefs_ = [np.eye(n_features, dtype=dtype)]
    model.intercepts_ = [np.zeros(n_features, dtype)]
    return model


LOGITS = np.array([-1e4, -800.0, -88.5, -30.0, -1e-30, 0.0, 1e-30, 1.0, 30.0, 88.5, 800.0, 1e4])


def check_logarithms(found, exact, eps):
    """Compare with exact logarithms of probabilities, which themselves are right to some units of rounding at 1."""
    for one, log_p in zip(found, exact, strict=True):
        tolerance = 8 * eps * (abs(log_p) + 1 / mpmath.exp(log_p))
        if log_p < -200:  # there it is computed from the logits
            tolerance = 8 * eps * abs(log_p)
        assert np.isfinite(one)
        assert abs(mpmath.mpf(float(one)) - log_p) <= tolerance


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_of_two_classes(dtype):
    model = classifier_of_logits([0, 1], dtype)
    z, eps = LOGITS[:, np.newaxis].astype(dtype), np.finfo(dtype).eps
    probability, logarithm = model.predict_proba(z), model.predict_log_proba(z)
    np.testing.assert_allclose(
        probability[:, 1],
        scipy.special.expit(z[:, 0].astype(float)),
        rtol=8 * eps,
        atol=4 * np.finfo(dtype).tiny,
    )
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=2 * eps)
    with mpmath.workdps(60):
        for value, found in zip(z[:, 0], logarithm, strict=True):
            exact = [-mpmath.log1p(mpmath.exp(sign * mpmath.mpf(float(value)))) for sign in (1, -1)]
            check_logarithms(found, exact, eps)
    np.testing.assert_array_equal(model.predict(z), LOGITS > 1e-20)  # of less it is 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_large_logits_of_more_classes(dtype, random):
    model = classifier_of_logits([0, 1, 2], dtype)
    z, eps = random.choice(LOGITS, size=(60, 3)).astype(dtype), np.finfo(dtype).eps
    probability, logarithm = model.predict_proba(z), model.predict_log_proba(z)
    assert ((probability >= 0) & (probability <= 1)).all()
    np.testing.assert_allclose(
        probability, scipy.special.softmax(z.astype(float), axis=1), rtol=200 * eps, atol=8 * eps
    )
    np.testing.assert_allclose(probability.sum(axis=1), 1, rtol=4 * eps)
    with mpmath.workdps(60):
        for row, found in zip(z, logarithm, strict=True):
            logits = [mpmath.mpf(float(one)) for one in row]
            total = mpmath.log(mpmath.fsum(mpmath.exp(one) for one in logits))
            check_logarithms(found, [one - total for one in logits], eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2]], ids=["two", "three"])
def test_training_from_large_logits(labels, dtype):
    """The loss is clipped at eps, as scikit-learn's is; gradients are those of the probabilities, and finite."""
    model = classifier_of_logits(labels, dtype).set_params(
        warm_start=True, max_iter=1, solver="sgd", momentum=0.0, alpha=0.0
    )
    n_features = len(model.coefs_[0])
    X, y = np.full((4, n_features), 1e4, dtype), np.arange(4) % len(labels)
    X[:, -1] = -1e4
    model.partial_fit(X, y)
    assert np.isfinite(model.loss_)
    theirs = sklearn.neural_network.MLPClassifier(
        (), solver="sgd", momentum=0.0, alpha=0.0, random_state=0, max_iter=1, warm_start=True
    )
    theirs.fit(np.eye(len(labels))[:, :n_features], labels)
    theirs.coefs_, theirs.intercepts_ = [np.eye(n_features)], [np.zeros(n_features)]
    theirs.partial_fit(X.astype(float), y)
    if dtype == "float64":
        assert model.loss_ == pytest.approx(theirs.loss_, rel=1e-12)
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=20 * eps, atol=20 * eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_of_1e_minus_30(dtype):
    """Smaller than rounding at 1, and a product of two is below the range of float32: zero there, as README says."""
    X = np.array([[1.0, -2.0], [1e4, 3.0], [0.0, 0.0]], dtype)
    for depth in (0, 1, 2):
        widths = (2, *[2] * depth, 1)
        network = Network(widths, ("identity",) * (depth + 1), "squared_error")
        coefs = [np.full(shape, 1e-30, dtype) for shape in pairwise(widths)]
        found = forward(network, coefs, [np.zeros(width, dtype) for width in widths[1:]], X)
        exact = (
            X.astype(float).sum(axis=1, keepdims=True) * float(np.dtype(dtype).type(1e-30)) ** (depth + 1) * 2**depth
        )
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, exact, rtol=8 * np.finfo(dtype).eps, atol=2 * np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("value", [0.0, 1.0, -1e4, 1e-30])
def test_constant_columns(value, solver, dtype, random):
    X, y = random.normal(size=(50, 3)), random.normal(size=50)
    X[:, 1] = value
    settings = {"hidden_layer_sizes": (4,), "activation": "tanh", "solver": solver, "max_iter": 3, "random_state": 0}
    ours = MLPRegressor(**settings, dtype=dtype).fit(X, y)
    theirs = sklearn.neural_network.MLPRegressor(**settings).fit(X, y)
    assert all(np.isfinite(array).all() for array in (*ours.coefs_, *ours.intercepts_))
    if value == 0.0:  # its weights only shrink
        first = MLPRegressor(**settings, dtype=dtype).set_params(max_iter=1).fit(X, y)
        assert (np.abs(ours.coefs_[0][1]) <= np.abs(first.coefs_[0][1]) * 1.001).all()
    np.testing.assert_allclose(
        ours.predict(X),
        theirs.predict(X),
        rtol=1e-2 if dtype == "float32" else 1e-6,
        atol=1e-3 if dtype == "float32" else 1e-9,
    )
    whole = np.full((50, 3), value)
    assert np.ptp(ours.fit(whole, y).predict(whole)) == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("label", ["only", 7, True, -0.0])
def test_labels_of_one_class(label, solver, dtype, random):
    X, y = random.normal(size=(20, 3)), np.full(20, label)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier((4,), solver=solver, max_iter=20, random_state=0, dtype=dtype).fit(X, y)
    assert np.isfinite(model.loss_)
    assert model.classes_.tolist() == [label]
    np.testing.assert_array_equal(model.predict(X), y)
    probability = model.predict_proba(X)
    assert np.isfinite(probability).all()
    assert np.isfinite(model.predict_log_proba(X)).all()
