"""`Dual`: a number with its derivative, that Numba takes for a number: exact differentiation, forward (Clifford, 1873).

A user's function that is compiled for it gives its value and its derivative at once. Both are of one kind: scalars, or
registers. Comparisons are by value and give a `Mask`; that of registers cannot decide an `if`, and a function that has
one compiles for scalars only.
"""

import itertools
import math
import operator

import numpy as np
import scipy.special
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.typeconv import Conversion
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, overload, register_model

from fastmlp.cpu.compile import OPTIONS
from fastmlp.cpu.lanes import LLVM_SCALAR, Lanes, splat, vector_constant
from fastmlp.formulas import derivatives, elementary


class Dual(types.Type):
    """The Numba type of a value and a derivative, both of type `kind`: float32, float64 or `Lanes`."""

    def __init__(self, kind):
        self.kind = kind
        self.scalar = elementary.scalar_type(kind)
        super().__init__(f"dual({kind})")

    def unify(self, typingctx, other):
        """Take a number for one whose derivative is 0 where a variable may be either."""
        return self if isinstance(other, (types.Number, types.Boolean, Mask)) else None

    def can_convert_from(self, typingctx, other):
        """As `unify`."""
        return None if self.unify(typingctx, other) is None else Conversion.promote


class Mask(types.Type):
    """The Numba type of what a comparison of `dual` numbers gives."""

    def __init__(self, dual):
        self.dual = dual
        super().__init__(f"mask({dual.kind})")


@register_model(Dual)
class _DualModel(models.StructModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, [("value", kind.kind), ("derivative", kind.kind)])


@register_model(Mask)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        lanes, bit = kind.dual.kind, ir.IntType(1)
        super().__init__(manager, kind, ir.VectorType(bit, lanes.width) if isinstance(lanes, Lanes) else bit)


def _constant(dual, number):
    if isinstance(dual.kind, Lanes):
        return vector_constant(dual.kind.llvm, number)
    return ir.Constant(LLVM_SCALAR[dual.kind], number)


def _spread(context, builder, number, kind, dual):
    """Return a number of Numba's as one of the kind of `dual`."""
    scalar = context.cast(builder, number, types.unliteral(kind), dual.scalar)
    return splat(builder, scalar, dual.kind.width) if isinstance(dual.kind, Lanes) else scalar


def _parts(context, builder, number, kind, dual):
    """Return (value, derivative) of an operand; the derivative is None where it is 0."""
    if isinstance(kind, Dual):
        pair = cgutils.create_struct_proxy(kind)(context, builder, value=number)
        return pair.value, pair.derivative
    if isinstance(kind, Mask):
        return builder.select(number, _constant(dual, 1.0), _constant(dual, 0.0)), None
    return _spread(context, builder, number, kind, dual), None


def _whole(context, builder, dual, value, derivative):
    pair = cgutils.create_struct_proxy(dual)(context, builder)
    pair.value = value
    pair.derivative = _constant(dual, 0.0) if derivative is None else derivative
    return pair._getvalue()


def _define(functions, count, emit, result=lambda dual: dual, first=(Dual, Mask)):
    """Type `functions` for `count` operands, one of them a `Dual` or a `Mask`, others numbers; lower them by `emit`.

    emit(builder, dual, *operands): each operand is (value, derivative or None), but those that are masks where `first`
    has them alone.
    """
    kinds = (Dual, Mask, types.Number, types.Boolean)
    masks = first == (Mask,)

    def dual_of(args):
        return next((getattr(arg, "dual", arg) for arg in args if isinstance(arg, (Dual, Mask))), None)

    def lower(context, builder, sig, args):
        dual = dual_of(sig.args)
        operands = [
            number if masks and isinstance(kind, Mask) else _parts(context, builder, number, kind, dual)
            for number, kind in zip(args, sig.args, strict=True)
        ]
        out = emit(builder, dual, *operands)
        return _whole(context, builder, dual, *out) if isinstance(out, tuple) else out

    for function in functions:

        class Template(AbstractTemplate):
            key = function
            prefer_literal = True  # for constant powers

            def generic(self, args, kws):
                dual = dual_of(args)
                fits = len(args) == count and dual is not None and all(isinstance(arg, kinds) for arg in args)
                if not fits or kws or (masks and not isinstance(args[0], Mask)):
                    return None
                return signature(result(dual), *args)

        infer_global(function, types.Function(Template))
        for combination in itertools.product(kinds, repeat=count):
            if Dual in combination or Mask in combination:
                lower_builtin(function, *combination)(lower)
    return lower


