"""The loss of rows that are not trained on, from the outputs for them."""

import numpy as np

from fastmlp.cpu.compile import entry
from fastmlp.cpu.data import read_only
from fastmlp.cpu.lanes import load_first, store_first, width
from fastmlp.cpu.output import GROUPED_LOG_LOSS, LOG_LOSS, SOFT_LOG_LOSS, row_weight
from fastmlp.cpu.program import program_of
from fastmlp.formulas.losses import LOSSES, cross_entropy, squared_error
from fastmlp.network import Network


# On registers, as in training: in a process that has compiled that, the formulas are compiled already.
@entry
def sum_losses(program, units, loss, output, targets, weights, parameter):
    """Return (sum of the losses of rows, sum of their weights); units (rows, 1 or outputs) <- the loss of each unit.

    output (rows, outputs), targets (rows, columns), weights (rows,) or (0,) for rows that count alike.
    """
    lanes = width(units)
    rows, columns = units.shape
    if loss == LOG_LOSS:
        for row in range(rows):
            units[row, 0] = output[row, int(targets[row, 0])]
    for first in range(0, units.size, lanes):
        count = min(lanes, units.size - first)
        if loss == LOG_LOSS:
            value = cross_entropy(load_first(units, first, count))
        else:
            y, a = load_first(targets, first, count), load_first(output, first, count)
            if loss in (SOFT_LOG_LOSS, GROUPED_LOG_LOSS):
                value = y * cross_entropy(a)
            elif loss < 0:
                value = squared_error(y, a, parameter)
            else:
                value = program.unit_loss(loss, y, a, parameter)
        store_first(units, first, value, count)
    total, weight_sum = 0.0, 0.0
    for row in range(rows):
        row_loss = 0.0
        for column in range(columns):
            row_loss += units[row, column]
        weight = row_weight(weights, row)
        total += row_loss * weight
        weight_sum += weight
    return total, weight_sum


def mean_loss(network: Network, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """Return the mean loss of rows, without penalty: output (n, outputs), targets (n, columns), sample_weight (n,)."""
    program = program_of(network)
    weights = np.empty(0, output.dtype) if sample_weight is None else sample_weight
    units = np.empty((len(output), targets.shape[1]), output.dtype)
    arrays = (read_only(np.ascontiguousarray(array)) for array in (output, targets, weights))
    total, weight_sum = sum_losses(program, units, program.loss_codes[network.loss], *arrays, network.loss_parameter)
    if network.loss in LOSSES and LOSSES[network.loss].averaged:
        total /= network.widths[-1]
    return total / weight_sum
