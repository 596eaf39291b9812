"""Rows as kernels take them, on the GPU."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastmlp.activation import Activation
from fastmlp.cuda.compiler import cuda
from fastmlp.cuda.layout import ACTIVATION, AVERAGED, LOSS, SPARSE, Layout
from fastmlp.cuda.program import Program
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


def upload(X: np.ndarray | sparse.csr_array) -> tuple[object, object, int]:
    """Return rows on the GPU: values, entries of CSR rows, and where in those the columns begin (0: they are dense)."""
    if isinstance(X, np.ndarray):
        return cuda.to_device(np.ascontiguousarray(X).reshape(-1)), cuda.to_device(np.zeros(1, np.int64)), 0
    if not X.has_canonical_format:  # a row that names a column twice means the sum
        X = X.copy()
        X.sum_duplicates()
    entries = np.concatenate([X.indptr, X.indices]).astype(np.int64)
    values = X.data if X.nnz > 0 else np.zeros(1, X.dtype)
    return cuda.to_device(values), cuda.to_device(entries), len(X.indptr)


def use_rows(layout: Layout, first_column: int) -> None:
    """Tell kernels how the rows that `upload` returned lie."""
    layout.plan[SPARSE] = first_column


def empty_array(dtype: np.dtype) -> object:
    """Return an array without numbers on the GPU."""
    return cuda.device_array(0, dtype)
