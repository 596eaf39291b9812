"""A block's rows through the network: gather, layer after layer, the output; each row is independent of all others.

A worker is (thread, threads, lane, lanes, team): a block of `threads` threads in teams of `lanes`, which share a row.
"""

from collections.abc import Callable

import numpy as np

from fastmlp.cuda.compiler import block_sync, device, load4, store4
from fastmlp.cuda.layout import (
    ACTIVATION,
    BIAS,
    COLUMNS,
    DROPPED,
    FIELDS,
    HEAD,
    IN_STRIDE,
    INPUT,
    INPUTS,
    N_LAYERS,
    OUT_STRIDE,
    OUTPUT,
    OUTPUTS,
    OWN_TARGETS,
    OWN_WEIGHTS,
    ROW_TILE,
    SLOPE,
    SPARSE,
    WEIGHT,
)
from fastmlp.cuda.products import add_multiple, row_sums, tile_sums
from fastmlp.formulas.elementary import constant
from fastmlp.formulas.random import RESOLUTION, normal_quantile, random_bits, uniform

MIXED_ROWS = 512  # of a batch, among which a row finds its neighbour
MOST_UNITS = np.uint64(1 << 20)  # of a layer, with random numbers of their own
JITTER_STREAM, DROP_STREAM = np.uint64(1 << 32), np.uint64((1 << 32) + 1)  # hidden layers have those from 0 on


@device
def record_of(layer):
    """Return where in a plan the record of a layer begins."""
    return HEAD + layer * FIELDS


@device
def chance(key, stream, row, unit):
    """Return the random number of a step for a unit of a row of the batch, evenly between 0 and 1."""
    return uniform(np.uint64(random_bits(key, stream)), np.uint64(row) * MOST_UNITS + np.uint64(unit))


@device
def gather(rows, plan, X, entries, order, first, span, worker):
    """Input rows span[0] to span[1] of `rows` <- X[order[first + row]]; dense X (n, features), or the values of CSR.

    An empty order takes the rows as they come. entries: of CSR rows, where each begins, and after them the columns of
    all values.
    """
    features, stride, place = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + INPUT]
    lane, lanes, team, teams = worker[2], worker[3], worker[4], worker[1] // worker[3]
    for row in range(span[0] + team, span[1], teams):
        source = order[first + row] if order.size > 0 else first + row
        for column in range(lane, stride, lanes):
            dense = plan[SPARSE] == 0 and column < features
            rows[place + row * stride + column] = X[source * features + column] if dense else X.dtype.type(0)
    if plan[SPARSE] > 0:
        block_sync()
        for row in range(span[0] + team, span[1], teams):
            source = order[first + row] if order.size > 0 else first + row
            for entry in range(entries[source] + lane, entries[source + 1], lanes):
                rows[place + row * stride + entries[plan[SPARSE] + entry]] = X[entry]


@device
def neighbour(row, last):
    """Return the row of a batch of rows up to `last` with which a row is mixed."""
    block = row // MIXED_ROWS * MIXED_ROWS
    return block + (row - block + 1) % min(MIXED_ROWS, last - block)


@device
def mix(rows, plan, data, first, span, own, batch, worker):
    """Mix the gathered rows, their targets and weights with their neighbours' in the batch = (first row, rows).

    Of a row, the part `own` stays its own: Zhang, Cisse, Dauphin and Lopez-Paz (2017).
    """
    X, _, targets, weights, order = data
    features, stride, place = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + INPUT]
    columns = plan[COLUMNS]
    lane, lanes, team, teams = worker[2], worker[3], worker[4], worker[1] // worker[3]
    for row in range(span[0] + team, span[1], teams):
        one = order[first + row]
        other = order[batch[0] + neighbour(first + row - batch[0], batch[1])]
        mine, others = constant(X[0], own), constant(X[0], 1.0 - own)
        for column in range(lane, features, lanes):
            i = place + row * stride + column
            rows[i] = rows[i] * mine + X[other * features + column] * others
        for column in range(lane, columns, lanes):
            y = targets[one * columns + column] * mine + targets[other * columns + column] * others
            rows[plan[OWN_TARGETS] + row * columns + column] = y
        if lane == 0:
            rows[plan[OWN_WEIGHTS] + row] = (
                weights[one] * mine + weights[other] * others if weights.size > 0 else constant(X[0], 1)
            )


