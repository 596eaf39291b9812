"""From a fitted model to a checked ONNX model."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import skl2onnx
from skl2onnx.common.data_types import (
    BooleanTensorType,
    DataType,
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    StringTensorType,
)
from skl2onnx.common.utils_sklearn import _process_options
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

import fastmlp
from fastmlp.estimators import Perceptron
from fastmlp.onnx.registration import OURS, register

GIVE_TYPES = "pass some rows as X, or initial_types=[(name, type)]"


def convert(
    estimator: Any,
    X: Any,
    initial_types: list | None,
    target_opset: int | dict | None,
    options: dict | None,
    name: str | None,
) -> onnx.ModelProto:
    """Return the ONNX model that `fastmlp.to_onnx` documents."""
    if not isinstance(estimator, BaseEstimator):
        raise TypeError(f"estimator must be an estimator or a pipeline, got {estimator!r}.")
    found = [(part, transforms) for part, transforms in parts(estimator, False) if isinstance(part, OURS)]
    if not found:
        raise TypeError(
            "estimator must be one of fastmlp, or a pipeline, search or ensemble that has one, got "
            f"{estimator!r}: for others take skl2onnx.to_onnx."
        )
    check_is_fitted(estimator)
    if isinstance(estimator, BaseSearchCV) and not estimator.refit:
        raise ValueError(f"A search with refit=False has no model to convert, got {estimator!r}: take refit=True.")
    if initial_types is None:
        initial_types = inferred_types(estimator) if X is None else types_of(X)
    elif X is not None:
        raise ValueError(f"X and initial_types both say what the inputs are, got initial_types={initial_types!r}: one.")
    for part, _ in found:
        register(type(part))  # what is derived from our classes, too
    processed = _process_options(estimator, options) or {}
    by_id = {key: value for key, value in processed.items() if not isinstance(key, str)}
    for part, transforms in found:
        if transforms:
            by_id[id(part)] = {**by_id.get(id(part), {}), "transform": True}
    model = skl2onnx.to_onnx(
        estimator, initial_types=initial_types, target_opset=target_opset, options=by_id, name=name
    )
    model.producer_name, model.producer_version = "fastmlp", fastmlp.__version__
    model.doc_string = f"{type(estimator).__name__}, converted by skl2onnx {skl2onnx.__version__}"
    onnx.checker.check_model(model, full_check=True)
    return model


def parts(model: Any, transforms: bool) -> Iterator[tuple[BaseEstimator, bool]]:
    """Yield a model and all fitted ones that it is made of, each with whether `transform` is what is used of it."""
    if isinstance(model, BaseEstimator):
        yield model, transforms
    if isinstance(model, Pipeline):
        *before, last = [step for _, step in model.steps]
        inner = [(before, True), (last, transforms)]
    elif isinstance(model, FeatureUnion):
        inner = [(model.transformer_list, True)]
    elif isinstance(model, ColumnTransformer):
        inner = [(getattr(model, "transformers_", model.transformers), True)]
    elif hasattr(model, "best_estimator_"):
        inner = [(model.best_estimator_, transforms)]
    elif isinstance(model, (list, tuple)):
        inner = [(one, transforms) for one in model]
    elif isinstance(model, OURS) or not hasattr(model, "__dict__") or isinstance(model, type):
        return
    else:  # an ensemble, or one of scikit-learn's helpers in it
        inner = [(one, False) for one in vars(model).values() if holds_models(one)]
    for one, transformer in inner:
        yield from parts(one, transformer)


def holds_models(value: Any) -> bool:
    """Return whether an attribute is a model, or a list that begins with one or with (name, model)."""
    while isinstance(value, (list, tuple)) and len(value) > 0:
        value = value[-1]
    return type(value).__module__.split(".")[0] == "sklearn" or isinstance(value, BaseEstimator)


def types_of(X: Any) -> list[tuple[str, DataType]]:
    """Return the inputs of which X has rows: one, or for a data frame one for each column.

    Raises
    ------
    TypeError
        If a dtype is none that ONNX has.
    """
    if hasattr(X, "columns"):
        columns = [(str(column), np.asarray(X[column])) for column in X.columns]
        return [(name, type_of(values, f"the column {name!r}")([None, 1])) for name, values in columns]
    X = np.asarray(X)
    if X.ndim != 2:
        raise ValueError(f"X must have two dimensions, or be a data frame, got an array of shape {X.shape}.")
    return [("X", type_of(X, "X")([None, X.shape[1]]))]


def type_of(values: np.ndarray, what: str) -> type[DataType]:
    """Return the type of a tensor of such values."""
    if values.dtype.kind == "f":
        return FloatTensorType if values.dtype.itemsize <= 4 else DoubleTensorType
    if values.dtype.kind in "iu":
        return Int64TensorType
    if values.dtype.kind == "b":
        return BooleanTensorType
    given = [value for value in values.ravel() if value is not None and value == value]
    if given and all(isinstance(value, str) for value in given):
        return StringTensorType
    raise TypeError(f"X must have numbers, bools or strings, got the dtype {values.dtype} in {what}: {GIVE_TYPES}.")


def inferred_types(estimator: BaseEstimator) -> list[tuple[str, DataType]]:
    """Return the one input of a model of numbers alone: as many as there were in `fit`, of the dtype of the weights.

    Raises
    ------
    ValueError
        If it may have other inputs.
    """
    dtypes = []
    for part, _ in parts(estimator, False):
        if isinstance(part, OURS) and hasattr(part, "classes_" if isinstance(part, Perceptron) else "coefs_"):
            dtypes.append((part.coef_ if isinstance(part, Perceptron) else part.coefs_[0]).dtype)
        tags = get_tags(part).input_tags
        if isinstance(part, ColumnTransformer) or tags.string or tags.categorical or tags.dict:
            raise ValueError(f"What the inputs of {type(part).__name__} are is not known from the model: {GIVE_TYPES}.")
    if not hasattr(estimator, "n_features_in_"):
        raise ValueError(f"How many features there are is not known from {type(estimator).__name__}: {GIVE_TYPES}.")
    kind = FloatTensorType if np.result_type(*dtypes) == np.float32 else DoubleTensorType
    return [("X", kind([None, estimator.n_features_in_]))]
