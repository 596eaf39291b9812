"""Random numbers without a state: a number is a function of a key and a count, the same for any order of work.

SplitMix64 of Steele, Lea and Flood (2014) at any place of its stream.
"""

import numpy as np

from fastmlp.formulas.elementary import constant, formula, logarithm, square_root, where_positive

GOLDEN = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio
# in typed constants, for Numba makes a float of the sum of signed and unsigned
_GOLDEN, _FIRST, _SECOND = np.uint64(GOLDEN), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S41 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(41)


@formula
def random_bits(key, count):
    """Return 64 bits, for unsigned 64-bit integers."""
    z = key + count * _GOLDEN
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


RESOLUTION = 1 << 23  # so many different uniform numbers


@formula
def uniform(key, count):
    """Return one of so many numbers evenly between 0 and 1, neither 0 nor 1; float32 holds them as they are."""
    return (np.float32(random_bits(key, count) >> _S41) + np.float32(0.5)) * np.float32(1 / RESOLUTION)


# numerators and denominators of Wichura's rational functions, from the second highest power down
MIDDLE = (
    (33430.575583588128105, 28729.085735721942674),
    (67265.770927008700853, 39307.89580009271061),
    (45921.953931549871457, 21213.794301586595867),
    (13731.693765509461125, 5394.1960214247511077),
    (1971.5909503065514427, 687.1870074920579083),
    (133.14166789178437745, 42.313330701600911252),
    (3.387132872796366608, 1.0),
)
TAIL = (
    (0.0227238449892691845833, 5.475938084995344946e-4),
    (0.24178072517745061177, 0.0151986665636164571966),
    (1.27045825245236838258, 0.14810397642748007459),
    (3.64784832476320460504, 0.68976733498510000455),
    (5.7694972214606914055, 1.6763848301838038494),
    (4.6303378461565452959, 2.05319162663775882187),
    (1.42343711074968357734, 1.0),
)


@formula
def normal_quantile(p):
    """Return the number below which a standard normal variate lies with probability p, 1e-10 < p < 1 - 1e-10.

    Algorithm AS 241 (PPND16) of Wichura (1988): a rational function near the middle, another one of the root of the
    logarithm in the tails.
    """
    q = p - constant(p, 0.5)
    r = constant(p, 0.180625) - q * q
    top = constant(p, 2509.0809287301226727)
    below = constant(p, 5226.495278852854561)
    for a, b in MIDDLE:
        top, below = top * r + constant(p, a), below * r + constant(p, b)
    middle = q * top / below
    tail = where_positive(q, constant(p, 1) - p, p)
    s = square_root(-logarithm(tail)) - constant(p, 1.6)
    top, below = constant(p, 7.7454501427834140764e-4), constant(p, 1.05075007164441684324e-9)
    for c, d in TAIL:
        top, below = top * s + constant(p, c), below * s + constant(p, d)
    far = top / below
    return where_positive(r, middle, where_positive(q, far, -far))
