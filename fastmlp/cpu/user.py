"""Users' own functions: compiled each on its own, and called by the engine at an address.

So a new function does not compile the engine anew. The engine calls it for a block of numbers at once, which costs
nothing beside the block.
"""

import builtins
import dis
import hashlib
import inspect
import itertools
import re
import types as python_types
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba.core import types
from numba.core.datamodel import models
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaError, TypingError
from numba.extending import NativeValue, intrinsic, register_model, unbox

from fastmlp.activation import Activation, name_of
from fastmlp.cpu.compile import entry, named_kernel
from fastmlp.cpu.dual import both_parts, variable
from fastmlp.cpu.elementwise import block_arguments
from fastmlp.cpu.lanes import load, store, width

PLAIN = (int, float, bool, str, bytes, type(None), np.number, np.bool_)
LIBRARIES = ("math", "numpy", "scipy", "numba", "builtins")  # what is in them does not change


class UserType(types.Type):
    """The Numba type of a user's functions; only a name, so that Numba can keep compiled code under it."""

    def __init__(self, name):
        self.activation = name
        super().__init__(f"user({name})")


register_model(UserType)(models.OpaqueModel)


@unbox(UserType)
def _unbox(kind, value, c):
    return NativeValue(c.context.get_dummy_value())


def _python_function(function):
    """Return the Python function of a compiled one, and one that calls it for what is built in."""
    if isinstance(function, Dispatcher):
        return function.py_func
    if isinstance(function, python_types.BuiltinFunctionType | np.ufunc):
        return lambda z: function(z)
    if isinstance(function, python_types.FunctionType):
        return function
    raise ValueError(f"{function!r} is not a Python function")


@lru_cache(maxsize=1000)
def _read(code):
    """Return a text of a code object and all within it, the names that it takes from its module, and all names."""
    text, outside, names = [code.co_code.hex()], {}, {*code.co_names}
    text += [str(part) for part in (code.co_argcount, code.co_names, code.co_varnames, code.co_freevars)]
    for instruction in dis.get_instructions(code):
        if instruction.opname == "LOAD_GLOBAL":
            outside[instruction.argval] = None
    for constant in code.co_consts:
        if isinstance(constant, python_types.CodeType):
            inner = _read(constant)
            text.append(inner[0])
            outside |= dict.fromkeys(inner[1])
            names |= inner[2]
        else:
            text.append(repr(constant))
    return " ".join(text), tuple(outside), names


def _outside(function):
    """Return what a function takes from outside, by name: of its module, and of the functions around it."""
    found = {}
    for name in _read(function.__code__)[1]:
        if name in function.__globals__:
            found[name] = function.__globals__[name]
        elif hasattr(builtins, name):
            found[name] = getattr(builtins, name)
        else:
            raise ValueError(f"its name {name!r} is not defined")
    names = function.__code__.co_freevars
    try:
        found |= {name: cell.cell_contents for name, cell in zip(names, function.__closure__ or (), strict=True)}
    except ValueError:
        raise ValueError(f"one of its names {names} is not defined") from None
    return found


def _of_library(value):
    """Return whether a module, type or function is of one whose text does not change."""
    if isinstance(value, np.ufunc):
        return True
    name = value.__name__ if isinstance(value, python_types.ModuleType) else getattr(value, "__module__", None)
    return isinstance(name, str) and name.partition(".")[0] in LIBRARIES


def _is_function(value):
    return isinstance(value, python_types.FunctionType | Dispatcher) and not _of_library(value)


def _described(value, names, callers=()):
    """Return a text that changes with everything that the compiled code of a value depends on.

    names: those that the function around it uses, of which some are of a module.
    """
    if isinstance(value, tuple):
        return f"({', '.join(_described(part, names, callers) for part in value)})"
    if isinstance(value, PLAIN):
        return f"{type(value).__name__} {value!r}"
    if value is print:
        raise ValueError("it prints")
    if _of_library(value):
        return f"{getattr(value, '__module__', '')} {name_of(value)}"
    if isinstance(value, python_types.ModuleType):
        parts = {name: getattr(value, name) for name in names if hasattr(value, name)}
        for name, part in parts.items():
            if _is_function(part):
                raise ValueError(f"import {name} by its name: functions of the module {value.__name__} are not taken")
        return f"{value.__name__} {[(name, _described(part, names, callers)) for name, part in parts.items()]}"
    if _is_function(value):
        function = _python_function(value)
        if function in callers:
            raise ValueError(f"{function.__name__} calls itself")
        callers = (*callers, function)
        text, _, used = _read(function.__code__)
        outside = [(name, _described(part, used, callers)) for name, part in _outside(function).items()]
        return f"function {text} {_described(function.__defaults__, used, callers)} {outside}"
    raise ValueError(f"it uses {value!r}, but of what is outside of it, it may use numbers, tuples, and functions only")


