"""Rows on a worker: partitions put together, what the client has to know of them, and the shard that is trained on.

All functions but `merge` run as tasks on workers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import column_or_1d

from fastmlp.dask.work import Shard
from fastmlp.estimators.inputs import validated_weight
from fastmlp.estimators.targets import check_labels, columns_of
from fastmlp.estimators.validation import Rows, known_rows
from fastmlp.network import Network


class Raw(NamedTuple):
    """The rows of a shard as they were passed; `first` is the number of its first partition that has rows."""

    X: Any
    y: np.ndarray
    weight: np.ndarray | None
    first: int


class Summary(NamedTuple):
    """What the client has to know of a shard.

    Attributes
    ----------
    n_rows, first : int
        How many rows it has, and the number of its first partition with rows.
    X, y : array-like
        Some of its rows: among their labels, or bounds of their targets, are those of all of them, and where a feature
        is missing somewhere it is in one of them.
    weight : float
        The sum of the weights; `n_rows` without.
    counts : list of (labels, counts)
        How often each column of y has each label; empty for numbers.
    """

    n_rows: int
    first: int
    X: Any
    y: np.ndarray | None
    weight: float
    counts: list[tuple[np.ndarray, np.ndarray]]


def concatenate(
    numbers: Sequence[int], X_parts: Sequence, y_parts: Sequence, weight_parts: Sequence | None
) -> Raw | None:
    """Return the rows of some partitions, whose numbers are given for the errors; None if they have none.

    Raises
    ------
    TypeError, ValueError
        If the partitions do not fit each other.
    """
    weights = [None] * len(X_parts) if weight_parts is None else weight_parts
    parts = [
        (number, _features(number, X), _host(y), None if weight is None else _host(weight))
        for number, X, y, weight in zip(numbers, X_parts, y_parts, weights, strict=True)
    ]
    for number, X, y, weight in parts:
        if sparse.issparse(y):
            raise TypeError(f"y: partition {number} is sparse: take dense labels or targets.")
        for name, values in (("y", y), ("sample_weight", weight)):
            if values is not None and values.shape[:1] != X.shape[:1]:
                raise ValueError(
                    f"X and {name} must have the same rows in each partition: in partition {number}, X has "
                    f"{X.shape[0]} rows and {name} has shape {values.shape}."
                )
    parts = [part for part in parts if part[1].shape[0] > 0]
    if not parts:
        return None
    first, X, y, _ = parts[0]
    for number, other_X, other_y, _ in parts[1:]:
        check_alike((first, X, y), (number, other_X, other_y))
    _, X_parts, y_parts, weight_parts = zip(*parts, strict=True)
    weight = None if weight_parts[0] is None else np.concatenate(weight_parts)
    return Raw(_stack(X_parts), np.concatenate(y_parts), weight, first)


def check_alike(one: tuple[int, Any, np.ndarray], other: tuple[int, Any, np.ndarray]) -> None:
    """Check that two partitions = (number, X, y) have the same columns and kind of y; types may differ in precision.

    Raises
    ------
    ValueError
        If not.
    """
    (first, X, y), (number, other_X, other_y) = one, other
    where = f"partition {number} differs from partition {first}"
    if isinstance(X, pd.DataFrame):
        if list(X.columns) != list(other_X.columns):
            raise ValueError(
                f"X: {where} in its columns: {list(other_X.columns)}, not {list(X.columns)}. All must have the same, "
                "in one order."
            )
    elif X.shape[1] != other_X.shape[1]:
        raise ValueError(f"X: {where}: it has {other_X.shape[1]} columns, not {X.shape[1]}. All must have the same.")
    if y.shape[1:] != other_y.shape[1:]:
        raise ValueError(f"y: {where}: its rows have shape {other_y.shape[1:]}, not {y.shape[1:]}.")
    kinds = [values.dtype.kind in "biuf" for values in (y, other_y)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"y: {where} in its type: {other_y.dtype}, not {y.dtype}. All must be numbers, or none: take "
            "y.astype(str), or one type of numbers."
        )


def _features(number: int, X: Any) -> Any:
    if isinstance(X, pd.DataFrame):
        return X
    X = X if sparse.issparse(X) else np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, partition {number} has shape {X.shape}.")
    return X


def _host(values: Any) -> Any:
    return values if sparse.issparse(values) else np.asarray(values)


def _stack(parts: Sequence) -> Any:
    if isinstance(parts[0], pd.DataFrame):
        return pd.concat(parts, axis=0)
    if any(map(sparse.issparse, parts)):
        return sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def summarise(raw: Raw | None, classifies: bool, missing: bool) -> Summary | None:
    """Return what the client has to know; whether y are labels, and whether it has to know which features are missing.

    Raises
    ------
    ValueError
        If y are to be labels and cannot be.
    """
    if raw is None:
        return None
    X, y, weight, first = raw
    rows, counts = {0}, []
    if classifies:
        check_labels(y)
        for column in columns_of(y):
            labels, where, count = np.unique(column, return_index=True, return_counts=True)
            rows |= set(where.tolist())
            counts.append((labels, count))
    else:
        values = y.reshape(len(y), -1)
        rows |= {int(row) for row in (*values.argmin(axis=0), *values.argmax(axis=0))}
    if missing:
        rows |= set(_rows_with_missing(X).tolist())
    chosen = sorted(rows)
    some = X.iloc[chosen] if isinstance(X, pd.DataFrame) else X[chosen]
    return Summary(len(y), first, some, y[chosen], float(len(y) if weight is None else weight.sum()), counts)


def _rows_with_missing(X: Any) -> np.ndarray:
    """Return a row for each feature that is missing somewhere, in which it is."""
    if sparse.issparse(X):
        entries = X.tocoo()
        nan = np.isnan(entries.data)
        return entries.row[nan][np.unique(entries.col[nan], return_index=True)[1]]
    missing = np.asarray(pd.isna(X))
    return missing.argmax(axis=0)[missing.any(axis=0)]


def merge(summaries: Sequence[Summary]) -> Summary:
    """Return the summary of all shards.

    Raises
    ------
    ValueError
        If they do not fit each other, or have no weight.
    """
    one = summaries[0]
    for other in summaries[1:]:
        check_alike((one.first, one.X, one.y), (other.first, other.X, other.y))
    weight = sum(summary.weight for summary in summaries)
    if weight == 0:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    counts = []
    for columns in zip(*(summary.counts for summary in summaries), strict=True):
        labels, where = np.unique(np.concatenate([labels for labels, _ in columns]), return_inverse=True)
        counts.append((labels, np.bincount(where.ravel(), np.concatenate([count for _, count in columns]))))
    y = np.concatenate([summary.y for summary in summaries])
    n_rows = sum(summary.n_rows for summary in summaries)
    return Summary(n_rows, one.first, _stack([summary.X for summary in summaries]), y, weight, counts)


def make_shard(raw: Raw, estimator: BaseEstimator, network: Network, dtype: np.dtype) -> Shard:
    """Return the rows of a shard, checked and encoded as an estimator knows them that was prepared for all rows.

    Raises
    ------
    TypeError, ValueError
        If they are not what they must be.
    """
    X, y = known_rows(estimator, raw.X, raw.y, dtype)
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y)
    factor = estimator._weight_of_classes(y) if is_classifier(estimator) else None
    if raw.weight is not None and not raw.weight.any():  # others have some
        weight = np.zeros(len(y), dtype)
    else:
        weight = validated_weight(raw.weight, factor, y, dtype)
    return Shard(network, Rows(X, None, estimator._encode_known(y, dtype), weight))
