"""`Lanes`: a vector register that Numba takes for a number, so that the formulas compile for it unchanged.

Operators and primitives are lowered straight to LLVM instructions (an `@overload` each would compile a function
each). A scalar operand is converted to the element type and repeated over the lanes.
"""

import operator

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, register_model
from numba.np.arrayobj import make_array

from fastmlp.cpu.target import AVX512, INSTRUCTION_SET
from fastmlp.formulas import elementary

INT32 = ir.IntType(32)
LLVM_SCALAR = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}
# (integer of the same width, bits of the mantissa, bias of the exponent)
LLVM_BITS = {types.float32: (INT32, 23, 127), types.float64: (ir.IntType(64), 52, 1023)}
LANES = {types.float32: INSTRUCTION_SET.register_bytes // 4, types.float64: INSTRUCTION_SET.register_bytes // 8}


class Lanes(types.Type):
    """The Numba type of a register of `width` floats of type `scalar`."""

    def __init__(self, scalar):
        self.scalar, self.width = scalar, LANES[scalar]
        self.llvm = ir.VectorType(LLVM_SCALAR[scalar], self.width)
        super().__init__(f"lanes({scalar} x {self.width})")


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, kind.llvm)


def splat(builder, scalar, width):
    """Repeat an LLVM scalar over a vector."""
    vector = ir.VectorType(scalar.type, width)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, INT32(0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(INT32, width), [0] * width))


def vector_constant(vector, value):
    """Return the LLVM constant vector that repeats `value`."""
    return ir.Constant(vector, [ir.Constant(vector.element, value)] * vector.count)


def call_llvm(builder, name, args, result=None, suffixes=None):
    """Call the LLVM intrinsic `name`, overloaded on the type of its first argument (or on `suffixes`)."""
    result = args[0].type if result is None else result
    full = "llvm." + name + "." + ".".join(suffixes or [_mangled(args[0].type)])
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [arg.type for arg in args]), full)
    return builder.call(function, args)


def _mangled(vector):
    element = vector.element
    name = {ir.FloatType: "f32", ir.DoubleType: "f64"}.get(type(element)) or f"i{element.width}"
    return f"v{vector.count}{name}"


def _widen(context, builder, value, kind, lanes):
    if isinstance(kind, Lanes):
        return value
    return splat(builder, context.cast(builder, value, kind, lanes.scalar), lanes.width)


def _define(function, emit, count, result=None):
    """Type `function` for `count` operands with a register among them; lower it by `emit(..., lanes, *vectors)`."""

    class Template(AbstractTemplate):
        key = function

        def generic(self, args, kws):
            lanes = next((arg for arg in args if isinstance(arg, Lanes)), None)
            if lanes is None or len(args) != count or not all(isinstance(arg, (Lanes, types.Number)) for arg in args):
                return None
            return signature(lanes if result is None else result(lanes), *args)

    infer_global(function, types.Function(Template))

    def lower(context, builder, sig, args):
        lanes = next(arg for arg in sig.args if isinstance(arg, Lanes))
        wide = [_widen(context, builder, arg, kind, lanes) for arg, kind in zip(args, sig.args, strict=True)]
        return emit(context, builder, lanes, *wide)

    for position in range(count):  # operands before `position` are scalars, it is a register, the rest are either
        kinds = [types.Number] * position + [Lanes] + [types.Any] * (count - position - 1)
        lower_builtin(function, *kinds)(lower)


def _choose(comparison):
    def emit(context, builder, lanes, x, y):
        return builder.select(builder.fcmp_ordered(comparison, y, x), y, x)

    return emit


def _where_positive(context, builder, lanes, x, yes, no):
    return builder.select(builder.fcmp_ordered(">", x, vector_constant(lanes.llvm, 0.0)), yes, no)


def _power_of_two(context, builder, lanes, n):
    integer, mantissa_bits, bias = LLVM_BITS[lanes.scalar]
    vector = ir.VectorType(integer, lanes.width)
    biased = builder.add(builder.fptosi(n, vector), vector_constant(vector, bias))
    return builder.bitcast(builder.shl(biased, vector_constant(vector, mantissa_bits)), lanes.llvm)


def _split_exponent(context, builder, lanes, x):
    integer, mantissa_bits, bias = LLVM_BITS[lanes.scalar]
    vector = ir.VectorType(integer, lanes.width)
    bits = builder.bitcast(x, vector)
    exponent = builder.sub(
        builder.lshr(bits, vector_constant(vector, mantissa_bits)), vector_constant(vector, bias - 1)
    )
    fraction = builder.and_(bits, vector_constant(vector, (1 << mantissa_bits) - 1))
    mantissa = builder.bitcast(builder.or_(fraction, vector_constant(vector, (bias - 1) << mantissa_bits)), lanes.llvm)
    pair = types.UniTuple(lanes, 2)
    return context.make_tuple(builder, pair, [mantissa, builder.sitofp(exponent, lanes.llvm)])


