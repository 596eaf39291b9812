"""From what the output layer gives to what a user asks for, and from that to errors that go back from there."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.special import log_expit, log_softmax

from fastmlp.network import split_groups


def class_probabilities(output: np.ndarray, output_activation: str) -> np.ndarray:
    """Return one column for each class: of 0 and 1 for one logistic output, else the outputs as they are.

    Parameters
    ----------
    output : ndarray of shape (n_samples, n_outputs)
        Activations of the output layer.
    output_activation : {"softmax", "logistic"}
        What that applies.

    Returns
    -------
    ndarray of shape (n_samples, 2) or (n_samples, n_outputs)
    """
    return np.hstack([1 - output, output]) if output.shape[1] == 1 and output_activation == "logistic" else output


def log_probabilities(
    output: np.ndarray, preactivation: Callable[[], np.ndarray], output_activation: str, groups: Sequence[int] = ()
) -> np.ndarray:
    """Return the logarithms of `class_probabilities`, finite also where the probability itself rounds to 0.

    Parameters
    ----------
    output : ndarray of shape (n_samples, n_outputs)
        Activations of the output layer.
    preactivation : callable
        Gives what they were before the activation, of the same shape; called only if a probability is too small for its
        logarithm. All other logarithms are those of the probabilities, so that equal ones stay equal.
    output_activation : {"softmax", "logistic"}
        The activation of the output layer.
    groups : sequence of int, default=()
        How many outputs share a softmax, where there are several.

    Returns
    -------
    ndarray of shape (n_samples, 2) or (n_samples, n_outputs)
    """
    probability = class_probabilities(output, output_activation)
    small = probability < np.finfo(probability.dtype).tiny
    if not small.any():
        return np.log(probability)
    z = preactivation()
    if output_activation == "softmax":
        logarithm = np.hstack([log_softmax(part, axis=1) for part in split_groups(z, groups)])
    else:
        logarithm = log_expit(np.hstack([-z, z]) if z.shape[1] == 1 else z)
    np.log(probability, out=logarithm, where=~small)
    return logarithm


def errors_of_outputs(
    columns: np.ndarray | int, factors: np.ndarray | float, shape: tuple[int, int], dtype: np.dtype
) -> np.ndarray:
    """Return what backpropagation starts from: in each row a factor for one output, 0 for the others.

    Parameters
    ----------
    columns, factors : ndarray of shape (n_samples,), or a number for all rows
        The output chosen, and its factor.
    shape : (n_samples, n_outputs)
    dtype : numpy.dtype

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
    """
    errors = np.zeros(shape, dtype)
    errors[np.arange(shape[0]), columns] = factors
    return errors
