"""Checks of what a user passes, before anything is computed."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from scipy.sparse import hstack, issparse
from sklearn.base import BaseEstimator
from sklearn.impute import MissingIndicator
from sklearn.utils import check_array
from sklearn.utils.validation import _check_sample_weight

from fastmlp.activation import Activation
from fastmlp.estimators.gpu import validate_rows
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.network import Augmentation
from fastmlp.training.blocks import StoredRows

MISSING = (None, "zero", "indicator")
PLAIN_SIZE = 100_000  # up to so many numbers, the short check of `validated_for_prediction` is the faster one


@contextmanager
def unchanged_on_error(estimator: BaseEstimator) -> Iterator[None]:
    """Undo all assignments to attributes if the block raises, whatever it raises.

    Holds as long as the block rebinds attributes and does not write into the arrays and lists they hold.
    """
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def hidden_widths(hidden_layer_sizes: object) -> tuple[int, ...]:
    """Return the parameter as a tuple of int.

    Raises
    ------
    TypeError
        If a size is not an integer.
    ValueError
        If a size is not positive.
    """
    sizes = list(hidden_layer_sizes) if hasattr(hidden_layer_sizes, "__iter__") else [hidden_layer_sizes]
    if not all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes):
        raise TypeError(f"hidden_layer_sizes must be an integer or integers, got {sizes}.")
    if any(size <= 0 for size in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return tuple(int(size) for size in sizes)


def hidden_activations(activation: object, n_hidden: int) -> tuple[str | Activation, ...]:
    """Return the parameter as the activations of so many hidden layers: names, or users' own.

    Raises
    ------
    ValueError
        If a name is not known, or there are several and not one for each hidden layer.
    """
    if isinstance(activation, str):
        return (activation,) * n_hidden
    if isinstance(activation, Activation) or callable(activation):
        return (_own_activation(activation),) * n_hidden
    activations = tuple(map(_own_activation, activation))
    for one in activations:
        if not isinstance(one, Activation) and one not in ACTIVATIONS:
            raise ValueError(
                f"activation must have names out of {sorted(ACTIVATIONS)}, functions, or instances of "
                f"fastmlp.Activation, got {one!r} in {activations}."
            )
    if len(activations) != n_hidden:
        raise ValueError(
            f"activation={activations} has {len(activations)} names, but hidden_layer_sizes {n_hidden} layers: give "
            "one name or function for each hidden layer, or one for all."
        )
    return activations


def _own_activation(activation: object) -> object:
    return Activation(activation) if callable(activation) else activation


def dropout_rates(dropout: object, n_hidden: int) -> tuple[float, ...]:
    """Return the parameter as a rate for each of so many hidden layers; empty where all are 0.

    Raises
    ------
    TypeError
        If a rate is not a number.
    ValueError
        If a rate is not in [0, 1), or there are several and not one for each hidden layer.
    """
    rates = tuple(dropout) if hasattr(dropout, "__iter__") else (dropout,) * n_hidden
    if not all(isinstance(rate, Real) and not isinstance(rate, bool) for rate in rates):
        raise TypeError(f"dropout must be a number or numbers, got {dropout!r}.")
    if not all(0 <= rate < 1 for rate in rates):
        raise ValueError(f"dropout must be in [0, 1), got {dropout!r}.")
    if len(rates) != n_hidden:
        raise ValueError(
            f"dropout={dropout!r} has {len(rates)} rates, but hidden_layer_sizes {n_hidden} layers: give one for each "
            "hidden layer, or one number for all."
        )
    return tuple(map(float, rates)) if any(rates) else ()


AUGMENTATIONS = {  # what is allowed for each
    "jitter": (lambda amount: amount > 0, "> 0"),
    "drop_features": (lambda amount: 0 < amount < 1, "in (0, 1)"),
    "mixup": (lambda amount: amount > 0, "> 0"),
}


def augmentation_of(augment: dict | Callable | None) -> Augmentation:
    """Return the parameter as an engine takes it.

    Raises
    ------
    TypeError
        If an amount is not a number, or the function none.
    ValueError
        If a name is not known, or an amount out of its range.
    """
    changes = {"function": augment} if callable(augment) else dict(augment or {})
    for name, amount in changes.items():
        if name == "function":
            if not callable(amount):
                raise TypeError(f"augment['function'] must be a function of two arrays, got {amount!r}.")
            continue
        if name not in AUGMENTATIONS:
            raise ValueError(
                f"augment must have names out of {['function', *sorted(AUGMENTATIONS)]}, got {name!r} in {augment}."
            )
        if not isinstance(amount, Real) or isinstance(amount, bool):
            raise TypeError(f"augment[{name!r}] must be a number, got {amount!r}.")
        allows, words = AUGMENTATIONS[name]
        if not (allows(amount) and math.isfinite(amount)):
            raise ValueError(f"augment[{name!r}] must be finite and {words}, got {amount!r}.")
        changes[name] = float(amount)
    return Augmentation(**changes)


def callbacks_of(callbacks: object) -> tuple[Callable, ...]:
    """Return the parameter as a tuple of functions.

    Raises
    ------
    TypeError
        If one cannot be called.
    """
    functions = (callbacks,) if callable(callbacks) else tuple(callbacks or ())
    for one in functions:
        if not callable(one):
            raise TypeError(f"callbacks must be functions of an epoch, got {one!r} in {callbacks!r}.")
    return functions


def validated_weight(sample_weight: object, factor: np.ndarray | None, y: object, dtype: np.dtype) -> np.ndarray | None:
    """Return sample weights times a factor as an array of the length of y, or None where both are None.

    Raises
    ------
    ValueError
        If the shape is not that of the rows, or a weight is negative or not finite, or all are zero.
    """
    if sample_weight is None and factor is None:
        return None
    weight = _check_sample_weight(sample_weight, y)
    if (weight < 0).any():
        raise ValueError(f"Negative values in data passed to `sample_weight`: must be >= 0, got {weight.min()}.")
    weight = cast(weight if factor is None else weight * factor, dtype, "sample_weight")
    if not weight.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weight


def cast(values: np.ndarray, dtype: np.dtype, name: str) -> np.ndarray:
    """Return `values` as a C-contiguous array of `dtype`.

    Raises
    ------
    ValueError
        If a value is too large for it, or not finite.
    """
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(values, dtype)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} contains NaN, infinity or a value too large for {values.dtype!r}.")
    return values


def check_entries(X: object) -> None:
    """Check where the entries of validated X lie, if it is a sparse matrix: kernels trust it, and no one has looked.

    Raises
    ------
    ValueError
        If an entry is in no column of X, or the rows are no parts of the entries, one after another.
    """
    if not issparse(X) or X.shape[0] == 0:
        return
    starts, columns = X.indptr, X.indices
    rows_fit = len(starts) == X.shape[0] + 1 and starts[0] == 0 and (starts[1:] >= starts[:-1]).all()
    if not rows_fit or starts[-1] > min(len(columns), len(X.data)):
        raise ValueError(
            f"X.indptr of the sparse X must rise from 0 to the number of entries, in {X.shape[0] + 1} steps, and does "
            f"not: there are {len(starts)}, and {min(len(columns), len(X.data))} entries."
        )
    columns = columns[: starts[-1]]
    if columns.size > 0 and not (columns.min() >= 0 and columns.max() < X.shape[1]):
        raise ValueError(
            f"X.indices of the sparse X must be columns, from 0 to {X.shape[1] - 1}, and are from {columns.min()} to "
            f"{columns.max()}."
        )


def check_inputs(inputs: int, n_columns: int) -> None:
    """Check that weights are for rows of so many numbers; validation has compared the rows with those of the fit.

    Raises
    ------
    ValueError
        If they are not.
    """
    if inputs != n_columns:
        raise ValueError(f"coefs_[0] has {inputs} rows, but the network gets {n_columns} numbers of each row of X.")


def check_continues(before: Sequence[int], now: Sequence[int], parameter: object) -> None:
    """Check that weights of widths `before` can be trained further.

    Raises
    ------
    ValueError
        If the hidden layers or the numbers of inputs or outputs are others.
    """
    check_inputs(before[0], now[0])
    if tuple(before[1:-1]) != tuple(now[1:-1]):
        raise ValueError(
            f"hidden_layer_sizes={parameter!r} does not fit the weights to be trained further, which need "
            f"hidden_layer_sizes={tuple(before[1:-1])}. To begin with new weights, call fit with warm_start=False."
        )
    if before[-1] != now[-1]:
        raise ValueError(
            f"y has {now[-1]} outputs, but the weights to be trained further need y with {before[-1]}, the "
            "columns of coefs_[-1]. To begin with new weights, call fit with warm_start=False."
        )


def check_state(state: np.ndarray, n_parameters: int) -> None:
    """Check that an optimizer's state is of so many parameters: the weights may have been set by hand.

    Raises
    ------
    ValueError
        If it is not.
    """
    if state.shape[1] != n_parameters:
        raise ValueError(
            f"coefs_ and intercepts_ have {n_parameters} numbers, but the optimizer's state is of {state.shape[1]}: it "
            "belongs to other weights. To begin with new ones, call fit with warm_start=False."
        )


def validated_for_prediction(estimator: BaseEstimator, X: object) -> object:
    """Return X as `validate_data` does; a small plain array that it would return as it is takes a short way."""
    if (
        type(X) is np.ndarray
        and X.dtype.char in "fd"
        and X.dtype.isnative
        and X.ndim == 2
        and 0 < X.size <= PLAIN_SIZE
        and X.shape[1] == estimator.n_features_in_
        and "feature_names_in_" not in vars(estimator)
        and "indicator_" not in vars(estimator)
        and (estimator.dtype is None or estimator.dtype == X.dtype.name)
        and np.isfinite(X).all()
    ):
        return X
    with np.errstate(over="ignore", invalid="ignore"):  # what is too large for float32 becomes infinite, and an error
        X = validate_rows(
            estimator,
            X,
            accept_sparse="csr",
            dtype=estimator.dtype or "numeric",
            ensure_all_finite=finite(estimator.missing),
            reset=False,
        )
        # all finite in long double, and perhaps not in float64; and of another byte order are float64 in a fit, too
        if X.dtype.type is np.longdouble or (estimator.dtype is None and not X.dtype.isnative):
            X = check_array(
                X, accept_sparse="csr", dtype=np.float64, ensure_all_finite=finite(estimator.missing), input_name="X"
            )
    check_entries(X)
    return replace_missing(estimator, X)


def finite(missing: str | None) -> bool | str:
    """Return what scikit-learn's checks call it: whether all numbers must be finite, or may be NaN."""
    return True if missing is None else "allow-nan"


