"""Weights of classes are weights of rows."""

import copy

import numpy as np
import pytest
import scipy.sparse
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastmlp import MLPClassifier, check_gradient

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:A column-vector y was passed"),
]

X, numbers = load_iris(return_X_y=True)
X, numbers = X[:120], numbers[:120]  # 20 of the last class
names = np.array(["setosa", "versicolor", "virginica"])[numbers]
several = np.column_stack([X[:, 0] > 5.5, X[:, 2] > 4.6, numbers == 1]).astype(int)
WEIGHTS = {
    "numbers": (numbers, {0: 1.0, 1: 0.5, 2: 4.0}),
    "names": (names, {"setosa": 0.0, "virginica": 3, "versicolor": 1}),
    "two": (numbers == 1, {False: 0.25, True: 2.0}),
    "a column": (numbers[:, np.newaxis] == 1, {0: 0.25, 1: 2.0}),
    "one class without a weight": (numbers, {2: 4.0, 1: 3.0}),
    "no class": (numbers, {}),
    "several labels": (several, [{0: 1, 1: 2}, {0: 0.5, 1: 1}, {0: 1, 1: 7}]),
    "sparse labels": (scipy.sparse.csr_matrix(several), [{0: 1, 1: 2}, {0: 0.5, 1: 1}, {0: 1, 1: 7}]),
    "balanced": (names, "balanced"),
    "balanced labels": (several, "balanced"),
    "balanced sparse labels": (scipy.sparse.csr_matrix(several), "balanced"),
}


def classifier(**settings):
    return MLPClassifier(**{"hidden_layer_sizes": (6,), "max_iter": 4, "random_state": 0, **settings})


def assert_same_model(one, other):
    assert one.loss_ == other.loss_
    for ours, expected in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", WEIGHTS)
def test_the_same_as_weights_of_rows(case, weighted):
    y, class_weight = WEIGHTS[case]
    own = np.linspace(0.5, 2, len(X)) if weighted else None
    rows = compute_sample_weight(class_weight, y) * (1 if own is None else own)
    unweighted = classifier().fit(X, y)
    ours = classifier(class_weight=class_weight).fit(X, y, sample_weight=own)
    assert_same_model(ours, classifier().fit(X, y, sample_weight=rows))
    assert (ours.loss_ == unweighted.loss_) == (case == "no class" and not weighted)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "hinge", "label_smoothing"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_with_every_loss_solver_and_kind_of_rows(make, dtype, solver, loss):
    settings = {"label_smoothing": 0.1} if loss == "label_smoothing" else {"loss": loss}
    settings |= {"solver": solver, "dtype": dtype}
    rows = compute_sample_weight("balanced", names)
    ours = classifier(class_weight="balanced", **settings).fit(make(X), names)
    assert_same_model(ours, classifier(**settings).fit(make(X), names, sample_weight=rows))


def test_warm_start():
    class_weight = {0: 1.0, 1: 0.5, 2: 4.0}
    ours, expected = classifier(warm_start=True, class_weight=class_weight), classifier(warm_start=True)
    for _ in range(2):
        ours.fit(X, numbers)
        expected.fit(X, numbers, sample_weight=compute_sample_weight(class_weight, numbers))
    assert_same_model(ours, expected)


@pytest.mark.parametrize("case", ["numbers", "several labels"])
def test_partial_fit_of_rows_that_lack_classes(case):
    y, class_weight = WEIGHTS[case]
    ours, expected = classifier(class_weight=class_weight), classifier()
    for first in (0, 40, 80):
        batch = slice(first, first + 40)
        single = y if y.ndim == 1 else np.ones(3)
        weight = np.ones(40)
        for column, known in zip(y[batch].reshape(40, -1).T, np.atleast_1d(class_weight), strict=True):
            weight *= [known[label] for label in column]
        ours.partial_fit(X[batch], y[batch], classes=np.unique(single) if first == 0 else None)
        expected.partial_fit(X[batch], y[batch], weight, classes=np.unique(single) if first == 0 else None)
    assert_same_model(ours, expected)


def test_held_out_rows_count_with_their_weights():
    """As those of HistGradientBoostingClassifier: the score is the weighted accuracy."""
    settings = {"early_stopping": True, "validation_fraction": 0.3, "max_iter": 1}
    ours = classifier(class_weight={0: 1.0, 1: 0.1, 2: 9.0}, **settings).fit(X, numbers)
    weight = compute_sample_weight(ours.class_weight, numbers)
    assert_same_model(ours, classifier(**settings).fit(X, numbers, sample_weight=weight))
    random_state = np.random.RandomState(0)
    classifier(max_iter=1, solver="lbfgs", random_state=random_state).fit(X, numbers)  # draws the weights only
    held_out = train_test_split(np.arange(len(X)), test_size=0.3, random_state=random_state)[1]
    score = accuracy_score(numbers[held_out], ours.predict(X[held_out]), sample_weight=weight[held_out])
    assert ours.best_validation_score_ == pytest.approx(score)
    assert score != pytest.approx(accuracy_score(numbers[held_out], ours.predict(X[held_out])))


@pytest.mark.parametrize("fitted", [False, True])
def test_gradient(fitted):
    model = classifier(class_weight="balanced", activation="tanh")
    assert check_gradient(model.fit(X, names) if fitted else model, X, names) < 1e-6


