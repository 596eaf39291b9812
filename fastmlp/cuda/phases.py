"""The phases of a step, and the first way to share them: blocks share the rows, then threads share the parameters."""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.cuda.backward import make_backward
from fastmlp.cuda.compiler import block_sync, device, keep_apart
from fastmlp.cuda.forward import make_forward, take_rows
from fastmlp.cuda.layout import GROUP_ROWS, ITEMS
from fastmlp.cuda.output import make_output_error
from fastmlp.cuda.parameters import make_gradients, make_update
from fastmlp.cuda.program import Program

TEAM = 32  # threads that share a row as it is gathered


class Phases(NamedTuple):
    """Device functions that all threads call, with a wait after each.

    worker: see `forward`; block: (its number, how many share the network); shared: shared arrays of a number for each
    thread of the block, of the type of `memory` (or of SPREAD numbers) and of float64, and what else a way to share
    needs.

    Attributes
    ----------
    through : (memory, rows, plan, data, batch, start, n_rows, parameter, shared, worker, block) -> losses
        Takes a block of rows of a batch, from position `start` of the order on, through the network and back; returns
        the thread's part of the losses. batch: as for `take_rows`; parameter: of the loss.
    gradients : (memory, rows, plan, n_rows, fresh, shared, worker, block)
        Stores, or adds if not `fresh`, the gradients of these rows.
    update : (memory, plan, penalty, scale, constants, shared, worker, block) -> penalty
        Updates all parameters; returns the thread's part of the penalty before.
    """

    through: Callable
    gradients: Callable
    update: Callable


@device
def worker_of(thread, threads):
    """Return (thread, threads, lane, lanes, team) of a thread of a block."""
    lanes = min(TEAM, threads)
    return thread, threads, thread % lanes, lanes, thread // lanes


@device
def everyone_of(worker, block):
    """Return (number, how many) of a thread among those of all blocks."""
    return block[0] * worker[1] + worker[0], block[1] * worker[1]


@device
def items_of(plan, block):
    """Return the first and the last item of parameters of a block, which lie one after another."""
    each = (plan[ITEMS] + block[1] - 1) // block[1]
    return min(plan[ITEMS], block[0] * each), min(plan[ITEMS], (block[0] + 1) * each)


@device
def stay_together():
    """Let the compiler do as it likes."""


def make_row_phases(program: Program, grid: bool) -> Phases:
    """Return the phases where blocks share rows, each for itself from inputs to errors, and then the parameters.

    grid: whether there are many blocks. Then each has few sums, which its threads share. And the update is compiled
    apart: what then is saved once a step does not spill in float64; in a kernel of one block, more does.
    """
    limit = keep_apart if grid else stay_together
    forward, output_error = make_forward(program.activate_both, spreads=grid), make_output_error(program)
    backward, add_gradients = make_backward(spreads=grid), make_gradients(spreads=grid)
    update_items = make_update(program)

    @device
    def through(memory, rows, plan, data, batch, start, n_rows, parameter, shared, worker, block):
        losses, group_rows = 0.0, plan[GROUP_ROWS]
        for group in range(block[0], (n_rows + group_rows - 1) // group_rows, block[1]):
            span = (group * group_rows, min(n_rows, (group + 1) * group_rows))
            take_rows(rows, plan, data, batch, start, span, worker)
            block_sync()
            forward(memory, rows, plan, start - batch[0], span, batch[2], shared[0], worker)
            losses += output_error(rows, plan, data[2], data[3], data[4], start, span, parameter, shared[0], worker)
            backward(memory, rows, plan, 1, span, shared[0], worker)
        return losses

    @device
    def gradients(memory, rows, plan, n_rows, fresh, shared, worker, block):
        add_gradients(memory, rows, plan, n_rows, fresh, items_of(plan, block), shared[0], worker)

    @device
    def update(memory, plan, penalty, scale, constants, shared, worker, block):
        limit()
        return update_items(memory, plan, penalty, scale, constants, items_of(plan, block), worker)

    return Phases(through, gradients, update)
