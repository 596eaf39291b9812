"""Formulas: values against SciPy, derivatives against finite differences, the same for scalars and for registers."""

import re

import numpy as np
import pytest
import scipy.special
from numba import from_dtype

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import LANES, load, store, width
from fastmlp.formulas import elementary
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.losses import LOSSES, cross_entropy
from fastmlp.formulas.penalties import soft_threshold
from fastmlp.formulas.random import normal_quantile, random_bits, uniform
from fastmlp.formulas.updates import UPDATES
from fastmlp.reference import SELU, uniform_numbers

DTYPES = [np.float32, np.float64]
fast_root = elementary.formula(lambda x: elementary.fast_root(x))

# name: (formula, reference in float64, lowest and highest argument, largest error in units of the last place)
ELEMENTARY = {
    "exponential": (elementary.exponential, np.exp, -80.0, 80.0, 2),
    "exponential_minus_one": (elementary.exponential_minus_one, np.expm1, -80.0, 80.0, 3),
    "exponential_minus_one near 0": (elementary.exponential_minus_one, np.expm1, -1e-3, 1e-3, 3),
    "logarithm": (elementary.logarithm, np.log, 1e-30, 1e30, 2),
    "logarithm near 1": (elementary.logarithm, np.log, 0.9, 1.1, 3),
    "fast root": (fast_root, np.sqrt, 1e-30, 1e30, 2),
    "fast root near 1": (fast_root, np.sqrt, 0.9, 1.1, 2),
    "logistic": (ACTIVATIONS["logistic"].value, scipy.special.expit, -60.0, 60.0, 4),
    "tanh": (ACTIVATIONS["tanh"].value, np.tanh, -20.0, 20.0, 5),
    "tanh near 0": (ACTIVATIONS["tanh"].value, np.tanh, -1e-4, 1e-4, 5),
    "relu": (ACTIVATIONS["relu"].value, lambda x: np.maximum(x, 0), -3.0, 3.0, 0),
    "identity": (ACTIVATIONS["identity"].value, lambda x: x, -3.0, 3.0, 0),
    "log(1 + x)": (elementary.logarithm_of_one_plus, np.log1p, 0.0, 1.0, 3),
    "log(1 + x) near 0": (elementary.logarithm_of_one_plus, np.log1p, 0.0, 1e-4, 3),
    "leaky_relu": (ACTIVATIONS["leaky_relu"].value, lambda x: np.maximum(x, 0.01 * x), -3.0, 3.0, 1),
    "elu": (ACTIVATIONS["elu"].value, lambda x: np.where(x > 0, x, np.expm1(x)), -20.0, 20.0, 3),
    "selu": (ACTIVATIONS["selu"].value, lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(x)), -20, 20, 4),
    "softplus": (ACTIVATIONS["softplus"].value, lambda x: np.logaddexp(0, x), -60.0, 60.0, 5),
    "softsign": (ACTIVATIONS["softsign"].value, lambda x: x / (1 + np.abs(x)), -60.0, 60.0, 2),
    "hard_tanh": (ACTIVATIONS["hard_tanh"].value, lambda x: np.clip(x, -1, 1), -3.0, 3.0, 0),
    "arctan": (ACTIVATIONS["arctan"].value, np.arctan, -60.0, 60.0, 4),
    "arctan near 0": (ACTIVATIONS["arctan"].value, np.arctan, -1e-3, 1e-3, 4),
    # the argument of an exponential, z**2 / 2, is rounded: the error of what it gives grows with z**2
    "gelu": (ACTIVATIONS["gelu"].value, lambda x: x * scipy.special.ndtr(x), -2.0, 6.0, 12),
    "gelu, its tail": (ACTIVATIONS["gelu"].value, lambda x: x * scipy.special.ndtr(x), -8.0, -2.0, 100),
    "silu": (ACTIVATIONS["silu"].value, lambda x: x * scipy.special.expit(x), -60.0, 60.0, 4),
    "mish": (ACTIVATIONS["mish"].value, lambda x: x * np.tanh(np.logaddexp(0, x)), -60.0, 60.0, 5),
}


def on_registers(formula, x):
    """Return formula(x), computed by registers; x is padded to whole ones."""
    wide = LANES[from_dtype(x.dtype)]
    padded = np.append(x, np.ones(-x.size % wide, x.dtype))
    out = np.empty_like(padded)

    @kernel
    def apply(out, x):
        for i in range(0, x.size, width(x)):
            store(out, i, formula(load(x, i)))

    @elementary.formula
    def call(out, x):
        apply(out, x)

    call(out, padded)
    return out[: x.size]


