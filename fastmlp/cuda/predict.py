"""Rows through a network whose parameters are known, and the loss of what comes out."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import sparse

from fastmlp.cuda.compiler import SIMULATED, cuda, launch
from fastmlp.cuda.data import (
    Uploaded,
    bytes_of_rows,
    check_activations,
    empty_array,
    encode,
    rows_array,
    upload,
    use_rows,
)
from fastmlp.cuda.launch import THREADS
from fastmlp.cuda.layout import GROUP_ROWS, ROW_TILE, WIDE
from fastmlp.cuda.memory import check_fits, explain, usable_memory
from fastmlp.cuda.program import program_of
from fastmlp.cuda.rows import DeviceRows
from fastmlp.cuda.step import ACTIVATED, HIDDEN, RAW, make_input_gradient, make_predict, make_sum_losses
from fastmlp.formulas.losses import LOSSES
from fastmlp.network import Network

ROWS_OF_A_BLOCK = 4 * WIDE  # that it takes through the network at once
MOST_NUMBERS = 1 << 27  # of a part of the rows that is on the GPU at once


def _blocks(n_rows):
    most = 2 if SIMULATED else 8 * cuda.get_current_device().MULTIPROCESSOR_COUNT
    return max(1, min(most, -(-n_rows // ROWS_OF_A_BLOCK)))


def _layout(network, program, to_inputs=False):
    layout = encode(network, program, ROWS_OF_A_BLOCK, training=False, to_inputs=to_inputs)
    layout.plan[GROUP_ROWS], layout.plan[ROW_TILE] = ROWS_OF_A_BLOCK, WIDE
    return layout


def run_predict(
    network: Network, memory: object, rows: Uploaded, n_rows: int, dtype: np.dtype, what: int, out: object = None
) -> np.ndarray | None:
    """Return what `make_predict` gives for rows on the GPU, or write it to `out` there; memory: parameters."""
    program = program_of(network)
    layout, blocks = _layout(network, program), _blocks(n_rows)
    use_rows(layout, rows)
    columns = _columns(network, what)
    own, order = rows_array(blocks * layout.rows_size, dtype), empty_array(np.int64)
    there = cuda.device_array(n_rows * columns, dtype) if out is None else out
    arguments = (there, memory, own, cuda.to_device(layout.plan), rows.values, rows.entries, order, n_rows, what)
    launch(make_predict(program, np.dtype(dtype)), blocks, THREADS, *arguments)
    return there.copy_to_host().reshape(n_rows, columns) if out is None else None


def _columns(network, what):
    return network.widths[-2] if what == HIDDEN else network.widths[-1]


def _parts(X, layout, columns):
    """Return where parts of the rows begin that fit on the GPU, and where the last one ends.

    columns: numbers of a row that are there beside its features.
    """
    n_rows, itemsize = X.shape[0], X.dtype.itemsize
    each = max(1, columns * itemsize + int(np.max(bytes_of_rows(X))))
    own = _blocks(n_rows) * layout.rows_size * itemsize
    check_fits(own + each, "the units of the rows")
    most = min(MOST_NUMBERS // max(1, X.shape[1]), (usable_memory() - own) / each)
    return [*range(0, n_rows, max(1, int(most))), n_rows]


def parts_of(
    network: Network, X: np.ndarray | sparse.csr_array | DeviceRows, what: int, stays: bool = False
) -> list[int]:
    """Return where parts of the rows begin that `make_predict` can have at once, and where the last one ends."""
    return _parts(X, _layout(network, program_of(network)), 0 if stays else _columns(network, what))


def run_in_parts(
    network: Network,
    memory: object,
    X: np.ndarray | sparse.csr_array | DeviceRows,
    dtype: np.dtype,
    what: int,
    stays: bool = False,
) -> np.ndarray:
    """Return what `make_predict` gives for rows of which the GPU holds a part at a time; all there, if it `stays`."""
    columns = _columns(network, what)
    out = cuda.device_array(X.shape[0] * columns, dtype) if stays else None
    edges = parts_of(network, X, what, stays)
    if stays:
        for first, last in pairwise(edges):
            there = out[first * columns : last * columns]
            run_predict(network, memory, upload(X[first:last]), last - first, dtype, what, there)
        return out.reshape(X.shape[0], columns)
    parts = [
        run_predict(network, memory, upload(X[first:last]), last - first, dtype, what)
        for first, last in pairwise(edges)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@explain
def _through(network, coefs, intercepts, X, what, stays):
    check_activations(network.activations)
    layout = _layout(network, program_of(network))
    check_fits(layout.memory_size * X.dtype.itemsize, "the parameters")
    memory = cuda.to_device(layout.pack(coefs, intercepts, X.dtype))
    return run_in_parts(network, memory, X, X.dtype, what, stays)


def forward(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array | DeviceRows,
    n_threads: int | None = None,
    raw: bool = False,
    stays: bool = False,
) -> np.ndarray:
    """Return the output layer's activations, or its preactivations if `raw`, of shape (n_rows, n_outputs).

    If it `stays`, as an array on the GPU.
    """
    return _through(network, coefs, intercepts, X, RAW if raw else ACTIVATED, stays)


def hidden_layer(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array | DeviceRows,
    n_threads: int | None = None,
    stays: bool = False,
) -> np.ndarray:
    """Return the activations of the last hidden layer, of shape (n_rows, units)."""
    return _through(network, coefs, intercepts, X, HIDDEN, stays)


@explain
def input_gradient(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array | DeviceRows,
    errors: np.ndarray,
    n_threads: int | None = None,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs."""
    check_activations(network.activations)
    program = program_of(network)
    layout = _layout(network, program, to_inputs=True)
    check_fits(layout.memory_size * X.dtype.itemsize, "the parameters")
    packed = layout.pack(coefs, intercepts, X.dtype)
    memory = cuda.to_device(np.concatenate([packed, layout.transpose(packed)]))
    edges, parts, order = _parts(X, layout, network.widths[0] + network.widths[-1]), [], empty_array(np.int64)
    for first, last in pairwise(edges):
        n_rows = last - first
        rows = upload(X[first:last])
        use_rows(layout, rows)
        blocks = _blocks(n_rows)
        out = cuda.device_array(n_rows * network.widths[0], X.dtype)
        own = rows_array(blocks * layout.rows_size, X.dtype)
        errors_of_part = cuda.to_device(np.ascontiguousarray(errors[first:last], X.dtype).reshape(-1))
        plan = cuda.to_device(layout.plan)
        arguments = (out, memory, own, plan, rows.values, rows.entries, order, errors_of_part, n_rows)
        launch(make_input_gradient(program), blocks, THREADS, *arguments)
        parts.append(out.copy_to_host().reshape(n_rows, -1))
    return np.concatenate(parts)


def mean_loss(network: Network, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """Return the mean loss of rows, without penalty: output (n, outputs), targets (n, columns), sample_weight (n,)."""
    program = program_of(network)
    blocks = _blocks(len(output))
    threads = blocks * THREADS
    results = cuda.to_device(np.zeros(2 * threads))
    weights = empty_array(output.dtype) if sample_weight is None else cuda.to_device(sample_weight)
    launch(
        make_sum_losses(program),
        blocks,
        THREADS,
        results,
        cuda.to_device(np.ascontiguousarray(output).reshape(-1)),
        cuda.to_device(_layout(network, program).plan),
        cuda.to_device(np.ascontiguousarray(targets).reshape(-1)),
        weights,
        len(output),
        output.shape[1],
        targets.shape[1],
        network.loss_parameter,
    )
    loss, weight_sum = results.copy_to_host().reshape(2, threads).sum(axis=1)
    if network.loss in LOSSES and LOSSES[network.loss].averaged:
        loss /= network.widths[-1]
    return float(loss / weight_sum)
