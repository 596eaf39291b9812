"""How many threads a kernel gets, and which of the kernels trains a network."""

from typing import NamedTuple

import numpy as np

from fastmlp.cuda.compiler import SIMULATED, most_shared_memory
from fastmlp.cuda.layout import GROUP_ROWS, ITEMS, ROW_TILE, WIDE, Layout, padded

KINDS = ("shared", "block", "grid")  # of the kernels that train
THREADS = 8 if SIMULATED else 128  # of a block
# Multiply-adds of a step's forward pass, up to which a block alone is faster than a grid, whose threads wait longer for
# each other.
WORK_OF_A_BLOCK = 1 << 18


class Shape(NamedTuple):
    """What a training kernel is launched with: which kernel, blocks, threads, bytes of dynamic shared memory."""

    kind: str
    blocks: int
    threads: int
    shared: int


def kind_of(layout: Layout, n_rows: int, dtype: np.dtype) -> str:
    """Return which of the kernels of `make_train` trains a network in the least time."""
    if n_rows * layout.network.n_parameters > WORK_OF_A_BLOCK:
        return "grid"
    return "shared" if _memory_bytes(layout, dtype) <= most_shared_memory() else "block"


def _memory_bytes(layout, dtype):
    return layout.memory_size * np.dtype(dtype).itemsize


def shape_of(layout: Layout, n_rows: int, dtype: np.dtype, kind: str, most_blocks: int) -> Shape:
    """Return how to train with batches of `n_rows` rows, and write into the plan how blocks share them."""
    plan, blocks, group = layout.plan, 1, padded(n_rows)
    if kind == "grid":
        group = -(-n_rows // most_blocks)
        if group > WIDE // 2:
            group = padded(group)
        blocks = min(most_blocks, max(-(-n_rows // group), -(-int(plan[ITEMS]) // THREADS)))
    plan[GROUP_ROWS], plan[ROW_TILE] = group, WIDE if group % WIDE == 0 else 1
    return Shape(kind, blocks, THREADS, _memory_bytes(layout, dtype) if kind == "shared" else 0)
