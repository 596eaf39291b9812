"""A fitted network as a `keras.Sequential`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastmlp.estimators.base import BaseMLP
from fastmlp.exchange.layers import Layers, layers_of
from fastmlp.extras import import_extra

if TYPE_CHECKING:
    import keras

ACTIVATIONS = {  # Keras's names of the same formulas, with the same constants
    "identity": "linear",
    "logistic": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "elu": "elu",
    "selu": "selu",
    "softplus": "softplus",
    "softsign": "softsign",
    "hard_tanh": "hard_tanh",
    "gelu": "gelu",
    "silu": "silu",
    "mish": "mish",
    "softmax": "softmax",
    "exp": "exponential",
}
FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {  # of those that have none, given `keras.ops`
    "leaky_relu": lambda ops, z: ops.leaky_relu(z, 0.01),
    "arctan": lambda ops, z: ops.arctan(z),
}


def to_keras(estimator: BaseMLP, output: str | None = None) -> "keras.Sequential":
    """Return a fitted network as one of Keras 3, of any backend, with weights of its own.

    It is a `keras.Sequential` of Dense layers with their activations and, where the estimator has one, Dropout layers,
    in the precision of the weights. (Keras itself computes in float32 with any backend but TensorFlow.) It is not
    compiled: choose optimizer and loss by `compile`, and training can go on there. What Keras has no activation for is
    a small model of its operations, so that `save` and `keras.saving.load_model` need nothing of fastmlp. Needs the
    extra `keras`, and one of its backends.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator. An activation that is a Python function of your own cannot come along.
    output : {"probability", "logits"} or None, default=None
        What comes out, always in two dimensions. "probability": what `predict_proba` gives, a column for each of
        `classes_` (for several columns of labels, the columns of all of them side by side). "logits": the output
        layer's sums without its activation, for losses with `from_logits=True`; one column where there are two
        classes. None: the probabilities, or, where there are none, what `predict` of a regressor or
        `decision_function` gives.

    Returns
    -------
    keras.Sequential
        With `missing` in the estimator, the first layer replaces NaN as it does.

    Raises
    ------
    ImportError
        If Keras is not installed.
    TypeError
        If the estimator is none of fastmlp's networks, or has an activation without a name.
    ValueError
        If it has no such output.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fastmlp.MLPClassifier((5,), "tanh", solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> network = fastmlp.to_keras(model, output="logits")  # doctest: +SKIP
    >>> [layer.activation.__name__ for layer in network.layers]  # doctest: +SKIP
    ['tanh', 'linear']
    """
    keras = import_extra("keras", "keras", "to_keras")
    layers = layers_of(estimator, output, "to_keras")
    dtype = layers.coefs[0].dtype.name

    def function(name: str, width: int, operations: Callable[..., Any], *args: Any) -> Any:
        """Return a layer of operations on so many columns."""
        columns = keras.Input((width,), dtype=dtype)
        return keras.Model(columns, operations(keras.ops, columns, *args), name=name, dtype=dtype)

    sequence = [keras.Input((layers.n_features,), dtype=dtype)]
    if layers.missing is not None:
        sequence.append(function("missing", layers.n_features, _zero_for_nan, layers))
    rates = (*layers.dropout, 0.0)
    for number, (coef, name, rate) in enumerate(zip(layers.coefs, layers.activations, rates, strict=True), start=1):
        width = coef.shape[1]
        grouped = name == "softmax" and layers.groups
        named = not grouped and name not in FUNCTIONS
        sequence.append(keras.layers.Dense(width, ACTIVATIONS[name] if named else None, dtype=dtype))
        if grouped:
            sequence.append(function("softmax_of_groups", width, _softmax_of_groups, layers.groups))
        elif not named:
            sequence.append(function(f"{name}_{number}", width, FUNCTIONS[name]))
        if rate > 0:
            sequence.append(keras.layers.Dropout(rate, dtype=dtype))
    if layers.both_classes:
        sequence.append(function("both_classes", 1, _both_classes))
    network = keras.Sequential(sequence)
    dense = (layer for layer in network.layers if isinstance(layer, keras.layers.Dense))
    for layer, coef, intercept in zip(dense, layers.coefs, layers.intercepts, strict=True):
        layer.set_weights([coef, intercept])
    return network


def _both_classes(ops: Any, p: Any) -> Any:
    return ops.concatenate([1 - p, p], axis=1)


def _softmax_of_groups(ops: Any, z: Any, groups: Sequence[int]) -> Any:
    parts, first = [], 0
    for size in groups:
        parts.append(ops.softmax(z[:, first : first + size], axis=1))
        first += size
    return ops.concatenate(parts, axis=1)


def _zero_for_nan(ops: Any, X: Any, layers: Layers) -> Any:
    missing = ops.isnan(X)
    filled = ops.where(missing, 0.0, X)
    if not layers.indicated.size:
        return filled
    columns = ops.take(missing, layers.indicated.tolist(), axis=1)
    return ops.concatenate([filled, ops.cast(columns, layers.coefs[0].dtype.name)], axis=1)
