"""Prediction: rows through the network, in blocks, so that memory does not grow with rows x hidden width."""

import threading
from collections.abc import Callable
from functools import partial

import numpy as np

from fastmlp.cpu.atomic import atomic_add
from fastmlp.cpu.compile import entry, kernel
from fastmlp.cpu.data import as_kernel_input, encode, rows_of
from fastmlp.cpu.lanes import load, load_first, repeat, store, store_first, sums_of_rows, width
from fastmlp.cpu.layout import (
    BLOCK_ROWS,
    GROUPS,
    HEAD,
    N_LAYERS,
    OUTPUT,
    OUTPUTS,
    ROW_STRIDE,
    Layout,
    has_single_output,
    lanes_of,
    record_of,
    tail_of,
)
from fastmlp.cpu.output import RAW
from fastmlp.cpu.pack import NO_PARAMETERS, addresses_of, pack_layers, pack_parameters
from fastmlp.cpu.program import code_of, program_of
from fastmlp.cpu.rows import first_layer, forward_rows
from fastmlp.cpu.share import CALLS, NO_CALLS, Rhythm, pieces_of, share_rows, threads_worth
from fastmlp.cpu.subnormal import flush_subnormals, restore_mode
from fastmlp.cpu.threads import fair_share, prediction_begins, prediction_ends, resolve_threads
from fastmlp.network import Network

# So few rows, or products, go through the weights as they lie: to copy them into panels would take longer.
FEW_ROWS = 6
FEW_PRODUCTS = 150_000
MOST_SPARE_BYTES = 1 << 22  # what a thread keeps for its next prediction
MORE_ROWS = 64  # a buffer has place for a multiple of so many, so that it does for a few more, too
_spare = threading.local()  # `room`: of the thread's last prediction, to save its making and the system's new pages
NO_GROUPS = np.empty(0, dtype=np.int64)


