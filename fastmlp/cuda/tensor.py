"""Words multiplied by tensor cores: warps of 32 threads share the products of parts of 16 rows and 8 columns.

The precisions of numbers of float32, all of them with sums of float32:

float32
    Each number is a big and a small number of TF32, and three of their four products are summed, the small ones first:
    Ootomo and Yokota (2022), Recovering single precision accuracy from Tensor Cores while surpassing the FP32
    theoretical peak performance, arXiv:2203.03341.
tf32
    Numbers are rounded to 11 significant bits, the one that is not stored with them.
bfloat16
    Numbers are rounded to 8 significant bits; a word has two of them.
"""

import numpy as np

from fastmlp.cuda.compiler import SHARED, SIMULATED, block_sync, device, make_gather, make_store
from fastmlp.cuda.tiles import FMA, Multiplier, Tile, as_they_are, make_fma

PRECISIONS = ("float32", "tf32", "bfloat16")
WARP = 32  # threads

if SIMULATED:

    def round_to_tf32(number):
        """Return a number of float32 rounded to the 10 bits of a mantissa of TF32, halves away from zero."""
        number = np.float32(number)
        if not np.isfinite(number):
            return number
        return ((number.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)

    def cut_to_tf32(numbers):
        """Return numbers of float32 cut off after the 10 bits of a mantissa of TF32, as a tensor core takes them."""
        return (numbers.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)

    def _bfloat16(number):
        bits = int(np.float32(number).view(np.uint32))
        if np.isnan(number):
            return 0x7FFF
        return (bits + 0x7FFF + (bits >> 16 & 1)) >> 16

    def pack_bfloat16(low, high):
        """Return two numbers of float32, rounded to bfloat16, as a word."""
        return np.uint32(_bfloat16(high) << 16 | _bfloat16(low))

    def unpack_bfloat16(words):
        """Return the numbers of words (...,) as (..., 2)."""
        return np.stack([words << np.uint32(16), words & np.uint32(0xFFFF0000)], axis=-1).view(np.float32)

    EXCHANGED = {}  # fragments of all threads, and in place of those of a warp's first thread then its products

    def make_multiply_fragments(rows, columns, precision):
        """Return a twin of the instructions: all threads of a block lay down their fragments, one of a warp multiplies.

        Which row, column and depth a thread's words belong to is what the PTX ISA says of `mma.m16n8k8` for TF32, and
        of `mma.m16n8k16` for bfloat16, where a word has two numbers.
        """

        @np.errstate(invalid="ignore", over="ignore")
        def product(a, b):
            a = np.array(a).reshape(8, 4, rows, 2, 2).transpose(2, 4, 0, 3, 1).reshape(16 * rows, 8)
            b = np.array(b).reshape(8, 4, columns, 2).transpose(3, 1, 2, 0).reshape(8, 8 * columns)
            if precision == "bfloat16":
                a = unpack_bfloat16(a).reshape(16 * rows, 16)
                b = unpack_bfloat16(b).transpose(0, 2, 1).reshape(16, 8 * columns)
            elif precision == "float32":
                big_a, big_b = (np.vectorize(round_to_tf32, otypes=[np.float32])(x) for x in (a, b))
                small_a, small_b = map(cut_to_tf32, (a - big_a, b - big_b))
                return (small_a @ big_b + big_a @ small_b) + big_a @ big_b
            return a @ b

        def multiply_fragments(sums, a, b, thread):
            first = thread // WARP * WARP
            EXCHANGED[thread] = a, b
            block_sync()
            if thread == first:
                EXCHANGED[first] = product(*zip(*(EXCHANGED[first + lane] for lane in range(WARP)), strict=True))
            block_sync()
            group, place = thread % WARP // 4, thread % 4
            parts = EXCHANGED[first].reshape(rows, 2, 8, columns, 4, 2)[:, :, group, :, place]
            block_sync()
            return tuple(np.array(sums, np.float32) + parts.transpose(0, 2, 1, 3).ravel())

        return multiply_fragments

else:
    from fastmlp.cuda.compiler import make_multiply_fragments, pack_bfloat16, round_to_tf32


@device
def four_of_tf32(numbers):
    """Return four numbers as words of TF32."""
    return round_to_tf32(numbers[0]), round_to_tf32(numbers[1]), round_to_tf32(numbers[2]), round_to_tf32(numbers[3])


@device
def pack_along(numbers):
    """Return four numbers along the depth as two words."""
    return pack_bfloat16(numbers[0], numbers[1]), pack_bfloat16(numbers[2], numbers[3])


@device
def pack_across(numbers):
    """Return four and four numbers across, the others behind the first ones along the depth, as four words."""
    return (
        pack_bfloat16(numbers[0], numbers[4]),
        pack_bfloat16(numbers[1], numbers[5]),
        pack_bfloat16(numbers[2], numbers[6]),
        pack_bfloat16(numbers[3], numbers[7]),
    )


WORDS = {
    "float32": (np.dtype(np.float32), 1, as_they_are, as_they_are),
    "tf32": (np.dtype(np.float32), 1, four_of_tf32, four_of_tf32),
    "bfloat16": (np.dtype(np.uint32), 2, pack_along, pack_across),
}


def make_tensor(tile: Tile) -> Multiplier:
    """Return the multiplier by tensor cores, for numbers of float32.

    Of a fragment, a thread has words of the rows `group` and 8 more, at the depths `place` and 4 more.
    """
    rows, columns, warps_across = tile.part_rows // 16, tile.part_columns // 8, tile.columns // tile.part_columns
    part_rows, part_columns, depth = tile.part_rows, tile.part_columns, tile.depth
    padding = 8  # so that the words of a fragment are in 32 different banks
    stride, right_stride = tile.rows + padding, tile.columns + padding
    load_rows = make_gather(
        [16 * row + 8 * (word % 2) + 4 * (word // 2) * stride for row in range(rows) for word in range(4)],
        space=SHARED,
    )
    load_columns = make_gather(
        [8 * column + 4 * word * right_stride for column in range(columns) for word in range(2)], space=SHARED
    )
    multiply_fragments = make_multiply_fragments(rows, columns, tile.arithmetic)

    @device
    def warp_origin(thread):
        warp = thread // WARP
        return warp // warps_across * part_rows, warp % warps_across * part_columns

    @device
    def origin(thread):
        row, column = warp_origin(thread)
        return row + thread % WARP // 4, column + thread % 4 * 2

    @device
    def multiply(sums, words, left, right, thread):
        row, column = warp_origin(thread)
        group, place = thread % WARP // 4, thread % 4
        k = 0
        while k < depth:
            a = load_rows(words, left + (k + place) * stride + row + group)
            b = load_columns(words, right + (k + place) * right_stride + column + group)
            sums = multiply_fragments(sums, a, b, thread)
            k += 8
        return sums

    places = [
        (16 * row + 8 * half, 8 * column) for row in range(rows) for column in range(columns) for half in range(2)
    ]
    word, numbers, along, across = WORDS[tile.arithmetic]
    store, add = make_store(places, 2, False), make_store(places, 2, True)
    return Multiplier(word, numbers, padding, 2 * len(places), along, across, multiply, origin, store, add)


def make_multiplier(tile: Tile, dtype: np.dtype) -> Multiplier:
    """Return what multiplies the words of a tile, for numbers of a type."""
    return make_fma(tile, dtype) if tile.arithmetic == FMA else make_tensor(tile)
