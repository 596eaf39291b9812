"""Phase A of a step: rows are independent, each thread takes some through the whole network and back.

Gather the rows, forward through all layers, loss and output error, errors back through all layers.
"""

import numpy as np
from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import OPTIONS, inlined, kernel
from fastmlp.cpu.dots import tail_product
from fastmlp.cpu.lanes import keep_first, lane, load, load_first, prefetch, repeat, store, sums_of_rows, width
from fastmlp.cpu.layout import (
    ACTIVATION,
    ALONG,
    ALONG_STRIDE,
    BACKWARD,
    BIAS,
    CHOSEN,
    ERROR_BELOW,
    FIRST_DENSE,
    GROUPS,
    HEAD,
    IN_PANELS,
    INPUT,
    INPUTS,
    LOSS,
    N_LAYERS,
    OUT_PANELS,
    OUTPUT,
    OUTPUTS,
    OWN_TARGETS,
    OWN_WEIGHTS,
    ROW_STRIDE,
    SLOPE,
    TAIL,
    WEIGHT,
    WEIGHT_STRIDE,
    lies_along,
    record_of,
)
from fastmlp.cpu.multiply import edge, parts_of, rows_product
from fastmlp.cpu.output import output_error
from fastmlp.cpu.target import PANELS
from fastmlp.formulas.random import random_bits


@inlined
def gather(memory, block, row_stride, rows, order, first_row, last_row):
    """memory: [panels][rows][lanes] at `block` <- rows[order[first_row : last_row]].

    Four rows at once: whole lines of the cache are written, few pages are open at a time, and the next four rows are
    on their way from the memory.
    """
    lanes = width(memory)
    columns = rows.shape[1]
    whole = columns // lanes * lanes
    fours = first_row + (last_row - first_row) // 4 * 4
    for row in range(first_row, fours, 4):
        target, following = block + row * lanes, min(row + 4, last_row - 4)
        first, second = order[row] * columns, order[row + 1] * columns
        third, fourth = order[row + 2] * columns, order[row + 3] * columns
        next_first, next_second = order[following] * columns, order[following + 1] * columns
        next_third, next_fourth = order[following + 2] * columns, order[following + 3] * columns
        for column in range(0, whole, lanes):
            prefetch(rows, next_first + column)
            prefetch(rows, next_second + column)
            prefetch(rows, next_third + column)
            prefetch(rows, next_fourth + column)
            store(memory, target, load(rows, first + column))
            store(memory, target + lanes, load(rows, second + column))
            store(memory, target + 2 * lanes, load(rows, third + column))
            store(memory, target + 3 * lanes, load(rows, fourth + column))
            target += row_stride
    for row in range(fours, last_row):
        for column in range(0, whole, lanes):
            target = block + column // lanes * row_stride + row * lanes
            store(memory, target, load(rows, order[row] * columns + column))
    if whole < columns:
        target = block + whole // lanes * row_stride
        for row in range(first_row, last_row):
            last = load_first(rows, order[row] * columns + whole, columns - whole)
            store(memory, target + row * lanes, last)


@kernel
def dense(memory, plan, product, span):
    """Rows span[0] to span[1] of out = left @ weight + bias; product: the ten fields of a layer's record for it."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    panels, weight_stride = plan[product + OUT_PANELS], plan[product + WEIGHT_STRIDE]
    if plan[product + TAIL] > 0:
        panels -= 1
        tail_product(
            memory,
            plan[product + OUTPUT] + panels * row_stride,
            plan[product + BIAS] + panels * lanes,
            plan[product + INPUT],
            plan[product + ALONG],
            row_stride,
            plan[product + ALONG_STRIDE],
            span[0],
            span[1],
            plan[product + INPUTS],
            plan[product + TAIL],
        )
    groups = parts_of(panels, PANELS)
    for group in range(groups):
        panel = edge(panels, groups, group)
        args = (
            memory,
            plan[product + OUTPUT] + panel * row_stride,
            plan[product + BIAS] + panel * lanes,
            plan[product + INPUT],
            plan[product + WEIGHT] + panel * weight_stride,
            row_stride,
            weight_stride,
            span[0],
            span[1],
            plan[product + INPUTS],
        )
        rows_product(edge(panels, groups, group + 1) - panel, args)


@kernel
def single_output(memory, plan, layer, span):
    """As `dense`, for a layer of one output whose weights lie along its inputs."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    output, weight = plan[layer + OUTPUT], plan[layer + WEIGHT]
    last = plan[layer + IN_PANELS] - 1
    rest = plan[layer + INPUTS] - last * lanes
    for first in range(span[0], span[1], lanes):
        count = min(lanes, span[1] - first)
        for row in range(first, first + count):
            left = plan[layer + INPUT] + row * lanes
            total = repeat(memory, 0.0)
            for panel in range(last):
                total = total + load(memory, left + panel * row_stride) * load(memory, weight + panel * lanes)
            # what the lanes beyond the inputs hold is no number, maybe
            inputs = keep_first(load(memory, left + last * row_stride), rest, 0.0)
            store(memory, output + row * lanes, total + inputs * load(memory, weight + last * lanes))
        sums = sums_of_rows(memory, output + first * lanes, lanes) + memory[plan[layer + BIAS]]
        for i in range(count):
            store(memory, output + (first + i) * lanes, keep_first(repeat(memory, lane(sums, i)), 1, 0.0))


