"""The norm of a batch's gradient, and its bound."""

import math

from fastmlp.cpu.compile import ZERO, kernel
from fastmlp.cpu.layout import TILES
from fastmlp.cpu.parameters import DECOUPLED, NORM, UPDATE_ONLY, take_tiles
from fastmlp.cpu.step import GRADIENT_NORM, MAX_NORM, PENALTIES, UPDATE, barrier, ordered_sum


@kernel
def clipped_scale(program, memory, numbers, plan, control, penalty, sums, worker):
    """Return sums[0], smaller where the gradient times it would be longer than numbers[MAX_NORM].

    All of a team call it with complete gradients; each takes the squares of some tiles, and the sum of all in order.
    Of an update whose decay is decoupled, the penalty is no part of the gradient.
    """
    alpha = penalty[0] * (1 - ((DECOUPLED >> control[UPDATE]) & 1))
    first = PENALTIES + plan[TILES]
    norms = numbers[first : first + plan[TILES]]
    update = (ZERO + NORM, (alpha, penalty[1], penalty[2]))
    take_tiles(program, memory, norms, plan, ZERO, UPDATE_ONLY, update, sums, worker, ZERO)
    barrier(control, worker[1])
    norm = math.sqrt(ordered_sum(norms, ZERO, norms.size))
    if worker[0] == 0:
        numbers[GRADIENT_NORM] = norm
    return sums[0] * (numbers[MAX_NORM] / norm) if norm > numbers[MAX_NORM] else sums[0]


@kernel
def same_scale(program, memory, numbers, plan, control, penalty, sums, worker):
    """Return sums[0]: for a program without a bound of the norm."""
    return sums[0]
