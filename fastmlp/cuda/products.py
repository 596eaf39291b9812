"""Products of matrices as one thread computes them: a tile of sums in registers, four numbers a load."""

from fastmlp.cuda.compiler import device, load4
from fastmlp.formulas.elementary import constant


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
def zeros(like):
    """Return four zeros of the type of a number."""
    zero = constant(like, 0)
    return zero, zero, zero, zero


@device
def row_sums(left, i, right, j, right_stride, depth):
    """Return sum over k of left[i + k] right[j + k right_stride : ... + 4], for k below depth, a multiple of 4."""
    total = zeros(left[i])
    for k in range(0, depth, 4):
        a = load4(left, i + k)
        for p in range(4):
            total = add_multiple(total, a[p], load4(right, j + (k + p) * right_stride))
    return total


@device
def tile_sums(left, i, left_stride, right, j, right_stride, depth):
    """Return `row_sums` of four rows of left."""
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
def gradient_sums(left, i, left_stride, right, j, right_stride, rows):
    """Return sum over rows r of left[i + r left_stride + a] right[j + r right_stride + b], for a and b below 4."""
    t0 = t1 = t2 = t3 = zeros(left[i])
    for r in range(rows):
        a, b = load4(left, i + r * left_stride), load4(right, j + r * right_stride)
        t0, t1 = add_multiple(t0, a[0], b), add_multiple(t1, a[1], b)
        t2, t3 = add_multiple(t2, a[2], b), add_multiple(t3, a[3], b)
    return t0, t1, t2, t3


@device
def column_sums(right, j, right_stride, rows):
    """Return sum over rows r of right[j + r right_stride + b], for b below 4."""
    total = zeros(right[j])
    for r in range(rows):
        total = add_multiple(total, constant(right[j], 1), load4(right, j + r * right_stride))
    return total
