"""Where everything lies in the one flat buffer of a network, and the copies into it and out of it.

A matrix lies in column panels `[columns / lanes][rows][lanes]`: the lanes of a row are one register, and a panel's
rows are contiguous. The same layout serves as vector operand (whole registers) and as broadcast operand (rows a
register apart).

The weights of a layer of one output would fill one lane of each register. So they lie along its inputs, as a column of
registers: all that is done to parameters is done to it as to the weights of so many inputs.

Where a few outputs of a layer are left beyond the whole registers, its tail, the weights of these have a copy along the
inputs, which products are summed along, too.
"""

from itertools import accumulate, chain, pairwise

import numpy as np
from numba import from_dtype

from fastmlp.activation import Activation
from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import LANES
from fastmlp.cpu.target import INSTRUCTION_SET, PANELS, ROWS, TAIL_UNITS
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.random import RESOLUTION
from fastmlp.network import Network

BLOCK_ROWS = 512  # rows that go through the network at once; a larger batch goes in several blocks
SMALLEST_CHUNK = 32  # rows, below which sums over two chunks cost more than threads gain by them
UNIT_PRODUCTS = 1_750_000  # multiply-adds that are worth a counter which all threads share: some 20 microseconds
MOST_UNITS = 16
ALIGNMENT = 64  # bytes: a register load that straddles two cache lines costs two loads

# the head of a plan (an int64 array); offsets, distances and strides count elements of the buffer, but GROUPS is the
# place in the plan from which on it says where the groups of outputs end that share a softmax
(
    N_LAYERS,
    ROW_STRIDE,
    FIRST,
    SECOND,
    GRADIENT,
    OTHER_GRADIENT,
    CHUNKS,
    UNITS,
    FIRST_DENSE,
    ZEROS,
    CHOSEN,
    LOSS,
    COST,
    TILES,
    OWN_TARGETS,
    OWN_WEIGHTS,
    CHANGE,
    SCRATCH,
    GROUPS,
    HEAD,
) = range(20)
# the record of a layer: ten fields of the product of its forward pass, the same ten of its backward pass, and more;
# ALONG: where the weights of the TAIL last outputs lie along the inputs; the weights of all panels from FIRST_COPIED on
# have a copy in TRANSPOSED
(
    INPUTS,
    OUT_PANELS,
    WEIGHT,
    WEIGHT_STRIDE,
    BIAS,
    INPUT,
    OUTPUT,
    TAIL,
    ALONG,
    ALONG_STRIDE,
    OUTPUTS,
    IN_PANELS,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    NO_BIAS,
    ERROR,
    ERROR_BELOW,
    INPUT_TAIL,
    INPUT_ALONG,
    INPUT_ALONG_STRIDE,
    ACTIVATION,
    SLOPE,
    DROPPED,
    COST_BEFORE,
    TILES_BEFORE,
    WEIGHT_ROWS,
    FIRST_COPIED,
    FIELDS,
) = range(28)
BACKWARD = OUTPUTS


@kernel
def record_of(index):
    """Return where in a plan the record of a layer begins."""
    return HEAD + index * FIELDS


@kernel
def lies_along(plan, layer):
    """Return whether the weights of a layer lie along its inputs."""
    return plan[layer + WEIGHT_ROWS] < plan[layer + INPUTS]


def is_along(record: np.ndarray | list[int]) -> bool:
    """Return the same of a record."""
    return record[WEIGHT_ROWS] < record[INPUTS]


def has_single_output(index: int, widths: tuple[int, int]) -> bool:
    """Return whether a layer's weights lie along its inputs; the first layer's do not, for its inputs may be sparse."""
    return index > 0 and widths[0] > widths[1] == 1


def tail_of(inputs: int, outputs: int, lanes: int) -> int:
    """Return how many outputs beyond the whole registers are summed along the inputs; 0 where a register is as fast."""
    rest = outputs % lanes
    return rest if inputs >= 2 * lanes and padded_units(rest) <= 3 * lanes // 4 else 0


