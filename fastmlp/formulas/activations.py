"""Activation functions: value, and derivative as a function of the value.

To add one, write both and enter them in `ACTIVATIONS`; the engines, the documentation and the tests go through the
table.
"""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.formulas.elementary import constant, exponential, exponential_minus_one, formula, maximum, where_positive


class Activation(NamedTuple):
    """A function of a preactivation z, and its derivative expressed by the activation a = value(z)."""

    value: Callable
    derivative: Callable


@formula
def identity(z):
    """Return z."""
    return z


@formula
def identity_derivative(a):
    """Return 1."""
    return constant(a, 1)


@formula
def logistic(z):
    """Return 1 / (1 + exp(-z))."""
    return constant(z, 1) / (constant(z, 1) + exponential(-z))


@formula
def logistic_derivative(a):
    """Return a (1 - a)."""
    return a * (constant(a, 1) - a)


@formula
def tanh(z):
    """Return the hyperbolic tangent; through exp(-2 |z|) - 1, so that it is accurate near 0 and cannot overflow."""
    e = exponential_minus_one(where_positive(z, z, -z) * constant(z, -2))
    t = e / (e + constant(z, 2))
    return where_positive(z, -t, t)


@formula
def tanh_derivative(a):
    """Return 1 - a**2."""
    return constant(a, 1) - a * a


@formula
def relu(z):
    """Return max(z, 0)."""
    return maximum(z, constant(z, 0))


@formula
def relu_derivative(a):
    """Return 1 where the unit is active, else 0."""
    return where_positive(a, constant(a, 1), constant(a, 0))


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative),
    "logistic": Activation(logistic, logistic_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
}
