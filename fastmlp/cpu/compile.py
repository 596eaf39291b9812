"""How kernels are compiled, and how the entries among them are kept on disk."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from types import FunctionType

import numpy as np
from numba import njit

from fastmlp.cpu.cache import Cache
from fastmlp.stamp import stamp

# Flags as for the formulas. No GIL: helper threads run kernels side by side. No NRT: kernels allocate nothing, and the
# references to their arrays would be counted at each call by instructions that all cores wait for.
OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}, "_nrt": False}

# Each compiled function is optimised again in each that calls it. What has one caller is taken into it before that.
inlined = njit(inline="always", **OPTIONS)
named_kernel = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)
# For a plain number as an argument Numba compiles a kernel once more than for a variable; not for this, or what is
# added to it.
ZERO = np.int64(0)


def _description(value: object) -> str:
    """Return a text that tells apart what kernels close over: numbers, compiled functions, intrinsics."""
    function = getattr(value, "py_func", getattr(value, "_defn", value))
    if isinstance(function, tuple):
        return f"({', '.join(map(_description, function))})"
    if not isinstance(function, FunctionType):
        if not isinstance(function, int | str | float | type(None)):
            raise TypeError(f"a kernel cannot close over {value!r}: nothing would tell it apart in the cache")
        return repr(function)
    cells = [_description(cell.cell_contents) for cell in function.__closure__ or ()]
    return f"{function.__module__}.{function.__qualname__}({', '.join(cells)})"


def kernel(function: Callable) -> Callable:
    """Compile a function that kernels call.

    Numba names compiled code by the function's name and a number that starts at 1 in each process. Two kernels of one
    factory, compiled and cached by two processes, could share a name, and a third process that loads both would run one
    in the place of the other. So what a kernel closes over becomes part of its name.
    """
    if function.__closure__:
        function.__qualname__ += "_" + hashlib.sha256(_description(function).encode()).hexdigest()[:16]
    return named_kernel(function)


_STAMP = stamp("cpu", "formulas")  # of all source that compiled code may hold


def entry(function: Callable, nogil: bool = True) -> Callable:
    """Compile a function that Python calls; keep the code on disk, with that of all kernels that it calls.

    Numba takes a cached code for stale when the file of `function` has changed. Here it is when any file of the kernels
    or formulas has.

    nogil: whether other threads may run Python meanwhile; not worth it for less than a microsecond.
    """
    dispatcher = njit(**{**OPTIONS, "nogil": nogil})(function)
    with suppress(RuntimeError):  # no place to write to: compile in each process
        dispatcher._cache = Cache(function, _STAMP)  # in the place of Numba's, which cache=True takes
    return dispatcher
