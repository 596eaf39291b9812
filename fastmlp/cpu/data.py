"""Rows as the kernels take them."""

import numpy as np
from scipy import sparse

from fastmlp.cpu.layout import ACTIVATION, LOSS, Layout
from fastmlp.cpu.program import code_of, program_of
from fastmlp.network import Network


def encode(
    network: Network,
    dtype: np.dtype,
    rows: int,
    n_threads: int,
    dense_input: bool,
    training: bool = True,
    target_columns: int = 0,
    change: int = 0,
    to_inputs: bool = False,
) -> Layout:
    """Return the layout of a network with the codes of its activations and its loss."""
    layout = Layout(network, dtype, rows, n_threads, dense_input, training, target_columns, change, to_inputs)
    program = program_of(network)
    layout.layers[:-1, ACTIVATION] = [code_of(program, own, dtype) for own in network.activations[:-1]]
    layout.plan[LOSS] = program.loss_codes[network.loss]
    return layout


def read_only(array: np.ndarray) -> np.ndarray:
    """Return a view that cannot be written to: for Numba another type, of which there shall be one."""
    view = array.view()
    view.flags.writeable = False
    return view


def as_kernel_input(X: np.ndarray | sparse.csr_array) -> np.ndarray | tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return dense rows as they are, and CSR rows as the tuple (data, indices, indptr)."""
    if isinstance(X, np.ndarray):
        return read_only(X)
    return read_only(X.data), read_only(X.indices.astype(np.int64)), read_only(X.indptr.astype(np.int64))


def rows_of(X: np.ndarray | sparse.csr_array, first: int, last: int) -> np.ndarray | sparse.csr_array:
    """Return rows first to last; for CSR, views of its three arrays."""
    if isinstance(X, np.ndarray):
        return X[first:last]
    low, high = X.indptr[first], X.indptr[last]
    parts = (X.data[low:high], X.indices[low:high], X.indptr[first : last + 1] - low)
    return sparse.csr_array(parts, shape=(last - first, X.shape[1]), copy=False)