def fitted_indicator(X: object) -> MissingIndicator:
    """Return the indicator that knows the features of X that have NaN."""
    # an array, also where a user's configuration makes transformers return frames
    return MissingIndicator(features="missing-only", error_on_new=False).set_output(transform="default").fit(X)


def learn_missing(estimator: BaseEstimator, X: object, continues: bool) -> None:
    """Assign `indicator_`, which knows the features of validated X that have NaN, if the estimator is to have one.

    Raises
    ------
    ValueError
        If a training goes on that has columns of an indicator and should not, or the other way round.
    """
    wanted = estimator.missing == "indicator"
    if not continues:
        vars(estimator).pop("indicator_", None)
        if wanted:
            estimator.indicator_ = fitted_indicator(X)
    elif wanted != hasattr(estimator, "indicator_"):
        raise ValueError(
            f"missing={estimator.missing!r} does not fit the weights to be trained further, which have "
            f"{'no' if wanted else 'the'} inputs of an indicator. To begin with new weights, call fit with "
            "warm_start=False."
        )


def replace_missing(estimator: BaseEstimator, X: object) -> object:
    """Return validated X with 0 for NaN, and a column for each feature that had NaN when `indicator_` was learnt."""
    indicator = vars(estimator).get("indicator_")
    if indicator is None and (estimator.missing is None or X.dtype.kind != "f" or isinstance(X, StoredRows)):
        return X  # stored rows are replaced as they are read
    X = X if X.dtype.kind == "f" else X.astype(np.float64)
    if issparse(X) and not X.has_canonical_format and np.isnan(X.data).any():
        X = X.copy()
        X.sum_duplicates()  # what has several entries is missing if one of them is NaN
    was_missing = None if indicator is None else indicator.transform(X)
    nan = np.isnan(X.data if issparse(X) else X)
    if nan.any():
        X = X.copy()
        (X.data if issparse(X) else X)[nan] = 0
    if was_missing is None:
        return X
    return hstack((X, was_missing), "csr", X.dtype) if issparse(X) else np.hstack((X, was_missing))


