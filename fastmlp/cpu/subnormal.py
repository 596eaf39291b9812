"""Numbers too small for full precision, taken for zero while a kernel runs.

The moments of a unit that no longer learns decay until they are subnormal, and stay so. Many processors leave their
fast path for each such operand: on an Intel Xeon an epoch of 20-64-64-2 took 6.7 ms in place of 4.6. The mode is the
thread's, so each kernel that Python calls sets it and puts back what was there.
"""

import platform

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

INT32, INT64 = ir.IntType(32), ir.IntType(64)
MACHINE = platform.machine().lower()
X86 = MACHINE in ("x86_64", "amd64", "i686")
ARM = MACHINE in ("aarch64", "arm64")
FLUSH = 0x8040 if X86 else 1 << 24  # of MXCSR: results and operands; of FPCR: both


def _declare(builder, name, result, kinds):
    function = builder.module.globals.get(name)
    return function or ir.Function(builder.module, ir.FunctionType(result, kinds), name)


def _read(builder):
    if not X86:
        return builder.call(_declare(builder, "llvm.aarch64.get.fpcr", INT64, []), [])
    slot = builder.alloca(INT32)
    pointer = builder.bitcast(slot, ir.IntType(8).as_pointer())
    builder.call(_declare(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [pointer.type]), [pointer])
    return builder.zext(builder.load(slot), INT64)


def _write(builder, mode):
    if not X86:
        builder.call(_declare(builder, "llvm.aarch64.set.fpcr", ir.VoidType(), [INT64]), [mode])
        return
    slot = builder.alloca(INT32)
    builder.store(builder.trunc(mode, INT32), slot)
    pointer = builder.bitcast(slot, ir.IntType(8).as_pointer())
    builder.call(_declare(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [pointer.type]), [pointer])


@intrinsic
def flush_subnormals(context):
    """Let this thread take subnormal numbers for zero from here on; return the mode that was set."""

    def codegen(ctx, builder, sig, args):
        if not (X86 or ARM):
            return INT64(0)
        mode = _read(builder)
        _write(builder, builder.or_(mode, INT64(FLUSH)))
        return mode

    return types.int64(), codegen


@intrinsic
def restore_mode(context, mode):
    """Set the mode that `flush_subnormals` returned."""

    def codegen(ctx, builder, sig, args):
        if X86 or ARM:
            _write(builder, args[0])
        return ctx.get_dummy_value()

    return types.void(types.int64), codegen
