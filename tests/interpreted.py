"""The CPU engine without a compiler: `replace_compiler` is called before `fastmlp` is imported, in a process of its own
with NUMBA_DISABLE_JIT=1.

Kernels and formulas are then plain Python functions, line by line what is compiled otherwise. What LLVM does for them
has a stand-in here: a register is a small array, an intrinsic a function of the same name, and an overload chooses its
body when it is called.
"""

import ctypes
import inspect
import threading
import time
import warnings

import numba
import numpy as np
from numba import extending, typeof

lock = threading.Lock()


class Register(np.ndarray):
    """So many numbers as the registers of this machine hold; what it is combined with is converted to their type."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        dtype = next(x.dtype for x in inputs if isinstance(x, Register))
        return getattr(ufunc, method)(*(np.asarray(x, dtype) for x in inputs)).view(Register)


def lanes(array):
    from fastmlp.cpu.target import INSTRUCTION_SET

    return INSTRUCTION_SET.register_bytes // array.itemsize


def register(like, *values):
    """Return each of the values as a register, of the type of a register or of an array's numbers."""
    wide = [np.broadcast_to(np.asarray(x, like.dtype), lanes(like)).copy().view(Register) for x in values]
    return wide if len(wide) > 1 else wide[0]


def plain(x):
    return np.asarray(x)


def chosen(condition, yes, no):
    return np.where(plain(condition), plain(yes), plain(no)).view(Register)


# Of registers, for the bodies that an overload does not have: those of scalars are in `formulas.elementary`.
def wider(x, y):
    return register(x if isinstance(x, Register) else y, x, y)


def maximum(x, y):
    x, y = wider(x, y)
    return chosen(y > x, y, x)


def minimum(x, y):
    x, y = wider(x, y)
    return chosen(y < x, y, x)


def where_positive(x, yes, no):
    return chosen(x > 0, *register(x, yes, no))


def split_exponent(x):
    mantissa, exponent = np.frexp(plain(x))
    return register(x, mantissa, exponent)


OF_REGISTERS = {
    "constant": register,
    "by_precision": lambda like, single, double: register(like, single if like.itemsize == 4 else double),
    "maximum": maximum,
    "minimum": minimum,
    "where_positive": where_positive,
    "floor": np.floor,
    "square_root": np.sqrt,
    "fast_root": np.sqrt,
    "power_of_two": lambda n: register(n, np.where(n > (-127 if n.itemsize == 4 else -1023), np.exp2(plain(n)), 0)),
    "split_exponent": split_exponent,
}


def kind_of(value):
    """Return Numba's type of an argument."""
    if isinstance(value, Register):
        from fastmlp.cpu.lanes import Lanes

        return Lanes(typeof(value.dtype.type(0)))
    return typeof(value)


def overload(function, **options):
    """Let calls of a function run the body that its overload chooses for the types of the arguments."""

    def decorate(choose):
        def run(*args):
            body = choose(*map(kind_of, args)) or OF_REGISTERS[function.__name__]
            return body(*args)

        if inspect.isfunction(function):
            function.__globals__[function.__name__] = run
        return choose

    return decorate


def load(array, index):
    return array.reshape(-1)[index : index + lanes(array)].copy().view(Register)


def store(array, index, value):
    array.reshape(-1)[index : index + lanes(array)] = value


def load_first(array, index, count):
    value = register(array, 0)
    value[:count] = array.reshape(-1)[index : index + count]
    return value


def store_first(array, index, value, count):
    array.reshape(-1)[index : index + count] = value[:count]


def keep_first(value, count, other):
    return chosen(np.arange(value.size) < count, value, register(value, other))


def rows_reduction(name, start):
    def reduce(array, index, count):
        rows = np.stack([load(array, index + row * lanes(array)) for row in range(lanes(array))])[:, :count]
        return register(array, plain(rows).sum(axis=1) if name == "sum" else plain(rows).max(axis=1))

    return reduce


def atomic_add(array, index, value):
    with lock:
        array[index] += value
        return array[index] - value


def atomic_swap_if(array, index, expected, value):
    with lock:
        same = bool(array[index] == expected)
        if same:
            array[index] = value
        return same


def tile_of(array, start, stride, panels, rows):
    return [load(array, start + j * stride + i * lanes(array)) for i in range(rows) for j in range(panels)]


