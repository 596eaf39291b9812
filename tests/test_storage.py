"""Estimators in safetensors files that hold no code."""

import json
import math
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.sparse import csr_matrix, issparse
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, Perceptron, files, storage
from fastmlp.dask import DaskMLPRegressor
from fastmlp.plain import decode, dumps, encode, loads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATA = Path(__file__).parent / "data"
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(80, 4))
WITH_NAN = np.where(RANDOM.uniform(size=X.shape) < [0.2, 0, 0.2, 0], np.nan, X)
TWO = (X[:, 0] > 0).astype(int)
THREE = TWO + (X[:, 1] > 0.5)
WORDS = np.array(["low", "middle", "very high"])[THREE]
COLUMNS = np.column_stack([TWO, X[:, 1] > 0, X[:, 2] > 0]).astype(int)
MIXED = np.column_stack([WORDS.astype(object), THREE + 5])
POSITIVE = np.exp(X[:, 0])
FRAME = pd.DataFrame(X, columns=["a", "b", "c", "\N{GREEK SMALL LETTER DELTA}"])


def classifier(**settings):
    return MLPClassifier(**{"hidden_layer_sizes": (6, 5), "max_iter": 4, "random_state": 0, **settings})


def regressor(**settings):
    return MLPRegressor(**{"hidden_layer_sizes": (6, 5), "max_iter": 4, "random_state": 0, **settings})


CASES = {
    "binary": (classifier(), X, TWO),
    "bools": (classifier(), X, TWO > 0),
    "one class": (classifier(), X, np.zeros(len(X), int)),
    "multiclass": (classifier(activation=["tanh", "mish"], solver="sgd"), X, THREE),
    "float classes": (classifier(), X, THREE.astype(float)),
    "string classes": (classifier(class_weight={"low": 1.0, "middle": 2, "very high": np.float32(0.1)}), X, WORDS),
    "object classes": (classifier(), X, WORDS.astype(object)),
    "wide strings": (classifier(), X, WORDS.astype("<U30")),
    "multilabel": (classifier(), X, COLUMNS),
    "sparse multilabel": (classifier(), X, csr_matrix(COLUMNS)),
    "multioutput": (classifier(), X, np.column_stack([THREE, TWO + 3])),
    "mixed multioutput": (classifier(class_weight=[{"low": 2, "middle": 1, "very high": 1}, None]), X, MIXED),
    "class_weight": (classifier(class_weight={0: 0.3, np.int64(1): np.float64(2.0), 2: 1}), X, THREE),
    "label_smoothing": (classifier(label_smoothing=0.1), X, THREE),
    "hinge": (classifier(loss="hinge"), X, THREE),
    "brier": (classifier(loss="squared_error"), X, TWO),
    **{f"loss {loss}": (regressor(loss=loss), X, POSITIVE) for loss in ("squared_error", "poisson", "absolute_error")},
    "huber": (regressor(loss="huber", delta=0.5), X, POSITIVE),
    "quantile": (regressor(loss="quantile", quantile=0.9), X, POSITIVE),
    "gamma": (regressor(loss="gamma"), X, POSITIVE),
    "several outputs": (regressor(dropout=[0.1, 0.0]), X, X[:, :2] ** 2),
    "zero": (regressor(missing="zero"), WITH_NAN, POSITIVE),
    "indicator": (classifier(missing="indicator"), WITH_NAN, THREE),
    "float32": (classifier(keep_optimizer=True), X.astype(np.float32), THREE),
    "dtype": (regressor(dtype="float32", alpha=np.float32(0.1), hidden_layer_sizes=np.array([3, 2])), X, POSITIVE),
    "feature names": (classifier(), FRAME, WORDS),
    "early stopping": (classifier(early_stopping=True, n_iter_no_change=np.inf, keep_optimizer=True), X, THREE),
    "scoring": (classifier(early_stopping=True, scoring=("loss", "accuracy"), augment={"mixup": 0.2}), X, TWO),
    "lbfgs": (classifier(solver="lbfgs", max_iter=20), X, THREE),
    "lbfgs float32": (regressor(solver="lbfgs", max_iter=20), X.astype(np.float32), POSITIVE),
    **{solver: (regressor(solver=solver, keep_optimizer=True), X, POSITIVE) for solver in ("sgd", "adam", "nadam")},
    "adagrad": (classifier(solver="adagrad", keep_optimizer=True, l1_ratio=0.5, max_grad_norm=1.0), X, TWO),
    "adaptive": (regressor(solver="sgd", learning_rate="adaptive", tol=1e6, n_iter_no_change=1), X, POSITIVE),
    "cosine": (regressor(learning_rate="cosine", decay_epochs=10, warmup_epochs=2, keep_optimizer=True), X, POSITIVE),
    "no hidden layer": (classifier(hidden_layer_sizes=()), X, TWO),
    "Perceptron": (Perceptron(max_iter=5, shuffle=True, random_state=0), FRAME, WORDS),
    "Perceptron float32": (Perceptron(max_iter=5, warm_start=True), X.astype(np.float32), TWO),
}


