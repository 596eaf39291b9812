"""Losses of one output unit, with the output activation each belongs to.

A loss has its value C(y, a) and its error dC/dz, z being the preactivation: a - y where loss and activation are a
canonical pair. `parameter` is a number of the loss, 0 where it has none. The softmax couples the units of a row and is
composed in the engines from `exponential` and `cross_entropy`.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.formulas.activations import identity, logistic
from fastmlp.formulas.elementary import (
    by_precision,
    constant,
    exponential,
    formula,
    logarithm,
    maximum,
    minimum,
    where_positive,
)

EPSILON = (1.1920929e-07, 2.220446049250313e-16)  # the unit of rounding at 1, of float32 and of float64


class Loss(NamedTuple):
    """The loss of a unit as a function of target y and activation a, and the output activation that it belongs to.

    The loss of a row is the sum over its units, or the mean where `averaged` (the gradient is the sum's all the same,
    as in scikit-learn).
    """

    output_activation: str
    activation: Callable
    value: Callable
    error: Callable
    averaged: bool = False


@formula
def residual(y, a, parameter):
    """Return a - y, the error of a canonical pair."""
    return a - y


@formula
def sign(x):
    """Return -1, 0 or 1."""
    return where_positive(x, constant(x, 1), where_positive(-x, constant(x, -1), constant(x, 0)))


@formula
def squared_error(y, a, parameter):
    """Return (y - a)**2 / 2."""
    return constant(a, 0.5) * (y - a) * (y - a)


@formula
def poisson(y, a, parameter):
    """Return half of the Poisson deviance, y log(y / a) - y + a, where 0 log 0 = 0."""
    return where_positive(y, y * logarithm(y / a), constant(a, 0)) - y + a


@formula
def cross_entropy(p):
    """Return -log(p), p clipped to [epsilon, 1 - epsilon]."""
    p = maximum(p, by_precision(p, EPSILON[0], EPSILON[1]))
    return -logarithm(minimum(p, by_precision(p, 1 - EPSILON[0], 1 - EPSILON[1])))


@formula
def binary_log_loss(y, a, parameter):
    """Return -log(a) for y = 1 and -log(1 - a) for y = 0."""
    return cross_entropy(where_positive(y, a, constant(a, 1) - a))


@formula
def absolute_error(y, a, parameter):
    """Return |y - a|."""
    return maximum(y - a, a - y)


@formula
def absolute_error_error(y, a, parameter):
    """Return the sign of a - y."""
    return sign(a - y)


@formula
def huber(y, a, parameter):
    """Return (y - a)**2 / 2 up to a distance of delta, beyond it delta (|y - a| - delta / 2): Huber (1964)."""
    delta = constant(a, parameter)
    distance = maximum(y - a, a - y)
    near = minimum(distance, delta)
    return near * (distance - constant(a, 0.5) * near)


@formula
def huber_error(y, a, parameter):
    """Return a - y, at most delta and at least -delta."""
    return maximum(minimum(a - y, constant(a, parameter)), constant(a, -parameter))


@formula
def quantile(y, a, parameter):
    """Return q (y - a) where y > a, else (1 - q) (a - y): Koenker and Bassett (1978)."""
    return maximum(constant(a, parameter) * (y - a), constant(a, 1.0 - parameter) * (a - y))


@formula
def quantile_error(y, a, parameter):
    """Return -q where y > a, 1 - q where y < a."""
    below = where_positive(a - y, constant(a, 1.0 - parameter), constant(a, 0))
    return where_positive(y - a, constant(a, -parameter), below)


@formula
def gamma(y, a, parameter):
    """Return half of the gamma deviance, log(a / y) + y / a - 1, for y > 0."""
    return y / a - logarithm(y / a) - constant(a, 1)


@formula
def gamma_error(y, a, parameter):
    """Return 1 - y / a, for a = exp(z)."""
    return constant(a, 1) - y / a


@formula
def soft_binary_log_loss(y, a, parameter):
    """Return -y log(a) - (1 - y) log(1 - a), for y between 0 and 1."""
    return y * cross_entropy(a) + (constant(a, 1) - y) * cross_entropy(constant(a, 1) - a)


@formula
def binary_squared_error(y, a, parameter):
    """Return half of the squared error of both classes' probabilities, (y - a)**2: Brier (1950)."""
    return (y - a) * (y - a)


@formula
def binary_squared_error_error(y, a, parameter):
    """Return 2 (a - y) a (1 - a), for the logistic a."""
    return constant(a, 2) * (a - y) * a * (constant(a, 1) - a)


@formula
def hinge(y, a, parameter):
    """Return max(0, 1 - t a), for the target t = 2 y - 1, which is -1 or 1: Cortes and Vapnik (1995)."""
    t = y + y - constant(a, 1)
    return maximum(constant(a, 1) - t * a, constant(a, 0))


@formula
def hinge_error(y, a, parameter):
    """Return -t where the margin t a is below 1, else 0."""
    t = y + y - constant(a, 1)
    return where_positive(constant(a, 1) - t * a, -t, constant(a, 0))


LOSSES = {
    "squared_error": Loss("identity", identity, squared_error, residual, averaged=True),
    "poisson": Loss("exp", exponential, poisson, residual),
    "binary_log_loss": Loss("logistic", logistic, binary_log_loss, residual),
    "absolute_error": Loss("identity", identity, absolute_error, absolute_error_error),
    "huber": Loss("identity", identity, huber, huber_error),
    "quantile": Loss("identity", identity, quantile, quantile_error),
    "gamma": Loss("exp", exponential, gamma, gamma_error),
    "soft_binary_log_loss": Loss("logistic", logistic, soft_binary_log_loss, residual),
    "binary_squared_error": Loss("logistic", logistic, binary_squared_error, binary_squared_error_error),
    "hinge": Loss("identity", identity, hinge, hinge_error),
}
CLASSIC = ("squared_error", "poisson", "binary_log_loss")  # what scikit-learn has
# Of a softmax: with the index of a row's class as its target; with a number for each class; (y - p)**2 / 2 of those; of
# several softmaxes side by side, with a number for each class of each.
SOFTMAX_LOSSES = ("log_loss", "soft_log_loss", "softmax_squared_error", "grouped_log_loss")
