"""Activations over blocks of registers, chosen by a code: the position of their name in the table of formulas.

A user's own one has no code, but its address (`fastmlp.cpu.user`), which is larger than any code.
"""

import math

from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import load, repeat, store, width


def block_arguments(scalar):
    """Return the Numba types that a kernel at an address takes: (memory, block, size, slope)."""
    return (types.Array(scalar, 1, "C"), types.intp, types.intp, types.intp)


@intrinsic
def call_at(context, address, memory, block, size, slope):
    """Run the kernel at an address, as `activate`; return whether it failed."""
    arguments = block_arguments(memory.dtype)

    def codegen(ctx, builder, sig, args):
        # all that the kernel is told of the memory is where it begins: it may be a matrix here
        flat = make_array(arguments[0])(ctx, builder)
        size = ctx.get_constant(types.intp, memory.dtype.bitwidth // 8)
        data = make_array(memory)(ctx, builder, args[1]).data
        populate_array(flat, data, [args[3]], [size], size, None)
        address, args = args[0], [flat._getvalue(), *args[2:]]
        kind = ctx.call_conv.get_function_type(types.none, arguments)
        function = builder.inttoptr(address, kind.as_pointer())
        status, _ = ctx.call_conv.call_function(builder, function, types.none, arguments, args)
        return status.is_error

    return types.boolean(types.intp, memory, *arguments[1:]), codegen


def by_code(kernels):
    """Return the kernel (code, *args) that runs kernels[code](*args).

    One level of calls for each five kernels: Numba optimises a function again in each that calls it.
    """
    count = len(kernels)
    a, b, c, d, e = (kernels[min(i, count - 1)] for i in range(5))
    rest = by_code(kernels[5:]) if count > 5 else a

    @kernel
    def choose(code, *args):
        if code == 0:
            return a(*args)
        if count > 1 and code == 1:
            return b(*args)
        if count > 2 and code == 2:
            return c(*args)
        if count > 3 and code == 3:
            return d(*args)
        if count > 4 and code == 4:
            return e(*args)
        return rest(code - 5, *args)

    @kernel
    def choose_of_few(code, *args):
        if count > 1 and code == 1:
            return b(*args)
        if count > 2 and code == 2:
            return c(*args)
        if count > 3 and code == 3:
            return d(*args)
        if count > 4 and code == 4:
            return e(*args)
        return a(*args)

    return choose if count > 5 else choose_of_few


def make_activate(activations):
    """Return the kernel that applies one of these activations, chosen by its position, to a block.

    Last come those whose derivative needs the preactivation.
    """
    value = by_code([activation.value for activation in activations])
    count, total = sum(activation.derivative is not None for activation in activations), len(activations)
    derivative = by_code([activation.derivative for activation in activations[:count]])

    @kernel
    def activate(code, memory, block, size, slope):
        """memory[block : block + size] = activation(memory[block : block + size])."""
        for i in range(block, block + size, width(memory)):
            store(memory, i, value(code, load(memory, i)))

    if count == len(activations):
        return activate
    both = by_code([activation.both for activation in activations[count:]])

    @kernel
    def activate_with_slopes(code, memory, block, size, slope):
        """As `activate`; where `slope` is not 0, the derivatives are stored that far behind the activations."""
        if code >= total:
            if call_at(code, memory, block, size, slope):  # the user's function raised an exception
                for i in range(block, block + size, width(memory)):
                    store(memory, i, repeat(memory, math.nan))
            return
        if slope == 0:
            activate(code, memory, block, size, slope)
            return
        for i in range(block, block + size, width(memory)):
            if code < count:
                a = value(code, load(memory, i))
                gradient = derivative(code, a)
            else:
                a, gradient = both(code - count, load(memory, i))
            store(memory, i, a)
            store(memory, i + slope, gradient)

    return activate_with_slopes


def make_multiply_by_derivative(activations):
    """Return the kernel that takes errors back through one of these activations."""
    count = sum(activation.derivative is not None for activation in activations)
    derivative = by_code([activation.derivative for activation in activations[:count]])

    @kernel
    def multiply_by_derivative(code, memory, error, activation, size, slope):
        """memory[error : error + size] *= derivative(memory[activation : activation + size])."""
        for i in range(0, size, width(memory)):
            store(memory, error + i, load(memory, error + i) * derivative(code, load(memory, activation + i)))

    if count == len(activations):
        return multiply_by_derivative

    @kernel
    def multiply_by_slope(code, memory, error, activation, size, slope):
        """As `multiply_by_derivative`; where `slope` is not 0, by what is stored that far behind the activations."""
        if slope == 0:
            multiply_by_derivative(code, memory, error, activation, size, slope)
            return
        for i in range(0, size, width(memory)):
            store(memory, error + i, load(memory, error + i) * load(memory, activation + slope + i))

    return multiply_by_slope
