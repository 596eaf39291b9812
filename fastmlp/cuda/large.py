"""The second way to share the phases of a step, for large layers: all blocks share the tiles of each product.

Between the products of two layers all wait for each other. A block takes a tile of sums of a layer, stores it, and
goes over it again for what follows the sums, four numbers to a thread.
"""

from collections.abc import Callable

from fastmlp.cuda.backward import times_slope
from fastmlp.cuda.compiler import block_sync, device, keep_apart, load4, store4
from fastmlp.cuda.forward import make_finish, record_of, take_rows
from fastmlp.cuda.layout import (
    BIAS,
    ERROR,
    ERROR_BELOW,
    GROUP_ROWS,
    IN_STRIDE,
    INPUT,
    N_LAYERS,
    OUT_STRIDE,
    OUTPUT,
    PARAMETERS,
    TRANSPOSED,
    WEIGHT,
)
from fastmlp.cuda.output import make_output_error
from fastmlp.cuda.parameters import make_move_one
from fastmlp.cuda.phases import Phases
from fastmlp.cuda.products import add_multiple
from fastmlp.cuda.program import Program
from fastmlp.cuda.tiles import Multiplier, Tile, make_product
from fastmlp.formulas.elementary import constant

SQUARE = 32  # weights each way that a block updates, and then stores transposed
PITCH = SQUARE + 1  # of a square in shared memory: no two numbers of a column are in one bank


@device
def ceil_divided(number, size):
    """Return how many parts of a size there are."""
    return (number + size - 1) // size


def make_layers(program: Program, tile: Tile, product: Callable) -> tuple[Callable, Callable]:
    """Return the device functions of a layer: rows forward, and errors back."""
    finish = make_finish(program.activate_both)
    height, width = tile.rows, tile.columns
    quads = width // 4

    @device
    def layer_forward(memory, rows, plan, layer, first_row, n_rows, key, hidden, words, worker, block):
        in_stride, out_stride = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE]
        output, bias = plan[layer + OUTPUT], plan[layer + BIAS]
        across = ceil_divided(out_stride, width)
        number, tiles = block[0], ceil_divided(n_rows, height) * across
        while number < tiles:  # with fewer registers than a range
            row, unit = number // across * height, number % across * width
            out_at, left_at = (output, out_stride), (plan[layer + INPUT], in_stride, row, n_rows)
            right_at = (plan[layer + WEIGHT], out_stride, unit, out_stride)
            product(rows, out_at, rows, left_at, memory, right_at, in_stride, True, True, words, worker[0])
            block_sync()
            for item in range(worker[0], height * quads, worker[1]):
                r, u = row + item // quads, unit + item % quads * 4
                if r < n_rows and u < out_stride:
                    place = output + r * out_stride + u
                    one = constant(memory[0], 1)
                    store4(rows, place, add_multiple(load4(rows, place), one, load4(memory, bias + u)))
                    if hidden:
                        for one_unit in range(u, u + 4):
                            finish(rows, plan, layer, r, one_unit, first_row, key)
            number += block[1]

    @device
    def layer_backward(memory, rows, plan, layer, n_rows, words, worker, block):
        in_stride, out_stride, below = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE], plan[layer + ERROR_BELOW]
        across = ceil_divided(in_stride, width)
        number, tiles = block[0], ceil_divided(n_rows, height) * across
        while number < tiles:  # with fewer registers than a range
            row, unit = number // across * height, number % across * width
            out_at, left_at = (below, in_stride), (plan[layer + ERROR], out_stride, row, n_rows)
            right_at = (plan[layer + TRANSPOSED], in_stride, unit, in_stride)
            product(rows, out_at, rows, left_at, memory, right_at, out_stride, True, True, words, worker[0])
            block_sync()
            for item in range(worker[0], height * quads, worker[1]):
                r, u = row + item // quads, unit + item % quads * 4
                if r < n_rows and u < in_stride:
                    for one_unit in range(u, u + 4):
                        times_slope(rows, plan, layer, r, one_unit)
            number += block[1]

    return layer_forward, layer_backward


