"""Rows through a network whose parameters are known, and the loss of what comes out."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import sparse

from fastmlp.cuda.compiler import SIMULATED, cuda, launch
from fastmlp.cuda.data import empty_array, encode, upload, use_rows
from fastmlp.cuda.launch import THREADS
from fastmlp.cuda.layout import GROUP_ROWS, ROW_TILE, WIDE
from fastmlp.cuda.program import program_of
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


def run_predict(network: Network, memory: object, rows: tuple, n_rows: int, dtype: np.dtype, what: int) -> np.ndarray:
    """Return what `make_predict` gives for rows on the GPU = (values, entries, first column); memory: parameters."""
    program = program_of(network)
    layout, blocks = _layout(network, program), _blocks(n_rows)
    use_rows(layout, rows[2])
    columns = network.widths[-2] if what == HIDDEN else network.widths[-1]
    out, own = cuda.device_array(n_rows * columns, dtype), cuda.device_array(blocks * layout.rows_size, dtype)
    order = empty_array(np.int64)
    arguments = (out, memory, own, cuda.to_device(layout.plan), rows[0], rows[1], order, n_rows, what)
    launch(make_predict(program, np.dtype(dtype)), blocks, THREADS, *arguments)
    return out.copy_to_host().reshape(n_rows, columns)


def _parts(X):
    """Return where parts of the rows begin that fit on the GPU, and where the last one ends."""
    count = max(1, MOST_NUMBERS // max(1, X.shape[1]))
    return [*range(0, X.shape[0], count), X.shape[0]]


def _through(network, coefs, intercepts, X, what):
    layout = _layout(network, program_of(network))
    memory = cuda.to_device(layout.pack(coefs, intercepts, X.dtype))
    edges = _parts(X)
    parts = [
        run_predict(network, memory, upload(X[first:last]), last - first, X.dtype, what)
        for first, last in pairwise(edges)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def forward(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array,
    n_threads: int | None = None,
    raw: bool = False,
) -> np.ndarray:
    """Return the output layer's activations, or its preactivations if `raw`, of shape (n_rows, n_outputs)."""
    return _through(network, coefs, intercepts, X, RAW if raw else ACTIVATED)


def hidden_layer(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array,
    n_threads: int | None = None,
) -> np.ndarray:
    """Return the activations of the last hidden layer, of shape (n_rows, units)."""
    return _through(network, coefs, intercepts, X, HIDDEN)


def input_gradient(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | sparse.csr_array,
    errors: np.ndarray,
    n_threads: int | None = None,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs."""
    program = program_of(network)
    layout = _layout(network, program, to_inputs=True)
    packed = layout.pack(coefs, intercepts, X.dtype)
    memory = cuda.to_device(np.concatenate([packed, layout.transpose(packed)]))
    edges, parts, order = _parts(X), [], empty_array(np.int64)
    for first, last in pairwise(edges):
        n_rows = last - first
        values, entries, columns = upload(X[first:last])
        use_rows(layout, columns)
        blocks = _blocks(n_rows)
        out = cuda.device_array(n_rows * network.widths[0], X.dtype)
        own = cuda.device_array(blocks * layout.rows_size, X.dtype)
        errors_of_part = cuda.to_device(np.ascontiguousarray(errors[first:last], X.dtype).reshape(-1))
        plan = cuda.to_device(layout.plan)
        arguments = (out, memory, own, plan, values, entries, order, errors_of_part, n_rows)
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
