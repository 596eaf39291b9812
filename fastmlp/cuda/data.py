"""Rows as kernels take them, on the GPU."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from fastmlp.activation import Activation
from fastmlp.cuda.compiler import SIMULATED, cuda
from fastmlp.cuda.layout import ACTIVATION, AVERAGED, LOSS, SPARSE, Layout
from fastmlp.cuda.program import Program
from fastmlp.cuda.rows import DeviceRows
from fastmlp.formulas.losses import LOSSES
from fastmlp.network import Network


def check_activations(activations: Sequence[str | Activation]) -> None:
    """Check that kernels have all activations.

    Raises
    ------
    ValueError
        If one is a user's own.
    """
    for activation in activations:
        if isinstance(activation, Activation):
            raise ValueError(
                f"activation={activation.function!r} is a function of your own, which device='cuda' does not compile: "
                "take device='cpu', or a name."
            )


def encode(network: Network, program: Program, capacity: int, training: bool = True, to_inputs: bool = False) -> Layout:
    """Return the layout of a network with the codes of a program."""
    layout = Layout(network, capacity, training, to_inputs)
    layout.layers[:-1, ACTIVATION] = [program.codes[name] for name in network.activations[:-1]]
    layout.plan[LOSS] = program.loss_codes[network.loss]
    if network.loss in LOSSES and LOSSES[network.loss].averaged:
        layout.plan[AVERAGED] = network.widths[-1]
    return layout


class Uploaded(NamedTuple):
    """Rows on the GPU.

    Attributes
    ----------
    values : device array
        All numbers, row by row, or those that CSR rows store.
    entries : device array of int64
        Of CSR rows, where each begins, and after them the columns of all values.
    first_column : int
        Where in `entries` the columns begin; 0: the rows are dense.
    """

    values: object
    entries: object
    first_column: int


def canonical(X: sparse.csr_array) -> sparse.csr_array:
    """Return CSR rows none of which names a column twice, which means the sum; a copy, if they have to be changed."""
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()
    return X


def entries_of(X: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of canonical CSR rows, one at least, and their entries."""
    values = X.data if X.nnz > 0 else np.zeros(1, X.dtype)
    return values, np.concatenate([X.indptr, X.indices]).astype(np.int64)


def upload(X: np.ndarray | sparse.csr_array | DeviceRows) -> Uploaded:
    """Return rows on the GPU; those that are there are used in place."""
    if isinstance(X, DeviceRows):
        return Uploaded(X.values, cuda.to_device(np.zeros(1, np.int64)), 0)
    if isinstance(X, np.ndarray):
        values = cuda.to_device(np.ascontiguousarray(X).reshape(-1))
        return Uploaded(values, cuda.to_device(np.zeros(1, np.int64)), 0)
    values, entries = entries_of(canonical(X))
    return Uploaded(cuda.to_device(values), cuda.to_device(entries), X.shape[0] + 1)


def bytes_of_rows(X: np.ndarray | sparse.csr_array | DeviceRows) -> np.ndarray | int:
    """Return how many bytes `upload` takes for a row, or for each CSR row."""
    if isinstance(X, DeviceRows):
        return 0
    if isinstance(X, np.ndarray):
        return X.shape[1] * X.dtype.itemsize
    return 8 + (8 + X.dtype.itemsize) * np.diff(X.indptr).astype(np.int64)


def use_rows(layout: Layout, rows: Uploaded) -> None:
    """Tell kernels how rows lie."""
    layout.plan[SPARSE] = rows.first_column


def rows_array(size: int, dtype: np.dtype) -> object:
    """Return so many numbers on the GPU for rows of a block, of which some may only fill up a tile of four.

    What those hold changes no result; but Python, in the simulator, would warn of it.
    """
    return cuda.to_device(np.zeros(size, dtype)) if SIMULATED else cuda.device_array(size, dtype)


def empty_array(dtype: np.dtype) -> object:
    """Return an array without numbers on the GPU."""
    return cuda.device_array(0, dtype)
