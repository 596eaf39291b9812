"""How many threads a kernel gets, and which of the kernels trains a network."""

from typing import NamedTuple

import numpy as np

from fastmlp.cuda.compiler import SIMULATED, has_tensor_cores, most_shared_memory
from fastmlp.cuda.layout import GROUP_ROWS, ITEMS, OUT_STRIDE, ROW_TILE, WIDE, Layout, padded
from fastmlp.cuda.tensor import PRECISIONS
from fastmlp.cuda.tiles import Tile

KINDS = ("shared", "block", "grid", "large")  # of the kernels that train
THREADS = 8 if SIMULATED else 256  # of a block
# Multiply-adds of a step's forward pass, up to which a block alone is faster than a grid, whose threads wait longer for
# each other: on an H100 it takes three quarters of the grid's time with 2,600, and a third more with 180,000.
WORK_OF_A_BLOCK = 1 << 16
# Multiply-adds of a step's forward pass, from which on blocks share tiles of products: that saves most of the reads,
# but there are waits between layers. On an H100 it takes a third more than a grid with 1.5 million, and less with 420.
WORK_OF_TILES = 1 << 25
# How a block computes a tile: the larger one loads each number less often, the smaller one has work for more blocks.
# Of float64 there are only small ones; a large one of its own has more sums than there are registers.
if SIMULATED:
    SMALL_TILE = LARGE_TILE = Tile(16, 16, 8, 16, 16, "float32")
    SMALL_FMA_TILE = LARGE_FMA_TILE = Tile(8, 8, 8, 4, 4)
else:
    SMALL_TILE, LARGE_TILE = Tile(64, 64, 16, 32, 16, "float32"), Tile(128, 128, 16, 64, 32, "float32")
    SMALL_FMA_TILE, LARGE_FMA_TILE = Tile(64, 64, 16, 4, 4), Tile(128, 128, 16, 8, 8)


class Shape(NamedTuple):
    """What a training kernel is launched with: which kernel, blocks, threads, bytes of dynamic shared memory."""

    kind: str
    blocks: int
    threads: int
    shared: int


def kind_of(layout: Layout, n_rows: int, dtype: np.dtype) -> str:
    """Return which of the kernels of `make_train` trains a network in the least time."""
    work = n_rows * layout.network.n_parameters
    if work > WORK_OF_TILES:
        return "large"
    if work > WORK_OF_A_BLOCK:
        return "grid"
    return "shared" if _memory_bytes(layout, dtype) <= most_shared_memory() else "block"


def check_precision(precision: str, dtype: np.dtype) -> None:
    """Check that there is a way to multiply numbers of a type in this precision.

    Raises
    ------
    ValueError
        If there is none.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r} must be one of {', '.join(map(repr, PRECISIONS))}.")
    if precision == "float32":
        return
    if dtype != np.float32:
        raise ValueError(
            f"precision={precision!r} is of arithmetic in float32, got {dtype.name}: take precision='float32'."
        )
    if not has_tensor_cores():
        raise ValueError(
            f"precision={precision!r} needs tensor cores, of a GPU of compute capability 8.0 or later, which this one "
            "is not: take precision='float32'."
        )


def tile_of(layout: Layout, n_rows: int, dtype: np.dtype, precision: str, processors: int) -> Tile:
    """Return how blocks compute tiles: for float32 with tensor cores, if there are; small if large ones were too few.

    n_rows: of a batch; processors: multiprocessors of the GPU.
    """
    if dtype == np.float32 and has_tensor_cores():
        small, large = (tile._replace(arithmetic=precision) for tile in (SMALL_TILE, LARGE_TILE))
    else:
        small, large = SMALL_FMA_TILE, LARGE_FMA_TILE
    across = -(-layout.layers[:, OUT_STRIDE] // large.columns)
    tiles = -(-n_rows // large.rows) * int(across.sum()) // len(across)  # of a layer, forward
    return large if dtype == np.float32 and tiles >= processors else small


def _memory_bytes(layout, dtype):
    return layout.memory_size * np.dtype(dtype).itemsize


def shape_of(
    layout: Layout, n_rows: int, dtype: np.dtype, kind: str, most_blocks: int, tile: Tile | None = None
) -> Shape:
    """Return how to train with batches of `n_rows` rows, and write into the plan how blocks share them."""
    plan, blocks, group = layout.plan, 1, padded(n_rows)
    if kind == "large":
        plan[GROUP_ROWS], plan[ROW_TILE] = -(-n_rows // most_blocks), 1
        return Shape(kind, most_blocks, tile.threads, plan.nbytes)
    if kind == "grid":
        group = -(-n_rows // most_blocks)
        if group > WIDE // 2:
            group = padded(group)
        blocks = min(most_blocks, max(-(-n_rows // group), -(-int(plan[ITEMS]) // THREADS)))
    plan[GROUP_ROWS], plan[ROW_TILE] = group, WIDE if group % WIDE == 0 else 1
    shared = {"shared": _memory_bytes(layout, dtype), "grid": plan.nbytes, "block": 0}[kind]
    return Shape(kind, blocks, THREADS, shared)
