"""The order of rows, drawn in a kernel as `numpy.random.RandomState.shuffle` draws it.

The Mersenne Twister MT19937 of Matsumoto and Nishimura (1998). `generator` is a uint32 array: its state, then the place
in it of the next number, then the numbers that it gives.
"""

import numpy as np

from fastmlp.cpu.compile import kernel

SIZE = 624
_PLACE, _NUMBERS, _GENERATOR_SIZE = SIZE, SIZE + 1, 2 * SIZE + 1
_MATRIX, _UPPER, _LOWER = np.uint32(0x9908B0DF), np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_B, _C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
_1, _7, _11, _15, _18 = (np.uint32(shift) for shift in (1, 7, 11, 15, 18))
_ZERO = np.uint32(0)
# with indices that cannot be negative LLVM makes vectors of the loops over the state
_NEXT, _FIRST, _SHIFT, _LAST, _OF_NUMBERS = (np.uint64(index) for index in (1, 0, 397, SIZE - 1, _NUMBERS))
_BEFORE = _LAST + _NEXT - _SHIFT


def room_for_numbers(generator: np.ndarray) -> np.ndarray:
    """Return a generator's state and place with room for what it gives."""
    return np.concatenate((generator, np.zeros(_GENERATOR_SIZE - generator.size, np.uint32)))


@kernel
def twist(generator, i, following, mixed):
    """Renew word i of the state."""
    word = (generator[i] & _UPPER) | (generator[following] & _LOWER)
    generator[i] = generator[mixed] ^ (word >> _1) ^ ((_ZERO - (word & _1)) & _MATRIX)


@kernel
def renew(generator):
    """Renew all words of the state."""
    for i in range(_BEFORE):
        twist(generator, i, i + _NEXT, i + _SHIFT)
    for i in range(_SHIFT - _NEXT):
        twist(generator, i + _BEFORE, i + _BEFORE + _NEXT, i)
    twist(generator, _LAST, _FIRST, _SHIFT - _NEXT)


@kernel
def temper(generator):
    """Make the numbers of all words."""
    for i in range(_LAST + _NEXT):
        word = generator[i]
        word ^= word >> _11
        word ^= (word << _7) & _B
        word ^= (word << _15) & _C
        generator[i + _OF_NUMBERS] = word ^ (word >> _18)


@kernel
def shuffle(order, count, generator):
    """Shuffle order[:count] in place: for each place from the last down, swap with one drawn from those up to it.

    A number drawn with as many bits as the place has is thrown away if it is beyond the place. Which are cannot be
    foretold; so the place then swaps with itself, in place of a branch.
    """
    place, i = int(generator[_PLACE]), count - 1
    mask = 1
    while mask < i:
        mask = 2 * mask + 1
    temper(generator)
    while i > 0:
        if mask >> 1 >= i:
            mask >>= 1
        if place == SIZE:
            renew(generator)
            temper(generator)
            place = 0
        drawn = int(generator[_NUMBERS + place]) & mask
        place += 1
        taken = drawn <= i
        j = drawn if taken else i
        order[i], order[j] = order[j], order[i]
        i -= 1 if taken else 0
    generator[_PLACE] = place
