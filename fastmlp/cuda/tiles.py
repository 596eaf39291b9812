"""Products of large matrices: a block of threads computes a tile of sums, from parts of both operands in shared memory.

    tile (rows, columns) = left (rows, depth) @ right (depth, columns)

Step by step along the depth, a block copies a part of each operand into shared memory, as `words`, where a row holds
what has the same place along the depth. While it multiplies one part, the loads of the next are under way; there are
two places for them. How a part is multiplied is a `Multiplier`: here by multiply-adds of each thread, in `tensor` by
tensor cores. The sums of a tile are in registers, each of them summed in order of the depth.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastmlp.cuda.compiler import (
    GLOBAL,
    SHARED,
    block_sync,
    device,
    keep_apart,
    make_gather,
    make_outer,
    make_scatter,
    make_store,
    make_zeros,
)

FMA = "fma"


class Tile(NamedTuple):
    """How a block computes a tile.

    Attributes
    ----------
    rows, columns : int
        Of the tile.
    depth : int
        How many words of each row and column are in shared memory at once: a multiple of 8.
    part_rows, part_columns : int
        The sums of a thread, multiples of 4, or with tensor cores of a warp, multiples of 16 and 8.
    arithmetic : {"fma", "float32", "tf32", "bfloat16"}
        "fma": multiply-adds in the numbers' own type; else tensor cores, for numbers of float32; see `tensor`.
    """

    rows: int
    columns: int
    depth: int
    part_rows: int
    part_columns: int
    arithmetic: str = FMA

    @property
    def threads(self) -> int:
        """How many threads a block has."""
        parts = (self.rows // self.part_rows) * (self.columns // self.part_columns)
        return parts if self.arithmetic == FMA else parts * 32


class Multiplier(NamedTuple):
    """How words are multiplied.

    Attributes
    ----------
    word : dtype
        Of the words.
    numbers : int
        That make up a word, one after another along the depth: 1 or 2.
    padding : int
        Words after each row of words in shared memory, against conflicts of its banks.
    n_sums : int
        How many sums a thread has.
    pack_along, pack_across : device functions
        Four numbers along the depth -> 4 / `numbers` words; 4 * `numbers` numbers, four after four across, -> 4 words.
    multiply : device function (sums, words, left, right, thread) -> sums
        With parts of both operands, `depth` deep, in shared memory from these places on.
    origin : device function (thread) -> (row, column)
        Of the first of a thread's sums in the tile.
    store, add : device functions (array, place, stride, sums, rows, columns)
        Store a thread's sums, or add them to what is there; place: of the first; rows, columns: left from there on.
    """

    word: np.dtype
    numbers: int
    padding: int
    n_sums: int
    pack_along: Callable
    pack_across: Callable
    multiply: Callable
    origin: Callable
    store: Callable
    add: Callable


@device
def as_they_are(numbers):
    """Return numbers as words."""
    return numbers


four_zeros = make_zeros(4)
load_four = make_gather((0,), 4, GLOBAL)


def make_fma(tile: Tile, dtype: np.dtype) -> Multiplier:
    """Return the multiplier by multiply-adds.

    A thread has groups of four rows and of four columns, spread evenly over the tile, so that neighbours read the words
    of one line of shared memory.
    """
    quads, quads_across = tile.part_rows // 4, tile.part_columns // 4
    apart, apart_across = tile.rows // quads, tile.columns // quads_across
    threads_across = tile.columns // tile.part_columns
    places = [
        (quad * apart + row, across * apart_across)
        for quad in range(quads)
        for row in range(4)
        for across in range(quads_across)
    ]
    padding = 4
    stride, right_stride, depth = tile.rows + padding, tile.columns + padding, tile.depth
    load_rows = make_gather(range(0, tile.rows, apart), 4, SHARED)
    load_columns = make_gather(range(0, tile.columns, apart_across), 4, SHARED)
    outer = make_outer(tile.part_rows, tile.part_columns)

    @device
    def origin(thread):
        return thread // threads_across * 4, thread % threads_across * 4

    @device
    def multiply(sums, words, left, right, thread):
        row, column = origin(thread)
        k = 0
        while k < depth:  # which the compiler unrolls, unlike range
            a = load_rows(words, left + k * stride + row)
            sums = outer(sums, a, load_columns(words, right + k * right_stride + column))
            k += 1
        return sums

    n_sums = tile.part_rows * tile.part_columns
    store, add = make_store(places, 4, False), make_store(places, 4, True)
    return Multiplier(np.dtype(dtype), 1, padding, n_sums, as_they_are, as_they_are, multiply, origin, store, add)


def _repeated(load: Callable, put: Callable, size: int, threads: int, count: int) -> tuple[Callable, Callable]:
    """Return `load` and `put` for `count` pieces of `size` numbers that a thread takes."""
    if count == 1:
        return load, put
    before, put_before = _repeated(load, put, size, threads, count - 1)
    last, middle = (count - 1) * threads, (count - 1) * size

    @device
    def load_all(array, at, k, depth, piece):
        return before(array, at, k, depth, piece) + load(array, at, k, depth, piece + last)

    @device
    def put_all(words, place, numbers, piece):
        put_before(words, place, numbers[:middle], piece)
        put(words, place, numbers[middle:], piece + last)

    return load_all, put_all


def make_copy(width: int, tile: Tile, multiplier: Multiplier, along: bool) -> tuple[Callable, Callable]:
    """Return the device functions that load a part of an operand from memory, and put it into shared memory.

    load: (array, at, k, depth, thread) -> numbers, from k on along a depth of `depth`, zeros beyond it;
    put: (words, place, numbers, thread). at: (place, stride, first, last): where the operand begins, what is between
    its rows, the first row (or column) of the tile and the end of all of them.

    Parameters
    ----------
    width : int
        Rows of a tile of the left operand, columns of the right one.
    tile : Tile
        How a block computes a tile.
    multiplier : Multiplier
        What the words are for.
    along : bool
        Whether the numbers of memory follow each other along the depth, or across it.
    """
    numbers, stride, threads = multiplier.numbers, width + multiplier.padding, tile.threads
    n_words = 4 // numbers if along else 4
    pieces, rest = divmod(width * tile.depth // n_words, threads)
    if rest or tile.depth % 8:
        raise ValueError(f"{tile} gives {threads} threads unequal parts of {width} x {tile.depth} words.")
    across = width // 4
    scatter = make_scatter(*(([j * stride for j in range(n_words)], 1) if along else ((0,), 4)), SHARED)
    pack = multiplier.pack_along if along else multiplier.pack_across

    @device
    def load_along(array, at, k, depth, piece):
        row, column = at[2] + piece // 2 % width, k + (piece % 2 + piece // (2 * width) * 2) * 4
        if row < at[3] and column < depth:
            return load_four(array, at[0] + row * at[1] + column)
        return four_zeros(array)

    @device
    def put_along(words, place, numbers, piece):
        k = (piece % 2 + piece // (2 * width) * 2) * n_words
        scatter(words, place + k * stride + piece // 2 % width, pack(numbers))

    @device
    def load_row(array, at, row, depth, column):
        if row < depth and column < at[3]:
            return load_four(array, at[0] + row * at[1] + column)
        return four_zeros(array)

    @device
    def load_across(array, at, k, depth, piece):
        return load_row(array, at, k + piece // across, depth, at[2] + piece % across * 4)

    @device
    def load_two_across(array, at, k, depth, piece):
        row, column = k + piece // across * 2, at[2] + piece % across * 4
        return load_row(array, at, row, depth, column) + load_row(array, at, row + 1, depth, column)

    @device
    def put_across(words, place, numbers, piece):
        scatter(words, place + piece // across * stride + piece % across * 4, pack(numbers))

    if along:
        return _repeated(load_along, put_along, 4, threads, pieces)
    return _repeated(load_across if numbers == 1 else load_two_across, put_across, 4 * numbers, threads, pieces)


def words_of(tile: Tile, multiplier: Multiplier) -> int:
    """Return how many words of shared memory a block needs."""
    return 2 * tile.depth * (tile.rows + tile.columns + 2 * multiplier.padding)


def make_product(tile: Tile, multiplier: Multiplier) -> Callable:
    """Return the device function that computes a tile; all threads of a block call it.

    It takes (out, out_at, left, left_at, right, right_at, depth, along, fresh, words, thread). The right operand
    lies row by row; so does the left one if `along`, else its transpose does. left_at, right_at: see `make_copy`.
    out_at: (place, stride) of the matrix where the sums go, to the rows of left_at and the columns of right_at. fresh:
    whether they are stored, or added to what is there.
    """
    load_along, put_along = make_copy(tile.rows, tile, multiplier, True)
    load_across, put_across = make_copy(tile.rows, tile, multiplier, False)
    load_right, put_right = make_copy(tile.columns, tile, multiplier, False)
    multiply, origin, store, add = multiplier.multiply, multiplier.origin, multiplier.store, multiplier.add
    right_part = tile.depth * (tile.rows + multiplier.padding)
    size = right_part + tile.depth * (tile.columns + multiplier.padding)
    step, no_sums = tile.depth * multiplier.numbers, make_zeros(multiplier.n_sums)

    @device
    def load_left(array, at, k, depth, along, thread):
        if along:
            return load_along(array, at, k, depth, thread)
        return load_across(array, at, k, depth, thread)

    @device
    def put_left(words, place, numbers, along, thread):
        if along:
            put_along(words, place, numbers, thread)
        else:
            put_across(words, place, numbers, thread)

    @device
    def product(out, out_at, left, left_at, right, right_at, depth, along, fresh, words, thread):
        keep_apart()
        put_left(words, 0, load_left(left, left_at, 0, depth, along, thread), along, thread)
        put_right(words, right_part, load_right(right, right_at, 0, depth, thread), thread)
        block_sync()
        sums, here, k = no_sums(out), 0, step
        while k < depth + step:
            a = load_left(left, left_at, k, depth, along, thread)
            b = load_right(right, right_at, k, depth, thread)
            sums = multiply(sums, words, here, here + right_part, thread)
            here = size - here
            put_left(words, here, a, along, thread)
            put_right(words, here + right_part, b, thread)
            block_sync()
            k += step
        row, column = origin(thread)
        row, column = left_at[2] + row, right_at[2] + column
        place, stride = out_at[0] + row * out_at[1] + column, out_at[1]
        if fresh:
            store(out, place, stride, sums, left_at[3] - row, right_at[3] - column)
        else:
            add(out, place, stride, sums, left_at[3] - row, right_at[3] - column)

    return product
