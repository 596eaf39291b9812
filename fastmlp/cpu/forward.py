"""Prediction: rows through the network, in blocks, so that memory does not grow with rows x hidden width."""

import threading
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from itertools import pairwise

import numpy as np

from fastmlp.cpu.compile import entry, kernel
from fastmlp.cpu.data import as_kernel_input, encode, read_only, rows_of
from fastmlp.cpu.lanes import load, load_first, repeat, store, store_first, sums_of_rows, width
from fastmlp.cpu.layout import (
    ALONG,
    ALONG_STRIDE,
    BIAS,
    BLOCK_ROWS,
    GROUPS,
    HEAD,
    INPUTS,
    N_LAYERS,
    OUTPUT,
    OUTPUTS,
    ROW_STRIDE,
    TAIL,
    WEIGHT,
    WEIGHT_STRIDE,
    Layout,
    has_single_output,
    is_along,
    lanes_of,
    padded_units,
    record_of,
    tail_of,
)
from fastmlp.cpu.output import RAW
from fastmlp.cpu.program import code_of, program_of
from fastmlp.cpu.rows import first_layer, forward_rows, gather
from fastmlp.cpu.subnormal import flush_subnormals, restore_mode
from fastmlp.cpu.target import ROWS
from fastmlp.cpu.threads import fair_share, resolve_threads
from fastmlp.futures import complete
from fastmlp.network import Network

# So few rows, or products, go through the weights as they lie: to copy them into panels would take longer.
FEW_ROWS = 6
FEW_PRODUCTS = 250_000
WORK_PER_THREAD = 25_000_000  # multiply-adds that make a thread worth its start
PIECES_PER_THREAD = 8
SMALLEST_PIECE = 32  # rows
MOST_SPARE_BYTES = 1 << 22  # what a thread keeps for its next prediction
_spare = threading.local()  # `layout`: of the thread's last prediction, to save its making and the system's new pages
NO_GROUPS = np.empty(0, dtype=np.int64)


