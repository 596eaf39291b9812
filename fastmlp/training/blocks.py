"""Rows that are not in memory: read in blocks, checked as they are read, and trained on while others are read."""

import contextlib
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fastmlp.training.shuffle import Blocks, Shuffle

BLOCK_BYTES = 1 << 19  # of rows that are read at once, if no chunk is larger
GROUP_BYTES = 1 << 25  # of rows that are mixed; two groups are in memory
LEAST_BLOCKS = 8  # of a group, also where chunks are large


class StoredRows:
    """Rows of a table that is not in memory, as an array of finite numbers that is read in parts.

    Parameters
    ----------
    table : object
        With `shape` and slices of rows: a `numpy.memmap`, or an array of Zarr, HDF5 and the like.
    dtype : numpy.dtype
        What the numbers are converted to.
    zero_for_nan : bool, default=False
        Whether NaN is taken for 0; else it is an error.

    Attributes
    ----------
    shape, dtype, ndim
        Of the rows.
    block_rows : int
        How many rows are a block: BLOCK_BYTES of them, rounded up to whole chunks where the table has chunks.
    """

    ndim = 2

    def __init__(self, table: Any, dtype: np.dtype, zero_for_nan: bool = False):
        self.table, self.shape, self.dtype = table, tuple(map(int, table.shape)), np.dtype(dtype)
        self._zero_for_nan = zero_for_nan
        self.block_rows = rows_of_block(self.shape[1] * self.dtype.itemsize, chunk_rows(table))

    def read(self, out: np.ndarray, first: int, last: int) -> None:
        """Read rows first to last into `out`.

        Raises
        ------
        ValueError
            If they are not as many numbers as they must be, or one is not finite; it names the row.
        """
        rows = np.asarray(self.table[first:last])
        if rows.shape != out.shape:
            raise ValueError(f"X[{first}:{last}] must have the shape {out.shape}, as X has {self.shape}: {rows.shape}.")
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 becomes infinite
            out[...] = rows
            if np.isfinite(out.sum()):  # without an array of truth values
                return
        if self._zero_for_nan:
            out[np.isnan(out)] = 0
        wrong = np.flatnonzero(~np.isfinite(out).all(axis=1))
        if wrong.size > 0:
            what = "NaN" if np.isnan(out[wrong[0]]).any() else f"infinity or a value too large for {self.dtype!r}"
            raise ValueError(f"Input X contains {what}, in row {first + wrong[0]}.")

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return the rows of a slice, or of an array of their numbers, in memory."""
        if isinstance(rows, slice):
            first, last, _ = rows.indices(self.shape[0])
            out = np.empty((max(0, last - first), self.shape[1]), self.dtype)
            self.read(out, first, last)
            return out
        out = np.empty((len(rows), self.shape[1]), self.dtype)
        places = np.argsort(rows, kind="stable")
        for start, part in self.parts():
            first, last = np.searchsorted(rows, [start, start + len(part)], sorter=places)
            out[places[first:last]] = part[rows[places[first:last]] - start]
        return out

    def parts(self) -> Iterator[tuple[int, np.ndarray]]:
        """Give all rows, block by block, each with the number of its first row."""
        for first in range(0, self.shape[0], self.block_rows):
            yield first, self[first : first + self.block_rows]


def chunk_rows(table: Any) -> int:
    """Return how many rows a chunk of a table has, or 1 where it has no chunks."""
    chunks = getattr(table, "chunks", None)
    rows = chunks[0] if isinstance(chunks, tuple) and chunks else 1
    return int(rows[0] if isinstance(rows, tuple) else rows)  # Dask names all chunks


def rows_of_block(row_bytes: int, rows_of_chunk: int = 1) -> int:
    """Return how many rows a block has, of so many bytes each."""
    return -(-max(1, BLOCK_BYTES // row_bytes) // rows_of_chunk) * rows_of_chunk


def blocks_of(X: Any, places: np.ndarray | None, n_rows: int, batch_size: int) -> Blocks:
    """Return the blocks of rows, and how many of them are mixed: the same for a table in memory as on a disk.

    Parameters
    ----------
    X : ndarray, sparse matrix or StoredRows
        The table.
    places : ndarray of shape (n_rows,) or None
        Which of the rows that were passed are trained on, in their order; None: all.
    n_rows : int
        How many are trained on.
    batch_size : int
        The rows of a batch, for which there is place in a group.
    """
    row_bytes = X.shape[1] * X.dtype.itemsize
    block_rows = X.block_rows if isinstance(X, StoredRows) else rows_of_block(row_bytes)
    together = max(LEAST_BLOCKS, GROUP_BYTES // (block_rows * row_bytes), -(-batch_size // block_rows))
    if places is None:
        starts = np.arange(0, n_rows, block_rows)
    else:  # the same blocks, of which some rows are left out
        starts = np.unique(np.searchsorted(places, np.arange(0, places[-1] + 1, block_rows)))
    return Blocks(np.append(starts, n_rows).astype(np.int64), together)


class ReadingEngine:
    """An engine whose rows are read, group by group, in another thread while those before them are trained on.

    The engine is loaded with room for two groups. What is left of a group after whole batches is copied to the next
    one, so batches are the same as with all rows in memory.

    Parameters
    ----------
    engine : Engine
        With the verb `run_parts`; all other verbs are its own.
    X : StoredRows
    targets, weight, index
        As for `Engine.load`.
    blocks : Blocks
    batch_size : int
        Rows of a batch.
    augmentation : Augmentation
    """

    def __init__(
        self,
        engine: Any,
        X: StoredRows,
        targets: np.ndarray,
        weight: np.ndarray | None,
        index: np.ndarray | None,
        blocks: Blocks,
        batch_size: int,
        augmentation: Any,
    ):
        self._engine, self._X, self._index = engine, X, index
        sizes = np.diff(blocks.group_edges())
        self._left = 0 if len(sizes) == 1 else batch_size  # room for what is left of the group before
        self._size = self._left + min(int(sizes.max()) * X.block_rows, X.shape[0])
        places = min(len(sizes), 2) * self._size
        self._sources = [targets] if weight is None else [targets, weight]
        self._loaded = [np.zeros((places, *source.shape[1:]), source.dtype) for source in self._sources]
        self._rows = np.empty((places, X.shape[1]), X.dtype)
        engine.load(self._rows, self._loaded[0], None if weight is None else self._loaded[1], augmentation)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run_epochs(
        self, shuffle: Shuffle, batch_size: int, alpha: float, update: Any, stopping: Any, most: int
    ) -> list[float]:
        """Take the next epoch of a `Shuffle` and return its loss, in a list."""
        order = shuffle.next()
        with contextlib.closing(self._parts(order, shuffle.groups, batch_size)) as parts:
            return [self._engine.run_parts(parts, len(order), batch_size, alpha, update)]

    def _parts(self, order: np.ndarray, groups: list[int], batch_size: int) -> Iterator[np.ndarray]:
        """Give the places of rows to train on, in whole batches, when they have been read."""
        with ThreadPoolExecutor(1) as reader:
            spans = list(itertools.pairwise(groups))
            halves = itertools.cycle([0, self._size])
            start, left = next(halves), np.empty(0, np.int64)
            reading = reader.submit(self._read, order[slice(*spans[0])], start)
            for number in range(len(spans)):
                places = reading.result()
                for array in (self._rows, *self._loaded):
                    array[start : start + len(left)] = array[left]
                places = np.concatenate([np.arange(start, start + len(left)), places])
                start, whole = next(halves), len(places)
                if number + 1 < len(spans):
                    reading = reader.submit(self._read, order[slice(*spans[number + 1])], start)
                    whole -= whole % batch_size
                left = places[whole:]
                if whole > 0:
                    yield places[:whole]

    def _read(self, places: np.ndarray, start: int) -> np.ndarray:
        """Read the blocks that have certain rows behind the room at `start`; return where these rows are then."""
        rows = places if self._index is None else self._index[places]
        block_rows, start = self._X.block_rows, start + self._left
        blocks = rows // block_rows
        chosen = np.flatnonzero(np.bincount(blocks))
        slots = np.zeros(chosen[-1] + 1, np.int64)
        slots[chosen] = start + np.arange(len(chosen)) * block_rows
        for first, there in zip((chosen * block_rows).tolist(), slots[chosen].tolist(), strict=True):
            last = min(first + block_rows, self._X.shape[0])
            self._X.read(self._rows[there : there + last - first], first, last)
        there = slots[blocks] + (rows - blocks * block_rows)
        for array, source in zip(self._loaded, self._sources, strict=True):
            array[there] = source[places]
        return there
