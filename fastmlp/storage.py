"""Estimators in files that hold no code: safetensors, with arrays as tensors and all else as JSON in the metadata.

The metadata are strings: `format` ("fastmlp"), `format_version`, `fastmlp_version` (the writer's, only to be told),
`class`, and `parameters` and `attributes`, each an object of JSON with values as `fastmlp.plain` writes them.

What is read is data, whoever wrote it. It is decoded to plain values, each of them is checked, and only then is an
estimator made of them; nothing is imported, looked up or called by a name in the file.
"""

import inspect
import os
import re
import warnings
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fastmlp.attributes import attributes_of, check_names, checked, restore
from fastmlp.estimators import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.extras import import_extra
from fastmlp.files import replace_file
from fastmlp.plain import decode, dumps, encode, loads

FORMAT = "fastmlp"
MAJOR = 1  # files of another one cannot be read
MINOR = 1  # those of lower ones can: who adds a parameter to an estimator adds one, and enters the parameter below
ADDED = {"on_divergence": 1}  # with which minor version a parameter came; for older files it is at its default
KEYS = {"format", "format_version", "fastmlp_version", "class", "parameters", "attributes"}
CLASSES = {cls.__name__: cls for cls in (MLPClassifier, MLPRegressor, Perceptron)}
OF_TRAINING = ("callbacks", "augment", "scoring", "learning_rate", "random_state")  # predictions need none of them


def save(estimator: BaseEstimator, path: str | os.PathLike) -> None:
    """Write an estimator: what its method `save` does."""
    writer = import_extra("safetensors.numpy", "files", "save")
    metadata, tensors = parts_of(estimator)
    # Only what can be read is written: parameters and attributes may have been set to anything since the fit.
    estimator_of(metadata, dict(tensors), "What would be written")
    replace_file(path, writer.save(tensors, metadata))


def load(path: str | os.PathLike) -> MLPClassifier | MLPRegressor | Perceptron:
    """Return the estimator that a method `save` wrote to a file.

    The file is data, whoever wrote it: each part of it is checked, and nothing in it is run or decides what is
    imported. Needs the extra `files`.

    Parameters
    ----------
    path : str or os.PathLike
        The file.

    Returns
    -------
    MLPClassifier, MLPRegressor or Perceptron
        With the parameters and attributes that it was written with.

    Raises
    ------
    ValueError
        If it is not such a file, or not a whole one, or of another version of the format, or if anything in it is
        unknown, missing or does not fit the rest.
    OSError
        If it cannot be read.

    See Also
    --------
    MLPClassifier.save : Writes it, as the methods of the other two do.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import fastmlp
    >>> both = fastmlp.Perceptron().fit([[0, 0], [0, 1], [1, 0], [1, 1]], [0, 0, 0, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "both.safetensors")
    ...     both.save(path)
    ...     fastmlp.load(path).coef_
    array([[2., 1.]])
    """
    safetensors = import_extra("safetensors", "files", "load")
    path = os.fspath(path)
    with open(path, "rb"):  # where it cannot be, the system's error names the file
        pass
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            ours = metadata.get("format") == FORMAT  # what others wrote may be large
            tensors = {name: file.get_tensor(name) for name in file.keys()} if ours else {}  # noqa: SIM118
    except MemoryError:  # of the machine, not of the file
        raise
    except Exception as error:  # of a tensor that NumPy has no type for it may be any
        raise ValueError(f"{path!r} is not a whole safetensors file with arrays of NumPy: {error}") from error
    writable = {name: np.require(tensor, requirements="W") for name, tensor in tensors.items()}
    return estimator_of(metadata, writable, repr(path))


