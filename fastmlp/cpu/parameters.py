"""Phase B of a step: parameters are shared out in tiles, each thread takes some from gradient to updated weight.

A tile is ROWS inputs x PANELS panels of outputs of a layer. Its gradient is summed over the rows of the batch in
registers; then the penalty is added and the optimizer's update applied.
"""

from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import OPTIONS, ZERO, inlined, kernel
from fastmlp.cpu.elementwise import by_code
from fastmlp.cpu.lanes import horizontal_sum, keep_first, load, repeat, store, width
from fastmlp.cpu.layout import (
    BIAS,
    CHUNKS,
    COST,
    COST_BEFORE,
    ERROR,
    FIRST,
    FIRST_COPIED,
    FIRST_DENSE,
    GRADIENT,
    IN_PANELS,
    INPUT,
    INPUTS,
    N_LAYERS,
    OTHER_GRADIENT,
    OUT_PANELS,
    ROW_STRIDE,
    SECOND,
    TAIL,
    TILES_BEFORE,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    WEIGHT,
    WEIGHT_ROWS,
    WEIGHT_STRIDE,
    ZEROS,
    lies_along,
    record_of,
)
from fastmlp.cpu.multiply import ROW_BLOCK, edge, gradient_tile, parts_of, tail_gradient
from fastmlp.cpu.target import PANELS, ROWS, TAIL_UNITS
from fastmlp.cpu.tile import store_transposed
from fastmlp.formulas.elementary import maximum
from fastmlp.formulas.penalties import soft_threshold
from fastmlp.formulas.updates import UPDATES, sgd_absorb

# So many tiles go from gradient to update before the next: their numbers stay in the cache, and a call, which takes as
# long as some registers, is worth it.
TILES_AT_ONCE = 128 // ROWS


@inlined
def load_gradient(memory, plan, place):
    """Load the gradient of the parameters at `place`, the sum of those of the chunks of rows."""
    gradient = load(memory, place + plan[GRADIENT])
    if plan[CHUNKS] > 1:
        gradient = gradient + load(memory, place + plan[OTHER_GRADIENT])
    return gradient


@kernel
def store_gradient(memory, sums, parameter, blocks, plan, penalty, scale, constants):
    """gradient <- scale (gradient + alpha parameter); sums <- of each tile the sum of squared parameters.

    parameter: where the first tile begins; blocks: (panels, length of a tile in a panel, distance of panels, length of
    all tiles, where in `sums` the first is); penalty: (alpha, part of it that is L1, what it is multiplied by).
    """
    slot = blocks[4]
    for tile in range(0, blocks[3], blocks[1]):
        squares, length = repeat(memory, 0.0), min(blocks[1], blocks[3] - tile)
        for start in range(parameter + tile, parameter + tile + blocks[0] * blocks[2], blocks[2]):
            for i in range(start, start + length, width(memory)):
                w = load(memory, i)
                squares = squares + w * w
                store(memory, i + plan[GRADIENT], (load_gradient(memory, plan, i) + w * penalty[0]) * scale)
        sums[slot] = horizontal_sum(squares)
        slot += 1


@kernel
def squared_gradient(memory, sums, parameter, blocks, plan, penalty, scale, constants):
    """Sum the squares of scale (gradient + alpha parameter) of each tile into `sums`; arguments as above."""
    slot, l2 = blocks[4], penalty[0] * (1.0 - penalty[1])
    for tile in range(0, blocks[3], blocks[1]):
        total, length = repeat(memory, 0.0), min(blocks[1], blocks[3] - tile)
        for start in range(parameter + tile, parameter + tile + blocks[0] * blocks[2], blocks[2]):
            for i in range(start, start + length, width(memory)):
                g = (load_gradient(memory, plan, i) + load(memory, i) * l2) * scale
                total = total + g * g
        sums[slot] = horizontal_sum(total)
        slot += 1


