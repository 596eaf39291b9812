"""The loss of rows that are not trained on, from the outputs for them."""

import numpy as np

from fastmlp.cpu.compile import entry
from fastmlp.cpu.data import read_only
from fastmlp.cpu.lanes import load_first, store_first, width
from fastmlp.cpu.output import LOG_LOSS, SOFT_LOG_LOSS
from fastmlp.cpu.program import program_of
from fastmlp.formulas.losses import LOSSES, cross_entropy, squared_error
from fastmlp.network import Network


# On registers, as in training: in a process that has compiled that, the formulas are compiled already.
@entry
def unit_losses(program, out, loss, output, targets, parameter):
    """out <- the loss of each unit of each row, all three flat; for LOG_LOSS `output` is that of the rows' classes."""
    lanes = width(out)
    for first in range(0, out.size, lanes):
        count = min(lanes, out.size - first)
        y, a = load_first(targets, first, count), load_first(output, first, count)
        if loss == LOG_LOSS:
            value = cross_entropy(a)
        elif loss == SOFT_LOG_LOSS:
            value = y * cross_entropy(a)
        elif loss < 0:
            value = squared_error(y, a, parameter)
        else:
            value = program.unit_loss(loss, y, a, parameter)
        store_first(out, first, value, count)


def mean_loss(network: Network, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
    """Return the mean loss of rows, without penalty: output (n, outputs), targets (n, columns), sample_weight (n,)."""
    if network.loss == "log_loss":
        output = output[np.arange(len(output)), targets[:, 0].astype(np.intp)]
    program, n_rows = program_of(network), len(output)
    out = np.empty(output.size, output.dtype)
    output, targets = (read_only(np.ascontiguousarray(array).reshape(-1)) for array in (output, targets))
    unit_losses(program, out, program.loss_codes[network.loss], output, targets, network.loss_parameter)
    averaged = network.loss in LOSSES and LOSSES[network.loss].averaged
    with np.errstate(all="ignore"):  # infinite outputs have infinite losses, or NaN
        rows = out.reshape(n_rows, -1).sum(axis=1, dtype=np.float64)
        total = rows.sum() / n_rows if sample_weight is None else rows @ sample_weight / sample_weight.sum()
        return float(total / network.widths[-1] if averaged else total)
