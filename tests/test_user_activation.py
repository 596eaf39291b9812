"""Users' own activations: what they compute, and that no code is taken for another one's."""

import math
import os
import pickle
import subprocess
import sys
import types as python_types
from pathlib import Path

import numpy as np
import pytest
import scipy.special
from conftest import use_reference
from numba import njit, types
from numba.core.errors import TypingError
from problems import make_problem
from problems import run as train
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from suite import measured

import fastmlp
from fastmlp import Activation, reference
from fastmlp.cpu import Engine
from fastmlp.cpu.elementwise import block_arguments, call_at
from fastmlp.cpu.forward import forward
from fastmlp.cpu.user import UserActivation, address_of
from fastmlp.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

REPOSITORY = Path(__file__).parents[1]
X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


@njit
def run(address, memory, size, slope):
    return call_at(address, memory, 0, size, slope)


def values_and_slopes(activation, z):
    """Return what the compiled code of an activation gives at z, whose size is a multiple of a register's."""
    activation = activation if isinstance(activation, Activation) else Activation(activation)
    memory = np.concatenate([z, np.full_like(z, -1)])
    assert not run(address_of(activation, z.dtype), memory, z.size, z.size)
    alone = z.copy()
    assert not run(address_of(activation, z.dtype), alone, z.size, 0)
    np.testing.assert_array_equal(alone, memory[: z.size])
    return memory[: z.size], memory[z.size :]


def differences(function, z):
    """Return the derivative of a Python function by differences of fourth order, right to some 1e-11."""
    step = 1e-3

    def change(h):
        return np.array([function(float(x) + h) - function(float(x) - h) for x in z])

    return (8 * change(step) - change(2 * step)) / (12 * step)


BETA, ROOTS, ZERO = 1.5, (0.5, -1.0), 0.0


def with_helper(z):
    return helper(z, BETA) + helper(z, 2.0)


def helper(z, scale):
    return math.tanh(scale * z) / scale


compiled_helper = njit(helper)


@njit
def compiled(z):
    return compiled_helper(z, BETA) + z


def loop(z):
    total = 0.0
    for root in ROOTS:
        total += (z - root) ** 2
    product = 1
    for _ in range(3):
        product *= 0.5 * z
    return total + product


def branches(z):
    if z > 1:
        return 1
    if -2 < z <= 1 and z != 5:
        return z - 0.1 * z * z
    return 0.25 * math.exp(z) if z < -2 else 0


def series(z):
    result, term, n = 1.0, 1.0, 0
    while abs(term) > 1e-18 and n < 60:
        n += 1
        term *= z / n
        result += term
    return result


def caught(z):
    try:
        return math.exp(z)
    except Exception:
        return 0.0


def local_function(z):
    def inner(x):
        return x * math.exp(-x * x)

    return inner(z) + inner(2 * z)


def keyword(z, beta=0.7, gamma=2):
    return beta * z**gamma