@inlined
def sparse_rows_product(memory, plan, layer, X, order, span):
    """Rows of the first layer's preactivations from CSR rows, each entry adds a multiple of a row of the weights."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    data, indices, indptr = X
    for row in range(span[0], span[1]):
        first, last = indptr[order[row]], indptr[order[row] + 1]
        for panel in range(plan[layer + OUT_PANELS]):
            total = load(memory, plan[layer + BIAS] + panel * lanes)
            weight = plan[layer + WEIGHT] + panel * plan[layer + WEIGHT_STRIDE]
            for entry in range(first, last):
                total = total + load(memory, weight + indices[entry] * lanes) * data[entry]
            store(memory, plan[layer + OUTPUT] + panel * row_stride + row * lanes, total)


def first_layer(memory, plan, layer, X, order, span):
    """Gather rows X[order[row]], row = span[0] to span[1]; for CSR rows, compute the layer's preactivations."""


@overload(first_layer, jit_options=OPTIONS)
def _first_layer(memory, plan, layer, X, order, span):
    if isinstance(X, types.BaseTuple):
        return lambda memory, plan, layer, X, order, span: sparse_rows_product(memory, plan, layer, X, order, span)
    return lambda memory, plan, layer, X, order, span: gather(
        memory, plan[layer + INPUT], plan[ROW_STRIDE], X, order, span[0], span[1]
    )


@inlined
def activate_rows(program, memory, plan, layer, span):
    """Apply a layer's activation to rows span[0] to span[1] of its output."""
    lanes, row_stride, slope = width(memory), plan[ROW_STRIDE], plan[layer + SLOPE]
    for panel in range(plan[layer + OUT_PANELS]):
        block = plan[layer + OUTPUT] + panel * row_stride + span[0] * lanes
        program.activate(plan[layer + ACTIVATION], memory, block, (span[1] - span[0]) * lanes, slope)
    rest = plan[layer + OUTPUTS] % lanes
    if slope > 0 and rest > 0:  # a user's own may have no number for 0, and an error of 0 times that is none
        for row in range(span[0], span[1]):
            place = plan[layer + OUTPUT] + (plan[layer + OUT_PANELS] - 1) * row_stride + row * lanes + slope
            store(memory, place, keep_first(load(memory, place), rest, 0.0))


@inlined
def forward_rows(program, memory, plan, span, first_row, key):
    """Take rows span[0] to span[1], which `first_layer` has seen, to the preactivations of the output.

    first_row: of the block in its batch; key: of the step's random numbers.
    """
    n_layers = plan[N_LAYERS]
    for index in range(n_layers):
        layer = record_of(index)
        if lies_along(plan, layer):
            single_output(memory, plan, layer, span)
        elif index >= plan[FIRST_DENSE]:
            dense(memory, plan, layer, span)
        if index < n_layers - 1:
            activate_rows(program, memory, plan, layer, span)
            program.drop(memory, plan, layer, span, first_row, random_bits(key, np.uint64(index)))


@inlined
def backward_rows(program, memory, plan, span):
    """Take the errors of rows span[0] to span[1] from the output to the first layer's output."""
    lanes, row_stride = width(memory), plan[ROW_STRIDE]
    for index in range(plan[N_LAYERS] - 1, 0, -1):
        layer = record_of(index)
        dense(memory, plan, layer + BACKWARD, span)
        below = record_of(index - 1)
        code, slope = plan[below + ACTIVATION], plan[below + SLOPE]
        for panel in range(plan[layer + IN_PANELS]):
            start = panel * row_stride + span[0] * lanes
            error, activation = plan[layer + ERROR_BELOW] + start, plan[layer + INPUT] + start
            program.multiply_by_derivative(code, memory, error, activation, (span[1] - span[0]) * lanes, slope)


@inlined
def train_rows(program, memory, row_losses, plan, X, targets, weights, orders, span, chance, changes, parameter):
    """Run phase A for rows span[0] to span[1] of a block: activations, row losses and errors, all left in the buffers.

    orders: (of the block's rows in the data, the numbers from 0 on); chance, changes: as for
    `augment`.
    """
    order = orders[0]
    first_layer(memory, plan, HEAD, X, order, span)
    program.augment(memory, plan, X, targets, weights, order, span, chance, changes)
    forward_rows(program, memory, plan, span, chance[0], chance[1])
    if plan[OWN_TARGETS] > 0:
        targets = memory[plan[OWN_TARGETS] : plan[OWN_WEIGHTS]]
        weights = memory[plan[OWN_WEIGHTS] : plan[OWN_WEIGHTS] + min(weights.size, order.size)]
        order = orders[1]
    last = record_of(plan[N_LAYERS] - 1)
    args = (plan[last + OUTPUT], plan[ROW_STRIDE], targets, weights, order, span, plan[last + OUTPUTS])
    output_error(program, plan[LOSS], memory, row_losses, plan[CHOSEN], args, parameter, plan[plan[GROUPS] :])
    backward_rows(program, memory, plan, span)
