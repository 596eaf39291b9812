"""The order in which Rosenblatt's perceptrons learn: epochs and stopping.

Each row waits for what was learnt from the one before, so this runs on the CPU only, and no engine is to be chosen.
"""

import warnings

import numpy as np
from scipy.sparse import spmatrix
from sklearn.exceptions import ConvergenceWarning

from fastmlp.cpu import perceptron
from fastmlp.cpu.data import as_kernel_input, read_only


def train(
    coef: np.ndarray,
    intercept: np.ndarray,
    X: np.ndarray | spmatrix,
    labels: np.ndarray,
    max_iter: int,
    random_state: np.random.RandomState | None = None,
    single_epoch: bool = False,
) -> np.ndarray:
    """Train until an epoch makes no mistake, or for `max_iter` epochs; each perceptron stops on its own.

    Parameters
    ----------
    coef : ndarray of shape (n_units, n_features)
        The weights, of X's dtype, changed in place. One unit for two classes, else one for each class.
    intercept : ndarray of shape (n_units,)
        The biases, changed in place.
    X : ndarray or CSR of shape (n_samples, n_features)
        Rows, C-contiguous, of dtype float32 or float64.
    labels : ndarray of shape (n_samples,)
        The index of each row's class.
    max_iter : int
        The most epochs.
    random_state : numpy.random.RandomState or None, default=None
        Draws the order of each epoch. None: the given order.
    single_epoch : bool, default=False
        For partial_fit: one epoch and no complaint that it did not converge.

    Returns
    -------
    ndarray of shape (n_iter,)
        The mistakes of each epoch, of all perceptrons together.

    Raises
    ------
    ValueError
        If a preactivation is not finite: the values of X are too large for its dtype.
    """
    n_samples, n_units = X.shape[0], len(coef)
    rows = as_kernel_input(X)
    # The perceptron of two classes, unit 0, fires for class 1 and not for class 0.
    targets = labels - 1 if n_units == 1 else labels
    order = np.arange(n_samples, dtype=np.int64)
    units = np.arange(n_units, dtype=np.int64)
    n_mistakes = []
    for epoch in range(1, 2 if single_epoch else max_iter + 1):
        if random_state is not None:
            order = random_state.permutation(n_samples).astype(np.int64, copy=False)
        mistakes = np.zeros(n_units, np.int64)
        if not perceptron.run_epoch(coef, intercept, mistakes, rows, targets, order, units):
            raise ValueError(
                f"w.x + b is no longer finite in {X.dtype} in epoch {epoch}: the values of X are too large. "
                "Scale the features."
            )
        n_mistakes.append(int(mistakes.sum()))
        # An epoch without a mistake changes no weight, so no later one would find a mistake either.
        units = np.flatnonzero(mistakes).astype(np.int64, copy=False)
        if units.size == 0:
            break
    if units.size > 0 and not single_epoch:
        warnings.warn(
            f"Perceptron: {n_mistakes[-1]} mistakes in the last of max_iter={max_iter} epochs. If the classes are "
            "linearly separable, a larger max_iter ends with none; if not, no max_iter does.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return np.array(n_mistakes, np.int64)


def preactivations(coef: np.ndarray, intercept: np.ndarray, X: np.ndarray | spmatrix) -> np.ndarray:
    """Return w.x + b for each row and perceptron.

    Parameters
    ----------
    coef, intercept : ndarray of shape (n_units, n_features) and (n_units,)
        C-contiguous, of X's dtype.
    X : ndarray or CSR of shape (n_samples, n_features)
        Rows, C-contiguous, of dtype float32 or float64.

    Returns
    -------
    ndarray of shape (n_samples, n_units)
        Of X's dtype.
    """
    out = np.empty((X.shape[0], len(coef)), X.dtype)
    perceptron.preactivations(out, read_only(coef), read_only(intercept), as_kernel_input(X))
    return out
