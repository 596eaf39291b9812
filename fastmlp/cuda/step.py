"""Kernels: the steps of training in one launch, prediction, and the gradient by the inputs.

A step has two phases, as on the CPU: blocks share the rows of a batch for forward and backward, then they share the
parameters for gradient and update. Between the phases all wait for each other: the threads of one block, which has a
network for itself, or those of a whole grid. Nothing is added in an order that depends on time, so two runs give the
same bits; and the weights do not depend on the size of the grid, but by a bound of the gradient's norm.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from fastmlp.cuda.backward import make_backward
from fastmlp.cuda.compiler import (
    ALIGNMENT,
    block_sync,
    cuda,
    device,
    global_memory,
    grid_sync,
    kernel,
    scalar_type,
    shared_memory,
)
from fastmlp.cuda.forward import gather, make_forward, record_of
from fastmlp.cuda.large import PITCH, SQUARE, make_tile_phases
from fastmlp.cuda.layout import (
    CAPACITY,
    ERROR,
    ERROR_BELOW,
    GROUP_ROWS,
    GROUPS,
    HEAD,
    IN_STRIDE,
    INPUT,
    INPUTS,
    LOSS,
    MEMORY,
    N_GROUPS,
    N_LAYERS,
    OUT_STRIDE,
    OUTPUT,
    OUTPUTS,
    ROWS,
    SEED,
    UPDATE,
)
from fastmlp.cuda.output import make_output_activation, make_row_loss
from fastmlp.cuda.parameters import squared_gradients
from fastmlp.cuda.phases import Phases, everyone_of, make_row_phases, worker_of
from fastmlp.cuda.products import SPREAD
from fastmlp.cuda.program import ONLY_GRADIENT, Program
from fastmlp.cuda.tensor import make_multiplier
from fastmlp.cuda.tiles import Tile, words_of
from fastmlp.formulas.random import random_bits

MOST_THREADS = 256  # of a block
DOUBLE, INTEGER = scalar_type(np.float64), scalar_type(np.int64)

# the table at the beginning of `plans`, a row for each network: where its own part of each array begins, and how many
# steps it takes
PLAN, MEMORY_PLACE, ROWS_PLACE, ORDER_PLACE, NUMBERS_PLACE, RESULTS_PLACE, N_STEPS, PLACES = range(8)
# the head of a network's `numbers`
LOSS_PARAMETER, L1_RATIO, MAX_NORM, JITTER, DROPPED_FEATURES, GRADIENT_NORM, GOES_ON, HYPERPARAMETERS = range(8)
STEPS = HYPERPARAMETERS + 4
# and the record of a step: positions in the order, 1 / sum of the weights (0: no step), penalty, part of a mixed row
# that is its own, its number from 1 on, learning rate, number of the epoch from 1 on if it is its last step, six
# constants of the update
FIRST, LAST, SCALE, ALPHA, OWN_PART, NUMBER, RATE, EPOCH, CONSTANTS = range(9)
STEP_FIELDS = CONSTANTS + 6


def make_steps(begin: Callable, phases: Phases, sync: Callable) -> Callable:
    """Return the device function that trains a network for some steps.

    begin: of a program; sync: waits for all that share the network.
    """
    through, gradients, update = phases

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
    def end_epoch(total, epoch, results, sums, worker, block):
        """Store a block's part of the losses of an epoch; returns what the next one begins with."""
        thread, threads = worker[0], worker[1]
        block_sync()  # another thread may still add up the norm of the gradient
        sums[thread] = total
        block_sync()
        if thread == 0:
            total = 0.0
            for i in range(threads):
                total += sums[i]
            results[block[1] * (threads + epoch - 1) + block[0]] = total
        return 0.0

    @device
    def train_steps(memory, rows, plan, data, record, shared, worker, block):
        """Take all steps; returns the thread's part of the losses of an epoch that is not over.

        The loss of an epoch is the sum of the batches' mean losses times their rows; of each block, one after another,
        it is behind those of the threads in `results`. With GOES_ON a launch goes on from what the threads had after
        the one before, so that the sum does not depend on how many launches there were.
        data: (X, entries, targets, weights, order); record: (numbers, results, how many steps); shared: see `Phases`;
        block: (its number, how many share the network).
        """
        numbers, results, n_steps = record
        everyone = everyone_of(worker, block)
        total = results[everyone[0]] if numbers[GOES_ON] > 0.0 else 0.0
        prepare(plan, numbers, n_steps, everyone)
        sync()
        capacity = plan[CAPACITY]
        number = 0
        while number < n_steps:  # with fewer registers than a range
            step = STEPS + number * STEP_FIELDS
            number += 1
            first, last = int(numbers[step + FIRST]), int(numbers[step + LAST])
            if not numbers[step + SCALE] > 0.0:
                if numbers[step + EPOCH] > 0.0:
                    total = end_epoch(total, int(numbers[step + EPOCH]), results, shared[1], worker, block)
                    block_sync()
                continue
            key = np.uint64(random_bits(np.uint64(plan[SEED]), np.uint64(numbers[step + NUMBER])))
            batch = (first, last, key, numbers[step + OWN_PART], numbers[JITTER], numbers[DROPPED_FEATURES])
            losses, parameter = 0.0, numbers[LOSS_PARAMETER]
            start = first
            while start < last:
                n_rows = min(capacity, last - start)
                losses += through(memory, rows, plan, data, batch, start, n_rows, parameter, shared, worker, block)
                sync()
                gradients(memory, rows, plan, n_rows, start == first, shared, worker, block)
                start += capacity
                if start < last:
                    sync()
            # read here, so that no register holds them before
            scale = numbers[step + SCALE]
            penalty = (numbers[step + ALPHA], numbers[L1_RATIO], scale)
            c = step + CONSTANTS
            constants = (numbers[c], numbers[c + 1], numbers[c + 2], numbers[c + 3], numbers[c + 4], numbers[c + 5])
            if numbers[MAX_NORM] > 0.0:
                sync()
                norm = norm_of_gradient(memory, plan, penalty, scale, results, shared[1], worker, everyone)
                if everyone[0] == 0:
                    numbers[GRADIENT_NORM] = norm
                scale = scale * (numbers[MAX_NORM] / norm) if norm > numbers[MAX_NORM] else scale
            losses += update(memory, plan, penalty, scale, constants, shared, worker, block)
            total += losses * numbers[step + SCALE] * (last - first)
            if numbers[step + EPOCH] > 0.0:
                total = end_epoch(total, int(numbers[step + EPOCH]), results, shared[1], worker, block)
            sync()
        return total

    return train_steps


