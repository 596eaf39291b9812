"""Phase A of a step: rows are independent, each thread takes some through the whole network and back.

Gather the rows, forward through all layers, loss and output error, errors back through all layers.
"""

from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import inlined, kernel
from fastmlp.cpu.elementwise import activate, multiply_by_derivative
from fastmlp.cpu.lanes import load, load_first, store, width
from fastmlp.cpu.layout import (
    ACTIVATION,
    BIAS,
    CHOSEN,
    ERROR,
    FIELDS,
    HEAD,
    IN_PANELS,
    INPUT,
    INPUTS,
    LOSS,
    N_LAYERS,
    OUT_PANELS,
    OUTPUT,
    OUTPUTS,
    ROW_STRIDE,
    TRANSPOSED,
    TRANSPOSED_STRIDE,
    WEIGHT,
    WEIGHT_STRIDE,
    ZEROS,
)
from fastmlp.cpu.multiply import edge, parts_of, rows_product
from fastmlp.cpu.output import output_error
from fastmlp.cpu.target import PANELS


@inlined
def gather(memory, block, row_stride, rows, order, first_row, last_row):
    """memory: [panels][rows][lanes] at `block` <- rows[order[first_row : last_row]]."""
    lanes = width(memory)
    columns = rows.shape[1]
    whole = columns // lanes * lanes
    for row in range(first_row, last_row):
        source, target = order[row] * columns, block + row * lanes
        for column in range(0, whole, lanes):
            store(memory, target, load(rows, source + column))
            target += row_stride
        if whole < columns:
            store(memory, target, load_first(rows, source + whole, columns - whole))


@kernel
def dense(memory, out, bias, left, row_stride, weight, weight_stride, panels, depth, span):
    """Rows span[0] to span[1] of out = left @ weight + bias; a bias stride of 0 lanes repeats zeros."""
    lanes = width(memory)
    groups = parts_of(panels, PANELS)
    for group in range(groups):
        panel = edge(panels, groups, group)
        rows_product(
            edge(panels, groups, group + 1) - panel,
            memory,
            out + panel * row_stride,
            bias + panel * lanes,
            left,
            weight + panel * weight_stride,
            row_stride,
            weight_stride,
            span[0],
            span[1],
            depth,
        )


@inlined
def sparse_rows_product(memory, layer, row_stride, X, order, span):
    """Rows of the first layer's preactivations from CSR rows, each entry adds a multiple of a row of the weights."""
    lanes = width(memory)
    data, indices, indptr = X
    for row in range(span[0], span[1]):
        first, last = indptr[order[row]], indptr[order[row] + 1]
        for panel in range(layer[OUT_PANELS]):
            total = load(memory, layer[BIAS] + panel * lanes)
            weight = layer[WEIGHT] + panel * layer[WEIGHT_STRIDE]
            for entry in range(first, last):
                total = total + load(memory, weight + indices[entry] * lanes) * data[entry]
            store(memory, layer[OUTPUT] + panel * row_stride + row * lanes, total)


def first_layer(memory, layer, row_stride, X, order, span):
    """Compute the first layer's preactivations for X[order[row]], row = span[0] to span[1], from dense or CSR rows."""


@overload(first_layer, inline="always")
def _first_layer(memory, layer, row_stride, X, order, span):
    if isinstance(X, types.BaseTuple):
        return lambda memory, layer, row_stride, X, order, span: sparse_rows_product(
            memory, layer, row_stride, X, order, span
        )

    def from_dense(memory, layer, row_stride, X, order, span):
        gather(memory, layer[INPUT], row_stride, X, order, span[0], span[1])
        dense_layer(memory, layer, row_stride, span)

    return from_dense


@kernel
def dense_layer(memory, layer, row_stride, span):
    """Rows span[0] to span[1] of a layer's preactivations from its input."""
    dense(
        memory,
        layer[OUTPUT],
        layer[BIAS],
        layer[INPUT],
        row_stride,
        layer[WEIGHT],
        layer[WEIGHT_STRIDE],
        layer[OUT_PANELS],
        layer[INPUTS],
        span,
    )


@inlined
def activate_rows(memory, layer, row_stride, span):
    """Apply a layer's activation to rows span[0] to span[1] of its output."""
    lanes = width(memory)
    for panel in range(layer[OUT_PANELS]):
        block = layer[OUTPUT] + panel * row_stride + span[0] * lanes
        activate(layer[ACTIVATION], memory, block, (span[1] - span[0]) * lanes)


@inlined
def forward_rows(memory, plan, X, order, span):
    """Take rows X[order[span[0] : span[1]]] to the preactivations of the output."""
    row_stride, n_layers = plan[ROW_STRIDE], plan[N_LAYERS]
    for index in range(n_layers):
        layer = plan[HEAD + index * FIELDS : HEAD + (index + 1) * FIELDS]
        if index == 0:
            first_layer(memory, layer, row_stride, X, order, span)
        else:
            dense_layer(memory, layer, row_stride, span)
        if index < n_layers - 1:
            activate_rows(memory, layer, row_stride, span)


@kernel
def backward_rows(memory, plan, span):
    """Take the errors of rows span[0] to span[1] from the output to the first layer's output."""
    lanes = width(memory)
    row_stride = plan[ROW_STRIDE]
    for index in range(plan[N_LAYERS] - 1, 0, -1):
        layer = plan[HEAD + index * FIELDS : HEAD + (index + 1) * FIELDS]
        below = plan[HEAD + (index - 1) * FIELDS : HEAD + index * FIELDS]
        groups = parts_of(layer[IN_PANELS], PANELS)
        for group in range(groups):
            panel = edge(layer[IN_PANELS], groups, group)
            panels = edge(layer[IN_PANELS], groups, group + 1) - panel
            rows_product(
                panels,
                memory,
                below[ERROR] + panel * row_stride,
                plan[ZEROS],
                layer[ERROR],
                layer[TRANSPOSED] + panel * layer[TRANSPOSED_STRIDE],
                row_stride,
                layer[TRANSPOSED_STRIDE],
                span[0],
                span[1],
                layer[OUTPUTS],
            )
            for p in range(panel, panel + panels):
                start = p * row_stride + span[0] * lanes
                multiply_by_derivative(
                    below[ACTIVATION],
                    memory,
                    below[ERROR] + start,
                    below[OUTPUT] + start,
                    (span[1] - span[0]) * lanes,
                )


@inlined
def train_rows(memory, row_losses, plan, X, targets, weights, order, span):
    """Run phase A for rows X[order[span[0] : span[1]]]: activations, row losses and errors, all left in the buffers."""
    forward_rows(memory, plan, X, order, span)
    last = plan[HEAD + (plan[N_LAYERS] - 1) * FIELDS :]
    output_error(
        plan[LOSS],
        memory,
        row_losses,
        plan[CHOSEN],
        last[OUTPUT],
        plan[ROW_STRIDE],
        targets,
        weights,
        order,
        span,
        last[OUTPUTS],
    )
    backward_rows(memory, plan, span)
