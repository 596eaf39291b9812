"""Rosenblatt's perceptron against the algorithm as published, in plain NumPy, and against its theory."""

import io
import pickle
import pydoc
import subprocess
import sys

import joblib
import numpy as np
import pandas as pd
import pytest
from scipy.sparse import coo_matrix, csr_array
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp.training.perceptron
from fastmlp import Perceptron

ignore_convergence = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris()
X, y = np.rint(IRIS.data * 10), IRIS.target  # whole numbers, so that all sums are exact, in any order
XOR = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], float)

FORMATS = {"dense": np.asarray, "CSR": csr_array}


def published(X, y, max_iter, orders=None):
    """Return weights, biases and mistakes per epoch, of one perceptron after another."""
    classes = np.unique(y)
    wanted = classes[1:] if len(classes) == 2 else classes
    coef, intercept = np.zeros((len(wanted), X.shape[1]), X.dtype), np.zeros(len(wanted), X.dtype)
    n_mistakes, n_iter = np.zeros(max_iter, int), 0
    for k, label in enumerate(wanted):
        for epoch in range(max_iter):
            before = n_mistakes[epoch]
            for i in range(len(X)) if orders is None else orders[epoch]:
                error = int(y[i] == label) - int(coef[k] @ X[i] + intercept[k] > 0)
                coef[k] += error * X[i]
                intercept[k] += error
                n_mistakes[epoch] += error != 0
            n_iter = max(n_iter, epoch + 1)
            if n_mistakes[epoch] == before:
                break
    return coef, intercept, n_mistakes[:n_iter]


def assert_same(model, expected):
    coef, intercept, n_mistakes = expected
    np.testing.assert_array_equal(model.coef_, coef)
    np.testing.assert_array_equal(model.intercept_, intercept)
    np.testing.assert_array_equal(model.n_mistakes_, n_mistakes)
    assert model.n_iter_ == len(n_mistakes)
    assert {model.coef_.dtype, model.intercept_.dtype} == {coef.dtype}


def separable(random, n_features=3, n_samples=60):
    """Return rows, labels and a separating (w, b), of which no row is nearer than a tenth of its length."""
    separator = random.normal(size=n_features + 1)
    rows = random.normal(size=(10 * n_samples, n_features))
    distance = np.c_[rows, np.ones(len(rows))] @ separator / np.linalg.norm(separator)
    rows, distance = rows[abs(distance) > 0.1][:n_samples], distance[abs(distance) > 0.1][:n_samples]
    return rows, (distance > 0).astype(int), separator


@parametrize_with_checks([Perceptron(), Perceptron(shuffle=True, random_state=1)])
@ignore_convergence
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_steps_computed_by_hand():
    """The conjunction; it has rows with w.x + b = 0, which do not fire."""
    model = Perceptron().fit(XOR, [0, 0, 0, 1])
    assert model.n_mistakes_.tolist() == [1, 3, 3, 2, 1, 0]
    assert model.coef_.tolist() == [[2, 1]]
    assert model.intercept_.tolist() == [-2]
    np.testing.assert_array_equal(model.decision_function(XOR), [-2, -1, 0, 1])
    assert model.predict(XOR).tolist() == [0, 0, 0, 1]


@ignore_convergence
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    "labels", [y, np.where(y == 0, "a", "b"), np.where(y == 2, 5, -1)], ids=["three", "separable", "not separable"]
)
def test_iris_as_published(dtype, form, shuffle, labels):
    rows = X.astype(dtype)
    random_state = np.random.RandomState(3)
    orders = [random_state.permutation(len(rows)) for _ in range(40)] if shuffle else None
    model = Perceptron(max_iter=40, shuffle=shuffle, random_state=3).fit(FORMATS[form](rows), labels)
    assert_same(model, published(rows, labels, 40, orders))
    np.testing.assert_array_equal(model.classes_, np.unique(labels))