# away from where they have no derivative: no z is a multiple of 0.1
SMOOTH = {
    "arithmetic": lambda z: (3 - z) / (2 + z * z) - +z / 4 + (-z) * z,
    "reversed": lambda z: 1 / (z * z + 2) - 2 / (4 + z) + 5 * z,
    "square": lambda z: z**2,
    "cube": lambda z: z**3 - z**1 + z**0,
    "seventh power": lambda z: z**7,
    "negative power": lambda z: (z * z + 1) ** -3,
    "power with float": lambda z: (z * z + 1) ** 1.5 + (z + 4) ** 0.5 + (z + 4) ** -0.3 + z**2.0,
    "power with variable": lambda z: (z + 4) ** z + 2.0**z + 2**z,
    "power of pow": lambda z: pow(z, 3) + math.pow(z + 4, 1.1) + np.power(z + 4, z),
    "power with closure": lambda z: (z * z) ** BETA,
    "absolute": lambda z: abs(z) * z + math.fabs(z) + np.abs(z - 1),
    "maximum": lambda z: max(z, 0.25) + min(1.05, z * z) + max(0.25 * z, 0.1 * z),
    "np.maximum": lambda z: np.maximum(z, 0.25) * np.minimum(0.55 * z, 2) + np.clip(z, -0.65, 1.25),
    "where": lambda z: np.where(z > 0.25, z, np.expm1(z)) + np.where(z <= -1.05, 0.0, z),
    "masks": lambda z: np.where((z > -1.05) & ~(z >= 0.25) | (z == 7), z * z, 1) + (z > 0.35) * z + 2 * (z < 0),
    "logic": lambda z: np.where(np.logical_and(z != 0, np.logical_not(z < 0.05)), z, -z),
    "floor": lambda z: math.floor(z) * z + np.ceil(z) + np.sign(z) * z,
    "remainder": lambda z: (z % 0.75) * z + z // 0.75,
    "exp": lambda z: math.exp(z) + np.exp(-z),
    "expm1": lambda z: math.expm1(z) * np.expm1(-z),
    "log": lambda z: math.log(z + 4) + np.log(z * z + 0.1) + np.log2(z + 4) + math.log10(z + 4),
    "log1p": lambda z: math.log1p(z * z) + np.log1p(0.3 * z),
    "sqrt": lambda z: math.sqrt(z + 4) + np.sqrt(z * z + 1),
    "tanh": lambda z: math.tanh(z) + np.tanh(2 * z),
    "sinh": lambda z: math.sinh(z) + np.cosh(2 * z),
    "sine": lambda z: math.sin(z) + np.cos(3 * z) + z / 10,
    "tangent": lambda z: math.tan(z / 3),
    "arctan": lambda z: math.atan(z) + np.arctan(3 * z) + np.arcsinh(z),
    "erf": lambda z: math.erf(z) - 2 * math.erfc(z / 2),
    "special": lambda z: scipy.special.expit(z) + scipy.special.erf(z) + z * scipy.special.ndtr(z),
    "logaddexp": lambda z: np.logaddexp(0, z) + np.logaddexp(2 * z, 1 - z),
    "others": lambda z: np.square(z) + np.reciprocal(z + 4),
    "constant": lambda z: 0.5,
    "a mask": lambda z: z > 0.05,
    "helper": with_helper,
    "loop": loop,
    "branches": branches,
    "series": series,
    "try": caught,
    "function within": local_function,
    "keyword": keyword,
    "compiled": compiled,
}


@pytest.mark.parametrize("name", SMOOTH)
def test_values_and_exact_derivatives(name):
    function = SMOOTH[name]
    z = np.linspace(-2.93, 2.97, 64)
    expected = np.array([function(float(x)) for x in z], float)
    slope = differences(function, z)
    a, derivative = values_and_slopes(function, z)
    np.testing.assert_allclose(a, expected, rtol=1e-14, atol=2e-15)
    np.testing.assert_allclose(derivative, slope, rtol=1e-8, atol=1e-8)
    a, derivative = values_and_slopes(function, z.astype(np.float32))
    np.testing.assert_allclose(a, expected, rtol=3e-6, atol=2e-6)
    np.testing.assert_allclose(derivative, slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["masks", "series", "branches", "loop"])
def test_only_what_the_number_decides_is_not_computed_in_registers(name):
    activation = Activation(SMOOTH[name])
    registers, scalars = UserActivation((activation.function,), f"test {name}").ways()
    if name in ("series", "branches"):
        with pytest.raises(TypingError, match="bool"):
            registers.compile(block_arguments(types.float32))
    else:
        registers.compile(block_arguments(types.float32))
    scalars.compile(block_arguments(types.float32))


def given_tanh(z):
    return math.tanh(z)


def slope_of_tanh(z):
    return 1 - np.tanh(z) ** 2


def log_gamma(z):
    return math.lgamma(z + 5.0)


def digamma(z):  # to four digits
    z = z + 5.0
    return math.log(z) - 1 / (2 * z) - 1 / (12 * z * z)


