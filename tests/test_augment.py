"""Rows that are changed as they are gathered for a step."""

import copy
import pickle

import conftest
import numba
import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.model_selection import GridSearchCV

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
ALL = [{"jitter": 0.3}, {"drop_features": 0.2}, {"mixup": 0.3}, {"jitter": 0.1, "drop_features": 0.1, "mixup": 0.5}]


def classifier(**settings):
    settings = {"hidden_layer_sizes": (20,), "max_iter": 100, "random_state": 0, "learning_rate_init": 0.02, **settings}
    return fastmlp.MLPClassifier(**settings)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize(
    "labels", [y, y == 1, np.column_stack([y == 0, y == 1]).astype(int)], ids=["three", "two", "many"]
)
@pytest.mark.parametrize("augment", ALL, ids=str)
def test_classifiers_learn(augment, labels):
    model = classifier(augment=augment).fit(X, labels)
    assert model.score(X, labels) > 0.9
    assert classifier(augment=augment).fit(X, labels).loss_curve_ == model.loss_curve_
    assert classifier(augment=augment, random_state=1).fit(X, labels).loss_curve_ != model.loss_curve_


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("augment", ALL, ids=str)
def test_regressors_learn(augment):
    rows, wanted = load_diabetes(return_X_y=True, scaled=True)
    settings = {"hidden_layer_sizes": (20,), "random_state": 0, "max_iter": 200, "learning_rate_init": 0.01}
    model = fastmlp.MLPRegressor(**settings, augment=augment).fit(rows * 20, wanted / 100)
    assert model.score(rows * 20, wanted / 100) > 0.35


def test_jitter_of_a_linear_model_is_a_ridge_penalty():
    """Bishop (1995): noise of variance v adds v times the squared weights to the expected squared error."""
    wanted = 2 * X[:, 2] - X[:, 1]
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "alpha": 0, "batch_size": "full", "max_iter": 20000}
    settings |= {"learning_rate": "cosine", "learning_rate_init": 0.02, "random_state": 0, "n_iter_no_change": 10**6}
    model = fastmlp.MLPRegressor(**settings, augment={"jitter": 0.5}).fit(X, wanted)
    exact = np.linalg.solve(X.T @ X + 150 * 0.5**2 * np.eye(4), X.T @ (wanted - wanted.mean()))
    np.testing.assert_allclose(model.coefs_[0][:, 0], exact, atol=0.03)


def test_dropped_features_of_a_linear_model_are_a_ridge_penalty():
    """The expected squared error with a part p of the numbers set to 0 is quadratic in the weights."""
    wanted, p = 2 * X[:, 2] - X[:, 1], 0.3
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "alpha": 0, "batch_size": "full", "max_iter": 20000}
    settings |= {"learning_rate": "cosine", "learning_rate_init": 0.02, "random_state": 0, "n_iter_no_change": 10**6}
    model = fastmlp.MLPRegressor(**settings, augment={"drop_features": p}).fit(X, wanted)
    moments = X.T @ X
    expected = (1 - p) ** 2 * moments + p * (1 - p) * np.diag(np.diag(moments))
    exact = np.linalg.solve(expected, (1 - p) * X.T @ (wanted - wanted.mean()))
    np.testing.assert_allclose(model.coefs_[0][:, 0], exact, atol=0.03)


def test_mixup_makes_a_classifier_less_sure():
    sharp, mixed = (classifier(augment=augment, max_iter=300).fit(X, y) for augment in (None, {"mixup": 1.0}))
    assert mixed.predict_proba(X).max(axis=1).mean() < sharp.predict_proba(X).max(axis=1).mean() - 0.02


def test_weights_are_mixed_too():
    """Rows without weight have no say, also when they are mixed with others."""
    weight = np.where(y == 2, 0.0, 1.0)
    model = classifier(augment={"mixup": 0.2}).fit(X, y, sample_weight=weight)
    assert (model.predict(X) != 2).mean() > 0.6
    assert np.isfinite(model.loss_)


def test_held_out_rows_stay_as_they_are():
    settings = {"early_stopping": True, "max_iter": 3, "learning_rate_init": 1e-300}
    scores = [classifier(**settings, augment=augment).fit(X, y).validation_scores_ for augment in (None, *ALL)]
    assert all(score == scores[0] for score in scores)


SHIFT = 2


def move_cyclically(row, uniform):
    """Move all features by one place in half of the rows, without a further array."""
    if uniform[0] < 0.5:
        last = row[-1]
        for i in range(row.size - 1, 0, -1):
            row[i] = row[i - 1]
        row[0] = last


def add_noise(row, uniform):
    for i in range(row.size):
        row[i] += SHIFT * (uniform[i] - 0.5)


