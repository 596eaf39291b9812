"""Several columns of classes: a softmax for each."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.class_weight import compute_sample_weight

from fastmlp import MLPClassifier, check_gradient, reference
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import forward
from fastmlp.cpu.layout import BLOCK_ROWS, OUT_PANELS, OUTPUT, ROW_STRIDE, lanes_of
from fastmlp.network import Network, flatten, split_groups, unflatten
from fastmlp.training import device
from fastmlp.training.optimizers import Update

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, species = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
size = np.digitize(X[:, 0], [-1, 0, 1])
y = np.column_stack([species, size, X[:, 1] > 0])  # of 3, 4 and 2 classes
names = np.column_stack([np.array(["setosa", "versicolor", "virginica"])[species], np.array(list("smlx"))[size]])
mixed = np.empty((150, 2), object)
mixed[:, 0], mixed[:, 1] = size, names[:, 0]
LOSSES = [{}, {"label_smoothing": 0.2}, {"loss": "hinge"}]
ADAM = Update("adam", (0.01, 0.9, 0.99, 1e-8), 0)


def classifier(**settings):
    defaults = {"hidden_layer_sizes": (12,), "max_iter": 5, "random_state": 0, "learning_rate_init": 0.02}
    return MLPClassifier(**{**defaults, **settings})


def assert_same_model(one, other, rtol=0.0):
    for ours, expected in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=rtol, atol=rtol)


def train(kind, network, rows, targets, weight, parameters, n_threads=1):
    dtype = parameters[0][0].dtype
    with kind(network, dtype, n_threads) as engine:
        engine.load(rows, targets, weight)
        engine.set_parameters(*parameters)
        engine.set_state(np.zeros((2, network.n_parameters), dtype))
        order = np.random.default_rng(1).permutation(targets.shape[0])
        losses = [engine.run_epoch(order, 64, 0.1, ADAM._replace(step=16 * epoch)) for epoch in range(3)]
        return losses, flatten(*engine.get_parameters()), engine.forward(rows)


def problem(groups, n_rows, dtype):
    random = np.random.default_rng(0)
    network = Network((5, 9, sum(groups)), ("tanh", "softmax"), "grouped_log_loss", groups=groups)
    parameters = unflatten(random.normal(0, 0.5, network.n_parameters).astype(dtype), network.widths)
    targets = np.hstack([np.eye(size)[random.integers(size, size=n_rows)] for size in groups])
    weight = random.uniform(0.5, 2, n_rows)
    rows = random.normal(size=(n_rows, 5))
    return network, *(array.astype(dtype) for array in (rows, targets, weight)), parameters


@pytest.mark.parametrize("kind", [Engine, reference.Engine])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_classes", [2, 3, 20])
def test_one_group_is_the_ordinary_softmax(n_classes, dtype, kind):
    network, rows, targets, weight, parameters = problem((n_classes,), 1000, dtype)
    ordinary = Network(network.widths, network.activations, "log_loss")
    numbers = targets.argmax(axis=1)[:, np.newaxis].astype(dtype)
    ours = train(kind, network, rows, targets, weight, parameters)
    expected = train(kind, ordinary, rows, numbers, weight, parameters)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9 if dtype == np.float64 else 2e-3, atol=1e-5)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("groups", [(3, 4, 2), (1, 2), (1, 1, 30), (16, 16), (7, 8, 9, 10)])
def test_the_same_as_the_reference(groups, dtype, n_threads):
    network, rows, targets, weight, parameters = problem(groups, 2 * BLOCK_ROWS + 7, dtype)
    for samples in (rows, scipy.sparse.csr_array(np.where(rows > 0, rows, 0))):
        ours = train(Engine, network, samples, targets, weight, parameters, n_threads)
        expected = train(reference.Engine, network, samples, targets, weight, parameters)
        for one, other in zip(ours, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-8 if dtype == np.float64 else 5e-3, atol=1e-4)
        for part in split_groups(ours[2], groups):
            np.testing.assert_allclose(part.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(dtype):
    network, rows, targets, weight, parameters = problem((3, 4, 2), 2 * BLOCK_ROWS + 7, dtype)
    one, two = (train(Engine, network, rows, targets, weight, parameters, n_threads) for n_threads in (1, 2))
    for alone, together in zip(one, two, strict=True):
        np.testing.assert_array_equal(alone, together)


@pytest.mark.parametrize("groups", [(3, 4, 2), (17,), (1, 2)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_lanes_beyond_the_outputs_stay_zero(dtype, groups):
    network, rows, targets, weight, parameters = problem(groups, 40, dtype)
    with Engine(network, dtype, 1) as engine:
        engine.load(rows, targets, weight)
        engine.set_parameters(*parameters)
        engine.set_state(np.zeros((2, network.n_parameters), dtype))
        engine.run_epoch(np.arange(40), 40, 0.1, ADAM)
        record, lanes = engine._layout.layers[-1], lanes_of(dtype)
        last = record[OUTPUT] + (record[OUT_PANELS] - 1) * engine._layout.plan[ROW_STRIDE]
        block = engine._layout.memory[last : last + 40 * lanes].reshape(40, lanes)
    used = (sum(groups) - 1) % lanes + 1
    assert (block[:, :used] != 0).any()
    assert not block[:, used:].any()


@pytest.mark.parametrize("kind", [Engine, reference.Engine])
def test_gradient_against_finite_differences(kind):
    network, rows, targets, weight, parameters = problem((3, 1, 4, 2), 13, np.float64)
    targets = 0.8 * targets + 0.1 * (targets == 0)
    targets = np.hstack([part / part.sum(axis=1, keepdims=True) for part in split_groups(targets, network.groups)])
    flat, step = flatten(*parameters), 1e-6
    with kind(network, np.dtype(np.float64)) as engine:
        engine.load(rows, targets, weight)
        _, gradient = engine.loss_and_gradient(flat, 0.1)
        for number in range(flat.size):
            moved = np.eye(1, flat.size, number)[0] * step
            losses = [engine.loss_and_gradient(flat + change, 0.1)[0] for change in (-moved, moved)]
            assert (losses[1] - losses[0]) / (2 * step) == pytest.approx(gradient[number], rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_few_rows_give_the_bits_of_many(dtype):
    network, rows, _, _, parameters = problem((3, 4, 2), 3000, dtype)
    many = forward(network, *parameters, rows, 2)
    np.testing.assert_array_equal(forward(network, *parameters, rows[:3]), many[:3])
    np.testing.assert_allclose(many, reference.forward(network, *parameters, rows), rtol=1e-4)
    raw = forward(network, *parameters, rows[:3], raw=True)
    np.testing.assert_allclose(raw, reference.forward(network, *parameters, rows[:3], raw=True), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("settings", LOSSES, ids=str)
def test_learns(settings, solver):
    more = {"learning_rate_init": 0.1} if solver == "sgd" else {}
    model = classifier(solver=solver, max_iter=300, **settings, **more).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == y.shape
    assert predicted.dtype == y.dtype
    assert ((predicted == y).mean(axis=0) > 0.9).all()
    assert model.score(X, y) == (predicted == y).all(axis=1).mean()
    assert model.n_outputs_ == 9
    assert [list(known) for known in model.classes_] == [[0, 1, 2], [0, 1, 2, 3], [0, 1]]


@pytest.mark.usefixtures("each_engine")
def test_probabilities():
    model = classifier(max_iter=100).fit(X, y)
    forest = RandomForestClassifier(5, random_state=0).fit(X, y)
    ours, expected = model.predict_proba(X), forest.predict_proba(X)
    assert isinstance(ours, list)
    assert [one.shape for one in ours] == [other.shape for other in expected]
    for target, probability in enumerate(ours):
        np.testing.assert_allclose(probability.sum(axis=1), 1)
        best = model.classes_[target][probability.argmax(axis=1)]
        np.testing.assert_array_equal(best, model.predict(X)[:, target])
        np.testing.assert_array_equal(model.predict_log_proba(X)[target], np.log(probability))
    for row in (X[:1], X[:3].tolist(), scipy.sparse.csr_matrix(X[:3])):
        for one, whole in zip(model.predict_proba(row), ours, strict=True):
            np.testing.assert_allclose(one, whole[: len(one)])


def test_logarithms_of_probabilities_that_round_to_zero():
    model = classifier(max_iter=100).fit(X, y)
    model.coefs_[1] *= 1000
    raw = model._forward(X, raw=True)
    logarithms = model.predict_log_proba(X)
    assert min(part.min() for part in model.predict_proba(X)) == 0
    for ours, part in zip(logarithms, split_groups(raw, (3, 4, 2)), strict=True):
        np.testing.assert_allclose(ours, log_softmax(part, axis=1), rtol=1e-9, atol=1e-12)


def test_decision_function_of_the_hinge():
    model = classifier(loss="hinge", max_iter=50).fit(X, y)
    scores = model.decision_function(X)
    assert [one.shape for one in scores] == [(150, 3), (150, 4), (150, 2)]
    for target, score in enumerate(scores):
        np.testing.assert_array_equal(score.argmax(axis=1), model.predict(X)[:, target])
    assert not hasattr(model, "predict_proba")


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_loss_is_the_sum_over_the_targets(smoothing):
    settings = {"alpha": 0, "batch_size": 150, "learning_rate_init": 1e-300, "max_iter": 1}
    weight = np.linspace(0.5, 2, 150)
    model = classifier(label_smoothing=smoothing, **settings).fit(X, y, sample_weight=weight)
    rows = 0
    for column, probability in zip(y.T, model.predict_proba(X), strict=True):
        n_classes = probability.shape[1]
        wanted = np.eye(n_classes)[column] * (1 - smoothing) + smoothing / n_classes
        rows = rows - (wanted * np.log(probability)).sum(axis=1)
    assert model.loss_ == pytest.approx(np.average(rows, weights=weight), rel=1e-10)


@pytest.mark.parametrize(
    ("labels", "dtype"), [(names, "<U10"), (names.astype(object), "O"), (mixed, "O"), (y.astype(float), "f8")]
)
def test_kinds_of_labels(labels, dtype):
    model = classifier(max_iter=200).fit(X, labels)
    predicted = model.predict(X)
    assert predicted.dtype == dtype
    assert (predicted == labels).all(axis=1).mean() == model.score(X, labels) > 0.8
    for known, column in zip(model.classes_, labels.T, strict=True):
        assert list(known) == sorted(set(column))


def test_frames_and_sparse_labels():
    frame = pd.DataFrame({"size": size, "species": names[:, 0]})
    model = classifier().fit(pd.DataFrame(X, columns=list("abcd")), frame)
    assert [known.dtype.kind for known in model.classes_] == ["i", "O"]
    assert model.score(pd.DataFrame(X, columns=list("abcd")), frame) == classifier().fit(X, mixed).score(X, mixed)
    sparse = classifier().fit(X, scipy.sparse.csr_matrix(y))
    assert_same_model(sparse, classifier().fit(X, y))
    assert sparse.score(X, scipy.sparse.csr_matrix(y)) == sparse.score(X, y)


def test_two_columns_of_zero_and_one_stay_multilabel():
    model = classifier().fit(X, y[:, [2, 2]])
    assert isinstance(model.predict_proba(X), np.ndarray)
    assert model.out_activation_ == "logistic"


def test_score_with_weights_and_other_shapes():
    model = classifier().fit(X, y)
    right = (model.predict(X) == y).all(axis=1)
    weight = np.linspace(0, 1, 150)
    assert model.score(X, y, weight) == pytest.approx(np.average(right, weights=weight))
    assert isinstance(model.score(X, y.tolist()), float)
    with pytest.raises(ValueError, match=r"y has shape \(150, 2\), but what is predicted for X has \(150, 3\)"):
        model.score(X, y[:, :2])
    with pytest.raises(NotFittedError):
        classifier().score(X, y)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("settings", LOSSES, ids=str)
def test_early_stopping_scores_whole_rows(settings):
    model = classifier(early_stopping=True, max_iter=1, validation_fraction=0.3, **settings).fit(X, y)
    random_state = np.random.RandomState(0)
    clone(model).set_params(solver="lbfgs", random_state=random_state, early_stopping=False).fit(X, y)
    held_out = train_test_split(np.arange(150), test_size=0.3, random_state=random_state)[1]
    assert model.best_validation_score_ == pytest.approx(model.score(X[held_out], y[held_out]))
    assert 0 < model.best_validation_score_ < 1


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("settings", LOSSES, ids=str)
def test_validation_rows(settings):
    model = classifier(early_stopping=True, max_iter=3, scoring="loss", **settings)
    model.fit(X, y, X_val=X[::2], y_val=y[::2])
    best = int(np.argmin(model.validation_loss_curve_)) + 1
    again = classifier(max_iter=best, **settings).fit(X, y)
    if model.loss == "hinge":
        scores = again.decision_function(X[::2])
        rows = sum(
            np.maximum(0, 1 - (2 * np.eye(len(known))[column] - 1) * score).sum(axis=1)
            for known, column, score in zip(again.classes_, y[::2].T, scores, strict=True)
        )
    else:
        rows = 0
        for column, probability in zip(y[::2].T, again.predict_proba(X[::2]), strict=True):
            n_classes = probability.shape[1]
            wanted = np.eye(n_classes)[column] * (1 - model.label_smoothing) + model.label_smoothing / n_classes
            rows = rows - (wanted * np.log(probability)).sum(axis=1)
    assert min(model.validation_loss_curve_) == pytest.approx(np.mean(rows), rel=1e-9)
    with pytest.raises(ValueError, match="X_val, y_val: `y` has classes not in"):
        model.fit(X, y, X_val=X, y_val=y + 1)


@pytest.mark.usefixtures("each_engine")
def test_gradients():
    model = classifier(activation="tanh").fit(X, names)
    assert check_gradient(model, X, names) < 1e-6
    assert check_gradient(classifier(activation="tanh", label_smoothing=0.2), X, y) < 1e-6
    step = 1e-6
    for column, label, unit in ((0, "virginica", 2), (1, "l", 3)):
        gradient = model.input_gradient(X[:5], (column, label))
        for feature in range(4):
            moved = np.eye(1, 4, feature) * step
            slope = model._forward(X[:5] + moved, raw=True) - model._forward(X[:5] - moved, raw=True)
            np.testing.assert_allclose(gradient[:, feature], slope[:, unit] / (2 * step), rtol=1e-5, atol=1e-8)
    for wrong in (None, "virginica", (2, "l"), (0, "l"), (0,)):
        with pytest.raises(ValueError, match="output must be"):
            model.input_gradient(X, wrong)


@pytest.mark.parametrize("class_weight", ["balanced", [{0: 1, 1: 2, 2: 3}, {0: 1, 1: 1, 2: 2, 3: 5}, {0: 1, 1: 0.5}]])
def test_class_weight(class_weight):
    ours = classifier(class_weight=class_weight).fit(X, y)
    assert_same_model(ours, classifier().fit(X, y, sample_weight=compute_sample_weight(class_weight, y)))


@pytest.mark.parametrize("labels", [y, names, mixed])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_partial_fit(labels, dtype):
    """The batches lack classes; the last one has only 0 and 1 where the labels are numbers."""
    settings = {"dtype": dtype, "shuffle": False, "batch_size": 50}
    classes = [sorted(set(column)) for column in labels.T]
    order = np.argsort(species, kind="stable")[::-1]
    ours = classifier(**settings)
    for first in (0, 50, 100):
        batch = order[first : first + 50]
        ours.partial_fit(X[batch], labels[batch], classes=classes if first != 50 else None)
    for known, expected in zip(ours.classes_, classes, strict=True):
        assert list(known) == expected
    whole = classifier(**settings, max_iter=1).fit(X[order], labels[order])
    assert_same_model(ours, whole, rtol=1e-4 if dtype == "float32" else 1e-9)


def test_warm_start():
    ours = classifier(warm_start=True, max_iter=3, shuffle=False).fit(X, y)
    first = copy.deepcopy(ours.coefs_)
    ours.fit(X, y)
    assert len(ours.loss_curve_) == 6
    assert ours.loss_curve_[3] < ours.loss_curve_[0]
    assert not np.array_equal(first[0], ours.coefs_[0])
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        ours.fit(X[:50], y[:50])
    with pytest.raises(ValueError, match=r"y has 2 column\(s\) of classes, but `self.classes_` has 3"):
        ours.fit(X, y[:, :2])


def test_same_bits_in_fits_with_one_and_two_threads():
    one, two = (classifier(n_threads=n_threads, batch_size=100).fit(X, y) for n_threads in (1, 2))
    assert_same_model(one, two)
    assert one.loss_curve_ == two.loss_curve_


def test_grid_search_and_pickle():
    def whole_rows(model, rows, labels):
        return (model.predict(rows) == labels).all(axis=1).mean()

    for scoring in (whole_rows, None):
        search = GridSearchCV(classifier(max_iter=30), {"alpha": [1e-4, 1.0]}, scoring=scoring, cv=3)
        search.fit(X[::-1][np.random.default_rng(0).permutation(150)], y)
        assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    model = search.best_estimator_
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


@pytest.mark.parametrize("settings", [{"dropout": 0.2}, {"augment": {"mixup": 0.4}}, {"l1_ratio": 0.5}], ids=str)
def test_regularised_as_in_the_reference(settings, monkeypatch):
    settings = {**settings, "class_weight": "balanced"}
    ours = classifier(**settings).fit(X, y)
    monkeypatch.setattr(device, "make_engine", reference.Engine)
    np.testing.assert_allclose(ours.loss_curve_, classifier(**settings).fit(X, y).loss_curve_, rtol=1e-8)


def test_missing():
    rows = np.where(np.arange(4) == 1, np.nan, X)
    assert_same_model(classifier(missing="zero").fit(rows, y), classifier().fit(np.nan_to_num(rows), y))


@pytest.mark.parametrize(
    ("settings", "method", "labels", "keywords", "message"),
    [
        ({"loss": "squared_error"}, "fit", y, {}, "loss='squared_error' does not go with .*, and y has 3: take loss"),
        ({}, "fit", np.column_stack([y, X[:, 0]]), {}, "Unknown label type: continuous-multioutput"),
        ({}, "fit", np.column_stack([mixed, X[:, 0]]), {}, "Unknown label type: continuous"),
        ({}, "partial_fit", y, {}, "classes must be passed on the first call to partial_fit"),
        ({}, "partial_fit", y, {"classes": [0, 1, 2]}, r"classes=\[0, 1, 2\]` does not fit y with 3 column"),
        ({}, "partial_fit", y, {"classes": [[0, 1, 2]] * 2}, "does not fit y with 3 column"),
        ({}, "partial_fit", species, {"classes": [[0, 1, 2]] * 2}, "does not fit y with 1 column"),
        ({}, "partial_fit", y, {"classes": [[0, 1]] * 3}, "`y` has classes not in `self.classes_`"),
        ({"class_weight": {0: 1, 1: 2}}, "fit", y, {}, "class_weight=.* must be a list of 3 dicts"),
    ],
)
def test_errors_before_any_work(settings, method, labels, keywords, message):
    model = classifier(**settings)
    before = copy.deepcopy(vars(model))
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(X, labels, **keywords)
    assert vars(model) == before


@pytest.mark.parametrize(
    ("first", "then", "keywords", "message"),
    [
        (y, species, {}, r"y has 1 column\(s\) of classes, but `self.classes_` has 3"),
        (y, y[:, :2], {}, r"y has 2 column\(s\) of classes, but `self.classes_` has 3"),
        (species, y, {}, r"y has 3 column\(s\) of classes, but `self.classes_` has 1"),
        (y, y + 1, {}, "has classes not in `self.classes_`"),
        (y, y, {"classes": [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2]]}, "is not the same as on last call to partial_fit"),
        (y, y, {"classes": [0, 1, 2]}, "is not the same as on last call to partial_fit"),
    ],
)
def test_errors_of_further_training(first, then, keywords, message):
    model = classifier().fit(X, first)
    kept = vars(model).copy()
    with pytest.raises(ValueError, match=message):
        model.partial_fit(X, then, **keywords)
    assert vars(model).items() == kept.items()


def test_other_loss_set_after_the_fit():
    model = classifier().fit(X, y).set_params(loss="squared_error")
    with pytest.raises(ValueError, match="loss='squared_error' does not go with several columns"):
        model.predict(X)