def _make_step(update, sparsifies):
    step, two_moments, decoupled = update.step, update.n_slots > 1, update.decoupled
    rate, absorbs, absorb = update.rate, update.absorb is not None, update.absorb or sgd_absorb

    @kernel
    def apply_sparse(memory, sums, parameter, blocks, plan, penalty, scale, constants):
        """As `apply` below, with the proximal step of an L1 part, which sets weights near 0 to 0."""
        slot, l2, l1 = blocks[4], penalty[0] * (1.0 - penalty[1]), penalty[0] * penalty[1] * penalty[2]
        for tile in range(0, blocks[3], blocks[1]):
            length = min(blocks[1], blocks[3] - tile)
            squares = sizes = repeat(memory, 0.0)
            for start in range(parameter + tile, parameter + tile + blocks[0] * blocks[2], blocks[2]):
                for i in range(start, start + length, width(memory)):
                    w = load(memory, i)
                    squares, sizes = squares + w * w, sizes + maximum(w, -w)
                    g = (load_gradient(memory, plan, i) + w * l2) * scale
                    first, second = i + plan[FIRST], i + plan[SECOND]
                    m = load(memory, first)
                    new, m, v = step(w, g, m, load(memory, second) if two_moments else m, constants)
                    if two_moments:
                        store(memory, second, v)
                    sparse = soft_threshold(new, rate(m, v, constants) * l1)
                    store(memory, i, sparse)
                    store(memory, first, absorb(m, sparse - new, constants) if absorbs else m)
            sums[slot] = (1.0 - penalty[1]) * horizontal_sum(squares) + 2.0 * penalty[1] * horizontal_sum(sizes)
            slot += 1

    @kernel
    def apply(memory, sums, parameter, blocks, plan, penalty, scale, constants):
        """Update tiles of parameters, as `store_gradient` takes them; sums <- their penalty before, over alpha / 2.

        That is 0 for a decoupled update: its decay of the weights is no part of the loss.
        """
        if sparsifies and penalty[1] > 0.0:
            apply_sparse(memory, sums, parameter, blocks, plan, penalty, scale, constants)
            return
        slot, alpha = blocks[4], penalty[0]
        for tile in range(0, blocks[3], blocks[1]):
            squares, length = repeat(memory, 0.0), min(blocks[1], blocks[3] - tile)
            for start in range(parameter + tile, parameter + tile + blocks[0] * blocks[2], blocks[2]):
                for i in range(start, start + length, width(memory)):
                    w = load(memory, i)
                    if decoupled:
                        g = load_gradient(memory, plan, i) * scale
                        w = w * (1.0 - alpha * constants[4])
                    else:
                        squares = squares + w * w
                        g = (load_gradient(memory, plan, i) + w * alpha) * scale
                    first, second = i + plan[FIRST], i + plan[SECOND]
                    if two_moments:
                        new, m, v = step(w, g, load(memory, first), load(memory, second), constants)
                        store(memory, second, v)
                    else:
                        m = load(memory, first)
                        new, m, v = step(w, g, m, m, constants)
                    store(memory, i, new)
                    store(memory, first, m)
            sums[slot] = horizontal_sum(squares)
            slot += 1

    return apply


def _make_begin(begin):
    return kernel(lambda hyperparameters, t: begin(hyperparameters, t))


@kernel
def _no_constants(hyperparameters, t):
    return 0.0, 0.0, 0.0, 0.0, 0.0, 0.0


def make_step_constants(updates):
    """Return the kernel that gives the constants of a step of one of these updates, by its code."""
    return by_code([_no_constants, *(_make_begin(update.begin) for update in updates)])


def make_update_parameters(updates, regularises):
    """Return the kernel that applies one of these updates, or stores the gradient at code 0.

    `regularises`: it knows the L1 penalty, and at the code `NORM` returns the square of the gradient's norm.
    """
    steps = [_make_step(update, regularises) for update in updates]
    return by_code([store_gradient, *steps, squared_gradient] if regularises else [store_gradient, *steps])


UPDATE_CODES = {name: code for code, name in enumerate(["gradient", *UPDATES])}
NORM = len(UPDATE_CODES)
DECOUPLED = sum(1 << UPDATE_CODES[name] for name, update in UPDATES.items() if update.decoupled)  # a bit for each code


@kernel
def chunk_edge(rows, chunks, chunk):
    """Return the first row of a chunk of a block; chunks are of whole tiles."""
    return min(rows, edge(parts_of(rows, ROWS), chunks, chunk) * ROWS)


@kernel
def bias_gradient(memory, place, error, first_row, last_row, fresh):
    """Add a panel's errors of rows first_row to last_row to the gradient of the biases at `place`."""
    lanes = width(memory)
    total = repeat(memory, 0.0) if fresh else load(memory, place)
    second = third = fourth = repeat(memory, 0.0)  # four sums, for each addition waits for the one before
    whole = first_row + (last_row - first_row) // 4 * 4
    for row in range(first_row, whole, 4):
        total = total + load(memory, error + row * lanes)
        second = second + load(memory, error + (row + 1) * lanes)
        third = third + load(memory, error + (row + 2) * lanes)
        fourth = fourth + load(memory, error + (row + 3) * lanes)
    for row in range(whole, last_row):
        total = total + load(memory, error + row * lanes)
    store(memory, place, (total + second) + (third + fourth))


