"""Products of matrices in column panels: every multiplication of the forward and the backward pass."""

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.lanes import width
from fastmlp.cpu.target import PANELS, ROWS, TAIL_UNITS
from fastmlp.cpu.tile import (
    UNROLLED,
    make_tile_load,
    make_tile_repeat,
    tail_add,
    tail_add_product,
    tail_add_products,
    tail_store,
    tile_add_product,
    tile_add_products,
    tile_store,
)

# So much of the right operand is used for all rows before the next part: it stays in the first-level cache, also where
# another program shares that cache.
DEPTH_BLOCK = 128
ROW_BLOCK = 128


@kernel
def edge(total, parts, index):
    """Return where part `index` of `total` begins, parts of nearly equal size."""
    return total * index // parts


@kernel
def parts_of(total, most):
    """Return into how many parts of at most `most` to divide `total`."""
    return (total + most - 1) // most


def make_rows_product(panels):
    """Return the kernel that computes so many column panels of left @ right + bias."""
    tile_load, tile_repeat = make_tile_load(panels), make_tile_repeat(panels)

    @kernel
    def rows_product(memory, out, bias, left, right, row_stride, right_stride, first_row, last_row, depth):
        """out, left: [panels][rows][lanes], panels `row_stride` apart; right: [panels][depth][lanes]."""
        lanes = width(memory)
        depth_panels, blocks = parts_of(depth, lanes), parts_of(depth, DEPTH_BLOCK)
        for block in range(blocks):
            first, last = edge(depth_panels, blocks, block), edge(depth_panels, blocks, block + 1)
            whole = min(last, depth // lanes)
            rest = depth % lanes if last > whole else 0
            for row in range(first_row, last_row, ROWS):
                if block == 0:
                    tile = tile_repeat(memory, bias, lanes)
                else:
                    tile = tile_load(memory, out + row * lanes, row_stride)
                a, b = left + first * row_stride + row * lanes, right + first * lanes * lanes
                for _ in range(first, whole):
                    for k in range(0, lanes, UNROLLED):
                        tile = tile_add_products(tile, memory, a + k, lanes, 1, b + k * lanes, right_stride)
                    a += row_stride
                    b += lanes * lanes
                for k in range(rest):
                    tile = tile_add_product(tile, memory, a + k, lanes, 1, b + k * lanes, right_stride)
                tile_store(tile, memory, out + row * lanes, row_stride)

    return rows_product


def make_gradient_tile(panels):
    """Return the kernel that adds ROWS rows x so many panels of left.T @ right over a block of rows."""
    tile_load = make_tile_load(panels)

    @kernel
    def gradient_tile(memory, out, out_stride, start, start_stride, left, right, row_stride, rows):
        """out = start + left.T @ right; left: ROWS of the columns of a panel; right: [panels][rows][lanes]."""
        lanes = width(memory)
        tile = tile_load(memory, start, start_stride)
        whole = rows // UNROLLED * UNROLLED
        for row in range(0, whole, UNROLLED):
            tile = tile_add_products(tile, memory, left + row * lanes, 1, lanes, right + row * lanes, row_stride)
        for row in range(whole, rows):
            tile = tile_add_product(tile, memory, left + row * lanes, 1, lanes, right + row * lanes, row_stride)
        tile_store(tile, memory, out, out_stride)

    return gradient_tile


def make_tail_gradient(panels):
    """Return the kernel that adds so many panels of inputs x TAIL_UNITS outputs of left.T @ right over rows."""
    tile_repeat = make_tile_repeat(panels, TAIL_UNITS)

    @kernel
    def tail_gradient(memory, out, zeros, left, right, row_stride, rows, fresh):
        """out += left.T @ right, or with `fresh` out = it; left: [panels][rows][lanes]; right: lanes of a panel."""
        lanes = width(memory)
        tile = tile_repeat(memory, zeros, 0)
        whole = rows // UNROLLED * UNROLLED
        for row in range(0, whole, UNROLLED):
            tile = tail_add_products(tile, memory, right + row * lanes, 1, lanes, left + row * lanes, row_stride)
        for row in range(whole, rows):
            tile = tail_add_product(tile, memory, right + row * lanes, 1, lanes, left + row * lanes, row_stride)
        if fresh:
            tail_store(tile, memory, out)
        else:
            tail_add(tile, memory, out)

    return tail_gradient


def by_panels(make):
    """Return the function (panels, args) for a count known only as the program runs, from a maker for a fixed one.

    It is taken into its caller: all that calls a tile is optimised again.
    """
    one = make(1)
    two = make(2) if PANELS > 1 else one
    three = make(3) if PANELS > 2 else two

    @inlined
    def choose(panels, args):
        if panels == 3:
            three(*args)
        elif panels == 2:
            two(*args)
        else:
            one(*args)

    return choose


rows_product = by_panels(make_rows_product)
gradient_tile = by_panels(make_gradient_tile)
tail_gradient = by_panels(make_tail_gradient)