@pytest.fixture(params=CASES)
def case(request):
    model, rows, y = CASES[request.param]
    return pickle.loads(pickle.dumps(model)).fit(rows, y), rows, y


def saved(model, folder):
    model.save(folder / "model.safetensors")
    return fastmlp.load(folder / "model.safetensors")


def assert_same(ours, theirs):
    """Compare values of attributes to the last bit, and their types but for Python's numbers and NumPy's."""
    if isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.flags.writeable
        np.testing.assert_array_equal(ours, theirs)
    elif isinstance(theirs, list | tuple):
        assert (type(ours), len(ours)) == (type(theirs), len(theirs))
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        assert_same(list(ours.values()), list(theirs.values()))
    elif isinstance(theirs, float) and math.isnan(theirs):
        assert math.isnan(ours)
    else:
        assert ours == theirs


def assert_same_estimator(ours, theirs):
    assert type(ours) is type(theirs)
    assert_same(ours.get_params(), theirs.get_params())
    ours, theirs = (model.__getstate__() for model in (ours, theirs))  # optimizer and encoder are plain values there
    assert ours.keys() == theirs.keys()
    for name in theirs:
        if name == "indicator_":
            np.testing.assert_array_equal(ours[name].features_, theirs[name].features_)
            assert vars(ours[name]).keys() == vars(theirs[name]).keys()
        else:
            assert_same(ours[name], theirs[name])


def assert_same_predictions(ours, theirs, rows):
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        if hasattr(theirs, method):
            one, other = (getattr(model, method)(rows) for model in (ours, theirs))
            if issparse(other):
                one, other = one.toarray(), other.toarray()
            assert_same(one, other)


def test_as_a_pickle(case, tmp_path):
    model, rows, _ = case
    loaded = saved(model, tmp_path)
    assert_same_estimator(loaded, pickle.loads(pickle.dumps(model)))
    assert_same_predictions(loaded, model, rows)
    assert_same_estimator(saved(loaded, tmp_path), loaded)


def test_training_goes_on_as_after_a_pickle(case, tmp_path):
    model, rows, y = case
    ours, theirs = saved(model, tmp_path), pickle.loads(pickle.dumps(model))
    for one in (ours, theirs):
        for _ in range(3):
            if hasattr(one, "partial_fit"):
                one.partial_fit(rows, y)
        one.set_params(warm_start=True).fit(rows, y)
        if "history_" in vars(one):
            del one.history_["seconds"]
    assert_same_estimator(ours, theirs)


def test_a_stream_with_early_stopping_keeps_its_best_weights(tmp_path):
    model = classifier(early_stopping=True, keep_optimizer=True, tol=1.0)
    for _ in range(3):
        model.partial_fit(X, THREE, classes=[0, 1, 2])
    assert model._best_parameters is not None
    assert_same_estimator(saved(model, tmp_path), model)


def test_output_of_transform(tmp_path):
    model = classifier().set_output(transform="pandas").fit(X, TWO)
    pd.testing.assert_frame_equal(saved(model, tmp_path).transform(X), model.transform(X))
    model = classifier().set_output().fit(X, TWO)
    np.testing.assert_array_equal(saved(model, tmp_path).transform(X), model.transform(X))


