"""Rows of a table that several fits share: validated once, and never copied for a part of them."""

import threading
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing, check_array
from sklearn.utils.validation import _check_feature_names, validate_data

from fastmlp.estimators.gpu import check_no_dates, validate_shape
from fastmlp.estimators.stored import validate_table


class SharedRows:
    """A table X of several fits.

    Parameters
    ----------
    X : array-like or sparse matrix of shape (n_samples, n_features)
        As a user passes it.
    """

    def __init__(self, X: Any):
        self.X = X
        self._lock = threading.Lock()
        self._validated: dict[tuple, Any] = {}

    def part(self, index: np.ndarray | None) -> Any:
        """Return rows X[index], or all for None, for a call of `fit`: as a `Part` where X allows it."""
        known = isinstance(self.X, np.ndarray) or issparse(self.X) or hasattr(self.X, "iloc")
        return Part(self, index) if known and len(self.X.shape) == 2 else rows_of(self.X, index)

    def validated(self, checks: dict[str, Any]) -> Any:
        """Return all rows as `sklearn.utils.check_array` does, or None if it refuses them."""
        key = tuple(sorted((name, str(value)) for name, value in checks.items()))
        with self._lock:
            if key not in self._validated:
                try:
                    self._validated[key] = check_array(self.X, **checks)
                except ValueError:
                    self._validated[key] = None
            return self._validated[key]


class Part:
    """Some rows of a `SharedRows`, or all, in the place of X[index] in a call of `fit`."""

    def __init__(self, whole: SharedRows, index: np.ndarray | None):
        self.whole, self.index = whole, index

    @property
    def shape(self) -> tuple[int, int]:
        """Of the rows."""
        rows, features = self.whole.X.shape
        return (rows if self.index is None else len(self.index), features)


def rows_of(table: Any, index: np.ndarray | None) -> Any:
    """Return table[index] of any table or sequence that scikit-learn takes, or None of None."""
    return table if table is None or index is None else _safe_indexing(table, index)


def validate_part(
    estimator: BaseEstimator, X: Any, y: Any, reset: bool, **checks: Any
) -> tuple[Any, Any, np.ndarray | None]:
    """Return X and y as `validate_table` does, and which rows of X they are, or None if they are all.

    Raises
    ------
    ValueError
        If they are not what they must be.
    """
    if not isinstance(X, Part):
        return (*validate_table(estimator, X, y, reset=reset, **checks), None)
    check_no_dates(X.whole.X)
    of_y = {name: checks.pop(name) for name in ("multi_output", "y_numeric")}
    whole = None if estimator.missing is not None else X.whole.validated(checks)
    if whole is None:  # these rows may be as they must be, or the error is theirs
        own = rows_of(X.whole.X, X.index)
        return (*validate_data(estimator, own, y, reset=reset, **of_y, **checks), None)
    _, y = validate_shape(estimator, X.shape, whole.dtype, y, reset=reset, **of_y)
    _check_feature_names(estimator, X.whole.X, reset=reset)
    return whole, y, X.index
