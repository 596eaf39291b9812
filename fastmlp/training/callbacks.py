"""What a user's functions are told after each epoch."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple


class Epoch(NamedTuple):
    """An epoch that is over, or an iteration of "lbfgs", as a callback sees it.

    Attributes
    ----------
    number : int
        Of the epoch, from 1 in each fit.
    loss : float
        The training loss.
    learning_rate : float or None
        Of the last step; "lbfgs" has none.
    seconds : float
        Since the fit began.
    validation_loss : float or None
        The loss of the validation rows, if there are any.
    validation_score : float or None
        The first score of `scoring`, by which early stopping would decide, if there are validation rows.
    numbers : mapping of str to float
        All that `history_` has of the epoch, by its names.
    fitted_estimator : callable
        Called without arguments while the callbacks are called, it returns a copy of the estimator as if its training
        had ended with this epoch: with its weights, also with early stopping, and the optimizer's state.
    """

    number: int
    loss: float
    learning_rate: float | None
    seconds: float
    validation_loss: float | None
    validation_score: float | None
    numbers: Mapping[str, float]
    fitted_estimator: Callable[[], Any]


class _Snapshot:
    """Makes the fitted estimator of an epoch while its callbacks are called; an `Epoch` may be kept for longer."""

    def __init__(self, make: Callable[[], Any] | None):
        self.make = make

    def __call__(self) -> Any:
        if self.make is None:
            raise RuntimeError(
                "fitted_estimator() of an epoch is there while its callbacks are called, and the training has gone on."
            )
        return self.make()


def call(
    callbacks: Sequence[Callable[[Epoch], object]],
    number: int,
    numbers: dict[str, float],
    score: float | None,
    fitted: Callable[[], Any] | None,
) -> bool:
    """Call all callbacks; return whether one of them returned True, and so ends the training.

    fitted: makes what `Epoch.fitted_estimator` returns.
    """
    known, snapshot = MappingProxyType(dict(numbers)), _Snapshot(fitted)
    epoch = Epoch(
        number,
        known["loss"],
        known.get("learning_rate"),
        known["seconds"],
        known.get("validation_loss"),
        score,
        known,
        snapshot,
    )
    try:
        answers = [callback(epoch) for callback in callbacks]
    finally:
        snapshot.make = None
    return any(answer is True for answer in answers)
