"""Export to ONNX: graphs that onnxruntime runs give what our estimators give."""

import re
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import polars as pl
import pytest
import skl2onnx
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from sklearn import model_selection
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingRegressor, StackingClassifier, VotingClassifier, VotingRegressor
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastmlp
import fastmlp.model_selection
import fastmlp.onnx
from fastmlp import Activation, MLPClassifier, MLPRegressor, Perceptron, reference, to_onnx
from fastmlp.formulas.activations import ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, SPECIES = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
LARGE = (SPECIES == 2).astype(int)
NUMBERS = np.column_stack([np.exp(X[:, 0]), X[:, 1] * X[:, 2], X[:, 3] ** 2])
SETTINGS = {"hidden_layer_sizes": (9, 6), "max_iter": 20, "random_state": 0}
FLOATS = [np.float32, np.float64]
# of the largest number: what float32 may lose in some layers, and float64
TOLERANCE = {np.dtype(np.float32): 1e-5, np.dtype(np.float64): 1e-13}
PLAIN = {"zipmap": False}


def classifier(**settings):
    return MLPClassifier(**{**SETTINGS, **settings})


def regressor(**settings):
    return MLPRegressor(**{**SETTINGS, **settings})


def session_of(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(model, rows):
    """Return {name: value} of a graph's outputs for an array, or for a frame whose columns are inputs."""
    session = session_of(model)
    feed = {"X": rows} if isinstance(rows, np.ndarray) else feed_of(rows)
    outputs = [output.name for output in session.get_outputs()]
    return dict(zip(outputs, session.run(outputs, feed), strict=True))


def feed_of(frame):
    """Return the columns by the names that skl2onnx gives inputs: letters, digits and underscores."""
    return {re.sub(r"\W", "_", name): frame[[name]].to_numpy() for name in frame.columns}


def assert_close(actual, expected, dtype):
    assert actual.dtype == dtype
    expected = np.asarray(expected)
    if expected.ndim == 1:
        expected = expected[:, np.newaxis]
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE[np.dtype(dtype)] * scale)


def assert_same_labels(actual, expected):
    expected = np.asarray(expected)
    assert actual.shape == expected.shape
    assert (actual == expected).all()
    assert actual.dtype == (object if expected.dtype.kind in "OU" else np.int64)


def check_classifier(model, dtype=np.float64, rows=X):
    """Compare labels, and probabilities or the decision function, with what the fitted model itself gives."""
    rows = rows.astype(dtype) if isinstance(rows, np.ndarray) else rows
    outputs = run(to_onnx(model, rows, options=PLAIN), rows)
    assert list(outputs) == ["label", "probabilities"]
    assert_same_labels(outputs["label"], model.predict(rows))
    if hasattr(model, "predict_proba"):
        expected = model.predict_proba(rows)
    else:
        expected = model.decision_function(rows)
        if not isinstance(expected, list) and expected.ndim == 1:
            expected = np.column_stack([-expected, expected])
    if not isinstance(expected, list):
        outputs["probabilities"], expected = [outputs["probabilities"]], [expected]
    for actual, one in zip(outputs["probabilities"], expected, strict=True):
        assert_close(actual, one, dtype)
    return outputs


def check_regressor(model, dtype=np.float64):
    outputs = run(to_onnx(model, X.astype(dtype)), X.astype(dtype))
    assert list(outputs) == ["variable"]
    assert_close(outputs["variable"], model.predict(X.astype(dtype)), dtype)


