"""A model of a table: scikit-learn's steps before our network, and the file that keeps both."""

import json
import platform
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, __version__
from fastmlp.cli.columns import CATEGORY, DATE, NUMBER
from fastmlp.cli.errors import BadInput
from fastmlp.cli.files import USER
from fastmlp.cli.target import CLASSIFICATION, REGRESSION
from fastmlp.estimators.base import BaseMLP
from fastmlp.extras import import_extra
from fastmlp.network import widths_of

skops = import_extra("skops.io", "cli", USER)

FORMAT = "fastmlp table model 1"
# Of these, beside those of scikit-learn that skops knows, a model consists. None runs code that the file brings.
TRUSTED = [
    "fastmlp.estimators.classifier.MLPClassifier",
    "fastmlp.estimators.regressor.MLPRegressor",
    "numpy.dtype",
    "sklearn.compose._column_transformer._RemainderColsList",  # a list of columns, in older versions of scikit-learn
]
FEWEST_OF_LEVEL = 10  # levels of fewer rows, or of fewer than a hundredth where that is less, are one level
MOST_LEVELS = 100  # of a column
SPARSE = 0.05  # with a smaller part of numbers that are not 0, rows are sparse; for few columns that is slower
ROWS_FOR_STOPPING = 100  # of so many, a tenth can say when to stop
ROWS_OF_CLASS = 4  # of the smaller of two classes, so that each part of the rows has some
SPACE = {  # of --search
    "network__hidden_layer_sizes": [(32,), (100,), (256,), (100, 50), (256, 128)],
    "network__alpha": [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0],
    "network__learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2],
}


