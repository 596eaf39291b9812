"""Where everything lies in the flat buffers of a network on a GPU, and the copies into them and out of them.

`memory` holds the parameters, and four numbers more of each: both moments, the gradient, and the weight again in a
transposed copy for the way back. `rows` holds what the rows of a batch have: inputs, activations, their slopes, errors.
All matrices lie row by row. Rows are padded to a multiple of four numbers with zeros, so that a thread loads and
stores four at once; and so are the rows of weights, so that sums run over the padding.
"""

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise

import numpy as np

from fastmlp.formulas.random import RESOLUTION
from fastmlp.network import Network

WIDE = 4  # numbers that a thread loads at once
MOST_ROWS = 8192  # of a batch that go through the network at once; a larger batch goes in several blocks of rows

# the head of a plan (an int64 array); places count elements of `memory` or of `rows`
(
    N_LAYERS,
    PARAMETERS,
    MEMORY,
    ROWS,
    CAPACITY,
    ITEMS,
    ROW_TILE,
    GROUP_ROWS,
    LOSS,
    COLUMNS,
    SPARSE,
    UPDATE,
    N_SLOTS,
    DECOUPLED,
    AVERAGED,
    SEED,
    OWN_TARGETS,
    OWN_WEIGHTS,
    N_GROUPS,
    GROUPS,
    ORDERED,
    WEIGHTED,
    HEAD,
) = range(23)
# the record of a layer
(
    INPUTS,
    OUTPUTS,
    IN_STRIDE,
    OUT_STRIDE,
    WEIGHT,
    BIAS,
    TRANSPOSED,
    INPUT,
    OUTPUT,
    SLOPE,
    ERROR,
    ERROR_BELOW,
    ACTIVATION,
    DROPPED,
    ITEMS_BEFORE,
    FIELDS,
) = range(16)


def padded(width: int) -> int:
    """Return a width rounded up to whole loads."""
    return -(-width // WIDE) * WIDE


class Layout:
    """The buffers of a network of which `capacity` rows are taken through it at once.

    Parameters
    ----------
    network : Network
        The architecture.
    capacity : int
        The most rows in `rows`.
    training : bool, default=True
        Whether there is place for moments, gradients, slopes and errors.
    to_inputs : bool, default=False
        Whether there is place for slopes and errors, back to the inputs, but not for moments and gradients.

    Attributes
    ----------
    plan : ndarray of int64
        What kernels know of it.
    memory_size, rows_size : int
        How many numbers there are.
    """

    def __init__(self, network: Network, capacity: int, training: bool = True, to_inputs: bool = False):
        self.network, self.capacity = network, padded(capacity)
        backward = training or to_inputs
        strides = [padded(width) for width in network.widths]
        records, place, items = [], 0, 0
        for (inputs, outputs), (in_stride, out_stride) in zip(pairwise(network.widths), pairwise(strides), strict=True):
            record = [0] * FIELDS
            record[INPUTS], record[OUTPUTS], record[IN_STRIDE], record[OUT_STRIDE] = (
                inputs,
                outputs,
                in_stride,
                out_stride,
            )
            record[WEIGHT], record[BIAS] = place, place + in_stride * out_stride
            place = record[BIAS] + out_stride
            record[ITEMS_BEFORE] = items
            items += (in_stride // WIDE + 1) * (out_stride // WIDE)  # tiles of weights, then loads of biases
            records.append(record)
        head = [0] * HEAD
        head[N_LAYERS], head[PARAMETERS], head[ITEMS] = len(records), place, items
        self.memory_size = place * (4 if training else 1)
        if backward:
            for record in records if to_inputs else records[1:]:
                record[TRANSPOSED] = self.memory_size
                self.memory_size += record[IN_STRIDE] * record[OUT_STRIDE]
        self.rows_size = 0
        places = [self._take(stride) for stride in strides]
        slopes = [self._take(stride) if backward else 0 for stride in strides[1:-1]]
        errors = [self._take(stride) if backward and (to_inputs or i > 0) else 0 for i, stride in enumerate(strides)]
        for i, record in enumerate(records):
            record[INPUT], record[OUTPUT] = places[i], places[i + 1]
            record[ERROR_BELOW], record[ERROR] = errors[i], errors[i + 1]
            record[SLOPE] = slopes[i] if i < len(slopes) else 0
            if training and i < len(network.dropout):
                record[DROPPED] = round(network.dropout[i] * RESOLUTION)
        head[AVERAGED], head[MEMORY], head[CAPACITY] = 1, self.memory_size, self.capacity
        head[N_GROUPS], head[GROUPS] = len(network.groups), HEAD + len(records) * FIELDS
        head[ROWS] = self.rows_size
        self.plan = np.array([*head, *chain.from_iterable(records), *accumulate(network.groups)], dtype=np.int64)
        self.layers = self.plan[HEAD : HEAD + len(records) * FIELDS].reshape(-1, FIELDS)

    def _take(self, stride: int) -> int:
        place = self.rows_size
        self.rows_size += stride * self.capacity
        return place

    def add_targets(self, columns: int) -> None:
        """Make place for targets and weights of a batch's rows, for rows that are mixed."""
        self.plan[OWN_TARGETS] = self._take(columns)
        self.plan[OWN_WEIGHTS] = self._take(1)
        self.plan[ROWS] = self.rows_size

    def pack(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray], dtype: np.dtype) -> np.ndarray:
        """Return weights (inputs, outputs) and biases (outputs,) of all layers as the parameters lie in `memory`."""
        packed = np.zeros(self.plan[PARAMETERS], dtype)
        for record, coef, intercept in zip(self.layers, coefs, intercepts, strict=True):
            self._weight(packed, record)[: record[INPUTS], : record[OUTPUTS]] = coef
            packed[record[BIAS] : record[BIAS] + record[OUTPUTS]] = intercept
        return packed

    def transpose(self, packed: np.ndarray) -> np.ndarray:
        """Return the transposed copies of the weights in what `pack` returned, as they lie at the end of `memory`."""
        copies = [self._weight(packed, record).T.ravel() for record in self.layers if record[TRANSPOSED] > 0]
        return np.concatenate([packed[:0], *copies])

    def unpack(self, packed: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return fresh weights and biases of what `pack` returned."""
        coefs = [self._weight(packed, record)[: record[INPUTS], : record[OUTPUTS]].copy() for record in self.layers]
        intercepts = [packed[record[BIAS] : record[BIAS] + record[OUTPUTS]].copy() for record in self.layers]
        return coefs, intercepts

    def _weight(self, packed, record):
        return packed[record[WEIGHT] : record[BIAS]].reshape(record[IN_STRIDE], record[OUT_STRIDE])
