"""Products of matrices as one thread computes them: a tile of sums in registers, four numbers a load.

A sum has parts of CHUNK terms, each summed from its first term on; then the parts are, one after another. So threads
may share a sum, part by part, and get the same bits as one that has all of it.
"""

from fastmlp.cuda.compiler import device, load4
from fastmlp.formulas.elementary import constant

CHUNK = 16  # a multiple of 4
SPREAD = 4096  # numbers of shared memory for parts of sums that threads share


@device
def parts_of(terms):
    """Return how many parts a sum has."""
    return (terms + CHUNK - 1) // CHUNK


@device
def add_multiple(total, factor, values):
    """Return four numbers plus a multiple of four others."""
    return (
        total[0] + factor * values[0],
        total[1] + factor * values[1],
        total[2] + factor * values[2],
        total[3] + factor * values[3],
    )


@device
def add_four(one, other):
    """Return four numbers plus four others."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


@device
def zeros(like):
    """Return four zeros of the type of a number."""
    zero = constant(like, 0)
    return zero, zero, zero, zero


@device
def add_terms(total, left, i, right, j, right_stride):
    """Add left[i + k] right[j + k right_stride : ... + 4], for k below 4, to four sums."""
    a = load4(left, i)
    total = add_multiple(total, a[0], load4(right, j))
    total = add_multiple(total, a[1], load4(right, j + right_stride))
    total = add_multiple(total, a[2], load4(right, j + 2 * right_stride))
    return add_multiple(total, a[3], load4(right, j + 3 * right_stride))


@device
def row_chunk(left, i, right, j, right_stride, depth):
    """Return sum over k of left[i + k] right[j + k right_stride : ... + 4], for k below depth, a multiple of 4."""
    total = zeros(left[i])
    if depth == CHUNK:  # then the compiler lets all loads be under way at once
        for k in range(0, CHUNK, 4):
            total = add_terms(total, left, i + k, right, j + k * right_stride, right_stride)
    else:
        for k in range(0, depth, 4):
            total = add_terms(total, left, i + k, right, j + k * right_stride, right_stride)
    return total


@device
def row_sums(left, i, right, j, right_stride, depth):
    """Return the sum of `row_chunk` over all parts of a depth."""
    total = zeros(left[i])
    for first in range(0, depth, CHUNK):
        part = min(CHUNK, depth - first)
        total = add_four(total, row_chunk(left, i + first, right, j + first * right_stride, right_stride, part))
    return total


@device
def tile_chunk(left, i, left_stride, right, j, right_stride, depth):
    """Return `row_chunk` of four rows of left."""
    t0 = t1 = t2 = t3 = zeros(left[i])
    for k in range(0, depth, 4):
        a0 = load4(left, i + k)
        a1 = load4(left, i + left_stride + k)
        a2 = load4(left, i + 2 * left_stride + k)
        a3 = load4(left, i + 3 * left_stride + k)
        for p in range(4):
            b = load4(right, j + (k + p) * right_stride)
            t0, t1 = add_multiple(t0, a0[p], b), add_multiple(t1, a1[p], b)
            t2, t3 = add_multiple(t2, a2[p], b), add_multiple(t3, a3[p], b)
    return t0, t1, t2, t3


@device
def add_tiles(one, other):
    """Return four times four numbers plus others."""
    return (
        add_four(one[0], other[0]),
        add_four(one[1], other[1]),
        add_four(one[2], other[2]),
        add_four(one[3], other[3]),
    )


@device
def tile_sums(left, i, left_stride, right, j, right_stride, depth):
    """Return `row_sums` of four rows of left."""
    zero = zeros(left[i])
    total = (zero, zero, zero, zero)
    for first in range(0, depth, CHUNK):
        part = min(CHUNK, depth - first)
        total = add_tiles(
            total, tile_chunk(left, i + first, left_stride, right, j + first * right_stride, right_stride, part)
        )
    return total


@device
def add_outer(t0, t1, t2, t3, a, b):
    """Return four times four sums plus the outer product of a and b."""
    return add_multiple(t0, a[0], b), add_multiple(t1, a[1], b), add_multiple(t2, a[2], b), add_multiple(t3, a[3], b)


@device
def gradient_chunk(left, i, left_stride, right, j, right_stride, rows):
    """Return sum over rows r of left[i + r left_stride + a] right[j + r right_stride + b], for a and b below 4."""
    t0 = t1 = t2 = t3 = zeros(left[i])
    whole = rows - rows % 4
    for _ in range(0, whole, 4):  # the loads of four rows are under way at once
        a0, b0 = load4(left, i), load4(right, j)
        a1, b1 = load4(left, i + left_stride), load4(right, j + right_stride)
        a2, b2 = load4(left, i + 2 * left_stride), load4(right, j + 2 * right_stride)
        a3, b3 = load4(left, i + 3 * left_stride), load4(right, j + 3 * right_stride)
        t0, t1, t2, t3 = add_outer(t0, t1, t2, t3, a0, b0)
        t0, t1, t2, t3 = add_outer(t0, t1, t2, t3, a1, b1)
        t0, t1, t2, t3 = add_outer(t0, t1, t2, t3, a2, b2)
        t0, t1, t2, t3 = add_outer(t0, t1, t2, t3, a3, b3)
        i, j = i + 4 * left_stride, j + 4 * right_stride
    for _ in range(whole, rows):
        t0, t1, t2, t3 = add_outer(t0, t1, t2, t3, load4(left, i), load4(right, j))
        i, j = i + left_stride, j + right_stride
    return t0, t1, t2, t3


@device
def gradient_sums(left, i, left_stride, right, j, right_stride, rows):
    """Return the sum of `gradient_chunk` over all parts of the rows."""
    zero = zeros(left[i])
    total = (zero, zero, zero, zero)
    for first in range(0, rows, CHUNK):
        part = min(CHUNK, rows - first)
        total = add_tiles(
            total,
            gradient_chunk(
                left, i + first * left_stride, left_stride, right, j + first * right_stride, right_stride, part
            ),
        )
    return total


@device
def column_chunk(right, j, right_stride, rows):
    """Return sum over rows r of right[j + r right_stride + b], for b below 4."""
    total = zeros(right[j])
    for r in range(rows):
        total = add_four(total, load4(right, j + r * right_stride))
    return total


@device
def column_sums(right, j, right_stride, rows):
    """Return the sum of `column_chunk` over all parts of the rows."""
    total = zeros(right[j])
    for first in range(0, rows, CHUNK):
        part = column_chunk(right, j + first * right_stride, right_stride, min(CHUNK, rows - first))
        total = add_four(total, part)
    return total