# Activations


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_activation_is_a_formula_of_onnx(activation, dtype):
    """By itself, over all magnitudes: the hidden layer of one unit whose preactivation is the feature."""
    z = np.concatenate([np.linspace(-30, 30, 1201), np.logspace(-8, 4, 100), -np.logspace(-8, 4, 100)])
    z = z.astype(dtype)[:, np.newaxis]
    model = regressor(hidden_layer_sizes=(1,), activation=activation, max_iter=1).fit(z[:9] / 10, z[:9, 0])
    model.coefs_ = [np.ones((1, 1)), np.ones((1, 1))]
    model.intercepts_ = [np.zeros(1), np.zeros(1)]
    # also what a user of skl2onnx alone writes
    graph = skl2onnx.to_onnx(model, z, options={id(model): {"transform": True}})
    values = run(graph, z)["variable"]
    expected = reference.ACTIVATIONS[activation](z.astype(np.float64))
    assert values.dtype == dtype
    assert (np.abs(values - expected) <= 10 * np.finfo(dtype).eps * np.maximum(1, np.abs(z))).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_with_each_activation(activation, dtype):
    check_regressor(regressor(activation=activation).fit(X, NUMBERS), dtype)
    check_classifier(classifier(activation=activation).fit(X.astype(dtype), SPECIES), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_an_activation_of_its_own_for_each_layer(dtype):
    names = tuple(ACTIVATIONS)
    sizes = tuple(range(20, 20 - len(names), -1))
    check_regressor(regressor(hidden_layer_sizes=sizes, activation=names).fit(X, NUMBERS), dtype)


def test_no_hidden_layer():
    check_regressor(regressor(hidden_layer_sizes=()).fit(X, NUMBERS))
    check_classifier(classifier(hidden_layer_sizes=()).fit(X, SPECIES))


def halved(z):
    return z / 2


@pytest.mark.parametrize("activation", [("relu", halved), ("relu", Activation(halved))])
def test_a_users_function_is_an_error_that_says_so(activation):
    model = classifier(activation=activation, max_iter=1).fit(X, SPECIES)
    with pytest.raises(ValueError, match=r"activation=Activation\(halved\) of layer 2 is a Python function"):
        to_onnx(model)


# Classifiers

LABELS = {
    "two": LARGE,
    "three": SPECIES,
    "bools": LARGE > 0,
    "floats": LARGE * 2.0 - 1.0,
    "unsigned": LARGE.astype(np.uint8),
    "beyond 32 bits": SPECIES + 2**40,
    "strings": np.array(["setosa", "versicolor", "virginica"])[SPECIES],
    "objects": np.array(["no", "größer"], dtype=object)[LARGE],
    "one class": np.zeros(len(X)),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("labels", LABELS)
def test_labels(labels, dtype):
    check_classifier(classifier().fit(X, LABELS[labels]), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "hinge"])
@pytest.mark.parametrize("y", [LARGE, SPECIES, (NUMBERS[:, :2] > 1).astype(int), (NUMBERS > 1).astype(int)])
def test_classification_losses(loss, y, dtype):
    """Of two classes, three, and two and three labels of their own, of which two must not pass for two classes."""
    check_classifier(classifier(loss=loss).fit(X, y), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_several_columns_of_classes(loss, dtype):
    model = classifier(loss=loss).fit(X, np.column_stack([SPECIES, LARGE + 5]))
    probabilities = check_classifier(model, dtype)["probabilities"]
    assert [part.shape[1] for part in probabilities] == [3, 2]
    assert [output.name for output in to_onnx(model).graph.output] == ["label", "probabilities"]  # with no zipmap


def test_several_columns_of_strings():
    names = LABELS["strings"]
    check_classifier(classifier().fit(X, np.column_stack([names, names[::-1]])))
    mixed = np.empty((len(X), 2), dtype=object)
    mixed[:, 0], mixed[:, 1] = names, LARGE
    model = classifier().fit(X, mixed)
    with pytest.raises(ValueError, match=r"no tensor of strings and numbers.*nocl=True"):
        to_onnx(model, options=PLAIN)
    labels = run(to_onnx(model, options={**PLAIN, "nocl": True}), X)["label"]
    for column, known, numbers in zip(model.predict(X).T, model.classes_, labels.T, strict=True):
        assert (known[numbers] == column).all()


@pytest.mark.parametrize("option", [{"zipmap": "columns"}, {"zipmap": False, "output_class_labels": True}])
def test_options_that_several_columns_have_not(option):
    model = classifier().fit(X, np.column_stack([SPECIES, LARGE]))
    with pytest.raises(ValueError, match=r"not for several columns of classes.*take zipmap=False"):
        to_onnx(model, options=option)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("labels", ["two", "three", "floats", "strings", "bools"])
def test_zipmap(labels, dtype):
    """A list of dictionaries is what skl2onnx makes unless told otherwise."""
    model = classifier().fit(X, LABELS[labels])
    rows, expected = X.astype(dtype), model.predict_proba(X.astype(dtype))
    for outputs in (run(to_onnx(model, rows), rows), run(to_onnx(model, rows, options={"zipmap": True}), rows)):
        assert list(outputs) == ["output_label", "output_probability"]
        assert_same_labels(outputs["output_label"], model.predict(rows))
        for row, one in zip(outputs["output_probability"], expected, strict=True):
            assert list(row) == list(model.classes_)
            np.testing.assert_allclose(list(row.values()), one, rtol=0, atol=1e-6)
    outputs = run(to_onnx(model, rows, options={"zipmap": "columns"}), rows)
    label, *columns = outputs.values()
    assert_same_labels(label, model.predict(rows))
    for column, one in zip(columns, expected.T, strict=True):
        assert_close(column[:, np.newaxis], one, dtype)


def test_zipmap_needs_a_label_for_each_probability():
    with pytest.raises(ValueError, match="there is one class"):
        to_onnx(classifier().fit(X, LABELS["one class"]))


@pytest.mark.parametrize("labels", LABELS)
def test_classes_and_their_numbers(labels):
    model = classifier().fit(X, LABELS[labels])
    outputs = run(to_onnx(model, options={**PLAIN, "output_class_labels": True}), X)
    assert_same_labels(outputs["class_labels"], model.classes_)
    outputs = run(to_onnx(model, options={**PLAIN, "output_class_labels": True, "nocl": True}), X)
    assert_same_labels(outputs["class_labels"], np.arange(len(model.classes_)))
    assert_same_labels(outputs["label"], np.searchsorted(model.classes_, model.predict(X)))
    with pytest.raises(ValueError, match="output_class_labels=True needs zipmap=False"):
        to_onnx(model, options={"output_class_labels": True})


def test_the_same_names_as_scikit_learns():
    from sklearn import neural_network

    for options in (None, PLAIN, {"zipmap": "columns"}, {**PLAIN, "output_class_labels": True}):
        names, theirs = (
            [output.name for output in skl2onnx.to_onnx(model, X, options=options).graph.output]
            for model in (
                classifier().fit(X, SPECIES),
                neural_network.MLPClassifier(**SETTINGS).fit(X, SPECIES),
            )
        )
        assert names == theirs
    theirs = skl2onnx.to_onnx(neural_network.MLPRegressor(**SETTINGS).fit(X, NUMBERS[:, 0]), X)
    ours = to_onnx(regressor().fit(X, NUMBERS[:, 0]), X)
    assert [output.name for output in ours.graph.output] == [output.name for output in theirs.graph.output]
    assert ours.graph.output[0].type == theirs.graph.output[0].type


def test_labels_that_onnx_has_not():
    model = classifier().fit(X, LARGE.astype(np.uint64) + np.uint64(2**64 - 2))
    with pytest.raises(ValueError, match=r"got classes_=\[18446744073709551614 18446744073709551615\].*nocl=True"):
        to_onnx(model, options=PLAIN)
    labels = run(to_onnx(model, options={**PLAIN, "nocl": True}), X)["label"]
    assert (model.classes_[labels] == model.predict(X)).all()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("y", [LARGE, SPECIES, LABELS["strings"]])
def test_perceptron(y, dtype):
    check_classifier(Perceptron(max_iter=5).fit(X, y), dtype)
    check_classifier(make_pipeline(StandardScaler(), Perceptron(max_iter=5)).fit(X, y), dtype)


# Regressors


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("columns", [1, 3])
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma"])
def test_regression_losses(loss, columns, dtype):
    y = np.abs(NUMBERS[:, :columns]) + 0.1
    check_regressor(regressor(loss=loss).fit(X, y[:, 0] if columns == 1 else y), dtype)


# Missing numbers


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("missing", ["zero", "indicator"])
def test_missing(missing, dtype):
    rows = X.copy()
    rows[::3, 1], rows[::5, 3] = np.nan, np.nan
    check_classifier(classifier(missing=missing).fit(rows, SPECIES), dtype, rows)
    check_classifier(classifier(missing=missing).fit(X, SPECIES), dtype, rows)  # an indicator of no column
    pipeline = make_pipeline(StandardScaler(), classifier(missing=missing), classifier())
    check_classifier(pipeline.fit(rows, SPECIES), dtype, rows)


def test_nan_where_none_was_expected():
    assert np.isnan(run(to_onnx(regressor().fit(X, NUMBERS)), np.full((2, 4), np.nan))["variable"]).all()


# Pipelines, searches, ensembles


@pytest.mark.parametrize("dtype", FLOATS)
def test_pipelines(dtype):
    check_classifier(make_pipeline(StandardScaler(), classifier()).fit(X, SPECIES), dtype)
    check_regressor(make_pipeline(StandardScaler(), regressor()).fit(X, NUMBERS), dtype)


TRANSFORMERS = {
    "classifier": lambda: classifier(),
    "regressor": lambda: regressor(activation="gelu"),
    "pipeline": lambda: make_pipeline(StandardScaler(), classifier()),
    "union": lambda: FeatureUnion([("one", regressor()), ("other", make_pipeline(StandardScaler(), classifier()))]),
    "columns": lambda: ColumnTransformer([("one", classifier(), [0, 1]), ("other", StandardScaler(), [2, 3])]),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_network_in_the_middle_transforms(kind, dtype):
    check_classifier(make_pipeline(TRANSFORMERS[kind](), LogisticRegression()).fit(X, SPECIES), dtype)
    if kind != "columns":  # which skl2onnx takes at the beginning alone
        check_classifier(make_pipeline(StandardScaler(), TRANSFORMERS[kind](), classifier()).fit(X, SPECIES), dtype)


def test_options_of_a_transformer_and_of_what_follows():
    pipeline = make_pipeline(classifier(), classifier()).fit(X, LABELS["strings"])
    outputs = run(to_onnx(pipeline, options={id(pipeline[-1]): {"zipmap": False, "nocl": True}}), X)
    assert_same_labels(outputs["label"], np.searchsorted(pipeline.classes_, pipeline.predict(X)))


def mixed_frame():
    """Numbers, some of them missing, and strings."""
    frame = pd.DataFrame(X.astype(np.float32), columns=["sepal length (cm)", "b", "c", "d"])
    frame.loc[::7, "b"] = np.nan
    frame["colour"] = np.array(["red", "green", "blue"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0)]
    frame["n"] = SPECIES[::-1].astype(np.int64)
    return frame


def imputed():
    return make_pipeline(SimpleImputer(), StandardScaler())


def mixed_pipeline(numbers, last):
    columns = [
        ("numbers", numbers, ["sepal length (cm)", "b", "c"]),
        ("strings", OneHotEncoder(handle_unknown="ignore"), ["colour"]),
        ("integers", OneHotEncoder(), ["n"]),
    ]
    return make_pipeline(ColumnTransformer(columns), last)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_transformer_on_mixed_columns(library):
    frame = mixed_frame()
    model = mixed_pipeline(imputed(), classifier()).fit(frame, LABELS["strings"])
    graph = to_onnx(model, frame if library == "pandas" else pl.from_pandas(frame), options=PLAIN)
    kinds = {one.name: one.type.tensor_type.elem_type for one in graph.graph.input}
    number, string, integer = onnx.TensorProto.FLOAT, onnx.TensorProto.STRING, onnx.TensorProto.INT64
    floats = dict.fromkeys(["sepal_length__cm_", "b", "c", "d"], number)
    assert kinds == {**floats, "colour": string, "n": integer}
    outputs = run(graph, frame)
    assert_same_labels(outputs["label"], model.predict(frame))
    assert_close(outputs["probabilities"], model.predict_proba(frame), np.float32)


def test_mixed_columns_of_doubles():
    """Without SimpleImputer, which onnxruntime has in float32 alone; the network knows what to do."""
    frame = mixed_frame().astype(dict.fromkeys(["sepal length (cm)", "b", "c", "d"], np.float64))
    model = mixed_pipeline(StandardScaler(), regressor(missing="indicator")).fit(frame, NUMBERS)
    assert_close(run(to_onnx(model, frame), frame)["variable"], model.predict(frame), np.float64)


def test_a_frame_without_a_pipeline():
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["d"] = SPECIES  # numbers of two types: float64, as one of them is
    model = classifier().fit(frame, SPECIES)
    outputs = run(to_onnx(model, frame, options=PLAIN), frame)
    assert_same_labels(outputs["label"], model.predict(frame))
    assert_close(outputs["probabilities"], model.predict_proba(frame), np.float64)


@pytest.mark.parametrize("values", [X.astype(np.float16), np.round(X * 3).astype(np.int32), X > 0])
def test_arrays_of_other_numbers(values):
    model = classifier().fit(values.astype(np.float64), SPECIES)
    graph = to_onnx(model, values, options=PLAIN)
    rows = values.astype({"f": np.float32, "i": np.int64, "b": bool}[values.dtype.kind])
    assert_close(run(graph, rows)["probabilities"], model.predict_proba(values.astype(np.float64)), np.float32)


@pytest.mark.parametrize("module", [model_selection, fastmlp.model_selection])
def test_searches(module):
    for options in (None, PLAIN):
        search = module.GridSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=2).fit(X, SPECIES)
        outputs = run(to_onnx(search, X, options=options), X)
        assert_same_labels(next(iter(outputs.values())), search.predict(X))
    assert_close(outputs["probabilities"], search.predict_proba(X), np.float64)
    search = module.GridSearchCV(regressor(), {"alpha": [0.1, 1.0]}, cv=2).fit(X, NUMBERS)
    check_regressor(search)
    pipeline = Pipeline([("scale", StandardScaler()), ("features", regressor()), ("network", classifier())])
    check_classifier(module.GridSearchCV(pipeline, {"network__alpha": [0.1, 1.0]}, cv=2).fit(X, SPECIES))


def test_other_searches_of_ours():
    search = fastmlp.model_selection.RandomizedSearchCV(classifier(), {"alpha": [0.1, 1.0]}, n_iter=1, cv=2)
    check_classifier(search.fit(X, SPECIES))
    search = fastmlp.model_selection.HalvingGridSearchCV(classifier(), {"alpha": [0.1, 1.0]}, cv=2, random_state=0)
    check_classifier(search.fit(X, SPECIES))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("y", [LARGE, SPECIES], ids=["two", "three"])
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
def test_calibrated(loss, y, dtype):
    """Of probabilities, or with "hinge" of the decision function, as scikit-learn does."""
    check_classifier(CalibratedClassifierCV(classifier(loss=loss), cv=2).fit(X, y), dtype)


ENSEMBLES = {
    "soft voting": lambda: VotingClassifier(
        [("a", make_pipeline(StandardScaler(), regressor(), classifier())), ("b", LogisticRegression())],
        voting="soft",
        flatten_transform=False,
    ),
    "stacking": lambda: StackingClassifier([("a", classifier()), ("b", LogisticRegression())], classifier(), cv=2),
    "one against the rest": lambda: OneVsRestClassifier(classifier()),
}


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", ENSEMBLES)
def test_ensembles_of_classifiers(kind, dtype):
    check_classifier(ENSEMBLES[kind]().fit(X, SPECIES), dtype)


def test_hard_voting():
    members = [("a", classifier()), ("b", LogisticRegression()), ("c", classifier(loss="hinge"))]
    model = VotingClassifier(members, flatten_transform=False).fit(X, LABELS["strings"])
    assert_same_labels(run(to_onnx(model, X, options=PLAIN), X)["label"], model.predict(X))


@pytest.mark.parametrize("dtype", FLOATS)
def test_ensembles_of_regressors(dtype):
    members = [("a", regressor()), ("b", LinearRegression())]
    check_regressor(VotingRegressor(members).fit(X, NUMBERS[:, 0]), dtype)
    check_regressor(BaggingRegressor(regressor(), n_estimators=2, random_state=0).fit(X, NUMBERS[:, 0]), dtype)


class Derived(MLPClassifier):
    """A user's own estimator."""


def test_a_class_derived_from_ours():
    check_classifier(Derived(**SETTINGS).fit(X, SPECIES))
    check_classifier(CalibratedClassifierCV(Derived(**SETTINGS), cv=2).fit(X, SPECIES))


# The model


@pytest.mark.parametrize("rows", [1, 2, 150, 1000])
def test_any_number_of_rows(rows):
    many = np.resize(X, (rows, 4))
    y = np.column_stack([SPECIES, LARGE])
    for model in (classifier().fit(X, SPECIES), classifier().fit(X, y), classifier(missing="indicator").fit(X, LARGE)):
        outputs = run(to_onnx(model, X[:1], options=PLAIN), many)
        assert_same_labels(outputs["label"], model.predict(many))
    model = regressor().fit(X, NUMBERS)
    assert_close(run(to_onnx(model, X[:1]), many)["variable"], model.predict(many), np.float64)


@pytest.mark.parametrize("opset", [11, 13, 15, 17, 20, None])
def test_versions_of_the_operators(opset):
    for dtype in FLOATS:
        model = regressor(hidden_layer_sizes=(5,) * len(ACTIVATIONS), activation=tuple(ACTIVATIONS)).fit(X, NUMBERS)
        graph = to_onnx(model, X.astype(dtype), target_opset=opset)
        assert_close(run(graph, X.astype(dtype))["variable"], model.predict(X), dtype)
        assert opset is None or {one.domain: one.version for one in graph.opset_import}[""] == opset
    model = classifier(missing="indicator").fit(X, np.column_stack([SPECIES, LARGE]))
    outputs = run(to_onnx(model, X, options=PLAIN, target_opset=opset), X)
    assert_same_labels(outputs["label"], model.predict(X))


def test_what_the_file_says_of_itself():
    graph = to_onnx(classifier().fit(X, SPECIES), name="irises")
    assert (graph.producer_name, graph.producer_version) == ("fastmlp", fastmlp.__version__)
    assert graph.graph.name == "irises"
    assert graph.doc_string.startswith("MLPClassifier")


def test_the_weights_stay_what_they_are():
    """In float32 for one who was fitted in it, and no larger than they must be."""
    model = regressor(hidden_layer_sizes=(300, 200)).fit(X.astype(np.float32), NUMBERS)
    n_weights = sum(coef.size for coef in model.coefs_) + sum(intercept.size for intercept in model.intercepts_)
    assert 4 * n_weights < len(to_onnx(model).SerializeToString()) < 4 * n_weights + 3000


def test_a_process_that_has_onnxruntime_alone(tmp_path):
    model = mixed_pipeline(imputed(), classifier(activation="gelu")).fit(mixed_frame(), SPECIES)
    frame = mixed_frame()
    feed = {name: values.astype(str) if name == "colour" else values for name, values in feed_of(frame).items()}
    path, rows, answer = (tmp_path / name for name in ("model.onnx", "rows.npz", "answer.npz"))
    path.write_bytes(to_onnx(model, frame, options=PLAIN).SerializeToString())
    np.savez(rows, **feed)
    program = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1])
