"""Activations over blocks of registers, chosen by a code: the position of their name in the table of formulas."""

from fastmlp.cpu.compile import kernel
from fastmlp.cpu.lanes import load, store, width
from fastmlp.formulas.activations import ACTIVATIONS

ACTIVATION_CODES = {name: code for code, name in enumerate(ACTIVATIONS)}


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


_value = by_code([activation.value for activation in ACTIVATIONS.values()])
_derivative = by_code([activation.derivative for activation in ACTIVATIONS.values()])


@kernel
def activate(code, memory, block, count):
    """memory[block : block + count] = activation(memory[block : block + count])."""
    for i in range(block, block + count, width(memory)):
        store(memory, i, _value(code, load(memory, i)))


@kernel
def multiply_by_derivative(code, memory, error, activation, count):
    """memory[error : error + count] *= derivative(memory[activation : activation + count])."""
    for i in range(0, count, width(memory)):
        store(memory, error + i, load(memory, error + i) * _derivative(code, load(memory, activation + i)))
