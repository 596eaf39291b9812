"""What a user's functions are told after each epoch."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple


class Epoch(NamedTuple):
    """An epoch that is over, as a callback sees it.

    Attributes
    ----------
    number : int
        Of the epoch, from 1 in each fit.
    loss : float
        The training loss.
    learning_rate : float
        Of the last step.
    seconds : float
        Since the fit began.
    validation_loss : float or None
        The loss of the validation rows, if there are any.
    validation_score : float or None
        The first score of `scoring`, by which early stopping would decide, if there are validation rows.
    numbers : mapping of str to float
        All that `history_` has of the epoch, by its names.
    """

    number: int
    loss: float
    learning_rate: float
    seconds: float
    validation_loss: float | None
    validation_score: float | None
    numbers: Mapping[str, float]


def call(callbacks: Sequence[Callable[[Epoch], object]], number: int, numbers: dict, score: float | None) -> bool:
    """Call all callbacks; return whether one of them returned True, and so ends the training."""
    known = MappingProxyType(dict(numbers))
    epoch = Epoch(
        number, known["loss"], known["learning_rate"], known["seconds"], known.get("validation_loss"), score, known
    )
    answers = [callback(epoch) for callback in callbacks]
    return any(answer is True for answer in answers)
