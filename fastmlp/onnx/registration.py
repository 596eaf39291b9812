"""What skl2onnx has to know of the estimators: which outputs they have, and who converts them."""

from collections.abc import Callable
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx._parse import _apply_zipmap, _parse_sklearn_grid_search_cv
from skl2onnx.common._registration import register_converter, register_shape_calculator
from skl2onnx.common._topology import Scope
from skl2onnx.common.data_types import (
    DoubleTensorType,
    FloatTensorType,
    Int64TensorType,
    SequenceType,
    StringTensorType,
)
from skl2onnx.operator_converters.grid_search_cv import convert_sklearn_grid_search_cv as convert_search
from skl2onnx.shape_calculators.grid_search_cv import convert_sklearn_grid_search_cv as search_shapes

from fastmlp import model_selection
from fastmlp.estimators import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.onnx.converters import (
    classifier_shapes,
    convert_classifier,
    convert_hidden_layer,
    convert_perceptron,
    convert_regressor,
    float_type,
    hidden_layer_shapes,
    is_multioutput,
    label_values,
    regressor_shapes,
)

OURS = (MLPClassifier, MLPRegressor, Perceptron)
HIDDEN_LAYER = "FastmlpHiddenLayer"
TRANSFORM = {"transform": [False, True]}
CLASSIFIER_OPTIONS = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [False, True]}


def declare(scope: Scope, alias: str, model: Any, inputs: list, **outputs: Any) -> list:
    """Return the outputs, name=type, of a new operator."""
    operator = scope.declare_local_operator(alias, model)
    operator.inputs = inputs
    for name, kind in outputs.items():
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def with_transform(alias: str, predict: Callable) -> Callable:
    """Return a parser with the outputs of `predict`, or of `transform` where an option asks for that."""

    def parse(scope: Scope, model: Any, inputs: list, custom_parsers: dict | None = None) -> list:
        if scope.get_options(model, {"transform": False})["transform"]:
            return declare(scope, HIDDEN_LAYER, model, inputs, variable=float_type(inputs)())
        return predict(scope, alias, model, inputs)

    return parse


def regressor_outputs(scope: Scope, alias: str, model: Any, inputs: list) -> list:
    """Return the predictions."""
    return declare(scope, alias, model, inputs, variable=float_type(inputs)())


def classifier_outputs(scope: Scope, alias: str, model: Any, inputs: list) -> list:
    """Return labels and probabilities, by the names and in the forms that skl2onnx has for scikit-learn's classifiers.

    Raises
    ------
    ValueError
        If the options do not go together, or not with the classes.
    """
    options = scope.get_options(model, {"zipmap": True, "output_class_labels": False, "nocl": False})
    zipmap, with_classes = options["zipmap"], options["output_class_labels"]
    if is_multioutput(model):
        if zipmap == "columns" or with_classes:
            raise ValueError(
                f"zipmap={zipmap!r}, output_class_labels={with_classes!r} are not for several columns of classes, "
                "which give a sequence of probabilities: take zipmap=False, output_class_labels=False."
            )
        sequence = SequenceType(float_type(inputs)())
        return declare(scope, alias, model, inputs, label=Int64TensorType(), probabilities=sequence)
    floats = float_type(inputs)
    outputs = declare(scope, alias, model, inputs, label=Int64TensorType(), probabilities=floats())
    if zipmap is not False:
        if with_classes:
            raise ValueError(f"output_class_labels=True needs zipmap=False, got {zipmap!r}, which has the labels.")
        if len(model.classes_) == 1:
            raise ValueError(
                f"zipmap={zipmap!r} needs a label for each probability, but there is one class, {model.classes_}, and "
                "predict_proba has two columns: take zipmap=False."
            )
        if zipmap is True and floats is DoubleTensorType:  # ONNX has dictionaries of float32 alone
            cast = scope.declare_local_operator("SklearnCast")
            cast.inputs = [outputs[1]]
            cast.outputs.append(scope.declare_local_variable("probabilities", FloatTensorType()))
            outputs = [outputs[0], cast.outputs[0]]
        return _apply_zipmap(zipmap, scope, model, inputs[0].type, outputs)
    if with_classes:
        classes = scope.declare_local_operator("SklearnClassLabels")
        classes.classes = label_values(model.classes_, options["nocl"])
        kind = StringTensorType if classes.classes.dtype.kind == "U" else Int64TensorType
        classes.outputs.append(scope.declare_local_variable("class_labels", kind([len(model.classes_)])))
        return [*outputs, classes.outputs[0]]
    return outputs


def parse_perceptron(scope: Scope, model: Any, inputs: list, custom_parsers: dict | None = None) -> list:
    """Return labels and decision function."""
    return classifier_outputs(scope, "FastmlpPerceptron", model, inputs)


def register(cls: type) -> None:
    """Make skl2onnx convert a class, one of ours or of what is derived from them."""
    if issubclass(cls, Perceptron):
        arguments = ("FastmlpPerceptron", classifier_shapes, convert_perceptron)
        update_registered_converter(cls, *arguments, parser=parse_perceptron, options=CLASSIFIER_OPTIONS)
    elif issubclass(cls, MLPClassifier):
        alias = "FastmlpMLPClassifier"
        parse, options = with_transform(alias, classifier_outputs), {**CLASSIFIER_OPTIONS, **TRANSFORM}
        update_registered_converter(cls, alias, classifier_shapes, convert_classifier, parser=parse, options=options)
    else:
        alias = "FastmlpMLPRegressor"
        parse = with_transform(alias, regressor_outputs)
        update_registered_converter(cls, alias, regressor_shapes, convert_regressor, parser=parse, options=TRANSFORM)


def register_all() -> None:
    """Make skl2onnx convert our estimators, and our searches as it converts scikit-learn's GridSearchCV."""
    register_converter(HIDDEN_LAYER, convert_hidden_layer, overwrite=True)
    register_shape_calculator(HIDDEN_LAYER, hidden_layer_shapes, overwrite=True)
    for cls in OURS:
        register(cls)
    for name in model_selection.__all__:
        update_registered_converter(
            getattr(model_selection, name),
            "FastmlpSearch",
            search_shapes,
            convert_search,
            parser=_parse_sklearn_grid_search_cv,
            options="passthrough",
        )
