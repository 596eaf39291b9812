"""Phase B of a step: parameters are shared out in tiles, each thread takes some from gradient to updated weight.

A tile is ROWS inputs x PANELS panels of outputs of a layer. Its gradient is summed over all rows of the batch in
registers,
then the penalty is added and the optimizer's update applied to the same weights while they are in the first-level
cache.
"""

from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.elementwise import by_code
from fastmlp.cpu.lanes import horizontal_sum, load, repeat, store, width
from fastmlp.cpu.layout import (
    BIAS,
    COST,
    COST_BEFORE,
    ERROR,
    FIELDS,
    FIRST,
    GRADIENT,
    HEAD,
    INPUT,
    INPUTS,
    N_LAYERS,
    OUT_PANELS,
    ROW_STRIDE,
    SCRATCH,
    SCRATCH_SIZE,
    SECOND,
    TILES_BEFORE,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    WEIGHT,
    WEIGHT_STRIDE,
    ZEROS,
)
from fastmlp.cpu.multiply import ROW_BLOCK, edge, gradient_tile, parts_of
from fastmlp.cpu.target import PANELS, ROWS
from fastmlp.cpu.tile import store_transposed
from fastmlp.formulas.updates import UPDATES


@kernel
def store_gradient(memory, parameter, gradient, plan, count, alpha, scale, constants):
    """gradient <- scale (gradient + alpha parameter) into its place; returns the sum of squared parameters."""
    squares = repeat(memory, 0.0)
    for i in range(0, count, width(memory)):
        w = load(memory, parameter + i)
        squares = squares + w * w
        store(memory, parameter + i + plan[GRADIENT], (load(memory, gradient + i) + w * alpha) * scale)
    return horizontal_sum(squares)


def _make_step(update):
    step, two_moments = update.step, update.n_slots > 1

    @kernel
    def apply(memory, parameter, gradient, plan, count, alpha, scale, constants):
        """Update memory[parameter : parameter + count]; returns the sum of squares of the parameters before."""
        squares = repeat(memory, 0.0)
        for i in range(0, count, width(memory)):
            w = load(memory, parameter + i)
            squares = squares + w * w
            g = (load(memory, gradient + i) + w * alpha) * scale
            first = parameter + i + plan[FIRST]
            second = parameter + i + plan[SECOND]
            if two_moments:
                new, m, v = step(w, g, load(memory, first), load(memory, second), constants)
                store(memory, second, v)
            else:
                m = load(memory, first)
                new, m, v = step(w, g, m, m, constants)
            store(memory, parameter + i, new)
            store(memory, first, m)
        return horizontal_sum(squares)

    return apply


UPDATE_CODES = {name: code for code, name in enumerate(["gradient", *UPDATES])}
update_parameters = by_code([store_gradient, *map(_make_step, UPDATES.values())])


@inlined
def update_tile(memory, plan, layer, gradient, tile, update, scale, constants):
    """Apply the update to a tile's weights and to their transposed copy; returns the sum of squares before.

    gradient: [panels][ROWS][lanes]; tile: (first input, first panel, panels); update: (code, alpha).
    """
    lanes = width(memory)
    row, panel, panels = tile
    count = min(ROWS, layer[INPUTS] - row)
    total = 0.0
    for p in range(panels):
        weight = layer[WEIGHT] + (panel + p) * layer[WEIGHT_STRIDE] + row * lanes
        block = gradient + p * ROWS * lanes
        total += update_parameters(update[0], memory, weight, block, plan, count * lanes, update[1], scale, constants)
        if layer[TRANSPOSED] > 0 and update[0] > 0:
            column = row // lanes * layer[TRANSPOSED_STRIDE] + row % lanes
            store_transposed(memory, layer[TRANSPOSED] + column + (panel + p) * lanes * lanes, weight)
    return total