def _sum(builder, x, y, subtract=False):
    """Return x + y, or x - y, where None is 0."""
    if y is None:
        return x
    if x is None:
        return builder.fneg(y) if subtract else y
    return builder.fsub(x, y) if subtract else builder.fadd(x, y)


def _product(builder, x, y):
    return None if x is None or y is None else builder.fmul(x, y)


def _add(builder, dual, x, y):
    return builder.fadd(x[0], y[0]), _sum(builder, x[1], y[1])


def _subtract(builder, dual, x, y):
    return builder.fsub(x[0], y[0]), _sum(builder, x[1], y[1], subtract=True)


def _multiply(builder, dual, x, y):
    derivative = _sum(builder, _product(builder, x[1], y[0]), _product(builder, y[1], x[0]))
    return builder.fmul(x[0], y[0]), derivative


def _divide(builder, dual, x, y):
    if y[1] is None:
        return builder.fdiv(x[0], y[0]), None if x[1] is None else builder.fdiv(x[1], y[0])
    inverse = builder.fdiv(_constant(dual, 1.0), y[0])
    value = builder.fmul(x[0], inverse)
    rest = _sum(builder, x[1], builder.fmul(value, y[1]), subtract=True)
    return builder.fdiv(x[0], y[0]), builder.fmul(rest, inverse)


def _floor_of(builder, dual, x):
    return _call(builder, dual, "floor", x)


def _floor_divide(builder, dual, x, y):
    return _floor_of(builder, dual, builder.fdiv(x[0], y[0])), None


def _remainder(builder, dual, x, y):
    times = _floor_of(builder, dual, builder.fdiv(x[0], y[0]))
    derivative = _sum(builder, x[1], _product(builder, y[1], times), subtract=True)
    return builder.fsub(x[0], builder.fmul(times, y[0])), derivative


def _call(builder, dual, name, *args):
    """Call an LLVM intrinsic; of a register, LLVM calls the C library for each lane where the machine has none."""
    bits = dual.scalar.bitwidth
    suffix = f"v{dual.kind.width}f{bits}" if isinstance(dual.kind, Lanes) else f"f{bits}"
    full, kind = f"llvm.{name}.{suffix}", args[0].type
    function = builder.module.globals.get(full)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(kind, [kind] * len(args)), full)
    return builder.call(function, args)


def _power(builder, dual, x, y):
    zero, one = _constant(dual, 0.0), _constant(dual, 1.0)
    value, derivative = _call(builder, dual, "pow", x[0], y[0]), None
    if x[1] is not None:
        slope = builder.fmul(y[0], builder.fdiv(value, x[0]))
        at_zero = builder.select(builder.fcmp_ordered("==", y[0], one), one, _constant(dual, math.inf))
        small = builder.or_(builder.fcmp_ordered(">", y[0], one), builder.fcmp_ordered("==", y[0], zero))
        at_zero = builder.select(small, zero, at_zero)
        slope = builder.select(builder.fcmp_ordered("==", x[0], zero), at_zero, slope)
        derivative = builder.fmul(x[1], slope)
    if y[1] is not None:
        slope = builder.fmul(value, _call(builder, dual, "log", x[0]))
        slope = builder.select(builder.fcmp_ordered("==", x[0], zero), zero, slope)
        derivative = _sum(builder, derivative, builder.fmul(y[1], slope))
    return value, derivative


def _constant_power(builder, dual, x, n):
    """By products: value = below x, derivative = n below."""
    value, derivative = x
    if n < 0:
        value, derivative = _divide(builder, dual, (_constant(dual, 1.0), None), x)
        n = -n
    if n == 0:
        return _constant(dual, 1.0), None
    below, square = None, value
    for bit in bin(n - 1)[:1:-1]:
        if bit == "1":
            below = square if below is None else builder.fmul(below, square)
        square = builder.fmul(square, square)
    if below is None:
        return value, derivative
    slope = builder.fmul(below, _constant(dual, float(n)))
    return builder.fmul(below, value), _product(builder, derivative, slope)


def _choose(builder, chosen, x, y, dual):
    """Return x where `chosen`, else y."""
    value = builder.select(chosen, x[0], y[0])
    if x[1] is None and y[1] is None:
        return value, None
    zero = _constant(dual, 0.0)
    return value, builder.select(chosen, zero if x[1] is None else x[1], zero if y[1] is None else y[1])