@ignore_convergence
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_real_numbers_as_published(random, dtype, form, n_classes):
    """An addition rounds the same everywhere, so the weights are the same bits as long as the decisions are."""
    rows = random.normal(size=(80, 20)).astype(dtype)
    labels = np.argmax(rows[:, :n_classes] + 0.3 * random.normal(size=(80, n_classes)), axis=1)
    assert_same(Perceptron(max_iter=30).fit(FORMATS[form](rows), labels), published(rows, labels, 30))


@ignore_convergence
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMATS)
def test_each_number_of_features(random, dtype, form):
    """From one to two registers and one more."""
    for n_features in range(1, 34):
        rows = random.integers(-3, 4, size=(20, n_features)).astype(dtype)
        for n_classes in (2, 3):
            labels = np.arange(20) % n_classes
            model = Perceptron(max_iter=5).fit(FORMATS[form](rows), labels)
            assert_same(model, published(rows, labels, 5))
            scores = rows @ model.coef_.T + model.intercept_
            np.testing.assert_array_equal(model.decision_function(FORMATS[form](rows)).reshape(scores.shape), scores)


def test_separable_classes_end_without_a_mistake(random):
    rows, labels, _ = separable(random)
    model = Perceptron().fit(rows, labels)
    assert model.n_mistakes_[-1] == 0
    assert (model.n_mistakes_[:-1] > 0).all()
    assert 1 < model.n_iter_ < 1000
    assert model.score(rows, labels) == 1
    corners = np.array([[0, 5], [0, 6], [5, 0], [6, 0], [-5, -5], [-6, -5]], float)
    three = Perceptron().fit(corners, [0, 0, 1, 1, 2, 2])
    assert three.n_mistakes_[-1] == 0
    np.testing.assert_array_equal(three.decision_function(corners) > 0, np.repeat(np.eye(3, dtype=bool), 2, axis=0))


@pytest.mark.parametrize("shuffle", [False, True])
def test_novikoffs_bound(random, shuffle):
    for n_features in (1, 2, 3, 10):
        rows, labels, separator = separable(random, n_features)
        longer = np.c_[rows, np.ones(len(rows))]
        radius = np.linalg.norm(longer, axis=1).max()
        margin = ((2 * labels - 1) * (longer @ separator)).min() / np.linalg.norm(separator)
        assert margin > 0
        model = Perceptron(max_iter=100_000, shuffle=shuffle, random_state=0).fit(rows, labels)
        assert 0 < model.n_mistakes_.sum() <= (radius / margin) ** 2


@pytest.mark.parametrize("shuffle", [False, True])
def test_exclusive_or_never_converges(shuffle):
    with pytest.warns(ConvergenceWarning, match="[1-4] mistakes in the last of max_iter=200 epochs"):
        model = Perceptron(max_iter=200, shuffle=shuffle, random_state=0).fit(XOR, [0, 1, 1, 0])
    assert model.n_iter_ == len(model.n_mistakes_) == 200
    assert (model.n_mistakes_ > 0).all()


def test_last_epoch_without_a_mistake_is_no_reason_to_warn():
    assert Perceptron(max_iter=6).fit(XOR, [0, 0, 0, 1]).n_mistakes_[-1] == 0
    with pytest.warns(ConvergenceWarning, match="1 mistakes in the last of max_iter=5 epochs"):
        Perceptron(max_iter=5).fit(XOR, [0, 0, 0, 1])


@ignore_convergence
def test_each_perceptron_stops_on_its_own(monkeypatch):
    learning = []

    def run_epoch(*arguments):
        learning.append(arguments[-1].tolist())
        return original(*arguments)

    original = fastmlp.training.perceptron.perceptron.run_epoch
    monkeypatch.setattr(fastmlp.training.perceptron.perceptron, "run_epoch", run_epoch)
    three = Perceptron(max_iter=30).fit(X, y)
    # Only the first of these flowers is separable from the others.
    alone = [Perceptron(max_iter=30).fit(X, y == label) for label in range(3)]
    assert 1 < alone[0].n_iter_ < alone[1].n_iter_ == alone[2].n_iter_ == 30
    assert learning[:30] == [[0, 1, 2]] * alone[0].n_iter_ + [[1, 2]] * (30 - alone[0].n_iter_)
    np.testing.assert_array_equal(three.coef_, np.concatenate([one.coef_ for one in alone]))
    assert three.n_mistakes_.sum() == sum(one.n_mistakes_.sum() for one in alone)