@inlined
def bias_gradient(memory, plan, layer, panel, rows, fresh):
    """Add the errors of a panel's units over all rows to the gradient of their biases."""
    lanes = width(memory)
    place = layer[BIAS] + panel * lanes + plan[GRADIENT]
    error = layer[ERROR] + panel * plan[ROW_STRIDE]
    total = repeat(memory, 0.0) if fresh else load(memory, place)
    second = third = fourth = repeat(memory, 0.0)  # four sums, for each addition waits for the one before
    whole = rows // 4 * 4
    for row in range(0, whole, 4):
        total = total + load(memory, error + row * lanes)
        second = second + load(memory, error + (row + 1) * lanes)
        third = third + load(memory, error + (row + 2) * lanes)
        fourth = fourth + load(memory, error + (row + 3) * lanes)
    for row in range(whole, rows):
        total = total + load(memory, error + row * lanes)
    total = (total + second) + (third + fourth)
    store(memory, place, total)


@inlined
def update_biases(memory, plan, layer, first_panel, panels, rows, block, update, scale, constants):
    """Take the biases of some panels through their gradient (and, with the last block, their update)."""
    lanes = width(memory)
    for panel in range(first_panel, first_panel + panels):
        bias_gradient(memory, plan, layer, panel, rows, block[0])
        if block[1]:
            place = layer[BIAS] + panel * lanes
            update_parameters(update[0], memory, place, place + plan[GRADIENT], plan, lanes, 0.0, scale, constants)


@kernel
def share(total, thread, team):
    """Return the part (first, last) of `total` units that is a thread's."""
    return thread * total // team, (thread + 1) * total // team


