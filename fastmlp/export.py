"""Fitted models in forms that other programs run."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx


def to_onnx(
    estimator: Any,
    X: Any = None,
    *,
    initial_types: list | None = None,
    target_opset: int | dict | None = None,
    options: dict | None = None,
    name: str | None = None,
) -> "onnx.ModelProto":
    """Return a fitted estimator, or a pipeline that has one, as an ONNX model: a program that needs no Python.

    skl2onnx converts what is scikit-learn's, `fastmlp.onnx` what is ours. It needs the extra `onnx`.

    Parameters
    ----------
    estimator : estimator
        A fitted `MLPClassifier`, `MLPRegressor` or `Perceptron`, or what skl2onnx converts that contains one: a
        `Pipeline`, which may have a `ColumnTransformer`, a search, `CalibratedClassifierCV`, `VotingClassifier` and
        others. A network in the middle of a pipeline gives what its `transform` does.
    X : {array-like, data frame} or None, default=None
        Some rows, of which only the types are read: float32, float64, integers, bools or strings. An array is one
        input, "X"; a data frame is an input of shape (n_rows, 1) for each column, by its name, with "_" for what is
        neither a letter nor a digit. None: one input "X" of `n_features_in_` numbers, of the dtype of the weights.
    initial_types : list of (str, type) or None, default=None
        Names and types of the inputs, in place of X, as skl2onnx takes them:
        ``[("X", skl2onnx.common.data_types.FloatTensorType([None, 4]))]``.
    target_opset : int, dict or None, default=None
        The version of ONNX's operators; None: the latest one that skl2onnx was tested with.
    options : dict or None, default=None
        As skl2onnx takes them. For a classifier "zipmap": True for probabilities as a list of dictionaries (skl2onnx's
        default), False for an array, "columns" for an output of each class; "output_class_labels": True for an output
        more with the classes; "nocl": True for the numbers of the classes in place of labels.
    name : str or None, default=None
        The name of the graph.

    Returns
    -------
    onnx.ModelProto
        Checked by ONNX. ``model.SerializeToString()`` is the content of a file. It takes any number of rows. A
        classifier's outputs are "output_label" and "output_probability", or with ``zipmap=False`` "label" and
        "probabilities"; a regressor's is "variable", of shape (n_rows, n_outputs).

    Raises
    ------
    ImportError
        If the extra is not installed.
    NotFittedError
        If the estimator is not fitted.
    TypeError
        If there is nothing of ours in it.
    ValueError
        If it cannot be written: an activation that is a user's own function, labels that are neither strings nor whole
        numbers, or inputs that are not known from the model, or are not those of the fit.

    Notes
    -----
    The graph computes in float64 if an input is float64, else in float32. In float32 predictions differ from those of
    a network that was fitted in float64 by the rounding, some 1e-6 of their size; a label can differ only where two
    classes are as close as that. onnxruntime has not all of scikit-learn's steps in float64: not `SimpleImputer`.
    skl2onnx takes a `ColumnTransformer` at the beginning of a pipeline only.

    With the loss "hinge", which has no probabilities, and of a `Perceptron`, "probabilities" is the decision function,
    for two classes with a column for each. Labels that are bools or floats are int64. Of several columns of classes the
    probabilities are a sequence of arrays. Of `missing` the graph has both forms; without it, NaN gives NaN, where
    `predict` raises an error.

    Examples
    --------
    >>> import onnxruntime
    >>> from fastmlp import MLPClassifier, to_onnx
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = load_iris(return_X_y=True)
    >>> X = X.astype("float32")
    >>> network = MLPClassifier((20,), solver="lbfgs", max_iter=1000, random_state=0, alpha=1.0)
    >>> model = make_pipeline(StandardScaler(), network).fit(X, y)
    >>> program = to_onnx(model, X, options={"zipmap": False}).SerializeToString()
    >>> session = onnxruntime.InferenceSession(program)
    >>> label, probabilities = session.run(None, {"X": X})
    >>> bool((label == model.predict(X)).all()), probabilities.shape
    (True, (150, 3))
    """
    from fastmlp.onnx import convert

    return convert(estimator, X, initial_types, target_opset, options, name)
