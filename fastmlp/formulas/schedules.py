"""Schedules of the learning rate. To add one, write its factor and enter it in `SCHEDULES`.

A factor is what the initial learning rate is multiplied by, as a function of `epochs` (an array: how many were over
before each step, with fractions), `step` (which part of an epoch a step is) and the parameters `decay` and `length`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Schedule(NamedTuple):
    """The factor of a schedule, and the names of the estimators' parameters without which it has no meaning."""

    factor: Callable
    needs: tuple[str, ...] = ()


def step_decay(epochs: np.ndarray, step: float, decay: float, length: float) -> np.ndarray:
    """Return decay ** (how many times `length` epochs are over)."""
    return decay ** np.floor(epochs / length)


def exponential(epochs: np.ndarray, step: float, decay: float, length: float) -> np.ndarray:
    """Return decay ** epochs: a little less in each step."""
    return decay**epochs


def cosine(epochs: np.ndarray, step: float, decay: float, length: float) -> np.ndarray:
    """Return half a period of the cosine, from 1 to 0 in `length` epochs: Loshchilov and Hutter (2016)."""
    return _annealed(1.0, 0.0, epochs / length)


ONE_CYCLE_RISE = 0.3  # of all epochs
ONE_CYCLE_START = 1 / 25  # of the largest learning rate
ONE_CYCLE_END = 1e-4  # of the first one


def one_cycle(epochs: np.ndarray, step: float, decay: float, length: float) -> np.ndarray:
    """Return half a cosine from 1/25 up to 1, and one down to nearly 0, in `length` epochs: Smith and Topin (2017).

    The constants, and the steps in which it has its largest and its last value, are those of PyTorch's `OneCycleLR`.
    """
    top, end = ONE_CYCLE_RISE * length - step, length - step
    rise = _annealed(ONE_CYCLE_START, 1.0, epochs / top if top > 0 else np.ones_like(epochs))
    fall = _annealed(1.0, ONE_CYCLE_START * ONE_CYCLE_END, (epochs - top) / (end - top))
    return np.where(epochs < top, rise, fall)


def _annealed(first: float, last: float, part: np.ndarray) -> np.ndarray:
    """Return what lies between by half a cosine, and `last` where the part is over 1."""
    return last + (first - last) * (1 + np.cos(np.pi * np.clip(part, 0, 1))) / 2


SCHEDULES = {
    "step": Schedule(step_decay, ("learning_rate_decay", "decay_epochs")),
    "exponential": Schedule(exponential, ("learning_rate_decay",)),
    "cosine": Schedule(cosine),
    "one_cycle": Schedule(one_cycle),
}