def step_slope(z):
    return np.where(z > 0, 1.0, 0.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_derivative_that_is_given_is_taken(dtype):
    z = np.linspace(-2.93, 2.97, 64).astype(dtype)
    a, derivative = values_and_slopes(Activation(given_tanh, slope_of_tanh), z)
    np.testing.assert_allclose(a, np.tanh(z), rtol=1e-6)
    np.testing.assert_allclose(derivative, 1 - np.tanh(z) ** 2, rtol=1e-4)
    _, derivative = values_and_slopes(Activation(given_tanh, step_slope), z)
    np.testing.assert_array_equal(derivative, z > 0)
    _, derivative = values_and_slopes(Activation(given_tanh, lambda z: 3), z)
    np.testing.assert_array_equal(derivative, 3)
    # what cannot be differentiated is plain numbers to both
    a, derivative = values_and_slopes(Activation(log_gamma, digamma), z)
    np.testing.assert_allclose(a, scipy.special.gammaln(z + 5.0), rtol=1e-5)
    np.testing.assert_allclose(derivative, scipy.special.digamma(z + 5.0), rtol=1e-3)


def test_where_there_is_no_derivative_it_is_that_of_the_middle():
    for function in (lambda z: max(z, 0), lambda z: np.maximum(0.0, z), lambda z: np.clip(z, 0, 5)):
        assert values_and_slopes(function, np.zeros(16))[1][0] == 0.5
    assert values_and_slopes(abs, np.zeros(16))[1][0] == 0
    a, derivative = values_and_slopes(lambda z: max(z, 0.0) + math.log1p(math.exp(-abs(z))), np.zeros(16))
    np.testing.assert_allclose(a, math.log(2))
    assert derivative[0] == 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_at_the_edges(dtype):
    z = np.array([0, np.inf, -np.inf, np.nan] * 4, dtype)
    for function, expected in (
        (math.exp, [1, np.inf, 0, np.nan]),
        (math.log, [-np.inf, np.inf, np.nan, np.nan]),
        (np.log1p, [0, np.inf, np.nan, np.nan]),
        (math.tanh, [0, 1, -1, np.nan]),
        (math.sin, [0, np.nan, np.nan, np.nan]),
        (math.sqrt, [0, np.inf, np.nan, np.nan]),
        (np.sign, [0, 1, -1, np.nan]),
        (lambda z: np.maximum(z, 1.0), [1, np.inf, 1, np.nan]),
        (lambda z: np.minimum(1.0, z), [0, 1, -np.inf, np.nan]),
        (lambda z: np.where(np.isnan(z), 7.0, z), [0, np.inf, -np.inf, 7]),
        (lambda z: z**0 + z**2, [1, np.inf, np.inf, np.nan]),
        (lambda z: z**ZERO + z**2.5, [1, np.inf, np.inf, np.nan]),
    ):
        np.testing.assert_array_equal(values_and_slopes(function, z)[0][:4], np.array(expected, dtype))


@pytest.mark.parametrize(("power", "expected"), [(0.0, 0), (0.5, np.inf), (1.0, 1), (1.5, 0), (2.0, 0), (3, 0)])
def test_derivatives_of_powers_at_zero(power, expected):
    z = np.zeros(16)
    assert values_and_slopes(lambda z: z**power, z)[1][0] == expected
    assert values_and_slopes(lambda z: z ** (power + 0 * z), z)[1][0] == expected


def test_sine_of_large_numbers():
    for dtype, largest, tolerance in (("float32", 1e4, 1e-7), ("float64", 1e6, 3e-16)):
        z = np.linspace(-largest, largest, 1 << 14).astype(dtype)
        sine, cosine = values_and_slopes(math.sin, z)
        np.testing.assert_allclose(sine, np.sin(z.astype(np.longdouble)), rtol=0, atol=tolerance)
        np.testing.assert_allclose(cosine, np.cos(z.astype(np.longdouble)), rtol=0, atol=tolerance)
    z = np.array([1e30, -1e12, 3e7, 1e9] * 4, np.float32)
    assert np.abs(values_and_slopes(math.sin, z)).max() <= 1.001


def too_large(z):
    if z > 2:
        raise ValueError("too large")
    return z


def own_tanh(z):
    return math.tanh(z)


def own_softplus(z):
    return np.logaddexp(0, z)


def own_silu(z):
    return z / (1 + math.exp(-z))


def own_relu(z):
    return max(z, 0.0)


def relu_by_branches(z):
    if z > 0:
        return z
    return 0


COPIES = {
    "tanh": own_tanh,
    "softplus": own_softplus,
    "silu": own_silu,
    "relu": own_relu,
    "gelu": lambda z: 0.5 * z * (1 + math.erf(z / math.sqrt(2))),
    "logistic": lambda z: 1 / (1 + np.exp(-z)),
    "elu": lambda z: np.where(z > 0, z, np.expm1(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "arctan": Activation(np.arctan),
}


def classifier(activation, **settings):
    settings = {"hidden_layer_sizes": (8, 6), "max_iter": 20, "random_state": 0, "dtype": "float64", **settings}
    return fastmlp.MLPClassifier(activation=activation, **settings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in COPIES if name != "logistic"])  # which has other initial weights
def test_a_copy_of_a_named_one_has_its_curve(name, dtype):
    named, own = (classifier(activation, dtype=dtype).fit(X, y) for activation in (name, COPIES[name]))
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(own.loss_curve_, named.loss_curve_, rtol=tolerance)
    np.testing.assert_allclose(own.predict_proba(X), named.predict_proba(X), rtol=0, atol=10 * tolerance)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("own", [relu_by_branches, Activation(own_relu, step_slope)])
def test_branches_and_a_given_derivative(own):
    named = classifier("relu", max_iter=5).fit(X, y)
    np.testing.assert_allclose(classifier(own, max_iter=5).fit(X, y).loss_curve_, named.loss_curve_, rtol=1e-4)


def test_same_curve_as_the_reference(monkeypatch):
    activation = (with_helper, "relu", Activation(own_silu))
    settings = {"hidden_layer_sizes": (8, 6, 5), "solver": "sgd"}
    ours = classifier(activation, **settings).fit(X, y)
    use_reference(monkeypatch)
    theirs = classifier(activation, **settings).fit(X, y)
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-9)


def logarithm(z):
    return np.log(np.abs(z))


def reciprocal(z):
    return 1 / z


def test_no_number_for_zero():
    """That is what the lanes beyond a layer's units hold, and no sum may take it in."""
    for widths in ((4, 5, 1), (4, 5, 1, 7, 1), (4, 5, 3)):
        network = Network(
            widths, (Activation(logarithm, reciprocal),) * (len(widths) - 2) + ("identity",), "squared_error"
        )
        problem = make_problem(network, 90)
        results = (train(kind, network, problem, np.float64) for kind in (Engine, reference.Engine))
        for got, expected in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())
        coefs, intercepts = problem[3]
        for rows in (problem[0], problem[0][:2]):
            assert np.isfinite(forward(network, coefs, intercepts, rows)).all()


