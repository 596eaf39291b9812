"""The one module that imports numba.cuda: how kernels are compiled, and what only a thread of a GPU can do.

Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs the same kernels as Python functions, to test them without a GPU.
"""

import warnings
from collections.abc import Callable

import numba
import numba_cuda
import numpy as np
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning
from numba.cuda.cudadrv.driver import CudaAPIError

from fastmlp.stamp import stamp

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY of the driver


_STAMP = stamp("cuda", "formulas")  # of all source that compiled code may hold


def kernel(function: Callable, *closure: str) -> Callable:
    """Compile a function that a grid of threads runs; keep the code on disk.

    closure: words that tell apart what `function` closes over. Numba would take a hash of that, which holds a number
    drawn anew in each process; and it takes code for stale when the file of `function` has changed, here when any file
    of the kernels or formulas has.
    """
    if SIMULATED:
        return cuda.jit(function)
    try:
        dispatcher = cuda.jit(cache=True)(function)
    except RuntimeError:  # no place to write to: compile in each process
        return cuda.jit(function)
    cache = dispatcher._cache
    cache._cache_file._source_stamp = _STAMP
    cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), numba_cuda.__version__, closure)
    return dispatcher


def available() -> bool:
    """Return whether there is a GPU, or the simulator of one."""
    return cuda.is_available()


def launch(
    function: Callable, blocks: int, threads: int, *arguments: object, shared: int = 0, stream: object = 0
) -> None:
    """Run a kernel with so many blocks, threads to a block, and bytes of dynamic shared memory to a block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NumbaPerformanceWarning)  # that there are few blocks is known
        configured = function[blocks, threads, stream, shared]
    configured(*arguments)


def free_memory() -> float:
    """Return how many bytes of the GPU's memory are free."""
    context = cuda.current_context()
    if not SIMULATED:
        context.memory_manager.deallocations.clear()  # what was given back, and the driver does not know of yet
    try:
        return context.get_memory_info().free
    except NotImplementedError:  # a pool of another library may not know
        return float("inf")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error is the driver's that no memory is left."""
    return isinstance(error, CudaAPIError) and int(getattr(error, "code", 0)) == OUT_OF_MEMORY


def scalar_type(dtype: np.dtype) -> object:
    """Return what `cuda.shared.array` takes for a dtype."""
    return np.dtype(dtype) if SIMULATED else np.dtype(dtype).type


if SIMULATED:
    from numba.cuda.cudadrv.devicearray import FakeCUDAArray

    def device(function: Callable) -> Callable:
        """Return a function that kernels call, as it is: plain Python is enough for the simulator."""
        return function

    def load4(memory, i):
        """Return memory[i : i + 4] as four numbers; i is a multiple of 4."""
        return memory[i], memory[i + 1], memory[i + 2], memory[i + 3]

    def store4(memory, i, values):
        """memory[i : i + 4] <- values; i is a multiple of 4."""
        for j in range(4):
            memory[i + j] = values[j]

    def array_of(values: object) -> object:
        """Return the array of another library that is on the GPU, without a copy."""
        interface = getattr(values, "__cuda_array_interface__", None)
        array = np.from_dlpack(values) if interface is None else np.asarray(_Interface(interface))
        return FakeCUDAArray(array)

    def interface_of(array: object) -> dict:
        """Return the `__cuda_array_interface__` of an array on the GPU; its addresses are the host's here."""
        return array.__array_interface__

    class _Interface:
        def __init__(self, interface):
            self.__array_interface__ = interface

    def current_gpu() -> int:
        """Return the number of the GPU that computes."""
        return 0

    def most_blocks(function: Callable, threads: int, *arguments: object) -> int:
        """Return how many blocks of a cooperative grid there may be."""
        return 1

    def most_shared_memory() -> int:
        """Return how many bytes of dynamic shared memory a block may have, beside some that kernels have anyway."""
        return 48 << 10

    def allow_shared_memory(function: Callable, size: int, *arguments: object) -> None:
        """Let the blocks of a kernel have so many bytes of dynamic shared memory."""

