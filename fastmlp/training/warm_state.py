"""What an optimizer takes along from fit to fit, and what it leaves behind."""

import copy
from typing import Any

from fastmlp.training.optimizers import SGD, Adam, LearningRate


def copy_of(optimizer: SGD | Adam) -> SGD | Adam:
    """Return a copy that can go on without a change of the original; it shares the array of the state."""
    other = copy.copy(optimizer)
    other.rate = copy.copy(optimizer.rate)
    return other


def forget_state(optimizer: SGD | Adam) -> None:
    """Let an optimizer begin anew: without moments or velocity, at step 0. Its learning rate goes on."""
    optimizer.state, optimizer.step = None, 0


def without_state(optimizer: SGD | Adam) -> SGD | Adam:
    """Return a copy of an optimizer that begins anew."""
    other = copy_of(optimizer)
    forget_state(other)
    return other


def with_state_of(optimizer: SGD | Adam, last: SGD | Adam) -> SGD | Adam:
    """Return a new optimizer, put into the state of the last one of the same kind.

    Its hyperparameters may be others. The learning rate goes on if only `length` is another in it, which is `max_iter`
    by default.
    """
    optimizer.state, optimizer.step = last.state, last.step
    rate = copy.copy(last.rate)
    rate.length = optimizer.rate.length
    if rate == optimizer.rate:
        optimizer.rate, optimizer.last_rate = rate, last.last_rate
    return optimizer


def as_data(optimizer: SGD | Adam) -> dict[str, Any]:
    """Return all that `from_data` needs to make the same optimizer, as plain values."""
    own = {name: value for name, value in vars(optimizer).items() if name not in ("rate", "variant", "_rates")}
    return {"name": optimizer.name, **own, "rate": dict(vars(optimizer.rate))}


def from_data(data: dict[str, Any]) -> SGD | Adam:
    """Return the optimizer of which `as_data` returned this."""
    own = dict(data)
    name, of_rate = own.pop("name"), own.pop("rate")
    rate = LearningRate(of_rate["initial"])
    vars(rate).update(of_rate)
    optimizer = SGD(rate) if name == "sgd" else Adam(rate, variant=name)
    vars(optimizer).update(own)
    return optimizer
