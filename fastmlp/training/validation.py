"""What is measured on validation rows, and the record of the epochs."""

from typing import NamedTuple

NAN = float("nan")


class Measured(NamedTuple):
    """The numbers of an epoch's validation.

    Attributes
    ----------
    score : float
        What decides early stopping; larger is better.
    numbers : dict of str to float
        "validation_loss" and all scores, each by its name in `history_`.
    """

    score: float
    numbers: dict[str, float]


def append_epoch(epochs: dict[str, list[float]], numbers: dict[str, float]) -> None:
    """Append an epoch's numbers to the lists of their names; where a name has none, before or now, stands NaN.

    Parameters
    ----------
    epochs : dict of str to list of float
        Changed in place. All lists are of the same length.
    numbers : dict of str to float
        What is known of the epoch.
    """
    n_before = len(next(iter(epochs.values()), ()))
    for name in numbers:
        if name not in epochs:
            epochs[name] = [NAN] * n_before
    for name, values in epochs.items():
        values.append(numbers.get(name, NAN))
