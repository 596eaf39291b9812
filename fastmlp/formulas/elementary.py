"""Elementary functions of one real number, written so that one text serves a scalar, a register and a CUDA thread.

Each function below is built from a few primitives (`constant`, `where_positive`, `floor`, `square_root`, `fast_root`,
`power_of_two`, `split_exponent`). Their bodies for scalars are here; `fastmlp.cpu.lanes` adds the bodies for a vector
register. All propagate NaN.
"""

import math

import numpy as np
import scipy.special
from numba import njit, types
from numba.extending import overload

# `contract` lets LLVM form fused multiply-adds. Neither `reassoc` (it would undo the two-part reduction of
# `exponential`) nor `nnan` (it would make a NaN invisible).
formula = njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


def scalar_type(kind: types.Type) -> types.Type:
    """Return the Numba float type of a scalar, or of the elements of a register."""
    return getattr(kind, "scalar", kind)


def constant(like, value):
    """Return `value` as a number of the type of `like`."""
    return np.asarray(like).dtype.type(value)


def maximum(x, y):
    """Return the larger one; NaN where x is NaN."""
    return y if y > x else x


def minimum(x, y):
    """Return the smaller one; NaN where x is NaN."""
    return y if y < x else x


def where_positive(x, yes, no):
    """Return `yes` where x > 0, `no` elsewhere and where x is NaN."""
    return yes if x > 0 else no


def floor(x):
    """Return the largest integer not above x, as a float."""
    return np.floor(x)


def square_root(x):
    """Return the square root."""
    return np.sqrt(x)


def fast_root(x):
    """Return the square root of x >= 0 within two units of rounding; below the normal numbers within their root."""
    return np.sqrt(x)


def power_of_two(n):
    """Return 2**n for an integral float n >= -1023 (float32: -127), where the lowest one gives 0."""
    lowest = -127 if np.asarray(n).dtype == np.float32 else -1023
    return np.exp2(n) if n > lowest else constant(n, 0)


def split_exponent(x):
    """Return (m, e) with x = m * 2**e and 0.5 <= m < 1, for a positive normal x."""
    mantissa, exponent = np.frexp(x)
    return mantissa, constant(x, exponent)


@overload(constant)
def _constant(like, value):
    if like == types.float32:
        return lambda like, value: np.float32(value)
    if like == types.float64:
        return lambda like, value: np.float64(value)
    return None


@overload(maximum)
def _maximum(x, y):
    if isinstance(x, types.Float):
        return lambda x, y: y if y > x else x
    return None


@overload(minimum)
def _minimum(x, y):
    if isinstance(x, types.Float):
        return lambda x, y: y if y < x else x
    return None


@overload(where_positive)
def _where_positive(x, yes, no):
    if isinstance(x, types.Float):
        return lambda x, yes, no: yes if x > 0 else no
    return None


@overload(floor)
def _floor(x):  # np.floor does not exist on CUDA; the product keeps NaN, which an integer cannot hold
    if isinstance(x, types.Float):
        return lambda x: constant(x, math.floor(x)) + x * constant(x, 0)
    return None


@overload(square_root)
def _square_root(x):
    if isinstance(x, types.Float):
        return lambda x: math.sqrt(x)
    return None


@overload(fast_root)
def _fast_root(x):
    if isinstance(x, types.Float):
        return lambda x: math.sqrt(x)
    return None


@overload(power_of_two)
def _power_of_two(n):
    if n == types.float32:
        return lambda n: constant(n, math.ldexp(1.0, int(n))) if n > -127 else constant(n, 0)
    if n == types.float64:
        return lambda n: math.ldexp(1.0, int(n)) if n > -1023 else 0.0
    return None


@overload(split_exponent)
def _split_exponent(x):
    if not isinstance(x, types.Float):
        return None

    def split(x):
        mantissa, exponent = math.frexp(x)
        return constant(x, mantissa), constant(x, exponent)

    return split