def _extreme(comparison):
    """Return `emit` of a maximum or minimum, NaN where one is. Where both are equal, the derivative is their mean."""

    def emit(builder, dual, x, y):
        first = builder.fcmp_ordered(comparison, x[0], y[0])
        chosen = builder.or_(first, builder.fcmp_unordered("!=", x[0], x[0]))
        value, derivative = _choose(builder, chosen, x, y, dual)
        if derivative is not None:
            mean = builder.fmul(_sum(builder, x[1], y[1]), _constant(dual, 0.5))
            derivative = builder.select(builder.fcmp_ordered("==", x[0], y[0]), mean, derivative)
        return value, derivative

    return emit


def _clip(builder, dual, x, low, high):
    return _extreme("<")(builder, dual, _extreme(">")(builder, dual, x, low), high)


def _compare(comparison):
    def emit(builder, dual, x, y):
        compare = builder.fcmp_unordered if comparison == "!=" else builder.fcmp_ordered
        return compare(comparison, x[0], y[0])

    return emit


for _functions, _emit in (
    ((operator.add, operator.iadd, np.add), _add),
    ((operator.sub, operator.isub, np.subtract), _subtract),
    ((operator.mul, operator.imul, np.multiply), _multiply),
    ((operator.truediv, operator.itruediv, np.divide), _divide),
    ((operator.floordiv, operator.ifloordiv, np.floor_divide), _floor_divide),
    ((operator.mod, operator.imod, np.remainder), _remainder),
    ((max, np.maximum), _extreme(">")),
    ((min, np.minimum), _extreme("<")),
):
    _define(_functions, 2, _emit)
_POWERS = (operator.pow, operator.ipow, pow, math.pow, np.power, np.float_power)
_define(_POWERS, 2, _power)


def _lower_constant_power(context, builder, sig, args):
    dual = sig.args[0]
    out = _constant_power(builder, dual, _parts(context, builder, args[0], dual, dual), sig.args[1].literal_value)
    return _whole(context, builder, dual, *out)


for _function in _POWERS:
    lower_builtin(_function, Dual, types.IntegerLiteral)(_lower_constant_power)
_define((operator.neg, np.negative), 1, lambda builder, dual, x: (builder.fneg(x[0]), _sum(builder, None, x[1], True)))
_define((operator.pos, np.positive), 1, lambda builder, dual, x: x)
_define((np.clip,), 3, _clip)
for _function, _comparison in (
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
    (operator.eq, "=="),
    (operator.ne, "!="),
    (np.less, "<"),
    (np.less_equal, "<="),
    (np.greater, ">"),
    (np.greater_equal, ">="),
    (np.equal, "=="),
    (np.not_equal, "!="),
):
    _define((_function,), 2, _compare(_comparison), result=Mask)
_define((math.isnan, np.isnan), 1, lambda builder, dual, x: builder.fcmp_unordered("!=", x[0], x[0]), result=Mask)
_define((np.where,), 3, lambda builder, dual, chosen, x, y: _choose(builder, chosen, x, y, dual), first=(Mask,))


def _define_logic(functions, count, emit):
    """Type and lower `functions` for masks alone."""

    def lower(context, builder, sig, args):
        return emit(builder, *args)

    for function in functions:

        class Template(AbstractTemplate):
            key = function

            def generic(self, args, kws):
                if len(args) == count and all(isinstance(arg, Mask) for arg in args):
                    return signature(args[0], *args)
                return None

        infer_global(function, types.Function(Template))
        lower_builtin(function, *[Mask] * count)(lower)


_define_logic(
    (operator.and_, operator.iand, np.logical_and, np.bitwise_and), 2, lambda builder, x, y: builder.and_(x, y)
)
_define_logic((operator.or_, operator.ior, np.logical_or, np.bitwise_or), 2, lambda builder, x, y: builder.or_(x, y))
_define_logic((operator.xor, operator.ixor, np.logical_xor, np.bitwise_xor), 2, lambda builder, x, y: builder.xor(x, y))
_define_logic((operator.invert, operator.not_, np.logical_not, np.bitwise_not), 1, lambda builder, x: builder.not_(x))


@infer_global(bool)
class _Decision(AbstractTemplate):
    """`if` and its like: only a comparison of scalars decides."""

    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], Mask) and not isinstance(args[0].dual.kind, Lanes):
            return signature(types.boolean, *args)
        return None


@lower_builtin(bool, Mask)
def _decide(context, builder, sig, args):
    return args[0]


def _cast(context, builder, fromty, toty, value):
    return _whole(context, builder, toty, *_parts(context, builder, value, fromty, toty))


for _kind in (types.Number, types.Boolean, Mask):
    lower_cast(_kind, Dual)(_cast)


