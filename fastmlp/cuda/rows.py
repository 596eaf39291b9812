"""Rows that are on the GPU before anything is computed: arrays of other libraries, used where they lie."""

import math
from importlib import import_module

import numpy as np

from fastmlp.cuda.compiler import array_of, cuda, current_gpu, interface_of, kernel, launch
from fastmlp.cuda.launch import THREADS
from fastmlp.cuda.memory import explain


@kernel
def copy_rows(out, X, columns):
    """out (n * columns,) <- X (n, columns), of any strides and another type."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = out.dtype.type(X[i // columns, i % columns])


@kernel
def take_rows(out, values, indices, columns):
    """out (m * columns,) <- rows `indices` (m,) of values (n * columns,)."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = values[indices[i // columns] * columns + i % columns]


@kernel
def find_nan_and_infinity(flags, values):
    """flags[0] <- 1 if one of the values is NaN, flags[1] <- 1 if one is infinite."""
    for i in range(cuda.grid(1), values.size, cuda.gridsize(1)):
        x = values[i]
        if math.isnan(x):
            flags[0] = 1
        elif math.isinf(x):
            flags[1] = 1


def _run(function, size, *arguments):
    launch(function, max(1, min(4096, size // THREADS)), THREADS, *arguments)


class DeviceRows:
    """Rows of features on the GPU, with what the estimators do with an array of rows.

    Parameters
    ----------
    values : device array of shape (n * features,)
        Row by row.
    shape : (n, features)

    Attributes
    ----------
    values, shape, dtype, ndim
        Of the rows.
    """

    ndim = 2

    def __init__(self, values: object, shape: tuple[int, int]):
        self.values, self.shape, self.dtype = values, tuple(map(int, shape)), np.dtype(values.dtype)

    @property
    def __cuda_array_interface__(self) -> dict:
        return interface_of(self.values.reshape(self.shape))

    def __len__(self) -> int:
        return self.shape[0]

    @explain
    def __getitem__(self, rows: slice | np.ndarray) -> "DeviceRows":
        """Return rows of a slice without a copy, or those of some indices."""
        n_rows, columns = self.shape
        if isinstance(rows, slice):
            first, last, _ = rows.indices(n_rows)
            return DeviceRows(self.values[first * columns : last * columns], (last - first, columns))
        out = cuda.device_array(len(rows) * columns, self.dtype)
        indices = cuda.to_device(np.ascontiguousarray(rows, np.int64))
        _run(take_rows, out.size, out, self.values, indices, columns)
        return DeviceRows(out, (len(rows), columns))

    def astype(self, dtype: np.dtype, copy: bool = False) -> "DeviceRows":
        """Return the rows in another precision; themselves, if it is theirs."""
        return rows_of(self.values.reshape(self.shape), dtype)

    def not_finite(self) -> float | None:
        """Return NaN if one of the numbers is, or infinity if one is, else None."""
        flags = cuda.to_device(np.zeros(2, np.int32))
        _run(find_nan_and_infinity, self.values.size, flags, self.values)
        nan, infinite = flags.copy_to_host()
        return np.nan if nan else np.inf if infinite else None


@explain
def rows_of(array: object, dtype: np.dtype) -> DeviceRows:
    """Return an array (n, features) on the GPU as rows of a precision: itself, if it is contiguous and of that."""
    if array.dtype == dtype and array.is_c_contiguous():
        return DeviceRows(array.ravel(), array.shape)
    out = cuda.device_array(array.shape[0] * array.shape[1], dtype)
    _run(copy_rows, out.size, out, array, array.shape[1])
    return DeviceRows(out, array.shape)


def host_of(array: object) -> np.ndarray:
    """Return an array on the GPU, of any strides, as one in the host's memory."""
    if array.ndim == 2 and not array.is_c_contiguous():
        array = rows_of(array, array.dtype).values.reshape(array.shape)
    return array.copy_to_host()


@explain
def like(result: object, other: object) -> object:
    """Return a result, which may be on the GPU already, as an array of the library that `other` is of.

    Of a library that is not known, an array of Numba with `__cuda_array_interface__`, by which all may take it.
    """
    there = cuda.to_device(np.ascontiguousarray(result)) if isinstance(result, np.ndarray) else result
    cuda.synchronize()  # whatever stream goes on with it
    library = type(other).__module__.partition(".")[0]
    if library == "torch":
        return import_module("torch").as_tensor(there, device=other.device)
    return import_module("cupy").asarray(there) if library == "cupy" else there


@explain
def view_of(values: object) -> object:
    """Return an array of another library, on this GPU, as kernels take it.

    Raises
    ------
    ValueError
        If it is on another GPU.
    """
    if hasattr(values, "__dlpack_device__"):
        number, current = values.__dlpack_device__()[1], current_gpu()
        if number != current:
            raise ValueError(
                f"The array is on GPU {number}, but GPU {current} computes: copy it there, or call "
                f"numba.cuda.select_device({number}) before."
            )
    return array_of(values)