def test_validation_rows_of_the_user_count_as_they_are():
    settings = {"early_stopping": True, "max_iter": 3}
    ours = classifier(class_weight="balanced", **settings).fit(X, numbers, X_val=X[::2], y_val=numbers[::2])
    score = accuracy_score(numbers[::2], ours.predict(X[::2]))
    assert ours.best_validation_score_ == pytest.approx(score)
    assert score != pytest.approx(ours.score(X[::2], numbers[::2], compute_sample_weight("balanced", numbers[::2])))


def test_a_rare_class_is_found():
    random = np.random.default_rng(0)
    rows = np.concatenate([random.normal(0, 1, (500, 2)), random.normal(1.5, 1, (15, 2))])
    rare = np.arange(515) >= 500
    plain, balanced = (
        classifier(class_weight=weight, max_iter=100).fit(rows, rare).predict(rows)[rare].mean()
        for weight in (None, "balanced")
    )
    assert plain < 0.5 < 0.75 < balanced


def test_grid_search():
    grid = {"class_weight": [None, "balanced", {0: 1, 1: 2, 2: 3}]}
    search = GridSearchCV(classifier(max_iter=20), grid, cv=2, error_score="raise").fit(X, numbers)
    assert search.best_params_["class_weight"] in grid["class_weight"]


EQUIVALENCE = "'balanced' counts rows, not their weights, as scikit-learn's ensembles do"


# with lbfgs there is no partial_fit, which refuses "balanced"
@parametrize_with_checks(
    [MLPClassifier(class_weight="balanced", solver="lbfgs", alpha=1.0, max_iter=50)],
    expected_failed_checks=lambda estimator: {
        f"check_sample_weight_equivalence_on_{kind}_data": EQUIVALENCE for kind in ("dense", "sparse")
    },
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.parametrize("reference", [HistGradientBoostingClassifier, RandomForestClassifier])
@pytest.mark.parametrize("class_weight", [{0: 1, 1: 2, "another": 3}, {3: 1.0}, {"setosa": 2}])
def test_unknown_classes_raise_as_theirs(class_weight, reference):
    fitted = classifier().fit(X, numbers).set_params(class_weight=class_weight)
    before = copy.deepcopy(vars(fitted))
    with pytest.raises(ValueError, match="not in class_weight") as ours:
        fitted.fit(X, numbers)
    assert vars(fitted).keys() == before.keys()
    if reference is RandomForestClassifier:
        with pytest.raises(ValueError, match="not in class_weight") as expected:
            reference(class_weight=class_weight).fit(X, numbers)
        assert str(ours.value) == str(expected.value)
    else:
        with pytest.raises(ValueError, match="not in class_weight"):
            reference(class_weight=class_weight).fit(X, numbers)


@pytest.mark.parametrize(
    ("class_weight", "y", "message"),
    [
        ("even", numbers, "The 'class_weight' parameter of MLPClassifier must be .* Got 'even' instead"),
        (2.0, numbers, "The 'class_weight' parameter of MLPClassifier"),
        ([{0: 1, 1: 2, 2: 3}], numbers, "class_weight=.* y with 1 column: it must be a dict, or 'balanced'"),
        ({0: 1, 1: 2}, several, "class_weight=.* y with 3 columns: it must be a list of 3 dicts"),
        ([{0: 1, 1: 2}] * 2, several, "class_weight=.* y with 3 columns: it must be a list of 3 dicts"),
        ([{0: 1, 1: 2}] * 2 + [{2: 1}], several, "The classes, .* are not in class_weight"),
        ([{0: 1, 1: 2}] * 2 + [3], several, "class_weight=.* y with 3 columns: it must be a list of 3 dicts"),
        ([{0: 1, 1: 2}] * 2 + ["even"], several, "class_weight=.* y with 3 columns: it must be a list of 3 dicts"),
        ({0: 1, 1: -2, 2: 1}, numbers, "class_weight=.*-2.* must have finite weights >= 0"),
        ({0: 1, 1: np.nan, 2: 1}, numbers, "class_weight=.*nan.* must have finite weights >= 0"),
        ({0: 1, 1: np.inf, 2: 1}, numbers, "class_weight=.*inf.* must have finite weights >= 0"),
        ({0: 0, 1: 0, 2: 0}, numbers, "Sample weights must contain at least one non-zero number"),
    ],
    ids=lambda value: str(value) if not isinstance(value, np.ndarray) else None,
)
def test_bad_class_weights(class_weight, y, message):
    fitted = classifier().fit(X, y).set_params(class_weight=class_weight)
    before = copy.deepcopy(vars(fitted))
    with pytest.raises(ValueError, match=message):
        fitted.fit(X, y)
    objects = {"_optimizer": None, "_label_encoder": None}  # have no ==
    np.testing.assert_equal({**vars(fitted), **objects}, {**before, **objects})


@pytest.mark.parametrize(("class_weight", "y"), [("balanced", numbers), ([{0: 1, 1: 2}, "balanced", None], several)])
def test_balanced_partial_fit_says_what_to_do(class_weight, y):
    for model in (classifier(), classifier().fit(X, y)):
        with pytest.raises(
            ValueError, match=r"class_weight=.*balanced.* partial_fit.*compute_class_weight\('balanced'"
        ):
            model.set_params(class_weight=class_weight).partial_fit(X, y, classes=[0, 1, 2])