rows = np.load(sys.argv[2])
label, probabilities = session.run(None, {one.name: rows[one.name] for one in session.get_inputs()})
np.savez(sys.argv[3], label=label, probabilities=probabilities)
assert not {"fastmlp", "numba", "sklearn", "skl2onnx"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program, path, rows, answer], check=True, cwd=tmp_path)
    outputs = np.load(answer)
    assert_same_labels(outputs["label"], model.predict(frame))
    assert_close(outputs["probabilities"], model.predict_proba(frame), np.float32)


# Inputs


@pytest.mark.parametrize("dtype", FLOATS)
def test_inputs_known_from_the_model(dtype):
    rows = X.astype(dtype)
    for model in (
        classifier(),
        Perceptron(max_iter=3),
        make_pipeline(StandardScaler(), classifier()),
        fastmlp.model_selection.GridSearchCV(classifier(), {"alpha": [1.0]}, cv=2),
        CalibratedClassifierCV(classifier(), cv=2),
    ):
        fitted = model.fit(rows, SPECIES)
        graph, same = to_onnx(fitted, options=PLAIN), to_onnx(fitted, rows, options=PLAIN)
        assert list(graph.graph.input) == list(same.graph.input)


def test_inputs_not_known_from_the_model():
    model = mixed_pipeline(imputed(), classifier()).fit(mixed_frame(), SPECIES)
    with pytest.raises(ValueError, match=r"inputs of ColumnTransformer.*pass some rows as X, or initial_types"):
        to_onnx(model)
    encoder = make_pipeline(OneHotEncoder(), classifier()).fit(np.round(X), SPECIES)
    with pytest.raises(ValueError, match=r"inputs of OneHotEncoder.*pass some rows as X, or initial_types"):
        to_onnx(encoder)


