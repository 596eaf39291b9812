"""The one module that imports numba.cuda: how kernels are compiled, and what only a thread of a GPU can do.

Numba's simulator (NUMBA_ENABLE_CUDASIM=1) runs the same kernels as Python functions, to test them without a GPU.
"""

import warnings
from collections.abc import Callable, Sequence

import numba
import numba_cuda
import numpy as np
from numba import cuda
from numba.core.errors import NumbaPerformanceWarning
from numba.cuda.cudadrv.driver import CudaAPIError

from fastmlp.stamp import stamp

SIMULATED = bool(numba.config.ENABLE_CUDASIM)
OUT_OF_MEMORY = 2  # CUDA_ERROR_OUT_OF_MEMORY of the driver
ALIGNMENT = None if SIMULATED else 16  # of shared arrays from which a thread loads four numbers at once
GENERIC, GLOBAL, SHARED = 0, 1, 3  # where an array lies: not known, in the memory of the GPU or in that of a block
_STAMP = stamp("cuda", "formulas")  # of all source that compiled code may hold


def kernel(function: Callable, *closure: object, **options: object) -> Callable:
    """Compile a function that a grid of threads runs; keep the code on disk.

    closure: words that tell apart what `function` closes over. Numba would take a hash of that, which holds a number
    drawn anew in each process; and it takes code for stale when the file of `function` has changed, here when any file
    of the kernels or formulas has. options: of the compiler.
    """
    if SIMULATED:
        return cuda.jit(function)
    try:
        dispatcher = cuda.jit(cache=True, **options)(function)
    except RuntimeError:  # no place to write to: compile in each process
        return cuda.jit(**options)(function)
    cache = dispatcher._cache
    cache._cache_file._source_stamp = _STAMP
    cache._index_key = lambda signature, codegen: (signature, codegen.magic_tuple(), numba_cuda.__version__, closure)
    return dispatcher


