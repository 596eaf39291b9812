"""Optimizers of the stochastic solvers: hyperparameters, schedule and state as plain data.

The arithmetic of a step belongs to the engine. An optimizer tells it the constants (`update`), keeps the engine's
state between fits, and decides what happens to the learning rate at the end of an epoch and when the training stops
improving.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from fastmlp.formulas.updates import UPDATES

SMALLEST_LEARNING_RATE = 1e-6  # an adaptive learning rate at or below it is not divided again


class Update(NamedTuple):
    """What an engine needs to know to take the steps of an epoch.

    Attributes
    ----------
    name : str
        A name in `formulas.updates.UPDATES`.
    constants : tuple of float
        For sgd: learning rate, momentum, 1.0 if it is Nesterov's else 0.0. For all others: initial learning rate,
        beta_1, beta_2, epsilon.
    step : int
        The number of steps taken before this epoch.
    """

    name: str
    constants: tuple[float, ...]
    step: int


@dataclass
class SGD:
    """Gradient descent with momentum, Nesterov's (1983) if asked for, and a schedule of the learning rate.

    Parameters
    ----------
    learning_rate_init : float
        The learning rate of the first epoch.
    schedule : {"constant", "invscaling", "adaptive"}
        "invscaling" divides the initial rate by (rows seen + 1) ** power_t, "adaptive" divides the present one by 5
        whenever the training stops improving.
    momentum : float
        The part of the last step that is repeated, in [0, 1].
    nesterovs_momentum : bool
        Whether a step looks ahead along the velocity.
    power_t : float
        The exponent of "invscaling".
    """

    n_slots: ClassVar[int] = 1  # numbers kept of each parameter: the velocity

    learning_rate_init: float
    schedule: str = "constant"
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    power_t: float = 0.5

    def __post_init__(self) -> None:
        self.learning_rate = float(self.learning_rate_init)
        self.step = 0
        self.state: np.ndarray | None = None

    def update(self) -> Update:
        """Return the constants of the next epoch."""
        return Update("sgd", (self.learning_rate, float(self.momentum), float(self.nesterovs_momentum)), self.step)

    def advance(self, step: int) -> None:
        """Take note of how many steps were taken so far."""
        self.step = step

    def iteration_ends(self, n_samples_seen: int) -> None:
        """Set the learning rate for the next epoch, given the number of rows seen in all epochs so far."""
        if self.schedule == "invscaling":
            self.learning_rate = float(self.learning_rate_init) / (n_samples_seen + 1) ** self.power_t

    def trigger_stopping(self, message: str, verbose: bool) -> bool:
        """Return whether to stop now that the training no longer improves, or lower an adaptive learning rate."""
        if self.schedule != "adaptive":
            return _stop(message, "Stopping.", verbose)
        if self.learning_rate <= SMALLEST_LEARNING_RATE:
            return _stop(message, "Learning rate too small. Stopping.", verbose)
        self.learning_rate /= 5.0
        if verbose:
            print(f"{message} Setting learning rate to {self.learning_rate:f}")
        return False


@dataclass
class Adam:
    """Adam, Kingma and Ba (2014), and its kin: steps scaled by running moments of the gradient.

    Parameters
    ----------
    learning_rate_init : float
        The step size before the correction of the moments' bias.
    beta_1, beta_2 : float
        The decay of the first and of the second moment per step, in [0, 1).
    epsilon : float
        Added to the denominator, > 0.
    variant : {"adam", "adamw", "nadam", "rmsprop", "adagrad"}
        Which of them; their formulas say what each makes of the moments.
    """

    learning_rate_init: float
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    variant: str = "adam"

    def __post_init__(self) -> None:
        self.learning_rate = float(self.learning_rate_init)
        self.step = 0
        self.state: np.ndarray | None = None

    @property
    def n_slots(self) -> int:
        """How many numbers are kept of each parameter."""
        return UPDATES[self.variant].n_slots

    def update(self) -> Update:
        """Return the constants of the next epoch."""
        constants = (self.learning_rate_init, self.beta_1, self.beta_2, self.epsilon)
        return Update(self.variant, tuple(float(constant) for constant in constants), self.step)

    def advance(self, step: int) -> None:
        """Take note of how many steps were taken so far; `learning_rate` becomes Adam's of the last of them."""
        self.step = step
        if step > 0 and self.variant in ("adam", "adamw"):
            correction = np.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)
            self.learning_rate = float(self.learning_rate_init * correction)

    def iteration_ends(self, n_samples_seen: int) -> None:
        """Do nothing: Adam has no schedule."""

    def trigger_stopping(self, message: str, verbose: bool) -> bool:
        """Return True: training stops when it no longer improves."""
        return _stop(message, "Stopping.", verbose)


def _stop(message: str, conclusion: str, verbose: bool) -> bool:
    if verbose:
        print(f"{message} {conclusion}")
    return True