def _fast_root(context, builder, lanes, x):
    """By Newton's iterations from an estimate of 1 / sqrt(x) of 14 bits, beside which a division can run.

    The unit that divides and takes roots needs 22 cycles for a register of both in float32, 39 in float64; an update by
    Adam took 8.2 ns and takes 5.6 so, and 14.2 and 6.2.
    """
    if INSTRUCTION_SET is not AVX512:
        return call_llvm(builder, "sqrt", [x])
    single = lanes.scalar == types.float32
    name, limits = ("ps", np.finfo(np.float32)) if single else ("pd", np.finfo(np.float64))

    def number(value):
        return vector_constant(lanes.llvm, float(value))

    x = _choose(">")(context, builder, lanes, x, number(limits.tiny))  # the estimate for 0 is infinite,
    x = _choose("<")(context, builder, lanes, x, number(limits.max))  # and that for infinity 0
    mask = ir.Constant(ir.IntType(lanes.width), -1)
    inverse = call_llvm(builder, f"x86.avx512.rsqrt14.{name}", [x, number(0), mask], suffixes=["512"])
    root, half = builder.fmul(x, inverse), builder.fmul(inverse, number(0.5))
    for _ in range(1 if single else 2):  # each doubles the bits
        rest = call_llvm(builder, "fma", [builder.fneg(root), half, number(0.5)])
        root = call_llvm(builder, "fma", [root, rest, root])
        half = call_llvm(builder, "fma", [half, rest, half])
    return root


for _operator, _name in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _define(_operator, lambda context, builder, lanes, x, y, name=_name: getattr(builder, name)(x, y), 2)
_define(operator.neg, lambda context, builder, lanes, x: builder.fneg(x), 1)
_define(elementary.constant, lambda context, builder, lanes, like, value: value, 2)
_define(elementary.by_precision, lambda context, builder, lanes, like, *both: both[lanes.scalar == types.float64], 3)
_define(elementary.maximum, _choose(">"), 2)
_define(elementary.minimum, _choose("<"), 2)
_define(elementary.where_positive, _where_positive, 3)
_define(elementary.floor, lambda context, builder, lanes, x: call_llvm(builder, "floor", [x]), 1)
_define(elementary.square_root, lambda context, builder, lanes, x: call_llvm(builder, "sqrt", [x]), 1)
_define(elementary.fast_root, _fast_root, 1)
_define(elementary.power_of_two, _power_of_two, 1)
_define(elementary.split_exponent, _split_exponent, 1, result=lambda lanes: types.UniTuple(lanes, 2))


def element_pointer(context, builder, kind, array, index):
    """Return the LLVM pointer to element `index` of a contiguous array."""
    return builder.gep(make_array(kind)(context, builder, array).data, [index])


def _alignment(lanes):
    return 4 if lanes.scalar == types.float32 else 8


def load_vector(builder, lanes, pointer):
    """Load a register from an LLVM pointer to a scalar."""
    return builder.load(builder.bitcast(pointer, lanes.llvm.as_pointer()), align=_alignment(lanes))


def store_vector(builder, lanes, vector, pointer):
    """Store a register to an LLVM pointer to a scalar."""
    builder.store(vector, builder.bitcast(pointer, vector.type.as_pointer()), align=_alignment(lanes))


def part_of_register(builder, vector, first, count):
    """Return so many lanes of an LLVM register, from `first` on, as a smaller vector."""
    index = ir.Constant(ir.VectorType(INT32, count), [INT32(first + i) for i in range(count)])
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), index)


def plus_part(builder, lanes, pointer, part):
    """Return the sum of a part of a register and of as many numbers from an LLVM pointer on."""
    before = builder.load(builder.bitcast(pointer, part.type.as_pointer()), align=_alignment(lanes))
    return builder.fadd(before, part)


@intrinsic
def load(context, array, index):
    """Load the register array[index : index + width]."""
    lanes = Lanes(array.dtype)

    def codegen(ctx, builder, sig, args):
        return load_vector(builder, lanes, element_pointer(ctx, builder, sig.args[0], args[0], args[1]))

    return lanes(array, types.intp), codegen


@intrinsic
def store(context, array, index, value):
    """Store a register to array[index : index + width].

    LLVM 22 makes a masked store of a choice between a number from this place and another one (its issue 213195), which
    takes some 15 cycles of an AMD processor before Zen 4, and one otherwise; the fence hides the choice from it.
    """

    def codegen(ctx, builder, sig, args):
        register = call_llvm(builder, "arithmetic.fence", [args[2]])
        store_vector(builder, value, register, element_pointer(ctx, builder, sig.args[0], args[0], args[1]))
        return ctx.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def prefetch(context, array, index):
    """Ask for the line of the cache that holds array[index], which is about to be read."""

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        call_llvm(builder, "prefetch", [pointer, INT32(0), INT32(3), INT32(1)], ir.VoidType(), ["p0"])
        return ctx.get_dummy_value()

    return types.void(array, types.intp), codegen


def first_lanes(builder, lanes, count):
    """Return the LLVM mask of the lanes with an index below `count`."""
    vector = ir.VectorType(INT32, lanes.width)
    index = ir.Constant(vector, [INT32(i) for i in range(lanes.width)])
    return builder.icmp_signed("<", index, splat(builder, builder.trunc(count, INT32), lanes.width))