def describe(functions: tuple[Callable, ...], kind: type) -> str:
    """Return a name for the compiled code of a `kind` of `User` with these functions, which no other code has.

    Raises
    ------
    ValueError
        If they use what this cannot tell apart, or do not take the arguments of that kind.
    """
    functions = [_python_function(function) for function in functions]
    for function in functions:
        code = function.__code__
        needed = code.co_argcount - len(function.__defaults__ or ())
        if not needed <= kind.n_arguments <= code.co_argcount or code.co_kwonlyargcount > 0:
            raise ValueError(
                f"{function.__name__}{inspect.signature(function)} does not take {kind.arguments} by position only"
            )
    described = [kind.__name__, *(_described(function, ()) for function in functions)]
    return hashlib.sha256(repr(described).encode()).hexdigest()[:32]


def _copy(function, name, numbers):
    """Compile a copy of a function and of those that it calls, each under a name that no other one has."""
    function = _python_function(function)
    number = next(numbers)
    outside = {
        key: _copy(value, name, numbers) if _is_function(value) else value for key, value in _outside(function).items()
    }
    cells = tuple(python_types.CellType(outside.pop(free)) for free in function.__code__.co_freevars)
    copy = python_types.FunctionType(function.__code__, outside, function.__name__, function.__defaults__, cells)
    copy.__module__ = function.__module__
    copy.__qualname__ = f"{function.__qualname__}_{name}_{number}"
    return named_kernel(copy)


def _exact(function, derivative):
    """Return the kernel z -> (value, derivative), both of the type of z, for registers and scalars."""

    def differentiated(z):
        return both_parts(function(variable(z)), z)

    def given(z):
        x = variable(z)
        return both_parts(function(x), z)[0], both_parts(derivative(x), z)[0]

    return differentiated if derivative is None else given


def _plain(function, derivative):
    """Return the kernel of scalars as `_exact` does; the functions take plain numbers."""

    def plain(z):
        x = np.float64(z)
        return both_parts(function(x), z)[0], both_parts(derivative(x), z)[0]

    return plain


def _of_registers(both):
    """Return the kernel that applies `both` to a block."""

    def registers(memory, block, size, slope):
        """As `elementwise.make_activate`."""
        if slope == 0:
            for i in range(block, block + size, width(memory)):
                store(memory, i, both(load(memory, i))[0])
            return
        for i in range(block, block + size, width(memory)):
            a, derivative = both(load(memory, i))
            store(memory, i, a)
            store(memory, i + slope, derivative)

    return registers


def _of_scalars(both):
    """Return the kernel that applies `both` to a block.

    The inner loop has a fixed length: so the code, and with it the rounding, is the same for a number at any place.
    """

    def scalars(memory, block, size, slope):
        """As `elementwise.make_activate`."""
        for i in range(block, block + size, width(memory)):
            for j in range(i, i + width(memory)):
                a, derivative = both(memory[j])
                memory[j] = a
                if slope != 0:
                    memory[j + slope] = derivative

    return scalars


class User:
    """A user's functions and the ways to compile them.

    Parameters
    ----------
    functions : tuple of callable
        One or two.
    name : str
        What `describe` returns for them.

    Attributes
    ----------
    reasons : list of str
        Why the ways that were tried so far do not compile.
    """

    def __init__(self, functions: tuple[Callable, ...], name: str):
        self._numba_type_ = UserType(name)
        self.functions, self.name, self.reasons = functions, name, []

    def copies(self):
        """Return the functions compiled, under names of their own."""
        numbers = itertools.count()
        return [_copy(function, self.name, numbers) for function in self.functions]

    def named(self, function):
        """Compile a kernel under a name of its own."""
        function.__qualname__ += f"_{self.name}"
        return named_kernel(function)