def make_gradients(tile: Tile, product: Callable) -> Callable:
    """Return the device function of the gradients of all layers: tiles of weights, then columns of biases."""
    height, width = tile.rows, tile.columns

    @device
    def bias_gradient(memory, rows, plan, layer, number, n_rows, fresh, scratch, worker):
        """Sum the errors of a column for each lane, teams taking rows in turn, whose sums are added one by one."""
        thread, lane, lanes, team, teams = worker[0], worker[2], worker[3], worker[4], worker[1] // worker[3]
        stride, column = plan[layer + OUT_STRIDE], number * lanes + lane
        total = constant(scratch[0], 0)
        for row in range(team, n_rows if column < stride else 0, teams):
            total = total + rows[plan[layer + ERROR] + row * stride + column]
        scratch[thread] = total
        block_sync()
        if team == 0 and column < stride:
            for other in range(1, teams):
                total = total + scratch[other * lanes + lane]
            place = 3 * plan[PARAMETERS] + plan[layer + BIAS] + column
            memory[place] = total if fresh else memory[place] + total
        block_sync()

    @device
    def gradients(memory, rows, plan, n_rows, fresh, shared, worker, block):
        words = shared[3]
        item = block[0]  # of all layers
        for index in range(plan[N_LAYERS]):
            layer = record_of(index)
            in_stride, out_stride = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE]
            across = ceil_divided(out_stride, width)
            tiles = ceil_divided(in_stride, height) * across
            items = tiles + ceil_divided(out_stride, worker[3])
            while item < items:
                if item < tiles:
                    left_at = (plan[layer + INPUT], in_stride, item // across * height, in_stride)
                    right_at = (plan[layer + ERROR], out_stride, item % across * width, out_stride)
                    out_at = (3 * plan[PARAMETERS] + plan[layer + WEIGHT], out_stride)
                    product(memory, out_at, rows, left_at, rows, right_at, n_rows, False, fresh, words, worker[0])
                else:
                    bias_gradient(memory, rows, plan, layer, item - tiles, n_rows, fresh, shared[0], worker)
                item += block[1]
            item -= items

    return gradients


def make_coalesced_update(program: Program) -> Callable:
    """Return the device function that updates all parameters: blocks take squares of weights, then lines of biases.

    Neighbouring threads take neighbouring numbers, of the weights and of their transposed copies.
    """
    move_one = make_move_one(program)

    @device
    def update(memory, plan, penalty, scale, constants, shared, worker, block):
        total, item, square = 0.0, block[0], shared[2]
        lane, lanes, team, teams = worker[2], worker[3], worker[4], worker[1] // worker[3]
        for index in range(plan[N_LAYERS]):
            layer = record_of(index)
            in_stride, out_stride = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE]
            across = ceil_divided(out_stride, SQUARE)
            squares = ceil_divided(in_stride, SQUARE) * across
            items = squares + ceil_divided(out_stride, worker[1])
            while item < items:
                if item < squares:
                    first, column = item // across * SQUARE, item % across * SQUARE
                    height, width = min(SQUARE, in_stride - first), min(SQUARE, out_stride - column)
                    for r in range(team, height, teams):
                        for c in range(lane, width, lanes):
                            i = plan[layer + WEIGHT] + (first + r) * out_stride + column + c
                            total += move_one(memory, plan, i, penalty, scale, constants)
                            square[r, c] = memory[i]
                    if plan[layer + TRANSPOSED] > 0:
                        block_sync()
                        for c in range(team, width, teams):
                            for r in range(lane, height, lanes):
                                t = plan[layer + TRANSPOSED] + (column + c) * in_stride + first + r
                                memory[t] = square[r, c]
                        block_sync()
                else:
                    unit = (item - squares) * worker[1] + worker[0]
                    if unit < out_stride:
                        move_one(memory, plan, plan[layer + BIAS] + unit, (0.0, 0.0, 0.0), scale, constants)
                item += block[1]
            item -= items
        return total

    return update


def make_tile_phases(program: Program, tile: Tile, multiplier: Multiplier, sync: Callable) -> Phases:
    """Return the phases where blocks share the tiles of each product; sync: waits for all blocks."""
    product = make_product(tile, multiplier)
    layer_forward, layer_backward = make_layers(program, tile, product)
    output_error, coalesced_update = make_output_error(program), make_coalesced_update(program)

    @device
    def rows_in(rows, plan, data, batch, start, n_rows, worker, block):
        keep_apart()
        group_rows = plan[GROUP_ROWS]
        for group in range(block[0], ceil_divided(n_rows, group_rows), block[1]):
            span = (group * group_rows, min(n_rows, (group + 1) * group_rows))
            take_rows(rows, plan, data, batch, start, span, worker)

    @device
    def rows_out(rows, plan, data, start, n_rows, parameter, scratch, worker, block):
        keep_apart()
        losses, group_rows = 0.0, plan[GROUP_ROWS]
        for group in range(block[0], ceil_divided(n_rows, group_rows), block[1]):
            span = (group * group_rows, min(n_rows, (group + 1) * group_rows))
            losses += output_error(rows, plan, data[2], data[3], data[4], start, span, parameter, scratch, worker)
        return losses

    @device
    def through(memory, rows, plan, data, batch, start, n_rows, parameter, shared, worker, block):
        last, words = plan[N_LAYERS] - 1, shared[3]
        rows_in(rows, plan, data, batch, start, n_rows, worker, block)
        sync()
        for index in range(last + 1):
            layer, first_row = record_of(index), start - batch[0]
            layer_forward(memory, rows, plan, layer, first_row, n_rows, batch[2], index < last, words, worker, block)
            sync()
        losses = rows_out(rows, plan, data, start, n_rows, parameter, shared[0], worker, block)
        for index in range(last, 0, -1):
            sync()
            layer_backward(memory, rows, plan, record_of(index), n_rows, words, worker, block)
        return losses

    @device
    def update(memory, plan, penalty, scale, constants, shared, worker, block):
        sync()
        return coalesced_update(memory, plan, penalty, scale, constants, shared, worker, block)

    return Phases(through, make_gradients(tile, product), update)
