"""A register tile: ROWS x panels registers of sums, held by LLVM in registers through a loop over the depth.

A tile is a tuple of `Lanes`, register (i, j) at position i * panels + j. Matrices are column panels: element (row,
column) of a matrix at `start + (column // lanes) * stride + row * lanes + column % lanes`.
"""

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.cpu.lanes import Lanes, call_llvm, element_pointer, load_vector, splat, store_vector
from fastmlp.cpu.target import ROWS


def _panels(tile):
    return tile.count // ROWS


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


def make_tile_repeat(panels):
    """Return the intrinsic that fills the rows of a tile with one row of a matrix (a bias)."""

    @intrinsic
    def tile_repeat(context, array, start, stride):
        lanes = Lanes(array.dtype)
        tile = types.UniTuple(lanes, ROWS * panels)

        def codegen(ctx, builder, sig, args):
            registers = _registers(ctx, builder, sig.args[0], *args, panels, lanes, 1)
            return ctx.make_tuple(builder, tile, registers * ROWS)

        return tile(array, types.intp, types.intp), codegen

    return tile_repeat


@intrinsic
def tile_add_product(context, tile, array, left, left_step, right, right_stride):
    """Return tile[i, j] + array[left + i * left_step] * (the register at right + j * right_stride)."""
    lanes = tile.dtype

    def codegen(ctx, builder, sig, args):
        sums, _, a, a_step, b, b_stride = args
        a = element_pointer(ctx, builder, sig.args[1], args[1], a)
        b = element_pointer(ctx, builder, sig.args[1], args[1], b)
        vectors = []
        for j in range(_panels(tile)):
            step = builder.mul(b_stride, ir.Constant(b_stride.type, j))
            vectors.append(load_vector(builder, lanes, builder.gep(b, [step])))
        products = []
        for i in range(ROWS):
            step = builder.mul(a_step, ir.Constant(a_step.type, i))
            repeated = splat(builder, builder.load(builder.gep(a, [step])), lanes.width)
            for j, vector in enumerate(vectors):
                old = builder.extract_value(sums, i * len(vectors) + j)
                # `fmuladd` is fused where the machine can, and not a slow call where it cannot
                products.append(call_llvm(builder, "fmuladd", [repeated, vector, old]))
        return ctx.make_tuple(builder, sig.return_type, products)

    return tile(tile, array, *[types.intp] * 4), codegen


@intrinsic
def tile_store(context, tile, array, start, stride):
    """Store a tile to a matrix in column panels."""
    lanes = tile.dtype

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[1], args[1], args[2])
        for i in range(ROWS):
            for j in range(_panels(tile)):
                step = builder.mul(args[3], ir.Constant(args[3].type, j))
                step = builder.add(step, ir.Constant(args[3].type, i * lanes.width))
                register = builder.extract_value(args[0], i * _panels(tile) + j)
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
        # log2(ROWS) rounds, each interleaves register i with register i + half, give the columns one after another
        while len(rows) > 1:
            half = len(rows) // 2
            rows = [_interleave(builder, rows[i], rows[i + half]) for i in range(half)]
        target = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        whole = rows[0]
        for column in range(lanes.width):
            index = ir.Constant(ir.VectorType(ir.IntType(32), ROWS), [column * ROWS + i for i in range(ROWS)])
            part = builder.shuffle_vector(whole, ir.Constant(whole.type, ir.Undefined), index)
            store_vector(builder, lanes, part, builder.gep(target, [args[1].type(column * lanes.width)]))
        return ctx.get_dummy_value()

    return types.void(array, types.intp, types.intp), codegen


def _interleave(builder, x, y):
    n = x.type.count
    order = [i // 2 + (n if i % 2 else 0) for i in range(2 * n)]
    return builder.shuffle_vector(x, y, ir.Constant(ir.VectorType(ir.IntType(32), 2 * n), order))
