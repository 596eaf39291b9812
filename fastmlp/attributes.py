"""The attributes of fitted estimators as plain values, and the checks by which such values become attributes again."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from fastmlp.estimators import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.estimators.inputs import fitted_indicator, hidden_activations
from fastmlp.estimators.state import encoder_of
from fastmlp.formulas.schedules import SCHEDULES
from fastmlp.formulas.updates import UPDATES

CURVES = ("loss_curve_", "validation_scores_", "validation_loss_curve_")
OTHER_SCORE = "a function that was not written"  # in the place of a callable that was followed
MOST = 2**63 - 1


def attributes_of(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the attributes of a fitted estimator as plain values, by their names; `restore` assigns them."""
    state = estimator.__getstate__()
    found = {name: state[name] for name in (*REQUIRED[type(estimator)], *OPTIONAL[type(estimator)]) if name in state}
    for name in CURVES:
        if found.get(name) is not None:
            found[name] = np.array(found[name], np.float64)
    if "history_" in found:
        found["history_"] = {name: np.array(values, np.float64) for name, values in found["history_"].items()}
    if callable(found.get("_followed_score")):
        found["_followed_score"] = OTHER_SCORE
    if found.get("_optimizer") is not None and callable(found["_optimizer"]["rate"]["schedule"]):
        del found["_optimizer"]
    if "indicator_" in found:
        found["indicator_"] = found["indicator_"].features_
    if found.get("_sklearn_output_config") == {}:  # of set_output() without a choice
        del found["_sklearn_output_config"]
    if "_label_encoder" in found:
        found["_label_encoder"] = found["_label_encoder"]["multilabel"]
    return found


def restore(estimator: BaseEstimator, attributes: dict[str, Any]) -> None:
    """Check the attributes that `attributes_of` returned, and assign them to an estimator.

    Raises
    ------
    ValueError
        If one is missing, unknown, or not what it must be, or if they do not fit together or the parameters.
    """
    required, optional = REQUIRED[type(estimator)], OPTIONAL[type(estimator)]
    checks = {**required, **optional}
    check_names("attributes", attributes, set(checks), set(required))
    attributes = {name: checked(name, checks[name], value) for name, value in attributes.items()}
    complete = _with_units if isinstance(estimator, Perceptron) else _with_network
    estimator.__setstate__({**vars(estimator), **complete(estimator, attributes)})


def check_names(what: str, found: dict[str, Any], known: set[str], needed: set[str]) -> None:
    """Check that no key of a dict is unknown and none is missing.

    Raises
    ------
    ValueError
        If not. It names them.
    """
    unknown, missing = sorted(found.keys() - known), sorted(needed - found.keys())
    if unknown or missing:
        raise ValueError(f"of its {what}, {unknown} are unknown and {missing} missing; known are {sorted(known)}.")


def checked(name: str, check: Callable[[Any], Any], value: Any) -> Any:
    """Return check(value); an error of it names what the value is."""
    try:
        return check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _only(allowed: str, allows: Callable[[Any], bool]) -> Callable[[Any], Any]:
    """Return a check: a function that returns its argument if that is allowed."""

    def check(value: Any) -> Any:
        if not allows(value):
            array = isinstance(value, np.ndarray)
            found = f"an array of {value.dtype} of shape {value.shape}" if array else f"{value!r:.200}"
            raise ValueError(f"allowed is {allowed}, found {found}.")
        return value

    return check


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _one_of(*names: str | None) -> Callable[[Any], Any]:
    return _only(f"one of {names}", lambda value: (value is None or isinstance(value, str)) and value in names)


def _array(kind: str, ndim: int) -> Callable[[Any], Any]:
    """Return a check of arrays of a kind of dtypes."""
    dtypes = (np.float32, np.float64) if kind == "float" else (np.dtype(kind),)
    return _only(
        f"an array of {kind} of {ndim} dimensions",
        lambda value: isinstance(value, np.ndarray) and value.ndim == ndim and value.dtype in dtypes,
    )


def _layers(ndim: int) -> Callable[[Any], Any]:
    array = _array("float", ndim)
    a_list = _only("a list of arrays, one for each layer", lambda value: isinstance(value, list) and len(value) > 0)
    return lambda value: [array(one) for one in a_list(value)]


