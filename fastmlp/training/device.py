"""The one place that chooses the engine; everything else asks here."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import spmatrix

from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import forward as _forward
from fastmlp.network import Network


def make_engine(network: Network, dtype: np.dtype, n_threads: int | None) -> Engine:
    """Return an engine that trains `network` in `dtype`, with all threads that numba allows if `n_threads` is None."""
    return Engine(network, dtype, n_threads)


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
