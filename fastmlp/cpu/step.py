"""Steps of training as a team of threads runs them: two phases and two barriers a block of rows.

Every number is summed in the same order whatever the team, so the team may change with every job, unseen in the
results.
`control` is an int64 array: one line of the cache for the barrier, one for the job, one for the next unit
of parameters of each chunk of rows, one for the epochs of a job, one for the state of each helper.
`numbers` is a float64 array: sum of the losses, penalty, hyperparameters, losses of chunks of rows and more, then the
losses of a block's rows, learning rates and own parts of a job's steps, the tiles' penalties, and the squares of their
gradients.
`curve` is a float64 array: what the rule of stopping knows, then the losses of a job's epochs.
"""

import sys

from numba import types

from fastmlp.cpu.atomic import atomic_add, atomic_load, atomic_store, atomic_swap_if, pause
from fastmlp.cpu.compile import ZERO, inlined, kernel
from fastmlp.cpu.dropout import key_of_step
from fastmlp.cpu.finite import is_finite
from fastmlp.cpu.layout import BLOCK_ROWS, CHUNKS, FIRST, TILES, UNITS
from fastmlp.cpu.parameters import UPDATE_ONLY, chunk_edge, take_all, take_tiles
from fastmlp.cpu.rows import train_rows
from fastmlp.cpu.shuffle import shuffle
from fastmlp.cpu.subnormal import flush_subnormals, restore_mode
from fastmlp.formulas.progress import compare_loss

LINE = 8  # int64 numbers to a line of the cache
BARRIER = 0
FIRST_ROW, LAST_ROW, BATCH, UPDATE, STEP, TEAM, BASE, SEED = range(LINE, LINE + 8)  # the job
TICKET = 2 * LINE  # the next unit of parameters, of the first chunk of rows or of all; that of the other a line later
READY = TICKET + 1  # the mark of the block whose rows of a chunk have their errors, where threads work apart
PIECE = TICKET + LINE + 2  # the next piece of a block's rows
EPOCHS, SHUFFLES = 4 * LINE, 4 * LINE + 1  # of a job that is whole epochs: how many at most, and whether they shuffle
# Whether the job shall end with its present block of rows; which block that is, as its first row + 1, 0 for none.
HALT, LAST_BLOCK = 4 * LINE + 2, 4 * LINE + 3
# helper i (from 1) has its state at HELPERS + i * LINE, beside it its rank and whether the next job counts on it
HELPERS, RANK, EXPECTED = 5 * LINE, 1, 2
IDLE, ASLEEP, RESERVED, GO, STOP = range(5)

LOSS_SUM, ALPHA, HYPERPARAMETERS, CHUNK_LOSSES, LOSS_PARAMETER = 0, 1, 2, 6, 8
WEIGHT_ALPHA = 9  # a penalty that is multiplied by the sum of a batch's weights
L1_RATIO = 10
JITTER, DROPPED_FEATURES = 13, 14
MAX_NORM, GRADIENT_NORM = 11, 12  # at 0 no norm is computed; the norm of the last batch's gradient
ROW_LOSSES = 16
RATES = ROW_LOSSES + BLOCK_ROWS
MOST_BATCHES = 4096  # of a job
MOST_BLOCKS = 1 << 32  # of a batch
OWN_PARTS = RATES + MOST_BATCHES  # how much of a mixed row is its own
PENALTIES = OWN_PARTS + MOST_BATCHES

BEST, WITHOUT, TOL, PATIENCE, CURVE = range(5)  # the fields of a `Stopping`; the losses of the epochs
MOST_EPOCHS = 4096  # of a job

SPINS_BEFORE_YIELD = 4000
SPINS_BEFORE_SLEEP = 6000  # some 0.5 ms: the end of an epoch and the beginning of the next one fit in

if sys.platform == "win32":

    @kernel
    def give_way():
        """Nothing: the C library has no call for it here."""
        pause()
else:
    sched_yield = types.ExternalFunction("sched_yield", types.int32())

    @kernel
    def give_way():
        """Let another thread have the core."""
        sched_yield()


@kernel
def wait_for(control, place, least):
    """Wait until control[place] is so large."""
    spins = 0
    while atomic_load(control, place) < least:
        spins += 1
        if spins < SPINS_BEFORE_YIELD:
            pause()
        else:
            give_way()


