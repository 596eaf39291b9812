"""Rows that stay on the host, for there are more than the GPU has room for, and go there as they are trained on."""

import itertools
from collections.abc import Iterator

import numpy as np
from scipy import sparse

from fastmlp.cuda.compiler import cuda
from fastmlp.cuda.data import Uploaded, bytes_of_rows, canonical, empty_array, entries_of
from fastmlp.cuda.step import FIRST, LAST

MOST_BYTES = 1 << 28  # of a chunk, if a batch is not larger
ALIGNMENT = 16
OVERHEAD = (
    5 * ALIGNMENT + 16
)  # bytes of a chunk beside those of its rows: five parts, and numbers that are always there


class HostRows:
    """Rows to train on with their targets and weights, in the host's memory.

    Parameters
    ----------
    X : ndarray or csr_array of shape (n, features)
    targets : ndarray of shape (n, columns)
    weights : ndarray of shape (n,) or None

    Attributes
    ----------
    size : int
        The bytes that all of it takes on the GPU.
    """

    def __init__(self, X: object, targets: np.ndarray, weights: np.ndarray | None):
        self.X = canonical(X) if sparse.issparse(X) else X
        self.targets, self.weights = np.ascontiguousarray(targets), weights
        other = 8 + targets.shape[1] * targets.dtype.itemsize + (0 if weights is None else weights.dtype.itemsize)
        self._bytes = np.broadcast_to(bytes_of_rows(self.X) + other, X.shape[:1])
        self.size = int(self._bytes.sum()) + OVERHEAD

    def largest_batch(self, n_rows: int) -> int:
        """Return the most bytes that so many rows take, whichever they are."""
        n_rows = min(n_rows, len(self._bytes))
        if self._bytes.strides == (0,):
            largest = n_rows * int(self._bytes[0])
        else:
            largest = int(np.partition(self._bytes, len(self._bytes) - n_rows)[-n_rows:].sum())
        return largest + OVERHEAD

    def edges(self, order: np.ndarray, starts: np.ndarray, capacity: int) -> list[int]:
        """Return at which batches chunks begin, and the number of all; starts: where in the order each batch begins."""
        ends = np.cumsum(np.add.reduceat(self._bytes[order], starts))
        edges, done, room = [0], 0, capacity - OVERHEAD
        while edges[-1] < len(starts):
            edges.append(int(np.searchsorted(ends, done + room, side="right")))
            done = ends[edges[-1] - 1]
        return edges


class Stream:
    """Sends chunks of whole batches through two buffers: one is trained on while the other is filled.

    Parameters
    ----------
    rows : HostRows
    capacity : int
        The bytes of a buffer, enough for any batch.
    """

    def __init__(self, rows: HostRows, capacity: int):
        self._rows, self._capacity, self._copies = rows, capacity, cuda.stream()
        buffers = [(cuda.pinned_array(capacity, np.uint8), cuda.device_array(capacity, np.uint8)) for _ in range(2)]
        self._buffers, self._no_weights = itertools.cycle(buffers), empty_array(rows.targets.dtype)

    def chunks(self, order: np.ndarray, records: np.ndarray, most_steps: int) -> Iterator[tuple]:
        """Give (records of steps, rows, targets, weights, order) for a launch, as `_send` does."""
        starts = records[:, FIRST].astype(np.int64)
        edges = self._rows.edges(order, starts, self._capacity)
        for first_step, last_step in itertools.pairwise(edges):
            rows = order[starts[first_step] : int(records[last_step - 1, LAST])]
            sent = self._send(rows)
            for first in range(first_step, last_step, most_steps):
                part = records[first : min(last_step, first + most_steps)].copy()
                part[:, [FIRST, LAST]] -= starts[first_step]
                yield part, *sent

    def _send(self, chosen):
        """Begin to copy rows to the GPU; return them as they will be there when it has been waited for."""
        pinned, device = next(self._buffers)
        X, targets, weights = self._rows.X, self._rows.targets, self._rows.weights
        first_column = 0
        parts = [(np.arange(len(chosen)), None), (targets, chosen), (X, chosen), (np.zeros(1, np.int64), None)]
        if sparse.issparse(X):
            values, entries = entries_of(X[chosen])
            parts[2:], first_column = [(values, None), (entries, None)], len(chosen) + 1
        if weights is not None:
            parts.append((weights, chosen))
        arrays, place = [], 0
        for part, rows in parts:
            shape = part.shape if rows is None else (len(rows), *part.shape[1:])
            last = place + int(np.prod(shape)) * part.dtype.itemsize
            there = pinned[place:last].view(part.dtype).reshape(shape)
            if rows is None:
                there[...] = part
            else:
                np.take(part, rows, axis=0, out=there, mode="clip")  # any other mode goes through a buffer
            arrays.append(device[place:last].view(part.dtype))
            place = -(-last // ALIGNMENT) * ALIGNMENT
        device[:place].copy_to_device(pinned[:place], stream=self._copies)
        order, targets, values, entries, *weights = arrays
        return Uploaded(values, entries, first_column), targets, weights[0] if weights else self._no_weights, order