def by_precision(like, single, double):
    """Return the constant that suits the precision of `like`: `single` for float32, `double` for float64."""
    return constant(like, single if np.asarray(like).dtype == np.float32 else double)


@overload(by_precision)
def _by_precision(like, single, double):
    if like == types.float32:
        return lambda like, single, double: np.float32(single)
    if like == types.float64:
        return lambda like, single, double: np.float64(double)
    return None


def exponential_series(r):
    """Return exp(r) - 1 for |r| <= log(2) / 2: Taylor's series, cut where its rest is below half a unit of rounding."""
    return np.expm1(r)


@overload(exponential_series)
def _exponential_series(r):
    if scalar_type(r) == types.float32:

        def series(r):
            p = r * constant(r, 1 / 5040) + constant(r, 1 / 720)
            p = p * r + constant(r, 1 / 120)
            p = p * r + constant(r, 1 / 24)
            p = p * r + constant(r, 1 / 6)
            p = p * r + constant(r, 1 / 2)
            return p * (r * r) + r

        return series

    def series(r):
        p = r * constant(r, 1 / 6227020800) + constant(r, 1 / 479001600)
        p = p * r + constant(r, 1 / 39916800)
        p = p * r + constant(r, 1 / 3628800)
        p = p * r + constant(r, 1 / 362880)
        p = p * r + constant(r, 1 / 40320)
        p = p * r + constant(r, 1 / 5040)
        p = p * r + constant(r, 1 / 720)
        p = p * r + constant(r, 1 / 120)
        p = p * r + constant(r, 1 / 24)
        p = p * r + constant(r, 1 / 6)
        p = p * r + constant(r, 1 / 2)
        return p * (r * r) + r

    return series


def logarithm_series(t):
    """Return 2 atanh(s) / s - 2 for t = s * s, |s| <= 0.1716: the series sum of 2 t**k / (2 k + 1) from k = 1."""
    s = np.sqrt(t)
    return 2 * np.arctanh(s) / s - 2 if t > 0 else t


@overload(logarithm_series)
def _logarithm_series(t):
    if scalar_type(t) == types.float32:

        def series(t):
            p = t * constant(t, 2 / 11) + constant(t, 2 / 9)
            p = p * t + constant(t, 2 / 7)
            p = p * t + constant(t, 2 / 5)
            p = p * t + constant(t, 2 / 3)
            return p * t

        return series

    def series(t):
        p = t * constant(t, 2 / 23) + constant(t, 2 / 21)
        p = p * t + constant(t, 2 / 19)
        p = p * t + constant(t, 2 / 17)
        p = p * t + constant(t, 2 / 15)
        p = p * t + constant(t, 2 / 13)
        p = p * t + constant(t, 2 / 11)
        p = p * t + constant(t, 2 / 9)
        p = p * t + constant(t, 2 / 7)
        p = p * t + constant(t, 2 / 5)
        p = p * t + constant(t, 2 / 3)
        return p * t

    return series


def wide_logarithm_series(t):
    """Return 2 atanh(s) / s - 2 for t = s * s, |s| <= 1/3: the series of `logarithm_series` with more terms."""
    return logarithm_series(t)


@overload(wide_logarithm_series)
def _wide_logarithm_series(t):
    if scalar_type(t) == types.float32:

        def series(t):
            p = t * constant(t, 2 / 13) + constant(t, 2 / 11)
            p = p * t + constant(t, 2 / 9)
            p = p * t + constant(t, 2 / 7)
            p = p * t + constant(t, 2 / 5)
            p = p * t + constant(t, 2 / 3)
            return p * t

        return series

    def series(t):
        p = t * constant(t, 2 / 31) + constant(t, 2 / 29)
        p = p * t + constant(t, 2 / 27)
        p = p * t + constant(t, 2 / 25)
        p = p * t + constant(t, 2 / 23)
        p = p * t + constant(t, 2 / 21)
        p = p * t + constant(t, 2 / 19)
        p = p * t + constant(t, 2 / 17)
        p = p * t + constant(t, 2 / 15)
        p = p * t + constant(t, 2 / 13)
        p = p * t + constant(t, 2 / 11)
        p = p * t + constant(t, 2 / 9)
        p = p * t + constant(t, 2 / 7)
        p = p * t + constant(t, 2 / 5)
        p = p * t + constant(t, 2 / 3)
        return p * t

    return series


