"""Atomic operations on an int64 array, which helper threads and the leader agree by."""

import platform

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastmlp.cpu.lanes import element_pointer

INT64 = ir.IntType(64)


@intrinsic
def atomic_load(context, array, index):
    """Read array[index]; what another thread wrote before it stored this value is seen after."""

    def codegen(ctx, builder, sig, args):
        return builder.load_atomic(element_pointer(ctx, builder, sig.args[0], *args), "acquire", 8)

    return types.int64(array, types.intp), codegen


@intrinsic
def atomic_store(context, array, index, value):
    """Write array[index]; what this thread wrote before is seen by who reads this value."""

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        builder.store_atomic(args[2], pointer, "release", 8)
        return ctx.get_dummy_value()

    return types.void(array, types.intp, types.int64), codegen


@intrinsic
def atomic_add(context, array, index, value):
    """Add to array[index] and return what it was."""

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        return builder.atomic_rmw("add", pointer, args[2], "acq_rel")

    return types.int64(array, types.intp, types.int64), codegen


@intrinsic
def atomic_swap_if(context, array, index, expected, value):
    """Write array[index] if it is `expected`; return whether it was."""

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        result = builder.cmpxchg(pointer, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(array, types.intp, types.int64, types.int64), codegen


_PAUSE = {
    "x86_64": ("llvm.x86.sse2.pause", []),
    "amd64": ("llvm.x86.sse2.pause", []),
    "i686": ("llvm.x86.sse2.pause", []),
}
_YIELD_HINT = {"aarch64": ("llvm.aarch64.hint", [1]), "arm64": ("llvm.aarch64.hint", [1])}


@intrinsic
def pause(context):
    """Tell the processor that this is a loop that waits for another thread."""

    def codegen(ctx, builder, sig, args):
        name, operands = {**_PAUSE, **_YIELD_HINT}.get(platform.machine().lower(), (None, []))
        if name is not None:
            values = [ir.IntType(32)(operand) for operand in operands]
            function = builder.module.globals.get(name)
            if function is None:
                kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
                function = ir.Function(builder.module, kind, name)
            builder.call(function, values)
        return ctx.get_dummy_value()

    return types.void(), codegen