@device
def change_features(rows, plan, first_row, span, key, jitter, dropped, worker):
    """Add noise of deviation `jitter` to the gathered rows; set the part `dropped` to 0. first_row: in the batch."""
    features, stride, place = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + INPUT]
    lane, lanes, team, teams = worker[2], worker[3], worker[4], worker[1] // worker[3]
    for row in range(span[0] + team, span[1], teams):
        for column in range(lane, features, lanes):
            i = place + row * stride + column
            x = rows[i]
            if jitter > 0.0:
                p = constant(x, chance(key, JITTER_STREAM, first_row + row, column))
                x = x + constant(x, jitter) * normal_quantile(p)
            if dropped > 0.0 and chance(key, DROP_STREAM, first_row + row, column) <= dropped:
                x = constant(x, 0)
            rows[i] = x


@device
def take_rows(rows, plan, data, batch, start, span, worker):
    """Gather rows span[0] to span[1] of `rows` from position `start` of the order on, and change them.

    batch: first and last position, key of random numbers, what of a mixed row is its own, deviation of the noise, part
    of the features that is left out.
    """
    X, entries, _, _, order = data
    first, last, key, own, jitter, dropped = batch
    gather(rows, plan, X, entries, order, start, span, worker)
    if plan[OWN_TARGETS] > 0:
        mix(rows, plan, data, start, span, own, (first, last - first), worker)
    if jitter > 0.0 or dropped > 0.0:
        change_features(rows, plan, start - first, span, key, jitter, dropped, worker)


def make_finish(both: Callable) -> Callable:
    """Return the device function of what follows the sums of a layer; both: (code, z) -> (activation, derivative)."""

    @device
    def finish(rows, plan, layer, row, unit, first_row, key):
        """Take four preactivations of a row, from `unit` on, to activations and slopes, some dropped."""
        i, distance = plan[layer + OUTPUT] + row * plan[layer + OUT_STRIDE] + unit, plan[layer + SLOPE]
        slope = plan[layer + SLOPE] + row * plan[layer + OUT_STRIDE] + unit
        rate = plan[layer + DROPPED] * (1.0 / RESOLUTION)
        for j in range(4):
            a, d = both(plan[layer + ACTIVATION], rows[i + j])
            if unit + j >= plan[layer + OUTPUTS]:
                a, d = constant(a, 0), constant(d, 0)
            elif rate > 0.0:
                kept = chance(key, np.uint64((layer - HEAD) // FIELDS), first_row + row, unit + j) > rate
                factor = constant(a, 1.0 / (1.0 - rate) if kept else 0.0)
                a, d = a * factor, d * factor
            rows[i + j] = a
            if distance > 0:
                rows[slope + j] = d

    return finish


def make_hidden_layer(both: Callable) -> Callable:
    """Return the device function that takes rows through a layer; both: (code, z) -> (activation, derivative)."""
    finish = make_finish(both)

    @device
    def layer_forward(memory, rows, plan, layer, first_row, span, key, hidden, worker):
        """Rows span[0] to span[1] of a layer's output <- input @ weight + bias, activated if it is `hidden`."""
        in_stride, out_stride = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE]
        weight, bias = plan[layer + WEIGHT], plan[layer + BIAS]
        one, tile = constant(memory[0], 1), plan[ROW_TILE]
        columns = out_stride // 4
        items = (span[1] - span[0] + tile - 1) // tile * columns
        for item in range(worker[0], items, worker[1]):
            row, unit = span[0] + item // columns * tile, item % columns * 4
            i, j = plan[layer + INPUT] + row * in_stride, weight + unit
            o = plan[layer + OUTPUT] + row * out_stride + unit
            b = load4(memory, bias + unit)
            if tile == 1:
                store4(rows, o, add_multiple(row_sums(rows, i, memory, j, out_stride, in_stride), one, b))
            else:
                t0, t1, t2, t3 = tile_sums(rows, i, in_stride, memory, j, out_stride, in_stride)
                store4(rows, o, add_multiple(t0, one, b))
                store4(rows, o + out_stride, add_multiple(t1, one, b))
                store4(rows, o + 2 * out_stride, add_multiple(t2, one, b))
                store4(rows, o + 3 * out_stride, add_multiple(t3, one, b))
            if hidden:
                for r in range(row, min(row + tile, span[1])):
                    finish(rows, plan, layer, r, unit, first_row, key)
        block_sync()

    return layer_forward


def make_forward(both: Callable) -> Callable:
    """Return the device function that takes gathered rows to the preactivations of the output."""
    layer_forward = make_hidden_layer(both)

    @device
    def forward(memory, rows, plan, first_row, span, key, worker):
        """Rows span[0] to span[1] from the inputs to the preactivations of the output; first_row: in the batch."""
        last = plan[N_LAYERS] - 1
        for index in range(last + 1):
            layer_forward(memory, rows, plan, record_of(index), first_row, span, key, index < last, worker)

    return forward
