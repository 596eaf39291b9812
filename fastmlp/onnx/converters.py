"""Estimators as ONNX graphs: shapes and nodes, in the form that skl2onnx calls them."""

from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common._container import ModelComponentContainer
from skl2onnx.common._topology import Operator, Scope
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    SequenceType,
    StringTensorType,
)

from fastmlp.estimators import Perceptron
from fastmlp.onnx.activations import activate
from fastmlp.onnx.nodes import Nodes


def float_type(variables: list) -> type:
    """Return the type to compute in: double where an input is, else float."""
    return DoubleTensorType if any(isinstance(one.type, DoubleTensorType) for one in variables) else FloatTensorType


def is_multioutput(model: Any) -> bool:
    """Return whether a row has a class of each of several targets."""
    return isinstance(model.classes_, list)


def label_values(classes: np.ndarray, nocl: bool = False) -> np.ndarray:
    """Return labels as a graph gives them: int64 or strings; with `nocl` the numbers of the classes.

    Raises
    ------
    ValueError
        If they are neither whole numbers nor strings.
    """
    if nocl:
        return np.arange(len(classes))
    if classes.dtype.kind in "biuf":
        numbers = classes.astype(np.int64)
        if (numbers == classes).all():
            return numbers
    elif all(isinstance(label, str) for label in classes):
        return classes.astype(str)
    raise ValueError(
        f"ONNX has labels that are strings, or whole numbers of 64 bits, got classes_={classes}: take the option "
        "nocl=True, with which the graph gives the numbers of the classes."
    )


def values_of_targets(model: Any, nocl: bool) -> list[np.ndarray]:
    """Return the labels of each of several targets, which share a tensor.

    Raises
    ------
    ValueError
        If they cannot.
    """
    values = [label_values(known, nocl) for known in model.classes_]
    if len({one.dtype.kind for one in values}) > 1:
        raise ValueError(
            "ONNX has no tensor of strings and numbers, and some columns of labels are strings and some are not: take "
            "the option nocl=True, with which the graph gives the numbers of the classes."
        )
    return values


def check_n_features(operator: Operator) -> None:
    """Check that the inputs, where their widths are known, are the features of the fit.

    Raises
    ------
    ValueError
        If they are more or fewer.
    """
    widths = [variable.get_second_dimension() for variable in operator.inputs]
    known = operator.raw_operator.n_features_in_
    if all(isinstance(width, int) for width in widths) and sum(widths) != known:
        raise ValueError(
            f"The inputs have {sum(widths)} features, but {type(operator.raw_operator).__name__} was fitted with "
            f"{known}: {[(variable.raw_name, variable.type) for variable in operator.inputs]}."
        )


def classifier_shapes(operator: Operator) -> None:
    """Set the types of labels and probabilities."""
    check_n_features(operator)
    model, n_rows, floats = operator.raw_operator, operator.inputs[0].get_first_dimension(), float_type(operator.inputs)
    nocl = operator.scope_inst.get_options(model, {"nocl": False})["nocl"]
    labels, probabilities = operator.outputs
    if is_multioutput(model):
        values, n_classes = values_of_targets(model, nocl)[0], None
        shape = [n_rows, len(model.classes_)]
        probabilities.set_type(SequenceType(floats([n_rows, n_classes])))
    else:
        multilabel = not isinstance(model, Perceptron) and model._label_encoder.multilabel
        values, n_classes = label_values(model.classes_, nocl), max(2, len(model.classes_))
        shape = [n_rows, n_classes] if multilabel else [n_rows]
        probabilities.set_type(floats([n_rows, n_classes]))
    labels.set_type((StringTensorType if values.dtype.kind == "U" else Int64TensorType)(shape))


def regressor_shapes(operator: Operator) -> None:
    """Set the type of the predictions."""
    check_n_features(operator)
    shape = [operator.inputs[0].get_first_dimension(), operator.raw_operator.n_outputs_]
    operator.outputs[0].set_type(float_type(operator.inputs)(shape))


def hidden_layer_shapes(operator: Operator) -> None:
    """Set the type of what `transform` gives."""
    check_n_features(operator)
    shape = [operator.inputs[0].get_first_dimension(), operator.raw_operator._n_features_out]
    operator.outputs[0].set_type(float_type(operator.inputs)(shape))


def nodes_of(scope: Scope, operator: Operator, container: ModelComponentContainer) -> Nodes:
    """Return what adds nodes in the type to compute in."""
    return Nodes(scope, container, np.float64 if float_type(operator.inputs) is DoubleTensorType else np.float32)


