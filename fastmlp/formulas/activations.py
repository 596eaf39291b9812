"""Activation functions: value and derivative.

To add one, write both and enter them in `ACTIVATIONS`; the engines, the documentation and the tests go through the
table.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

from fastmlp.formulas.elementary import (
    arctangent,
    constant,
    exponential,
    exponential_minus_one,
    formula,
    logarithm_of_one_plus,
    maximum,
    minimum,
    normal_distribution,
    where_positive,
)


class Activation(NamedTuple):
    """A function of a preactivation z.

    `derivative` is expressed by the activation a = value(z) where that determines it. Where not, it is None, and
    `both(z)` gives (a, derivative), which training keeps until errors come back.
    """

    value: Callable
    derivative: Callable | None
    both: Callable | None = None


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


@formula
def leaky_relu(z):
    """Return z where z > 0, else 0.01 z: Maas, Hannun and Ng (2013)."""
    return maximum(z, constant(z, 0.01) * z)


@formula
def leaky_relu_derivative(a):
    """Return 1 or 0.01."""
    return where_positive(a, constant(a, 1), constant(a, 0.01))


@formula
def elu(z):
    """Return z where z > 0, else exp(z) - 1: Clevert, Unterthiner and Hochreiter (2015), alpha = 1."""
    return where_positive(z, z, exponential_minus_one(z))


@formula
def elu_derivative(a):
    """Return 1 where the unit is positive, else exp(z) = a + 1."""
    return where_positive(a, constant(a, 1), a + constant(a, 1))


# The constants for which mean 0 and variance 1 are a fixed point: Klambauer et al. (2017), equation 14.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805


@formula
def selu(z):
    """Return scale z where z > 0, else scale alpha (exp(z) - 1): Klambauer et al. (2017)."""
    negative = constant(z, SELU_SCALE * SELU_ALPHA) * exponential_minus_one(z)
    return where_positive(z, constant(z, SELU_SCALE) * z, negative)


@formula
def selu_derivative(a):
    """Return scale where the unit is positive, else a + scale alpha."""
    return where_positive(a, constant(a, SELU_SCALE), a + constant(a, SELU_SCALE * SELU_ALPHA))


@formula
def softplus(z):
    """Return log(1 + exp(z)), a smooth relu: Dugas et al. (2001)."""
    e = exponential(where_positive(z, -z, z))
    return maximum(z, constant(z, 0)) + logarithm_of_one_plus(e)


@formula
def softplus_derivative(a):
    """Return 1 - exp(-a), the logistic function of z."""
    return -exponential_minus_one(-a)


@formula
def softsign(z):
    """Return z / (1 + |z|): Bergstra et al. (2009)."""
    return z / (constant(z, 1) + where_positive(z, z, -z))


@formula
def softsign_derivative(a):
    """Return (1 - |a|)**2."""
    rest = constant(a, 1) - where_positive(a, a, -a)
    return rest * rest


@formula
def hard_tanh(z):
    """Return z in [-1, 1], beyond it -1 or 1: Collobert (2004)."""
    return maximum(minimum(z, constant(z, 1)), constant(z, -1))


@formula
def hard_tanh_derivative(a):
    """Return 1 where -1 < a < 1, else 0."""
    return where_positive(constant(a, 1) - a * a, constant(a, 1), constant(a, 0))


@formula
def arctan_both(z):
    """Return the arctangent, and 1 / (1 + z**2)."""
    return arctangent(z), constant(z, 1) / (constant(z, 1) + z * z)


@formula
def arctan(z):
    """Return the arctangent."""
    return arctan_both(z)[0]


@formula
def gelu_both(z):
    """Return z P(z), P being the normal distribution function, and P(z) + z p(z): Hendrycks and Gimpel (2016)."""
    probability, density = normal_distribution(z)
    return z * probability, probability + z * density * constant(z, 1 / math.sqrt(2 * math.pi))


@formula
def gelu(z):
    """Return z times the normal distribution function of z."""
    return gelu_both(z)[0]


@formula
def silu_both(z):
    """Return z s, s being the logistic function of z, and s + z s (1 - s): Elfwing, Uchibe and Doya (2017)."""
    s = logistic(z)
    return z * s, s + z * s * (constant(z, 1) - s)


@formula
def silu(z):
    """Return z times the logistic function of z."""
    return silu_both(z)[0]


@formula
def mish_both(z):
    """Return z tanh(softplus(z)) and its derivative: Misra (2019).

    With e = exp(z) and n = e (e + 2) the tanh is n / (n + 2); from z = 20 on it is 1.
    """
    e = exponential(minimum(z, constant(z, 20)))
    n = e * (e + constant(z, 2))
    m = n + constant(z, 2)
    w = n / m
    return z * w, w + z * (constant(z, 4) * e * (e + constant(z, 1)) / m) / m


@formula
def mish(z):
    """Return z tanh(softplus(z))."""
    return mish_both(z)[0]


ACTIVATIONS = {
    "identity": Activation(identity, identity_derivative),
    "logistic": Activation(logistic, logistic_derivative),
    "tanh": Activation(tanh, tanh_derivative),
    "relu": Activation(relu, relu_derivative),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative),
    "elu": Activation(elu, elu_derivative),
    "selu": Activation(selu, selu_derivative),
    "softplus": Activation(softplus, softplus_derivative),
    "softsign": Activation(softsign, softsign_derivative),
    "hard_tanh": Activation(hard_tanh, hard_tanh_derivative),
    "arctan": Activation(arctan, None, arctan_both),
    "gelu": Activation(gelu, None, gelu_both),
    "silu": Activation(silu, None, silu_both),
    "mish": Activation(mish, None, mish_both),
}
# what scikit-learn has: a program of these alone is compiled in less time
CLASSIC = ("identity", "logistic", "tanh", "relu")