def available() -> bool:
    """Return whether there is a GPU, or the simulator of one."""
    return SIMULATED or cuda.is_available()  # the simulator's module is another one while a kernel runs


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

    def make_zeros(count: int) -> Callable:
        """Return the device function (array) that gives so many zeros of the type of an array's numbers."""
        return lambda array: (array.dtype.type(0),) * count

    def keep_apart():
        """Tell the compiler to keep the calling function apart from its callers, with registers for itself."""

    def divide(number, size):
        """Return the whole part of number / size, both below 2^31 and not negative."""
        return number // size

    def make_pointer_to(space):
        """Return the device function (array) that gives a pointer, in place of an array, into one kind of memory.

        It takes one register, not seven, and no index of it counts from the end, which kernels would have to look for.
        """
        return lambda array: array

    def make_gather(offsets: Sequence[int], width: int = 1, space: int = GENERIC) -> Callable:
        """Return the device function (array, i) that gives `width` numbers from i + offset on, for each offset.

        All places are multiples of `width`, and so it is with the next two. space: where the array lies.
        """
        return lambda array, i: tuple(array[i + offset + j] for offset in offsets for j in range(width))

    def make_scatter(offsets: Sequence[int], width: int = 1, space: int = GENERIC) -> Callable:
        """Return the device function (array, i, numbers) that stores what `make_gather` gives."""

        def scatter(array, i, numbers):
            for n, number in enumerate(numbers):
                array[i + offsets[n // width] + n % width] = number

        return scatter

    def make_store(places: Sequence[tuple[int, int]], width: int, add: bool) -> Callable:
        """Return the device function (array, i, stride, numbers, rows, columns) that stores or adds a part of a matrix.

        places: for each `width` numbers, row and column of the first one, counted from that of array[i]; what is
        beyond so many `rows` and `columns` is left out.
        """

        def store(array, i, stride, numbers, rows, columns):
            for n, number in enumerate(numbers):
                row, column = places[n // width]
                if row < rows and column < columns:
                    place = i + row * stride + column + n % width
                    array[place] = array[place] + number if add else number

        return store

    def make_outer(rows: int, columns: int) -> Callable:
        """Return the device function (sums, a, b) that gives the matrix `sums` plus the outer product of a and b."""

        def outer(sums, a, b):
            return tuple(sums[r * columns + c] + a[r] * b[c] for r in range(rows) for c in range(columns))

        return outer

    def multiprocessors() -> int:
        """Return how many multiprocessors the GPU has."""
        return 2

    def has_tensor_cores() -> bool:
        """Return whether the GPU has tensor cores for TF32 and bfloat16."""
        return True

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
    from numba.cuda.extending import intrinsic, models, register_model

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

    def multiprocessors() -> int:
        """Return how many multiprocessors the GPU has."""
        return cuda.get_current_device().MULTIPROCESSOR_COUNT

    def has_tensor_cores() -> bool:
        """Return whether the GPU has tensor cores for TF32 and bfloat16."""
        return cuda.get_current_device().compute_capability >= (8, 0)

    def most_shared_memory() -> int:
        """Return how many bytes of dynamic shared memory a block may have, beside some that kernels have anyway."""
        return cuda.get_current_device().MAX_SHARED_MEMORY_PER_BLOCK_OPTIN - STATIC_SHARED_MEMORY

    _allowed: dict = {}  # bytes of each compiled kernel: another network may need less, and this one all of it again

    def allow_shared_memory(function: Callable, size: int, *arguments: object) -> None:
        """Let the blocks of a kernel have so many bytes of dynamic shared memory, beyond the 48 KiB that all may."""
        compiled = _compiled(function, arguments)._codelibrary.get_cufunc()
        if size > _allowed.get(compiled, 0):
            attribute = binding.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            driver.cuKernelSetAttribute(attribute, size, compiled.handle, compiled.device.id)
            _allowed[compiled] = size

    I32, F32 = ir.IntType(32), ir.FloatType()

    def _place(context, builder, kind, array, i, space):
        """Return the pointer to array[i], of an array or a pointer."""
        first = array if isinstance(kind, types.CPointer) else context.make_array(kind)(context, builder, array).data
        place = builder.gep(first, [i])
        if space in (GENERIC, place.type.addrspace):
            return place
        return builder.addrspacecast(place, ir.PointerType(place.type.pointee, space))

    def _offset(builder, place, offset):
        return builder.gep(place, [ir.Constant(ir.IntType(64), offset)]) if offset else place

    def _vector_at(builder, place, width):
        """Return a pointer to `width` numbers, and how it is aligned."""
        size = 8 if place.type.pointee == ir.DoubleType() else 4
        return builder.bitcast(place, ir.VectorType(place.type.pointee, width).as_pointer(place.type.addrspace)), min(
            16, size * width
        )

    def _load(builder, place, width):
        pointer, align = _vector_at(builder, place, width)
        vector = builder.load(pointer)
        vector.align = align
        return [builder.extract_element(vector, ir.Constant(I32, j)) for j in range(width)]

    def _store(builder, place, numbers):
        pointer, align = _vector_at(builder, place, len(numbers))
        vector = ir.Constant(pointer.type.pointee, ir.Undefined)
        for j, number in enumerate(numbers):
            vector = builder.insert_element(vector, number, ir.Constant(I32, j))
        builder.store(vector, pointer).align = align

    def make_zeros(count: int) -> Callable:
        """Return the device function (array) that gives so many zeros of the type of an array's numbers."""

        @intrinsic
        def zeros(typingctx, array):
            def codegen(context, builder, signature, args):
                zero = ir.Constant(context.get_value_type(array.dtype), 0)
                return context.make_tuple(builder, signature.return_type, [zero] * count)

            return types.UniTuple(array.dtype, count)(array), codegen

        return zeros

    class Pointer(types.CPointer):
        """The type of a pointer to numbers in one kind of memory."""

    @register_model(Pointer)
    class PointerModel(models.PrimitiveModel):
        """How the compiler represents it."""

        def __init__(self, manager, kind):
            number = manager.lookup(kind.dtype).get_data_type()
            super().__init__(manager, kind, ir.PointerType(number, kind.addrspace))

    def make_pointer_to(space):
        """Return the device function (array) that gives a pointer, in place of an array, into one kind of memory.

        It takes one register, not seven, and no index of it counts from the end, which kernels would have to look for.
        """

        @intrinsic
        def pointer_to(typingctx, array):
            def codegen(context, builder, signature, args):
                first = context.make_array(array)(context, builder, args[0]).data
                return builder.addrspacecast(first, ir.PointerType(first.type.pointee, space))

            return Pointer(array.dtype, space)(array), codegen

        return pointer_to

    @intrinsic
    def keep_apart(typingctx):
        """Tell the compiler to keep the calling function apart from its callers, with registers for itself."""

        def codegen(context, builder, signature, args):
            builder.function.attributes.add("noinline")
            return context.get_dummy_value()

        return types.void(), codegen

    @intrinsic
    def divide(typingctx, number, size):
        """Return the whole part of number / size, both below 2^31 and not negative: in 64 bits it takes much longer."""

        def codegen(context, builder, signature, args):
            number, size = (builder.trunc(arg, I32) for arg in args)
            return builder.zext(builder.udiv(number, size), args[0].type)

        return types.int64(types.int64, types.int64), codegen

    def make_gather(offsets: Sequence[int], width: int = 1, space: int = GENERIC) -> Callable:
        """Return the device function (array, i) that gives `width` numbers from i + offset on, for each offset.

        All places are multiples of `width`, and so it is with the next two. space: where the array lies.
        """

        @intrinsic
        def gather(typingctx, array, i):
            def codegen(context, builder, signature, args):
                place, numbers = _place(context, builder, array, *args, space), []
                for offset in offsets:
                    numbers += _load(builder, _offset(builder, place, offset), width)
                return context.make_tuple(builder, signature.return_type, numbers)

            return types.UniTuple(array.dtype, width * len(offsets))(array, types.int64), codegen

        return gather

    def make_scatter(offsets: Sequence[int], width: int = 1, space: int = GENERIC) -> Callable:
        """Return the device function (array, i, numbers) that stores what `make_gather` gives."""

        @intrinsic
        def scatter(typingctx, array, i, numbers):
            def codegen(context, builder, signature, args):
                place = _place(context, builder, array, *args[:2], space)
                values = cgutils.unpack_tuple(builder, args[2])
                for n, offset in enumerate(offsets):
                    _store(builder, _offset(builder, place, offset), values[n * width : (n + 1) * width])
                return context.get_dummy_value()

            return types.void(array, types.int64, types.UniTuple(array.dtype, width * len(offsets))), codegen

        return scatter

    def make_store(places: Sequence[tuple[int, int]], width: int, add: bool) -> Callable:
        """Return the device function (array, i, stride, numbers, rows, columns) that stores or adds a part of a matrix.

        places: for each `width` numbers, row and column of the first one, counted from that of array[i]; what is
        beyond so many `rows` and `columns` is left out.
        """

        @intrinsic
        def store(typingctx, array, i, stride, numbers, rows, columns):
            def codegen(context, builder, signature, args):
                first = _place(context, builder, array, *args[:2], GLOBAL)
                values = cgutils.unpack_tuple(builder, args[3])
                for n, (row, column) in enumerate(places):
                    distance = builder.mul(args[2], ir.Constant(args[2].type, row))
                    inside = [
                        builder.icmp_signed("<", ir.Constant(limit.type, number), limit)
                        for number, limit in zip((row, column), args[4:], strict=True)
                    ]
                    with builder.if_then(builder.and_(*inside)):
                        place = _offset(builder, builder.gep(first, [distance]), column)
                        new = values[n * width : (n + 1) * width]
                        if add:
                            new = [builder.fadd(*pair) for pair in zip(_load(builder, place, width), new, strict=True)]
                        _store(builder, place, new)
                return context.get_dummy_value()

            place, limit = types.int64, types.int64
            numbers = types.UniTuple(array.dtype, width * len(places))
            return types.void(array, place, place, numbers, limit, limit), codegen

        return store

    load4 = make_gather((0,), 4)  # (memory, i) -> memory[i : i + 4]; i is a multiple of 4
    store4 = make_scatter((0,), 4)  # (memory, i, values); i is a multiple of 4

    def make_outer(rows: int, columns: int) -> Callable:
        """Return the device function (sums, a, b) that gives the matrix `sums` plus the outer product of a and b."""

        @intrinsic
        def outer(typingctx, sums, a, b):
            def codegen(context, builder, signature, args):
                totals, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args)
                totals = [
                    builder.fma(left[r], right[c], totals[r * columns + c]) for r in range(rows) for c in range(columns)
                ]
                return context.make_tuple(builder, signature.return_type, totals)

            return sums(sums, a, b), codegen

        return outer

    def _as_bits(builder, word):
        return builder.bitcast(word, I32)

    def _as_number(builder, bits):
        return builder.bitcast(bits, F32)

    def _tf32(builder, number):
        """Return a number rounded to TF32, whose other bits the conversion leaves open."""
        bits = builder.asm(ir.FunctionType(I32, [F32]), "cvt.rna.tf32.f32 $0, $1;", "=r,f", [number], False)
        return _as_number(builder, builder.and_(bits, ir.Constant(I32, 0xFFFFE000)))

    @intrinsic
    def round_to_tf32(typingctx, number):
        """Return a number of float32 rounded to the 10 bits of a mantissa of TF32, halves away from zero."""

        def codegen(context, builder, signature, args):
            return _tf32(builder, args[0])

        return types.float32(types.float32), codegen

    @intrinsic
    def pack_bfloat16(typingctx, low, high):
        """Return two numbers of float32, rounded to bfloat16, as a word."""

        def codegen(context, builder, signature, args):
            pair = ir.FunctionType(I32, [F32, F32])
            return builder.asm(pair, "cvt.rn.bf16x2.f32 $0, $1, $2;", "=r,f,f", [args[1], args[0]], False)

        return types.uint32(types.float32, types.float32), codegen

    def make_multiply_fragments(rows: int, columns: int, precision: str) -> Callable:
        """Return the device function (sums, a, b, thread) that adds the product of a warp's fragments to its sums.

        rows, columns: how many fragments of 16 rows of a, and of 8 columns of b; each is 8 words deep. The threads'
        parts of them are those of `mma.m16n8k8` for TF32, and of `mma.m16n8k16` for bfloat16: NVIDIA, PTX ISA.
        """
        kinds = "m16n8k16.row.col.f32.bf16.bf16.f32" if precision == "bfloat16" else "m16n8k8.row.col.f32.tf32.tf32.f32"
        code = f"mma.sync.aligned.{kinds} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$10,$11,$12,$13}};"
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
        function = ir.FunctionType(ir.LiteralStructType([F32] * 4), [I32] * 6 + [F32] * 4)

        def mma(builder, a, b, c):
            result = builder.asm(function, code, constraints, [_as_bits(builder, word) for word in (*a, *b)] + c, False)
            return [builder.extract_value(result, i) for i in range(4)]

        def split(builder, number):
            # Halves go away from zero. The tensor core cuts off the bits of the small part that it has no place for; by
            # that part, too, goes on what is not a number: the big one may lose it.
            bits = builder.add(_as_bits(builder, number), ir.Constant(I32, 0x1000))
            big = _as_number(builder, builder.and_(bits, ir.Constant(I32, 0xFFFFE000)))
            return big, builder.fsub(number, big)

        @intrinsic
        def multiply_fragments(typingctx, sums, a, b, thread):
            def codegen(context, builder, signature, args):
                totals, left, right = (cgutils.unpack_tuple(builder, arg) for arg in args[:3])
                zero, new = [ir.Constant(F32, 0)] * 4, []
                if precision == "float32":
                    left, right = ([split(builder, word) for word in words] for words in (left, right))
                for row in range(rows):
                    a = left[4 * row : 4 * row + 4]
                    for column in range(columns):
                        b = right[2 * column : 2 * column + 2]
                        place = 4 * (row * columns + column)
                        c = totals[place : place + 4]
                        if precision != "float32":
                            new += mma(builder, a, b, c)
                            continue
                        (big_a, small_a), (big_b, small_b) = zip(*a, strict=True), zip(*b, strict=True)
                        # the tensor core cuts off what its sums have too many of; so those are short, and rounded here
                        part = mma(builder, small_a, big_b, zero)
                        part = mma(builder, big_a, big_b, mma(builder, big_a, small_b, part))
                        new += [builder.fadd(*pair) for pair in zip(c, part, strict=True)]
                return context.make_tuple(builder, signature.return_type, new)

            return sums(sums, a, b, types.int64), codegen

        return multiply_fragments


global_memory, shared_memory = make_pointer_to(GLOBAL), make_pointer_to(SHARED)


@cuda.jit(device=True)
def block_sync():
    """Wait for all threads of the block."""
    cuda.syncthreads()


@cuda.jit(device=True)
def grid_sync():
    """Wait for all threads of the grid, which must have been launched as a cooperative one."""
    cuda.cg.this_grid().sync()
