"""Predictions and scores of Dask collections."""

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils.validation import _check_sample_weight

from fastmlp.dask.cluster import Cluster
from fastmlp.dask.partitions import partitions_of


def lazily(model: BaseEstimator, method: str, X: Any) -> Any:
    """Return what a method of a fitted estimator gives for a Dask collection: a Dask array, not yet computed.

    A list of them where the method gives a list. The rows of a data frame are not counted, so of such an array the
    sizes of the chunks are unknown.
    """
    sample = sample_of(model, method, X)
    task = dask.delayed(_predict, pure=False)
    model = dask.delayed(model, pure=False)  # once in the graph, whatever the number of partitions
    blocks = [task(model, method, part, sample) for part in partitions_of(X, None, None)[0]]
    rows = X.chunks[0] if isinstance(X, da.Array) else (np.nan,) * len(blocks)

    def joined(choose: Callable, one: np.ndarray) -> da.Array:
        arrays = [
            da.from_delayed(choose(block), (n_rows, *one.shape[1:]), dtype=one.dtype, meta=one[:0])
            for block, n_rows in zip(blocks, rows, strict=True)
        ]
        return da.concatenate(arrays, allow_unknown_chunksizes=True)

    if isinstance(sample, list):
        return [joined(lambda block, i=i: block[i], one) for i, one in enumerate(sample)]
    return joined(lambda block: block, sample)


def sample_of(model: BaseEstimator, method: str, X: Any) -> Any:
    """Return what a method gives for a row of zeros of the type of X: it shows shape and dtype.

    Raises
    ------
    ValueError
        If X has another number of columns than in the fit.
    """
    n_columns = X.shape[1] if isinstance(X, da.Array) else len(X.columns)
    if n_columns != model.n_features_in_:
        raise ValueError(
            f"X has {n_columns} features, but {type(model).__name__} is expecting {model.n_features_in_} features as "
            "input."
        )
    dtype = X.dtype if isinstance(X, da.Array) else np.result_type(*X.dtypes) if _numeric(X) else np.dtype(np.float64)
    nameless = object.__new__(type(model))
    vars(nameless).update({name: value for name, value in vars(model).items() if name != "feature_names_in_"})
    return getattr(nameless, method)(np.zeros((1, n_columns), dtype))


def _numeric(X: Any) -> bool:
    return all(isinstance(dtype, np.dtype) and dtype.kind in "biuf" for dtype in X.dtypes)


def _predict(model: BaseEstimator, method: str, X: Any, sample: Any) -> Any:
    if X.shape[0] == 0:
        return [one[:0] for one in sample] if isinstance(sample, list) else sample[:0]
    return getattr(model, method)(X)


def score(cluster: Cluster, model: BaseEstimator, X: Any, y: Any, sample_weight: Any) -> float:
    """Return a fitted estimator's score of Dask collections: the accuracy, or R squared.

    Each partition gives a few sums; of R squared, twice: first for the mean of y.
    """
    X, y, weights = partitions_of(X, y, sample_weight)
    weights = [None] * len(X) if weights is None else weights
    classifies, model = is_classifier(model), dask.delayed(model, pure=False)

    def sums(task: Callable, *more: Any) -> np.ndarray:
        tasks = [dask.delayed(task, pure=False)(model, *part, *more) for part in zip(X, y, weights, strict=True)]
        found = cluster.results(cluster.client.compute(tasks), "the score")
        return np.sum([one for one in found if one is not None], axis=0)

    if classifies:
        right, weight = sums(_right)
        return float(right / weight)
    weight, *weighted = sums(_weighted)
    mean = np.array(weighted) / weight
    residual, total = sums(_squares, mean).reshape(2, -1)
    # scikit-learn's values where y does not vary
    scores = 1 - np.divide(residual, total, out=(residual != 0).astype(float), where=total != 0)
    return float(scores.mean())


def _weight_of(X: Any, weight: Any) -> np.ndarray:
    return _check_sample_weight(None if weight is None else np.asarray(weight), X)


def _right(model: BaseEstimator, X: Any, y: Any, weight: Any) -> list[float] | None:
    """Return the weight of the rows that are right, and of all."""
    if X.shape[0] == 0:
        return None
    total = _weight_of(X, weight).sum()
    right = 0.0 if total == 0 else model.score(X, np.asarray(y), None if weight is None else np.asarray(weight)) * total
    return [right, total]


def _weighted(model: BaseEstimator, X: Any, y: Any, weight: Any) -> np.ndarray | None:
    """Return the sum of the weights, and of each column of y times the weights."""
    if X.shape[0] == 0:
        return None
    weight = _weight_of(X, weight)
    return np.append(weight.sum(), weight @ _columns(y))


def _squares(model: BaseEstimator, X: Any, y: Any, weight: Any, mean: np.ndarray) -> np.ndarray | None:
    """Return the weighted sums of the squared residuals of all columns of y, and of their distances from a mean."""
    if X.shape[0] == 0:
        return None
    weight, y = _weight_of(X, weight), _columns(y)
    return np.concatenate([weight @ (y - _columns(model.predict(X))) ** 2, weight @ (y - mean) ** 2])


def _columns(y: Any) -> np.ndarray:
    y = np.asarray(y, np.float64)
    return y.reshape(len(y), -1)