@intrinsic
def _value_of(context, x):
    """Return the value of a `Dual`."""

    def codegen(ctx, builder, sig, args):
        return _parts(ctx, builder, args[0], x, x)[0]

    return x.kind(x), codegen


@intrinsic
def _chain(context, x, value, slope):
    """Return the `Dual` of a function with this value and derivative at x: the chain rule."""

    def codegen(ctx, builder, sig, args):
        return _whole(ctx, builder, x, args[1], builder.fmul(args[2], _parts(ctx, builder, args[0], x, x)[1]))

    return x(x, x.kind, x.kind), codegen


def _define_by_formula(rule, *functions):
    """Compile functions of one `Dual` by the formula of value and derivative."""

    def by_formula(x):
        value, slope = rule(_value_of(x))
        return _chain(x, value, slope)

    # Numba knows compiled code by this name: it must tell the functions apart
    by_formula.__qualname__ = f"by_formula_{rule.py_func.__name__}"

    def choose(x):
        return by_formula if isinstance(x, Dual) else None

    for function in functions:
        overload(function, jit_options=OPTIONS)(choose)


FUNCTIONS = {
    derivatives.exp: (math.exp, np.exp),
    derivatives.expm1: (math.expm1, np.expm1),
    derivatives.log: (math.log, np.log),
    derivatives.log2: (math.log2, np.log2),
    derivatives.log10: (math.log10, np.log10),
    derivatives.log1p: (math.log1p, np.log1p),
    derivatives.sqrt: (math.sqrt, np.sqrt),
    derivatives.square: (np.square,),
    derivatives.reciprocal: (np.reciprocal,),
    derivatives.tanh: (math.tanh, np.tanh),
    derivatives.sinh: (math.sinh, np.sinh),
    derivatives.cosh: (math.cosh, np.cosh),
    derivatives.sin: (math.sin, np.sin),
    derivatives.cos: (math.cos, np.cos),
    derivatives.tan: (math.tan, np.tan),
    derivatives.arctan: (math.atan, np.arctan),
    derivatives.arcsinh: (math.asinh, np.arcsinh),
    derivatives.erf: (math.erf, scipy.special.erf),
    derivatives.erfc: (math.erfc, scipy.special.erfc),
    derivatives.ndtr: (scipy.special.ndtr,),
    derivatives.expit: (scipy.special.expit,),
    derivatives.absolute: (abs, math.fabs, np.abs, np.fabs),
    derivatives.sign: (np.sign,),
    derivatives.floored: (math.floor, np.floor),
    derivatives.ceiled: (math.ceil, np.ceil),
}
for _rule, _functions in FUNCTIONS.items():
    _define_by_formula(_rule, *_functions)


@intrinsic
def _chain_of_two(context, x, y, value, slope, other_slope):
    """Return the `Dual` of a function of two numbers with this value and these derivatives."""
    dual = x if isinstance(x, Dual) else y

    def codegen(ctx, builder, sig, args):
        slopes = [_parts(ctx, builder, number, kind, dual)[1] for number, kind in zip(args[:2], (x, y), strict=True)]
        derivative = _sum(builder, *[_product(builder, *pair) for pair in zip(slopes, args[3:], strict=True)])
        return _whole(ctx, builder, dual, args[2], derivative)

    return dual(x, y, value, slope, other_slope), codegen


@overload(np.logaddexp, jit_options=OPTIONS)
def _choose_logaddexp(x, y):
    if not isinstance(x, Dual) and not isinstance(y, Dual):
        return None

    def logaddexp(x, y):
        difference = _value_of(x - y)
        value, slope, other_slope = derivatives.logaddexp_of_difference(difference)
        return _chain_of_two(x, y, _value_of(np.maximum(x, y)) + value, slope, other_slope)

    return logaddexp


@intrinsic
def variable(context, z):
    """Return z as the `Dual` that is differentiated by."""
    dual = Dual(z)

    def codegen(ctx, builder, sig, args):
        return _whole(ctx, builder, dual, args[0], _constant(dual, 1.0))

    return dual(z), codegen


@intrinsic
def both_parts(context, y, z):
    """Return (value, derivative) of what a function returned, each of the type of z."""
    if not isinstance(y, (Dual, Mask, types.Number, types.Boolean)) or isinstance(y, types.Complex):
        raise TypingError(f"it returns {y}, not a number")
    dual = Dual(z)

    def codegen(ctx, builder, sig, args):
        value, derivative = _parts(ctx, builder, args[0], y, dual)
        derivative = _constant(dual, 0.0) if derivative is None else derivative
        return ctx.make_tuple(builder, sig.return_type, [value, derivative])

    return types.UniTuple(z, 2)(y, z), codegen