else:
    from llvmlite import ir
    from numba.cuda import cgutils, types
    from numba.cuda.cudadrv.driver import binding, driver
    from numba.cuda.extending import intrinsic

    device = cuda.jit(device=True)
    STATIC_SHARED_MEMORY = 8192  # bytes, beside the dynamic

    def _compiled(function, arguments):
        return function.compile(tuple(map(function.typeof_pyval, arguments)))

    def array_of(values: object) -> object:
        """Return the array of another library that is on the GPU, without a copy."""
        cuda.synchronize()  # whatever stream its numbers come from
        if hasattr(values, "__cuda_array_interface__"):
            return cuda.as_cuda_array(values)
        from cuda.core.utils import StridedMemoryView

        view = StridedMemoryView.from_dlpack(values, stream_ptr=-1)
        strides = view.strides and tuple(stride * view.dtype.itemsize for stride in view.strides)
        interface = {"shape": view.shape, "strides": strides, "typestr": view.dtype.str}
        interface |= {"data": (view.ptr, view.readonly), "version": 3}
        return cuda.from_cuda_array_interface(interface, owner=view)

    def interface_of(array: object) -> dict:
        """Return the `__cuda_array_interface__` of an array on the GPU."""
        return array.__cuda_array_interface__

    def current_gpu() -> int:
        """Return the number of the GPU that computes."""
        return cuda.get_current_device().id

    def most_blocks(function: Callable, threads: int, *arguments: object) -> int:
        """Return how many blocks of a cooperative grid there may be, for arguments of these types."""
        return _compiled(function, arguments).max_cooperative_grid_blocks(threads)

    def most_shared_memory() -> int:
        """Return how many bytes of dynamic shared memory a block may have, beside some that kernels have anyway."""
        return cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN - STATIC_SHARED_MEMORY

    def allow_shared_memory(function: Callable, size: int, *arguments: object) -> None:
        """Let the blocks of a kernel have so many bytes of dynamic shared memory, beyond the 48 KiB that all may."""
        compiled = _compiled(function, arguments)._codelibrary.get_cufunc()
        attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        driver.cuKernelSetAttribute(attribute, size, compiled.handle, compiled.device.id)

    def _pointer_to_vector(context, builder, kind, array, i):
        """Return where four numbers of an array begin, as a pointer to a vector, and how it is aligned."""
        struct = context.make_array(kind)(context, builder, array)
        scalar = context.get_value_type(kind.dtype)
        place = builder.gep(struct.data, [i])
        return builder.bitcast(place, ir.VectorType(scalar, 4).as_pointer()), min(16, kind.dtype.bitwidth // 2)

    @intrinsic
    def load4(typingctx, memory, i):
        """Return memory[i : i + 4] as four numbers; i is a multiple of 4."""

        def codegen(context, builder, signature, args):
            pointer, align = _pointer_to_vector(context, builder, memory, *args)
            vector = builder.load(pointer)
            vector.align = align
            numbers = [builder.extract_element(vector, ir.Constant(ir.IntType(32), j)) for j in range(4)]
            return context.make_tuple(builder, signature.return_type, numbers)

        return types.UniTuple(memory.dtype, 4)(memory, types.int64), codegen

    @intrinsic
    def store4(typingctx, memory, i, values):
        """memory[i : i + 4] <- values; i is a multiple of 4."""

        def codegen(context, builder, signature, args):
            pointer, align = _pointer_to_vector(context, builder, memory, *args[:2])
            vector = ir.Constant(pointer.type.pointee, ir.Undefined)
            for j, number in enumerate(cgutils.unpack_tuple(builder, args[2], 4)):
                vector = builder.insert_element(vector, number, ir.Constant(ir.IntType(32), j))
            builder.store(vector, pointer).align = align
            return context.get_dummy_value()

        return types.void(memory, types.int64, types.UniTuple(memory.dtype, 4)), codegen


@cuda.jit(device=True)
def block_sync():
    """Wait for all threads of the block."""
    cuda.syncthreads()


@cuda.jit(device=True)
def grid_sync():
    """Wait for all threads of the grid, which must have been launched as a cooperative one."""
    cuda.cg.this_grid().sync()