def samples(low, high, dtype):
    if low > 0 and high / low > 1e6:
        return np.geomspace(low, high, 1001).astype(dtype)
    return np.linspace(low, high, 1001).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_elementary_functions_are_accurate(name, dtype):
    formula, reference, low, high, units = ELEMENTARY[name]
    x = samples(low, high, dtype)
    exact = reference(x.astype(np.float64))
    got = on_registers(formula, x)
    normal = np.abs(exact) > 4 * np.finfo(dtype).tiny
    spacing = np.spacing(np.abs(exact[normal]).astype(dtype)).astype(np.float64)
    assert (np.abs(got[normal] - exact[normal]) / spacing).max() <= units
    assert np.abs(got[~normal]).max(initial=0) <= 8 * np.finfo(dtype).tiny


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ELEMENTARY)
def test_scalars_and_registers_agree(name, dtype):
    formula, _, low, high, _ = ELEMENTARY[name]
    x = samples(low, high, dtype)[::10]
    scalars = np.array([formula(value) for value in x], dtype)
    np.testing.assert_allclose(scalars, on_registers(formula, x), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["exponential", "exponential_minus_one", "logarithm", "logistic", "tanh", "relu"])
def test_nan_and_infinity(name, dtype):
    formula, reference, *_ = ELEMENTARY[name]
    x = np.array([np.nan, np.inf, 0.0] + [-np.inf] * (name != "logarithm"), dtype)
    with np.errstate(divide="ignore"):
        np.testing.assert_array_equal(on_registers(formula, x), reference(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_fast_root_at_the_ends(dtype):
    limits = np.finfo(dtype)
    zero, infinite, nan = on_registers(fast_root, np.array([0.0, np.inf, np.nan], dtype))
    assert 0 <= zero <= 1.1 * np.sqrt(limits.tiny)  # what Adam adds to it is larger by far
    assert infinite >= 0.9 * np.sqrt(limits.max)
    assert np.isnan(nan)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_no_masked_store_of_what_is_replaced(name, dtype):
    """A choice between a number and what lies in its place: LLVM made a slow store of it that skips some lanes."""
    value = ACTIVATIONS[name].value

    @kernel
    def replace(x):
        for i in range(0, x.size, width(x)):
            store(x, i, value(load(x, i)))

    @elementary.formula
    def call(x):
        replace(x)

    call(np.ones(64, dtype))
    (text,) = replace.inspect_asm().values()
    assert not re.search(r"maskmov|mov.*\{%k", text)


def _second(both):
    return elementary.formula(lambda z: both(z)[1])


second_of = {name: _second(activation.both) for name, activation in ACTIVATIONS.items() if activation.both}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activations(name):
    activation = ACTIVATIONS[name]
    z = np.linspace(-3, 3, 64) + 0.01  # not at the kink of relu
    step = 1e-6
    values = [on_registers(activation.value, z + move) for move in (-step, step)]
    if activation.derivative is None:
        derivative = on_registers(second_of[name], z)
    else:
        derivative = on_registers(activation.derivative, on_registers(activation.value, z))
    np.testing.assert_allclose(derivative, (values[1] - values[0]) / (2 * step), rtol=1e-6, atol=1e-8)


PARAMETER = 0.7
# in float64 NumPy, by target, activation and PARAMETER
LOSS_VALUES = {
    "squared_error": lambda y, a: (y - a) ** 2 / 2,
    "poisson": lambda y, a: scipy.special.xlogy(y, y / a) - y + a,
    "binary_log_loss": lambda y, a: -np.log(a) if y > 0 else -np.log(1 - a),
    "absolute_error": lambda y, a: abs(y - a),
    "huber": lambda y, a: scipy.special.huber(PARAMETER, y - a),
    "quantile": lambda y, a: PARAMETER * (y - a) if y > a else (1 - PARAMETER) * (a - y),
    "gamma": lambda y, a: np.log(a / y) + y / a - 1,
    "soft_binary_log_loss": lambda y, a: -y * np.log(a) - (1 - y) * np.log(1 - a),
    "binary_squared_error": lambda y, a: (y - a) ** 2,
    "hinge": lambda y, a: max(0, 1 - (2 * y - 1) * a),
}


def loss_targets(name):
    return {"gamma": (0.3, 1.0, 7.5), "soft_binary_log_loss": (0.0, 0.2, 1.0), "poisson": (0.0, 1.0, 4.0)}.get(
        name, (0.0, 1.0)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_against_their_definitions(name, dtype):
    loss = LOSSES[name]
    z = np.linspace(-3, 3, 64, dtype=dtype)
    for y in loss_targets(name):
        target = dtype(y)
        a = on_registers(loss.activation, z)
        got = on_registers(with_target(loss.value, float(target)), a)
        expected = [LOSS_VALUES[name](np.float64(target), one) for one in a.astype(np.float64)]
        np.testing.assert_allclose(got, expected, rtol=30 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)
        scalars = [loss.value(target, one, PARAMETER) for one in a]
        np.testing.assert_allclose(scalars, got, rtol=30 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)


def with_target(function, y):
    return elementary.formula(lambda a: function(elementary.constant(a, y), a, PARAMETER))


@pytest.mark.parametrize("name", LOSSES)
def test_error_is_the_derivative_of_the_loss(name):
    loss = LOSSES[name]
    for y in loss_targets(name):
        for z in np.linspace(-3, 3, 13) + 0.01:  # not at a kink
            step = 1e-6
            low, high = (loss.value(y, loss.activation(z + move), PARAMETER) for move in (-step, step))
            error = loss.error(y, loss.activation(z), PARAMETER)
            assert error == pytest.approx((high - low) / (2 * step), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cross_entropy_is_clipped(dtype):
    epsilon = np.finfo(dtype).eps
    x = np.array([0.0, 1.0, 0.25], dtype)
    expected = -np.log(np.clip(x, epsilon, dtype(1) - epsilon).astype(np.float64))
    np.testing.assert_allclose(on_registers(cross_entropy, x), expected, rtol=1e-6 if dtype == np.float32 else 1e-14)


def test_updates_against_their_definitions():
    random = np.random.default_rng(0)
    w, g, m, v = random.normal(size=4)
    v = abs(v)
    new = UPDATES["sgd"].step(w, g, m, 0.0, (0.1, 0.9, 0.0, 0.0, 0.1, 1.0))
    assert new[:2] == pytest.approx((w + 0.9 * m - 0.1 * g, 0.9 * m - 0.1 * g), rel=1e-14)
    new = UPDATES["sgd"].step(w, g, m, 0.0, (0.1, 0.9, 1.0, 0.0, 0.1, 1.0))
    velocity = 0.9 * m - 0.1 * g
    assert new[:2] == pytest.approx((w + 0.9 * velocity - 0.1 * g, velocity), rel=1e-14)
    rate, *rest = UPDATES["adam"].begin((0.01, 0.9, 0.99, 1e-8), 3)
    assert rate == pytest.approx(0.01 * np.sqrt(1 - 0.99**3) / (1 - 0.9**3), rel=1e-14)
    new = UPDATES["adam"].step(w, g, m, v, (rate, *rest))
    first, second = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
    assert new == pytest.approx((w - rate * first / (np.sqrt(second) + 1e-8), first, second), rel=1e-13)


@pytest.mark.parametrize("name", [name for name in UPDATES if name not in ("sgd", "adagrad")])
def test_rate_is_the_step_for_a_lasting_gradient_of_one(name):
    """A step changes little when it has seen the same gradient for long, and then is as far as `rate` says."""
    update = UPDATES[name]
    hyperparameters = (0.01, 0.9, 0.9, 1e-8)
    w, first, second = 0.0, 0.0, 0.0
    start = 200_000 if name == "nadam" else 1  # the momentum of nadam rises for so long
    for t in range(start, start + 3000):
        constants = update.begin(hyperparameters, t)
        before = w
        w, first, second = update.step(w, 1.0, first, second if update.n_slots > 1 else first, constants)
    rate = update.rate(first, second if update.n_slots > 1 else first, constants)
    assert before - w == pytest.approx(rate, rel=1e-6)


@pytest.mark.parametrize("nesterov", [0.0, 1.0])
def test_rate_of_sgd_is_that_of_its_first_step(nesterov):
    update = UPDATES["sgd"]
    constants = update.begin((0.01, 0.9, nesterov, 0.0), 1)
    w, velocity, _ = update.step(0.0, 1.0, 0.0, 0.0, constants)
    assert -w == pytest.approx(update.rate(0.0, 0.0, constants), rel=1e-14)
    # a move is absorbed as if a gradient had caused it
    assert update.absorb(0.0, w, constants) == pytest.approx(velocity, rel=1e-14)


def test_rate_of_adagrad_is_that_of_its_next_step():
    update = UPDATES["adagrad"]
    constants = update.begin((0.01, 0.9, 0.9, 1e-8), 5)
    _, square, _ = update.step(0.0, 3.0, 7.0, 0.0, constants)
    assert update.rate(square, square, constants) == pytest.approx(0.01 / 4, rel=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_normal_quantile(dtype):
    middle = np.linspace(2.0**-24, 1 - 2.0**-24, 4096, dtype=dtype)
    p = np.concatenate([middle, np.geomspace(1e-7, 0.1, 64, dtype=dtype)])
    expected = scipy.special.ndtri(p.astype(np.float64))
    rtol = 20 * np.finfo(dtype).eps
    np.testing.assert_allclose(on_registers(normal_quantile, p), expected, rtol=rtol, atol=rtol)
    np.testing.assert_allclose([normal_quantile(one) for one in p], expected, rtol=rtol, atol=rtol)


def test_uniform_numbers_are_those_of_numpy():
    """The same stream, in another text: `reference` has it in NumPy."""
    expected = uniform_numbers(11, 5, 2, (3, 4))
    key = np.uint64(random_bits(np.uint64(random_bits(np.uint64(11), np.uint64(5))), np.uint64(2)))
    got = [[uniform(key, np.uint64(row << 20) + np.uint64(unit)) for unit in range(4)] for row in range(3)]
    np.testing.assert_array_equal(got, expected)
    assert len(np.unique(expected)) == 12


@pytest.mark.parametrize("dtype", DTYPES)
def test_soft_threshold(dtype):
    x = np.linspace(-2, 2, 65, dtype=dtype)
    shrink = elementary.formula(lambda x: soft_threshold(x, elementary.constant(x, 0.5)))
    expected = np.sign(x) * np.maximum(np.abs(x) - dtype(0.5), 0)
    np.testing.assert_array_equal(on_registers(shrink, x), expected)
    np.testing.assert_array_equal([soft_threshold(one, dtype(0.5)) for one in x], expected)