@ignore_convergence
@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("labels", [y, (y == 0) * 1, (y == 1) * 1], ids=["three", "separable", "not separable"])
def test_partial_fits_are_a_fit(form, labels):
    rows = FORMATS[form](X)
    whole = Perceptron(max_iter=20).fit(rows, labels)
    parts = Perceptron().partial_fit(rows, labels, classes=np.unique(labels)[::-1])
    for _ in range(whole.n_iter_ - 1):
        parts.partial_fit(rows, labels)
    assert_same(parts, (whole.coef_, whole.intercept_, whole.n_mistakes_))
    np.testing.assert_array_equal(parts.classes_, whole.classes_)


def test_partial_fit_row_by_row_and_without_a_warning():
    """One epoch is what all its rows do one after another; not every class has to be in each part."""
    whole = Perceptron().partial_fit(X, y, classes=[0, 1, 2])
    rows = Perceptron()
    for i in range(len(X)):
        rows.partial_fit(X[i : i + 1], y[i : i + 1], classes=[0, 1, 2])
    np.testing.assert_array_equal(rows.coef_, whole.coef_)
    np.testing.assert_array_equal(rows.intercept_, whole.intercept_)
    assert rows.n_iter_ == len(rows.n_mistakes_) == len(X)
    assert rows.n_mistakes_.sum() == whole.n_mistakes_.sum() > 0


@ignore_convergence
def test_warm_start_goes_on_and_fit_begins_anew():
    once = Perceptron(max_iter=5).fit(X, y)
    ten = Perceptron(max_iter=10).fit(X, y)
    warm = clone(once).set_params(warm_start=True).fit(X, y).fit(X, y)
    assert_same(warm, (ten.coef_, ten.intercept_, ten.n_mistakes_[5:]))
    assert_same(once.fit(X, y), published(X, y, 5))


@ignore_convergence
def test_random_state_draws_the_orders():
    def coef(**settings):
        return Perceptron(max_iter=3, **settings).fit(X, y).coef_.tolist()

    assert coef(shuffle=True, random_state=1) == coef(shuffle=True, random_state=1)
    assert coef(shuffle=True, random_state=1) != coef(shuffle=True, random_state=2)
    assert coef(random_state=1) == coef(random_state=2) == coef()


@ignore_convergence
def test_dtypes():
    X32 = X.astype(np.float32)
    for passed, expected in [(X, "float64"), (X32, "float32"), (X.astype(int), "float64"), (X.tolist(), "float64")]:
        model = Perceptron(max_iter=3).fit(passed, y)
        assert model.coef_.dtype == model.intercept_.dtype == model.decision_function(passed).dtype == expected
    narrow, wide = Perceptron(max_iter=3).fit(X32, y), Perceptron(max_iter=3).fit(X, y)
    for model, rows in ((narrow, X), (wide, X32)):
        assert model.decision_function(rows).dtype == np.float64
        np.testing.assert_array_equal(model.decision_function(rows), wide.decision_function(X))
    assert narrow.partial_fit(X, y).coef_.dtype == np.float32
    assert wide.partial_fit(X32, y).coef_.dtype == np.float64


@ignore_convergence
def test_decisions_and_labels():
    two, three = Perceptron(max_iter=9).fit(X, np.where(y == 1, "b", "a")), Perceptron(max_iter=9).fit(X, y)
    scores = X @ two.coef_[0] + two.intercept_[0]
    np.testing.assert_array_equal(two.decision_function(X), scores)
    np.testing.assert_array_equal(two.predict(X), np.where(scores > 0, "b", "a"))
    scores = X @ three.coef_.T + three.intercept_
    np.testing.assert_array_equal(three.decision_function(X), scores)
    np.testing.assert_array_equal(three.predict(X), scores.argmax(axis=1))
    assert two.coef_.shape == (1, 4)
    assert two.decision_function(X).shape == (150,)
    assert three.coef_.shape == (3, 4)
    assert three.score(X, y) == np.mean(three.predict(X) == y)