def test_gradient_against_finite_differences():
    network = Network((4, 8, 6, 3), (Activation(with_helper), Activation(branches), "softmax"), "log_loss")
    random = np.random.default_rng(0)
    flat = random.normal(0, 0.5, network.n_parameters)
    with Engine(network, np.float64) as engine:
        engine.load(X, y.reshape(-1, 1).astype(float))
        _, gradient = engine.loss_and_gradient(flat, 0.01)
        for i in range(0, flat.size, 7):
            step = np.zeros_like(flat)
            step[i] = 1e-6
            difference = engine.loss_and_gradient(flat + step, 0.01)[0] - engine.loss_and_gradient(flat - step, 0.01)[0]
            assert difference / 2e-6 == pytest.approx(gradient[i], abs=1e-8)


def test_of_each_layer_mixed_with_names():
    one = classifier(("tanh", "silu")).fit(X, y)
    np.testing.assert_allclose(classifier((own_tanh, own_silu)).fit(X, y).loss_curve_, one.loss_curve_, rtol=1e-12)
    np.testing.assert_allclose(classifier([own_tanh, "silu"]).fit(X, y).loss_curve_, one.loss_curve_, rtol=1e-12)
    mixed = classifier(["tanh", Activation(own_silu)]).fit(X, y)
    np.testing.assert_allclose(mixed.loss_curve_, one.loss_curve_, rtol=1e-12)


