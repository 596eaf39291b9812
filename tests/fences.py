"""Arrays of the CPU engine on pages of their own, with pages round them that nobody may touch: who does is killed.

Kernels read and write through pointers, a register at a time, where neither Numba nor NumPy looks at a bound; the
memory's own protection sees every access, also one that is only read and thrown away. An array ends where a page ends,
or begins where one begins, so that the first byte beyond it is on a forbidden one.
"""

import ctypes
import importlib
import mmap
import pkgutil
from contextlib import contextmanager

import numpy as np
import pytest
from numba.core.caching import FunctionCache
from numba.core.dispatcher import Dispatcher

from fastmlp import cpu
from fastmlp.cpu import forward, pack, saliency
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.layout import ERROR, FIRST, HEAD, OTHER_GRADIENT, OUTPUT, Layout, layers_of

PAGE = mmap.PAGESIZE


def _pages(size, forbidden):
    """Return memory of so many bytes, of which the pages that begin at `forbidden` must not be touched."""
    pages = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    for place in forbidden:
        if ctypes.CDLL(None, use_errno=True).mprotect(ctypes.c_void_p(start + place), ctypes.c_size_t(PAGE), 0) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return pages


def is_fenced(array):
    return isinstance(array.base, mmap.mmap)


def fence(array, behind):
    """Return a copy of a contiguous array between forbidden pages, flush with the one behind it or the one before."""
    body = -(-max(1, array.nbytes) // PAGE) * PAGE
    pages = _pages(body + 2 * PAGE, (0, PAGE + body))
    copy = np.ndarray(array.shape, array.dtype, pages, PAGE + (body - array.nbytes if behind else 0))
    copy[...] = array
    copy.flags.writeable = array.flags.writeable
    return copy


def _each(function, value):
    return tuple(_each(function, part) for part in value) if type(value) is tuple else function(value)


def _fenced_call(entry, behind):
    """Return the compiled function with all arrays fenced that are not yet; what it writes is copied back."""

    def call(*arguments):
        copies = []

        def put(value):
            if not isinstance(value, np.ndarray) or is_fenced(value):
                return value
            copies.append((value, fence(value, behind)))
            return copies[-1][1]

        result = entry(*_each(put, arguments))
        for array, copy in copies:
            if array.flags.writeable:
                array[...] = copy
        return result

    return call


def entries():
    """Return (module, name, compiled function) of all that Python calls in the CPU package."""
    modules = [importlib.import_module(f"fastmlp.cpu.{module.name}") for module in pkgutil.iter_modules(cpu.__path__)]
    return [
        (module, name, value)
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Dispatcher) and isinstance(value._cache, FunctionCache)
    ]


def _fence_layouts(patch, behind):
    """Fence the buffer of each layout, as a whole; what is beyond its numbers for whole registers is a part of it."""
    init = Layout.__init__

    def fenced_init(layout, *args, **kwargs):
        init(layout, *args, **kwargs)
        layout.memory = fence(layout.memory, behind)

    patch.setattr(Layout, "__init__", fenced_init)


def _fence_regions(patch, behind):
    """Put a forbidden page between all regions of each layout: weights, biases, activations of a layer and the like.

    The first lanes of several rows are read at once of the output layer; so that may be read as many rows beyond.
    """
    init, place_rows = Layout.__init__, Layout._place_rows

    def take(layout, size):
        page = PAGE // layout.dtype.itemsize
        start, whole = layout._size, (-(-size // page) + 1) * page
        layout._size += whole + page
        layout.fences.append(start + whole)
        return start + whole - size if behind else start

    def place(layout, records, *args):
        place_rows(layout, records, *args)
        if behind:
            assert records[-1][ERROR] == records[-1][OUTPUT]
            for field in (OUTPUT, ERROR):
                records[-1][field] -= layout.lanes * layout.lanes

    def fenced_init(layout, *args, **kwargs):
        layout.fences = []
        init(layout, *args, **kwargs)
        size, copies = layout.dtype.itemsize, 1
        if layout.plan[FIRST] > 0:  # moments and gradients lie as the parameters do
            copies = 5 if layout.plan[OTHER_GRADIENT] > 0 else 4
        fences = [
            fence + copy * layout.parameters_size
            for fence in layout.fences
            for copy in range(copies if fence < layout.parameters_size else 1)
        ]
        pages = _pages(PAGE + layout._size * size, [0, *(PAGE + fence * size for fence in fences)])
        layout.memory = np.ndarray(layout._size, layout.dtype, pages, PAGE)

    patch.setattr(Layout, "_take", take)
    patch.setattr(Layout, "_place_rows", place)
    patch.setattr(Layout, "__init__", fenced_init)


@contextmanager
def fenced(regions, behind):
    """Fence all arrays that kernels get in the block; `regions`: and all regions of the flat buffers."""
    load = Engine.load

    def fenced_load(engine, *args, **kwargs):
        load(engine, *args, **kwargs)
        layout, known = engine._layout, {}

        def put(array):
            return array if is_fenced(array) else known.setdefault(id(array), fence(array, behind))

        order = engine._arguments[-1]
        engine._arguments = _each(put, engine._arguments)
        engine._control, engine._numbers, engine._curve = map(put, (engine._control, engine._numbers, engine._curve))
        engine._order = put(order)[: len(engine._order)]
        layout.plan = put(layout.plan)
        layout.layers = layers_of(layout.plan)
        assert layout.plan is engine._arguments[2]
        assert layout.memory is engine._arguments[0]
        assert engine._arguments[2].size >= HEAD

    arrays = []

    def addresses_of(*parameters):
        arrays[:] = [[fence(array, behind) for array in each] for each in parameters]  # they live until the next call
        return pack.addresses_of(*arrays)

    found = entries()
    assert {"work", "forward_blocks", "backward_blocks"} <= {name for _, name, _ in found}
    with pytest.MonkeyPatch.context() as patch:
        for module, name, entry in found:
            patch.setattr(module, name, _fenced_call(entry, behind))
        (_fence_regions if regions else _fence_layouts)(patch, behind)
        patch.setattr(Engine, "load", fenced_load)
        for module in (forward, saliency):
            patch.setattr(module, "addresses_of", addresses_of)
        yield