@kernel
def barrier(control, team):
    """Wait until all of the team are here."""
    if team == 1:
        return
    base = control[BASE]  # before the last one arrives: then the leader may begin another job
    arrived = atomic_add(control, BARRIER, 1) + 1 - base
    wait_for(control, BARRIER, base + (arrived + team - 1) // team * team)


@kernel
def sum_of_weights(weights, order, first, last):
    """Return the sum of the weights of rows order[first : last]; their count where there are no weights."""
    if weights.size == 0:
        return float(last - first)
    total = 0.0
    for position in range(first, last):
        total += weights[order[position]]
    return total


@kernel
def ordered_sum(numbers, first, last):
    """Return the sum of numbers[first : last], one after another."""
    total = 0.0
    for i in range(first, last):
        total += numbers[i]
    return total


@inlined
def train_batch(program, memory, numbers, plan, control, X, targets, weights, order, batch, worker):
    """Take one batch = (first, last, step, learning rate, own part) of positions in `order` through both phases.

    The leader adds the batch's loss to numbers[LOSS_SUM]. A batch without weight takes no step. Where sums are over two
    chunks of rows, a team of two works apart until both have the gradient of a chunk: less has to pass between them.
    Not all threads may have as much of their cores. So where a step is long, who is ready first goes on with pieces of
    the last quarter of the rows and with units of the parameters, or those of the other chunk.
    Returns whether it went to its end; a batch of several blocks may be told to stop before any parameter has changed.
    """
    first, last, step, learning_rate, own_part = batch
    thread, team = worker
    weight_sum = sum_of_weights(weights, order, first, last)
    if not weight_sum > 0.0:
        barrier(control, team)  # a leader that ran ahead would change the job before all have read it
        return True
    alpha = numbers[ALPHA] + numbers[WEIGHT_ALPHA] * weight_sum
    update = (control[UPDATE], (alpha, numbers[L1_RATIO], 1.0 / weight_sum))
    hyperparameters = (
        learning_rate,
        numbers[HYPERPARAMETERS + 1],
        numbers[HYPERPARAMETERS + 2],
        numbers[HYPERPARAMETERS + 3],
    )
    sums = (1.0 / weight_sum, program.step_constants(update[0], hyperparameters, step))
    row_losses, penalties = numbers[ROW_LOSSES:RATES], numbers[PENALTIES : PENALTIES + plan[TILES]]
    key = key_of_step(control[SEED], step)
    places = order[order.size - BLOCK_ROWS :]
    changes = (own_part, numbers[JITTER], numbers[DROPPED_FEATURES])
    chunks = plan[CHUNKS]
    apart = team == 2 and chunks == 2
    clipping = numbers[MAX_NORM] > 0.0
    later = apart or clipping  # whether no parameter may change before all gradients are complete
    mine = (thread, thread + 1) if apart else (0, chunks)
    taken = team > 1 and plan[UNITS] > 1  # by who is ready
    units, pieces = plan[UNITS] if apart else team * plan[UNITS], 2 * team
    for start in range(first, last, BLOCK_ROWS):
        rows, mark = min(BLOCK_ROWS, last - start), step * MOST_BLOCKS + start // BLOCK_ROWS + 1
        block_order = order[start : start + rows]
        divided = chunk_edge(rows, 4, 3) if taken and not apart else rows
        span = (chunk_edge(divided, team, thread), chunk_edge(divided, team, thread + 1))
        orders, chance, parameter = (block_order, places), (start - first, key, thread), numbers[LOSS_PARAMETER]
        if apart or thread == 0:  # before another may take one
            atomic_store(control, TICKET + mine[0] * LINE, 0)
        while True:
            train_rows(program, memory, row_losses, plan, X, targets, weights, orders, span, chance, changes, parameter)
            piece = atomic_add(control, PIECE, 1) if divided < rows else pieces
            if piece >= pieces:
                break
            low, high = chunk_edge(rows - divided, pieces, piece), chunk_edge(rows - divided, pieces, piece + 1)
            span = (divided + low, divided + high)
        if apart:
            atomic_store(control, READY + thread * LINE, mark)
        else:
            barrier(control, team)
            if thread == 0:  # before another may take one, in the next block
                atomic_store(control, PIECE, 0)
        for chunk in range(mine[0], mine[1]):
            if apart or thread == 0:
                before = 0.0 if start == first else numbers[CHUNK_LOSSES + chunk]
                low, high = chunk_edge(rows, chunks, chunk), chunk_edge(rows, chunks, chunk + 1)
                numbers[CHUNK_LOSSES + chunk] = before + ordered_sum(row_losses, low, high)
        for turn in range(2 if apart and taken else 1):
            chunk = mine[0] if turn == 0 else 1 - thread
            if turn == 1:
                wait_for(control, READY + chunk * LINE, mark)
            block = (start == first, start + rows == last and not later, chunk, chunk + mine[1] - mine[0])
            ticket = TICKET + chunk * LINE
            index = atomic_add(control, ticket, 1) if taken else thread % units
            while index < units:
                unit = (index, units)
                take_all(program, memory, penalties, plan, X, block_order, rows, block, update, sums, unit)
                index = atomic_add(control, ticket, 1) if taken else index + team
        more = start + rows < last
        if thread == 0 and more and atomic_load(control, HALT) != 0:
            # all have to end with the same one, and the leader may be in the next when another reads this
            atomic_store(control, LAST_BLOCK, start + 1)
        barrier(control, team)
        if more and atomic_load(control, LAST_BLOCK) == start + 1:
            return False
    loss = ordered_sum(numbers, CHUNK_LOSSES, CHUNK_LOSSES + chunks)  # before another thread may be in the next batch
    if clipping:
        scale = program.clipped_scale(program, memory, numbers, plan, control, update[1], sums, worker)
        sums = (scale, sums[1])
    if later:
        take_tiles(program, memory, penalties, plan, ZERO, UPDATE_ONLY, update, sums, worker, ZERO)
        barrier(control, team)
    if thread == 0:
        penalty = 0.5 * alpha * ordered_sum(penalties, ZERO, penalties.size)
        numbers[LOSS_SUM] += (loss + penalty) / weight_sum * (last - first)
    return True


@kernel
def muster(control, wanted):
    """Reserve the helpers that are awake, up to a team of `wanted`; give each its rank; return the size of the team.

    From now on they may sleep again.
    """
    team = 1
    helper = 1
    while helper < wanted:
        state = HELPERS + helper * LINE
        spins = 0  # a helper that was in the last job may be on its way out of it
        while spins < SPINS_BEFORE_YIELD and atomic_load(control, state) == GO:
            spins += 1
            pause()
        if atomic_swap_if(control, state, IDLE, RESERVED):
            control[state + RANK] = team
            team += 1
        atomic_store(control, state + EXPECTED, 0)
        helper += 1
    return team


@kernel
def dismiss(control, wanted, state):
    """Set the state of all reserved helpers."""
    for helper in range(1, wanted):
        if atomic_load(control, HELPERS + helper * LINE) == RESERVED:
            atomic_store(control, HELPERS + helper * LINE, state)


@kernel
def wait_for_job(control, state):
    """Return GO when the leader gives the helper with this state a job, STOP at the end, ASLEEP after a long wait.

    It does not fall asleep while the leader is on its way to a job that counts on it.
    """
    spins = 0
    while True:
        now = atomic_load(control, state)
        if now in (GO, STOP):
            return now
        spins += 1
        if spins < SPINS_BEFORE_YIELD:
            pause()
        else:
            give_way()
        tired = spins > SPINS_BEFORE_SLEEP and now == IDLE and atomic_load(control, state + EXPECTED) == 0
        if tired and atomic_swap_if(control, state, IDLE, ASLEEP):
            return ASLEEP


@kernel
def epoch_ends(memory, numbers, plan, control, curve, epoch):
    """Note the loss of a job's epoch; return whether the job ends with it.

    It does where the loss has not improved for too long, or a parameter is no longer finite.
    """
    loss = numbers[LOSS_SUM] / control[LAST_ROW]
    numbers[LOSS_SUM] = 0.0
    curve[CURVE + epoch] = loss
    best, without = compare_loss(loss, curve[BEST], curve[WITHOUT], curve[TOL])
    curve[BEST], curve[WITHOUT] = best, without
    if epoch + 1 == control[EPOCHS] or without > curve[PATIENCE] or not is_finite(memory, plan[FIRST]):
        control[EPOCHS] = epoch + 1
        return True
    return False


def work(program, memory, numbers, plan, control, X, targets, weights, order, generator, curve, wanted, helper):
    """Run jobs, as the leader (helper 0) or as a helper; one function, so that it is compiled once.

    The leader runs the job in `control`, with the helpers that are awake, up to `wanted` threads, and returns how many
    it were, at the least. A job is the batches of positions control[FIRST_ROW] to control[LAST_ROW] in `order`; or, if
    control[EPOCHS] is not 0, as many whole epochs at most, whose number it becomes. A helper serves job after job; it
    returns 1 after a long wait for one, 0 at the end of the fit. Once control[HALT] is set, the job ends with a block
    of rows that is not the last one of its batch.
    """
    mode = flush_subnormals()
    state = HELPERS + helper * LINE
    team, rank, result = 1, 0, -1
    epoch, smallest = ZERO, wanted
    while result < 0:
        if helper > 0:
            order_given = wait_for_job(control, state)
            if order_given != GO:
                result = 1 if order_given == ASLEEP else 0
                break
            rank, team = control[state + RANK], control[TEAM]
        else:
            if control[SHUFFLES] != 0:
                shuffle(order, control[LAST_ROW], generator)
            team = muster(control, wanted)
            smallest = min(smallest, team)
            control[TEAM] = team
            control[READY] = control[READY + LINE] = control[PIECE] = 0  # marks may be those of other steps
            control[BASE] = atomic_load(control, BARRIER)
            dismiss(control, wanted, GO)
        step, rate, halted = control[STEP], RATES, False
        for first in range(control[FIRST_ROW], control[LAST_ROW], control[BATCH]):
            last = min(first + control[BATCH], control[LAST_ROW])
            worker = (rank, team)
            batch = (first, last, step, numbers[rate], numbers[rate + MOST_BATCHES])
            if not train_batch(program, memory, numbers, plan, control, X, targets, weights, order, batch, worker):
                halted = True
                break
            step += 1
            rate += 1
        if helper == 0:
            control[STEP] = step  # all of the team have read it
            if halted or control[EPOCHS] == 0 or epoch_ends(memory, numbers, plan, control, curve, epoch):
                result = smallest
            epoch += 1
        else:
            atomic_swap_if(control, state, GO, IDLE)  # or it is STOP by now
    restore_mode(mode)
    return result
