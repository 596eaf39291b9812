"""Backpropagation against finite differences."""

import numpy as np

from fastmlp.formulas.losses import LOSSES
from fastmlp.network import flatten
from fastmlp.training.stochastic import Parameters

# Rounding makes an error of some 1e-16 / STEP of the loss, curvature one of STEP**2: equal at the third root of 1e-16.
STEP = 5e-6
STEP_AT_KINK = 5e-8  # crosses a hundredth of the kinks
CLOSE = 1e-6
SMALLEST_NORM = 1e-5  # of a gradient beside the loss: of a smaller one the differences see too little for rounding


def gradient_error(engine: object, parameters: Parameters, alpha: float, n_parameters: int | None) -> float:
    """Return how far the gradient of an engine is from central finite differences of its loss.

    Parameters
    ----------
    engine : Engine
        Of float64, loaded with the rows.
    parameters : tuple of (coefs, intercepts)
        Where to compare.
    alpha : float
        The L2 penalty.
    n_parameters : int or None
        The most parameters to compare; None: all.

    Returns
    -------
    float
        The largest ||g - d|| / max(||g||, ||d||, SMALLEST_NORM |loss|) of a weight matrix or bias vector; g: the
        gradient by backpropagation, d: the differences.

    Raises
    ------
    ValueError
        If the loss or its gradient is not finite.
    """
    flat = flatten(*parameters).astype(np.float64)
    # Where a loss is the mean over the outputs, its gradient is that of the sum, and the penalty in both the same.
    network = engine.network
    factor = network.widths[-1] if network.loss in LOSSES and LOSSES[network.loss].averaged else 1

    def loss_at(position: int, value: float) -> float:
        moved = flat.copy()
        moved[position] = value
        return factor * engine.loss_and_gradient(moved, alpha / factor)[0]

    def difference(position: int, step: float) -> float:
        step *= max(1.0, abs(flat[position]))
        low, high = flat[position] - step, flat[position] + step
        return (loss_at(position, high) - loss_at(position, low)) / (high - low)

    loss, gradient = engine.loss_and_gradient(flat, alpha)
    if not (np.isfinite(loss) and np.isfinite(gradient).all()):
        raise ValueError(f"The loss {loss} or its gradient is not finite at these parameters: scale the features.")
    samples = _samples([array.size for arrays in parameters for array in arrays], n_parameters)
    smallest = SMALLEST_NORM * factor * abs(loss)
    errors = [0.0]
    for positions in samples:
        backpropagated = gradient[positions]
        differences = np.array([difference(position, STEP) for position in positions])
        scale = max(np.linalg.norm(backpropagated), np.linalg.norm(differences), smallest)
        for i in np.flatnonzero(np.abs(differences - backpropagated) > CLOSE * scale):
            nearer = difference(positions[i], STEP_AT_KINK)
            if abs(nearer - backpropagated[i]) < abs(differences[i] - backpropagated[i]):
                differences[i] = nearer
        if scale > 0:
            errors.append(np.linalg.norm(backpropagated - differences) / scale)
    return float(max(errors))


def _samples(sizes: list[int], most: int | None) -> list[np.ndarray]:
    """Return for each array the positions to compare, counted through all arrays: the same in each call.

    All arrays get the same number of them, as far as they have so many, and at least one.
    """
    starts, random = np.cumsum([0, *sizes]), np.random.default_rng(0)
    left = sum(sizes) if most is None else most
    samples = [np.empty(0, np.intp)] * len(sizes)
    for done, index in enumerate(np.argsort(sizes, kind="stable")):
        count = min(sizes[index], max(1, left // (len(sizes) - done)))
        samples[index] = starts[index] + np.sort(random.choice(sizes[index], count, replace=False))
        left -= count
    return samples
