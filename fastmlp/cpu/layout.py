"""Where everything lies in the one flat buffer of a network, and the copies into it and out of it.

A matrix lies in column panels `[columns / lanes][rows][lanes]`: the lanes of a row are one register, and a panel's
rows are
contiguous. The same layout serves as vector operand (whole registers) and as broadcast operand (rows a register apart).
"""

import numpy as np
from numba import from_dtype

from fastmlp.cpu.lanes import LANES
from fastmlp.cpu.target import INSTRUCTION_SET, PANELS, ROWS
from fastmlp.network import Network

BLOCK_ROWS = 512  # rows that go through the network at once; a larger batch goes in several blocks
ALIGNMENT = 64  # bytes: a register load that straddles two cache lines costs two loads

# the head of a plan (an int64 array); offsets, distances and strides count elements of the buffer
N_LAYERS, ROW_STRIDE, FIRST, SECOND, GRADIENT, SCRATCH, SCRATCH_SIZE, ZEROS, LOSS, COST, HEAD = range(11)
# the record of a layer
(
    INPUTS,
    OUTPUTS,
    IN_PANELS,
    OUT_PANELS,
    WEIGHT,
    WEIGHT_STRIDE,
    BIAS,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    INPUT,
    OUTPUT,
    ERROR,
    ACTIVATION,
    COST_BEFORE,
    TILES_BEFORE,
    FIELDS,
) = range(16)