def as_rows(X: object, dtype: np.dtype) -> object:
    """Return validated X as the engines take it: CSR, a C-contiguous array, or rows on a GPU, of `dtype`."""
    return np.ascontiguousarray(X, dtype) if isinstance(X, np.ndarray) else X.astype(dtype, copy=False)


def contiguous(parameters: Sequence, dtype: np.dtype) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (coefs, intercepts) as C-contiguous arrays of `dtype`."""
    coefs, intercepts = ([np.ascontiguousarray(array, dtype) for array in arrays] for arrays in parameters)
    return coefs, intercepts


def column_number(output: object, n_outputs: int, what: str) -> int:
    """Return the number of an output; None is the only one.

    Raises
    ------
    ValueError
        If it is none of them, or None and there are several.
    """
    if output is None and n_outputs == 1:
        return 0
    if not isinstance(output, Integral) or isinstance(output, bool) or not 0 <= output < n_outputs:
        raise ValueError(f"output must be the number of {what}, from 0 to {n_outputs - 1}, got {output!r}.")
    return int(output)


def class_number(output: object, classes: np.ndarray) -> int:
    """Return the number of a class.

    Raises
    ------
    ValueError
        If it is none of them.
    """
    numbers = [] if np.ndim(output) > 0 else [i for i, label in enumerate(classes) if label == output]
    if not numbers:
        raise ValueError(
            f"output must be one of the classes {classes}, or None for the predicted ones, got {output!r}."
        )
    return numbers[0]