def test_initial_types():
    model = classifier().fit(X, SPECIES)
    graph = to_onnx(model, initial_types=[("rows", FloatTensorType([None, 4]))], options=PLAIN)
    label, probabilities = session_of(graph).run(None, {"rows": X.astype(np.float32)})
    assert_same_labels(label, model.predict(X))
    assert_close(probabilities, model.predict_proba(X), np.float32)
    with pytest.raises(ValueError, match=r"X and initial_types both"):
        to_onnx(model, X, initial_types=[("rows", FloatTensorType([None, 4]))])


def test_inputs_of_another_number_of_features():
    for model in (classifier().fit(X, SPECIES), regressor().fit(X, NUMBERS), Perceptron(max_iter=3).fit(X, SPECIES)):
        with pytest.raises(ValueError, match=r"The inputs have 3 features, but \w+ was fitted with 4"):
            to_onnx(model, X[:, :3])
        with pytest.raises(ValueError, match=r"The inputs have 5 features"):
            to_onnx(model, initial_types=[(name, DoubleTensorType([None, 1])) for name in "abcde"])


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (X[0], ValueError, r"two dimensions, or be a data frame, got an array of shape \(4,\)"),
        (X.astype(complex), TypeError, "got the dtype complex128 in X"),
        (pd.DataFrame({"a": [1.0], "b": [("x", "y")]}), TypeError, "got the dtype object in the column 'b'"),
    ],
)
def test_rows_of_no_type(rows, error, message):
    with pytest.raises(error, match=message):
        to_onnx(classifier().fit(X, SPECIES), rows)