@kernel
def copy_output(out, memory, output, row_stride, row, target, n_outputs):
    """out[target, :] <- the output of a row of the block."""
    lanes = width(memory)
    for first in range(0, n_outputs, lanes):
        value = load(memory, output + first // lanes * row_stride + row * lanes)
        store_first(out, target * n_outputs + first, value, min(lanes, n_outputs - first))


@entry
def forward_blocks(program, out, memory, plan, X, order, block_rows, loss):
    """out <- outputs of the rows X[order], a block at a time; loss: its code, or RAW for the preactivations."""
    mode = flush_subnormals()
    last = record_of(plan[N_LAYERS] - 1)
    n_outputs, row_stride, groups = plan[last + OUTPUTS], plan[ROW_STRIDE], plan[plan[GROUPS] :]
    for start in range(0, order.size, block_rows):
        rows = min(block_rows, order.size - start)
        first_layer(memory, plan, HEAD, X, order[start : start + rows], (0, rows))
        forward_rows(program, memory, plan, (0, rows), 0, np.uint64(0))
        if loss != RAW:
            program.output_activation(loss, memory, plan[last + OUTPUT], row_stride, (0, rows), n_outputs, groups)
        for row in range(rows):
            copy_output(out, memory, plan[last + OUTPUT], row_stride, row, start + row, n_outputs)
    restore_mode(mode)


@entry
def pack(memory, place, stride, matrix, rows):
    """memory: [panels][rows][lanes] at `place` <- matrix[rows]."""
    gather(memory, place, stride, matrix, rows, 0, rows.size)


@kernel
def row_of_sums(padded, left, weight, bias, tail, row):
    """padded[:outputs] <- left[row] @ weight + bias, each sum in the order of a tile, so that the bits are the same.

    tail: the last columns of the weights as rows, if other layouts than this one sum these along the inputs; or none.
    """
    lanes = width(padded)
    depth, outputs = weight.shape
    whole = outputs // lanes * lanes
    rest = outputs - whole if tail.size == 0 else 0
    for first in range(0, whole + rest, lanes):
        store(padded, first, load_first(bias, first, min(lanes, outputs - first)))
    for k in range(depth):
        x = repeat(padded, left[row, k])
        for first in range(0, whole, lanes):
            store(padded, first, load(padded, first) + load(weight, k * outputs + first) * x)
        if rest > 0:
            store(padded, whole, load(padded, whole) + load_first(weight, k * outputs + whole, rest) * x)
    if tail.size > 0:
        tail_of_sums(padded, left, tail, bias, row)


@kernel
def tail_of_sums(padded, left, tail, bias, row):
    """As `row_of_sums`, of the tail only, in the order of `tail_product` and of `single_output`."""
    lanes = width(padded)
    units, depth = tail.shape
    place, whole = bias.size - units, (depth - 1) // lanes * lanes
    rest = depth - whole
    last = load_first(left, row * depth + whole, rest)
    for unit in range(units):
        total, start = repeat(padded, 0.0), unit * depth
        for k in range(0, whole, lanes):
            total = total + load(left, row * depth + k) * load(tail, start + k)
        total = total + last * load_first(tail, start + whole, rest)
        store(padded, place + unit * lanes, total)
    store(padded, place, sums_of_rows(padded, place, lanes) + load_first(bias, place, units))


@entry
def forward_layer(program, out, left, weight, bias, tail, activation, padded):
    """out (rows, outputs) <- activation(left (rows, depth) @ weight (depth, outputs) + bias), by rows of the weights.

    tail: as for `row_of_sums`. `padded`: scratch for a row of whole registers, and as many registers more as one has
    lanes.
    """
    mode = flush_subnormals()
    lanes = width(out)
    rows, outputs = out.shape
    for row in range(rows):
        row_of_sums(padded, left, weight, bias, tail, row)
        if activation >= 0:
            program.activate(activation, padded, 0, (outputs + lanes - 1) // lanes * lanes, 0)
        for first in range(0, outputs, lanes):
            store_first(out, row * outputs + first, load(padded, first), min(lanes, outputs - first))
    restore_mode(mode)


@entry
def activate_output(program, out, loss, padded, groups):
    """Replace preactivations (rows, outputs) by the output activation that belongs to a loss; groups: as in a plan."""
    mode = flush_subnormals()
    lanes = width(out)
    rows, outputs = out.shape
    for row in range(rows):
        for first in range(0, outputs, lanes):
            store(padded, first, load_first(out, row * outputs + first, min(lanes, outputs - first)))
        program.output_activation(loss, padded, 0, lanes, (0, 1), outputs, groups)
        for first in range(0, outputs, lanes):
            store_first(out, row * outputs + first, load(padded, first), min(lanes, outputs - first))
    restore_mode(mode)


def writable(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy where Numba would take it for another type."""
    return array if array.flags.carray else array.copy()


def _forward_few(network, coefs, intercepts, X, raw):
    last, program = len(coefs) - 1, program_of(network)
    lanes = lanes_of(X.dtype)
    padded = np.zeros(max(network.widths) + lanes + lanes * lanes, X.dtype)  # rows are read as many at once as lanes
    for index, (weight, bias) in enumerate(zip(coefs, intercepts, strict=True)):
        code = code_of(program, network.activations[index], X.dtype) if index < last else -1
        out = np.empty((X.shape[0], weight.shape[1]), dtype=X.dtype)
        units = 1 if has_single_output(index, weight.shape) else tail_of(*weight.shape, lanes)
        tail = np.ascontiguousarray(weight[:, weight.shape[1] - units :].T)
        forward_layer(program, out, writable(X), writable(weight), writable(bias), tail, code, padded)
        X = out
    if not raw:
        groups = np.cumsum(network.groups, dtype=np.int64) if network.groups else NO_GROUPS
        activate_output(program, X, program.loss_codes[network.loss], padded, groups)
    return X


def forward_packed(out: np.ndarray, layout: Layout, plan: np.ndarray, X, block_rows: int, raw: bool) -> None:
    """out <- the outputs for X at the parameters in the buffer of `layout`; plan: the layout's, or a thread's."""
    program = program_of(layout.network)
    code = RAW if raw else program.loss_codes[layout.network.loss]
    forward_blocks(program, out, layout.memory, plan, as_kernel_input(X), np.arange(X.shape[0]), block_rows, code)


def pack_parameters(layout: Layout, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
    """Copy weights and biases into a buffer for prediction."""
    for record, weight, bias in zip(layout.layers, coefs, intercepts, strict=True):
        stride = record[WEIGHT_STRIDE]
        if is_along(record):
            weight, stride = weight.T, layout.lanes
        rows = np.arange(len(weight))
        weight, bias = np.ascontiguousarray(weight), np.ascontiguousarray(bias).reshape(1, -1)
        pack(layout.memory, record[WEIGHT], stride, read_only(weight), rows)
        pack(layout.memory, record[BIAS], layout.lanes, read_only(bias), rows[:1])
        if record[TAIL] > 0:
            tail = np.zeros((padded_units(record[TAIL]), record[INPUTS]), layout.dtype)
            tail[: record[TAIL]] = weight[:, -record[TAIL] :].T
            pack(layout.memory, record[ALONG], record[ALONG_STRIDE], read_only(tail), np.arange(len(tail)))


def pieces_of(n_rows: int, n_threads: int) -> list[tuple[int, int]]:
    """Return the (first, last) rows of the pieces that so many threads take, of whole tiles but for the last one."""
    count = max(n_threads, min(PIECES_PER_THREAD * n_threads, n_rows // SMALLEST_PIECE)) if n_threads > 1 else 1
    edges = [*(n_rows * i // count // ROWS * ROWS for i in range(count)), n_rows]
    return [piece for piece in pairwise(edges) if piece[0] < piece[1]]


def share_rows(prepare: Callable[[], Callable], pieces: list[tuple[int, int]], n_threads: int) -> None:
    """Run part(thread, first row, last row) for all pieces in so many threads, this one being number 0.

    prepare: returns the function `part`; the threads start in the meantime. Each takes a piece when it is ready. Who
    has not begun when none is left is not waited for: on a busy machine that may take longer than all the rows.
    """
    if n_threads == 1:
        part = prepare()
        for first, last in pieces:
            part(0, first, last)
        return
    left, part = iter(pieces), None  # to take the next one is atomic
    unprepared = allocate_lock()
    unprepared.acquire()

    def take(thread):
        for first, last in left:
            part(thread, first, last)

    def help_with(thread, future):
        with unprepared:
            pass
        if future.set_running_or_notify_cancel():
            complete(future, lambda: take(thread))

    helpers = [Future() for _ in range(1, n_threads)]
    for thread, future in enumerate(helpers, start=1):
        with suppress(RuntimeError):  # the system has no thread for it
            start_new_thread(help_with, (thread, future))
    try:
        part = prepare()
    except BaseException:
        for future in helpers:
            future.cancel()
        raise
    finally:
        unprepared.release()
    try:
        take(0)
    finally:
        began = [future for future in helpers if not future.cancel()]
        wait(began)
    for future in began:
        future.result()


def forward(
    network: Network,
    coefs: list[np.ndarray],
    intercepts: list[np.ndarray],
    X: np.ndarray,
    n_threads: int | None = 1,
    raw: bool = False,
) -> np.ndarray:
    """Return the network's outputs for rows.

    Parameters
    ----------
    network : Network
        The architecture.
    coefs, intercepts : list of ndarray
        Weights (inputs, outputs) and biases (outputs,) of each layer, of X's dtype.
    X : ndarray or CSR of shape (n_rows, n_features)
        Rows, C-contiguous, of dtype float32 or float64.
    n_threads : int or None, default=1
        At most so many threads share the rows; None: as many as Numba may use.
    raw : bool, default=False
        Whether to return the preactivations of the output instead.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
        Of X's dtype.
    """
    n_rows = X.shape[0]
    products = n_rows * network.n_parameters
    if isinstance(X, np.ndarray) and (n_rows <= FEW_ROWS or products <= FEW_PRODUCTS):
        return _forward_few(network, coefs, intercepts, X, raw)
    most = resolve_threads(n_threads)
    wanted = min(fair_share(most) if n_threads is None else most, max(1, products // WORK_PER_THREAD))
    pieces = pieces_of(n_rows, wanted)
    out = np.empty((n_rows, network.widths[-1]), dtype=X.dtype)
    rows = min(max((last - first for first, last in pieces), default=0), BLOCK_ROWS)
    key = (network, X.dtype, rows, wanted, isinstance(X, np.ndarray))
    known, layout = vars(_spare).pop("layout", (None, None))

    def prepare():
        nonlocal layout
        if known != key:
            layout = encode(*key, training=False)
            layout.set_batch(rows)
        pack_parameters(layout, coefs, intercepts)

        def part(thread, first, last):
            forward_packed(out[first:last], layout, layout.plan_of(thread), rows_of(X, first, last), rows, raw)

        return part

    share_rows(prepare, pieces, wanted)
    if layout.memory.nbytes <= MOST_SPARE_BYTES:
        _spare.layout = key, layout
    return out