def test_initial_weights_are_those_of_relu():
    settings = {"max_iter": 1, "learning_rate_init": 1e-300}
    for name in ("logistic", "tanh"):
        own, relu = (classifier(activation, **settings).fit(X, y) for activation in (COPIES[name], "relu"))
        np.testing.assert_array_equal(own.coefs_[0], relu.coefs_[0])


@pytest.mark.parametrize("activation", [own_silu, relu_by_branches])
def test_same_bits_for_any_number_of_threads(activation):
    rows = np.random.default_rng(0).normal(size=(700, 20))
    target = rows[:, 0] * rows[:, 1]
    settings = {"hidden_layer_sizes": (40, 30), "max_iter": 8, "random_state": 0, "batch_size": 130}
    for dtype in ("float32", "float64"):
        models = [
            fastmlp.MLPRegressor(activation=activation, n_threads=n, dtype=dtype, **settings).fit(rows, target)
            for n in (1, 2)
        ]
        np.testing.assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])
        np.testing.assert_array_equal(models[0].predict(rows), models[1].predict(rows))
        one_by_one = np.concatenate([models[0].predict(row) for row in rows[:40, np.newaxis]])
        np.testing.assert_array_equal(one_by_one, models[0].predict(rows)[:40])


def test_other_solvers_and_sparse_rows():
    for solver in ("lbfgs", "adamw"):
        model = classifier(own_silu, solver=solver, max_iter=200, learning_rate_init=0.01)
        assert model.fit(X, y).score(X, y) > 0.95
    sparse, dense = (classifier(own_silu).fit(rows, y).loss_curve_ for rows in (csr_array(X), X))
    np.testing.assert_allclose(sparse, dense, rtol=1e-10)
    alone = classifier(own_silu, hidden_layer_sizes=()).fit(X, y)
    np.testing.assert_array_equal(alone.loss_curve_, classifier("relu", hidden_layer_sizes=()).fit(X, y).loss_curve_)


def test_clone_pickle_and_parameters():
    activation = Activation(own_silu, derivative=own_tanh)
    assert repr(activation) == "Activation(own_silu, derivative=own_tanh)"
    assert activation == Activation(own_silu, own_tanh) != Activation(own_silu)
    assert hash(activation) == hash(Activation(own_silu, own_tanh))
    assert pickle.loads(pickle.dumps(activation)) == activation
    for one in (own_silu, Activation(own_silu), ("tanh", Activation(own_silu))):
        model = classifier(one).fit(X, y)
        assert clone(model).get_params()["activation"] == one
        again = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
        assert again.activation == one
    assert "Activation(own_silu)" in repr(classifier(Activation(own_silu)))


def test_in_a_grid():
    grid = {"activation": ["relu", own_silu, Activation(own_tanh), ("tanh", own_silu)]}
    search = GridSearchCV(classifier("relu"), grid, cv=2).fit(X, y)
    named = GridSearchCV(classifier("relu"), {"activation": ["relu", "silu", "tanh", ("tanh", "silu")]}, cv=2).fit(X, y)
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], named.cv_results_["mean_test_score"])


def scaled_tanh(scale):
    return lambda z: math.tanh(scale * z)


def test_the_numbers_that_a_function_closes_over_are_part_of_it():
    curves = [classifier(scaled_tanh(scale)).fit(X, y).loss_curve_ for scale in (1, 2, 1.0, 2.0)]
    np.testing.assert_allclose(curves[0], classifier("tanh").fit(X, y).loss_curve_, rtol=1e-12)
    assert abs(curves[1][-1] / curves[0][-1] - 1) > 0.01
    np.testing.assert_allclose(curves[2:], curves[:2], rtol=1e-12)