def preprocessing(kinds: Mapping[str, str], n_rows: int) -> ColumnTransformer:
    """Return what makes numbers around 0 of the columns.

    Parameters
    ----------
    kinds : mapping of str to {"number", "date", "category"}
        The columns.
    n_rows : int
        How many rows will be fitted.

    Returns
    -------
    ColumnTransformer
    """
    numbers = Pipeline(
        [
            ("impute", SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )
    fewest = max(1, min(FEWEST_OF_LEVEL, n_rows // 100))
    categories = Pipeline(
        [
            ("impute", SimpleImputer(strategy="constant", fill_value="(missing)", keep_empty_features=True)),
            (
                "encode",
                OneHotEncoder(
                    handle_unknown="infrequent_if_exist",
                    min_frequency=fewest,
                    max_categories=MOST_LEVELS,
                    dtype=np.float32,
                ),
            ),
        ]
    )
    parts = [("numbers", numbers, (NUMBER, DATE)), ("categories", categories, (CATEGORY,))]
    columns = [(name, step, [column for column in kinds if kinds[column] in some]) for name, step, some in parts]
    return ColumnTransformer([part for part in columns if part[2]], sparse_threshold=SPARSE)


def network_for(task: str, y: np.ndarray, settings: Mapping[str, Any]) -> BaseMLP:
    """Return an estimator with what suits as many rows as y has.

    A tenth of the rows decide when to stop, by their loss, where they are enough; otherwise a large penalty keeps the
    network from learning them by heart. Small batches make more steps of few rows.
    """
    enough = len(y) >= ROWS_FOR_STOPPING
    if task == CLASSIFICATION:
        _, sizes = np.unique(y, return_counts=True)
        enough = enough and (len(sizes) > 2 or min(sizes) >= ROWS_OF_CLASS)
    estimator = MLPClassifier if task == CLASSIFICATION else MLPRegressor
    return estimator(
        dtype="float32",
        batch_size=min(200, max(16, len(y) // 20), len(y) // 2),
        early_stopping=bool(enough),
        scoring="loss" if enough else None,
        alpha=1e-4 if enough else 1.0,
        **settings,
    )


def build(kinds: Mapping[str, str], task: str, y: np.ndarray, settings: Mapping[str, Any]) -> Pipeline:
    """Return the unfitted model of columns; its last step is an estimator of ours."""
    return Pipeline([("columns", preprocessing(kinds, len(y))), ("network", network_for(task, y, settings))])


def with_scaled_target(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline that learns its target standardised, and predicts it as it was."""
    *first, (name, network) = pipeline.steps
    return Pipeline([*first, (name, TransformedTargetRegressor(network, transformer=StandardScaler()))])


def fitted_network(pipeline: Pipeline) -> BaseMLP:
    """Return the estimator of ours in a fitted model."""
    last = pipeline[-1]
    return last.regressor_ if isinstance(last, TransformedTargetRegressor) else last


def to_bytes(pipeline: Pipeline, description: Mapping[str, Any]) -> bytes:
    """Return the contents of a model's file.

    Parameters
    ----------
    pipeline : Pipeline
        Fitted.
    description : mapping
        What `load` returns beside it: "task", "target", "target_kind", "columns" (kinds by name), "ignored", "id" and
        "decimal".

    Returns
    -------
    bytes
    """
    return skops.dumps(
        {"format": FORMAT, "pipeline": pipeline, "versions": versions(), **description},
        compression=zipfile.ZIP_DEFLATED,
    )


def versions() -> dict[str, str]:
    """Return the versions on which a model's meaning depends."""
    return {"fastmlp": __version__, "scikit-learn": sklearn.__version__, "python": platform.python_version()}


def load(path: Path) -> dict[str, Any]:
    """Return what a model's file holds, without running code that it brings.

    Parameters
    ----------
    path : Path
        Written by `fastmlp train`.

    Returns
    -------
    dict
        "pipeline", "versions" and what `to_bytes` describes.

    Raises
    ------
    BadInput
        If there is none, it is not a model, or has types that are not trusted.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    try:
        untrusted = sorted(set(skops.get_untrusted_types(data=data)) - set(TRUSTED))
        if untrusted:
            raise BadInput(f"{path} is not loaded: it has types that are not trusted, {', '.join(untrusted)}")
        model = skops.loads(data, trusted=TRUSTED)
    except BadInput:
        raise
    except Exception as error:  # whatever a damaged file raises
        raise BadInput(f"{path} is not a model of `fastmlp train` ({type(error).__name__}: {error})") from error
    if not (isinstance(model, dict) and model.get("format") == FORMAT):
        raise BadInput(f"{path} is not a model of `fastmlp train`, or of another version of it")
    try:
        _check(model)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"{path} is damaged ({type(error).__name__}: {error})") from error
    return model


def _check(model: Mapping[str, Any]) -> None:
    """Raise an error if parts do not fit together: kernels trust the shapes of weights, and a file may be forged."""
    if model["task"] not in (CLASSIFICATION, REGRESSION) or model["target_kind"] not in ("text", "integer", "number"):
        raise ValueError("the task is not known")
    if not set(model["columns"].values()) <= {NUMBER, DATE, CATEGORY} or model["decimal"] not in (".", ","):
        raise ValueError("the columns are not known")
    json.dumps([model[name] for name in ("target", "columns", "ignored", "id", "versions")])
    network = fitted_network(model["pipeline"])
    if not isinstance(network, MLPClassifier if model["task"] == CLASSIFICATION else MLPRegressor):
        raise TypeError(f"{type(network).__name__} for {model['task']}")
    check_weights(network.n_features_in_, network.coefs_, network.intercepts_)
    if model["task"] == CLASSIFICATION:
        outputs, classes = network.coefs_[-1].shape[1], len(network.classes_)
        if outputs != (1 if classes == 2 else classes):
            raise ValueError(f"{outputs} outputs for {classes} classes")


def check_weights(n_features: int, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
    """Raise ValueError if weights and biases are not those of one network."""
    arrays = [*coefs, *intercepts]
    if not all(type(array) is np.ndarray and array.dtype.char in "fd" for array in arrays):
        raise ValueError("weights are not arrays of floating-point numbers")
    if widths_of(coefs, intercepts)[0] != n_features:
        raise ValueError(f"weights of {len(coefs[0])} features, and there are {n_features}")
