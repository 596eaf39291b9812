"""Losses of one output unit, with the output activation each belongs to.

Each pair is canonical: with the loss C(y, a) and a = activation(z), the error dC/dz is a - y. The softmax couples the
units of a row and is composed in the engines from `exponential` and `cross_entropy`.
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
    averaged: bool


@formula
def squared_error(y, a):
    """Return (y - a)**2 / 2."""
    return constant(a, 0.5) * (y - a) * (y - a)


@formula
def poisson(y, a):
    """Return half of the Poisson deviance, y log(y / a) - y + a, where 0 log 0 = 0."""
    return where_positive(y, y * logarithm(y / a), constant(a, 0)) - y + a


@formula
def cross_entropy(p):
    """Return -log(p), p clipped to [epsilon, 1 - epsilon]."""
    p = maximum(p, by_precision(p, EPSILON[0], EPSILON[1]))
    return -logarithm(minimum(p, by_precision(p, 1 - EPSILON[0], 1 - EPSILON[1])))


@formula
def binary_log_loss(y, a):
    """Return -log(a) for y = 1 and -log(1 - a) for y = 0."""
    return cross_entropy(where_positive(y, a, constant(a, 1) - a))


LOSSES = {
    "squared_error": Loss("identity", identity, squared_error, True),
    "poisson": Loss("exp", exponential, poisson, False),
    "binary_log_loss": Loss("logistic", logistic, binary_log_loss, False),
}