def features(nodes: Nodes, operator: Operator) -> str:
    """Return all inputs side by side in the type to compute in, with what replaces missing numbers."""
    model, dtype = operator.raw_operator, nodes.element_type
    parts = [nodes.add("Cast", variable.full_name, to=dtype) for variable in operator.inputs]
    rows = parts[0] if len(parts) == 1 else nodes.add("Concat", *parts, axis=1)
    indicator = vars(model).get("indicator_")
    if indicator is None and getattr(model, "missing", None) is None:
        return rows
    missing = nodes.add("IsNaN", rows)
    known = nodes.add("Where", missing, 0.0, rows)
    if indicator is None or len(indicator.features_) == 0:
        return known
    flags = nodes.add("Gather", nodes.add("Cast", missing, to=dtype), indicator.features_, axis=1)
    return nodes.add("Concat", known, flags, axis=1)


def layers(nodes: Nodes, operator: Operator, hidden_only: bool = False) -> str:
    """Return the preactivation of the output layer, or the activation of the last hidden one."""
    network, coefs, intercepts = operator.raw_operator._fitted_network()
    values = features(nodes, operator)
    n_hidden = len(coefs) - 1
    for layer in range(n_hidden):
        preactivation = nodes.add("Gemm", values, coefs[layer], intercepts[layer])
        values = activate(nodes, network.activations[layer], preactivation, layer + 1)
    return values if hidden_only else nodes.add("Gemm", values, coefs[-1], intercepts[-1])


def convert_regressor(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the nodes of `predict`."""
    nodes = nodes_of(scope, operator, container)
    model = operator.raw_operator
    output = activate(nodes, model.out_activation_, layers(nodes, operator), len(model.coefs_))
    nodes.add("Identity", output, output=operator.outputs[0].full_name)


def convert_hidden_layer(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the nodes of `transform`."""
    operator.raw_operator._check_hidden_layer("transform")
    nodes = nodes_of(scope, operator, container)
    nodes.add("Identity", layers(nodes, operator, hidden_only=True), output=operator.outputs[0].full_name)


def convert_classifier(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the nodes of `predict` and `predict_proba`; with the loss "hinge" of `decision_function`."""
    model = operator.raw_operator
    nodes = nodes_of(scope, operator, container)
    preactivation = layers(nodes, operator)

    def output(z: str) -> str:
        return activate(nodes, model.out_activation_, z, len(model.coefs_))

    labels, probabilities = (variable.full_name for variable in operator.outputs)
    encoder, nocl = model._label_encoder, container.get_options(model, {"nocl": False})["nocl"]
    if encoder.groups:
        columns = np.split(np.arange(encoder.n_outputs), np.cumsum(encoder.groups)[:-1])
        parts = [output(nodes.add("Gather", preactivation, column, axis=1)) for column in columns]
        pairs = zip(parts, values_of_targets(model, nocl), strict=True)
        chosen = [nodes.add("Gather", known, nodes.add("ArgMax", part, axis=1, keepdims=1)) for part, known in pairs]
        nodes.add("Concat", *chosen, axis=1, output=labels)
        nodes.add("SequenceConstruct", *parts, output=probabilities)
    elif encoder.multilabel:
        threshold = 0.0 if model.loss == "hinge" else 0.5
        part = nodes.add("Identity", output(preactivation), output=probabilities)
        nodes.add("Cast", nodes.add("Greater", part, threshold), to=TensorProto.INT64, output=labels)
    else:
        part = output(preactivation)
        if not encoder.multiclass:
            other = nodes.add("Neg", part) if model.loss == "hinge" else nodes.add("Sub", 1.0, part)
            part = nodes.add("Concat", other, part, axis=1)
        add_labels(nodes, part, label_values(model.classes_, nocl), labels, probabilities)


def convert_perceptron(scope: Scope, operator: Operator, container: ModelComponentContainer) -> None:
    """Add the nodes of `predict` and `decision_function`."""
    model = operator.raw_operator
    nodes = nodes_of(scope, operator, container)
    scores = nodes.add("Gemm", features(nodes, operator), np.ascontiguousarray(model.coef_.T), model.intercept_)
    if len(model.classes_) == 2:
        scores = nodes.add("Concat", nodes.add("Neg", scores), scores, axis=1)
    labels, probabilities = (variable.full_name for variable in operator.outputs)
    nocl = container.get_options(model, {"nocl": False})["nocl"]
    add_labels(nodes, scores, label_values(model.classes_, nocl), labels, probabilities)


def add_labels(nodes: Nodes, scores: str, values: np.ndarray, labels: str, probabilities: str) -> None:
    """Add the label of the largest score of each row, the first one of equal ones, beside the scores."""
    if len(values) == 1:  # the other output unit stands for no class
        values = np.repeat(values, 2)
    nodes.add("Gather", values, nodes.add("ArgMax", scores, axis=1, keepdims=0), output=labels)
    nodes.add("Identity", scores, output=probabilities)
