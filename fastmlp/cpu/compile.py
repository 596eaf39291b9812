"""How kernels are compiled, and how the entries among them are kept on disk."""

from collections.abc import Callable
from pathlib import Path

from numba import njit

# Flags as for the formulas. No GIL: helper threads run kernels side by side.
_OPTIONS = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

# Each compiled function is optimised again in each that calls it. What has one caller is taken into it before that.
inlined = njit(inline="always", **_OPTIONS)
kernel = njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)


def _stamp() -> tuple:
    """Return a mark of all source that compiled code may hold."""
    package = Path(__file__).parent.parent
    files = sorted([*package.glob("cpu/*.py"), *package.glob("formulas/*.py")])
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


_STAMP = _stamp()


def entry(function: Callable) -> Callable:
    """Compile a function that Python calls; keep the code on disk, with that of all kernels that it calls.

    Numba takes a cached code for stale when the file of `function` has changed. Here it is when any file of the kernels
    or formulas has.
    """
    try:
        dispatcher = njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no place to write to: compile in each process
        return kernel(function)
    dispatcher._cache._cache_file._source_stamp = _STAMP
    return dispatcher
