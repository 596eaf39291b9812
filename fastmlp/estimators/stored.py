"""Tables that are not in memory: which are, what is allowed of them, and predictions for them in blocks."""

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator

from fastmlp.estimators.gpu import dtype_of, is_on_gpu, to_host, validate_rows, validate_shape
from fastmlp.training import device
from fastmlp.training.blocks import StoredRows, chunk_rows

MOST_WHOLE_BYTES = 1 << 30  # of a table that is no array and is read whole
PREDICTED_BYTES = 1 << 24  # of rows that are read at once for a prediction
IN_MEMORY = ("iloc", "nnz", "__array_interface__", "__dlpack__")  # who has one of these is no file


def is_stored(X: object) -> bool:
    """Return whether X is a table that may not be in memory: a `numpy.memmap`, or an array of Zarr, HDF5, Dask etc.

    These have a `shape` of two numbers, a `dtype` of NumPy, and slices of rows.
    """
    if isinstance(X, np.ndarray | list):
        return isinstance(X, np.memmap) and X.ndim == 2
    if issparse(X) or is_on_gpu(X) or any(hasattr(X, name) for name in IN_MEMORY):
        return False
    shape, dtype = getattr(X, "shape", None), getattr(X, "dtype", None)
    known = isinstance(shape, tuple) and all(isinstance(size, Integral) for size in shape)  # Dask may not know a size
    return known and len(shape) == 2 and isinstance(dtype, np.dtype) and hasattr(X, "__getitem__")


def _name(X: object) -> str:
    return f"{type(X).__module__}.{type(X).__qualname__}"


def _whole(estimator: BaseEstimator, X: Any) -> Any:
    """Return an array of all rows: of a memmap itself."""
    if isinstance(X, np.ndarray):
        return X
    size = X.shape[0] * X.shape[1] * X.dtype.itemsize
    if size > MOST_WHOLE_BYTES:
        advice = "pass np.asarray(X) where there is memory for it"
        if estimator.solver != "lbfgs":
            advice = f"take shuffle='blocks', which reads it in parts, or {advice}"
        raise ValueError(
            f"X is a {_name(X)} of {size / (1 << 30):.1f} GiB, all of which would be read into memory with "
            f"shuffle={estimator.shuffle!r} and solver={estimator.solver!r}: {advice}."
        )
    return np.asarray(X[0 : X.shape[0]])


def validate_table(
    estimator: BaseEstimator, X: Any, y: Any, to_train: bool = True, whole: bool = False, **checks: Any
) -> tuple[Any, Any]:
    """Return X and y as `validate_rows` does; with shuffle="blocks" X that is not in memory as `StoredRows`.

    A memmap stays an array where that needs no copy and is as good: to be measured on, or for a GPU; and all is read
    that shall be `whole`.

    Raises
    ------
    ValueError
        If they are not what they must be, or X would have to be in memory and is large.
    """
    if not is_stored(X):
        return validate_rows(estimator, X, y, **checks)
    if whole or not isinstance(estimator.shuffle, str):
        return validate_rows(estimator, _whole(estimator, X), y, **checks)
    dtype = dtype_of(X.dtype, checks["dtype"])
    as_it_is = isinstance(X, np.ndarray) and X.dtype == dtype and X.flags.c_contiguous
    if as_it_is and not (to_train and estimator.device == device.CPU):
        return validate_rows(estimator, X, y, **checks)
    for name, value, advice in (("device", device.CUDA, "device='cpu'"), ("missing", "indicator", "missing='zero'")):
        if getattr(estimator, name) == value:
            raise ValueError(
                f"{name}={value!r} needs X in memory, and X is a {_name(X)} of {X.dtype}, which shuffle='blocks' reads "
                f"in parts: take {advice}, or pass np.asarray(X)."
            )
    _, y = validate_shape(estimator, X.shape, X.dtype, to_host(estimator, y, "y"), **checks)
    if X.dtype.kind not in "biuf":
        raise ValueError(f"X must be of numbers, got a {_name(X)} of {X.dtype}.")
    return StoredRows(X, dtype, zero_for_nan=estimator.missing is not None), y


def by_blocks(function: Callable[[np.ndarray], np.ndarray], X: Any) -> np.ndarray:
    """Return function(X), an array with a row for each of X, computed in blocks of rows.

    Raises
    ------
    ValueError
        As the function does; where a number is not finite, it names the row.
    """
    chunk = chunk_rows(X)
    step = -(-max(1, PREDICTED_BYTES // max(1, X.shape[1] * X.dtype.itemsize)) // chunk) * chunk
    out = None
    for first in range(0, max(1, X.shape[0]), step):
        rows = np.asarray(X[first : min(first + step, X.shape[0])])
        try:
            result = function(rows)
        except ValueError as error:
            found = next((what for what in ("NaN", "infinity") if str(error).startswith(f"Input X contains {what}")), 0)
            if found:
                wrong = np.isnan(rows) if found == "NaN" else ~(np.isfinite(rows) | np.isnan(rows))
                # a number that is too large only for float32 is finite here
                where = f"row {first + wrong.any(axis=1).argmax()}" if wrong.any() else f"rows from {first}"
                error.args = (f"X, {where}: {error}",)
            raise
        if out is None:
            out = np.empty((X.shape[0], *result.shape[1:]), result.dtype)
        out[first : first + len(result)] = result
    return out