def padded_rows(rows: int) -> int:
    """Return `rows` rounded up to whole tiles, and on to a stride whose multiples use all cache sets.

    With 512 rows to a panel every access fell into the same sets; three rows more halved the time of a step.
    """
    rows = -(-rows // ROWS) * ROWS
    return rows + 3 if rows * INSTRUCTION_SET.register_bytes % 2048 == 0 else rows


def lanes_of(dtype: np.dtype) -> int:
    """Return how many numbers of `dtype` a register holds."""
    return LANES[from_dtype(np.dtype(dtype))]


class Layout:
    """The buffer of a network: parameters, optimizer state, gradient, activations and errors of a block of rows.

    Parameters, both moments and the gradient have one layout; FIRST, SECOND and GRADIENT are the distances.
    """

    def __init__(self, network: Network, dtype: np.dtype, rows: int, n_threads: int, dense_input: bool = True):
        self.network, self.dtype, self.lanes = network, np.dtype(dtype), lanes_of(dtype)
        n_layers = len(network.widths) - 1
        self.plan = np.zeros(HEAD + FIELDS * n_layers, dtype=np.int64)
        self.layers = self.plan[HEAD:].reshape(n_layers, FIELDS)
        self.n_tiles = 0
        self._size = 0
        for record, inputs, outputs in zip(self.layers, network.widths[:-1], network.widths[1:], strict=True):
            self._place_parameters(record, inputs, outputs)
        self.parameters_size = self._size
        self.plan[[N_LAYERS, FIRST, SECOND, GRADIENT]] = n_layers, *(self._size * np.arange(1, 4))
        self._size *= 4
        self._place_rows(min(rows, BLOCK_ROWS), dense_input)
        self.plan[ZEROS] = self._take(max(PANELS, ROWS) * self.lanes)
        self.plan[SCRATCH_SIZE] = PANELS * ROWS * self.lanes
        self.plan[SCRATCH] = self._take(self.plan[SCRATCH_SIZE] * n_threads)
        spare = ALIGNMENT // self.dtype.itemsize
        whole = np.zeros(self._size + spare, dtype=self.dtype)
        start = -whole.ctypes.data % ALIGNMENT // self.dtype.itemsize
        self.memory = whole[start : start + self._size]

    def _take(self, size):
        start, self._size = self._size, self._size + int(size)
        return start

    def _panels(self, columns):
        return -(-columns // self.lanes)

    def _place_parameters(self, record, inputs, outputs):
        panels, tiles = self._panels(outputs), -(-inputs // ROWS)
        stride = padded_rows(inputs) * self.lanes
        record[[INPUTS, OUTPUTS, IN_PANELS, OUT_PANELS]] = inputs, outputs, self._panels(inputs), panels
        record[[WEIGHT, WEIGHT_STRIDE]] = self._take(panels * stride), stride
        record[BIAS] = self._take(panels * self.lanes)
        record[[COST_BEFORE, TILES_BEFORE]] = self.plan[COST], self.n_tiles
        self.plan[COST] += panels * tiles
        self.n_tiles += -(-panels // PANELS) * tiles

    def _place_rows(self, rows, dense_input):
        stride = padded_rows(rows) * self.lanes
        below = self._take(self.layers[0, IN_PANELS] * stride) if dense_input else 0
        for index, record in enumerate(self.layers):
            record[INPUT] = below
            record[ERROR] = self._take(record[OUT_PANELS] * stride)
            last = index == len(self.layers) - 1
            below = record[OUTPUT] = record[ERROR] if last else self._take(record[OUT_PANELS] * stride)
            if index > 0:
                transposed_rows = max(padded_rows(record[OUTPUTS]), record[OUT_PANELS] * self.lanes)
                record[TRANSPOSED_STRIDE] = transposed_rows * self.lanes
                record[TRANSPOSED] = self._take(record[IN_PANELS] * record[TRANSPOSED_STRIDE])

    def set_batch(self, batch_size: int) -> None:
        """Set the stride of activations and errors to suit batches of this size."""
        self.plan[ROW_STRIDE] = padded_rows(min(batch_size, BLOCK_ROWS)) * self.lanes

    def _panel_view(self, start, stride, rows, panels):
        whole = self.memory[start : start + panels * stride].reshape(panels, stride)
        return whole[:, : rows * self.lanes].reshape(panels, rows, self.lanes)

    def _weight_view(self, record, distance):
        return self._panel_view(distance + record[WEIGHT], record[WEIGHT_STRIDE], record[INPUTS], record[OUT_PANELS])

    def _write(self, view, matrix):
        """Write a matrix (rows, columns) into a view of its panels; what lies beyond its columns becomes 0."""
        whole, rest = divmod(matrix.shape[1], self.lanes)
        columns = matrix[:, : whole * self.lanes].reshape(len(matrix), whole, self.lanes)
        view[:whole] = columns.transpose(1, 0, 2)
        if rest:
            view[whole, :, :rest] = matrix[:, whole * self.lanes :]
            view[whole, :, rest:] = 0

    def _read(self, view, columns):
        return view.transpose(1, 0, 2).reshape(view.shape[1], -1)[:, :columns].copy()

    def write(self, coefs: list[np.ndarray], intercepts: list[np.ndarray], distance: int = 0) -> None:
        """Copy weights and biases (or a moment of them, at its distance) into the buffer."""
        for record, weight, bias in zip(self.layers, coefs, intercepts, strict=True):
            self._write(self._weight_view(record, distance), np.asarray(weight))
            start = distance + record[BIAS]
            self.memory[start : start + len(bias)] = bias

    def write_transposed(self) -> None:
        """Copy the weights of all layers but the first into their transposed copies."""
        for record in self.layers[1:]:
            weight = self._read(self._weight_view(record, 0), record[OUTPUTS])
            view = self._panel_view(record[TRANSPOSED], record[TRANSPOSED_STRIDE], record[OUTPUTS], record[IN_PANELS])
            self._write(view, weight.T)

    def read(self, distance: int = 0) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases (or what lies at a distance) as fresh arrays, (inputs, outputs) and (outputs,)."""
        coefs, intercepts = [], []
        for record in self.layers:
            coefs.append(self._read(self._weight_view(record, distance), record[OUTPUTS]))
            start = distance + record[BIAS]
            intercepts.append(self.memory[start : start + record[OUTPUTS]].copy())
        return coefs, intercepts