@intrinsic
def load_first(context, array, index, count):
    """Load array[index : index + count] into the first lanes, 0 into the others; reads nothing beyond."""
    lanes = Lanes(array.dtype)

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, lanes.llvm.as_pointer())
        mask = first_lanes(builder, lanes, args[2])
        args = [pointer, INT32(_alignment(lanes)), mask, vector_constant(lanes.llvm, 0.0)]
        return call_llvm(builder, "masked.load", args, lanes.llvm, [_mangled(lanes.llvm), "p0"])

    return lanes(array, types.intp, types.intp), codegen


@intrinsic
def keep_first(context, value, count, other):
    """Return `value` in the first `count` lanes and the scalar `other` in the others."""

    def codegen(ctx, builder, sig, args):
        return builder.select(
            first_lanes(builder, value, args[1]), args[0], _widen(ctx, builder, args[2], other, value)
        )

    return value(value, types.intp, other), codegen


@intrinsic
def horizontal_sum(context, value):
    """Return the sum of a register's lanes."""

    def codegen(ctx, builder, sig, args):
        scalar = LLVM_SCALAR[value.scalar]
        full = f"llvm.vector.reduce.fadd.{_mangled(value.llvm)}"
        function = builder.module.globals.get(full)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(scalar, [scalar, value.llvm]), full)
        # `reassoc` lets it be a tree, the same one for all
        return builder.call(function, [ir.Constant(scalar, 0.0), args[0]], fastmath=("reassoc",))

    return value.scalar(value), codegen


def _rows_reduction(name, start):
    """Return the intrinsic that reduces as many rows of registers, one after another, as a register has lanes.

    Two rows become one register of halves, four one of quarters, and so on: a shuffle and a half for each row. All rows
    are reduced in the same order, that of halving.
    """

    @intrinsic
    def reduce(context, array, index, count):
        lanes = Lanes(array.dtype)

        def codegen(ctx, builder, sig, args):
            first = first_lanes(builder, lanes, args[2])
            other = vector_constant(lanes.llvm, start)
            rows = []
            for row in range(lanes.width):
                place = builder.add(args[1], args[1].type(row * lanes.width))
                register = load_vector(builder, lanes, element_pointer(ctx, builder, sig.args[0], args[0], place))
                rows.append(builder.select(first, register, other))
            return reduce_rows(builder, name, rows)

        return lanes(array, types.intp, types.intp), codegen

    return reduce


def reduce_rows(builder, name, rows):
    """Return a register of the sums, or maxima, of as many LLVM registers as one has lanes."""
    size = len(rows)
    while size > 1:
        size //= 2
        parts = [_halves(builder, rows[i], rows[i + 1], size) for i in range(0, len(rows), 2)]
        rows = [_combine(builder, name, *halves) for halves in parts]
    return rows[0]


def _halves(builder, x, y, size):
    """Return two registers: of each block of 2 * size lanes of x and then of y the first half, and the second."""
    first = [lane for lane in range(2 * x.type.count) if lane % (2 * size) < size]
    vector = ir.VectorType(INT32, x.type.count)
    return [builder.shuffle_vector(x, y, ir.Constant(vector, [lane + move for lane in first])) for move in (0, size)]


def _combine(builder, name, x, y):
    return builder.fadd(x, y) if name == "sum" else builder.select(builder.fcmp_ordered(">", y, x), y, x)


sums_of_rows = _rows_reduction("sum", 0.0)  # (array, index, count): the first `count` lanes of each row
maxima_of_rows = _rows_reduction("maximum", -np.inf)


@intrinsic
def lane(context, value, index):
    """Return one lane of a register."""

    def codegen(ctx, builder, sig, args):
        return builder.extract_element(args[0], builder.trunc(args[1], INT32))

    return value.scalar(value, types.intp), codegen


@intrinsic
def width(context, array):
    """Return the number of lanes of a register of an array's numbers, a constant of the compiled code."""
    lanes = Lanes(array.dtype)
    return types.intp(array), lambda ctx, builder, sig, args: ctx.get_constant(types.intp, lanes.width)


@intrinsic
def repeat(context, array, value):
    """Return a register that repeats `value`, of an array's type."""
    lanes = Lanes(array.dtype)

    def codegen(ctx, builder, sig, args):
        return _widen(ctx, builder, args[1], sig.args[1], lanes)

    return lanes(array, value), codegen


@intrinsic
def store_first(context, array, index, value, count):
    """Store the first `count` lanes to array[index : index + count]; touches nothing beyond."""

    def codegen(ctx, builder, sig, args):
        pointer = element_pointer(ctx, builder, sig.args[0], args[0], args[1])
        pointer = builder.bitcast(pointer, value.llvm.as_pointer())
        mask = first_lanes(builder, value, args[3])
        arguments = [args[2], pointer, INT32(_alignment(value)), mask]
        call_llvm(builder, "masked.store", arguments, ir.VoidType(), [_mangled(value.llvm), "p0"])
        return ctx.get_dummy_value()

    return types.void(array, types.intp, value, types.intp), codegen
