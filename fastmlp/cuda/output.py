"""The output layer: from preactivations to activations, the loss and the error, chosen by a code of the loss."""

from collections.abc import Callable

from fastmlp.cuda.compiler import block_sync, device
from fastmlp.cuda.layout import (
    AVERAGED,
    COLUMNS,
    ERROR,
    FIELDS,
    GROUPS,
    HEAD,
    LOSS,
    N_GROUPS,
    N_LAYERS,
    OUT_STRIDE,
    OUTPUT,
    OUTPUTS,
    OWN_TARGETS,
    OWN_WEIGHTS,
    WEIGHTED,
)
from fastmlp.cuda.program import GROUPED_LOG_LOSS, LOG_LOSS, SOFTMAX_SQUARED_ERROR, Program
from fastmlp.formulas.elementary import constant, exponential, maximum
from fastmlp.formulas.losses import cross_entropy

SHARERS = 8  # threads that share a row of outputs


@device
def last_record(plan):
    """Return where in a plan the record of the output layer begins."""
    return HEAD + (plan[N_LAYERS] - 1) * FIELDS


@device
def shared_maximum(scratch, value, thread, sharer, sharers):
    """Return the largest value of the threads that share a row; all of the block call it."""
    block_sync()
    scratch[thread] = value
    block_sync()
    largest = scratch[thread - sharer]
    for i in range(1, sharers):
        largest = maximum(scratch[thread - sharer + i], largest)
    return largest


@device
def shared_sum(scratch, value, thread, sharer, sharers):
    """Return the sum of the values of the threads that share a row, one after another; all of the block call it."""
    block_sync()
    scratch[thread] = value
    block_sync()
    total = scratch[thread - sharer]
    for i in range(1, sharers):
        total = total + scratch[thread - sharer + i]
    return total


@device
def softmax_of_row(rows, place, n_outputs, scratch, active, thread, sharer, sharers):
    """Replace the preactivations of a row by their softmax, shared by threads; all of the block call it."""
    zero = constant(scratch[0], 0)
    largest = rows[place] if active else zero
    for unit in range(sharer, n_outputs if active else 0, sharers):
        largest = maximum(rows[place + unit], largest)
    largest = shared_maximum(scratch, largest, thread, sharer, sharers)
    total = zero
    for unit in range(sharer, n_outputs if active else 0, sharers):
        e = exponential(rows[place + unit] - largest)
        rows[place + unit] = e
        total = total + e
    total = shared_sum(scratch, total, thread, sharer, sharers)
    for unit in range(sharer, n_outputs if active else 0, sharers):
        rows[place + unit] = rows[place + unit] / total


@device
def softmax_of_groups(rows, place, plan, sharer, sharers):
    """Replace the preactivations of a row by the softmax of each group of units; a thread takes whole groups."""
    for group in range(sharer, plan[N_GROUPS], sharers):
        first = plan[plan[GROUPS] + group - 1] if group > 0 else 0
        last = plan[plan[GROUPS] + group]
        largest = rows[place + first]
        for unit in range(first + 1, last):
            largest = maximum(rows[place + unit], largest)
        total = constant(largest, 0)
        for unit in range(first, last):
            e = exponential(rows[place + unit] - largest)
            rows[place + unit] = e
            total = total + e
        for unit in range(first, last):
            rows[place + unit] = rows[place + unit] / total


def make_output_activation(program: Program) -> Callable:
    """Return the device function that applies the output activation of a loss to a block's rows."""
    unit_activation = program.unit_activation

    @device
    def output_activation(rows, plan, span, scratch, worker):
        """Replace the preactivations of rows span[0] to span[1] by the activations that belong to the loss."""
        layer, loss = last_record(plan), plan[LOSS]
        thread, sharers = worker[0], min(SHARERS, worker[1])
        sharer, team, teams = thread % sharers, thread // sharers, worker[1] // sharers
        for first in range(span[0], span[1], teams):
            row = first + team
            active = row < span[1]
            place = plan[layer + OUTPUT] + row * plan[layer + OUT_STRIDE]
            if loss >= 0:
                for unit in range(sharer, plan[layer + OUTPUTS] if active else 0, sharers):
                    rows[place + unit] = unit_activation(loss, rows[place + unit])
            elif loss == GROUPED_LOG_LOSS:
                if active:
                    softmax_of_groups(rows, place, plan, sharer, sharers)
            else:
                softmax_of_row(rows, place, plan[layer + OUTPUTS], scratch, active, thread, sharer, sharers)
        block_sync()

    return output_activation


