"""The output layer: from its preactivations to the loss of each row and the error, chosen by a code of the loss.

A row's sums need its lanes one after another, so it waits for itself more than it computes. Each loop over the rows is
kept short, so that the processor works on several of them at once.
"""

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.elementwise import by_code
from fastmlp.cpu.lanes import horizontal_maximum, horizontal_sum, keep_first, load, load_first, repeat, store, width
from fastmlp.formulas.elementary import exponential, maximum
from fastmlp.formulas.losses import LOSSES, cross_entropy

N_UNIT_LOSSES = len(LOSSES)  # the softmax's is the next code
LOSS_CODES = {name: code for code, name in enumerate([*LOSSES, "log_loss"])}


@inlined
def row_weight(weights, index):
    """Return the weight of a row of the data, 1 where there are no weights."""
    return weights[index] if weights.size > 0 else weights.dtype.type(1)


_unit_activation = by_code([formulas.activation for formulas in LOSSES.values()])
_unit_loss = by_code([formulas.value for formulas in LOSSES.values()])
_AVERAGED = tuple(formulas.averaged for formulas in LOSSES.values())


@kernel
def _unit_error(loss, memory, row_losses, output, row_stride, targets, weights, order, span, n_outputs):
    """Replace the preactivations of rows by the errors weight * (activation - target), and write the rows' losses.

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
            a = _unit_activation(loss, load(memory, place))
            total = total + keep_first(_unit_loss(loss, y, a), count, 0.0)
            store(memory, place, keep_first((a - y) * weight, count, 0.0))
            place += row_stride
        row_loss = horizontal_sum(total)
        row_losses[row] = weight * (row_loss / n_outputs if _AVERAGED[loss] else row_loss)


@kernel
def softmax(memory, output, row_stride, span, n_outputs):
    """Replace the preactivations of rows span[0] to span[1] by their softmax; the lanes beyond become 0."""
    lanes = width(memory)
    panels = (n_outputs + lanes - 1) // lanes
    last = (panels - 1) * row_stride
    rest = n_outputs - (panels - 1) * lanes
    for place in range(output + span[0] * lanes, output + span[1] * lanes, lanes):
        x = keep_first(load(memory, place + last), rest, -float("inf"))
        store(memory, place + last, x)
        for panel in range(place, place + last, row_stride):
            x = maximum(load(memory, panel), x)
        largest = horizontal_maximum(x)
        for panel in range(place, place + last + 1, row_stride):
            store(memory, panel, load(memory, panel) - largest)
    for panel in range(output, output + last + 1, row_stride):
        for place in range(panel + span[0] * lanes, panel + span[1] * lanes, lanes):
            store(memory, place, exponential(load(memory, place)))
    for place in range(output + span[0] * lanes, output + span[1] * lanes, lanes):
        total = load(memory, place + last)
        for panel in range(place, place + last, row_stride):
            total = total + load(memory, panel)
        sum_of_row = horizontal_sum(total)
        for panel in range(place, place + last + 1, row_stride):
            store(memory, panel, load(memory, panel) / sum_of_row)


@kernel
def _softmax_error(memory, row_losses, output, row_stride, targets, weights, order, span, n_outputs):
    """As for the unit losses, with the softmax and the index of a row's class as target."""
    lanes = width(memory)
    softmax(memory, output, row_stride, span, n_outputs)
    for row in range(span[0], span[1]):
        wanted = int(targets[order[row]])
        place = output + wanted // lanes * row_stride + row * lanes + wanted % lanes
        row_losses[row] = memory[place]
        memory[place] -= 1
    for row in range(span[0], span[1]):
        row_losses[row] = cross_entropy(memory.dtype.type(row_losses[row]))
    if weights.size > 0:
        for row in range(span[0], span[1]):
            weight = weights[order[row]]
            row_losses[row] *= weight
            for first in range(0, n_outputs, lanes):
                block = output + first // lanes * row_stride + row * lanes
                store(memory, block, load(memory, block) * weight)


@kernel
def output_error(loss, *args):
    """Take rows from their preactivations to errors and losses, by the code of the loss."""
    if loss < N_UNIT_LOSSES:
        _unit_error(loss, *args)
    else:
        _softmax_error(*args)


@kernel
def output_activation(loss, memory, output, row_stride, span, n_outputs):
    """Replace the preactivations of rows span[0] to span[1] by the activations that belong to a loss."""
    if loss == N_UNIT_LOSSES:
        softmax(memory, output, row_stride, span, n_outputs)
        return
    lanes = width(memory)
    for panel in range((n_outputs + lanes - 1) // lanes):
        start = output + panel * row_stride
        for place in range(start + span[0] * lanes, start + span[1] * lanes, lanes):
            store(memory, place, _unit_activation(loss, load(memory, place)))