def test_a_global_number_that_changes_changes_the_function(monkeypatch):
    before = classifier(with_helper).fit(X, y)
    prediction = before.predict_proba(X)
    monkeypatch.setattr(sys.modules[__name__], "BETA", 0.5)
    assert not np.allclose(before.predict_proba(X), prediction)
    monkeypatch.setattr(sys.modules[__name__], "helper", lambda z, scale: z)
    np.testing.assert_allclose(
        classifier(with_helper).fit(X, y).loss_curve_, classifier(lambda z: 2 * z).fit(X, y).loss_curve_, rtol=1e-12
    )


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[1])
import functions
from fastmlp import Activation
from fastmlp.cpu.user import address_of, compile_user
from numba import njit
from fastmlp.cpu.elementwise import call_at

@njit
def run(address, memory):
    return call_at(address, memory, 0, 16, 0)

for name in sys.argv[2:]:
    memory = np.full(16, 2.0)
    assert not run(address_of(Activation(getattr(functions, name)), memory.dtype), memory)
    print(memory[0])
print(sum(compile_user.stats.cache_hits.values()))
"""


def test_across_processes_no_code_is_taken_for_another(tmp_path):
    """Functions of the same name and place, each compiled in a process of its own, then together, then edited.

    The cache is empty, so what makes code of them is seen to run, also where all other functions are in a cache.
    """
    cache = str(tmp_path / "cache")
    environment = measured({**os.environ, "NUMBA_CACHE_DIR": cache, "PYTHONPATH": str(REPOSITORY)})

    def outputs(*names):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path), *names]
        answer = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        return [float(line) for line in answer.stdout.split()]

    text = """
import numpy as np
from numba import njit
def make(factor):
    inner = njit(lambda z, shift: z * factor + shift)
    return lambda z: inner(z, 1.0) + inner(1.0, 0.0) - factor
a, b = make(3.0), make(5.0)
def c(z):
    return z * z if z > 1 else 0
def d(z):
    return max(z**3, z**z) // 3 + z % 1.5 + np.clip(z, 0, 1) - z**-2
