"""Elementary functions with their derivatives: what the exact differentiation of a user's function is made of.

Each takes a number x and returns (value, derivative). They are built from the formulas of `elementary` and
`activations`, and serve a scalar or a register like those.
"""

import math

import numpy as np
from numba.extending import overload

from fastmlp.formulas.activations import logistic
from fastmlp.formulas.activations import tanh as hyperbolic_tangent
from fastmlp.formulas.elementary import (
    arctangent,
    by_precision,
    constant,
    exponential,
    exponential_minus_one,
    floor,
    formula,
    logarithm,
    maximum,
    minimum,
    normal_distribution,
    scalar_type,
    square_root,
    where_positive,
)


def circle_series(r):
    """Return (sin(r), cos(r)) for |r| <= pi / 4: Taylor's series, cut where their rest is below a unit of rounding."""
    return np.sin(r), np.cos(r)


@overload(circle_series)
def _circle_series(r):
    if scalar_type(r).bitwidth == 32:

        def series(r):
            t = r * r
            p = t * constant(r, 1 / 362880) + constant(r, -1 / 5040)
            p = p * t + constant(r, 1 / 120)
            p = p * t + constant(r, -1 / 6)
            q = t * constant(r, -1 / 3628800) + constant(r, 1 / 40320)
            q = q * t + constant(r, -1 / 720)
            q = q * t + constant(r, 1 / 24)
            q = q * t + constant(r, -1 / 2)
            return p * t * r + r, q * t + constant(r, 1)

        return series

    def series(r):
        t = r * r
        p = t * constant(r, 1 / 355687428096000) + constant(r, -1 / 1307674368000)
        p = p * t + constant(r, 1 / 6227020800)
        p = p * t + constant(r, -1 / 39916800)
        p = p * t + constant(r, 1 / 362880)
        p = p * t + constant(r, -1 / 5040)
        p = p * t + constant(r, 1 / 120)
        p = p * t + constant(r, -1 / 6)
        q = t * constant(r, 1 / 20922789888000) + constant(r, -1 / 87178291200)
        q = q * t + constant(r, 1 / 479001600)
        q = q * t + constant(r, -1 / 3628800)
        q = q * t + constant(r, 1 / 40320)
        q = q * t + constant(r, -1 / 720)
        q = q * t + constant(r, 1 / 24)
        q = q * t + constant(r, -1 / 2)
        return p * t * r + r, q * t + constant(r, 1)

    return series


@formula
def sine_and_cosine(x):
    """Return (sin(x), cos(x)).

    n quarters of the circle are taken off in three parts, the first two of few bits (Cody and Waite, 1980): exact up to
    |x| = 12,000 in float32 and 1.6e6 in float64. Beyond that, the error is that of x rounded by some units.
    """
    n = floor(x * constant(x, 2 / math.pi) + constant(x, 0.5))
    r = x - n * by_precision(x, 1.5703125, 1.5707963267341256)
    r = r - n * by_precision(x, 0.0004837512969970703, 6.077100506303966e-11)
    r = r - n * by_precision(x, 7.549789954891882e-08, 2.0222662487959506e-21)
    r = minimum(maximum(r, constant(x, -1)), constant(x, 1))  # for what is so large that n is not exact
    s, c = circle_series(r)
    quarter = n - constant(x, 4) * floor(n * constant(x, 0.25))
    odd = quarter - constant(x, 2) * floor(quarter * constant(x, 0.5)) - constant(x, 0.5)
    sine, cosine = where_positive(odd, c, s), where_positive(odd, s, c)
    sine = where_positive(quarter - constant(x, 1.5), -sine, sine)
    turned = (quarter - constant(x, 0.5)) * (quarter - constant(x, 2.5))
    return sine, where_positive(turned, cosine, -cosine)


@formula
def exp(x):
    """Return exp(x) and itself."""
    e = exponential(x)
    return e, e


@formula
def expm1(x):
    """Return exp(x) - 1, and exp(x)."""
    return exponential_minus_one(x), exponential(x)


@formula
def log(x):
    """Return log(x), NaN where x < 0, and 1 / x."""
    return where_positive(-x, constant(x, math.nan), logarithm(x)), constant(x, 1) / x


@formula
def log2(x):
    """Return the logarithm to the base 2, and 1 / (x log(2))."""
    value, derivative = log(x)
    return value * constant(x, 1 / math.log(2)), derivative * constant(x, 1 / math.log(2))


