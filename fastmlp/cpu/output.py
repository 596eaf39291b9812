"""The output layer: from its preactivations to the loss of each row and the error, chosen by a code of the loss."""

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.elementwise import by_code
from fastmlp.cpu.lanes import horizontal_maximum, horizontal_sum, keep_first, load, load_first, store, width
from fastmlp.formulas.elementary import exponential
from fastmlp.formulas.losses import LOSSES, cross_entropy

LOSS_CODES = {name: code for code, name in enumerate([*LOSSES, "log_loss"])}


def _make_unit_loss(formulas):
    activation, loss, averaged = formulas.activation, formulas.value, formulas.averaged

    @kernel
    def output_error(memory, row_losses, output, row_stride, targets, row, row_index, weight, n_outputs):
        """Replace the preactivations of a row by the error weight * (activation - target), and write the row's loss."""
        lanes = width(memory)
        total = 0.0
        for first in range(0, n_outputs, lanes):
            place = output + first // lanes * row_stride + row * lanes
            count = min(lanes, n_outputs - first)
            y = load_first(targets, row_index * n_outputs + first, count)
            a = activation(load(memory, place))
            total += horizontal_sum(keep_first(loss(y, a), count, 0.0))
            store(memory, place, keep_first((a - y) * weight, count, 0.0))
        row_losses[row] = weight * (total / n_outputs if averaged else total)

    return output_error


@kernel
def softmax(memory, output, row_stride, row, n_outputs):
    """Replace the preactivations of a row by their softmax; the lanes beyond become 0."""
    lanes = width(memory)
    panels = (n_outputs + lanes - 1) // lanes
    place = output + row * lanes
    last = place + (panels - 1) * row_stride
    rest = n_outputs - (panels - 1) * lanes
    store(memory, last, keep_first(load(memory, last), rest, -float("inf")))
    largest = horizontal_maximum(load(memory, place))
    for p in range(1, panels):
        largest = max(largest, horizontal_maximum(load(memory, place + p * row_stride)))
    total = 0.0
    for p in range(panels):
        e = exponential(load(memory, place + p * row_stride) - largest)
        total += horizontal_sum(e)
        store(memory, place + p * row_stride, e)
    for p in range(panels):
        store(memory, place + p * row_stride, load(memory, place + p * row_stride) / total)


@kernel
def _softmax_error(memory, row_losses, output, row_stride, targets, row, row_index, weight, n_outputs):
    """As the kernel of a unit loss, for the softmax and the index of the row's class as target."""
    lanes = width(memory)
    softmax(memory, output, row_stride, row, n_outputs)
    wanted = int(targets[row_index])
    place = output + wanted // lanes * row_stride + row * lanes + wanted % lanes
    row_losses[row] = weight * cross_entropy(memory[place])
    memory[place] -= 1
    if weight != 1.0:
        for first in range(0, n_outputs, lanes):
            block = output + first // lanes * row_stride + row * lanes
            store(memory, block, load(memory, block) * weight)


output_error = by_code([*map(_make_unit_loss, LOSSES.values()), _softmax_error])


def _make_unit_activation(formulas):
    activation = formulas.activation

    @kernel
    def apply(memory, output, row_stride, row, n_outputs):
        """Replace the preactivations of a row by the activations."""
        lanes = width(memory)
        for panel in range((n_outputs + lanes - 1) // lanes):
            place = output + panel * row_stride + row * lanes
            store(memory, place, activation(load(memory, place)))

    return apply


output_activation = by_code([*map(_make_unit_activation, LOSSES.values()), softmax])