@kernel
def dense_layer_gradient(memory, penalties, plan, layer, rows, block, update, scale, constants, part):
    """Take a layer's tiles whose cost falls into part = (thread, first cost, last cost) through gradient and update.

    block: (whether it is the batch's first, whether its last). Tiles are counted panel group by panel group.
    """
    lanes = width(memory)
    row_stride = plan[ROW_STRIDE]
    row_tiles = parts_of(layer[INPUTS], ROWS)
    scratch = plan[SCRATCH] + part[0] * plan[SCRATCH_SIZE]
    cost, tile = layer[COST_BEFORE], layer[TILES_BEFORE]
    groups, parts = parts_of(layer[OUT_PANELS], PANELS), parts_of(rows, ROW_BLOCK)
    for group in range(groups):
        panel = edge(layer[OUT_PANELS], groups, group)
        panels = edge(layer[OUT_PANELS], groups, group + 1) - panel
        first = max(0, -((cost - part[1]) // panels))
        last = min(row_tiles, -((cost - part[2]) // panels))
        for piece in range(parts):
            first_row, last_row = edge(rows, parts, piece), edge(rows, parts, piece + 1)
            begins, ends = block[0] and piece == 0, block[1] and piece == parts - 1
            for index in range(first, last):
                row = index * ROWS
                weight = layer[WEIGHT] + panel * layer[WEIGHT_STRIDE] + row * lanes
                gradient_tile(
                    panels,
                    memory,
                    scratch if ends else weight + plan[GRADIENT],
                    ROWS * lanes if ends else layer[WEIGHT_STRIDE],
                    plan[ZEROS] if begins else weight + plan[GRADIENT],
                    0 if begins else layer[WEIGHT_STRIDE],
                    layer[INPUT] + row // lanes * row_stride + first_row * lanes + row % lanes,
                    layer[ERROR] + panel * row_stride + first_row * lanes,
                    row_stride,
                    last_row - first_row,
                )
                if ends:
                    penalties[tile + index] = update_tile(
                        memory, plan, layer, scratch, (row, panel, panels), update, scale, constants
                    )
        if first == 0 and last > 0:
            update_biases(memory, plan, layer, panel, panels, rows, block, update, scale, constants)
        cost += panels * row_tiles
        tile += row_tiles


@inlined
def sparse_layer_gradient(memory, penalties, plan, layer, rows, block, update, scale, constants, part):
    """As for a dense layer, but its inputs are CSR rows; here a thread's part is whole rows of the weights.

    rows: (X, order, count). The gradient of the part is set to 0, then each entry of each row adds to its row of it.
    """
    lanes = width(memory)
    row_stride, distance = plan[ROW_STRIDE], plan[GRADIENT]
    row_tiles, panels = parts_of(layer[INPUTS], ROWS), layer[OUT_PANELS]
    first_tile = min(row_tiles, max(0, -((layer[COST_BEFORE] - part[1]) // panels)))
    last_tile = min(row_tiles, max(0, -((layer[COST_BEFORE] - part[2]) // panels)))
    first, last = first_tile * ROWS, min(layer[INPUTS], last_tile * ROWS)
    if first >= last:
        return
    gradient = layer[WEIGHT] + distance
    if block[0]:
        for panel in range(panels):
            start = gradient + panel * layer[WEIGHT_STRIDE]
            for i in range(start + first * lanes, start + last * lanes, lanes):
                store(memory, i, repeat(memory, 0.0))
    (data, indices, indptr), order, count = rows
    for row in range(count):
        for entry in range(indptr[order[row]], indptr[order[row] + 1]):
            if first <= indices[entry] < last:
                place = gradient + indices[entry] * lanes
                for panel in range(panels):
                    i = place + panel * layer[WEIGHT_STRIDE]
                    error = load(memory, layer[ERROR] + panel * row_stride + row * lanes)
                    store(memory, i, load(memory, i) + error * data[entry])
    if first == 0:
        update_biases(memory, plan, layer, 0, panels, count, block, update, scale, constants)
    if not block[1]:
        return
    # one row of tiles has as many slots as there are groups of panels; the first of them takes the whole sum
    for tile in range(first_tile, last_tile):
        total = 0.0
        for panel in range(panels):
            start = layer[WEIGHT] + panel * layer[WEIGHT_STRIDE] + tile * ROWS * lanes
            size = min(ROWS, layer[INPUTS] - tile * ROWS) * lanes
            total += update_parameters(
                update[0], memory, start, start + distance, plan, size, update[1], scale, constants
            )
        penalties[layer[TILES_BEFORE] + tile] = total


def first_layer_gradient(memory, penalties, plan, layer, X, order, rows, block, update, sums, part):
    """Take the first layer's tiles through gradient and update, from dense rows already gathered, or from CSR rows."""


@overload(first_layer_gradient, inline="always")
def _first_layer_gradient(memory, penalties, plan, layer, X, order, rows, block, update, sums, part):
    if isinstance(X, types.BaseTuple):
        return lambda memory, penalties, plan, layer, X, order, rows, block, update, sums, part: sparse_layer_gradient(
            memory, penalties, plan, layer, (X, order, rows), block, update, sums[0], sums[1], part
        )
    return lambda memory, penalties, plan, layer, X, order, rows, block, update, sums, part: dense_layer_gradient(
        memory, penalties, plan, layer, rows, block, update, sums[0], sums[1], part
    )


@inlined
def train_parameters(memory, penalties, plan, X, order, rows, block, update, sums, worker):
    """Run phase B for a block of rows: this worker's (thread, team) share of all tiles.

    update: (code, alpha); sums: (1 / sum of the batch's weights, constants of the step).
    """
    first, last = share(plan[COST], worker[0], worker[1])
    part = (worker[0], first, last)
    for index in range(plan[N_LAYERS]):
        layer = plan[HEAD + index * FIELDS : HEAD + (index + 1) * FIELDS]
        if index == 0:
            first_layer_gradient(memory, penalties, plan, layer, X, order, rows, block, update, sums, part)
        else:
            dense_layer_gradient(memory, penalties, plan, layer, rows, block, update, sums[0], sums[1], part)
