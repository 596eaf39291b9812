"""The weights a training starts from."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np


def draw_parameters(
    widths: Sequence[int], activations: Sequence[str], random_state: np.random.RandomState, dtype: np.dtype
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Draw weights and biases uniformly, in the bounds of Glorot and Bengio (2010).

    The draws are scikit-learn's in number and order: for each layer the weights, then the biases, always in float64.

    Parameters
    ----------
    widths : sequence of int
        Numbers of features, of units of each hidden layer, and of outputs.
    activations : sequence of str
        Those of the hidden layers: the bound is sqrt(2 / (inputs + outputs)) before "logistic", before all others
        sqrt(6 / (inputs + outputs)). The output layer's is that of the last one, also where there is no hidden layer.
    random_state : numpy.random.RandomState
        Where the numbers come from.
    dtype : numpy.dtype
        What they are rounded to.

    Returns
    -------
    coefs : list of ndarray of shape (inputs, outputs)
    intercepts : list of ndarray of shape (outputs,)
    """
    coefs, intercepts = [], []
    for (inputs, outputs), activation in zip(pairwise(widths), (*activations, activations[-1]), strict=False):
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / (inputs + outputs))
        coefs.append(random_state.uniform(-bound, bound, (inputs, outputs)).astype(dtype, copy=False))
        intercepts.append(random_state.uniform(-bound, bound, outputs).astype(dtype, copy=False))
    return coefs, intercepts
