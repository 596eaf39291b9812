"""Arrays that are on a GPU when they are passed: which are, what is allowed of them, and outputs of their kind."""

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from fastmlp.training import device

OUTPUTS = ("numpy", "input")
DLPACK_GPUS = (2, 13)  # the device types kDLCUDA and kDLCUDAManaged of DLPack's header dlpack.h
NO_NUMBERS = {"dtype": None, "order": None, "ensure_all_finite": False}  # checks of X's shape only
NOT_ARRAYS = ("cudf", "cupyx")  # libraries of data frames and sparse matrices on a GPU


def is_on_gpu(values: object) -> bool:
    """Return whether it is an array on a GPU: it has `__cuda_array_interface__`, or DLPack says so."""
    if values is None or isinstance(values, np.ndarray | list) or issparse(values):
        return False
    if hasattr(values, "__cuda_array_interface__"):
        return True
    where = getattr(values, "__dlpack_device__", None)
    return callable(where) and where()[0] in DLPACK_GPUS


def _view(estimator: BaseEstimator, values: Any, name: str) -> Any:
    """Return an array of another library on the GPU as one that kernels take."""
    kind = f"{type(values).__module__}.{type(values).__qualname__}"
    if estimator.device == device.CPU:
        raise ValueError(
            f"{name} is a {kind} on a GPU, which device='cpu' does not see: take device='cuda', or copy {name} to the "
            "host."
        )
    device.check_gpu()
    try:
        return device.on_gpu("view_of")(values)
    except (BufferError, NotImplementedError, RuntimeError, TypeError) as error:
        raise ValueError(f"{name} is a {kind} on a GPU, but gives no dense array there: {error}") from error


def to_host(estimator: BaseEstimator, values: Any, name: str) -> Any:
    """Return values as they are, or as a NumPy array if they are on a GPU.

    Raises
    ------
    ValueError
        If they are on a GPU, and the estimator on the CPU.
    """
    return device.on_gpu("host_of")(_view(estimator, values, name)) if is_on_gpu(values) else values


def validate_shape(estimator: BaseEstimator, shape: tuple[int, ...], dtype: np.dtype, /, *y: Any, **checks: Any) -> Any:
    """Check the shape of X, whose numbers are elsewhere, and y, if there is one; return what `validate_data` does."""
    some = np.broadcast_to(np.zeros((), dtype), shape)  # one number in the place of all, of which it makes no copy
    return validate_data(estimator, some, *y, **{**checks, **NO_NUMBERS})


def check_no_dates(X: Any) -> None:
    """Check that X has no dates, which NumPy would cast to the numbers of their unit, and a missing one to -2**63.

    Raises
    ------
    TypeError
        If it has.
    """
    for dtype in list(X.dtypes) if hasattr(X, "dtypes") else [getattr(X, "dtype", None)]:
        is_temporal = getattr(dtype, "is_temporal", None)  # of polars
        if getattr(dtype, "kind", None) in ("m", "M") or (is_temporal is not None and is_temporal()):
            raise TypeError(f"X has dtype {dtype}, and dates are no numbers: make some of them first.")


def validate_rows(estimator: BaseEstimator, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
    """Return X, or X and y, as scikit-learn's `validate_data` does; X that is on a GPU as rows there, y on the host.

    Raises
    ------
    ValueError
        If they are not what they must be, in scikit-learn's words.
    """
    if type(X).__module__.partition(".")[0] in NOT_ARRAYS:
        raise ValueError(
            f"X is a {type(X).__module__}.{type(X).__qualname__}, but on a GPU X has to be a dense array: take "
            "X.toarray() of a sparse matrix, X.to_cupy() of a data frame, or copy X to the host."
        )
    check_no_dates(X)
    more = () if isinstance(y, str) else (to_host(estimator, y, "y"),)
    if not is_on_gpu(X):
        return validate_data(estimator, X, *more, **checks)
    if estimator.missing is not None or "indicator_" in vars(estimator):
        raise ValueError(
            f"missing={estimator.missing!r} is for X on the host, and X is a {type(X).__qualname__} on a GPU: copy it "
            "to the host, or take missing=None."
        )
    array = _view(estimator, X, "X")
    if array.ndim < 2:
        validate_data(estimator, device.on_gpu("host_of")(array), *more, **{**checks, **NO_NUMBERS})  # raises
    checked = validate_shape(estimator, array.shape, array.dtype, *more, **checks)
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.dtype == np.float16:
        raise ValueError(f"X on a GPU must be of float32, float64, integers or bool, got {array.dtype}.")
    rows = device.on_gpu("rows_of")(array, dtype_of(array.dtype, checks["dtype"]))
    wrong = rows.not_finite()
    if wrong is not None:
        check_array(np.full((1, 1), wrong, rows.dtype), estimator=estimator, input_name="X")  # raises
    return (rows, checked[1]) if more else rows


def dtype_of(dtype: np.dtype, wanted: Any) -> np.dtype:
    """Return what X is converted to, as `check_array` understands the parameter `dtype`."""
    if isinstance(wanted, str) and wanted == "numeric":
        wanted = [np.float64, np.float32]
    choice = [np.dtype(one) for one in (wanted if isinstance(wanted, list | tuple) else [wanted])]
    return dtype if dtype in choice else choice[0]


def stays_on_gpu(estimator: BaseEstimator, X: Any) -> bool:
    """Return whether what is made of X is to be an array of its kind."""
    return estimator.output == "input" and is_on_gpu(X)


def like_input(estimator: BaseEstimator, X: Any, result: Any) -> Any:
    """Return a result, or each of a list, as the parameter `output` asks for; what no GPU array can hold as it is."""
    if not stays_on_gpu(estimator, X) or issparse(result):
        return result
    if isinstance(result, list):
        return [like_input(estimator, X, one) for one in result]
    return device.on_gpu("like")(result, X) if result.dtype.kind in "biuf" else result


def with_numpy_output(estimator: BaseEstimator) -> BaseEstimator:
    """Return a copy of a fitted estimator, whose predictions scikit-learn's functions understand."""
    copy = object.__new__(type(estimator))
    vars(copy).update(vars(estimator), output="numpy")
    return copy
