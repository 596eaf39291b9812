"""Penalties on weights beyond the L2 penalty, whose gradient every step adds by itself."""

from fastmlp.formulas.elementary import constant, formula, maximum


@formula
def soft_threshold(x, threshold):
    """Return x moved towards 0 by a threshold >= 0, and 0 where it is nearer: the proximal map of threshold * |x|.

    Daubechies, Defrise and De Mol (2004).
    """
    zero = constant(x, 0)
    return maximum(x - threshold, zero) - maximum(-x - threshold, zero)
