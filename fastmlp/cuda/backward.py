"""Errors of a block's rows, from the output back to the first layer's output, or to the inputs."""

from fastmlp.cuda.compiler import block_sync, device, store4
from fastmlp.cuda.forward import record_of
from fastmlp.cuda.layout import (
    ERROR,
    ERROR_BELOW,
    FIELDS,
    IN_STRIDE,
    N_LAYERS,
    OUT_STRIDE,
    ROW_TILE,
    SLOPE,
    TRANSPOSED,
)
from fastmlp.cuda.products import row_sums, tile_sums


@device
def times_slopes(rows, plan, layer, row, unit):
    """Multiply four errors of a row below a layer by the slopes of the layer below, which there must be."""
    stride = plan[layer + IN_STRIDE]
    error = plan[layer + ERROR_BELOW] + row * stride + unit
    slope = plan[layer - FIELDS + SLOPE] + row * stride + unit
    for k in range(4):
        rows[error + k] *= rows[slope + k]


@device
def layer_backward(memory, rows, plan, index, span, worker):
    """Errors below a layer <- its errors @ weight transposed, times the slopes of the layer below, if there is one."""
    layer = record_of(index)
    in_stride, out_stride, weight = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE], plan[layer + TRANSPOSED]
    tile = plan[ROW_TILE]
    columns = in_stride // 4
    items = (span[1] - span[0] + tile - 1) // tile * columns
    for item in range(worker[0], items, worker[1]):
        row, unit = span[0] + item // columns * tile, item % columns * 4
        i, j = plan[layer + ERROR] + row * out_stride, weight + unit
        o = plan[layer + ERROR_BELOW] + row * in_stride + unit
        if tile == 1:
            store4(rows, o, row_sums(rows, i, memory, j, in_stride, out_stride))
        else:
            t0, t1, t2, t3 = tile_sums(rows, i, out_stride, memory, j, in_stride, out_stride)
            store4(rows, o, t0)
            store4(rows, o + in_stride, t1)
            store4(rows, o + 2 * in_stride, t2)
            store4(rows, o + 3 * in_stride, t3)
        if index > 0:
            for r in range(row, min(row + tile, span[1])):
                times_slopes(rows, plan, layer, r, unit)
    block_sync()


@device
def backward(memory, rows, plan, lowest, span, worker):
    """Take the errors of rows span[0] to span[1] from the output through all layers down to the number `lowest`."""
    for index in range(plan[N_LAYERS] - 1, lowest - 1, -1):
        layer_backward(memory, rows, plan, index, span, worker)
