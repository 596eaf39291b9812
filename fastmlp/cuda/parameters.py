"""Phase B of a step: the parameters are shared out over all threads, in tiles of four times four weights.

An item is such a tile, or four biases. A thread computes its gradient over all rows of the batch, and applies the
update to it.
"""

from collections.abc import Callable

from fastmlp.cuda.compiler import device, load4, store4
from fastmlp.cuda.forward import record_of
from fastmlp.cuda.layout import (
    BIAS,
    DECOUPLED,
    ERROR,
    FIELDS,
    HEAD,
    IN_STRIDE,
    INPUT,
    ITEMS,
    ITEMS_BEFORE,
    N_LAYERS,
    N_SLOTS,
    OUT_STRIDE,
    PARAMETERS,
    TRANSPOSED,
    UPDATE,
    WEIGHT,
)
from fastmlp.cuda.products import add_multiple, column_sums, gradient_sums
from fastmlp.cuda.program import ONLY_GRADIENT, Program
from fastmlp.formulas.elementary import constant, maximum


@device
def layer_of_item(plan, item, layer):
    """Return the record of the layer that an item belongs to, from that of a layer at or before it."""
    last = record_of(plan[N_LAYERS] - 1)
    while layer < last and item >= plan[layer + FIELDS + ITEMS_BEFORE]:
        layer += FIELDS
    return layer


@device
def place_of_item(plan, layer, item):
    """Return (row of weights, column, whether it is biases) of an item of a layer."""
    columns = plan[layer + OUT_STRIDE] // 4
    number = item - plan[layer + ITEMS_BEFORE]
    row, column = number // columns * 4, number % columns * 4
    return row, column, row >= plan[layer + IN_STRIDE]


@device
def add_row(memory, i, sums, fresh):
    """memory[i : i + 4] <- sums, added to what is there unless it is a fresh sum."""
    store4(memory, i, sums if fresh else add_multiple(load4(memory, i), constant(sums[0], 1), sums))


@device
def item_gradient(memory, rows, plan, layer, item, n_rows, fresh):
    """Add the sums over a block's rows to the gradient of an item."""
    row, column, biases = place_of_item(plan, layer, item)
    stride, distance = plan[layer + OUT_STRIDE], 3 * plan[PARAMETERS]
    error = plan[layer + ERROR] + column
    if biases:
        place = distance + plan[layer + BIAS] + column
        add_row(memory, place, column_sums(rows, error, stride, n_rows), fresh)
    else:
        left, place = plan[layer + INPUT] + row, distance + plan[layer + WEIGHT] + row * stride + column
        t0, t1, t2, t3 = gradient_sums(rows, left, plan[layer + IN_STRIDE], rows, error, stride, n_rows)
        add_row(memory, place, t0, fresh)
        add_row(memory, place + stride, t1, fresh)
        add_row(memory, place + 2 * stride, t2, fresh)
        add_row(memory, place + 3 * stride, t3, fresh)


@device
def add_gradients(memory, rows, plan, n_rows, fresh, worker):
    """Add the sums over a block's rows to the gradients of the items of a thread = (number, of how many)."""
    layer = HEAD
    for item in range(worker[0], plan[ITEMS], worker[1]):
        layer = layer_of_item(plan, item, layer)
        item_gradient(memory, rows, plan, layer, item, n_rows, fresh)


@device
def squared_gradients(memory, plan, penalty, scale, worker):
    """Return the sum of the squares of scale times the gradients of a thread's parameters, the L2 penalty with them."""
    l2 = 0.0 if plan[DECOUPLED] > 0 else penalty[0] * (1.0 - penalty[1])
    total = 0.0
    for index in range(plan[N_LAYERS]):
        layer = record_of(index)
        first, bias = plan[layer + WEIGHT], plan[layer + BIAS]
        for i in range(first + worker[0], bias + plan[layer + OUT_STRIDE], worker[1]):
            w = memory[i] * constant(memory[i], l2) if i < bias else constant(memory[i], 0)
            g = (memory[3 * plan[PARAMETERS] + i] + w) * constant(w, scale)
            total += g * g
    return total


def make_move_one(program: Program) -> Callable:
    """Return the device function that applies an update of a program to a parameter."""
    move = program.move

    @device
    def move_one(memory, plan, i, penalty, scale, constants):
        """Update one parameter; returns its penalty before."""
        size = plan[PARAMETERS]
        w, g = memory[i], memory[3 * size + i]
        l2 = penalty[0] * (1.0 - penalty[1])
        if plan[DECOUPLED] > 0:
            g = g * constant(w, scale)
            w = w * constant(w, 1.0 - penalty[0] * constants[4])
        else:
            g = (g + w * constant(w, l2)) * constant(w, scale)
        if plan[UPDATE] == ONLY_GRADIENT:
            memory[3 * size + i] = g
        else:
            m = memory[size + i]
            v = memory[2 * size + i] if plan[N_SLOTS] > 1 else m
            new, m, v = move(plan[UPDATE], w, g, m, v, constants, penalty[0] * penalty[1] * penalty[2])
            memory[i], memory[size + i] = new, m
            if plan[N_SLOTS] > 1:
                memory[2 * size + i] = v
        if plan[DECOUPLED] > 0:
            return 0.0
        return l2 * (w * w) * 0.5 + penalty[0] * penalty[1] * maximum(w, -w)

    return move_one


def make_update(program: Program) -> Callable:
    """Return the device function that applies an update of a program to the parameters of a thread."""
    move_one = make_move_one(program)

    @device
    def update(memory, plan, penalty, scale, constants, worker):
        """Update the items of a thread and their transposed copies; returns the penalty of its weights before.

        penalty: (alpha, part of it that is L1, 1 / sum of the batch's weights); scale: of the gradients.
        """
        total, layer = 0.0, HEAD
        for item in range(worker[0], plan[ITEMS], worker[1]):
            layer = layer_of_item(plan, item, layer)
            row, column, biases = place_of_item(plan, layer, item)
            stride = plan[layer + OUT_STRIDE]
            if biases:
                for j in range(4):
                    move_one(memory, plan, plan[layer + BIAS] + column + j, (0.0, 0.0, 0.0), scale, constants)
            else:
                for k in range(4):
                    for j in range(4):
                        i = plan[layer + WEIGHT] + (row + k) * stride + column + j
                        total += move_one(memory, plan, i, penalty, scale, constants)
                        if plan[layer + TRANSPOSED] > 0:
                            t = plan[layer + TRANSPOSED] + (column + j) * plan[layer + IN_STRIDE] + row + k
                            memory[t] = memory[i]
        return total

    return update