def count_features(row, uniform):
    row[0] = 0
    for _ in range(row.size):
        row[0] += uniform.size


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_features", [1, 7, 8, 17, 33])
@pytest.mark.parametrize("function", [move_cyclically, add_noise, numba.njit(add_noise)], ids=["move", "noise", "njit"])
def test_function_of_ones_own_against_the_reference(function, n_features, dtype, monkeypatch):
    rows = np.random.default_rng(0).normal(size=(300, n_features)).astype(dtype)
    wanted = rows[:, 0].astype(np.float64)
    settings = {"hidden_layer_sizes": (5,), "activation": "tanh", "batch_size": 60, "max_iter": 3, "random_state": 0}
    model = fastmlp.MLPRegressor(**settings, augment={"function": function, "jitter": 0.1})
    ours = [model.set_params(n_threads=n_threads).fit(rows, wanted).loss_curve_ for n_threads in (1, 2)]
    assert ours[0] == ours[1]
    conftest.use_reference(monkeypatch)
    rtol = 1e-10 if dtype == np.float64 else 1e-4
    np.testing.assert_allclose(ours[0], model.fit(rows, wanted).loss_curve_, rtol=rtol)


@pytest.mark.usefixtures("each_engine")
def test_function_sees_whole_rows():
    """With nothing else left of the features, the first one is the square of their number."""
    rows = np.random.default_rng(0).normal(size=(40, 5))
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "learning_rate_init": 1e-300, "max_iter": 1, "alpha": 0}
    plain = fastmlp.MLPRegressor(**settings, random_state=0).fit(rows, np.zeros(40))
    rows[:, 0] = 25
    expected = (plain.predict(rows) ** 2).mean() / 2
    model = fastmlp.MLPRegressor(**settings, random_state=0, augment=count_features).fit(rows, np.zeros(40))
    assert model.loss_ == pytest.approx(expected, rel=1e-12)


def test_function_with_other_changes_and_in_pickles():
    model = classifier(augment={"function": add_noise, "mixup": 0.2, "drop_features": 0.1}, max_iter=20).fit(X, y)
    again = clone(pickle.loads(pickle.dumps(model))).fit(X, y)
    assert again.loss_curve_ == model.loss_curve_
    assert model.score(X, y) > 0.8


def test_function_that_raises_ends_the_fit():
    def fails(row, uniform):
        if uniform[0] < 0.5:
            raise ValueError("no")

    with pytest.raises(ValueError, match="non-finite"):
        classifier(augment=fails).fit(X, y)


def test_search_over_augmentations():
    grid = {"augment": [None, {"jitter": 0.1}, {"mixup": 0.2}]}
    assert GridSearchCV(classifier(max_iter=5), grid, cv=2, error_score="raise").fit(X, y).best_score_ > 0.5


@pytest.mark.parametrize(
    ("settings", "rows", "error", "message"),
    [
        ({"augment": {"noise": 0.1}}, X, ValueError, "augment must have names out of .*'jitter'.*, got 'noise'"),
        ({"augment": {"jitter": 0}}, X, ValueError, r"augment\['jitter'\] must be finite and > 0, got 0"),
        ({"augment": {"drop_features": 1}}, X, ValueError, r"augment\['drop_features'\] must be .* in \(0, 1\), got 1"),
        ({"augment": {"mixup": np.inf}}, X, ValueError, r"augment\['mixup'\] must be finite"),
        ({"augment": {"mixup": "a"}}, X, TypeError, r"augment\['mixup'\] must be a number, got 'a'"),
        ({"augment": {"function": 3}}, X, TypeError, r"augment\['function'\] must be a function of two arrays, got 3"),
        (
            {"augment": lambda row: None},
            X,
            ValueError,
            "augment: <lambda> cannot be compiled: .* two arrays by position",
        ),
        ({"augment": lambda row, uniform: np.sort(row)}, X, ValueError, "augment: <lambda> cannot be compiled"),
        ({"augment": "jitter"}, X, ValueError, "'augment' parameter of MLPClassifier must be"),
        ({"augment": {"jitter": 0.1}, "solver": "lbfgs"}, X, ValueError, "solver='lbfgs' has no augment"),
        ({"augment": {"jitter": 0.1}}, csr_array(X), ValueError, "augment=.* needs dense X, got a sparse matrix"),
        ({"augment": {"mixup": 0.1}, "loss": "hinge"}, X, ValueError, "augment=.* mixes labels, .* loss='hinge'"),
    ],
)
def test_errors_name_both_sides(settings, rows, error, message):
    model = classifier().fit(X, y).set_params(**settings)
    before = copy.copy(vars(model))
    with pytest.raises(error, match=message):
        model.fit(rows, y)
    assert vars(model) == before