def parts_of(estimator: BaseEstimator) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return metadata and tensors of a fitted estimator.

    Raises
    ------
    sklearn.exceptions.NotFittedError
        If it is not fitted.
    TypeError
        If it cannot be written.
    """
    import fastmlp  # which imports this module

    cls = type(estimator)
    if CLASSES.get(cls.__name__) is not cls:
        raise TypeError(
            f"{cls.__module__}.{cls.__name__} cannot be saved: allowed are {sorted(CLASSES)}, and no subclasses of "
            "these. Of an estimator on Dask, save what to_local() returns."
        )
    check_is_fitted(estimator)
    tensors: dict[str, np.ndarray] = {}
    parameters = {}
    for name in _names_of_parameters(cls):
        parameters[name] = _encode_parameter(estimator, name, tensors)
    attributes = {name: encode(value, name, tensors) for name, value in attributes_of(estimator).items()}
    metadata = {
        "format": FORMAT,
        "format_version": f"{MAJOR}.{MINOR}",
        "fastmlp_version": fastmlp.__version__,
        "class": cls.__name__,
        "parameters": dumps(parameters),
        "attributes": dumps(attributes),
    }
    return metadata, tensors


def _names_of_parameters(cls: type) -> list[str]:
    return list(inspect.signature(cls).parameters)


def _encode_parameter(estimator: BaseEstimator, name: str, tensors: dict[str, np.ndarray]) -> Any:
    value, cls = getattr(estimator, name), type(estimator)
    try:
        return encode(value, f"parameters.{name}", tensors)
    except TypeError as error:
        if name not in OF_TRAINING:
            raise TypeError(
                f"{name}={value!r} cannot be written to a file that holds no code: allowed are names, numbers, and "
                "tuples, lists, dicts or arrays of them. A pickle can hold it, for those who trust the file."
            ) from error
    default = inspect.signature(cls).parameters[name].default
    # callbacks are always code, and without them a training goes on with the same numbers; an unfinished fit has the
    # state of its generator
    if name != "callbacks" and not (name == "random_state" and hasattr(estimator, "_begun")):
        more = ", and the optimizer's state is left out, too" if name == "learning_rate" else ""
        warnings.warn(
            f"save leaves out {name}={value!r}, which a file that holds no code cannot have. What is loaded predicts "
            f"the same, but has {name}={default!r}: set it again before you train further{more}.",
            UserWarning,
            stacklevel=5,
        )
    return default


def estimator_of(metadata: dict[str, str], tensors: dict[str, np.ndarray], what: str) -> BaseEstimator:
    """Return the estimator of which these are the parts.

    Parameters
    ----------
    metadata : dict of str to str
        As `parts_of` returns them.
    tensors : dict of str to ndarray
        The same; the dict is emptied, and the estimator has the arrays.
    what : str
        What they are from, for errors.

    Returns
    -------
    MLPClassifier, MLPRegressor or Perceptron

    Raises
    ------
    ValueError
        If they are not what `parts_of` returns.
    """
    try:
        minor = _check_format(metadata)
        cls = CLASSES.get(metadata["class"])
        if cls is None:
            raise ValueError(f"class is {metadata['class']!r}; allowed is one of {sorted(CLASSES)}.")
        parameters = _decoded(metadata, "parameters", tensors)
        known = {name for name in _names_of_parameters(cls) if ADDED.get(name, 0) <= minor}
        check_names("parameters", parameters, known, known)
        estimator = cls(**parameters)
        estimator._validate_params()
        restore(estimator, _decoded(metadata, "attributes", tensors))
        if tensors:
            raise ValueError(f"there are tensors that nothing names: {sorted(tensors)}.")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{what} is not what a method `save` of fastmlp writes: {error}") from error
    return estimator


def _check_format(metadata: dict[str, str]) -> int:
    """Return the minor version of a format that can be read."""
    if metadata.get("format") != FORMAT:
        raise ValueError(f"format in its metadata is {metadata.get('format')!r}; allowed is {FORMAT!r}.")
    version = metadata.get("format_version", "")
    match = re.fullmatch(r"([0-9]{1,9})\.([0-9]{1,9})", version)
    major, minor = map(int, match.groups()) if match else (0, 0)
    if major != MAJOR or minor > MINOR:
        raise ValueError(
            f"format_version is {version!r}, written by fastmlp {metadata.get('fastmlp_version')}; allowed is "
            f"{MAJOR}.0 to {MAJOR}.{MINOR}: take a release of fastmlp that knows it."
        )
    check_names("metadata", metadata, KEYS, KEYS)
    return minor


def _decoded(metadata: dict[str, str], key: str, tensors: dict[str, np.ndarray]) -> dict[str, Any]:
    content = checked(key, loads, metadata[key])
    if not isinstance(content, dict):
        raise ValueError(f"{key}: allowed is an object of JSON, found {metadata[key]:.100}.")
    return {
        name: checked(f"{key} {name}", lambda value: decode(value, tensors), value) for name, value in content.items()
    }
