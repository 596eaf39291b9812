"""What is done about a training that diverges, where it may try again."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.training.optimizers import SGD, Adam


class Retreat:
    """Keeps the state from which the epoch of the least loss began, and goes back to it with a smaller learning rate.

    The loss of an epoch is that of the weights before its steps: those at its end may be on their way to infinity.

    Parameters
    ----------
    engine : Engine
        With parameters and state.
    optimizer : SGD or Adam
        Its steps and its learning rate are set.
    """

    def __init__(self, engine: object, optimizer: SGD | Adam):
        self._engine, self._optimizer = engine, optimizer
        self._least = np.inf
        self.epoch_begins()
        self._good = self._before

    def epoch_begins(self) -> None:
        """Keep the present state for as long as the epoch lasts."""
        self._before = (self._engine.get_parameters(), self._engine.get_state(), self._optimizer.step)

    def epoch_ends(self, loss: float) -> None:
        """Keep the state before the epoch, if its loss is the least so far."""
        if loss <= self._least:
            self._least, self._good = loss, self._before

    def goes_back(self, epoch: int) -> bool:
        """Go back, with a ConvergenceWarning; return False where the learning rate is too small to divide it."""
        rate = self._optimizer.rate
        if not rate.divide():
            return False
        parameters, state, step = self._good
        self._engine.set_parameters(*parameters)
        self._engine.set_state(state)
        self._optimizer.step = step
        warnings.warn(
            f"Training diverged in epoch {epoch}. It goes on from the weights before the epoch with the least loss, "
            f"with learning rates of a fifth: learning_rate_init={rate.initial:g}.",
            ConvergenceWarning,
            stacklevel=4,
        )
        return True