def tile_store(tile, array, start, stride):
    from fastmlp.cpu.target import ROWS

    panels = len(tile) // ROWS
    for place, value in enumerate(tile):
        store(array, start + place % panels * stride + place // panels * lanes(array), value)


def make_tile_load(panels):
    from fastmlp.cpu.target import ROWS

    return lambda array, start, stride: tile_of(array, start, stride, panels, ROWS)


def make_tile_repeat(panels, rows):
    return lambda array, start, stride: tile_of(array, start, stride, panels, 1) * rows


def make_tile_add_products(steps, rows):
    def tile_add_products(tile, array, left, left_step, left_next, right, right_stride):
        panels = len(tile) // rows
        for step in range(steps):
            row = tile_of(array, right + step * lanes(array), right_stride, panels, 1)
            column = [array[left + step * left_next + i * left_step] for i in range(rows)]
            tile = [tile[i * panels + j] + column[i] * row[j] for i in range(rows) for j in range(panels)]
        return tile

    return tile_add_products


def make_tail_store(adds):
    def tail_store(tile, array, start):
        from fastmlp.cpu.target import TAIL_UNITS

        panels = len(tile) // TAIL_UNITS
        for place, value in enumerate(tile):
            unit, panel = divmod(place, panels)
            first = start + panel * lanes(array) ** 2 + unit
            column = array[first : first + lanes(array) ** 2 : lanes(array)]
            column[:] = column + value if adds else value

    return tail_store


def dots_zero(array):
    from fastmlp.cpu.dots import DOT_ROWS, TAIL_UNITS

    return [[register(array, 0) for _ in range(TAIL_UNITS)] for _ in range(DOT_ROWS)]


def dots_add_first(dots, array, left, right, count):
    inputs = [keep_first(load(array, left + i * lanes(array)), count, 0) for i in range(len(dots))]
    weights = [load(array, right + j * lanes(array)) for j in range(len(dots[0]))]
    return [[dots[i][j] + x * y for j, y in enumerate(weights)] for i, x in enumerate(inputs)]


def dots_add(dots, array, left, right):
    return dots_add_first(dots, array, left, right, lanes(array))


def dots_store(dots, array, start):
    for i, row in enumerate(dots):
        first = start + i * lanes(array)
        array[first : first + len(row)] += np.array([plain(x).sum() for x in row], array.dtype)


def store_transposed(array, target, source):
    from fastmlp.cpu.target import ROWS

    block = array[source : source + ROWS * lanes(array)].reshape(ROWS, -1)
    for column in range(lanes(array)):
        start = target + column * lanes(array)
        array[start : start + ROWS] = block[:, column]


WAYS = []  # kernels of users' functions, each known by its place here and not by an address
FIRST_ADDRESS = 1000


def compile_user(user, memory):
    WAYS.append(user.ways()[0])
    return FIRST_ADDRESS + len(WAYS) - 1


def call_at(address, memory, *arguments):
    WAYS[address - FIRST_ADDRESS](memory.reshape(-1), *arguments)
    return False


def matrix_at(like, address, rows, columns):
    memory = (ctypes.c_char * (rows * columns * like.itemsize)).from_address(int(address))
    return np.frombuffer(memory, like.dtype).reshape(rows, columns)


INTRINSICS = {
    "width": lambda array: lanes(array),
    "repeat": lambda array, value: register(array, value),
    "horizontal_sum": lambda value: plain(value).sum(),
    "lane": lambda value, index: plain(value)[index],
    "atomic_load": lambda array, index: array[index],
    "atomic_store": lambda array, index, value: array.__setitem__(index, value),
    "prefetch": lambda array, index: array.reshape(-1)[index],  # nothing but an error beyond the end
    "pause": lambda: time.sleep(0),
    "flush_subnormals": lambda: 0,
    "restore_mode": lambda mode: None,
    "variable": lambda z: z,  # no derivative comes with it: only functions with one of their own run here
    "both_parts": lambda y, z: (y, None),
    "_compile": compile_user,
    "call_at": call_at,
}
for function in (load, store, load_first, store_first, keep_first, atomic_add, atomic_swap_if, tile_store):
    INTRINSICS[function.__name__] = function
for function in (matrix_at, store_transposed, dots_zero, dots_add, dots_add_first, dots_store):
    INTRINSICS[function.__name__] = function
# those that a function makes, from what they close over
MADE = {
    "reduce": rows_reduction,
    "tile_load": make_tile_load,
    "tile_repeat": make_tile_repeat,
    "tile_add_products": make_tile_add_products,
    "tail_store": make_tail_store,
}


def intrinsic(function):
    """Return the stand-in for an intrinsic; for one that has none, a function that says so when it is called."""
    name = function.__name__
    if name in MADE:
        return MADE[name](**inspect.getclosurevars(function).nonlocals)

    def missing(*args):
        raise NotImplementedError(name)

    return INTRINSICS.get(name, missing)


def njit(function=None, **options):
    """Return a function as it is, with what the package takes of compiled ones."""
    if function is None:
        return njit
    function.py_func = function
    return function


def replace_compiler():
    """Let what is imported from now on have the stand-ins."""
    numba.njit, extending.overload, extending.intrinsic = njit, overload, intrinsic
    # whole numbers wrap, as in compiled code; helper threads have settings of their own
    warnings.simplefilter("ignore", RuntimeWarning)