@formula
def log10(x):
    """Return the logarithm to the base 10, and 1 / (x log(10))."""
    value, derivative = log(x)
    return value * constant(x, 1 / math.log(10)), derivative * constant(x, 1 / math.log(10))


@formula
def log1p(x):
    """Return log(1 + x), accurate near 0, where the rounding of 1 + x is made up for (Kahan's way), and 1 / (1 + x)."""
    whole = constant(x, 1) + x
    rounded = whole - constant(x, 1)
    value = log(whole)[0]
    value = where_positive(rounded * rounded, value * (x / rounded), x)
    return where_positive(constant(x, math.inf) - x, value, x), constant(x, 1) / whole


@formula
def sqrt(x):
    """Return the square root, and half of its reciprocal."""
    root = square_root(x)
    return root, constant(x, 0.5) / root


@formula
def square(x):
    """Return x**2 and 2 x."""
    return x * x, x + x


@formula
def reciprocal(x):
    """Return 1 / x and -1 / x**2."""
    r = constant(x, 1) / x
    return r, -r * r


@formula
def tanh(x):
    """Return the hyperbolic tangent, and 1 - tanh(x)**2."""
    t = hyperbolic_tangent(x)
    return t, constant(x, 1) - t * t


@formula
def sinh(x):
    """Return the hyperbolic sine and cosine."""
    half = constant(x, 0.5)
    return (
        half * (exponential_minus_one(x) - exponential_minus_one(-x)),
        half * (exponential(x) + exponential(-x)),
    )


@formula
def cosh(x):
    """Return the hyperbolic cosine and sine."""
    s, c = sinh(x)
    return c, s


@formula
def sin(x):
    """Return the sine and the cosine."""
    return sine_and_cosine(x)


@formula
def cos(x):
    """Return the cosine, and minus the sine."""
    s, c = sine_and_cosine(x)
    return c, -s


@formula
def tan(x):
    """Return the tangent, and 1 + tan(x)**2."""
    s, c = sine_and_cosine(x)
    t = s / c
    return t, constant(x, 1) + t * t


@formula
def arctan(x):
    """Return the arctangent, and 1 / (1 + x**2)."""
    return arctangent(x), constant(x, 1) / (constant(x, 1) + x * x)


@formula
def arcsinh(x):
    """Return the inverse of the hyperbolic sine, and 1 / sqrt(1 + x**2)."""
    size = where_positive(x, x, -x)
    root = square_root(constant(x, 1) + x * x)
    value = log1p(size + size * (size / (constant(x, 1) + root)))[0]
    return where_positive(x, value, -value), constant(x, 1) / root


@formula
def erfc(x):
    """Return 1 - erf(x), accurate where it is small, and minus the derivative of erf."""
    value, density = normal_distribution(x * constant(x, -math.sqrt(2)))
    return constant(x, 2) * value, constant(x, -2 / math.sqrt(math.pi)) * density


@formula
def erf(x):
    """Return the error function within a unit of rounding of 1, and 2 exp(-x**2) / sqrt(pi)."""
    value, density = normal_distribution(x * constant(x, math.sqrt(2)))
    return constant(x, 2) * value - constant(x, 1), constant(x, 2 / math.sqrt(math.pi)) * density


@formula
def ndtr(x):
    """Return the normal distribution function and its density."""
    value, density = normal_distribution(x)
    return value, constant(x, 1 / math.sqrt(2 * math.pi)) * density


@formula
def expit(x):
    """Return the logistic function and its derivative."""
    s = logistic(x)
    return s, s * (constant(x, 1) - s)


@formula
def absolute(x):
    """Return |x| and the sign of x."""
    return where_positive(x, x, -x), sign(x)[0]


@formula
def sign(x):
    """Return -1, 0 or 1, NaN for NaN, and 0."""
    negative = where_positive(-x, constant(x, -1), x * constant(x, 0))
    return where_positive(x, constant(x, 1), negative), constant(x, 0)


@formula
def floored(x):
    """Return the largest integer not above x, and 0."""
    return floor(x), constant(x, 0)


@formula
def ceiled(x):
    """Return the smallest integer not below x, and 0."""
    return -floor(-x), constant(x, 0)


@formula
def logaddexp_of_difference(x):
    """Return log(exp(a) + exp(b)) - max(a, b) and the derivatives by a and b, for x = a - b."""
    rest = log1p(exponential(where_positive(x, -x, x)))[0]
    return rest, logistic(x), logistic(-x)