@ignore_convergence
def test_other_forms_of_the_same_rows(tmp_path):
    model = Perceptron(max_iter=5).fit(X, y)
    read_only = X.copy()
    read_only.flags.writeable = False
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))
    for rows in (np.asfortranarray(X), read_only, X.astype(">f8"), coo_matrix(X), np.repeat(X, 2, axis=0)[::2]):
        assert_same(Perceptron(max_iter=5).fit(rows, y), (model.coef_, model.intercept_, model.n_mistakes_))
        np.testing.assert_array_equal(model.predict(rows), model.predict(X))
    goes_on = model.partial_fit(X, y)
    np.testing.assert_array_equal(mapped.partial_fit(X, y).coef_, goes_on.coef_)


@ignore_convergence
@pytest.mark.parametrize("copy", ["pickle", "joblib"])
def test_training_goes_on_after_a_pickle(copy):
    model = Perceptron(max_iter=3).fit(X, y)
    if copy == "pickle":
        other = pickle.loads(pickle.dumps(model))
    else:
        buffer = io.BytesIO()
        joblib.dump(model, buffer)
        buffer.seek(0)
        other = joblib.load(buffer)
    np.testing.assert_array_equal(other.predict(X), model.predict(X))
    model.partial_fit(X, y)
    assert_same(other.partial_fit(X, y), (model.coef_, model.intercept_, model.n_mistakes_))


@ignore_convergence
def test_feature_names():
    frame = pd.DataFrame(X, columns=list("abcd"))
    model = Perceptron(max_iter=3).fit(frame, y)
    assert list(model.feature_names_in_) == list("abcd")
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame.rename(columns={"a": "z"}))
    assert not hasattr(model.fit(X, y), "feature_names_in_")


@ignore_convergence
def test_every_parameter_and_attribute_is_documented():
    text = pydoc.render_doc(Perceptron, renderer=pydoc.plaintext)
    names = [*Perceptron().get_params(), *(name for name in vars(Perceptron().fit(X, y)) if name.endswith("_"))]
    assert [name for name in names if f"{name} : " not in text] == []


def test_import_compiles_nothing():
    code = (
        "import fastmlp; from fastmlp.cpu import perceptron; "
        "assert not perceptron.run_epoch.signatures and not perceptron.preactivations.signatures"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def raises_and_keeps(method, *arguments, match, changed=None, settings=None, **keywords):
    """Check the error of a fitted estimator, which must stay what it was."""
    model = Perceptron(max_iter=5, **(settings or {})).fit(X, y).set_params(**(changed or {}))
    before, attributes = pickle.dumps(vars(model)), dict(vars(model))
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(*arguments, **keywords)
    assert pickle.dumps(attributes) == before
    assert vars(model).keys() == attributes.keys()
    assert all(vars(model)[name] is value for name, value in attributes.items())


BAD_DATA = {
    "NaN": (np.where(X > 70, np.nan, X), y, "Input X contains NaN"),
    "infinity": (np.where(X > 70, np.inf, X), y, "Input X contains infinity"),
    "NaN in CSR": (csr_array(np.where(X > 70, np.nan, X)), y, "Input X contains NaN"),
    "one dimension": (X[:, 0], y, "Expected 2D array, got 1D array"),
    "no rows": (X[:0], y[:0], "Found array with 0 sample"),
    "too few y": (X, y[:-1], "inconsistent numbers of samples"),
    "no y": (X, None, "requires y to be passed"),
    "several columns": (X, np.c_[y, y], "y should be a 1d array"),
    "fractions": (X, X[:, 0] / 7, "Unknown label type: continuous"),
    "complex": (X * 1j, y, "Complex data not supported"),
}


@ignore_convergence
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data(method, case):
    *data, match = BAD_DATA[case]
    raises_and_keeps(method, *data, match=match)
    new = Perceptron()
    with pytest.raises(ValueError, match=match):
        getattr(new, method)(*data, **({"classes": [0, 1, 2]} if method == "partial_fit" else {}))
    assert vars(new) == vars(Perceptron())


@ignore_convergence
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"max_iter": 0}, "The 'max_iter' parameter of Perceptron must be an int in the range .* Got 0 instead"),
        ({"max_iter": 2.5}, "The 'max_iter' parameter of Perceptron must be an int .* Got 2.5 instead"),
        ({"shuffle": "yes"}, "The 'shuffle' parameter of Perceptron must be .* Got 'yes' instead"),
        ({"random_state": "seed"}, "The 'random_state' parameter of Perceptron .* Got 'seed' instead"),
        ({"warm_start": 3}, "The 'warm_start' parameter of Perceptron .* Got 3 instead"),
    ],
    ids=str,
)
def test_bad_parameters(method, settings, match):
    raises_and_keeps(method, X, y, changed=settings, match=match)


