"""Errors of a block's rows, from the output back to the first layer's output, or to the inputs."""

from collections.abc import Callable

from fastmlp.cuda.compiler import block_sync, device, divide, keep_apart, store4
from fastmlp.cuda.forward import are_spread, put_parts, record_of, sum_of_parts
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
def times_slope(rows, plan, layer, row, unit):
    """Multiply an error of a row below a layer by the slope of the layer below, which there must be."""
    place = row * plan[layer + IN_STRIDE] + unit
    rows[plan[layer + ERROR_BELOW] + place] *= rows[plan[layer - FIELDS + SLOPE] + place]


def make_backward(spreads: bool = False) -> Callable:
    """Return the device function that takes errors back; spreads: as for `forward.make_forward`."""

    @device
    def layer_backward(memory, rows, plan, index, span, scratch, worker):
        """Errors below a layer <- its errors @ weight transposed, times the slopes of the layer below, if any."""
        keep_apart()
        layer = record_of(index)
        in_stride, out_stride, weight = plan[layer + IN_STRIDE], plan[layer + OUT_STRIDE], plan[layer + TRANSPOSED]
        tile, n_rows = plan[ROW_TILE], span[1] - span[0]
        columns = in_stride // 4
        items = (n_rows + tile - 1) // tile * columns
        if spreads and are_spread(n_rows * columns, out_stride, worker):
            i = plan[layer + ERROR] + span[0] * out_stride
            put_parts(rows, i, out_stride, memory, weight, in_stride, n_rows, columns, out_stride, scratch, worker)
            for item in range(worker[0], n_rows * in_stride, worker[1]):
                row = divide(item, in_stride)
                unit = item - row * in_stride
                error = sum_of_parts(scratch, row, unit, columns, out_stride)
                rows[plan[layer + ERROR_BELOW] + span[0] * in_stride + item] = error
                if index > 0:
                    times_slope(rows, plan, layer, span[0] + row, unit)
            items = 0
        for item in range(worker[0], items, worker[1]):
            row = divide(item, columns)
            unit = (item - row * columns) * 4
            row = span[0] + row * tile
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
                    for u in range(unit, unit + 4):
                        times_slope(rows, plan, layer, r, u)
        block_sync()

    @device
    def backward(memory, rows, plan, lowest, span, scratch, worker):
        """Take the errors of rows span[0] to span[1] from the output through all layers down to the number `lowest`."""
        for index in range(plan[N_LAYERS] - 1, lowest - 1, -1):
            layer_backward(memory, rows, plan, index, span, scratch, worker)

    return backward