class UserActivation(User):
    """An activation, and its derivative where that is given."""

    n_arguments, arguments = 1, "one number"
    allowed = (
        "Allowed is a Python function of one number that returns a number, made of arithmetic, comparisons, if, loops, "
        "and functions of math and numpy: exp, expm1, log, log1p, sqrt, tanh, sinh, cosh, sin, cos, tan, arctan, erf, "
        "abs, where, maximum, minimum, clip and others; beside a derivative, also others that Numba knows."
    )

    def ways(self):
        """Return kernels of a block, the fastest first."""
        function, derivative = (*self.copies(), None)[:2]
        both = self.named(_exact(function, derivative))
        ways = [self.named(_of_registers(both)), self.named(_of_scalars(both))]
        if derivative is not None:
            ways.append(self.named(_of_scalars(self.named(_plain(function, derivative)))))
        return ways


class UserChange(User):
    """A change of a row of features: function(row, uniform), two arrays."""

    n_arguments, arguments = 2, "two arrays"
    allowed = (
        "Allowed is a Python function of two arrays, a row's features and as many random numbers between 0 and 1, that "
        "changes the first in place by what Numba can compile, and makes no other array, list or object."
    )

    def ways(self):
        """Return the kernel of memory: `slope` features, and after them the random numbers, `size` in all."""
        (function,) = self.copies()

        def change(memory, block, size, slope):
            function(memory[:slope], memory[slope:size])

        return [self.named(change)]


USERS = {}
_OUTCOMES = {}  # the address of what compiled, or why it does not


@intrinsic
def _compile(context, user, memory):
    """Return the address of the compiled kernel of a block."""
    own = USERS[user.activation]
    arguments = block_arguments(memory.dtype)
    for way in own.ways():
        try:
            types.Dispatcher(way).get_call_type(context, arguments, {})
            break
        except Exception as error:  # Numba raises errors of all kinds for what it cannot compile
            own.reasons.append(str(error))
    else:
        raise TypingError("no way to compile it")
    compiled = way.overloads[arguments]

    def codegen(ctx, builder, sig, args):
        ctx.active_code_library.add_linking_library(compiled.library)
        function = ctx.declare_function(builder.module, compiled.fndesc)
        return builder.ptrtoint(function, ctx.get_value_type(types.intp))

    return types.intp(user, memory), codegen


@entry
def compile_user(user, memory):
    """Return the address of the kernel of a user's functions for numbers of the type of `memory`."""
    return _compile(user, memory)


def address_of(activation: Activation, dtype: np.dtype) -> int:
    """Return where the code of an activation begins, which is compiled or loaded if need be.

    Parameters
    ----------
    activation : Activation
        The functions.
    dtype : numpy.dtype
        float32 or float64.

    Returns
    -------
    int
        For `call_at`, in this process.

    Raises
    ------
    ValueError
        If it cannot be compiled, or not be differentiated.
    """
    functions = tuple(part for part in (activation.function, activation.derivative) if part is not None)
    return _address_of(UserActivation, functions, dtype, f"activation: {activation}")


def address_of_change(function: Callable, dtype: np.dtype) -> int:
    """Return the same for a function that changes a row: see `UserChange`."""
    return _address_of(UserChange, (function,), dtype, f"augment: {name_of(function)}")


def _address_of(kind, functions, dtype, what):
    try:
        name = describe(functions, kind)
    except ValueError as error:
        outcome = str(error)
    else:
        key = (name, np.dtype(dtype))
        if key not in _OUTCOMES:
            # not one of the same name from before, whose numbers outside may have changed since
            user = USERS[name] = kind(functions, name)
            try:
                _OUTCOMES[key] = compile_user(user, np.empty(0, dtype))
            except NumbaError:
                _OUTCOMES[key] = _reason(user.reasons[-1])
        outcome = _OUTCOMES[key]
    if isinstance(outcome, str):
        raise ValueError(f"{what} cannot be compiled: {outcome.rstrip('.')}. {kind.allowed}")
    return outcome


def _reason(report):
    """Return what Numba's report of an error says first, beside where it was found."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", report).splitlines()]
    lines = [line for line in lines if line and not line.startswith(("Failed in nopython", "During:"))]
    call = next((line.removeprefix(">>> ") for line in lines if line.startswith(">>> ")), "")
    if call.startswith("both_parts("):
        return f"it returns {_readable(call.removeprefix('both_parts(').rpartition(',')[0])}, not a number"
    if "NRT required" in report:
        return "it makes a list, an array or another object"
    return _readable(f"{lines[0]} {call}".strip()) if lines else "Numba does not say why"


def _readable(text):
    return re.sub(r"dual\(float\d+\)", "number", text)
