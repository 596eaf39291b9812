"""Estimators and pipelines in files of skops, which asks to trust each class in them."""

import pickle

import numpy as np
import pytest
import skops.io
from scipy.sparse import csr_matrix, issparse
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, Perceptron

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(80, 4))
TWO = (X[:, 0] > 0).astype(int)
THREE = TWO + (X[:, 1] > 0.5)
WORDS = np.array(["low", "middle", "high"])[THREE]
COLUMNS = np.column_stack([TWO, X[:, 1] > 0, X[:, 2] > 0]).astype(int)
WITH_NAN = np.where(X > 1, np.nan, X)
NAMES = {
    MLPClassifier: "fastmlp.estimators.classifier.MLPClassifier",
    MLPRegressor: "fastmlp.estimators.regressor.MLPRegressor",
    Perceptron: "fastmlp.estimators.perceptron.Perceptron",
}
SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
WEIGHTS = {"low": 2, "middle": 1, "high": 1}
CASES = {
    "binary": (MLPClassifier(**SETTINGS), X, TWO),
    "words": (
        MLPClassifier(
            **SETTINGS, early_stopping=True, keep_optimizer=True, class_weight={"low": 2, "middle": 1, "high": 1}
        ),
        X,
        WORDS,
    ),
    "multilabel": (MLPClassifier(**SETTINGS), X, COLUMNS),
    "sparse multilabel": (MLPClassifier(**SETTINGS), X, csr_matrix(COLUMNS)),
    "multioutput": (MLPClassifier(**SETTINGS), X, np.column_stack([THREE, TWO + 3])),
    "lbfgs": (MLPClassifier(**SETTINGS, solver="lbfgs"), X, WORDS),
    "float32": (MLPRegressor(**SETTINGS, loss="huber"), X.astype(np.float32), X[:, 0]),
    "adaptive": (MLPRegressor(**SETTINGS, solver="sgd", learning_rate="adaptive", keep_optimizer=True), X, X[:, :2]),
    "indicator": (MLPRegressor(**SETTINGS, missing="indicator", solver="nadam"), WITH_NAN, X[:, 0]),
    "generator": (MLPRegressor(**SETTINGS | {"random_state": np.random.RandomState(0)}), X, X[:, 0]),
    "Perceptron": (Perceptron(max_iter=5), X, WORDS),
}


@pytest.fixture(params=CASES)
def case(request):
    model, rows, y = CASES[request.param]
    return pickle.loads(pickle.dumps(model)).fit(rows, y), rows, y


def assert_same_output(ours, theirs, rows):
    one, other = (model.predict(rows) for model in (ours, theirs))
    assert one.dtype == other.dtype
    assert issparse(one) == issparse(other)
    np.testing.assert_array_equal(*(labels.toarray() if issparse(labels) else labels for labels in (one, other)))
    for method in ("predict_proba", "decision_function"):
        if hasattr(theirs, method):
            one, other = (getattr(model, method)(rows) for model in (ours, theirs))
            for part, expected in zip(one, other, strict=True):  # rows, or arrays of several columns of classes
                np.testing.assert_array_equal(part, expected)


def test_only_the_estimator_has_to_be_trusted(case, tmp_path):
    model, rows, y = case
    skops.io.dump(model, tmp_path / "model.skops")
    names = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert names == [NAMES[type(model)]]
    loaded = skops.io.load(tmp_path / "model.skops", trusted=names)
    assert_same_output(loaded, model, rows)
    expected = pickle.loads(pickle.dumps(model))
    for one in (loaded, expected):
        for _ in range(2):
            if hasattr(one, "partial_fit"):
                one.partial_fit(rows, y)
        one.set_params(warm_start=True).fit(rows, y)
    assert_same_output(loaded, expected, rows)


def test_a_stream_keeps_its_best_weights():
    model = MLPClassifier(**SETTINGS, early_stopping=True, tol=1.0)
    for _ in range(3):
        model.partial_fit(X, THREE, classes=[0, 1, 2])
    loaded = skops.io.loads(skops.io.dumps(model), trusted=[NAMES[MLPClassifier]])
    assert model._best_parameters is not None
    for one, other in zip(loaded._best_parameters, model._best_parameters, strict=True):
        for array, expected in zip(one, other, strict=True):
            np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("make", [make_pipeline, lambda model: make_pipeline(StandardScaler(), model)])
def test_pipelines(make):
    pipeline = make(MLPClassifier(**SETTINGS)).fit(X, WORDS)
    data = skops.io.dumps(pipeline)
    assert skops.io.get_untrusted_types(data=data) == [NAMES[MLPClassifier]]
    loaded = skops.io.loads(data, trusted=[MLPClassifier])
    assert_same_output(loaded, pipeline, X)
    loaded.fit(X, WORDS)
    assert_same_output(loaded, pipeline, X)


def test_a_network_amid_a_pipeline_and_in_a_search():
    search = GridSearchCV(make_pipeline(MLPRegressor(**SETTINGS), MLPClassifier(**SETTINGS)), {}, cv=2).fit(X, TWO)
    data = skops.io.dumps(search.best_estimator_)
    assert skops.io.get_untrusted_types(data=data) == [NAMES[MLPClassifier], NAMES[MLPRegressor]]
    assert_same_output(skops.io.loads(data, trusted=list(NAMES)), search, X)


def test_an_estimator_that_is_not_fitted():
    data = skops.io.dumps(MLPClassifier(**SETTINGS))
    loaded = skops.io.loads(data, trusted=[NAMES[MLPClassifier]])
    assert loaded.get_params() == MLPClassifier(**SETTINGS).get_params()
    assert_same_output(loaded.fit(X, TWO), MLPClassifier(**SETTINGS).fit(X, TWO), X)


def test_pickles_of_before_are_read():
    """They hold the objects themselves."""
    model = MLPClassifier(**SETTINGS, keep_optimizer=True).fit(X, WORDS)
    other = object.__new__(MLPClassifier)
    other.__setstate__(dict(vars(model)))
    assert other._optimizer is model._optimizer
    assert_same_output(other, model, X)


def test_a_pickle_has_the_classes_once():
    model = MLPClassifier(**SETTINGS).fit(X, WORDS)
    again = pickle.loads(pickle.dumps(model))
    assert again._label_encoder.classes is again.classes_
    assert pickle.dumps(again).count("middle".encode("utf-32-le")) == 1