def test_what_is_built_by_hand(tmp_path):
    from fastmlp.theory import approximate

    model = approximate(np.sin, (0, 1), 0.1)
    assert_same_estimator(saved(model, tmp_path), model)


def test_the_file_is_readable_by_others(tmp_path):
    model = classifier().fit(X, WORDS)
    model.save(str(tmp_path / "model"))
    with safe_open(tmp_path / "model", framework="np") as file:
        metadata = file.metadata()
        np.testing.assert_array_equal(file.get_tensor("coefs_.1"), model.coefs_[1])

    def refuse(word):
        raise AssertionError(word)

    assert metadata["class"] == "MLPClassifier"
    assert metadata["fastmlp_version"] == fastmlp.__version__
    assert json.loads(metadata["parameters"], parse_constant=refuse)["solver"] == "adam"
    assert json.loads(metadata["attributes"])["classes_"] == {"text": ["low", "middle", "very high"], "width": 9}


# Code and generators


def change(row, uniform):
    row[0] += uniform[0]


def rate(step):
    return 0.01


def score(model, X, y):
    return 0.5


@pytest.mark.parametrize(
    "settings",
    [
        {"augment": change},
        {"augment": {"mixup": 0.1, "function": change}},
        {"scoring": score, "early_stopping": True},
        {"scoring": ["accuracy", score], "early_stopping": True},
        {"learning_rate": rate, "keep_optimizer": True},
        {"random_state": np.random.RandomState(0)},
    ],
)
def test_code_that_only_training_needs_is_left_out_with_a_warning(settings, tmp_path):
    model = classifier(**settings).fit(X, TWO)
    name = next(iter(settings))
    default = getattr(MLPClassifier(), name)
    with pytest.warns(UserWarning, match=f"leaves out {name}=.*has {name}={default!r}: set it again") as caught:
        model.save(tmp_path / "model")
    assert [warning.filename for warning in caught] == [__file__]
    loaded = fastmlp.load(tmp_path / "model")
    assert getattr(loaded, name) == default
    assert_same(loaded.get_params() | {name: None}, model.get_params() | {name: None})
    assert_same_predictions(loaded, model, X)
    loaded.set_params(**settings).partial_fit(X, TWO)
    assert loaded.t_ > model.t_
    if name == "learning_rate":
        assert loaded.history_["learning_rate"][-1] == 0.01


def test_scores_of_a_function_are_not_gone_on_with(tmp_path):
    model = classifier(scoring=score, early_stopping=True).fit(X, TWO)
    with pytest.warns(UserWarning, match="scoring"):
        model.save(tmp_path / "model")
    loaded = fastmlp.load(tmp_path / "model")
    assert loaded.validation_scores_ == model.validation_scores_
    assert len(loaded.partial_fit(X, TWO).validation_scores_) == 1  # the accuracy has only this


def test_callbacks_are_left_out_without_a_word(tmp_path):
    model = classifier(callbacks=[print, lambda epoch: None]).fit(X, TWO)
    assert saved(model, tmp_path).callbacks is None
    assert model.callbacks[0] is print


def test_a_callback_may_save(tmp_path):
    """A warning would be an error here."""
    model = classifier().fit(X, TWO)
    other = classifier(callbacks=lambda epoch: model.save(tmp_path / f"{epoch.number}")).fit(X, TWO)
    assert len(list(tmp_path.iterdir())) == other.n_iter_ == 4


def square(z):
    return z * z


