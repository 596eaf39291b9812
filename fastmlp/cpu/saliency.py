"""What a prediction depends on: errors from the output back to the inputs, and the last hidden layer.

Entries of their own, compiled when they are first used: who only trains and predicts does not wait for them.
"""

from functools import partial

import numpy as np

from fastmlp.cpu.compile import entry
from fastmlp.cpu.data import as_kernel_input, encode, read_only, rows_of
from fastmlp.cpu.forward import copy_output, forward
from fastmlp.cpu.lanes import load, load_first, store, store_first, width
from fastmlp.cpu.layout import (
    BACKWARD,
    BLOCK_ROWS,
    ERROR,
    ERROR_BELOW,
    INPUTS,
    N_LAYERS,
    ROW_STRIDE,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    lanes_of,
    record_of,
)
from fastmlp.cpu.pack import addresses_of, pack_parameters
from fastmlp.cpu.program import code_of, program_of
from fastmlp.cpu.rows import backward_rows, dense, first_layer, forward_rows, gather
from fastmlp.cpu.share import pieces_of, share_rows, threads_worth
from fastmlp.cpu.subnormal import flush_subnormals, restore_mode
from fastmlp.cpu.threads import resolve_threads
from fastmlp.network import Network


@entry
def backward_blocks(program, out, memory, plan, X, errors, order, block_rows):
    """out (rows, inputs) <- errors (rows, outputs) of the rows X[order] taken back to the inputs, block by block."""
    mode = flush_subnormals()
    first, last = record_of(0), record_of(plan[N_LAYERS] - 1)
    row_stride = plan[ROW_STRIDE]
    for start in range(0, order.size, block_rows):
        rows = min(block_rows, order.size - start)
        block = order[start : start + rows]
        first_layer(memory, plan, first, X, block, (0, rows))
        forward_rows(program, memory, plan, (0, rows), 0, np.uint64(0))
        gather(memory, plan[last + ERROR], row_stride, errors, block, 0, rows)  # in place of the preactivations
        backward_rows(program, memory, plan, (0, rows))
        dense(memory, plan, first + BACKWARD, (0, rows))
        for row in range(rows):
            copy_output(out, memory, plan[first + ERROR_BELOW], row_stride, row, start + row, plan[first + INPUTS])
    restore_mode(mode)


@entry
def pack(memory, place, stride, matrix, rows):
    """memory: [panels][rows][lanes] at `place` <- matrix[rows]."""
    gather(memory, place, stride, matrix, rows, 0, rows.size)


@entry
def activate_all(program, activation, out, padded):
    """Replace preactivations (rows, units) by activations. `padded`: scratch for one register."""
    mode = flush_subnormals()
    lanes = width(out)
    whole = out.size // lanes * lanes
    program.activate(activation, out, 0, whole, 0)
    store(padded, 0, load_first(out, whole, out.size - whole))
    program.activate(activation, padded, 0, lanes, 0)
    store_first(out, whole, load(padded, 0), out.size - whole)
    restore_mode(mode)


def hidden_layer(
    network: Network, coefs: list[np.ndarray], intercepts: list[np.ndarray], X: np.ndarray, n_threads: int | None = 1
) -> np.ndarray:
    """Return the activations of the last hidden layer, (n_rows, units); the arguments are those of `forward`."""
    out = forward(network.without_output(), coefs[:-1], intercepts[:-1], X, n_threads, raw=True)
    program = program_of(network)
    code = code_of(program, network.activations[-2], X.dtype)
    activate_all(program, code, out, np.zeros(lanes_of(X.dtype), X.dtype))
    return out


def input_gradient(
    network: Network,
    coefs: list[np.ndarray],
    intercepts: list[np.ndarray],
    X: np.ndarray,
    errors: np.ndarray,
    n_threads: int | None = 1,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs.

    Parameters
    ----------
    network, coefs, intercepts, X, n_threads
        Those of `forward`.
    errors : ndarray of shape (n_rows, n_outputs)
        Of X's dtype, C-contiguous.

    Returns
    -------
    ndarray of shape (n_rows, n_features)
        Of X's dtype.
    """
    n_rows = X.shape[0]
    products = 2 * network.n_parameters
    wanted = min(resolve_threads(n_threads), threads_worth(n_rows * products))
    pieces = pieces_of(n_rows, products, wanted)
    wanted = min(wanted, len(pieces))
    block_rows = min(n_rows, BLOCK_ROWS)
    dense_input = isinstance(X, np.ndarray)
    layout = encode(network, X.dtype, block_rows, wanted, dense_input, training=False, to_inputs=True)
    layout.set_batch(block_rows)
    order = np.arange(max(network.widths))
    pack_parameters(layout.memory, layout.plan, addresses_of(coefs, intercepts), order)
    for record, weight in zip(layout.layers, coefs, strict=True):
        transposed = read_only(np.ascontiguousarray(weight.T))
        pack(layout.memory, record[TRANSPOSED], record[TRANSPOSED_STRIDE], transposed, order[: len(transposed)])
    out = np.empty((n_rows, network.widths[0]), X.dtype)
    program = program_of(network)

    def part(thread, first, last):
        rows, order = as_kernel_input(rows_of(X, first, last)), np.arange(last - first)
        plan, errors_of_rows = layout.plan_of(thread), read_only(errors[first:last])
        return partial(
            backward_blocks, program, out[first:last], layout.memory, plan, rows, errors_of_rows, order, block_rows
        )

    share_rows(lambda: (part, pieces), wanted)
    return out
