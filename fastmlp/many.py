"""Many fits at once over one table."""

import functools
import operator
from collections.abc import Callable, Sequence
from traceback import clear_frames
from typing import Any

import numpy as np
from sklearn.utils import indexable
from sklearn.utils.validation import _num_samples

from fastmlp.cpu.threads import resolve_threads
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.gpu import is_on_gpu
from fastmlp.estimators.inputs import hidden_widths
from fastmlp.estimators.shared import SharedRows, rows_of
from fastmlp.training.device import fit_in_step, trains_on_gpu
from fastmlp.workers import Workers


def cost_of(estimator: BaseMLP, shape: tuple[int, ...], parameters: dict[str, Any] | None = None) -> float:
    """Return how long a fit of X of this shape takes beside others, as far as its parameters, or others, tell."""
    settings = {**vars(estimator), **(parameters or {})}
    try:
        n_rows, n_features = shape
        widths = (n_features, *hidden_widths(settings["hidden_layer_sizes"]), 1)
        return float(settings["max_iter"]) * n_rows * sum(map(operator.mul, widths, widths[1:]))
    except (TypeError, ValueError, OverflowError):  # the fit will say it
        return 0.0


def fit_many(
    estimators: Sequence[BaseMLP],
    X: Any,
    y: Any,
    train_indices: Any = None,
    n_threads: int | None = None,
    *,
    sample_weight: Any = None,
) -> list[Exception | None]:
    """Fit many estimators at once, each in place, over one copy of the data.

    They may differ in everything. Each gets the same attributes, bit for bit, as by its own `fit`. The fits are shared
    out over threads, those that will take longest first; on a GPU, small networks are trained at once, each by a block
    of its threads. An estimator whose fit fails stays as it was.

    Parameters
    ----------
    estimators : sequence of MLPClassifier or MLPRegressor
        What to fit. None of them twice.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features of all rows.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets of all rows.
    train_indices : array-like of int of shape (n_rows,), sequence of such with one for each estimator, or None
        The rows to train on: as by fit(X[indices], y[indices]), without the copy. None: all.
    n_threads : int or None, default=None
        The most threads to use for all fits together; None: as many as the process may use.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights of all rows, >= 0. None: all 1.

    Returns
    -------
    list of Exception or None
        For each estimator the error that its fit raised, or None if it is fitted.

    Raises
    ------
    TypeError
        If an estimator is not one of ours.
    ValueError
        If one is there twice, or the indices are not those of rows.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> models = [
    ...     fastmlp.MLPClassifier((n,), max_iter=5, tol=1.0, n_iter_no_change=1, random_state=0) for n in (20, 50)
    ... ]
    >>> fastmlp.fit_many(models, X / 16, y)
    [None, None]
    """
    estimators = list(estimators)
    for place, one in enumerate(estimators):
        if not isinstance(one, BaseMLP):
            raise TypeError(
                "estimators must be instances of fastmlp.MLPClassifier or fastmlp.MLPRegressor, got "
                f"{one!r} at {place}."
            )
    if len({id(one) for one in estimators}) < len(estimators):
        raise ValueError("estimators has one estimator twice: pass a clone of it.")
    if n_threads is not None and (not isinstance(n_threads, int | np.integer) or n_threads < 1):
        raise ValueError(f"n_threads must be an int >= 1 or None, got {n_threads!r}.")
    if not estimators:
        return []
    X, y, sample_weight = indexable(X, y, sample_weight)
    indices = _indices_of(train_indices, len(estimators), _num_samples(X))
    shared = SharedRows(X if hasattr(X, "shape") else np.asarray(X))
    errors: list[Exception | None] = [None] * len(estimators)

    def fit(places: list[int]) -> None:
        for place in places:
            index = indices[place]
            try:
                estimators[place].fit(shared.part(index), rows_of(y, index), rows_of(sample_weight, index))
            except Exception as error:
                clear_frames(error.__traceback__)  # who keeps the error shall not keep the fit's rows and buffers
                errors[place] = error

    def cost(places: list[int]) -> float:
        return sum(cost_of(estimators[place], shared.part(indices[place]).shape) for place in places)

    groups: dict[int, list[int]] = {}  # those that draw from one generator take turns
    for place, one in enumerate(estimators):
        owner = one.random_state if isinstance(one.random_state, np.random.RandomState) else one
        groups.setdefault(id(owner), []).append(place)
    if is_on_gpu(X):  # what checks such rows is not for threads
        for places in groups.values():
            fit(places)
        return errors
    on_gpu, on_cpu = [], []
    for places in groups.values():
        (on_gpu if any(trains_on_gpu(estimators[place].device) for place in places) else on_cpu).append(places)
    fit_in_step([functools.partial(fit, places) for places in on_gpu])
    _fit_in_threads(on_cpu, fit, cost, resolve_threads(n_threads))
    return errors


def _fit_in_threads(
    groups: list[list[int]], fit: Callable[[list[int]], None], cost: Callable[[list[int]], float], n_threads: int
) -> None:
    if not groups:
        return
    workers = Workers(min(n_threads, len(groups)), n_threads)
    try:
        for future in [workers.submit(functools.partial(fit, places), -cost(places)) for places in groups]:
            future.result()
    except BaseException:
        workers.close(cancel=True)
        raise
    workers.close()


def _indices_of(train_indices: Any, n_estimators: int, n_samples: int) -> list[np.ndarray | None]:
    """Return the rows of each estimator, or None for all."""
    if train_indices is None:
        return [None] * n_estimators
    parts = list(train_indices)
    if parts and all(np.ndim(part) == 0 and part is not None for part in parts):
        return [_checked(train_indices, n_samples)] * n_estimators
    if len(parts) != n_estimators:
        raise ValueError(
            f"train_indices has rows for {len(parts)} estimators, and there are {n_estimators}: pass one array for "
            "all, or one for each."
        )
    return [None if part is None else _checked(part, n_samples) for part in parts]


def _checked(index: Any, n_samples: int) -> np.ndarray:
    index = np.asarray(index)
    if index.ndim != 1 or index.size == 0 or index.dtype.kind not in "iu":
        raise ValueError(f"train_indices must be numbers of rows, one or more, got {index!r}.")
    if index.min() < 0 or index.max() >= n_samples:
        wrong = index[(index < 0) | (index >= n_samples)][0]
        raise ValueError(f"train_indices must be from 0 to {n_samples - 1}, the last row of X, got {wrong}.")
    return index.astype(np.int64, copy=False)
