"""The output layer: from its preactivations to the loss of each row and the error, chosen by a code of the loss.

A row's sums need its lanes one after another. So the softmax takes as many rows at once as a register has lanes, and
one register holds the sums of all.
"""

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.elementwise import by_code
from fastmlp.cpu.lanes import (
    horizontal_sum,
    keep_first,
    lane,
    load,
    load_first,
    maxima_of_rows,
    repeat,
    store,
    store_first,
    sums_of_rows,
    width,
)
from fastmlp.cpu.layout import BLOCK_ROWS
from fastmlp.formulas.elementary import exponential, maximum
from fastmlp.formulas.losses import SOFTMAX_LOSSES, cross_entropy

# The code of a unit's loss is its position in a program; that of a softmax's loss is negative.
SOFTMAX_CODES = {name: -1 - position for position, name in enumerate(SOFTMAX_LOSSES)}
LOG_LOSS, SOFT_LOG_LOSS, SOFTMAX_SQUARED_ERROR, GROUPED_LOG_LOSS = SOFTMAX_CODES.values()
RAW = -1 - len(SOFTMAX_LOSSES)  # no output activation


@inlined
def row_weight(weights, index):
    """Return the weight of a row of the data, 1 where there are no weights."""
    return weights[index] if weights.size > 0 else weights.dtype.type(1)


def make_unit_errors(losses):
    """Return three kernels of these losses: errors for any number of outputs, errors for one, and a unit's loss."""
    unit_activation = by_code([loss.activation for loss in losses])
    value = by_code([loss.value for loss in losses])
    error = by_code([loss.error for loss in losses])
    averaged = tuple(loss.averaged for loss in losses)

    @kernel
    def unit_error(loss, memory, row_losses, output, row_stride, targets, weights, order, span, n_outputs, parameter):
        """Replace the preactivations of rows by the errors, times the rows' weights, and write the rows' losses.

        span: (first row, last row). targets, weights: of all the data, whose row order[row] is row `row` here.
        """
        lanes = width(memory)
        for row in range(span[0], span[1]):
            weight = row_weight(weights, order[row])
            target = order[row] * n_outputs
            place = output + row * lanes
            total = repeat(memory, 0.0)
            for first in range(0, n_outputs, lanes):
                count = min(lanes, n_outputs - first)
                y = load_first(targets, target + first, count)
                a = unit_activation(loss, load(memory, place))
                total = total + keep_first(value(loss, y, a, parameter), count, 0.0)
                store(memory, place, keep_first(error(loss, y, a, parameter) * weight, count, 0.0))
                place += row_stride
            row_loss = horizontal_sum(total)
            row_losses[row] = weight * (row_loss / n_outputs if averaged[loss] else row_loss)

    @kernel
    def single_unit_error(
        loss, memory, row_losses, chosen, output, row_stride, targets, weights, order, span, n_outputs, parameter
    ):
        """As for any number of outputs, but a register takes as many rows as it has lanes."""
        lanes = width(memory)
        wanted = chosen + BLOCK_ROWS
        for row in range(span[0], span[1]):
            memory[chosen + row] = memory[output + row * lanes]
            memory[wanted + row] = targets[order[row]]
        for row in range(span[0], span[1], lanes):
            count = min(lanes, span[1] - row)
            y, a = load_first(memory, wanted + row, count), load_first(memory, chosen + row, count)
            a = unit_activation(loss, a)
            store_first(memory, wanted + row, value(loss, y, a, parameter), count)
            store_first(memory, chosen + row, error(loss, y, a, parameter), count)
        for row in range(span[0], span[1]):
            weight = row_weight(weights, order[row])
            row_losses[row] = weight * memory[wanted + row]
            store(memory, output + row * lanes, keep_first(repeat(memory, memory[chosen + row] * weight), 1, 0.0))

    return unit_error, single_unit_error, value


@kernel
def softmax(memory, output, row_stride, span, n_outputs):
    """Replace the preactivations of rows span[0] to span[1] by their softmax; the lanes beyond become 0."""
    lanes = width(memory)
    last = (n_outputs + lanes - 1) // lanes * row_stride - row_stride
    rest = n_outputs - last // row_stride * lanes
    for row in range(span[0], span[1], lanes):
        first = output + row * lanes
        count = min(lanes, span[1] - row)
        largest = maxima_of_rows(memory, first + last, rest)
        for panel in range(first, first + last, row_stride):
            largest = maximum(maxima_of_rows(memory, panel, lanes), largest)
        total = largest - largest
        for panel in range(first, first + last + 1, row_stride):
            used = rest if panel == first + last else lanes
            for i in range(count):
                place = panel + i * lanes
                store(memory, place, exponential(load(memory, place) - lane(largest, i)))
            total = total + sums_of_rows(memory, panel, used)
        scale = repeat(memory, 1.0) / total
        for panel in range(first, first + last + 1, row_stride):
            used = rest if panel == first + last else lanes
            for i in range(count):
                place = panel + i * lanes
                store(memory, place, keep_first(load(memory, place) * lane(scale, i), used, 0.0))


