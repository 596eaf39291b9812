"""Losses as users of the estimators meet them."""

import copy

import numpy as np
import pytest
import pytorch
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_diabetes, load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
diabetes = load_diabetes(scaled=True)
LABELS = {
    "multiclass": (X, y),
    "binary": (X, np.where(y == 1, "versicolor", "another")),
    "multilabel": (X, np.column_stack([X[:, 0] > 0, X[:, 2] > 0.5, y == 1]).astype(int)),
}
CLASSIFICATION = [{"loss": "squared_error"}, {"loss": "hinge"}, {"label_smoothing": 0.1}]


def classifier(**settings):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": (8, 6), "max_iter": 200, "random_state": 0, **settings})


def regressor(**settings):
    settings = {"hidden_layer_sizes": (8,), "max_iter": 500, "tol": 0, "random_state": 0, "alpha": 0, **settings}
    return fastmlp.MLPRegressor(**settings, learning_rate_init=0.01)


@parametrize_with_checks(
    [
        fastmlp.MLPClassifier(loss="hinge"),
        fastmlp.MLPClassifier(loss="squared_error"),
        fastmlp.MLPClassifier(label_smoothing=0.1),
        fastmlp.MLPRegressor(loss="huber"),
        fastmlp.MLPRegressor(loss="quantile", quantile=0.8),
        fastmlp.MLPRegressor(loss="absolute_error"),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("settings", CLASSIFICATION, ids=str)
def test_classifiers_learn(settings, labels, solver):
    rows, wanted = LABELS[labels]
    model = classifier(**settings, solver=solver, learning_rate_init=0.02, early_stopping=False).fit(rows, wanted)
    assert (model.predict(rows) == wanted).mean() >= 0.9
    assert model.predict(rows).dtype == wanted.dtype


@pytest.mark.parametrize("labels", LABELS)
def test_smoothing_in_the_loss(labels):
    """The loss that is reported is that of the smoothed targets."""
    rows, wanted = LABELS[labels]
    settings = {"label_smoothing": 0.2, "alpha": 0, "batch_size": 150, "learning_rate_init": 1e-300, "max_iter": 1}
    model = classifier(**settings).fit(rows, wanted)
    p = model.predict_proba(rows)
    if labels == "multiclass":
        smooth = np.eye(3)[wanted] * 0.8 + 0.2 / 3
        expected = -(smooth * np.log(p)).sum(axis=1).mean()
    else:
        p = p[:, 1:] if labels == "binary" else p
        smooth = (model._label_encoder.encode(wanted, float)) * 0.8 + 0.1
        expected = -(smooth * np.log(p) + (1 - smooth) * np.log(1 - p)).sum(axis=1).mean()
    assert model.loss_ == pytest.approx(expected, rel=1e-10)


def test_smoothing_keeps_probabilities_from_the_ends():
    sharp, smooth = (classifier(label_smoothing=amount, solver="lbfgs", max_iter=2000) for amount in (0, 0.3))
    assert sharp.fit(X, y).predict_proba(X).max() > 0.999
    assert 0.7 < smooth.fit(X, y).predict_proba(X).max() < 0.95  # 0.8 is the target


def test_two_classes_have_the_squared_error_of_a_softmax():
    model = classifier(loss="squared_error", alpha=0, batch_size=150, learning_rate_init=1e-300, max_iter=1)
    p = model.fit(X, y == 1).predict_proba(X)
    both = ((p - np.eye(2)[(y == 1).astype(int)]) ** 2).sum(axis=1) / 2
    assert model.loss_ == pytest.approx(both.mean(), rel=1e-10)


def test_hinge_has_a_decision_function_and_no_probabilities():
    model = classifier(loss="hinge").fit(X, y)
    with pytest.raises(AttributeError, match="predict_proba"):
        model.predict_proba(X)
    assert not hasattr(model, "predict_log_proba")
    assert not hasattr(classifier(), "decision_function")  # scorers of scikit-learn would take it
    np.testing.assert_array_equal(model.classes_[model.decision_function(X).argmax(axis=1)], model.predict(X))
    binary = classifier(loss="hinge").fit(X, y == 1)
    np.testing.assert_array_equal(binary.decision_function(X) > 0, binary.predict(X))
    calibrated = CalibratedClassifierCV(classifier(loss="hinge"), cv=2).fit(X, y)
    assert calibrated.predict_proba(X).shape == (150, 3)


@pytest.mark.parametrize("settings", CLASSIFICATION, ids=str)
@pytest.mark.parametrize("labels", LABELS)
def test_early_stopping_scores_the_accuracy(settings, labels):
    rows, wanted = LABELS[labels]
    model = classifier(**settings, early_stopping=True, learning_rate_init=0.02).fit(rows, wanted)
    assert model.best_validation_score_ == max(model.validation_scores_) > 0.4


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_quantiles_have_so_many_targets_below(level, solver):
    model = regressor(loss="quantile", quantile=level, solver=solver).fit(diabetes.data * 10, diabetes.target / 100)
    below = np.mean(diabetes.target / 100 <= model.predict(diabetes.data * 10))
    assert below == pytest.approx(level, abs=0.05)


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_outliers_move_robust_losses_little(loss):
    rows = np.linspace(-1, 1, 200)[:, np.newaxis]
    wanted = rows[:, 0].copy()
    wanted[::10] += 30
    squared, robust = (regressor(loss=name).fit(rows, wanted).predict(rows) for name in ("squared_error", loss))
    truth = rows[:, 0]
    assert np.abs(robust - truth).mean() < 0.3 < 1 < np.abs(squared - truth).mean()


def test_huber_is_squared_error_where_delta_is_large():
    wanted = diabetes.target / 100
    squared, huber = (
        regressor(loss=loss, delta=1e6, max_iter=20).fit(diabetes.data, wanted) for loss in ("squared_error", "huber")
    )
    np.testing.assert_allclose(huber.loss_curve_, squared.loss_curve_, rtol=1e-10)


def test_gamma_is_positive():
    model = regressor(loss="gamma").fit(diabetes.data * 10, diabetes.target / 100)
    assert (model.predict(diabetes.data * 100) > 0).all()
    assert model.score(diabetes.data * 10, diabetes.target / 100) > 0.4


@pytest.mark.parametrize(
    ("estimator", "target", "message"),
    [
        (classifier(loss="log"), y, "'loss' parameter of MLPClassifier must be"),
        (classifier(label_smoothing=1.0), y, "'label_smoothing' parameter of MLPClassifier"),
        (
            classifier(label_smoothing=0.1, loss="hinge"),
            y,
            "label_smoothing=0.1 needs .*, got loss='hinge'",
        ),
        (regressor(loss="quantile", quantile=1.0), y, "'quantile' parameter of MLPRegressor"),
        (regressor(loss="huber", delta=0.0), y, "'delta' parameter of MLPRegressor"),
        (regressor(loss="gamma"), y, "loss='gamma' needs y > 0, got a y of 0"),
    ],
)
def test_errors_say_what_is_allowed(estimator, target, message):
    before = copy.deepcopy(vars(estimator))
    with pytest.raises(ValueError, match=message):
        estimator.fit(X, target)
    assert vars(estimator) == before


TORCH = {
    "absolute_error": ("L1Loss", {}),
    "huber": ("HuberLoss", {"delta": 1.0}),
    "squared_error": ("MSELoss", {}),
}


@pytest.mark.parametrize("loss", [*TORCH, "label_smoothing"])
def test_same_losses_as_pytorch(loss):
    torch = pytorch.import_torch()
    settings = {"solver": "sgd", "momentum": 0, "alpha": 0, "batch_size": 150, "shuffle": False, "tol": 0}
    settings |= {"hidden_layer_sizes": (8, 6), "random_state": 0, "activation": "tanh"}
    if loss == "label_smoothing":
        kind, settings["label_smoothing"], wanted = fastmlp.MLPClassifier, 0.1, y
        criterion, target = torch.nn.CrossEntropyLoss(label_smoothing=0.1), torch.from_numpy(y)
    else:
        kind, settings["loss"], wanted = fastmlp.MLPRegressor, loss, y + X[:, 0]
        criterion, target = getattr(torch.nn, TORCH[loss][0])(**TORCH[loss][1]), torch.from_numpy(wanted[:, np.newaxis])
    model = kind(**settings, learning_rate_init=0.1, max_iter=20).fit(X, wanted)
    start = kind(**settings, learning_rate_init=1e-300, max_iter=1).fit(X, wanted)
    half = 0.5 if loss == "squared_error" else 1.0
    losses = pytorch.full_batch_losses(
        start,
        X,
        "Tanh",
        lambda output: half * criterion(output, target),
        lambda weights, biases: torch.optim.SGD([*weights, *biases], lr=0.1),
    )
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-9)
