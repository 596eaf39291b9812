"""Parameters from the arrays that they lie in into the panels of a buffer, to predict."""

from functools import partial

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastmlp.cpu.compile import entry, inlined, kernel
from fastmlp.cpu.lanes import repeat, store, width
from fastmlp.cpu.layout import (
    ALONG,
    ALONG_STRIDE,
    BIAS,
    INPUTS,
    N_LAYERS,
    OUTPUTS,
    TAIL,
    WEIGHT,
    WEIGHT_STRIDE,
    lies_along,
    record_of,
)
from fastmlp.cpu.rows import gather
from fastmlp.cpu.target import TAIL_UNITS

NO_PARAMETERS = np.empty(0, dtype=np.int64)


@partial(entry, nogil=False)
def note_addresses(addresses, place, weight, bias):
    """addresses[place : place + 2] <- where two arrays lie; NumPy takes six times as long to tell."""
    addresses[place] = weight.ctypes.data
    addresses[place + 1] = bias.ctypes.data


def addresses_of(coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> np.ndarray:
    """Return where each layer's weights and biases lie, layer by layer.

    So that one call packs them all: Numba would compile it anew for each number of arrays. They must be C-contiguous,
    and live until then.
    """
    addresses = np.empty(2 * len(coefs), dtype=np.int64)
    for layer, arrays in enumerate(zip(coefs, intercepts, strict=True)):
        note_addresses(addresses, 2 * layer, *arrays)
    return addresses


@intrinsic
def matrix_at(context, like, address, rows, columns):
    """Return the matrix (rows, columns), C-contiguous and read only, at an address; `like`: an array of its numbers."""
    kind = types.Array(like.dtype, 2, "C", readonly=True)

    def codegen(ctx, builder, sig, args):
        matrix = make_array(kind)(ctx, builder)
        size = ctx.get_constant(types.intp, like.dtype.bitwidth // 8)
        shape = cgutils.pack_array(builder, args[2:])
        strides = cgutils.pack_array(builder, [builder.mul(args[3], size), size])
        populate_array(matrix, builder.inttoptr(args[1], matrix.data.type), shape, strides, size, None)
        return matrix._getvalue()

    return kind(like, types.intp, types.intp, types.intp), codegen


@inlined
def pack_tail(memory, place, stride, weight, units):
    """memory at `place` <- the last columns of the weights along the inputs, [panels][units][lanes]; beyond them 0."""
    lanes = width(memory)
    inputs, outputs = weight.shape
    for first in range(0, inputs, lanes):
        for unit in range(-(-units // TAIL_UNITS) * TAIL_UNITS):
            target = place + first // lanes * stride + unit * lanes
            store(memory, target, repeat(memory, 0.0))
            if unit < units:
                for k in range(first, min(first + lanes, inputs)):
                    memory[target + k - first] = weight[k, outputs - units + unit]


@kernel
def pack_layers(memory, plan, addresses, order):
    """Pack the weights and biases at `addresses`, those of `addresses_of`; order: 0, 1, ..., as many as inputs."""
    for layer in range(plan[N_LAYERS]):
        record = record_of(layer)
        inputs, outputs, stride = plan[record + INPUTS], plan[record + OUTPUTS], plan[record + WEIGHT_STRIDE]
        address, lanes = addresses[2 * layer], width(memory)
        rows, columns = inputs, outputs
        if lies_along(plan, record):
            rows, columns, stride = 1, inputs, lanes
        gather(memory, plan[record + WEIGHT], stride, matrix_at(memory, address, rows, columns), order, 0, rows)
        bias = matrix_at(memory, addresses[2 * layer + 1], 1, outputs)
        gather(memory, plan[record + BIAS], lanes, bias, order, 0, 1)
        if plan[record + TAIL] > 0:
            weight = matrix_at(memory, address, inputs, outputs)
            pack_tail(memory, plan[record + ALONG], plan[record + ALONG_STRIDE], weight, plan[record + TAIL])


@entry
def pack_parameters(memory, plan, addresses, order):
    """As `pack_layers`."""
    pack_layers(memory, plan, addresses, order)
