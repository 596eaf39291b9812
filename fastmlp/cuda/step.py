"""Kernels: the steps of training in one launch, prediction, and the gradient by the inputs.

A step has two phases, as on the CPU: blocks share the rows of a batch for forward and backward, then all threads share
the parameters for gradient and update. Between the phases all wait for each other: the threads of one block, which has
a network for itself, or those of a whole grid. Nothing is added in an order that depends on time, so two runs give the
same bits; and the weights do not depend on the size of the grid, but by a bound of the gradient's norm.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastmlp.cuda.backward import backward
from fastmlp.cuda.compiler import block_sync, cuda, device, grid_sync, kernel, scalar_type
from fastmlp.cuda.forward import change_features, gather, make_forward, mix, record_of
from fastmlp.cuda.layout import (
    CAPACITY,
    ERROR,
    ERROR_BELOW,
    GROUP_ROWS,
    HEAD,
    IN_STRIDE,
    INPUT,
    INPUTS,
    LOSS,
    MEMORY,
    N_LAYERS,
    OUT_STRIDE,
    OUTPUT,
    OUTPUTS,
    OWN_TARGETS,
    ROWS,
    SEED,
    UPDATE,
)
from fastmlp.cuda.output import make_output_activation, make_output_error, make_row_loss
from fastmlp.cuda.parameters import add_gradients, make_update, squared_gradients
from fastmlp.cuda.program import ONLY_GRADIENT, Program
from fastmlp.formulas.random import random_bits

MOST_THREADS = 256  # of a block
DOUBLE = scalar_type(np.float64)
TEAM = 32  # threads that share a row as it is gathered

# the table at the beginning of `plans`, a row for each network: where its own part of each array begins, and how many
# steps it takes
PLAN, MEMORY_PLACE, ROWS_PLACE, ORDER_PLACE, NUMBERS_PLACE, RESULTS_PLACE, N_STEPS, PLACES = range(8)
# the head of a network's `numbers`
LOSS_PARAMETER, L1_RATIO, MAX_NORM, JITTER, DROPPED_FEATURES, GRADIENT_NORM, GOES_ON, HYPERPARAMETERS = range(8)
STEPS = HYPERPARAMETERS + 4
# and the record of a step: positions in the order, 1 / sum of the weights (0: no step), penalty, part of a mixed row
# that is its own, its number from 1 on, learning rate, six constants of the update
FIRST, LAST, SCALE, ALPHA, OWN_PART, NUMBER, RATE, CONSTANTS = range(8)
STEP_FIELDS = CONSTANTS + 6


@device
def worker_of(thread, threads):
    """Return (thread, threads, lane, lanes, team) of a thread of a block."""
    lanes = min(TEAM, threads)
    return thread, threads, thread % lanes, lanes, thread // lanes


def make_steps(program: Program, sync: Callable) -> Callable:
    """Return the device function that trains a network for some steps; sync: waits for all that share it."""
    forward, output_error = make_forward(program.activate_both), make_output_error(program)
    update, begin = make_update(program), program.begin

    @device
    def prepare(plan, numbers, n_steps, worker):
        """Compute the constants of all steps."""
        for step in range(worker[0], n_steps if plan[UPDATE] != ONLY_GRADIENT else 0, worker[1]):
            place = STEPS + step * STEP_FIELDS
            hyperparameters = (
                numbers[place + RATE],
                numbers[HYPERPARAMETERS + 1],
                numbers[HYPERPARAMETERS + 2],
                numbers[HYPERPARAMETERS + 3],
            )
            constants = begin(plan[UPDATE], hyperparameters, int(numbers[place + NUMBER]))
            for i in range(6):
                numbers[place + CONSTANTS + i] = constants[i]

    @device
    def norm_of_gradient(memory, plan, penalty, scale, results, sums, worker, everyone):
        """Return the norm of the batch's gradient, the same for all threads."""
        results[everyone[0]] = squared_gradients(memory, plan, penalty, scale, everyone)
        sync()
        thread, threads = worker[0], worker[1]
        total = 0.0
        for i in range(thread, everyone[1], threads):
            total += results[i]
        sums[thread] = total
        block_sync()
        total = 0.0
        for i in range(threads):
            total += sums[i]
        return total**0.5

    @device
    def train_rows(memory, rows, plan, data, numbers, step, start, span, scratch, worker):
        """Take rows of the batch through the network and back; returns the thread's part of their losses."""
        X, entries, targets, weights, order = data
        first, last, own = int(numbers[step + FIRST]), int(numbers[step + LAST]), numbers[step + OWN_PART]
        key = np.uint64(random_bits(np.uint64(plan[SEED]), np.uint64(numbers[step + NUMBER])))
        gather(rows, plan, X, entries, order, start, span, worker)
        if plan[OWN_TARGETS] > 0:
            mix(rows, plan, data, start, span, own, (first, last - first), worker)
        if numbers[JITTER] > 0.0 or numbers[DROPPED_FEATURES] > 0.0:
            change = (numbers[JITTER], numbers[DROPPED_FEATURES])
            change_features(rows, plan, start - first, span, key, change[0], change[1], worker)
        block_sync()
        forward(memory, rows, plan, start - first, span, key, worker)
        parameter = numbers[LOSS_PARAMETER]
        losses = output_error(rows, plan, targets, weights, order, start, span, parameter, scratch, worker)
        backward(memory, rows, plan, 1, span, worker)
        return losses

    @device
    def train_steps(memory, rows, plan, data, record, shared, worker, block):
        """Take all steps; returns the thread's part of the sum of the batches' mean losses times their rows.

        With GOES_ON it goes on from that of the launch before, so that the sum over an epoch, too, does not depend on
        how many launches there were.
        data: (X, entries, targets, weights, order); record: (numbers, results, how many steps); shared: arrays of a
        number for each thread of the block, of the type of `memory` and of float64; block: (its number, how many share
        the network).
        """
        (numbers, results, n_steps), (scratch, sums) = record, shared
        everyone = (block[0] * worker[1] + worker[0], block[1] * worker[1])
        total = results[everyone[0]] if numbers[GOES_ON] > 0.0 else 0.0
        prepare(plan, numbers, n_steps, everyone)
        sync()
        group_rows, capacity = plan[GROUP_ROWS], plan[CAPACITY]
        for number in range(n_steps):
            step = STEPS + number * STEP_FIELDS
            first, last, scale = int(numbers[step + FIRST]), int(numbers[step + LAST]), numbers[step + SCALE]
            if not scale > 0.0:
                continue
            penalty = (numbers[step + ALPHA], numbers[L1_RATIO], scale)
            c = step + CONSTANTS
            constants = (numbers[c], numbers[c + 1], numbers[c + 2], numbers[c + 3], numbers[c + 4], numbers[c + 5])
            losses = 0.0
            for start in range(first, last, capacity):
                n_rows = min(capacity, last - start)
                for group in range(block[0], (n_rows + group_rows - 1) // group_rows, block[1]):
                    span = (group * group_rows, min(n_rows, (group + 1) * group_rows))
                    losses += train_rows(memory, rows, plan, data, numbers, step, start, span, scratch, worker)
                sync()
                add_gradients(memory, rows, plan, n_rows, start == first, everyone)
                if start + capacity < last:
                    sync()
            if numbers[MAX_NORM] > 0.0:
                sync()
                norm = norm_of_gradient(memory, plan, penalty, scale, results, sums, worker, everyone)
                if everyone[0] == 0:
                    numbers[GRADIENT_NORM] = norm
                scale = scale * (numbers[MAX_NORM] / norm) if norm > numbers[MAX_NORM] else scale
            losses += update(memory, plan, penalty, scale, constants, everyone)
            total += losses * numbers[step + SCALE] * (last - first)
            sync()
        return total

    return train_steps


@functools.cache
def make_train(program: Program, dtype: np.dtype, kind: str) -> Callable:
    """Return the kernel that trains: networks with a block each, or one network with a cooperative grid.

    kind: "shared", with a block's `memory` in shared memory; "block", without; "grid".

    The kernel's arguments: memory, rows, plans; X (n * features,) or the values of CSR rows; entries, where those begin
    and their columns; targets (n * columns,); weights (n,) or (0,); order; numbers; results, a number for each thread.
    """
    sync = grid_sync if kind == "grid" else block_sync
    train_steps = make_steps(program, sync)
    scalar = scalar_type(dtype)

    def train_in_grid(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch, sums = cuda.shared.array(MOST_THREADS, scalar), cuda.shared.array(MOST_THREADS, DOUBLE)
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        block = (cuda.blockIdx.x, cuda.gridDim.x)
        plan, n_steps = plans[plans[PLAN] :], plans[N_STEPS]
        data, record = (X, entries, targets, weights, order), (numbers, results, n_steps)
        total = train_steps(memory, rows, plan, data, record, (scratch, sums), worker, block)
        results[cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x] = total

    def train_in_block(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch, sums = cuda.shared.array(MOST_THREADS, scalar), cuda.shared.array(MOST_THREADS, DOUBLE)
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        place = cuda.blockIdx.x * PLACES
        plan, n_steps = plans[plans[place + PLAN] :], plans[place + N_STEPS]
        own_results = results[plans[place + RESULTS_PLACE] :]
        data = (X, entries, targets, weights, order[plans[place + ORDER_PLACE] :])
        record = (numbers[plans[place + NUMBERS_PLACE] :], own_results, n_steps)
        own_memory, own_rows = memory[plans[place + MEMORY_PLACE] :], rows[plans[place + ROWS_PLACE] :]
        own_results[worker[0]] = train_steps(own_memory, own_rows, plan, data, record, (scratch, sums), worker, (0, 1))

    def train_in_shared_memory(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch, sums = cuda.shared.array(MOST_THREADS, scalar), cuda.shared.array(MOST_THREADS, DOUBLE)
        own_memory = cuda.shared.array(0, scalar)
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        place = cuda.blockIdx.x * PLACES
        plan, n_steps = plans[plans[place + PLAN] :], plans[place + N_STEPS]
        first, own_results = plans[place + MEMORY_PLACE], results[plans[place + RESULTS_PLACE] :]
        for i in range(worker[0], plan[MEMORY], worker[1]):
            own_memory[i] = memory[first + i]
        data = (X, entries, targets, weights, order[plans[place + ORDER_PLACE] :])
        record, own_rows = (
            (numbers[plans[place + NUMBERS_PLACE] :], own_results, n_steps),
            rows[plans[place + ROWS_PLACE] :],
        )
        block_sync()
        own_results[worker[0]] = train_steps(own_memory, own_rows, plan, data, record, (scratch, sums), worker, (0, 1))
        for i in range(worker[0], plan[MEMORY], worker[1]):
            memory[first + i] = own_memory[i]

    train = {"grid": train_in_grid, "block": train_in_block, "shared": train_in_shared_memory}[kind]
    return kernel(train, program.name, np.dtype(dtype).name)


ACTIVATED, RAW, HIDDEN = range(3)  # what `predict` gives


@functools.cache
def make_predict(program: Program, dtype: np.dtype) -> Callable:
    """Return the kernel of prediction: out (n * columns,) <- outputs, activated or raw, or the last hidden layer.

    Blocks take rows in turn, each with a place of its own in `rows`.
    """
    activate = program.activate

    @device
    def both(code, z):
        a = activate(code, z)
        return a, a

    forward, output_activation = make_forward(both), make_output_activation(program)
    scalar = scalar_type(dtype)

    def predict(out, memory, rows, plan, X, entries, order, n_rows, what):
        scratch = cuda.shared.array(MOST_THREADS, scalar)
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        own = rows[cuda.blockIdx.x * plan[ROWS] :]
        layer = record_of(plan[N_LAYERS] - 1)
        columns, stride, place = plan[layer + OUTPUTS], plan[layer + OUT_STRIDE], plan[layer + OUTPUT]
        if what == HIDDEN:
            columns, stride, place = plan[layer + INPUTS], plan[layer + IN_STRIDE], plan[layer + INPUT]
        group_rows, teams = plan[GROUP_ROWS], worker[1] // worker[3]
        for first in range(cuda.blockIdx.x * group_rows, n_rows, cuda.gridDim.x * group_rows):
            span = (0, min(group_rows, n_rows - first))
            gather(own, plan, X, entries, order, first, span, worker)
            block_sync()
            forward(memory, own, plan, 0, span, np.uint64(0), worker)
            if what == ACTIVATED:
                output_activation(own, plan, span, scratch, worker)
            for row in range(worker[4], span[1], teams):
                for column in range(worker[2], columns, worker[3]):
                    out[(first + row) * columns + column] = own[place + row * stride + column]
            block_sync()

    return kernel(predict, program.name, np.dtype(dtype).name)


@functools.cache
def make_input_gradient(program: Program) -> Callable:
    """Return the kernel that takes errors (n * outputs,) of the outputs' preactivations back to the inputs."""
    forward = make_forward(program.activate_both)

    def input_gradient(out, memory, rows, plan, X, entries, order, errors, n_rows):
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        own = rows[cuda.blockIdx.x * plan[ROWS] :]
        layer = record_of(plan[N_LAYERS] - 1)
        outputs, stride, place = plan[layer + OUTPUTS], plan[layer + OUT_STRIDE], plan[layer + ERROR]
        inputs, in_stride, below = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + ERROR_BELOW]
        group_rows, teams = plan[GROUP_ROWS], worker[1] // worker[3]
        for first in range(cuda.blockIdx.x * group_rows, n_rows, cuda.gridDim.x * group_rows):
            span = (0, min(group_rows, n_rows - first))
            gather(own, plan, X, entries, order, first, span, worker)
            for row in range(worker[4], span[1], teams):
                for unit in range(worker[2], stride, worker[3]):
                    e = errors[(first + row) * outputs + unit] if unit < outputs else errors.dtype.type(0)
                    own[place + row * stride + unit] = e
            block_sync()
            forward(memory, own, plan, 0, span, np.uint64(0), worker)
            backward(memory, own, plan, 0, span, worker)
            for row in range(worker[4], span[1], teams):
                for column in range(worker[2], inputs, worker[3]):
                    out[(first + row) * inputs + column] = own[below + row * in_stride + column]
            block_sync()

    return kernel(input_gradient, program.name)


@functools.cache
def make_sum_losses(program: Program) -> Callable:
    """Return the kernel of the losses of rows from their outputs (n * outputs,).

    results (2 * threads,) <- each thread's sum of the losses times weights, and of the weights.
    """
    row_loss = make_row_loss(program)

    def sum_losses(results, output, plan, targets, weights, n_rows, n_outputs, columns, parameter):
        loss, weight_sum = 0.0, 0.0
        thread, threads = cuda.grid(1), cuda.gridsize(1)
        for row in range(thread, n_rows, threads):
            weight = weights[row] if weights.size > 0 else output.dtype.type(1)
            place = row * n_outputs
            loss += weight * row_loss(plan[LOSS], output, place, targets, row * columns, n_outputs, parameter, 0, 1)
            weight_sum += weight
        results[thread] = loss
        results[threads + thread] = weight_sum

    return kernel(sum_losses, program.name)


@kernel
def find_not_finite(flag, memory, size):
    """flag[0] <- 1 if one of the first numbers is not finite."""
    for i in range(cuda.grid(1), size, cuda.gridsize(1)):
        if math.isnan(memory[i]) or math.isinf(memory[i]):
            flag[0] = 1
