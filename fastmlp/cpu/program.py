"""Which formulas a compiled program holds, as a type: one text of the kernels serves all programs.

Kernels take a program as their first argument and call `program.activate(...)`: for each program they are compiled
anew. So nobody who needs what scikit-learn has waits for the compilation of more.
"""

import numpy as np
from numba.core import types
from numba.core.datamodel import models
from numba.core.imputils import lower_getattr_generic
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import NativeValue, register_model, unbox

from fastmlp.activation import Activation
from fastmlp.cpu.augment import augment_rows, keep_rows
from fastmlp.cpu.clip import clipped_scale, same_scale
from fastmlp.cpu.dropout import drop, drop_nothing
from fastmlp.cpu.elementwise import make_activate, make_multiply_by_derivative
from fastmlp.cpu.output import (
    SOFTMAX_CODES,
    any_softmax_error,
    make_output_activation,
    make_unit_errors,
    softmax_error,
)
from fastmlp.cpu.parameters import make_step_constants, make_update_parameters
from fastmlp.formulas import activations, losses, updates
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.losses import LOSSES
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Network

PROGRAMS = {}


class ProgramType(types.Type):
    """The Numba type of a program; only its name, so that Numba can keep compiled code under it."""

    def __init__(self, name):
        self.program = name
        super().__init__(f"program({name})")


class Program:
    """A choice of formulas and the kernels of them.

    Parameters
    ----------
    name : str
        Tells it apart from all others, in this process and in Numba's cache.
    activations, updates, losses : sequence of str
        Names in `formulas.activations.ACTIVATIONS`, `formulas.updates.UPDATES` and `formulas.losses.LOSSES`; the
        updates are the first of them.
    softmax_error : kernel
        Of the losses of a softmax.
    regularises : bool
        Whether it has augmentation, dropout, the L1 penalty and the bound of the gradient's norm.

    Attributes
    ----------
    codes, loss_codes : dict of str to int
        What kernels know an activation and a loss by.
    """

    def __init__(self, name: str, activations, updates, losses, softmax_error, regularises):
        self.name = name
        self._numba_type_ = ProgramType(name)
        # those whose derivative needs the preactivation come last: kernels tell them by their code
        names = sorted(activations, key=lambda activation: ACTIVATIONS[activation].derivative is None)
        self.codes = {activation: code for code, activation in enumerate(names)}
        formulas = [ACTIVATIONS[activation] for activation in names]
        self.activate = make_activate(formulas)
        self.multiply_by_derivative = make_multiply_by_derivative(formulas)
        self.step_constants = make_step_constants([UPDATES[update] for update in updates])
        self.update_parameters = make_update_parameters([UPDATES[update] for update in updates], regularises)
        self.clipped_scale = clipped_scale if regularises else same_scale
        self.augment = augment_rows if regularises else keep_rows
        self.drop = drop if regularises else drop_nothing
        formulas = [LOSSES[loss] for loss in losses]
        self.loss_codes = {loss: code for code, loss in enumerate(losses)} | SOFTMAX_CODES
        self.unit_error, self.single_unit_error, self.unit_loss = make_unit_errors(formulas)
        self.softmax_error = softmax_error
        self.output_activation = make_output_activation(formulas, grouped=softmax_error is any_softmax_error)
        PROGRAMS[name] = self


register_model(ProgramType)(models.OpaqueModel)


@unbox(ProgramType)
def _unbox(kind, value, c):
    return NativeValue(c.context.get_dummy_value())


@infer_getattr
class _Kernels(AttributeTemplate):
    key = ProgramType

    def generic_resolve(self, kind, name):
        return types.Dispatcher(getattr(PROGRAMS[kind.program], name))


@lower_getattr_generic(ProgramType)
def _kernel(context, builder, kind, value, name):
    return context.get_dummy_value()


CLASSIC_PROGRAM = Program("classic", activations.CLASSIC, updates.CLASSIC, losses.CLASSIC, softmax_error, False)
FULL_PROGRAM = Program("full", ACTIVATIONS, UPDATES, LOSSES, any_softmax_error, True)


def code_of(program: Program, activation: str | Activation, dtype: np.dtype) -> int:
    """Return what the kernels of a program know an activation by: a code, or the address of a user's own."""
    if isinstance(activation, str):
        return program.codes[activation]
    from fastmlp.cpu.user import address_of  # here, for who needs it not should not wait for it

    return address_of(activation, dtype)


def program_of(network: Network, update: str = "gradient", regularises: bool = False) -> Program:
    """Return the smallest program that has a network's formulas, an update, and regularisation if asked for."""
    classic = (
        set(network.activations[:-1]) <= set(activations.CLASSIC)
        and network.loss in (*losses.CLASSIC, "log_loss")
        and update in ("gradient", *updates.CLASSIC)
        and not (regularises or any(network.dropout))
    )
    return CLASSIC_PROGRAM if classic else FULL_PROGRAM