@kernel
def add_bias_gradients(memory, plan, layer, panels, rows, chunks, fresh):
    """Add the errors of a block's rows to the gradients of the biases of panels[0] to panels[1], chunk by chunk."""
    for panel in range(panels[0], panels[1]):
        place = plan[layer + BIAS] + panel * width(memory)
        error = plan[layer + ERROR] + panel * plan[ROW_STRIDE]
        for chunk in range(chunks[0], chunks[1]):
            first, last = chunk_edge(rows, plan[CHUNKS], chunk), chunk_edge(rows, plan[CHUNKS], chunk + 1)
            bias_gradient(memory, place + plan[GRADIENT + chunk], error, first, last, fresh)


@kernel
def update_biases(program, memory, penalties, plan, layer, panels, slot, update, scale, constants):
    """Apply the update to the biases of panels[0] to panels[1], whose gradients are complete; they have no penalty."""
    lanes = width(memory)
    blocks, start = (panels[1] - panels[0], lanes, lanes, lanes, slot), plan[layer + BIAS] + panels[0] * lanes
    program.update_parameters(update[0], memory, penalties, start, blocks, plan, (0.0, 0.0, 0.0), scale, constants)
    if update[0] != NORM:
        penalties[slot] = 0.0


@kernel
def tiles_of_part(cost, row_tiles, panels, part):
    """Return the first and last tile of a group of panels, which begins at `cost`, that fall to a part."""
    first = max(0, -((cost - part[0]) // panels))
    last = min(row_tiles, -((cost - part[1]) // panels))
    return first, last


@kernel
def is_tail(plan, layer, panel):
    """Return whether this is the panel of a layer's tail."""
    return plan[layer + TAIL] > 0 and panel == plan[layer + OUT_PANELS] - 1


@kernel
def panels_of_group(plan, layer, group):
    """Return the first and last panel of a group; the tail is the last one."""
    whole = plan[layer + OUT_PANELS] - (1 if plan[layer + TAIL] > 0 else 0)
    groups = parts_of(whole, PANELS)
    if group == groups:
        return whole, whole + 1
    return edge(whole, groups, group), edge(whole, groups, group + 1)


@kernel
def add_tail_gradients(memory, plan, layer, tiles, span, distance, fresh):
    """Add rows span[0] to span[1] to the gradient of the tail, which is `distance` from the weights."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    panel = plan[layer + OUT_PANELS] - 1
    gradient = plan[layer + WEIGHT] + panel * plan[layer + WEIGHT_STRIDE] + distance
    error = plan[layer + ERROR] + panel * row_stride + span[0] * lanes
    left = plan[layer + INPUT] + span[0] * lanes
    last = parts_of(min(tiles[1] * ROWS, plan[layer + INPUTS]), lanes)
    for first in range(tiles[0] * ROWS // lanes, last, PANELS):
        for unit in range(0, plan[layer + TAIL], TAIL_UNITS):
            args = (
                memory,
                gradient + first * lanes * lanes + unit,
                plan[ZEROS],
                left + first * row_stride,
                error + unit,
                row_stride,
                span[1] - span[0],
                fresh,
            )
            tail_gradient(min(PANELS, last - first), args)


@kernel
def add_tile_gradients(memory, plan, layer, panels, tiles, rows, block):
    """Add a block's rows to the gradient of tiles[0] to tiles[1] of panels[0] to panels[1]; block: as below."""
    lanes = width(memory)
    row_stride, stride = plan[ROW_STRIDE], plan[layer + WEIGHT_STRIDE]
    for chunk in range(block[2], block[3]):
        low, high = chunk_edge(rows, plan[CHUNKS], chunk), chunk_edge(rows, plan[CHUNKS], chunk + 1)
        pieces = max(1, parts_of(high - low, ROW_BLOCK))  # a chunk without rows has a gradient too, of zeros
        for piece in range(pieces):
            first_row = low + edge(high - low, pieces, piece)
            last_row = low + edge(high - low, pieces, piece + 1)
            begins = block[0] and piece == 0
            if is_tail(plan, layer, panels[0]):
                add_tail_gradients(memory, plan, layer, tiles, (first_row, last_row), plan[GRADIENT + chunk], begins)
                continue
            for row in range(tiles[0] * ROWS, tiles[1] * ROWS, ROWS):
                gradient = plan[layer + WEIGHT] + panels[0] * stride + row * lanes + plan[GRADIENT + chunk]
                args = (
                    memory,
                    gradient,
                    stride,
                    plan[ZEROS] if begins else gradient,
                    0 if begins else stride,
                    plan[layer + INPUT] + row // lanes * row_stride + first_row * lanes + row % lanes,
                    plan[layer + ERROR] + panels[0] * row_stride + first_row * lanes,
                    row_stride,
                    last_row - first_row,
                )
                gradient_tile(panels[1] - panels[0], args)


@kernel
def add_single_gradients(memory, plan, layer, tiles, rows, block):
    """As `add_tile_gradients`, for a layer of one output whose weights lie along its inputs."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    error, last = plan[layer + ERROR], plan[layer + IN_PANELS] - 1
    for chunk in range(block[2], block[3]):
        low, high = chunk_edge(rows, plan[CHUNKS], chunk), chunk_edge(rows, plan[CHUNKS], chunk + 1)
        whole = low + (high - low) // 4 * 4
        for panel in range(tiles[0] * ROWS, min(plan[layer + WEIGHT_ROWS], tiles[1] * ROWS)):
            gradient = plan[layer + WEIGHT] + plan[GRADIENT + chunk] + panel * lanes
            left = plan[layer + INPUT] + panel * row_stride
            total = repeat(memory, 0.0) if block[0] else load(memory, gradient)
            second = third = fourth = repeat(memory, 0.0)  # four sums, for each waits for the product before
            for row in range(low * lanes, whole * lanes, 4 * lanes):
                total = total + load(memory, left + row) * memory[error + row]
                second = second + load(memory, left + row + lanes) * memory[error + row + lanes]
                third = third + load(memory, left + row + 2 * lanes) * memory[error + row + 2 * lanes]
                fourth = fourth + load(memory, left + row + 3 * lanes) * memory[error + row + 3 * lanes]
            for row in range(whole * lanes, high * lanes, lanes):
                total = total + load(memory, left + row) * memory[error + row]
            total = (total + second) + (third + fourth)
            count = plan[layer + INPUTS] - last * lanes if panel == last else lanes
            store(memory, gradient, keep_first(total, count, 0.0))


@kernel
def update_tiles(program, memory, penalties, plan, layer, panels, tiles, slot, update, scale, constants):
    """Update tiles[0] to tiles[1] of panels[0] to panels[1], whose gradients are complete, and their transposed copies.

    slot: where the penalty of tile 0 belongs.
    """
    lanes, stride = width(memory), plan[layer + WEIGHT_STRIDE]
    row, end = tiles[0] * ROWS, min(plan[layer + WEIGHT_ROWS], tiles[1] * ROWS)
    weight = plan[layer + WEIGHT] + panels[0] * stride + row * lanes
    blocks = (panels[1] - panels[0], ROWS * lanes, stride, (end - row) * lanes, slot + tiles[0])
    program.update_parameters(update[0], memory, penalties, weight, blocks, plan, update[1], scale, constants)
    if panels[0] >= plan[layer + FIRST_COPIED] and 0 < update[0] < NORM:
        for i in range(row, end, ROWS):
            column = plan[layer + TRANSPOSED] + i // lanes * plan[layer + TRANSPOSED_STRIDE] + i % lanes
            for panel in range(panels[0], panels[1]):
                place = weight + (panel - panels[0]) * stride + (i - row) * lanes
                store_transposed(memory, column + panel * lanes * lanes, place)


@inlined
def sparse_layer_gradient(program, memory, penalties, plan, layer, rows, block, update, scale, constants, part):
    """As for a dense layer, but its inputs are CSR rows; here a thread's part is whole rows of the weights.

    rows: (X, order, count). The gradient of the part is set to 0, then each entry of each row adds to its row of it.
    """
    lanes = width(memory)
    row_stride, distance = plan[ROW_STRIDE], plan[GRADIENT]
    row_tiles, panels = parts_of(plan[layer + INPUTS], ROWS), plan[layer + OUT_PANELS]
    first_tile = min(row_tiles, max(0, -((plan[layer + COST_BEFORE] - part[0]) // panels)))
    last_tile = min(row_tiles, max(0, -((plan[layer + COST_BEFORE] - part[1]) // panels)))
    first, last = first_tile * ROWS, min(plan[layer + INPUTS], last_tile * ROWS)
    if first >= last:
        return
    gradient = plan[layer + WEIGHT] + distance
    if block[0]:
        for panel in range(panels):
            start = gradient + panel * plan[layer + WEIGHT_STRIDE]
            for i in range(start + first * lanes, start + last * lanes, lanes):
                store(memory, i, repeat(memory, 0.0))
    (data, indices, indptr), order, count = rows
    for row in range(count):
        for entry in range(indptr[order[row]], indptr[order[row] + 1]):
            if first <= indices[entry] < last:
                place = gradient + indices[entry] * lanes
                for panel in range(panels):
                    i = place + panel * plan[layer + WEIGHT_STRIDE]
                    error = load(memory, plan[layer + ERROR] + panel * row_stride + row * lanes)
                    store(memory, i, load(memory, i) + error * data[entry])
    if first == 0:
        add_bias_gradients(memory, plan, layer, (0, panels), count, block[2:], block[0])
        if block[1]:
            slot = plan[layer + TILES_BEFORE] + row_tiles
            update_biases(program, memory, penalties, plan, layer, (0, panels), slot, update, scale, constants)
    if not block[1]:
        return
    # one row of tiles has as many slots as there are groups of panels; the first of them takes the whole sum
    start, stride = plan[layer + WEIGHT] + first * lanes, plan[layer + WEIGHT_STRIDE]
    blocks = (panels, ROWS * lanes, stride, (last - first) * lanes, plan[layer + TILES_BEFORE] + first_tile)
    program.update_parameters(update[0], memory, penalties, start, blocks, plan, update[1], scale, constants)


def first_layer_gradient(program, memory, penalties, plan, layer, X, order, rows, block, update, sums, part):
    """Take the first layer's tiles through gradient and update from CSR rows; nothing for dense rows."""


@overload(first_layer_gradient, jit_options=OPTIONS)
def _first_layer_gradient(program, memory, penalties, plan, layer, X, order, rows, block, update, sums, part):
    if isinstance(X, types.BaseTuple):
        return lambda program, memory, penalties, plan, layer, X, order, rows, block, update, sums, part: (
            sparse_layer_gradient(
                program, memory, penalties, plan, layer, (X, order, rows), block, update, sums[0], sums[1], part
            )
        )
    return lambda program, memory, penalties, plan, layer, X, order, rows, block, update, sums, part: None


@kernel
def part_of(plan, unit):
    """Return (first cost, last cost) for a unit = (index, count) of all tiles."""
    index, count = unit
    return edge(plan[COST], count, index), edge(plan[COST], count, index + 1)


UPDATE_ONLY = (False, True, ZERO, ZERO)  # a block of which no rows are added


@kernel
def take_tiles(program, memory, penalties, plan, rows, block, update, sums, unit, first_layer):
    """Take a unit of all tiles of the layers from one on from gradient to update.

    block: (whether it is the batch's first, whether the gradients are complete after it and the update follows, first
    and last chunk of its rows that are added, the same if none is). update: (code, penalty); sums: (1 / sum of the
    batch's weights, constants of the step).
    """
    part = part_of(plan, unit)
    for index in range(first_layer, plan[N_LAYERS]):
        layer = record_of(index)
        row_tiles = parts_of(plan[layer + WEIGHT_ROWS], ROWS)
        cost, slot = plan[layer + COST_BEFORE], plan[layer + TILES_BEFORE]
        group, panels = ZERO, (ZERO, ZERO)
        while panels[1] < plan[layer + OUT_PANELS]:
            panels = panels_of_group(plan, layer, group)
            first, last = tiles_of_part(cost, row_tiles, panels[1] - panels[0], part)
            if is_tail(plan, layer, panels[0]):  # its tiles are of whole registers of inputs
                together = width(memory) // ROWS
                first = min(row_tiles, parts_of(first, together) * together)
                last = min(row_tiles, parts_of(last, together) * together)
            for tile in range(first, last, TILES_AT_ONCE):
                tiles = (tile, min(last, tile + TILES_AT_ONCE))
                if lies_along(plan, layer):
                    add_single_gradients(memory, plan, layer, tiles, rows, block)
                else:
                    add_tile_gradients(memory, plan, layer, panels, tiles, rows, block)
                if block[1]:
                    update_tiles(program, memory, penalties, plan, layer, panels, tiles, slot, update, *sums)
            if first == 0 and last > 0:
                add_bias_gradients(memory, plan, layer, panels, rows, block[2:], block[0])
                if block[1]:
                    update_biases(program, memory, penalties, plan, layer, panels, slot + row_tiles, update, *sums)
            cost += (panels[1] - panels[0]) * row_tiles
            slot += row_tiles + 1
            group += 1


@inlined
def take_all(program, memory, penalties, plan, X, order, rows, block, update, sums, unit):
    """As `take_tiles`, of all layers; the first one may have CSR rows."""
    if plan[FIRST_DENSE] > 0:
        layer, part = record_of(0), part_of(plan, unit)
        first_layer_gradient(program, memory, penalties, plan, layer, X, order, rows, block, update, sums, part)
    take_tiles(program, memory, penalties, plan, rows, block, update, sums, unit, plan[FIRST_DENSE])
