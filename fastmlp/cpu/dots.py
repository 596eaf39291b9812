"""Sums of products along the inputs, for the tail of a layer: its outputs beyond the whole registers.

In column panels a few outputs would take as long as a whole register of them. Here the lanes of a register are inputs:
TAIL_UNITS outputs of a few rows are summed at once, and lastly the lanes of each sum.
"""

from numba.core import types
from numba.extending import intrinsic

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import (
    Lanes,
    call_llvm,
    element_pointer,
    first_lanes,
    load,
    load_vector,
    part_of_register,
    plus_part,
    reduce_rows,
    store,
    store_vector,
    vector_constant,
    width,
)
from fastmlp.cpu.target import ROWS, TAIL_UNITS

DOT_ROWS = ROWS // 2  # their sums fit into the register file beside the numbers of TAIL_UNITS outputs


@intrinsic
def dots_zero(context, array):
    """Return DOT_ROWS x TAIL_UNITS registers of 0."""
    lanes = Lanes(array.dtype)
    tile = types.UniTuple(lanes, DOT_ROWS * TAIL_UNITS)

    def codegen(ctx, builder, sig, args):
        return ctx.make_tuple(builder, tile, [vector_constant(lanes.llvm, 0.0)] * tile.count)

    return tile(array), codegen


def _make_dots_add(masks):
    def add(ctx, builder, sig, args):
        lanes, array = sig.return_type.dtype, sig.args[1]
        left = element_pointer(ctx, builder, array, args[1], args[2])
        right = element_pointer(ctx, builder, array, args[1], args[3])
        index = args[2].type

        def row(pointer, i):
            return load_vector(builder, lanes, builder.gep(pointer, [index(i * lanes.width)]))

        numbers = [row(right, j) for j in range(TAIL_UNITS)]
        sums = []
        for i in range(DOT_ROWS):
            x = row(left, i)
            if masks:
                x = builder.select(first_lanes(builder, lanes, args[4]), x, vector_constant(lanes.llvm, 0.0))
            for j in range(TAIL_UNITS):
                before = builder.extract_value(args[0], i * TAIL_UNITS + j)
                sums.append(call_llvm(builder, "fmuladd", [x, numbers[j], before]))
        return ctx.make_tuple(builder, sig.return_type, sums)

    return add


@intrinsic
def dots_add(context, dots, array, left, right):
    """Add to dots[i, j] the products of row i of registers at `left` and row j at `right`."""
    return dots(dots, array, types.intp, types.intp), _make_dots_add(masks=False)


@intrinsic
def dots_add_first(context, dots, array, left, right, count):
    """As `dots_add`, of the first `count` lanes at `left`: what the others hold is no number, maybe."""
    return dots(dots, array, types.intp, types.intp, types.intp), _make_dots_add(masks=True)


@intrinsic
def dots_store(context, dots, array, start):
    """Add the sum of the lanes of dots[i, j] to array[start + i * lanes + j]."""
    lanes = dots.dtype

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[1], args[1], args[2])
        registers = [builder.extract_value(args[0], i) for i in range(dots.count)]
        for first in range(0, dots.count, lanes.width):
            sums = reduce_rows(builder, "sum", registers[first : first + lanes.width])
            for lane in range(0, lanes.width, TAIL_UNITS):
                row = (first + lane) // TAIL_UNITS
                place = builder.gep(pointer, [args[2].type(row * lanes.width)])
                part = part_of_register(builder, sums, lane, TAIL_UNITS)
                store_vector(builder, lanes, plus_part(builder, lanes, place, part), place)
        return ctx.get_dummy_value()

    return types.void(dots, array, types.intp), codegen


@kernel
def tail_product(memory, out, bias, left, right, row_stride, right_stride, first_row, last_row, depth, units):
    """Compute the last panel of left @ right + bias, of which `units` are in use.

    left: [panels][rows][lanes], panels `row_stride` apart; right: its columns, [panels][units][lanes].
    """
    lanes = width(memory)
    whole = (depth - 1) // lanes
    for row in range(first_row, last_row, DOT_ROWS):
        target = out + row * lanes
        for i in range(target, target + DOT_ROWS * lanes, lanes):
            store(memory, i, load(memory, bias))
        for unit in range(0, units, TAIL_UNITS):
            dots, a, b = dots_zero(memory), left + row * lanes, right + unit * lanes
            for _ in range(whole):
                dots = dots_add(dots, memory, a, b)
                a += row_stride
                b += right_stride
            dots = dots_add_first(dots, memory, a, b, depth - whole * lanes)
            dots_store(dots, memory, target + unit)
