"""A register tile: ROWS x panels registers of sums, held by LLVM in registers through a loop over the depth.

A tile is a tuple of `Lanes`, register (i, j) at position i * panels + j. Matrices are column panels: element (row,
column) of a matrix at `start + (column // lanes) * stride + row * lanes + column % lanes`. The tile of the gradient of
a tail, the outputs beyond the whole registers, has TAIL_UNITS of these as its rows.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.cpu.lanes import (
    Lanes,
    call_llvm,
    element_pointer,
    load_vector,
    part_of_register,
    plus_part,
    splat,
    store_vector,
)
from fastmlp.cpu.target import ROWS, TAIL_UNITS


def _registers(context, builder, kind, array, start, stride, panels, lanes, rows):
    """Load rows x panels registers of a matrix in column panels."""
    pointer = element_pointer(context, builder, kind, array, start)
    registers = []
    for i in range(rows):
        for j in range(panels):
            step = builder.add(
                builder.mul(stride, ir.Constant(stride.type, j)), ir.Constant(stride.type, i * lanes.width)
            )
            registers.append(load_vector(builder, lanes, builder.gep(pointer, [step])))
    return registers


def make_tile_load(panels):
    """Return the intrinsic that loads a tile of so many panels from a matrix."""

    @intrinsic
    def tile_load(context, array, start, stride):
        lanes = Lanes(array.dtype)
        tile = types.UniTuple(lanes, ROWS * panels)

        def codegen(ctx, builder, sig, args):
            registers = _registers(ctx, builder, sig.args[0], *args, panels, lanes, ROWS)
            return ctx.make_tuple(builder, tile, registers)

        return tile(array, types.intp, types.intp), codegen

    return tile_load


def make_tile_repeat(panels, rows=ROWS):
    """Return the intrinsic that fills the rows of a tile with one row of a matrix (a bias)."""

    @intrinsic
    def tile_repeat(context, array, start, stride):
        lanes = Lanes(array.dtype)
        tile = types.UniTuple(lanes, rows * panels)

        def codegen(ctx, builder, sig, args):
            registers = _registers(ctx, builder, sig.args[0], *args, panels, lanes, 1)
            return ctx.make_tuple(builder, tile, registers * rows)

        return tile(array, types.intp, types.intp), codegen

    return tile_repeat


def make_tile_add_products(steps, rows=ROWS):
    """Return the intrinsic that adds so many products of a column of numbers and a row of the tile's registers."""

    @intrinsic
    def tile_add_products(context, tile, array, left, left_step, left_next, right, right_stride):
        """Add to tile[i, j], step by step, array[left + i * left_step] * (the register at right + j * right_stride).

        From step to step, `left` moves on by `left_next` and `right` by a register.
        """
        lanes = tile.dtype

        def codegen(ctx, builder, sig, args):
            sums, _, left, left_step, left_next, right, right_stride = args
            left = element_pointer(ctx, builder, sig.args[1], args[1], left)
            right = element_pointer(ctx, builder, sig.args[1], args[1], right)
            panels, index = tile.count // rows, left_step.type
            sums = [builder.extract_value(sums, i) for i in range(tile.count)]

            def moved(pointer, distance, times):
                return builder.gep(pointer, [builder.mul(distance, index(times))])

            for step in range(steps):
                row = builder.gep(right, [index(step * lanes.width)])
                vectors = [load_vector(builder, lanes, moved(row, right_stride, j)) for j in range(panels)]
                column = moved(left, left_next, step)
                for i in range(rows):
                    repeated = splat(builder, builder.load(moved(column, left_step, i)), lanes.width)
                    for j in range(panels):
                        # `fmuladd` is fused where the machine can, and not a slow call where it cannot
                        place = i * panels + j
                        sums[place] = call_llvm(builder, "fmuladd", [repeated, vectors[j], sums[place]])
            return ctx.make_tuple(builder, sig.return_type, sums)

        return tile(tile, array, *[types.intp] * 5), codegen

    return tile_add_products


# Several steps without a branch: another program on the same core leaves this one half of the instructions that a cycle
# can begin, and then those of the loop count (5 % there, none on a core of one's own).
UNROLLED = 4
tile_add_product = make_tile_add_products(1)
tile_add_products = make_tile_add_products(UNROLLED)
tail_add_product = make_tile_add_products(1, TAIL_UNITS)
tail_add_products = make_tile_add_products(UNROLLED, TAIL_UNITS)


@intrinsic
def tile_store(context, tile, array, start, stride):
    """Store a tile to a matrix in column panels."""
    lanes = tile.dtype

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[1], args[1], args[2])
        panels = tile.count // ROWS
        for i in range(ROWS):
            for j in range(panels):
                step = builder.mul(args[3], ir.Constant(args[3].type, j))
                step = builder.add(step, ir.Constant(args[3].type, i * lanes.width))
                register = builder.extract_value(args[0], i * panels + j)
                store_vector(builder, lanes, register, builder.gep(pointer, [step]))
        return ctx.get_dummy_value()

    return types.void(tile, array, types.intp, types.intp), codegen


@intrinsic
def store_transposed(context, array, target, source):
    """Store the block [ROWS][lanes] at `source` transposed: its columns become rows of ROWS elements, `lanes` apart."""
    lanes = Lanes(array.dtype)

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[2])
        rows = [load_vector(builder, lanes, builder.gep(pointer, [args[2].type(i * lanes.width)])) for i in range(ROWS)]
        target = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        for column, part in enumerate(_columns(builder, rows)):
            store_vector(builder, lanes, part, builder.gep(target, [args[1].type(column * lanes.width)]))
        return ctx.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def _make_tail_store(adds):
    @intrinsic
    def tail_store(context, tile, array, start):
        """Store a tile of TAIL_UNITS rows to a matrix in column panels transposed; or add it to what is there."""
        lanes = tile.dtype

        def codegen(ctx, builder, sig, args):
            pointer = element_pointer(ctx, builder, sig.args[1], args[1], args[2])
            panels = tile.count // TAIL_UNITS
            for j in range(panels):
                rows = [builder.extract_value(args[0], i * panels + j) for i in range(TAIL_UNITS)]
                for column, part in enumerate(_columns(builder, rows), start=j * lanes.width):
                    place = builder.gep(pointer, [args[2].type(column * lanes.width)])
                    store_vector(builder, lanes, plus_part(builder, lanes, place, part) if adds else part, place)
            return ctx.get_dummy_value()

        return types.void(tile, array, types.intp), codegen

    return tail_store


tail_store = _make_tail_store(adds=False)
tail_add = _make_tail_store(adds=True)


def _columns(builder, rows):
    """Return the columns of a block of registers."""
    count, width = len(rows), rows[0].type.count
    # log2(count) rounds, each interleaves register i with register i + half, give the columns one after another
    while len(rows) > 1:
        half = len(rows) // 2
        rows = [_interleave(builder, rows[i], rows[i + half]) for i in range(half)]
    return [part_of_register(builder, rows[0], column * count, count) for column in range(width)]


def _interleave(builder, x, y):
    n = x.type.count
    order = [i // 2 + (n if i % 2 else 0) for i in range(2 * n)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), 2 * n), order))
