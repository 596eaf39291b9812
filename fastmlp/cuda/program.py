"""Which formulas a kernel holds: scikit-learn's, or all; kernels choose among them by a code."""

import functools
from collections.abc import Callable, Sequence

from fastmlp.cuda.compiler import device
from fastmlp.formulas import activations, losses, updates
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.elementary import constant
from fastmlp.formulas.losses import LOSSES, SOFTMAX_LOSSES
from fastmlp.formulas.penalties import soft_threshold
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Network

# The code of a unit's loss is its position in a program; that of a softmax's loss is negative.
SOFTMAX_CODES = {name: -1 - position for position, name in enumerate(SOFTMAX_LOSSES)}
LOG_LOSS, SOFT_LOG_LOSS, SOFTMAX_SQUARED_ERROR, GROUPED_LOG_LOSS = SOFTMAX_CODES.values()
ONLY_GRADIENT = -1  # in place of the code of an update


def by_code(functions: Sequence[Callable]) -> Callable:
    """Return the device function (code, *args) that gives functions[code](*args)."""
    if len(functions) == 1:
        only = functions[0]

        @device
        def the_only_one(code, *args):
            return only(*args)

        return the_only_one
    half = len(functions) // 2
    low, high = by_code(functions[:half]), by_code(functions[half:])

    @device
    def choose(code, *args):
        if code < half:
            return low(code, *args)
        return high(code - half, *args)

    return choose


def _both(activation: activations.Activation) -> Callable:
    """Return the function of a preactivation that gives (activation, derivative)."""
    if activation.both is not None:
        both = activation.both
        return device(lambda z: both(z))
    value, derivative = activation.value, activation.derivative

    @device
    def value_and_derivative(z):
        a = value(z)
        return a, derivative(a)

    return value_and_derivative


def _mover(update: updates.Update) -> Callable:
    """Return the step of an update, and of an L1 penalty of strength `l1` a proximal step after it."""
    step, rate = update.step, update.rate
    absorbs, absorb = update.absorb is not None, update.absorb or updates.sgd_absorb

    @device
    def move(w, g, m, v, constants, l1):
        new, m, v = step(w, g, m, v, constants)
        if l1 > 0.0:
            sparse = soft_threshold(new, rate(m, v, constants) * constant(w, l1))
            if absorbs:
                m = absorb(m, sparse - new, constants)
            new = sparse
        return new, m, v

    return move


class Program:
    """A choice of formulas as device functions.

    Parameters
    ----------
    name : str
        Tells it apart from all others.
    names : sequence of str
        Of the activations.
    update_names, loss_names : sequence of str
        Names in `formulas.updates.UPDATES` and `formulas.losses.LOSSES`; the updates are the first of them.

    Attributes
    ----------
    codes, update_codes, loss_codes : dict of str to int
        What kernels know an activation, an update and a loss by.
    activate, activate_both : device functions (code, preactivation)
        That give an activation, or (activation, derivative).
    move : device function (code, parameter, gradient, first, second, constants, l1)
        That gives the new (parameter, first, second).
    begin : device function (code, hyperparameters, t)
        That gives the six constants of step t.
    unit_activation, unit_loss, unit_error : device functions (code, ...)
        Of the losses of a unit.
    """

    def __init__(self, name: str, names: Sequence[str], update_names: Sequence[str], loss_names: Sequence[str]):
        self.name = name
        self.codes = {name: code for code, name in enumerate(names)}
        self.update_codes = {name: code for code, name in enumerate(update_names)}
        self.loss_codes = {name: code for code, name in enumerate(loss_names)} | SOFTMAX_CODES
        formulas = [ACTIVATIONS[name] for name in names]
        self.activate = by_code([formula.value for formula in formulas])
        self.activate_both = by_code([_both(formula) for formula in formulas])
        formulas = [UPDATES[name] for name in update_names]
        self.move = by_code([_mover(formula) for formula in formulas])
        self.begin = by_code([formula.begin for formula in formulas])
        formulas = [LOSSES[name] for name in loss_names]
        self.unit_activation = by_code([formula.activation for formula in formulas])
        self.unit_loss = by_code([formula.value for formula in formulas])
        self.unit_error = by_code([formula.error for formula in formulas])


@functools.cache
def _program(classic: bool) -> Program:
    if classic:
        return Program("classic", activations.CLASSIC, updates.CLASSIC, losses.CLASSIC)
    return Program("full", tuple(ACTIVATIONS), tuple(UPDATES), tuple(LOSSES))


def program_of(network: Network, update: str = "sgd") -> Program:
    """Return the smallest program that has a network's formulas and an update."""
    return _program(
        set(network.activations[:-1]) <= set(activations.CLASSIC)
        and network.loss in (*losses.CLASSIC, *SOFTMAX_LOSSES)
        and update in updates.CLASSIC
    )