def padded_units(units: int) -> int:
    """Return the outputs of a tail rounded up to what are summed at once."""
    return -(-units // TAIL_UNITS) * TAIL_UNITS


def n_groups(record: list[int]) -> int:
    """Return how many groups of panels a layer's tiles are of: the whole panels, and the one of its tail."""
    tail = record[TAIL] > 0
    return -(-(record[OUT_PANELS] - tail) // PANELS) + tail


def padded_rows(rows: int) -> int:
    """Return `rows` rounded up to whole tiles, and on to a stride whose multiples use all cache sets.

    With 512 rows to a panel every access fell into the same sets; three rows more halved the time of a step.
    """
    rows = -(-rows // ROWS) * ROWS
    return rows + 3 if rows * INSTRUCTION_SET.register_bytes % 2048 == 0 else rows


def layers_of(plan: np.ndarray) -> np.ndarray:
    """Return the records of a plan's layers as a matrix, a view."""
    return plan[HEAD : plan[GROUPS]].reshape(-1, FIELDS)


def lanes_of(dtype: np.dtype) -> int:
    """Return how many numbers of `dtype` a register holds."""
    return LANES[from_dtype(np.dtype(dtype))]


def needs_preactivation(activation: str | Activation) -> bool:
    """Return whether a derivative is kept from the way forward, since the activation does not determine it."""
    return not isinstance(activation, str) or ACTIVATIONS[activation].derivative is None


class Layout:
    """The buffer of a network: parameters, optimizer state, gradient, activations and errors of a block of rows.

    Parameters, both moments and the gradient have one layout; FIRST, SECOND and GRADIENT are the distances. With
    OTHER_GRADIENT, the distance of another gradient, a batch may be summed in two chunks of rows. To train,
    all threads work on one block of rows. To predict (`training` false), each has a block of its own, and there is
    place for the parameters and activations only, which hold no numbers yet; with `to_inputs` there is place for errors
    too, back to the inputs. With `target_columns`, there is place for targets and weights of a block's rows, for rows
    that are mixed; with `change`, the address of a user's change of rows, for a row of each thread.
    """

    def __init__(
        self,
        network: Network,
        dtype: np.dtype,
        rows: int,
        n_threads: int,
        dense_input: bool = True,
        training: bool = True,
        target_columns: int = 0,
        change: int = 0,
        to_inputs: bool = False,
    ):
        self.network, self.dtype, self.lanes = network, np.dtype(dtype), lanes_of(dtype)
        head, self._size, self.n_tiles, self._batch_rows = [0] * HEAD, 0, 0, 0
        self.most_rows = min(rows, BLOCK_ROWS)
        head[N_LAYERS], head[UNITS] = len(network.widths) - 1, 1
        head[FIRST_DENSE] = 0 if dense_input else 1  # the first layer whose inputs are dense
        records = [self._place_parameters(head, *layer) for layer in enumerate(pairwise(network.widths))]
        head[TILES] = self.n_tiles
        self.parameters_size = self._size
        if training:
            head[FIRST], head[SECOND], head[GRADIENT] = (self._size * i for i in (1, 2, 3))
            self._size *= 4
            if dense_input and self._worth_chunks(records, self.most_rows):
                head[OTHER_GRADIENT] = self._size
                self._size += self.parameters_size
        for index, record in enumerate(records):
            self._place_copies(record, to_inputs or (training and index > 0))
        first = self._size
        self._place_rows(records, self.most_rows, dense_input, training, to_inputs)
        self._block_size = self._size - first
        if not training:
            self._take(self._block_size * (n_threads - 1))
        if training or to_inputs:
            panels = max(record[IN_PANELS] for record in records)
            head[ZEROS] = self._take(max(PANELS, ROWS, panels) * self.lanes)
            for record in records:
                record[NO_BIAS] = head[ZEROS]
            head[CHOSEN] = self._take(2 * BLOCK_ROWS)
            if target_columns > 0:
                head[OWN_TARGETS] = self._take(target_columns * BLOCK_ROWS)
                head[OWN_WEIGHTS] = self._take(BLOCK_ROWS)
            if change != 0:
                head[CHANGE], head[SCRATCH] = change, self._take(n_threads * 2 * network.widths[0])
        self._take(self.lanes * self.lanes)  # what reads several rows at once may read beyond the end
        head[GROUPS] = HEAD + len(records) * FIELDS
        self.plan = np.array([*head, *chain.from_iterable(records), *accumulate(network.groups)], dtype=np.int64)
        self.layers = layers_of(self.plan)
        spare = ALIGNMENT // self.dtype.itemsize
        whole = (np.zeros if training or to_inputs else np.empty)(self._size + spare, dtype=self.dtype)
        start = -whole.ctypes.data % ALIGNMENT // self.dtype.itemsize
        self.memory = whole[start : start + self._size]

    def _take(self, size):
        start, self._size = self._size, self._size + size
        return start

    def _panels(self, columns):
        return -(-columns // self.lanes)

    def _place_parameters(self, head, index, widths):
        """Return the record of a layer, with the place of its parameters."""
        inputs, outputs = widths
        rows = self._panels(inputs) if has_single_output(index, widths) else inputs
        panels, tiles = self._panels(outputs), -(-rows // ROWS)
        record = [0] * FIELDS
        if rows == inputs and index >= head[FIRST_DENSE]:
            record[TAIL] = tail_of(inputs, outputs, self.lanes)
        record[INPUTS], record[OUTPUTS] = inputs, outputs
        record[IN_PANELS], record[OUT_PANELS], record[WEIGHT_ROWS] = self._panels(inputs), panels, rows
        # the tile of a tail is of whole registers of inputs
        record[WEIGHT_STRIDE] = padded_rows(self._panels(inputs) * self.lanes if record[TAIL] else rows) * self.lanes
        record[WEIGHT] = self._take(panels * record[WEIGHT_STRIDE])
        record[BIAS] = self._take(panels * self.lanes)
        record[COST_BEFORE], record[TILES_BEFORE] = head[COST], self.n_tiles
        head[COST] += panels * tiles
        self.n_tiles += n_groups(record) * (tiles + 1)  # and the biases of a group of panels
        return record

    def _place_copies(self, record, whole):
        """Place the transposed copy of the weights, `whole` or of the tail only, if there is one."""
        block, last = self.lanes * self.lanes, record[OUT_PANELS] - 1
        record[FIRST_COPIED] = record[OUT_PANELS]
        if whole and is_along(record):  # they lie so already
            record[TRANSPOSED], record[TRANSPOSED_STRIDE] = record[WEIGHT], self.lanes
            return
        if whole:
            record[FIRST_COPIED] = 0
            rows = max(padded_rows(record[OUTPUTS]), record[OUT_PANELS] * self.lanes)
            record[TRANSPOSED_STRIDE] = rows * self.lanes
            record[TRANSPOSED] = self._take(record[IN_PANELS] * record[TRANSPOSED_STRIDE])
            record[INPUT_TAIL] = tail_of(record[OUTPUTS], record[INPUTS], self.lanes)
            record[INPUT_ALONG] = record[WEIGHT] + record[INPUTS] // self.lanes * block
            record[INPUT_ALONG_STRIDE] = record[WEIGHT_STRIDE]
        elif record[TAIL] > 0:
            record[FIRST_COPIED], record[TRANSPOSED_STRIDE] = last, block
            record[TRANSPOSED] = self._take(record[IN_PANELS] * block) - last * block
        record[ALONG], record[ALONG_STRIDE] = record[TRANSPOSED] + last * block, record[TRANSPOSED_STRIDE]

    def _place_rows(self, records, rows, dense_input, training, to_inputs):
        stride = padded_rows(rows) * self.lanes
        below = self._take(records[0][IN_PANELS] * stride) if dense_input or to_inputs else 0
        error_below = below  # errors of the inputs: nothing reads the inputs any more when they are there
        for index, record in enumerate(records):
            record[INPUT], record[ERROR_BELOW] = below, error_below
            below = record[OUTPUT] = record[ERROR] = self._take(record[OUT_PANELS] * stride)
            if (training or to_inputs) and index < len(records) - 1:
                record[ERROR] = self._take(record[OUT_PANELS] * stride)
                if self.network.dropout:
                    record[DROPPED] = round(self.network.dropout[index] * RESOLUTION)
                if record[DROPPED] > 0 or needs_preactivation(self.network.activations[index]):
                    record[SLOPE] = self._take(record[OUT_PANELS] * stride) - record[OUTPUT]
            error_below = record[ERROR]

    def _worth_chunks(self, records, rows):
        """Return whether two threads send each other less by gradients of half a batch than by its activations.

        A line of the cache that the other core has written takes some ten nanoseconds to come. In one chunk, a thread
        reads of the other's rows the activations and errors that its tiles need, some three quarters; in two, its part
        of the other's gradient.
        """
        gradient = sum(record[WEIGHT_ROWS] * record[OUT_PANELS] for record in records)
        row = sum(record[IN_PANELS] + record[OUT_PANELS] for record in records)
        return rows >= 2 * SMALLEST_CHUNK and gradient < 0.75 * row * rows

    def set_batch(self, batch_size: int) -> None:
        """Set what depends on the rows of a batch: the stride of activations and errors, and the division of the work.

        CHUNKS of rows have gradients of their own; a thread's share of the parameters is divided into UNITS.
        """
        rows = min(batch_size, self.most_rows)  # a batch may be larger than the data: then there is place for these
        if rows == self._batch_rows:
            return
        self._batch_rows = rows
        self.plan[ROW_STRIDE] = padded_rows(rows) * self.lanes
        in_two = self.plan[OTHER_GRADIENT] > 0 and self._worth_chunks(self.layers.tolist(), rows)
        self.plan[CHUNKS] = 2 if in_two else 1
        if self.plan[FIRST_DENSE] == 0:  # each unit of a sparse layer looks at all entries of the batch
            products = rows * sum(
                record[WEIGHT_ROWS] * record[OUT_PANELS] * self.lanes for record in self.layers.tolist()
            )
            self.plan[UNITS] = min(MOST_UNITS, max(1, products // (2 * UNIT_PRODUCTS)))

    def plan_of(self, thread: int) -> np.ndarray:
        """Return the plan with a thread's own block of rows, to predict."""
        if thread == 0:
            return self.plan
        plan = self.plan.copy()
        layers_of(plan)[:, [INPUT, OUTPUT, ERROR, ERROR_BELOW]] += thread * self._block_size
        return plan

    def undropped_plan(self) -> np.ndarray:
        """Return the plan without dropout."""
        if not self.layers[:, DROPPED].any():
            return self.plan
        plan = self.plan.copy()
        layers_of(plan)[:, DROPPED] = 0
        return plan

    def _panel_view(self, start, stride, rows, panels):
        whole = self.memory[start : start + panels * stride].reshape(panels, stride)
        return whole[:, : rows * self.lanes].reshape(panels, rows, self.lanes)

    def _weight_view(self, record, distance):
        """Return [panels][rows][lanes] of the weights, of their transpose where they lie along the inputs."""
        start = distance + record[WEIGHT]
        if is_along(record):
            return self._panel_view(start, self.lanes, 1, record[IN_PANELS])
        return self._panel_view(start, record[WEIGHT_STRIDE], record[INPUTS], record[OUT_PANELS])

    def _write(self, view, matrix):
        """Write a matrix (rows, columns) into a view of its panels; what lies beyond its columns becomes 0."""
        whole, rest = divmod(matrix.shape[1], self.lanes)
        columns = matrix[:, : whole * self.lanes].reshape(len(matrix), whole, self.lanes)
        view[:whole] = columns.transpose(1, 0, 2)
        if rest:
            view[whole, :, :rest] = matrix[:, whole * self.lanes :]
            view[whole, :, rest:] = 0

    def _read(self, matrix, view):
        """Read a matrix (rows, columns) from a view of its panels."""
        whole, rest = divmod(matrix.shape[1], self.lanes)
        columns = matrix[:, : whole * self.lanes].reshape(len(matrix), whole, self.lanes)  # a view
        columns[:] = view[:whole].transpose(1, 0, 2)
        if rest:
            matrix[:, whole * self.lanes :] = view[whole, :, :rest]

    def write(self, coefs: list[np.ndarray], intercepts: list[np.ndarray], distance: int = 0) -> None:
        """Copy weights and biases (or a moment of them, at its distance) into the buffer."""
        for record, weight, bias in zip(self.layers, coefs, intercepts, strict=True):
            weight = np.asarray(weight)
            self._write(self._weight_view(record, distance), weight.T if is_along(record) else weight)
            start = distance + record[BIAS]
            # beyond them a step that diverged left NaN
            self.memory[start : start + record[OUT_PANELS] * self.lanes] = 0
            self.memory[start : start + len(bias)] = bias

    def write_transposed(self) -> None:
        """Copy weights into their transposed copies."""
        for record in self.layers:
            first, panels = record[FIRST_COPIED], record[OUT_PANELS]
            if first < panels:
                weight = np.empty((record[INPUTS], (panels - first) * self.lanes), self.memory.dtype)
                self._read(weight, self._weight_view(record, 0)[first:])
                start = record[TRANSPOSED] + first * self.lanes * self.lanes
                view = self._panel_view(start, record[TRANSPOSED_STRIDE], weight.shape[1], record[IN_PANELS])
                self._write(view, weight.T)

    def read(self, coefs: list[np.ndarray], intercepts: list[np.ndarray], distance: int = 0) -> None:
        """Copy weights and biases (or what lies at a distance) into these arrays."""
        for record, weight, bias in zip(self.layers, coefs, intercepts, strict=True):
            self._read(weight.T if is_along(record) else weight, self._weight_view(record, distance))
            start = distance + record[BIAS]
            bias[:] = self.memory[start : start + record[OUTPUTS]]