@pytest.mark.parametrize("activation", [square, fastmlp.Activation(square), ["relu", square]], ids=["f", "a", "list"])
def test_own_activations_are_an_error(activation, tmp_path):
    model = classifier(activation=activation, solver="lbfgs").fit(X, TWO)
    with pytest.raises(TypeError, match=r"activation=.*square.*no code.*allowed are names.*pickle"):
        model.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "model"
    with pytest.raises(NotFittedError):
        classifier().save(path)
    mine = type("Mine", (MLPClassifier,), {})
    with pytest.raises(TypeError, match=r"Mine cannot be saved: allowed are .*'MLPClassifier'"):
        mine(max_iter=1).fit(X, TWO).save(path)
    same_name = type("MLPClassifier", (MLPClassifier,), {})
    with pytest.raises(TypeError, match="cannot be saved"):
        same_name(max_iter=1).fit(X, TWO).save(path)
    with pytest.raises(TypeError, match=r"DaskMLPRegressor cannot be saved: .*what to_local\(\) returns"):
        DaskMLPRegressor().save(path)
    model = classifier().fit(X, TWO)
    model.coefs_[0] = model.coefs_[0][:2]
    with pytest.raises(ValueError, match=r"coefs_, layer 0: allowed is shape \(4, 6\) .*found \(2, 6\)"):
        model.save(path)
    with pytest.raises(ValueError, match="'alpha' parameter of MLPClassifier"):
        classifier().fit(X, TWO).set_params(alpha=-1).save(path)
    with pytest.raises(TypeError, match="hidden_layer_sizes=range"):
        classifier(hidden_layer_sizes=range(2, 4)).fit(X, TWO).save(path)
    with pytest.raises(FileNotFoundError):
        classifier().fit(X, TWO).save(tmp_path / "no" / "model")
    assert not list(tmp_path.iterdir())


# Files of others


@pytest.fixture
def parts(tmp_path):
    """The parts of a good file, and how to load another one made of them."""
    metadata, tensors = storage.parts_of(classifier(keep_optimizer=True, early_stopping=True).fit(FRAME, THREE))

    def load():
        save_file(tensors, tmp_path / "changed", metadata)
        return fastmlp.load(tmp_path / "changed")

    load()
    return metadata, tensors, load


def put(metadata, key, name, value):
    content = json.loads(metadata[key])
    content[name] = value
    metadata[key] = json.dumps(content)


def refused(load, message):
    with pytest.raises(ValueError, match=f"changed' is not what a method `save` of fastmlp writes: .*{message}"):
        load()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("format", None, "format in its metadata is None; allowed is 'fastmlp'"),
        ("format", "pt", "format in its metadata is 'pt'; allowed is 'fastmlp'"),
        ("format_version", "2.0", f"format_version is '2.0', written by .*allowed is 1.0 to 1.{storage.MINOR}"),
        ("format_version", f"1.{storage.MINOR + 1}", "take a release of fastmlp that knows it"),
        ("format_version", "0.9", "allowed is 1.0"),
        ("format_version", "1", "format_version is '1'"),
        ("format_version", "1.0.0", "format_version is '1.0.0'"),
        ("format_version", None, "format_version is ''"),
        ("class", "DaskMLPClassifier", "class is 'DaskMLPClassifier'; allowed is one of .*'Perceptron'"),
        ("class", "os.system", "class is 'os.system'; allowed"),
        ("class", "MLPRegressor", r"parameters, \['class_weight', 'label_smoothing'\] are unknown and \['delta', "),
        ("class", None, r"metadata, \[\] are unknown and \['class'\] missing"),
        ("more", "1", r"metadata, \['more'\] are unknown and \[\] missing"),
        ("parameters", "{", "parameters: "),
        ("parameters", "[]", "parameters: allowed is an object of JSON"),
        ("attributes", "[" * 100_000, "attributes: .*nested"),
        ("attributes", f'{{"a": {"[" * 900}{"]" * 900}}}', ""),
        ("attributes", '{"a": NaN}', "attributes: NaN is no JSON"),
        ("attributes", "{}", r"attributes, \[\] are unknown and \['_label_encoder', 'classes_', 'coefs_'"),
    ],
)
def test_metadata_are_checked(parts, key, value, message):
    metadata, _, load = parts
    if value is None:
        del metadata[key]
    else:
        metadata[key] = value
    refused(load, message)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation", "swish", "activation.*'swish'"),
        ("activation", ["relu", "swish"], "activation.*'swish'"),
        ("activation", ["relu"], "has 1 names, but hidden_layer_sizes 2 layers"),
        ("activation", {"function": "os.system"}, "parameters activation: .*is no value that is known"),
        ("activation", None, "activation"),
        ("solver", "newton", "solver"),
        ("alpha", -1.0, "alpha"),
        ("alpha", {"tensor": "nowhere"}, "parameters alpha: .*its tensor is missing"),
        ("alpha", {"float": "1e5"}, "parameters alpha: .*no value that is known"),
        ("random_state", {"tuple": [1], "more": 1}, "parameters random_state: .*no value that is known"),
        ("class_weight", {"dict": [[1]]}, "parameters class_weight: A dict is a list of pairs"),
        ("class_weight", {"dict": [[[1], 2]]}, "parameters class_weight: The keys of a dict"),
        ("other", 1, r"parameters, \['other'\] are unknown"),
    ],
)
def test_parameters_are_checked(parts, name, value, message):
    metadata, _, load = parts
    put(metadata, "parameters", name, value)
    refused(load, message)