def make_row_loss(program: Program) -> Callable:
    """Return the device function of the loss of units of a row, from activations."""
    unit_loss = program.unit_loss

    @device
    def row_loss(loss, rows, place, targets, target, n_outputs, parameter, sharer, sharers):
        """Return the sum of the losses of units sharer, sharer + sharers... of a row."""
        total = 0.0
        if loss == LOG_LOSS:
            wanted = int(targets[target])
            return cross_entropy(rows[place + wanted]) + 0.0 if wanted % sharers == sharer else 0.0
        for unit in range(sharer, n_outputs, sharers):
            y, a = targets[target + unit], rows[place + unit]
            if loss >= 0:
                total += unit_loss(loss, y, a, parameter)
            elif loss == SOFTMAX_SQUARED_ERROR:
                total += constant(a, 0.5) * (y - a) * (y - a)
            else:
                total += y * cross_entropy(a)
        return total

    return row_loss


def make_output_error(program: Program) -> Callable:
    """Return the device function that takes a block's rows from preactivations to errors and losses."""
    output_activation, row_loss = make_output_activation(program), make_row_loss(program)
    unit_error = program.unit_error

    @device
    def output_error(rows, plan, targets, weights, order, first, span, parameter, scratch, worker):
        """Errors of rows span[0] to span[1] <- dC/dz times the row's weight; returns the thread's part of the losses.

        Row `row` is order[first + row] of the data; mixed rows have their own targets and weights.
        """
        output_activation(rows, plan, span, scratch, worker)
        layer, loss = last_record(plan), plan[LOSS]
        n_outputs, stride, columns = plan[layer + OUTPUTS], plan[layer + OUT_STRIDE], plan[COLUMNS]
        thread, sharers = worker[0], min(SHARERS, worker[1])
        sharer, team, teams = thread % sharers, thread // sharers, worker[1] // sharers
        total = 0.0
        for start in range(span[0], span[1], teams):
            row = start + team
            active = row < span[1]
            place, error = plan[layer + OUTPUT] + row * stride, plan[layer + ERROR] + row * stride
            own = plan[OWN_TARGETS] > 0
            values = rows if own else targets
            index = order[first + row] if active else 0
            target = plan[OWN_TARGETS] + row * columns if own else index * columns
            weight = constant(scratch[0], 1)
            if active and plan[WEIGHTED] > 0:
                weight = rows[plan[OWN_WEIGHTS] + row] if own else weights[index]
            if active:
                losses = row_loss(loss, rows, place, values, target, n_outputs, parameter, sharer, sharers)
                total += weight * losses / plan[AVERAGED]
            along = constant(scratch[0], 0)
            if loss == SOFTMAX_SQUARED_ERROR:
                for unit in range(sharer, n_outputs if active else 0, sharers):
                    p = rows[place + unit]
                    along = along + p * (p - values[target + unit])
                along = shared_sum(scratch, along, thread, sharer, sharers)
            for unit in range(sharer, stride if active else 0, sharers):
                e = constant(scratch[0], 0)
                if unit < n_outputs:
                    a = rows[place + unit]
                    if loss == LOG_LOSS:
                        e = a - constant(a, 1 if unit == int(values[target]) else 0)
                    elif loss >= 0:
                        e = unit_error(loss, values[target + unit], a, parameter)
                    elif loss == SOFTMAX_SQUARED_ERROR:
                        e = a * (a - values[target + unit] - along)
                    else:
                        e = a - values[target + unit]
                rows[error + unit] = e * weight
        block_sync()
        return total

    return output_error