@kernel
def copy_output(out, memory, output, row_stride, row, target, n_outputs):
    """out[target, :] <- the output of a row of the block."""
    lanes = width(memory)
    for first in range(0, n_outputs, lanes):
        value = load(memory, output + first // lanes * row_stride + row * lanes)
        store_first(out, target * n_outputs + first, value, min(lanes, n_outputs - first))


@entry
def forward_blocks(program, out, memory, plan, X, order, block_rows, loss, parameters, calls):
    """out <- outputs of the rows X[order], a block at a time; loss: its code, or RAW for the preactivations.

    order: 0, 1, ..., for each row, and for each input of a layer where there are addresses of parameters to be packed.
    calls: CALLS, if helpers shall look up now that this thread runs no Python, or none.
    """
    if calls.size > 0:
        atomic_add(calls, 0, 1)
    if parameters.size > 0:
        pack_layers(memory, plan, parameters, order)
    mode = flush_subnormals()
    last = record_of(plan[N_LAYERS] - 1)
    n_outputs, row_stride, groups = plan[last + OUTPUTS], plan[ROW_STRIDE], plan[plan[GROUPS] :]
    n_rows = len(out)
    for start in range(0, n_rows, block_rows):
        rows = min(block_rows, n_rows - start)
        first_layer(memory, plan, HEAD, X, order[start : start + rows], (0, rows))
        forward_rows(program, memory, plan, (0, rows), 0, np.uint64(0))
        if loss != RAW:
            program.output_activation(loss, memory, plan[last + OUTPUT], row_stride, (0, rows), n_outputs, groups)
        for row in range(rows):
            copy_output(out, memory, plan[last + OUTPUT], row_stride, row, start + row, n_outputs)
    restore_mode(mode)


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


def forward_call(
    out: np.ndarray,
    layout: Layout,
    plan: np.ndarray,
    X,
    block_rows: int,
    raw: bool,
    parameters: np.ndarray = NO_PARAMETERS,
    calls: np.ndarray = NO_CALLS,
) -> Callable[[], None]:
    """Return the call that gives `out` the outputs for X at the parameters in the buffer of `layout`.

    plan: the layout's, or a thread's; parameters: addresses of those to be packed into the buffer before, or none;
    calls: as in `forward_blocks`.
    """
    program = program_of(layout.network)
    code = RAW if raw else program.loss_codes[layout.network.loss]
    order = np.arange(max(len(out), *layout.network.widths))
    rows = as_kernel_input(X)
    return partial(forward_blocks, program, out, layout.memory, plan, rows, order, block_rows, code, parameters, calls)


class _Room:
    """Buffers for a network: each thread has one of its own, with its copy of the parameters, or all share one.

    To have a copy of its own saves a thread to wait for another one's, but takes memory.
    """

    def __init__(self, network: Network, dtype: np.dtype, dense: bool):
        self._network, self._dtype, self._dense = network, dtype, dense
        self._prepared, self.rhythm = None, Rhythm()
        self._layouts: list = []  # of each thread, if it has made its own one

    def prepare(self, n_rows: int, n_threads: int) -> None:
        """Divide so many rows among so many threads at most."""
        if self._prepared == (n_rows, n_threads):
            return
        self._prepared = n_rows, n_threads
        self.pieces = pieces_of(n_rows, self._network.n_parameters, n_threads)
        self.block_rows = max(1, min(max(last - first for first, last in self.pieces), BLOCK_ROWS))
        copies = n_threads * self._network.n_parameters * self._dtype.itemsize
        self.shared = n_threads > 1 and copies > MOST_SPARE_BYTES
        self._layouts += [None] * (n_threads - len(self._layouts))
        if self.shared:
            self._common = self._make_layout(n_threads)
            self._common.set_batch(self.block_rows)
            self._plans = [self._common.plan_of(thread) for thread in range(n_threads)]

    def _make_layout(self, n_threads=1):
        rows = min(-(-self.block_rows // MORE_ROWS) * MORE_ROWS, BLOCK_ROWS)
        return encode(self._network, self._dtype, rows, n_threads, self._dense, training=False)

    def place_of(self, thread: int) -> tuple[Layout, np.ndarray]:
        """Return a thread's layout and plan; for that thread, which makes it if it is its own one."""
        if self.shared:
            return self._common, self._plans[thread]
        layout = self._layouts[thread]
        if layout is None or layout.most_rows < self.block_rows:
            layout = self._layouts[thread] = self._make_layout()
        layout.set_batch(self.block_rows)
        return layout, layout.plan

    def is_small(self) -> bool:
        """Return whether it may be kept."""
        return not self.shared and sum(one.memory.nbytes for one in self._layouts if one) <= MOST_SPARE_BYTES


def _forward_in_threads(network, coefs, intercepts, X, most_threads, raw):
    n_rows, dense = X.shape[0], isinstance(X, np.ndarray)
    key = (network, X.dtype, dense)
    known, room = vars(_spare).pop("room", (None, None))
    if known != key:
        room = _Room(*key)
    soon = room.rhythm.begins()
    n_threads = min(most_threads, threads_worth(n_rows * network.n_parameters, soon))
    out = np.empty((n_rows, network.widths[-1]), dtype=X.dtype)

    def prepare():
        room.prepare(n_rows, n_threads)
        parameters = addresses_of(coefs, intercepts)
        if room.shared:
            layout, plan = room.place_of(0)
            pack_parameters(layout.memory, plan, parameters, np.arange(max(network.widths)))
            parameters = NO_PARAMETERS
        once = [(parameters,)] * n_threads  # what a thread does with its first piece only
        if n_threads > 1:
            once[0] = (parameters, CALLS)

        def part(thread, first, last):
            mine, once[thread] = once[thread], ()
            rows = rows_of(X, first, last)
            return forward_call(out[first:last], *room.place_of(thread), rows, room.block_rows, raw, *mine)

        return part, room.pieces

    share_rows(prepare, n_threads, soon)
    if room.is_small():
        _spare.room = key, room
        room.rhythm.ends()
    return out


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
        At most so many threads share the rows; None: as many as Numba may use, divided among the predictions and fits
        that other threads make at the time.
    raw : bool, default=False
        Whether to return the preactivations of the output instead.

    Returns
    -------
    ndarray of shape (n_rows, n_outputs)
        Of X's dtype.
    """
    products = X.shape[0] * network.n_parameters
    if isinstance(X, np.ndarray) and (X.shape[0] <= FEW_ROWS or products <= FEW_PRODUCTS):
        return _forward_few(network, coefs, intercepts, X, raw)
    prediction_begins()
    try:
        most = resolve_threads(n_threads)
        most = fair_share(most) if n_threads is None else most
        return _forward_in_threads(network, coefs, intercepts, X, most, raw)
    finally:
        prediction_ends()