def test_a_parameter_must_not_be_missing(parts):
    metadata, _, load = parts
    content = json.loads(metadata["parameters"])
    del content["alpha"]
    metadata["parameters"] = json.dumps(content)
    refused(load, r"parameters, \[\] are unknown and \['alpha'\] missing")


def test_a_parameter_that_came_later_may_be_missing_in_an_older_file(parts, monkeypatch):
    metadata, _, load = parts
    monkeypatch.setattr(storage, "MINOR", storage.MINOR + 1)
    monkeypatch.setitem(storage.ADDED, "precision", storage.MINOR)
    refused(load, r"parameters, \['precision'\] are unknown")
    content = json.loads(metadata["parameters"])
    del content["precision"]
    metadata["parameters"] = json.dumps(content)
    assert load().precision == "float32"
    metadata["format_version"] = f"1.{storage.MINOR}"
    refused(load, r"\['precision'\] missing")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("n_features_in_", 5, r"coefs_, layer 0: allowed is shape \(5, 6\) of float64, found \(4, 6\) of float64"),
        ("n_features_in_", 10**15, "coefs_, layer 0"),
        ("n_features_in_", -1, "n_features_in_: allowed is an integer from 0"),
        ("n_features_in_", True, "n_features_in_: allowed is an integer from 0"),
        ("n_features_in_", 4.0, "n_features_in_: allowed is an integer from 0"),
        ("t_", 2**70, "t_: allowed is an integer"),
        ("loss_", 10**400, "loss_: allowed is a number"),
        ("loss_", "1", "loss_: allowed is a number"),
        (
            "_sklearn_output_config",
            {"dict": [["transform", "eval"]]},
            "_sklearn_output_config: transform: allowed is one",
        ),
        ("out_activation_", "exp", r"out_activation_: allowed is one of \('identity', 'softmax'\), found 'exp'"),
        ("out_activation_", "swish", "out_activation_: allowed is one of .*found 'swish'"),
        ("out_activation_", [], "out_activation_: allowed is one of"),
        ("classes_", {"text": ["b", "a", "c"], "width": 1}, "classes_: allowed is an array of labels, sorted"),
        ("classes_", {"text": ["a", "b"], "width": 1}, "coefs_: allowed are .* 1 outputs"),
        ("classes_", {"text": ["a", "b", "c"], "width": 10**9}, "attributes classes_: .*no value that is known"),
        ("classes_", {"text": ["a", "bb", "c"], "width": 1}, "attributes classes_: .*no value that is known"),
        ("classes_", ["a", "b", "c"], "classes_: allowed is an array of labels"),
        ("classes_", [], "classes_: allowed is an array, or a list of two or more"),
        ("_label_encoder", "pickle", "_label_encoder: allowed is one of"),
        ("coefs_", [], "coefs_: allowed is a list of arrays"),
        ("coefs_", [{"tensor": "coefs_.0"}], "coefs_: allowed are .* 3 outputs, found"),
        ("coefs_", [{"tensor": "coefs_.0"}] * 2, "attributes coefs_: .*its tensor is missing"),
        ("intercepts_", [{"tensor": "intercepts_.0"}], "coefs_: allowed are 3 layers, found 3 and 1"),
        ("intercepts_", 5, "intercepts_: allowed is a list of arrays"),
        ("feature_names_in_", {"objects": ["a"]}, r"feature_names_in_: allowed is shape \(4,\)"),
        ("feature_names_in_", {"objects": [1, 2, 3, 4]}, "no value that is known"),
        ("indicator_", [0], "indicator_: allowed is an array of int64"),
        ("loss_curve_", [1.0], "loss_curve_: allowed is an array of float64"),
        ("history_", {"dict": [["loss", [1.0]]]}, "history_: loss: allowed is an array of float64"),
        ("history_", [], "history_: allowed is a dict with names"),
        ("_best_parameters", {"tuple": []}, "_best_parameters: allowed is a tuple"),
        ("_optimizer", {"dict": [["name", "sgd"]]}, r"_optimizer: of its parts, \[\] are unknown and \['l1_ratio'"),
        ("__class__", "os.system", r"attributes, \['__class__'\] are unknown"),
    ],
)
def test_attributes_are_checked(parts, name, value, message):
    metadata, _, load = parts
    put(metadata, "attributes", name, value)
    refused(load, message)


