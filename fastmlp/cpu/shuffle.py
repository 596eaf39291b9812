"""The order of rows, drawn in a kernel as `numpy.random.RandomState.shuffle` draws it.

The Mersenne Twister MT19937 of Matsumoto and Nishimura (1998). `generator` is a uint32 array: its state, then the place
in it of the next number.
"""

import numpy as np

from fastmlp.cpu.compile import ZERO, kernel

SIZE, SHIFT = 624, 397
_MATRIX, _UPPER, _LOWER = np.uint32(0x9908B0DF), np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_B, _C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
_1, _7, _11, _15, _18 = (np.uint32(shift) for shift in (1, 7, 11, 15, 18))
_ZERO = np.uint32(0)


@kernel
def twist(generator, first, last, distance):
    """Renew the state's words first to last; distance: of the words that they are mixed with."""
    for i in range(first, last):
        word = (generator[i] & _UPPER) | (generator[i + 1] & _LOWER)
        generator[i] = generator[i + distance] ^ (word >> _1) ^ ((_ZERO - (word & _1)) & _MATRIX)


@kernel
def renew(generator):
    """Renew all words of the state."""
    twist(generator, ZERO, SIZE - SHIFT, ZERO + SHIFT)
    twist(generator, SIZE - SHIFT, SIZE - 1, SHIFT - SIZE)
    word = (generator[SIZE - 1] & _UPPER) | (generator[0] & _LOWER)
    generator[SIZE - 1] = generator[SHIFT - 1] ^ (word >> _1) ^ ((_ZERO - (word & _1)) & _MATRIX)


@kernel
def shuffle(order, count, generator):
    """Shuffle order[:count] in place: for each place from the last down, swap with one drawn from those up to it.

    A number drawn with as many bits as the place has is thrown away if it is beyond the place. Which are cannot be
    foretold; so the place then swaps with itself, in place of a branch.
    """
    place, i = int(generator[SIZE]), count - 1
    mask = 1
    while mask < i:
        mask = 2 * mask + 1
    while i > 0:
        if mask >> 1 >= i:
            mask >>= 1
        if place == SIZE:
            renew(generator)
            place = 0
        word = generator[place]
        place += 1
        word ^= word >> _11
        word ^= (word << _7) & _B
        word ^= (word << _15) & _C
        word ^= word >> _18
        drawn = int(word) & mask
        taken = drawn <= i
        j = drawn if taken else i
        order[i], order[j] = order[j], order[i]
        i -= 1 if taken else 0
    generator[SIZE] = place