def _items(**checks: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a check of dicts that have these keys and no others."""

    def check(value: Any) -> dict[str, Any]:
        _is_dict(value)
        check_names("parts", value, set(checks), set(checks))
        return {name: checked(name, one, value[name]) for name, one in checks.items()}

    return check


_is_dict = _only(
    "a dict with names", lambda value: isinstance(value, dict) and all(isinstance(one, str) for one in value)
)
_text = _only("a string", lambda value: isinstance(value, str))
_bool = _only("a bool", lambda value: isinstance(value, bool))


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MOST  # larger ones are no floats


_number = _only("a number", lambda value: isinstance(value, float) or _is_integer(value))
_count = _only(f"an integer from 0 to {MOST}", lambda value: _is_integer(value) and value >= 0)
_pair = _only("a tuple of coefs and intercepts", lambda value: isinstance(value, tuple) and len(value) == 2)
_column = _only(
    "an array of labels, sorted",
    lambda value: (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biufUO"  # objects are strings: files have no others
        and value.shape == (value.size,)
        and value.size > 0
        and np.array_equal(np.unique(value), value)
    ),
)


def _curve(value: Any) -> list[float]:
    return _array("float64", 1)(value).tolist()


def _curves(value: Any) -> dict[str, list[float]]:
    return {name: checked(name, _curve, one) for name, one in _is_dict(value).items()}


def _classes(value: Any) -> Any:
    return list(map(_column, value)) if isinstance(value, list) else _column(value)


def _best(value: Any) -> Any:
    coefs, intercepts = _pair(value)
    return _layers(2)(coefs), _layers(1)(intercepts)


_shared = {
    "name": _one_of(*UPDATES),
    "rate": _items(
        initial=_number,
        schedule=_one_of("constant", "invscaling", "adaptive", *SCHEDULES),
        power_t=_number,
        decay=_number,
        length=_number,
        warmup=_number,
        base=_number,
        epochs=_count,
    ),
    "max_norm": _number,
    "l1_ratio": _number,
    "last_rate": _number,
    "step": _count,
    "state": _or_none(_array("float", 2)),
}
_sgd = _items(**_shared, momentum=_number, nesterovs_momentum=_bool)
_adam = _items(**_shared, beta_1=_number, beta_2=_number, epsilon=_number)


def _optimizer(value: Any) -> dict[str, Any]:
    return (_sgd if _is_dict(value).get("name") == "sgd" else _adam)(value)


# What each attribute is by itself; how they fit together is the business of `_with_network` and `_with_units`.
_network = {
    "n_features_in_": _count,
    "coefs_": _layers(2),
    "intercepts_": _layers(1),
    "out_activation_": _one_of("identity", "logistic", "softmax", "exp"),
}
_features = {
    "feature_names_in_": _only(
        "an array of strings", lambda value: isinstance(value, np.ndarray) and value.dtype == object
    ),
}
_of_fit = {
    **_features,
    "indicator_": _array("int64", 1),
    "_sklearn_output_config": _items(transform=_one_of(None, "default", "pandas", "polars")),
    "n_iter_": _count,
    "t_": _count,
    "loss_": _number,
    "best_loss_": _or_none(_number),
    "loss_curve_": _curve,
    "validation_scores_": _or_none(_curve),
    "best_validation_score_": _or_none(_number),
    "validation_loss_curve_": _or_none(_curve),
    "history_": _curves,
    "_no_improvement_count": _count,
    "_best_parameters": _or_none(_best),
    "_followed_score": _or_none(_text),
    "_optimizer": _or_none(_optimizer),
    "_begun": _items(generator=_array("uint32", 1), n_rows=_count),
}
REQUIRED = {
    MLPRegressor: _network,
    MLPClassifier: {**_network, "classes_": _classes, "_label_encoder": _one_of(None, "dense", "sparse")},
    Perceptron: {
        "n_features_in_": _count,
        "classes_": _column,
        "coef_": _array("float", 2),
        "intercept_": _array("float", 1),
        "n_iter_": _count,
        "n_mistakes_": _array("int64", 1),
    },
}
OPTIONAL = {MLPRegressor: _of_fit, MLPClassifier: _of_fit, Perceptron: _features}


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...], dtype: np.dtype | None = None) -> None:
    if array.shape != shape or (dtype is not None and array.dtype != dtype):
        wanted = f"shape {shape}" if dtype is None else f"shape {shape} of {dtype}"
        raise ValueError(f"{name}: allowed is {wanted}, found {array.shape} of {array.dtype}.")


def _with_network(estimator: BaseEstimator, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a network, checked against each other, with those that follow from them."""
    coefs, output = attributes["coefs_"], attributes["out_activation_"]
    n_features, indicator = attributes["n_features_in_"], attributes.get("indicator_")
    n_inputs = n_features + (0 if indicator is None else len(indicator))
    encoder, derived = None, {}
    if isinstance(estimator, MLPClassifier):
        labels = {"classes": attributes["classes_"], "multilabel": attributes["_label_encoder"]}
        encoder, derived["_label_encoder"] = _encoder(**labels), labels
    widths = (n_inputs, *(coef.shape[1] for coef in coefs))
    n_outputs = widths[-1] if encoder is None else encoder.n_outputs
    if min(widths) < 1 or widths[-1] != n_outputs:
        raise ValueError(f"coefs_: allowed are layers of 1 or more units and {n_outputs} outputs, found {widths[1:]}.")
    layers = [("coefs_", coefs, attributes["intercepts_"])]
    if attributes.get("_best_parameters") is not None:
        layers.append(("_best_parameters", *attributes["_best_parameters"]))
    for name, weights, biases in layers:
        if len(weights) != len(coefs) or len(biases) != len(coefs):
            raise ValueError(f"{name}: allowed are {len(coefs)} layers, found {len(weights)} and {len(biases)}.")
        for layer, shape in enumerate(pairwise(widths)):
            _check_shape(f"{name}, layer {layer}", weights[layer], shape, coefs[0].dtype)
            _check_shape(f"{name}, biases of layer {layer}", biases[layer], shape[1:], coefs[0].dtype)
    hidden_activations(estimator.activation, len(coefs) - 1)
    _check_output(encoder, output)
    optimizer = attributes.get("_optimizer")
    if optimizer is not None and optimizer["state"] is not None:
        n_parameters = sum(array.size for array in (*coefs, *attributes["intercepts_"]))
        _check_shape("_optimizer", optimizer["state"], (UPDATES[optimizer["name"]].n_slots, n_parameters))
    if indicator is not None:
        if not np.array_equal(np.intersect1d(indicator, np.arange(n_features)), indicator):
            raise ValueError(f"indicator_: allowed are features from 0 to {n_features - 1}, sorted, found {indicator}.")
        known = np.zeros((1, n_features))
        known[0, indicator] = np.nan
        derived["indicator_"] = fitted_indicator(known)
    if "_begun" in attributes:
        _check_begun(attributes)
    _check_feature_names(attributes)
    return {**attributes, "n_layers_": len(widths), "n_outputs_": n_outputs, **derived}


def _encoder(classes: Any, multilabel: str | None) -> Any:
    several = isinstance(classes, list) or len(classes) < 2
    if multilabel is not None and (several or not np.array_equal(classes, np.arange(len(classes)))):
        raise ValueError(f"classes_: allowed are the numbers of the columns of multilabel targets, found {classes!r}.")
    if isinstance(classes, list) and len(classes) < 2:
        raise ValueError(f"classes_: allowed is an array, or a list of two or more, found {classes!r}.")
    return encoder_of(classes, multilabel)


def _check_begun(attributes: dict[str, Any]) -> None:
    """Check that a fit that has not ended can go on: `fastmlp.estimators.resume`."""
    generator, optimizer = attributes["_begun"]["generator"], attributes.get("_optimizer")
    _check_shape("generator", generator, (625,))
    if generator[-1] > 624:
        raise ValueError(f"generator: allowed is a place from 0 to 624, found {generator[-1]}.")
    if optimizer is None or optimizer["state"] is None:
        raise ValueError("_optimizer: allowed is one with its state, in a fit that has not ended, found none.")
    curves = [attributes.get("loss_curve_", []), attributes.get("history_", {}).get("seconds", [])]
    n_iter = attributes.get("n_iter_", 0)
    if n_iter < 1 or any(len(curve) != n_iter for curve in curves):
        raise ValueError(f"n_iter_: allowed is as many epochs as loss_curve_ and history_ have, found {n_iter}.")


def _check_output(encoder: Any, output: str) -> None:
    allowed = ("identity", "exp")
    if encoder is not None:
        allowed = ("identity", "softmax" if encoder.multiclass else "logistic")
    if output not in allowed:
        raise ValueError(f"out_activation_: allowed is one of {allowed}, found {output!r}.")


def _check_feature_names(attributes: dict[str, Any]) -> None:
    if "feature_names_in_" in attributes:
        _check_shape("feature_names_in_", attributes["feature_names_in_"], (attributes["n_features_in_"],))


def _with_units(_: BaseEstimator, attributes: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a `Perceptron`, checked against each other."""
    n_classes, coef = len(attributes["classes_"]), attributes["coef_"]
    if n_classes < 2 or attributes["n_features_in_"] < 1:
        raise ValueError(f"classes_, n_features_in_: allowed are 2 or more classes and a feature, found {attributes}.")
    n_units = 1 if n_classes == 2 else n_classes
    _check_shape("coef_", coef, (n_units, attributes["n_features_in_"]))
    _check_shape("intercept_", attributes["intercept_"], (n_units,), coef.dtype)
    _check_shape("n_mistakes_", attributes["n_mistakes_"], (attributes["n_iter_"],))
    _check_feature_names(attributes)
    return attributes
