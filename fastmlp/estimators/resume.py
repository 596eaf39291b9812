"""A fit that ended before its time, and that another one goes on with: the same numbers as of one that did not end."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np
from sklearn.base import BaseEstimator

from fastmlp.estimators.inputs import callbacks_of
from fastmlp.network import Network
from fastmlp.training.shuffle import TWISTER, generator_of

# parameters that may differ in the fit that goes on: what it runs on, what is seen of it, and for how long it trains
FREE = ("n_threads", "verbose", "callbacks", "max_iter", "output")


class Begun(TypedDict):
    """What a fit has begun with, as an estimator has it that is a copy from within the fit.

    From the same state of the generator, initial weights, held-out rows and shuffles are drawn again.

    generator: uint32 of shape (625,), the state of the Mersenne Twister at the beginning, and the place in it.
    n_rows: of X.
    """

    generator: np.ndarray
    n_rows: int


@dataclass(frozen=True)
class Call:
    """A call of `fit` or `partial_fit`.

    Attributes
    ----------
    start : float
        When it began, as `time.perf_counter` counts.
    partial : bool
        Whether it is `partial_fit`.
    continues : bool
        Whether it goes on from the weights that the estimator has.
    unfinished : BaseEstimator or None, default=None
        What an earlier call had reached that did not end, and that this one goes on with.
    begun : Begun or None, default=None
        What another call needs to go on with this one, if it can.
    listeners : sequence of callable, default=()
        What is called after each epoch.
    """

    start: float
    partial: bool
    continues: bool
    unfinished: BaseEstimator | None = None
    begun: Begun | None = None
    listeners: Sequence[Callable] = ()


def beginning(random_state: np.random.RandomState) -> np.ndarray | None:
    """Return the state of a generator, None if it is no Mersenne Twister, or has half of a pair of normal numbers."""
    return None if random_state.get_state(legacy=False)["has_gauss"] else generator_of(random_state)


def put_back(random_state: np.random.RandomState, generator: np.ndarray) -> np.random.RandomState:
    """Return a generator in that state: the same one, but not the one that all share."""
    if random_state is np.random.mtrand._rand:
        random_state = np.random.RandomState()
    random_state.set_state((TWISTER, generator[:-1], int(generator[-1]), 0, 0.0))
    return random_state


def unfinished_fit(estimator: BaseEstimator, continues: bool) -> BaseEstimator | None:
    """Return what a callback has kept of a fit that did not end, if one has.

    Raises
    ------
    ValueError
        If that is another fit, or a fit of this kind cannot go on.
    """
    keepers = [one for one in callbacks_of(estimator.callbacks) if getattr(one, "resume", False) is True]
    for keeper in keepers:
        reason = None
        if estimator.solver == "lbfgs":
            reason = "solver='lbfgs', which does not tell what it remembers of the loss"
        elif estimator.gradient_tol is not None:
            reason = "gradient_tol, which looks at the last gradient"
        elif continues:
            reason = "warm_start=True of a fitted estimator"
        if reason is not None:
            raise ValueError(f"{keeper!r} cannot go on with a fit that has {reason}: take resume=False.")
        unfinished = keeper.unfinished()
        if unfinished is not None:
            check_goes_on(estimator, unfinished, repr(keeper))
            return unfinished
    return None


def check_same_rows(unfinished: BaseEstimator, network: Network, dtype: np.dtype, n_rows: int) -> None:
    """Check that a fit goes on with as many rows as it began with, for the same network.

    Raises
    ------
    ValueError
        If not.
    """
    before = (unfinished._begun["n_rows"], unfinished._fitted_widths(), unfinished.coefs_[0].dtype)
    now = (n_rows, network.widths, dtype)
    for name, one, other in zip(("rows", "widths of layers", "dtype"), before, now, strict=True):
        if one != other:
            raise ValueError(
                f"The unfinished fit of a Checkpoint has {name}: {one}, here it is {other}: take another file, or "
                "remove it to begin anew."
            )


def end_fit(estimator: BaseEstimator) -> None:
    """Tell the callbacks that want to know it that a fit has ended."""
    for one in callbacks_of(estimator.callbacks):
        if hasattr(one, "fit_ends"):
            one.fit_ends(estimator)


def check_goes_on(estimator: BaseEstimator, unfinished: BaseEstimator, what: str) -> None:
    """Check that an estimator's fit can go on with an unfinished one.

    Raises
    ------
    ValueError
        If a parameter differs that decides the numbers. It names it, and `what` the other fit is from.
    """
    if type(estimator) is not type(unfinished):
        raise ValueError(
            f"{what} is of an unfinished fit of {type(unfinished).__name__}, this is {type(estimator).__name__}: take "
            "another file, or remove it to begin anew."
        )
    before = unfinished.get_params(deep=False)
    for name, value in estimator.get_params(deep=False).items():
        if name in FREE or _is_code(value):  # which no file has
            continue
        if not _same(value, before[name]):
            raise ValueError(
                f"{what} is of an unfinished fit with {name}={before[name]!r}, here it is {value!r}: take another "
                "file, or remove it to begin anew."
            )


def _is_code(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_code, value.values()))
    return callable(value) or isinstance(value, np.random.RandomState)


def _same(value: Any, other: Any) -> bool:
    if isinstance(value, list | tuple | np.ndarray) and isinstance(other, list | tuple | np.ndarray):
        return np.array_equal(np.asarray(value, dtype=object), np.asarray(other, dtype=object))
    return value == other
