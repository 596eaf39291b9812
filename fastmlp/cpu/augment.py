"""Changes to the rows of a step as they are gathered: noise, features left out, mixed rows, users' own."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import OPTIONS, kernel
from fastmlp.cpu.dropout import MOST_UNITS, fill_uniform
from fastmlp.cpu.elementwise import call_at
from fastmlp.cpu.lanes import keep_first, load, load_first, repeat, store, store_first, width
from fastmlp.cpu.layout import CHANGE, ERROR, HEAD, INPUT, INPUTS, OWN_TARGETS, OWN_WEIGHTS, ROW_STRIDE, SCRATCH
from fastmlp.cpu.multiply import parts_of
from fastmlp.formulas.elementary import where_positive
from fastmlp.formulas.random import normal_quantile, random_bits, uniform

# hidden layers have those from 0 on
JITTER_STREAM, DROP_STREAM, CHANGE_STREAM = (np.uint64((1 << 32) + i) for i in range(3))


@kernel
def mix_rows(memory, plan, X, targets, weights, order, span, part):
    """Mix rows span[0] to span[1], their targets and weights with those of the next row of the block.

    Of a row, `part` stays its own: Zhang, Cisse, Dauphin and Lopez-Paz (2017).
    """
    lanes, features, place = width(memory), X.shape[1], plan[HEAD + INPUT]
    columns = targets.size // X.shape[0]
    mine, others = repeat(memory, part), repeat(memory, 1.0 - part)
    for row in range(span[0], span[1]):
        one, other = order[row], order[(row + 1) % order.size]
        for first in range(0, features, lanes):
            i = place + first // lanes * plan[ROW_STRIDE] + row * lanes
            x = load_first(X, other * features + first, min(lanes, features - first))
            store(memory, i, load(memory, i) * mine + x * others)
        for first in range(0, columns, lanes):
            count = min(lanes, columns - first)
            y = load_first(targets, one * columns + first, count) * mine
            y = y + load_first(targets, other * columns + first, count) * others
            store_first(memory, plan[OWN_TARGETS] + row * columns + first, y, count)
        if weights.size > 0:
            memory[plan[OWN_WEIGHTS] + row] = part * weights[one] + (1.0 - part) * weights[other]


@kernel
def change_features(memory, plan, span, first_row, key, jitter, dropped):
    """Add noise of deviation `jitter` to the features of rows span[0] to span[1]; set the part `dropped` to 0.

    The random numbers lie where the first layer's errors will.
    """
    lanes, features = width(memory), plan[HEAD + INPUTS]
    size, chance = (span[1] - span[0]) * lanes, plan[HEAD + ERROR] + span[0] * lanes
    rows = (first_row + span[0], first_row + span[1])
    zero = repeat(memory, 0.0)
    for panel in range(parts_of(features, lanes)):
        start = plan[HEAD + INPUT] + panel * plan[ROW_STRIDE] + span[0] * lanes
        count = min(lanes, features - panel * lanes)
        if jitter > 0.0:
            fill_uniform(memory, chance, rows, panel * lanes, random_bits(key, JITTER_STREAM))
            for i in range(0, size, lanes):
                noise = normal_quantile(load(memory, chance + i)) * jitter
                store(memory, start + i, load(memory, start + i) + keep_first(noise, count, 0.0))
        if dropped > 0.0:
            fill_uniform(memory, chance, rows, panel * lanes, random_bits(key, DROP_STREAM))
            for i in range(0, size, lanes):
                kept = where_positive(load(memory, chance + i) - dropped, load(memory, start + i), zero)
                store(memory, start + i, kept)


@kernel
def change_rows(memory, plan, span, first_row, key, thread):
    """Take each of the rows span[0] to span[1] out of its panels, to a user's function, and back.

    A row whose function raises an exception becomes NaN.
    """
    lanes, features, place = width(memory), plan[HEAD + INPUTS], plan[HEAD + INPUT]
    start = plan[SCRATCH] + thread * 2 * features
    scratch = memory[start : start + 2 * features]
    stream = random_bits(key, CHANGE_STREAM)
    for row in range(span[0], span[1]):
        count = np.uint64(first_row + row) * MOST_UNITS
        for feature in range(features):
            scratch[feature] = memory[place + feature // lanes * plan[ROW_STRIDE] + row * lanes + feature % lanes]
            scratch[features + feature] = uniform(stream, count + np.uint64(feature))
        failed = call_at(plan[CHANGE], scratch, 0, 2 * features, features)
        for feature in range(features):
            value = scratch[feature] * math.nan if failed else scratch[feature]
            memory[place + feature // lanes * plan[ROW_STRIDE] + row * lanes + feature % lanes] = value


def augment(memory, plan, X, targets, weights, order, span, chance, changes):
    """Change the gathered rows span[0] to span[1].

    chance: (first row of the block in its batch, key of the step's random numbers, thread); changes: (part that stays a
    row's own, jitter, part dropped). CSR rows are not gathered and stay as they are.
    """


@overload(augment, jit_options=OPTIONS)
def _augment(memory, plan, X, targets, weights, order, span, chance, changes):
    if isinstance(X, types.BaseTuple):
        return lambda memory, plan, X, targets, weights, order, span, chance, changes: None

    def change(memory, plan, X, targets, weights, order, span, chance, changes):
        if plan[OWN_TARGETS] > 0:
            mix_rows(memory, plan, X, targets, weights, order, span, changes[0])
        if plan[CHANGE] != 0:
            change_rows(memory, plan, span, chance[0], chance[1], chance[2])
        if changes[1] > 0.0 or changes[2] > 0.0:
            change_features(memory, plan, span, chance[0], chance[1], changes[1], changes[2])

    return change


@kernel
def augment_rows(memory, plan, X, targets, weights, order, span, chance, changes):
    """As `augment`, for a program that has it."""
    augment(memory, plan, X, targets, weights, order, span, chance, changes)


@kernel
def keep_rows(memory, plan, X, targets, weights, order, span, chance, changes):
    """Nothing: for a program without augmentation."""