@pytest.mark.parametrize(
    ("name", "tensor", "message"),
    [
        ("coefs_.0", np.zeros((4, 7)), r"coefs_, biases of layer 0: allowed is shape \(7,\) of float64, found \(6,\)"),
        ("coefs_.0", np.zeros((4, 6), np.float32), "layer 0: allowed is shape .* of float32, found .* of float64"),
        ("coefs_.0", np.zeros((4, 6), np.int64), "coefs_: allowed is an array of float of 2 dimensions"),
        ("coefs_.0", np.zeros((4, 6), np.float16), "coefs_: allowed is an array of float of 2 dimensions"),
        ("coefs_.0", np.zeros(24), r"coefs_: allowed .*found an array of float64 of shape \(24,\)"),
        ("coefs_.2", np.zeros((5, 0)), "coefs_: allowed are layers of 1 or more units and 3 outputs"),
        ("intercepts_.1", np.zeros(4), r"coefs_, biases of layer 1: allowed is shape \(5,\)"),
        ("classes_", np.zeros((3, 1)), "classes_: allowed is an array of labels"),
        ("classes_", np.array([0.0, 1.0, np.nan]), "coefs_|classes_"),
        ("classes_", np.array([1, 1, 2]), "classes_: allowed is an array of labels, sorted"),
        ("_optimizer.state", np.zeros((1, 70)), r"_optimizer: allowed is shape \(2, 83\), found \(1, 70\)"),
        ("history_.loss", np.zeros((2, 2)), "history_: loss: allowed is an array of float64"),
        ("other", np.zeros(3), r"there are tensors that nothing names: \['other'\]"),
        ("coefs_.0", None, "attributes coefs_: .*its tensor is missing"),
    ],
)
def test_tensors_are_checked(parts, name, tensor, message):
    _, tensors, load = parts
    if tensor is None:
        del tensors[name]
    else:
        assert name in tensors or name == "other"
        tensors[name] = tensor
    refused(load, message)


@pytest.mark.parametrize(
    "value", [None, 5, 1.5, "x", [], {"dict": []}, {"tuple": [1]}, {"float": "nan"}, {"objects": []}], ids=str
)
def test_any_other_value_of_any_name_is_refused_or_harmless(parts, value, tmp_path):
    metadata, tensors, _ = parts
    for key in ("parameters", "attributes"):
        for name in json.loads(metadata[key]):
            changed = dict(metadata)
            put(changed, key, name, value)
            used = set(re.findall(r'"tensor": "([^"]*)"', changed["parameters"] + changed["attributes"]))
            save_file({name: tensor for name, tensor in tensors.items() if name in used}, tmp_path / "file", changed)
            try:
                model = fastmlp.load(tmp_path / "file")
            except ValueError:
                continue
            model.predict(FRAME if "feature_names_in_" in vars(model) else X)