@functools.cache
def make_train(program: Program, dtype: np.dtype, kind: str, tile: Tile | None = None) -> Callable:
    """Return the kernel that trains: networks with a block each, or one network with a cooperative grid.

    kind: "shared", with a block's `memory` in shared memory; "block", without; "grid", where blocks share rows;
    "large", where they share the tiles of each product, computed as `tile` says.

    The kernel's arguments: memory, rows, plans; X (n * features,) or the values of CSR rows; entries, where those begin
    and their columns; targets (n * columns,); weights (n,) or (0,); order; numbers; results, a number for each thread,
    then one for each block and epoch.
    """
    scalar = scalar_type(dtype)
    if kind == "large":
        multiplier = make_multiplier(tile, dtype)
        phases = make_tile_phases(program, tile, multiplier, grid_sync)
        n_words, word = words_of(tile, multiplier), scalar_type(multiplier.word)
    else:
        phases = make_row_phases(program, grid=kind == "grid")
    train_steps = make_steps(program.begin, phases, grid_sync if kind in ("grid", "large") else block_sync)

    @device
    def copy_plan(near, plan, worker):
        """Copy a plan into shared memory, which no wait of a grid takes from a block."""
        for i in range(worker[0], plan[GROUPS] + plan[N_GROUPS], worker[1]):
            near[i] = plan[i]
        block_sync()

    @device
    def data_of(X, entries, targets, weights, order):
        """Return pointers to what is known of the rows."""
        return (
            global_memory(X),
            global_memory(entries),
            global_memory(targets),
            global_memory(weights),
            global_memory(order),
        )

    def train_in_grid(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch = cuda.shared.array(SPREAD, scalar, ALIGNMENT)  # two on one line would be one in the simulator
        sums = cuda.shared.array(MOST_THREADS, DOUBLE)
        plan = shared_memory(cuda.shared.array(0, INTEGER))
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        copy_plan(plan, global_memory(plans[plans[PLAN] :]), worker)
        record = (global_memory(numbers), global_memory(results), plans[N_STEPS])
        shared = (shared_memory(scratch), shared_memory(sums))
        data, block = data_of(X, entries, targets, weights, order), (cuda.blockIdx.x, cuda.gridDim.x)
        total = train_steps(global_memory(memory), global_memory(rows), plan, data, record, shared, worker, block)
        results[cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x] = total

    def train_large(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch = cuda.shared.array(MOST_THREADS, scalar)
        sums = cuda.shared.array(MOST_THREADS, DOUBLE)
        square = cuda.shared.array((SQUARE, PITCH), scalar)
        words = cuda.shared.array(n_words, word, ALIGNMENT)
        plan = shared_memory(cuda.shared.array(0, INTEGER))
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        copy_plan(plan, global_memory(plans[plans[PLAN] :]), worker)
        record = (global_memory(numbers), global_memory(results), plans[N_STEPS])
        shared = (shared_memory(scratch), shared_memory(sums), square, shared_memory(words))
        data, block = data_of(X, entries, targets, weights, order), (cuda.blockIdx.x, cuda.gridDim.x)
        total = train_steps(global_memory(memory), global_memory(rows), plan, data, record, shared, worker, block)
        results[cuda.blockIdx.x * cuda.blockDim.x + cuda.threadIdx.x] = total

    def train_in_block(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch = cuda.shared.array(MOST_THREADS, scalar)  # two on one line would be one in the simulator
        sums = cuda.shared.array(MOST_THREADS, DOUBLE)
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        place = cuda.blockIdx.x * PLACES
        plan, own_results = global_memory(plans[plans[place + PLAN] :]), results[plans[place + RESULTS_PLACE] :]
        own_memory = global_memory(memory[plans[place + MEMORY_PLACE] :])
        own_rows, own_numbers = rows[plans[place + ROWS_PLACE] :], numbers[plans[place + NUMBERS_PLACE] :]
        data = data_of(X, entries, targets, weights, order[plans[place + ORDER_PLACE] :])
        record = (global_memory(own_numbers), global_memory(own_results), plans[place + N_STEPS])
        shared = (shared_memory(scratch), shared_memory(sums))
        total = train_steps(own_memory, global_memory(own_rows), plan, data, record, shared, worker, (0, 1))
        own_results[worker[0]] = total

    def train_in_shared_memory(memory, rows, plans, X, entries, targets, weights, order, numbers, results):
        scratch = cuda.shared.array(MOST_THREADS, scalar)  # two on one line would be one in the simulator
        sums = cuda.shared.array(MOST_THREADS, DOUBLE)
        own_memory = shared_memory(cuda.shared.array(0, scalar))
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        place = cuda.blockIdx.x * PLACES
        plan, own_results = global_memory(plans[plans[place + PLAN] :]), results[plans[place + RESULTS_PLACE] :]
        far_memory = global_memory(memory[plans[place + MEMORY_PLACE] :])
        own_rows, own_numbers = rows[plans[place + ROWS_PLACE] :], numbers[plans[place + NUMBERS_PLACE] :]
        for i in range(worker[0], plan[MEMORY], worker[1]):
            own_memory[i] = far_memory[i]
        data = data_of(X, entries, targets, weights, order[plans[place + ORDER_PLACE] :])
        record = (global_memory(own_numbers), global_memory(own_results), plans[place + N_STEPS])
        shared = (shared_memory(scratch), shared_memory(sums))
        block_sync()
        total = train_steps(own_memory, global_memory(own_rows), plan, data, record, shared, worker, (0, 1))
        own_results[worker[0]] = total
        for i in range(worker[0], plan[MEMORY], worker[1]):
            far_memory[i] = own_memory[i]

    words = (program.name, np.dtype(dtype).name)
    if kind == "large":
        return kernel(train_large, *words, tile, launch_bounds=tile.threads)
    train = {"grid": train_in_grid, "block": train_in_block, "shared": train_in_shared_memory}[kind]
    return kernel(train, *words)


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
        scratch = shared_memory(cuda.shared.array(MOST_THREADS, scalar))
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        own, weights = global_memory(rows[cuda.blockIdx.x * plan[ROWS] :]), global_memory(memory)
        given = (global_memory(X), global_memory(entries), global_memory(order))
        plan = global_memory(plan)
        layer = record_of(plan[N_LAYERS] - 1)
        columns, stride, place = plan[layer + OUTPUTS], plan[layer + OUT_STRIDE], plan[layer + OUTPUT]
        if what == HIDDEN:
            columns, stride, place = plan[layer + INPUTS], plan[layer + IN_STRIDE], plan[layer + INPUT]
        group_rows, teams = plan[GROUP_ROWS], worker[1] // worker[3]
        for first in range(cuda.blockIdx.x * group_rows, n_rows, cuda.gridDim.x * group_rows):
            span = (0, min(group_rows, n_rows - first))
            gather(own, plan, *given, first, span, worker)
            block_sync()
            forward(weights, own, plan, 0, span, np.uint64(0), scratch, worker)
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
    forward, backward = make_forward(program.activate_both), make_backward()

    def input_gradient(out, memory, rows, plan, X, entries, order, errors, n_rows):
        worker = worker_of(cuda.threadIdx.x, cuda.blockDim.x)
        own, weights = global_memory(rows[cuda.blockIdx.x * plan[ROWS] :]), global_memory(memory)
        given = (global_memory(X), global_memory(entries), global_memory(order))
        plan = global_memory(plan)
        layer = record_of(plan[N_LAYERS] - 1)
        outputs, stride, place = plan[layer + OUTPUTS], plan[layer + OUT_STRIDE], plan[layer + ERROR]
        inputs, in_stride, below = plan[HEAD + INPUTS], plan[HEAD + IN_STRIDE], plan[HEAD + ERROR_BELOW]
        group_rows, teams = plan[GROUP_ROWS], worker[1] // worker[3]
        for first in range(cuda.blockIdx.x * group_rows, n_rows, cuda.gridDim.x * group_rows):
            span = (0, min(group_rows, n_rows - first))
            gather(own, plan, *given, first, span, worker)
            for row in range(worker[4], span[1], teams):
                for unit in range(worker[2], stride, worker[3]):
                    e = errors[(first + row) * outputs + unit] if unit < outputs else errors.dtype.type(0)
                    own[place + row * stride + unit] = e
            block_sync()
            forward(weights, own, plan, 0, span, np.uint64(0), own, worker)  # no sums are shared
            backward(weights, own, plan, 0, span, own, worker)
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
