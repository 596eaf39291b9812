"""How fast the innermost kernels are, and the processor: operations a second on data in first-level caches."""

import threading
from collections.abc import Callable
from functools import partial

import numba
import numpy as np

from benchmarks.common import seconds
from fastmlp.cpu.lanes import load, store, width
from fastmlp.cpu.layout import FIRST, GRADIENT, HEAD, SECOND, lanes_of
from fastmlp.cpu.multiply import gradient_tile, rows_product
from fastmlp.cpu.parameters import UPDATE_CODES
from fastmlp.cpu.program import CLASSIC_PROGRAM
from fastmlp.cpu.target import PANELS, ROWS
from fastmlp.formulas.elementary import exponential

update_parameters = CLASSIC_PROGRAM.update_parameters
compiled = numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz"}, _nrt=False)
DEPTH = 128
SIZE = 1024  # elements that the kernels of single elements pass over
CHAINS = 12  # of multiply-adds: each waits for the one before, two or more chains a cycle of the four to five it takes


@compiled
def multiply_add(memory, count):
    """Multiply and add in registers only: nothing is loaded, so nothing but the processor's units is a limit."""
    lanes = width(memory)
    a, b, c, d = load(memory, 0), load(memory, lanes), load(memory, 2 * lanes), load(memory, 3 * lanes)
    e, f, g, h = load(memory, 4 * lanes), load(memory, 5 * lanes), load(memory, 6 * lanes), load(memory, 7 * lanes)
    i, j, k, m = load(memory, 8 * lanes), load(memory, 9 * lanes), load(memory, 10 * lanes), load(memory, 11 * lanes)
    factor, term = load(memory, 12 * lanes), load(memory, 13 * lanes)
    for _ in range(count):
        a, b, c, d = a * factor + term, b * factor + term, c * factor + term, d * factor + term
        e, f, g, h = e * factor + term, f * factor + term, g * factor + term, h * factor + term
        i, j, k, m = i * factor + term, j * factor + term, k * factor + term, m * factor + term
    store(memory, 0, ((a + b) + (c + d)) + ((e + f) + (g + h)) + ((i + j) + (k + m)))


@compiled
def multiply_rows(memory, count):
    """Compute the same tile of a product of the forward pass, DEPTH deep, `count` times."""
    lanes = width(memory)
    left = PANELS * ROWS * lanes
    right = left + DEPTH * ROWS
    for _ in range(count):
        args = (memory, 0, right, left, right, ROWS * lanes, DEPTH * lanes, np.int64(0), np.int64(ROWS), DEPTH)
        rows_product(PANELS, args)


@compiled
def sum_gradient(memory, count):
    """Compute the same tile of a gradient, over DEPTH rows, `count` times."""
    lanes = width(memory)
    left = PANELS * ROWS * lanes
    right = left + DEPTH * lanes
    for _ in range(count):
        gradient_tile(PANELS, (memory, 0, ROWS * lanes, 0, ROWS * lanes, left, right, DEPTH * lanes, DEPTH))


@compiled
def exponentials(memory, count):
    """Take exp of SIZE numbers, `count` times."""
    for _ in range(count):
        for i in range(0, SIZE, width(memory)):
            store(memory, SIZE + i, exponential(load(memory, i)))


@compiled
def updates(memory, sums, plan, constants, count):
    """Apply Adam to SIZE parameters, `count` times."""
    for _ in range(count):
        update_parameters(plan[0], memory, sums, 0, (1, SIZE, SIZE, SIZE, 0), plan, (1e-4, 0.0, 1.0), 1.0, constants)


# Operations an element: a multiply-add is two, a multiplication, a division and a root one each. Additions, comparisons
# and conversions, for which a processor may have other units, do not count.
EXPONENTIAL = {"float32": 22, "float64": 34}
UPDATE = 15


def tile_operations(dtype: str) -> int:
    """Return the operations of a tile, DEPTH deep."""
    return 2 * DEPTH * ROWS * PANELS * lanes_of(dtype)


def arrays(dtype: str, size: int) -> np.ndarray:
    """Return numbers on which no kernel meets an infinity or a subnormal."""
    return np.full(size, 0.5, dtype)


def make_peak(dtype: str) -> tuple[Callable[[int], object], float]:
    """Return the function (count) of nothing but multiply-adds, and its operations for each count."""
    lanes = lanes_of(dtype)
    memory = np.linspace(0.25, 0.75, 14 * lanes, dtype=dtype)
    return partial(multiply_add, memory), 2 * CHAINS * lanes


def make_rows_product(dtype: str) -> tuple[Callable[[int], object], float]:
    """Return the function (count) of the forward pass's tile."""
    lanes = lanes_of(dtype)
    size = PANELS * ROWS * lanes + DEPTH * ROWS + DEPTH * PANELS * lanes
    return partial(multiply_rows, arrays(dtype, size)), tile_operations(dtype)


def make_gradient_tile(dtype: str) -> tuple[Callable[[int], object], float]:
    """Return the function (count) of the gradient's tile; each call adds to it, from a small number to a large one."""
    lanes = lanes_of(dtype)
    size = PANELS * ROWS * lanes + (1 + PANELS) * DEPTH * lanes
    return partial(sum_gradient, arrays(dtype, size)), tile_operations(dtype)


def make_exponential(dtype: str) -> tuple[Callable[[int], object], float]:
    """Return the function (count) of the exponential."""
    return partial(exponentials, arrays(dtype, 2 * SIZE)), SIZE * EXPONENTIAL[dtype]


def make_update(dtype: str) -> tuple[Callable[[int], object], float]:
    """Return the function (count) of Adam's update."""
    plan = np.zeros(HEAD, np.int64)
    plan[0], plan[GRADIENT], plan[FIRST], plan[SECOND] = UPDATE_CODES["adam"], SIZE, 2 * SIZE, 3 * SIZE
    return partial(
        updates, arrays(dtype, 4 * SIZE), np.zeros(1), plan, (1e-3, 0.9, 0.999, 1e-8, 1e-3, 1e-3)
    ), SIZE * UPDATE


KERNELS = {
    "product of rows": make_rows_product,
    "gradient": make_gradient_tile,
    "exponential": make_exponential,
    "update": make_update,
}


def rate(make: Callable, dtype: str, threads: int = 1, budget: float = 0.005, repeats: int = 40) -> float:
    """Return the most GFLOP/s of so many threads together: whatever disturbs makes it less."""
    functions = [make(dtype)[0] for _ in range(threads)]
    _, operations = make(dtype)
    functions[0](1)  # compiles
    count = 1
    while (taken := seconds(partial(functions[0], count))) < budget / 2:
        count *= 2

    def once():
        team = [threading.Thread(target=function, args=(count,)) for function in functions]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()

    taken = min(seconds(once) for _ in range(repeats))
    return threads * count * operations / taken / 1e9


def measured_peak(threads: int, dtype: str, repeats: int) -> float:
    """Return the GFLOP/s of multiply-adds that so many threads reach together."""
    return rate(make_peak, dtype, threads, budget=0.1, repeats=repeats)
