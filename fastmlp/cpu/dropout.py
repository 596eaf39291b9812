"""Dropout: hidden units that are silent for a row, drawn anew for each row and step."""

import numpy as np

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.lanes import load, repeat, store, width
from fastmlp.cpu.layout import DROPPED, ERROR, OUT_PANELS, OUTPUT, ROW_STRIDE, SLOPE
from fastmlp.formulas.elementary import where_positive
from fastmlp.formulas.random import RESOLUTION, random_bits, uniform

MOST_UNITS = np.uint64(1 << 20)  # of a layer, with random numbers of their own


@inlined
def key_of_step(seed, step):
    """Return the key of all random numbers of a step."""
    return random_bits(np.uint64(seed), np.uint64(step))


@kernel
def fill_uniform(memory, place, rows, first_unit, key):
    """memory[place...]: [rows][lanes] <- uniform numbers of rows[0] to rows[1] of a batch, units from first_unit on."""
    lanes = np.uint64(width(memory))
    count = np.uint64(rows[1] - rows[0]) * lanes
    for i in range(count):
        row, unit = np.uint64(rows[0]) + i // lanes, np.uint64(first_unit) + i % lanes
        memory[np.uint64(place) + i] = uniform(key, row * MOST_UNITS + unit)


@kernel
def drop(memory, plan, layer, span, first_row, key):
    """Multiply activations of a layer's rows span[0] to span[1], and their slopes, by 0 or 1 / (1 - rate).

    first_row: of the block in its batch. The random numbers lie where the errors will.
    """
    if plan[layer + DROPPED] == 0:
        return
    rate = plan[layer + DROPPED] * (1.0 / RESOLUTION)
    lanes, slope = width(memory), plan[layer + SLOPE]
    scale, zero = repeat(memory, 1.0 / (1.0 - rate)), repeat(memory, 0.0)
    rows = (first_row + span[0], first_row + span[1])
    for panel in range(plan[layer + OUT_PANELS]):
        start = panel * plan[ROW_STRIDE] + span[0] * lanes
        chance, place = plan[layer + ERROR] + start, plan[layer + OUTPUT] + start
        fill_uniform(memory, chance, rows, panel * lanes, key)
        for i in range(0, (span[1] - span[0]) * lanes, lanes):
            factor = where_positive(load(memory, chance + i) - rate, scale, zero)
            store(memory, place + i, load(memory, place + i) * factor)
            store(memory, place + slope + i, load(memory, place + slope + i) * factor)


@kernel
def drop_nothing(memory, plan, layer, span, first_row, key):
    """Nothing: for a program without dropout."""