def test_a_perceptron_is_checked(tmp_path):
    metadata, tensors = storage.parts_of(Perceptron(max_iter=3).fit(X, THREE))
    for name, tensor, message in (
        ("coef_", np.zeros((1, 4)), r"coef_: allowed is shape \(3, 4\)"),
        ("intercept_", np.zeros(3, np.float32), r"intercept_: allowed is shape \(3,\) of float64"),
        ("n_mistakes_", np.zeros(2, int), r"n_mistakes_: allowed is shape \(3,\)"),
        ("classes_", np.zeros(1, int), "classes_, n_features_in_: allowed are 2 or more"),
    ):
        save_file({**tensors, name: tensor}, tmp_path / "changed", metadata)
        refused(lambda: fastmlp.load(tmp_path / "changed"), message)


def test_an_indicator_is_checked(tmp_path):
    metadata, tensors = storage.parts_of(regressor(missing="indicator").fit(WITH_NAN, POSITIVE))
    for features in ([0, 4], [-1, 2], [2, 0], [2, 2]):
        save_file({**tensors, "indicator_": np.array(features)}, tmp_path / "changed", metadata)
        refused(lambda: fastmlp.load(tmp_path / "changed"), "indicator_: allowed are features from 0 to 3, sorted")


def test_files_that_are_none(tmp_path):
    model, path = classifier().fit(X, TWO), tmp_path / "model"
    model.save(path)
    whole = path.read_bytes()
    for content in (b"", b"{}", whole[:7], whole[:200], whole[:-1], whole + b"\0", pickle.dumps(model), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="model' is not a whole safetensors file"):
            fastmlp.load(path)
    with pytest.raises(FileNotFoundError, match="nothing"):
        fastmlp.load(tmp_path / "nothing")
    with pytest.raises(OSError, match=re.escape(tmp_path.name)):  # of which kind is the system's business
        fastmlp.load(tmp_path)
    save_file({"weight": np.zeros(3)}, path)
    with pytest.raises(ValueError, match=r"model' is not what .*format in its metadata is None"):
        fastmlp.load(path)


def test_a_claimed_size_allocates_nothing(tmp_path):
    header = json.dumps(
        {
            "__metadata__": {"format": "fastmlp"},
            "coefs_.0": {"dtype": "F64", "shape": [10**6, 10**6], "data_offsets": [0, 8 * 10**12]},
        }
    ).encode()
    (tmp_path / "model").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 64)
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        fastmlp.load(tmp_path / "model")


# Writing


def test_what_is_written_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "model"
    classifier(alpha=0.5).fit(X, TWO).save(path)
    before = path.read_bytes()

    def fail(*args):
        raise OSError("no space left")

    other = classifier().fit(X, TWO)
    for name in ("replace", "fsync"):
        with monkeypatch.context() as patched:
            patched.setattr(files.os, name, fail)
            with pytest.raises(OSError, match="no space left"):
                other.save(path)
        assert [one.name for one in tmp_path.iterdir()] == ["model"]
        assert path.read_bytes() == before
    other.save(path)
    assert fastmlp.load(path).alpha == other.alpha != 0.5


DIES = """
import os, sys
from fastmlp import files
def die(descriptor):
    os._exit(7)
files.os.fsync = die
files.replace_file(sys.argv[1], b"half of it")
"""


def test_a_process_that_dies_leaves_the_old_file(tmp_path):
    path = tmp_path / "model"
    files.replace_file(path, b"old")
    assert subprocess.run([sys.executable, "-c", DIES, str(path)]).returncode == 7
    assert path.read_bytes() == b"old"
    files.replace_file(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")
def test_permissions_and_links_stay(tmp_path):
    path, link = tmp_path / "model", tmp_path / "link"
    files.replace_file(path, b"old")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    path.chmod(0o640)
    link.symlink_to(path)
    files.replace_file(link, b"new")
    assert link.is_symlink()
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o640)


def test_a_loaded_file_may_be_replaced(tmp_path):
    path = tmp_path / "model"
    classifier(alpha=0.5).fit(X, TWO).save(path)
    loaded = fastmlp.load(path)
    expected = loaded.predict_proba(X)
    classifier(random_state=1).fit(X, TWO).save(path)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected)


READS = """
import sys
import numpy as np
import fastmlp
model = fastmlp.load(sys.argv[1])
np.save(sys.argv[3], model.predict_proba(np.load(sys.argv[2])))
"""


