"""Phase B of a step: the parameters are shared out over all blocks, in tiles of four times four weights.

An item is such a tile, or four biases. A thread computes its gradient over all rows of the batch; or, where a block has
few items, threads share the rows. Then the block applies the update to its items, parameter by parameter.
"""

from collections.abc import Callable

from fastmlp.cuda.compiler import block_sync, device, divide, keep_apart, load4, store4
from fastmlp.cuda.forward import record_of
from fastmlp.cuda.layout import (
    BIAS,
    DECOUPLED,
    ERROR,
    FIELDS,
    HEAD,
    IN_STRIDE,
    INPUT,
    ITEMS_BEFORE,
    N_LAYERS,
    N_SLOTS,
    OUT_STRIDE,
    PARAMETERS,
    TRANSPOSED,
    UPDATE,
    WEIGHT,
)
from fastmlp.cuda.products import (
    CHUNK,
    SPREAD,
    add_four,
    column_chunk,
    column_sums,
    gradient_chunk,
    gradient_sums,
    parts_of,
)
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
    row = divide(number, columns)
    return 4 * row, (number - row * columns) * 4, 4 * row >= plan[layer + IN_STRIDE]


@device
def add_row(memory, i, sums, fresh):
    """memory[i : i + 4] <- sums, added to what is there unless it is a fresh sum."""
    store4(memory, i, sums if fresh else add_four(load4(memory, i), sums))


@device
def place_of_element(plan, layer, item, element):
    """Return where a parameter of an item lies, of 16 or, of biases, of four; -1: there are no more than four."""
    row, column, biases = place_of_item(plan, layer, item)
    if biases:
        return plan[layer + BIAS] + column + element if element < 4 else -1
    return plan[layer + WEIGHT] + (row + element // 4) * plan[layer + OUT_STRIDE] + column + element % 4


@device
def item_gradient(memory, rows, plan, layer, item, n_rows, fresh):
    """Add the sums over a block's rows to the gradient of an item."""
    keep_apart()
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
def put_gradient_part(rows, plan, item, first, n_rows, scratch, place):
    """Put a part of the sums of an item's gradient in `scratch`, over so many rows from the first on."""
    layer = layer_of_item(plan, item, HEAD)
    row, column, biases = place_of_item(plan, layer, item)
    stride, in_stride = plan[layer + OUT_STRIDE], plan[layer + IN_STRIDE]
    error = plan[layer + ERROR] + first * stride + column
    if biases:
        store4(scratch, place, column_chunk(rows, error, stride, n_rows))
    else:
        left = plan[layer + INPUT] + first * in_stride + row
        t0, t1, t2, t3 = gradient_chunk(rows, left, in_stride, rows, error, stride, n_rows)
        store4(scratch, place, t0)
        store4(scratch, place + 4, t1)
        store4(scratch, place + 8, t2)
        store4(scratch, place + 12, t3)


@device
def add_spread_gradients(memory, rows, plan, n_rows, fresh, items, at_once, scratch, worker):
    """Do what `add_gradients` does, so many items at once, whose sums threads share."""
    thread, threads, parts = worker[0], worker[1], parts_of(n_rows)
    for first in range(items[0], items[1], at_once):
        count = min(at_once, items[1] - first)
        for number in range(thread, count * parts, threads):
            item = divide(number, parts)
            row = (number - item * parts) * CHUNK
            put_gradient_part(rows, plan, first + item, row, min(CHUNK, n_rows - row), scratch, 16 * number)
        block_sync()
        for number in range(thread, 16 * count, threads):
            item, element = number // 16, number % 16
            place = place_of_element(plan, layer_of_item(plan, first + item, HEAD), first + item, element)
            if place >= 0:
                total = constant(scratch[0], 0)
                for part in range(parts):
                    total = total + scratch[16 * (item * parts + part) + element]
                place += 3 * plan[PARAMETERS]
                memory[place] = total if fresh else memory[place] + total
        block_sync()


def make_gradients(spreads: bool) -> Callable:
    """Return the device function of gradients; spreads: as for `forward.make_forward`."""

    @device
    def add_gradients(memory, rows, plan, n_rows, fresh, items, scratch, worker):
        """Add the sums over a block's rows to the gradients of items[0] to items[1], which are those of a block."""
        count, layer = items[1] - items[0], HEAD
        at_once = min(count, SPREAD // (16 * parts_of(n_rows)))
        if spreads and at_once > 0 and 2 * count <= worker[1]:
            add_spread_gradients(memory, rows, plan, n_rows, fresh, items, at_once, scratch, worker)
        else:
            for item in range(items[0] + worker[0], items[1], worker[1]):
                layer = layer_of_item(plan, item, layer)
                item_gradient(memory, rows, plan, layer, item, n_rows, fresh)
            block_sync()

    return add_gradients


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
    """Return the device function that applies an update of a program to the parameters of a block."""
    move_one = make_move_one(program)

    @device
    def update(memory, plan, penalty, scale, constants, items, worker):
        """Update items[0] to items[1] and their transposed copies; returns a thread's part of the penalty before.

        penalty: (alpha, part of it that is L1, 1 / sum of the batch's weights); scale: of the gradients. A thread takes
        parameter after parameter, so that neighbours take neighbouring ones.
        """
        total, layer = 0.0, HEAD
        for number in range(worker[0], 16 * (items[1] - items[0]), worker[1]):
            item, element = items[0] + number // 16, number % 16
            layer = layer_of_item(plan, item, layer)
            i = place_of_element(plan, layer, item, element)
            if i >= plan[layer + BIAS]:
                move_one(memory, plan, i, (0.0, 0.0, 0.0), scale, constants)
            elif i >= 0:
                total += move_one(memory, plan, i, penalty, scale, constants)
                if plan[layer + TRANSPOSED] > 0:
                    row, column, _ = place_of_item(plan, layer, item)
                    t = plan[layer + TRANSPOSED] + (column + element % 4) * plan[layer + IN_STRIDE] + row + element // 4
                    memory[t] = memory[i]
        return total

    return update