# What cannot be converted


def test_not_fitted():
    search = fastmlp.model_selection.GridSearchCV(classifier(), {})
    for model in (classifier(), regressor(), Perceptron(), make_pipeline(StandardScaler(), classifier()), search):
        with pytest.raises(NotFittedError):
            to_onnx(model, X)


def test_a_search_that_keeps_no_model():
    search = fastmlp.model_selection.GridSearchCV(classifier(), {"alpha": [1.0]}, cv=2, refit=False)
    with pytest.raises(ValueError, match="refit=False has no model"):
        to_onnx(search.fit(X, SPECIES), X)


@pytest.mark.parametrize("model", [LogisticRegression(), make_pipeline(StandardScaler(), LinearRegression())])
def test_nothing_of_ours(model):
    with pytest.raises(TypeError, match=r"(?s)must be one of fastmlp.*(Logistic|Linear)Regression.*skl2onnx\.to_onnx"):
        to_onnx(model, X)


@pytest.mark.parametrize("model", [None, MLPClassifier, "model"])
def test_no_estimator(model):
    with pytest.raises(TypeError, match="estimator must be an estimator or a pipeline, got"):
        to_onnx(model, X)


def test_features_of_a_network_without_hidden_layers():
    model = regressor(hidden_layer_sizes=()).fit(X, NUMBERS)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(\) has none"):
        skl2onnx.to_onnx(model, X, options={id(model): {"transform": True}})


def test_without_the_extra(monkeypatch):
    monkeypatch.delitem(sys.modules, "fastmlp.onnx")
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"needs the extra 'onnx'.*pip install 'fastmlp\[onnx\]'"):
        to_onnx(classifier().fit(X, SPECIES))


def test_the_package_itself_imports_none_of_it():
    program = "import sys, fastmlp; assert not {'onnx', 'skl2onnx', 'onnxruntime'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)