def arctangent_series(t):
    """Return arctan(s) / s - 1 for t = s * s, |s| <= 0.2: the series sum of (-t)**k / (2 k + 1) from k = 1."""
    s = np.sqrt(t)
    return np.arctan(s) / s - 1 if t > 0 else t


@overload(arctangent_series)
def _arctangent_series(t):
    if scalar_type(t) == types.float32:

        def series(t):
            p = t * constant(t, -1 / 11) + constant(t, 1 / 9)
            p = p * t + constant(t, -1 / 7)
            p = p * t + constant(t, 1 / 5)
            p = p * t + constant(t, -1 / 3)
            return p * t

        return series

    def series(t):
        p = t * constant(t, -1 / 23) + constant(t, 1 / 21)
        p = p * t + constant(t, -1 / 19)
        p = p * t + constant(t, 1 / 17)
        p = p * t + constant(t, -1 / 15)
        p = p * t + constant(t, 1 / 13)
        p = p * t + constant(t, -1 / 11)
        p = p * t + constant(t, 1 / 9)
        p = p * t + constant(t, -1 / 7)
        p = p * t + constant(t, 1 / 5)
        p = p * t + constant(t, -1 / 3)
        return p * t

    return series


def scaled_tail_series(t):
    """Return exp(x**2) erfc(x) (1 + 2 x) for t = (x - 2) / (x + 2), x >= 0.

    It is smooth in t (Schonfelder, 1978). Its series of Chebyshev's polynomials, computed with 40 digits, is cut off
    where its rest is below a unit of rounding.
    """
    x = 2 * (1 + t) / (1 - t)
    return scipy.special.erfcx(x) * (1 + 2 * x)


@overload(scaled_tail_series)
def _scaled_tail_series(t):
    if scalar_type(t) == types.float32:

        def series(t):
            p = t * constant(t, 0.0001608035818208009) + constant(t, -0.00018365443975199014)
            p = p * t + constant(t, -0.0013957069022580981)
            p = p * t + constant(t, 0.0010431446135044098)
            p = p * t + constant(t, 0.008689159527420998)
            p = p * t + constant(t, -0.007942721247673035)
            p = p * t + constant(t, -0.05421195924282074)
            p = p * t + constant(t, 0.1640358418226242)
            p = p * t + constant(t, -0.1660310924053192)
            p = p * t + constant(t, -0.09276308119297028)
            return p * t + constant(t, 1.2769783735275269)

        return series

    def series(t):
        p = t * constant(t, -1.4276847782986204e-08) + constant(t, -2.4630020041347383e-08)
        p = p * t + constant(t, 9.110270309406622e-08)
        p = p * t + constant(t, 2.3191445148773556e-07)
        p = p * t + constant(t, -1.283145001602249e-07)
        p = p * t + constant(t, -9.42043006762512e-07)
        p = p * t + constant(t, -8.486280593803529e-07)
        p = p * t + constant(t, 1.5863413025348713e-06)
        p = p * t + constant(t, 5.3380619799498e-06)
        p = p * t + constant(t, 3.666977126641099e-06)
        p = p * t + constant(t, -1.3550461660621755e-05)
        p = p * t + constant(t, -3.640725735279041e-05)
        p = p * t + constant(t, -1.4901062178327189e-06)
        p = p * t + constant(t, 0.00015103514399068322)
        p = p * t + constant(t, 0.00020636268647766627)
        p = p * t + constant(t, -0.0004543401657863993)
        p = p * t + constant(t, -0.0014568132813392836)
        p = p * t + constant(t, 0.0012713388980090158)
        p = p * t + constant(t, 0.008722653817412258)
        p = p * t + constant(t, -0.008034015078553464)
        p = p * t + constant(t, -0.05422000098938379)
        p = p * t + constant(t, 0.16405128003334057)
        p = p * t + constant(t, -0.16603039761533683)
        p = p * t + constant(t, -0.09276382658574522)
        return p * t + constant(t, 1.2769783815525289)

    return series