"""
    (tmp_path / "functions.py").write_text(text)
    assert outputs("d") == [3.25, 0]
    assert outputs("a") == [7, 0]
    assert outputs("b") == [11, 0]
    assert outputs("b", "a", "c") == [11, 7, 4, 2]
    assert outputs("c", "a", "b") == [4, 7, 11, 3]
    (tmp_path / "functions.py").write_text(text.replace("z * z if z > 1", "z / z if z > 1").replace("3.0", "4.0"))
    assert outputs("a", "b", "c") == [9, 11, 1, 1]


NUMBERS, ARRAY = [1, 2], np.ones(2)


class Doubling:
    def __call__(self, z):
        return 2 * z


def recursive(z):
    return recursive(z - 1) if z > 0 else z


def generator(z):
    yield z


def printing(z):
    print(z)
    return z


def two(z, w):
    return z + w


def nothing(z):
    pass


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda z: NUMBERS[0] * z, r"Activation\(<lambda>\) cannot be compiled: it uses \[1, 2\]"),
        (lambda z: ARRAY[0] * z, "it uses array"),
        (lambda z: missing * z, "its name 'missing' is not defined"),  # noqa: F821
        (lambda z: math.gamma(z), r"gamma\(number\). Allowed is a Python function of one number"),
        (math.lgamma, r"Activation\(lgamma\) .*lgamma\(number\)"),
        (lambda: 1.0, r"\(\) does not take one number"),
        (two, r"two\(z, w\) does not take one number"),
        (nothing, "it returns none, not a number"),
        (lambda z: (z, z), r"it returns UniTuple\(number x 2\), not a number"),
        (lambda z: "z", "it returns .*, not a number"),
        (lambda z: z.real, "Unknown attribute 'real' of type number"),
        (lambda z: [z, z][0], "it makes a list"),
        (lambda z: np.array([z]).sum(), "array"),
        (generator, "it returns .* generator.*, not a number"),
        (recursive, "recursive calls itself"),
        (printing, "it prints"),
        (Doubling(), "is not a Python function"),
        (np.linalg.norm, "is not a Python function"),
        (Activation(own_tanh, two), r"Activation\(own_tanh, derivative=two\) cannot be compiled: two\(z, w\)"),
        (Activation(own_tanh, nothing), "it returns none"),
        (("relu", nothing), "it returns none"),
        (("relu", 1.5), "functions, or instances of fastmlp.Activation, got 1.5"),
        ((own_tanh,), "has 1 names, but hidden_layer_sizes 2 layers"),
        (3, "'activation' parameter of MLPClassifier must be"),
    ],
)
def test_errors_say_what_is_allowed(function, message):
    fitted = classifier("relu", max_iter=2).fit(X, y)
    coefs = fitted.coefs_
    generator = np.random.RandomState(0)
    with pytest.raises(ValueError, match=message):
        fitted.set_params(activation=function, random_state=generator).fit(X, y)
    assert fitted.coefs_ is coefs
    np.testing.assert_array_equal(generator.uniform(), np.random.RandomState(0).uniform())


def test_what_is_not_callable_is_refused():
    for bad in (None, "tanh"):
        with pytest.raises(TypeError, match=r"function of an Activation must be a function of one number, got"):
            Activation(bad)
    with pytest.raises(TypeError, match=r"derivative of an Activation must be a function or None of one number, got 1"):
        Activation(own_tanh, 1)


def test_an_exception_is_a_divergence():
    with pytest.raises(ValueError, match="epoch"):
        classifier(too_large, max_iter=200, learning_rate_init=0.5).fit(X, y)


def test_functions_of_a_module_are_imported_by_name(monkeypatch):
    module = python_types.ModuleType("settings")
    module.number, module.double = 2.0, lambda z: 2 * z
    monkeypatch.setattr(sys.modules[__name__], "settings", module, raising=False)
    z = np.linspace(-1, 1, 16)
    np.testing.assert_array_equal(values_and_slopes(lambda z: settings.number * z, z)[0], 2 * z)  # noqa: F821
    module.number = 3.0
    np.testing.assert_array_equal(values_and_slopes(lambda z: settings.number * z, z)[0], 3 * z)  # noqa: F821
    with pytest.raises(ValueError, match="import double by its name"):
        address_of(Activation(lambda z: settings.double(z)), np.float64)  # noqa: F821


def with_cell(beta):
    def function(z):
        return math.cosh(beta * z)

    def change(number):
        nonlocal beta
        beta = number

    return function, change


def test_another_function_of_the_same_text_is_compiled_as_it_is():
    z = np.linspace(-1, 1, 16)
    (first, change), (second, _) = with_cell(1.25), with_cell(1.25)
    np.testing.assert_allclose(values_and_slopes(first, z)[0], np.cosh(1.25 * z))
    change(0.5)
    np.testing.assert_allclose(values_and_slopes(second, z.astype(np.float32))[0], np.cosh(1.25 * z), rtol=1e-5)
    np.testing.assert_allclose(values_and_slopes(first, z)[0], np.cosh(0.5 * z))


def test_dropout():
    own, named = (classifier(activation, dropout=0.3).fit(X, y) for activation in (own_silu, "silu"))
    np.testing.assert_allclose(own.loss_curve_, named.loss_curve_, rtol=1e-12)


@pytest.mark.usefixtures("each_engine")
def test_input_gradient_and_hidden_layer():
    own, named = (classifier(("tanh", activation), max_iter=5).fit(X, y) for activation in (own_silu, "silu"))
    np.testing.assert_allclose(own.input_gradient(X), named.input_gradient(X), rtol=1e-7)
    np.testing.assert_allclose(own.transform(X), named.transform(X), rtol=1e-7)


def test_check_gradient():
    assert fastmlp.check_gradient(classifier((with_helper, Activation(own_silu))), X, y) < 1e-6