def test_another_process_reads_it(tmp_path):
    model = classifier().fit(X, WORDS)
    model.save(tmp_path / "model")
    np.save(tmp_path / "X.npy", X)
    names = [str(tmp_path / name) for name in ("model", "X.npy", "out.npy")]
    subprocess.run([sys.executable, "-c", READS, *names], check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), model.predict_proba(X))


def test_without_the_extra(tmp_path, monkeypatch):
    for name in ("safetensors", "safetensors.numpy"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"save needs the extra 'files'.*pip install 'fastmlp\[files\]'"):
        classifier().fit(X, TWO).save(tmp_path / "model")
    with pytest.raises(ImportError, match="load needs the extra 'files'"):
        fastmlp.load(tmp_path / "model")


def test_import_needs_no_safetensors():
    code = "import sys; sys.modules['safetensors'] = None; import fastmlp; fastmlp.load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_step_of_a_pipeline(tmp_path):
    pipeline = make_pipeline(classifier()).fit(X, TWO)
    pipeline.steps[-1][1].save(tmp_path / "model")
    assert_same_predictions(fastmlp.load(tmp_path / "model"), pipeline, X)


# Files of the first release, written once


def test_files_of_the_first_release():
    expected = json.loads((DATA / "first_release.json").read_text())
    rows = np.array(expected["X"])
    model = fastmlp.load(DATA / "first_release_classifier.safetensors")
    assert model.predict(rows).tolist() == expected["labels"]
    np.testing.assert_allclose(model.predict_proba(rows), expected["probabilities"], rtol=1e-12)
    assert (model.alpha, model.hidden_layer_sizes) == (0.01, (3,))
    assert model.class_weight == {"cat": 1.0, "dog": 1, "emu": 3.0}
    assert model.partial_fit(np.tile(rows, (5, 1)), 5 * expected["labels"]).n_iter_ == 1
    model = fastmlp.load(DATA / "first_release_regressor.safetensors")
    np.testing.assert_allclose(model.predict(np.array(expected["X with NaN"], float)), expected["numbers"], rtol=1e-12)
    assert (model.missing, model.loss, len(model.loss_curve_)) == ("indicator", "huber", 5)


# Plain values


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, 0, -(2**80), 0.1, -0.0, math.inf, -math.inf, "", "\N{GREEK SMALL LETTER DELTA}\ud800\0", [], ()),
        *({}, {1: "a", "b": (1, [2.5]), None: {}, False: 1, 1.5: 0}, [(1,), [()]]),
        *(np.arange(3), np.zeros((2, 0), np.float32), np.array(2.5), np.array([True]), np.arange(6.0).reshape(2, 3).T),
        *(np.arange(3, dtype=">i4"), np.array(["a", "bcd"]), np.array([], "U5"), np.array(["a"], "U500")),
        *(np.array(["a", "bc"], object), {"a": np.arange(2), "b": [np.arange(3)]}, [np.arange(2), np.arange(3.0)]),
    ],
    ids=repr,
)
def test_plain_values_come_back(value):
    tensors = {}
    text = dumps(encode(value, "value", tensors))
    again = decode(loads(text), tensors)
    assert tensors == {}
    if isinstance(value, np.ndarray):
        value = value.astype(value.dtype.newbyteorder("="))
    assert_same(again, value)
    assert (
        math.copysign(1, again) == math.copysign(1, value) if isinstance(value, float) else type(again) is type(value)
    )


@pytest.mark.parametrize(
    "value",
    [1j, b"x", {1, 2}, np.array([1j]), np.array([None]), np.array([["a"]]), [1, (2, int)], {"a": print}],
    ids=str,
)
def test_other_values_are_no_plain_ones(value):
    with pytest.raises(TypeError, match=r"^name"):
        encode(value, "name", {})


def test_scalars_of_numpy_become_numbers():
    values = [np.float32(0.1), np.int8(3), np.bool_(True), np.str_("a"), np.float64("nan")]
    encoded = encode(values, "name", {})
    assert encoded == [float(np.float32(0.1)), 3, True, "a", {"float": "nan"}]
    assert [type(one) for one in encoded] == [float, int, bool, str, dict]
    assert math.isnan(decode(encoded, {})[-1])
