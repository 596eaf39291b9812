"""What an optimizer takes along from fit to fit, and what it leaves behind."""

import copy

from fastmlp.training.optimizers import SGD, Adam


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
