"""Optimizers of the stochastic solvers: hyperparameters, learning rate and state as plain data.

The arithmetic of a step belongs to the engine. An optimizer tells it the constants (`update`), keeps the engine's
state between fits, and decides what happens to the learning rate at the end of an epoch and when the training stops
improving.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from fastmlp.formulas.schedules import SCHEDULES
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
    rates : ndarray of shape (n_steps,) or None, default=None
        The learning rate of each step; None: the first constant for all.
    max_norm : float, default=0.0
        The bound of the gradient's norm. At 0.0 no norm is computed; infinity computes it and bounds nothing.
    l1_ratio : float, default=0.0
        The part of the penalty that is L1, in [0, 1].
    """

    name: str
    constants: tuple[float, ...]
    step: int
    rates: np.ndarray | None = None
    max_norm: float = 0.0
    l1_ratio: float = 0.0


@dataclass
class LearningRate:
    """The learning rate of each step.

    Parameters
    ----------
    initial : float
        What the schedule multiplies.
    schedule : str or callable
        "constant"; "invscaling", which divides the initial rate by (rows seen + 1) ** power_t after each epoch;
        "adaptive", which divides the present one by 5 whenever the training stops improving; a name in
        `formulas.schedules.SCHEDULES`; or a function of the number of steps taken before that gives the rate.
    power_t : float
        The exponent of "invscaling".
    decay, length : float
        The parameters of the schedules in the table, `length` in epochs.
    warmup : float
        In so many epochs all rates rise linearly to what they would be.
    """

    initial: float
    schedule: str | Callable[[int], float] = "constant"
    power_t: float = 0.5
    decay: float = 1.0
    length: float = 1.0
    warmup: float = 0.0

    def __post_init__(self) -> None:
        self.base = float(self.initial)
        self.epochs = 0  # that are over

    @property
    def lasts(self) -> bool:
        """Whether all steps have one rate until the training no longer improves."""
        return self.schedule in ("constant", "adaptive") and not self.warmup > 0

    def of_steps(self, first: int, count: int) -> np.ndarray | None:
        """Return the rates of an epoch of so many steps, `first` of which were taken before; None: `base` for all.

        Raises
        ------
        ValueError
            If a function gives a rate that is negative or not finite.
        """
        if callable(self.schedule):
            rates = np.array([self.schedule(step) for step in range(first, first + count)], dtype=np.float64)
            wrong = ~(np.isfinite(rates) & (rates >= 0))
            if wrong.any():
                raise ValueError(
                    f"learning_rate={self.schedule!r} must give numbers >= 0, got {rates[wrong][0]} for step "
                    f"{first + int(wrong.argmax())}."
                )
        elif self.schedule in SCHEDULES or self.warmup > 0:
            rates = np.full(count, self.base)
        else:
            return None
        epochs = self.epochs + np.arange(count) / count
        if not callable(self.schedule) and self.schedule in SCHEDULES:
            rates *= SCHEDULES[self.schedule].factor(epochs, 1 / count, self.decay, self.length)
        if self.warmup > 0:
            rates *= np.minimum(1, (epochs + 1 / count) / self.warmup)
        return rates

    def iteration_ends(self, n_samples_seen: int) -> None:
        """Set the rate for the next epoch, given the number of rows seen in all epochs so far."""
        self.epochs += 1
        if self.schedule == "invscaling":
            self.base = float(self.initial) / (n_samples_seen + 1) ** self.power_t

    def divide(self) -> bool:
        """Divide all rates to come by 5, unless they are too small already; return whether they were not."""
        if self.base <= SMALLEST_LEARNING_RATE:
            return False
        self.base, self.initial = self.base / 5.0, self.initial / 5.0
        return True

    def trigger_stopping(self, message: str, verbose: bool) -> bool:
        """Return whether to stop now that the training no longer improves, or lower an adaptive learning rate."""
        if self.schedule != "adaptive":
            return _stop(message, "Stopping.", verbose)
        if self.base <= SMALLEST_LEARNING_RATE:
            return _stop(message, "Learning rate too small. Stopping.", verbose)
        self.base /= 5.0
        if verbose:
            print(f"{message} Setting learning rate to {self.base:f}")
        return False