def test_parameters_by_keyword_only():
    with pytest.raises(TypeError, match="positional"):
        Perceptron(10)


@ignore_convergence
@pytest.mark.parametrize("settings", [{"warm_start": True}, {}], ids=["fit", "partial_fit"])
def test_other_data_in_a_further_fit(settings):
    method = "fit" if settings else "partial_fit"
    raises_and_keeps(method, X[:, :3], y, settings=settings, match="X has 3 features, but Perceptron is expecting 4")
    match = "same classes as in the previous call" if settings else "`y` has classes not in `self.classes_`"
    raises_and_keeps(method, X, y + 1, settings=settings, match=match)


@ignore_convergence
def test_classes():
    raises_and_keeps("fit", X, np.full(len(X), "only"), match=r"y must have .* 2 .* got 1 class: \['only'\]")
    raises_and_keeps("partial_fit", X, y, classes=[0, 1], match="not the same as on last call to partial_fit")
    for classes, match in [
        (None, "classes must be passed on the first call to partial_fit"),
        ([0], r"classes must have at least 2 different labels, got 1 class: \[0\]"),
        ([0, 0], r"classes must have at least 2 different labels, got 1 class: \[0\]"),
        ([[0, 1, 2]], r"classes must be a list of labels, got \[\[0, 1, 2\]\]"),
        ("012", "classes must be a list of labels, got '012'"),
        ([0, 1], "`y` has classes not in"),
    ]:
        new = Perceptron()
        with pytest.raises(ValueError, match=match):
            new.partial_fit(X, y, classes=classes)
        assert vars(new) == vars(Perceptron())
    assert new.partial_fit(X, y, classes=[2, 0, 1]).classes_.tolist() == [0, 1, 2]


def test_column_of_labels_warns():
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        model = Perceptron().fit(X, (y == 0)[:, np.newaxis])
    assert model.predict(X).shape == y.shape


@ignore_convergence
@pytest.mark.parametrize("form", FORMATS)
def test_products_too_large(form):
    large = X.copy()
    large[:, 1] = 1e200
    match = r"w.x \+ b is no longer finite in float64 in epoch 1: the values of X are too large"
    raises_and_keeps("fit", FORMATS[form](large), y, match=match)
    raises_and_keeps("partial_fit", FORMATS[form](large), y, match=match)
    narrow = Perceptron(max_iter=3).fit(FORMATS[form](X.astype(np.float32)), y)
    with pytest.raises(ValueError, match="Input X contains infinity or a value too large for dtype"):
        narrow.partial_fit(FORMATS[form](large), y)


def test_not_fitted():
    for method in ("predict", "decision_function"):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            getattr(Perceptron(), method)(X)


@ignore_convergence
def test_bad_rows_in_prediction():
    model = Perceptron(max_iter=3).fit(X, y)
    for rows, match in [(X[:, :3], "X has 3 features"), (X[0], "Expected 2D array"), ([[np.nan] * 4], "contains NaN")]:
        with pytest.raises(ValueError, match=match):
            model.predict(rows)