@formula
def _reduced_exponential(x):
    """Return (q, s) with exp(x) = 2 s (q + 1); s is half of a power of two, so that it cannot overflow on its own.

    The reduction x = n log(2) + r in two parts is Cody and Waite's (1980).
    """
    x = maximum(x, by_precision(x, -87.4, -708.5))
    x = minimum(x, by_precision(x, 89.0, 710.0))
    n = floor(x * constant(x, 1.4426950408889634) + constant(x, 0.5))
    r = x - n * by_precision(x, 0.693359375, 6.93147180369123816490e-01)
    r = r - n * by_precision(x, -2.12194440e-4, 1.90821492927058770002e-10)
    return exponential_series(r), power_of_two(n - constant(x, 1))


@formula
def exponential(x):
    """Return exp(x); 0 below the normal numbers, infinity above the largest one."""
    q, s = _reduced_exponential(x)
    return constant(x, 2) * (q * s + s)


@formula
def exponential_minus_one(x):
    """Return exp(x) - 1, accurate near 0."""
    q, s = _reduced_exponential(x)
    return constant(x, 2) * (q * s + (s - constant(x, 0.5)))


@formula
def logarithm(x):
    """Return log(x) for a normal x > 0; minus infinity for 0; x for infinity and NaN."""
    m, e = split_exponent(x)
    # m in [sqrt(1/2), sqrt(2)), so that the series in s = (m - 1) / (m + 1) is short
    small = constant(x, 0.7071067811865476) - m
    m = where_positive(small, m + m, m)
    e = where_positive(small, e - constant(x, 1), e)
    f = m - constant(x, 1)
    s = f / (f + constant(x, 2))
    low = s * logarithm_series(s * s) + e * by_precision(x, -2.12194440e-4, 1.90821492927058770002e-10)
    result = (s + s) + low + e * by_precision(x, 0.693359375, 6.93147180369123816490e-01)
    result = where_positive(x, result, constant(x, -math.inf))
    return where_positive(constant(x, math.inf) - x, result, x)


@formula
def logarithm_of_one_plus(x):
    """Return log(1 + x) for 0 <= x <= 1, accurate near 0: 2 atanh(x / (x + 2)), without an exponent to take off."""
    s = x / (x + constant(x, 2))
    return (s + s) + s * wide_logarithm_series(s * s)


@formula
def arctangent(x):
    """Return arctan(x), by that of a quarter of the angle, after 1 / x where |x| > 1."""
    size = where_positive(x, x, -x)
    beyond = size - constant(x, 1)
    s = where_positive(beyond, constant(x, 1) / size, size)
    s = s / (constant(x, 1) + square_root(s * s + constant(x, 1)))
    s = s / (constant(x, 1) + square_root(s * s + constant(x, 1)))
    angle = constant(x, 4) * (s + s * arctangent_series(s * s))
    angle = where_positive(beyond, constant(x, math.pi / 2) - angle, angle)
    return where_positive(x, angle, -angle)


@formula
def normal_distribution(x):
    """Return the standard normal distribution function at x, and its density there times sqrt(2 pi)."""
    size = where_positive(x, x, -x) * constant(x, math.sqrt(0.5))
    density = exponential(x * x * constant(x, -0.5))
    series = scaled_tail_series((size - constant(x, 2)) / (size + constant(x, 2)))
    tail = constant(x, 0.5) * density * series / (constant(x, 1) + constant(x, 2) * size)
    return where_positive(x, constant(x, 1) - tail, tail), density