@kernel
def grouped_softmax(memory, output, row_stride, span, groups):
    """As `softmax`, for each group of units; groups: where each ends. The lanes beyond are 0 already, and stay it."""
    lanes = width(memory)
    for row in range(span[0], span[1]):
        start = output + row * lanes
        first = 0
        for group in range(groups.size):
            last = groups[group]
            largest = memory[start + first // lanes * row_stride + first % lanes]
            for unit in range(first + 1, last):
                largest = maximum(memory[start + unit // lanes * row_stride + unit % lanes], largest)
            total = largest - largest
            for unit in range(first, last):
                place = start + unit // lanes * row_stride + unit % lanes
                memory[place] = exponential(memory[place] - largest)
                total += memory[place]
            scale = memory.dtype.type(1) / total
            for unit in range(first, last):
                memory[start + unit // lanes * row_stride + unit % lanes] *= scale
            first = last


@kernel
def softmax_error(
    loss, memory, row_losses, chosen, output, row_stride, targets, weights, order, span, n_outputs, groups
):
    """As for the unit losses, with the softmax and the index of a row's class as target."""
    lanes = width(memory)
    softmax(memory, output, row_stride, span, n_outputs)
    for row in range(span[0], span[1]):
        wanted = int(targets[order[row]])
        place = output + wanted // lanes * row_stride + row * lanes + wanted % lanes
        memory[chosen + row] = memory[place]
        memory[place] -= 1
    for row in range(span[0], span[1], lanes):
        count = min(lanes, span[1] - row)
        loss = cross_entropy(load_first(memory, chosen + row, count))
        store_first(memory, chosen + row, loss, count)
    for row in range(span[0], span[1]):
        row_losses[row] = memory[chosen + row]
    if weights.size > 0:
        for row in range(span[0], span[1]):
            weight = weights[order[row]]
            row_losses[row] *= weight
            for first in range(0, n_outputs, lanes):
                block = output + first // lanes * row_stride + row * lanes
                store(memory, block, load(memory, block) * weight)


@kernel
def any_softmax_error(
    loss, memory, row_losses, chosen, output, row_stride, targets, weights, order, span, n_outputs, groups
):
    """As `softmax_error`, or with targets of all classes: of the log-loss, also of groups, or of the squared error."""
    if loss == LOG_LOSS:
        args = (output, row_stride, targets, weights, order, span, n_outputs)
        softmax_error(loss, memory, row_losses, chosen, *args, groups)
        return
    lanes = width(memory)
    if loss == GROUPED_LOG_LOSS:
        grouped_softmax(memory, output, row_stride, span, groups)
    else:
        softmax(memory, output, row_stride, span, n_outputs)
    squared = loss == SOFTMAX_SQUARED_ERROR
    for row in range(span[0], span[1]):
        weight = row_weight(weights, order[row])
        target = order[row] * n_outputs
        total = inner = repeat(memory, 0.0)
        place = output + row * lanes
        for first in range(0, n_outputs, lanes):
            y, p = load_first(targets, target + first, min(lanes, n_outputs - first)), load(memory, place)
            if squared:
                total = total + (p - y) * (p - y)
                inner = inner + p * (p - y)
            else:
                total = total + y * cross_entropy(p)
            place += row_stride
        row_loss, along = horizontal_sum(total), horizontal_sum(inner)
        row_losses[row] = weight * (0.5 * row_loss if squared else row_loss)
        place = output + row * lanes
        for first in range(0, n_outputs, lanes):
            y, p = load_first(targets, target + first, min(lanes, n_outputs - first)), load(memory, place)
            error = p * (p - y - along) if squared else p - y
            store(memory, place, error * weight)
            place += row_stride


@inlined
def output_error(program, loss, memory, row_losses, chosen, args, parameter, groups):
    """Take rows from their preactivations to errors and losses, by the code of the loss; chosen: a place for them.

    args: (output, row_stride, targets, weights, order, span, n_outputs), as for the unit losses; groups: where each
    group of a softmax ends.
    """
    if loss < 0:
        program.softmax_error(loss, memory, row_losses, chosen, *args, groups)
    elif args[6] == 1:
        program.single_unit_error(loss, memory, row_losses, chosen, *args, parameter)
    else:
        program.unit_error(loss, memory, row_losses, *args, parameter)


def make_output_activation(losses, grouped):
    """Return the kernel that applies the output activation of these losses, or the softmax; `grouped`: or several."""
    unit_activation = by_code([loss.activation for loss in losses])

    @kernel
    def output_activation(loss, memory, output, row_stride, span, n_outputs, groups):
        """Replace the preactivations of rows span[0] to span[1] by the activations that belong to a loss."""
        if loss < 0:
            softmax(memory, output, row_stride, span, n_outputs)
            return
        lanes = width(memory)
        for panel in range((n_outputs + lanes - 1) // lanes):
            start = output + panel * row_stride
            for place in range(start + span[0] * lanes, start + span[1] * lanes, lanes):
                store(memory, place, unit_activation(loss, load(memory, place)))

    if not grouped:
        return output_activation

    @kernel
    def any_output_activation(loss, memory, output, row_stride, span, n_outputs, groups):
        """As `output_activation`, or the softmax of each group of units."""
        if loss == GROUPED_LOG_LOSS:
            grouped_softmax(memory, output, row_stride, span, groups)
        else:
            output_activation(loss, memory, output, row_stride, span, n_outputs, groups)

    return any_output_activation
