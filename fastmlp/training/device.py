"""The one place that chooses the engine; everything else asks here."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import spmatrix

from fastmlp.activation import Activation
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import forward as _forward
from fastmlp.cpu.program import FULL_PROGRAM, code_of
from fastmlp.cpu.saliency import hidden_layer as _hidden_layer
from fastmlp.cpu.saliency import input_gradient as _input_gradient
from fastmlp.network import Network


def make_engine(network: Network, dtype: np.dtype, n_threads: int | None) -> Engine:
    """Return an engine that trains `network` in `dtype`, with all threads that numba allows if `n_threads` is None."""
    return Engine(network, dtype, n_threads)


def check_activations(activations: Sequence[str | Activation], dtype: np.dtype) -> None:
    """Compile users' own activations, so that what is wrong with them is said before any work.

    Raises
    ------
    ValueError
        If one cannot be compiled or differentiated.
    """
    for activation in activations:
        code_of(FULL_PROGRAM, activation, dtype)


def forward(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    n_threads: int | None,
    raw: bool = False,
) -> np.ndarray:
    """Return the output layer's activations, or its preactivations if `raw`, of shape (n_samples, n_outputs)."""
    return _forward(network, coefs, intercepts, X, n_threads, raw)


def hidden_layer(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    n_threads: int | None,
) -> np.ndarray:
    """Return the activations of the last hidden layer, of shape (n_samples, units)."""
    return _hidden_layer(network, coefs, intercepts, X, n_threads)


def input_gradient(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    errors: np.ndarray,
    n_threads: int | None,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs."""
    return _input_gradient(network, coefs, intercepts, X, errors, n_threads)
