"""A block's rows through the network: gather, layer after layer, the output; each row is independent of all others.

A worker is (thread, threads, lane, lanes, team): a block of `threads` threads in teams of `lanes`, which share a row.
"""

from collections.abc import Callable

import numpy as np

from fastmlp.cuda.compiler import block_sync, device, divide, keep_apart, load4, store4
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
    ORDERED,
    OUT_STRIDE,
    OUTPUT,
    OUTPUTS,
    OWN_TARGETS,
    OWN_WEIGHTS,
    ROW_TILE,
    SLOPE,
    SPARSE,
    WEIGHT,
    WEIGHTED,
)
from fastmlp.cuda.products import CHUNK, SPREAD, add_multiple, parts_of, row_chunk, row_sums, tile_sums
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
    """Input rows span[0] to span[1] <- X[order[first + row]]; dense X (n, features), or the values of CSR.

    Without an order it takes the rows as they come. entries: of CSR rows, where each begins, and after them the columns
    of all values.
    """
    features, stride, place = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + INPUT]
    lane, lanes, team, teams = worker[2], worker[3], worker[4], worker[1] // worker[3]
    for row in range(span[0] + team, span[1], teams):
        source = order[first + row] if plan[ORDERED] > 0 else first + row
        for column in range(lane, stride, lanes):
            dense = plan[SPARSE] == 0 and column < features
            x = constant(rows[place], 0)
            if dense:
                x = X[source * features + column]
            rows[place + row * stride + column] = x
    if plan[SPARSE] > 0:
        block_sync()
        for row in range(span[0] + team, span[1], teams):
            source = order[first + row] if plan[ORDERED] > 0 else first + row
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
        mine, others = constant(rows[place], own), constant(rows[place], 1.0 - own)
        for column in range(lane, features, lanes):
            i = place + row * stride + column
            rows[i] = rows[i] * mine + X[other * features + column] * others
        for column in range(lane, columns, lanes):
            y = targets[one * columns + column] * mine + targets[other * columns + column] * others
            rows[plan[OWN_TARGETS] + row * columns + column] = y
        if lane == 0:
            rows[plan[OWN_WEIGHTS] + row] = (
                weights[one] * mine + weights[other] * others if plan[WEIGHTED] > 0 else constant(mine, 1)
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
        """Take the preactivation of a unit of a row to its activation and slope, or drop it."""
        place = row * plan[layer + OUT_STRIDE] + unit
        rate = plan[layer + DROPPED] * (1.0 / RESOLUTION)
        a, d = both(plan[layer + ACTIVATION], rows[plan[layer + OUTPUT] + place])
        if unit >= plan[layer + OUTPUTS]:
            a, d = constant(a, 0), constant(d, 0)
        elif rate > 0.0:
            kept = chance(key, np.uint64((layer - HEAD) // FIELDS), first_row + row, unit) > rate
            factor = constant(a, 1.0 / (1.0 - rate) if kept else 0.0)
            a, d = a * factor, d * factor
        rows[plan[layer + OUTPUT] + place] = a
        if plan[layer + SLOPE] > 0:
            rows[plan[layer + SLOPE] + place] = d

    return finish


@device
def are_spread(quads, depth, worker):
    """Return whether the threads of a block share so many sums of four numbers, of which there are few."""
    parts = parts_of(depth)
    return parts > 1 and 2 * quads <= worker[1] and 4 * quads * parts <= SPREAD


@device
def put_parts(left, i, left_stride, right, j, right_stride, rows, columns, depth, scratch, worker):
    """Put the parts of sums in `scratch`, four numbers for each part of each four `columns` of a row."""
    parts = parts_of(depth)
    for number in range(worker[0], rows * columns * parts, worker[1]):
        quad = divide(number, parts)
        row, first = divide(quad, columns), (number - quad * parts) * CHUNK
        a, b = i + row * left_stride + first, j + first * right_stride + (quad - row * columns) * 4
        store4(scratch, 4 * number, row_chunk(left, a, right, b, right_stride, min(CHUNK, depth - first)))
    block_sync()


@device
def sum_of_parts(scratch, row, unit, columns, depth):
    """Return the sum for a unit of a row of what `put_parts` has put."""
    parts, total = parts_of(depth), constant(scratch[0], 0)
    first = 4 * (row * columns + unit // 4) * parts + unit % 4
    for part in range(parts):
        total = total + scratch[first + 4 * part]
    return total


def make_hidden_layer(both: Callable, spreads: bool) -> Callable:
    """Return the device function that takes rows through a layer; both: (code, z) -> (activation, derivative)."""
    finish = make_finish(both)

    @device
    def layer_forward(memory, rows, plan, layer, first_row, span, key, hidden, scratch, worker):
        """Rows span[0] to span[1] of a layer's output <- input @ weight + bias, activated if it is `hidden`."""
        keep_apart()
        in_stride, out_stride = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE]
        weight, bias = plan[layer + WEIGHT], plan[layer + BIAS]
        one, tile = constant(memory[0], 1), plan[ROW_TILE]
        columns, n_rows = out_stride // 4, span[1] - span[0]
        items = (n_rows + tile - 1) // tile * columns
        if spreads and are_spread(n_rows * columns, in_stride, worker):
            i = plan[layer + INPUT] + span[0] * in_stride
            put_parts(rows, i, in_stride, memory, weight, out_stride, n_rows, columns, in_stride, scratch, worker)
            for item in range(worker[0], n_rows * out_stride, worker[1]):
                row = divide(item, out_stride)
                unit = item - row * out_stride
                z = sum_of_parts(scratch, row, unit, columns, in_stride) + memory[bias + unit]
                rows[plan[layer + OUTPUT] + span[0] * out_stride + item] = z
                if hidden:
                    finish(rows, plan, layer, span[0] + row, unit, first_row, key)
            items = 0
        for item in range(worker[0], items, worker[1]):
            row = divide(item, columns)
            unit = (item - row * columns) * 4
            row = span[0] + row * tile
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
                    for u in range(unit, unit + 4):
                        finish(rows, plan, layer, r, u, first_row, key)
        block_sync()

    return layer_forward


def make_forward(both: Callable, spreads: bool = False) -> Callable:
    """Return the device function that takes gathered rows to the preactivations of the output.

    spreads: whether threads share sums where there are few; then `scratch` has SPREAD numbers in shared memory.
    """
    layer_forward = make_hidden_layer(both, spreads)

    @device
    def forward(memory, rows, plan, first_row, span, key, scratch, worker):
        """Rows span[0] to span[1] from the inputs to the preactivations of the output; first_row: in the batch."""
        last = plan[N_LAYERS] - 1
        for index in range(last + 1):
            layer_forward(memory, rows, plan, record_of(index), first_row, span, key, index < last, scratch, worker)

    return forward
