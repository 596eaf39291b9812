"""The weights a training starts from. To add a way to draw them, write it and enter it in `INITIALISATIONS`."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from fastmlp.activation import Activation


def _uniform(variance: Callable[[int, int], float]) -> Callable:
    def draw(inputs: int, outputs: int, random_state: np.random.RandomState) -> np.ndarray:
        bound = np.sqrt(3.0 * variance(inputs, outputs))
        return random_state.uniform(-bound, bound, (inputs, outputs))

    return draw


def _normal(variance: Callable[[int, int], float]) -> Callable:
    def draw(inputs: int, outputs: int, random_state: np.random.RandomState) -> np.ndarray:
        return random_state.normal(0.0, np.sqrt(variance(inputs, outputs)), (inputs, outputs))

    return draw


def _glorot(inputs: int, outputs: int) -> float:
    return 2.0 / (inputs + outputs)


def _he(inputs: int, outputs: int) -> float:
    return 2.0 / inputs


def _lecun(inputs: int, outputs: int) -> float:
    return 1.0 / inputs


def orthogonal(inputs: int, outputs: int, random_state: np.random.RandomState) -> np.ndarray:
    """Return a matrix with orthonormal columns, or rows where there are fewer of them: Saxe et al. (2013).

    Parameters
    ----------
    inputs, outputs : int
        Its shape.
    random_state : numpy.random.RandomState
        Draws a Gaussian matrix, of whose QR decomposition this is Q; its signs are those that make Q uniform among
        all such matrices: Mezzadri (2007).

    Returns
    -------
    ndarray of shape (inputs, outputs)
    """
    q, r = np.linalg.qr(random_state.normal(size=(max(inputs, outputs), min(inputs, outputs))))
    q *= np.where(np.diag(r) < 0, -1.0, 1.0)
    return q if inputs >= outputs else q.T


INITIALISATIONS = {
    "glorot_uniform": _uniform(_glorot),  # Glorot and Bengio (2010)
    "glorot_normal": _normal(_glorot),
    "he_uniform": _uniform(_he),  # He et al. (2015)
    "he_normal": _normal(_he),
    "lecun_uniform": _uniform(_lecun),  # LeCun et al. (1998)
    "lecun_normal": _normal(_lecun),
    "orthogonal": orthogonal,
}


def draw_parameters(
    widths: Sequence[int],
    activations: Sequence[str | Activation],
    random_state: np.random.RandomState,
    dtype: np.dtype,
    weight_init: str = "auto",
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw weights and biases, always in float64.

    Parameters
    ----------
    widths : sequence of int
        Numbers of features, of units of each hidden layer, and of outputs.
    activations : sequence of str or Activation
        Those of the hidden layers; the output layer counts as one with that of the last one, also where there is no
        hidden layer.
    random_state : numpy.random.RandomState
        Where the numbers come from.
    dtype : numpy.dtype
        What they are rounded to.
    weight_init : str, default="auto"
        A name in `INITIALISATIONS`; the biases are then 0. "auto": weights and biases uniform with the bound sqrt(2 /
        (inputs + outputs)) before "logistic", and before all others sqrt(6 / (inputs + outputs)), the bounds of Glorot
        and Bengio (2010), in number and order as scikit-learn draws them; but before "selu" "lecun_normal", for which
        that activation was made.

    Returns
    -------
    coefs : list of ndarray of shape (inputs, outputs)
    intercepts : list of ndarray of shape (outputs,)
    """
    coefs, intercepts = [], []
    for (inputs, outputs), activation in zip(pairwise(widths), (*activations, activations[-1]), strict=False):
        name = "lecun_normal" if weight_init == "auto" and activation == "selu" else weight_init
        if name == "auto":
            bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (inputs + outputs))
            weight = random_state.uniform(-bound, bound, (inputs, outputs))
            bias = random_state.uniform(-bound, bound, outputs)
        else:
            weight, bias = INITIALISATIONS[name](inputs, outputs, random_state), np.zeros(outputs)
        coefs.append(np.ascontiguousarray(weight, dtype))
        intercepts.append(bias.astype(dtype, copy=False))
    return coefs, intercepts