def _stop(message: str, conclusion: str, verbose: bool) -> bool:
    if verbose:
        print(f"{message} {conclusion}")
    return True


@dataclass
class _Optimizer:
    """What both optimizers have.

    Parameters
    ----------
    rate : LearningRate
        The learning rate of each step.
    max_norm, l1_ratio : float
        As in `Update`.

    Attributes
    ----------
    last_rate : float
        The rate of the last step.
    step : int
        The number of steps taken.
    state : ndarray of shape (n_slots, n_parameters) or None
        What the engine keeps of each parameter; None before the first step.
    """

    rate: LearningRate
    _: KW_ONLY
    max_norm: float = 0.0
    l1_ratio: float = 0.0

    def __post_init__(self) -> None:
        self.last_rate = self.rate.base
        self.step = 0
        self.state: np.ndarray | None = None
        self._rates = np.array([self.rate.base])  # of the present epoch's steps, or one for all

    def update(self, n_steps: int = 1) -> Update:
        """Return what the next epoch, of so many steps, needs."""
        rates = self.rate.of_steps(self.step, n_steps)
        self._rates = np.array([self.rate.base]) if rates is None else rates
        return Update(self.name, self._constants(), self.step, rates, self.max_norm, self.l1_ratio)

    def advance(self, step: int) -> None:
        """Take note of how many steps were taken so far."""
        taken, self.step = step - self.step, step
        if taken > 0:
            self.last_rate = float(self._rates[min(taken, self._rates.size) - 1])

    def iteration_ends(self, n_samples_seen: int) -> None:
        """Set the learning rate for the next epoch, given the number of rows seen in all epochs so far."""
        self.rate.iteration_ends(n_samples_seen)

    def trigger_stopping(self, message: str, verbose: bool) -> bool:
        """Return whether to stop now that the training no longer improves, or lower an adaptive learning rate."""
        return self.rate.trigger_stopping(message, verbose)


@dataclass
class SGD(_Optimizer):
    """Gradient descent with momentum, Nesterov's (1983) if asked for.

    Parameters
    ----------
    momentum : float
        The part of the last step that is repeated, in [0, 1].
    nesterovs_momentum : bool
        Whether a step looks ahead along the velocity.
    """

    name: ClassVar[str] = "sgd"
    n_slots: ClassVar[int] = 1  # numbers kept of each parameter: the velocity

    momentum: float = 0.9
    nesterovs_momentum: bool = True

    def _constants(self) -> tuple[float, ...]:
        return self.rate.base, float(self.momentum), float(self.nesterovs_momentum)

    @property
    def learning_rate(self) -> float:
        """scikit-learn's attribute: the rate of the next epoch, before warm-up and the schedules it has not."""
        return self.rate.base


@dataclass
class Adam(_Optimizer):
    """Adam, Kingma and Ba (2014), and its kin: steps scaled by running moments of the gradient.

    Parameters
    ----------
    beta_1, beta_2 : float
        The decay of the first and of the second moment per step, in [0, 1).
    epsilon : float
        Added to the denominator, > 0.
    variant : {"adam", "adamw", "nadam", "rmsprop", "adagrad"}
        Which of them; their formulas say what each makes of the moments.
    """

    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    variant: str = "adam"

    @property
    def name(self) -> str:
        """The name of the update."""
        return self.variant

    @property
    def n_slots(self) -> int:
        """How many numbers are kept of each parameter."""
        return UPDATES[self.variant].n_slots

    def _constants(self) -> tuple[float, ...]:
        return self.rate.base, float(self.beta_1), float(self.beta_2), float(self.epsilon)

    @property
    def learning_rate(self) -> float:
        """scikit-learn's attribute: the rate of the last step, with the correction of the moments' bias."""
        if self.step == 0 or self.variant not in ("adam", "adamw"):
            return self.last_rate
        return float(self.last_rate * np.sqrt(1 - self.beta_2**self.step) / (1 - self.beta_1**self.step))
