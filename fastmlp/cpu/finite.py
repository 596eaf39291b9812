"""Whether parameters are finite."""

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import horizontal_sum, load, repeat, width


@kernel
def is_finite(memory, count):
    """Return whether memory[:count], whole registers, is finite: a number that is not gives NaN times 0."""
    zero, lanes = repeat(memory, 0.0), width(memory)
    total, other = zero, zero
    for i in range(0, count - lanes, 2 * lanes):
        total = total + load(memory, i) * zero
        other = other + load(memory, i + lanes) * zero
    if count // lanes % 2 == 1:
        total = total + load(memory, count - lanes) * zero
    return horizontal_sum(total + other) == 0.0
