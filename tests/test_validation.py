"""Validation rows: their loss and scores after each epoch, and stopping by them."""

import copy
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from scipy.special import xlogy
from sklearn import config_context, metrics
from sklearn.datasets import load_diabetes, load_iris
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.fixes import parse_version

import fastmlp
from fastmlp.cpu.engine import Engine
from fastmlp.formulas.losses import LOSSES
from fastmlp.network import Network
from fastmlp.reference import row_losses

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
order = np.random.default_rng(0).permutation(150)
X, y = X[order], y[order]
multilabel = np.column_stack([X[:, 0] > 0, X[:, 2] > 0.5, y == 1]).astype(int)
diabetes = load_diabetes(scaled=True)
D, d = diabetes.data[:150] * 10, diabetes.target[:150] / 100
TRAIN, VAL = slice(0, 100), slice(100, 150)
WEIGHT = np.random.default_rng(1).uniform(0.1, 3, 50)


def classifier(**settings):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": (8, 6), "max_iter": 5, "random_state": 0, **settings})


def regressor(**settings):
    return fastmlp.MLPRegressor(**{"hidden_layer_sizes": (8, 6), "max_iter": 5, "random_state": 0, **settings})


def clipped_log(p):
    return np.log(np.clip(p, np.finfo(p.dtype).eps, 1 - np.finfo(p.dtype).eps))


def smoothed(t, p, amount, classes):
    t = t * (1 - amount) + amount / classes
    return -(t * clipped_log(p) + ((1 - t) * clipped_log(1 - p) if classes == 2 else 0)).sum(axis=1)


# estimator, X, y, and the loss of each row from the estimator and targets: one column for each output
CASES = {
    "log_loss": (classifier(), X, y, lambda m, X, t: smoothed(np.eye(3)[t[:, 0]], m.predict_proba(X), 0, 3)),
    "dropout": (  # only in training
        classifier(dropout=0.5),
        X,
        y,
        lambda m, X, t: smoothed(np.eye(3)[t[:, 0]], m.predict_proba(X), 0, 3),
    ),
    "binary": (classifier(), X, y == 1, lambda m, X, t: smoothed(t, m.predict_proba(X)[:, 1:], 0, 2)),
    "multilabel": (classifier(), X, multilabel, lambda m, X, t: smoothed(t, m.predict_proba(X), 0, 2)),
    "smoothed": (
        classifier(label_smoothing=0.2),
        X,
        y,
        lambda m, X, t: smoothed(np.eye(3)[t[:, 0]], m.predict_proba(X), 0.2, 3),
    ),
    "smoothed multilabel": (
        classifier(label_smoothing=0.2),
        X,
        multilabel,
        lambda m, X, t: smoothed(t, m.predict_proba(X), 0.2, 2),
    ),
    "Brier": (
        classifier(loss="squared_error"),
        X,
        y,
        lambda m, X, t: ((np.eye(3)[t[:, 0]] - m.predict_proba(X)) ** 2).sum(axis=1) / 2,
    ),
    "binary Brier": (
        classifier(loss="squared_error"),
        X,
        y == 1,
        lambda m, X, t: ((t - m.predict_proba(X)[:, 1:]) ** 2).sum(axis=1),
    ),
    "hinge": (
        classifier(loss="hinge"),
        X,
        y,
        lambda m, X, t: np.maximum(0, 1 - (2 * np.eye(3)[t[:, 0]] - 1) * m.decision_function(X)).sum(axis=1),
    ),
    "squared_error": (regressor(), D, d, lambda m, X, t: (t - m.predict(X)[:, None])[:, 0] ** 2 / 2),
    "two outputs": (regressor(), D, np.c_[d, -d], lambda m, X, t: ((t - m.predict(X)) ** 2).mean(axis=1) / 2),
    "poisson": (
        regressor(loss="poisson"),
        D,
        np.floor(d),
        lambda m, X, t: (xlogy(t, t / m.predict(X)[:, None]) - t + m.predict(X)[:, None])[:, 0],
    ),
    "gamma": (
        regressor(loss="gamma"),
        D,
        d,
        lambda m, X, t: -np.log(t[:, 0] / m.predict(X)) + t[:, 0] / m.predict(X) - 1,
    ),
    "absolute_error": (regressor(loss="absolute_error"), D, d, lambda m, X, t: np.abs(t[:, 0] - m.predict(X))),
    "huber": (
        regressor(loss="huber", delta=0.7),
        D,
        d,
        lambda m, X, t: np.where((r := np.abs(t[:, 0] - m.predict(X))) <= 0.7, r**2 / 2, 0.7 * (r - 0.35)),
    ),
    "quantile": (
        regressor(loss="quantile", quantile=0.8),
        D,
        d,
        lambda m, X, t: np.maximum(0.8 * (t[:, 0] - m.predict(X)), -0.2 * (t[:, 0] - m.predict(X))),
    ),
}


def targets_of(wanted):
    return wanted if wanted.ndim == 2 else wanted[:, np.newaxis]


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["alike", "weighted"])
@pytest.mark.parametrize("kind", ["float64", "float32", "CSR"])
@pytest.mark.parametrize("case", CASES)
def test_validation_loss_is_the_mean_loss_of_the_rows(case, kind, weight):
    model, rows, wanted, losses = CASES[case]
    rows = scipy.sparse.csr_matrix(rows) if kind == "CSR" else rows.astype(kind)
    model = copy.deepcopy(model).fit(
        rows[TRAIN], wanted[TRAIN], X_val=rows[VAL], y_val=wanted[VAL], sample_weight_val=weight
    )
    expected = np.average(losses(model, rows[VAL], targets_of(wanted[VAL])), weights=weight)
    assert len(model.validation_loss_curve_) == 5
    assert model.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-5 if kind == "float32" else 1e-10)
    assert model.history_["validation_loss"] == model.validation_loss_curve_
    assert all(type(number) is float for number in model.validation_loss_curve_)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("case", ["log_loss", "multilabel", "two outputs"])
def test_held_out_rows_have_a_validation_loss(case):
    model, rows, wanted, losses = CASES[case]
    expected = []

    def follow(estimator, X, y):
        expected.append(losses(estimator, X, targets_of(y)).mean())
        return 0.0

    weight = np.linspace(0.5, 2, 150)  # a callable that takes none gets none, the loss does
    model = copy.deepcopy(model).set_params(early_stopping=True, scoring=follow).fit(rows, wanted)
    np.testing.assert_allclose(model.validation_loss_curve_, expected, rtol=1e-10)
    plain = copy.deepcopy(model).set_params(scoring=None).fit(rows, wanted)
    assert plain.validation_loss_curve_ == model.validation_loss_curve_
    assert plain.set_params(early_stopping=False).fit(rows, wanted).validation_loss_curve_ is None
    weighted = model.set_params(scoring=None).fit(rows, wanted, sample_weight=weight)
    assert weighted.validation_loss_curve_[0] != plain.history_["loss"][0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [1, 3, 20])
@pytest.mark.parametrize("loss", [*LOSSES, "log_loss", "soft_log_loss", "softmax_squared_error"])
def test_the_compiled_loss_is_that_of_the_reference(loss, outputs, dtype, random):
    network = Network((2, outputs), ("softmax",), loss, 0.7)
    engine = Engine(network, np.dtype(dtype), 1)
    for rows in (1, 15, 16, 17, 33):
        output = random.uniform(0.05, 0.95, (rows, outputs)).astype(dtype)
        targets = random.uniform(0.05, 0.95, (rows, outputs)).astype(dtype)
        if loss == "log_loss":
            targets = random.integers(0, outputs, (rows, 1)).astype(dtype)
        elif loss in ("binary_log_loss", "hinge"):
            targets = np.round(targets)
        weight = random.uniform(0.1, 1, rows).astype(dtype)
        for weights in (None, weight):
            expected = np.average(row_losses(loss, targets, output, 0.7), weights=weights)
            assert engine.mean_loss(output, targets, weights) == pytest.approx(
                expected, rel=1e-5 if dtype == "float32" else 1e-12
            )


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("case", ["squared_error", "absolute_error", "hinge"])
def test_loss_of_outputs_that_are_not_finite(case, value):
    from fastmlp.training import device

    engine = device.make_engine(Network((2, 1), ("identity",), case), np.dtype("float64"), 1)
    loss = engine.mean_loss(np.array([[value], [0.5]]), np.array([[1.0], [1.0]]), None)
    if case == "hinge" and value == np.inf:
        assert loss == 0.25
    elif np.isnan(value):
        assert np.isnan(loss)
    else:
        assert loss == np.inf


@pytest.mark.usefixtures("each_engine")
def test_scores_of_outputs_that_are_not_finite():
    """exp overflows for the validation rows: the training goes on, no scorer is called."""
    model = regressor(loss="poisson", scoring=["neg_max_error", "loss"], activation="identity")
    model.fit(D[TRAIN], d[TRAIN], X_val=D[VAL] * 1e6, y_val=d[VAL])
    assert np.isnan(model.history_["validation_neg_max_error"]).all()
    assert not np.isfinite(model.validation_loss_curve_).any()
    model.set_params(early_stopping=True, n_iter_no_change=2, max_iter=50)
    with pytest.warns(sklearn.exceptions.ConvergenceWarning, match="No epoch had a finite validation score"):
        model.fit(D[TRAIN], d[TRAIN], X_val=D[VAL] * 1e6, y_val=d[VAL])
    assert model.n_iter_ == 3  # NaN is no improvement


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("make", [classifier, regressor])
def test_rows_only_followed_change_nothing(make):
    model, followed = (make(n_iter_no_change=2, tol=0.05, max_iter=100) for _ in range(2))
    model.fit(X, y)
    followed.fit(X, y, X_val=X[VAL], y_val=y[VAL])
    assert followed.loss_curve_ == model.loss_curve_
    assert followed.best_loss_ == model.best_loss_
    assert followed.validation_scores_ is None
    assert followed.best_validation_score_ is None
    for ours, expected in zip(followed.coefs_, model.coefs_, strict=True):
        np.testing.assert_array_equal(ours, expected)
    name = "validation_accuracy" if make is classifier else "validation_r2"
    assert followed.history_[name][-1] == followed.score(X[VAL], y[VAL])


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("kind", ["float64", "float32", "CSR"])
@pytest.mark.parametrize("make", [classifier, regressor])
def test_rows_passed_take_the_place_of_the_held_out_ones(make, kind):
    rows = scipy.sparse.csr_matrix(X) if kind == "CSR" else X.astype(kind)
    settings = {"max_iter": 40, "n_iter_no_change": 2, "tol": 0, "learning_rate_init": 0.1}
    states = [np.random.RandomState(3) for _ in range(2)]
    stopped = make(**settings, early_stopping=True, random_state=states[0])
    stopped.fit(rows[TRAIN], y[TRAIN], X_val=rows[VAL], y_val=y[VAL])
    assert stopped.n_iter_ < 40
    assert stopped.t_ == 100 * stopped.n_iter_
    best = int(np.argmax(stopped.validation_scores_)) + 1
    again = make(**{**settings, "max_iter": best}, random_state=np.random.RandomState(3)).fit(rows[TRAIN], y[TRAIN])
    for ours, expected in zip(stopped.coefs_, again.coefs_, strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert stopped.best_validation_score_ == stopped.score(rows[VAL], y[VAL])
    settings |= {"max_iter": stopped.n_iter_, "n_iter_no_change": np.inf}
    plain = make(**settings, random_state=states[1]).fit(rows[TRAIN], y[TRAIN])
    assert plain.loss_curve_ == stopped.loss_curve_
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)  # no draw for a split


def test_kinds_of_rows_may_differ():
    dense = classifier().fit(X[TRAIN], y[TRAIN], X_val=X[VAL], y_val=y[VAL])
    for rows, val in [(X, scipy.sparse.csc_matrix(X)), (scipy.sparse.csr_matrix(X), X.astype(np.float32).tolist())]:
        other = classifier().fit(rows[TRAIN], y[TRAIN], X_val=val[VAL], y_val=list(y[VAL]))
        np.testing.assert_allclose(other.validation_loss_curve_, dense.validation_loss_curve_, rtol=1e-6)


def test_any_number_of_threads_gives_the_same_bits():
    one, two = (
        classifier(n_threads=n, early_stopping=True, scoring=["loss", "neg_log_loss"]).fit(X, y) for n in (1, 2)
    )
    for name in ("loss", "validation_loss", "validation_neg_log_loss"):
        assert one.history_[name] == two.history_[name]


def test_sparse_multilabel_targets():
    sparse = scipy.sparse.csr_matrix(multilabel)
    model = classifier().fit(X[TRAIN], sparse[:100], X_val=X[VAL], y_val=sparse[100:])
    dense = classifier().fit(X[TRAIN], multilabel[TRAIN], X_val=X[VAL], y_val=multilabel[VAL])
    assert model.validation_loss_curve_ == dense.validation_loss_curve_
    assert model.history_["validation_accuracy"] == dense.history_["validation_accuracy"]


def test_columns_of_targets_warn_and_count_as_one():
    with pytest.warns(sklearn.exceptions.DataConversionWarning, match="A column-vector y was passed"):
        model = regressor(scoring="r2").fit(X[TRAIN], y[TRAIN], X_val=X[VAL], y_val=y[VAL][:, np.newaxis])
    assert model.history_["validation_r2"][-1] == model.score(X[VAL], y[VAL])


BOTH = {"X_val": X[VAL], "y_val": y[VAL]}


@pytest.mark.parametrize(
    ("settings", "arguments", "match"),
    [
        ({}, {"X_val": X[VAL]}, "X_val is provided, but y_val was not provided"),
        ({}, {"y_val": y[VAL]}, "y_val is provided, but X_val was not provided"),
        ({}, {"sample_weight_val": WEIGHT}, "sample_weight_val is provided, but X_val and y_val were not"),
        ({"solver": "lbfgs"}, BOTH, "X_val and y_val are provided, but solver='lbfgs' has no epochs"),
        ({"solver": "lbfgs", "scoring": "loss"}, {}, "scoring='loss' needs a solver that trains in epochs"),
        ({"scoring": "loss"}, {}, "scoring='loss' needs rows .* early_stopping=False and X_val was not provided"),
        ({"scoring": 3}, BOTH, "The 'scoring' parameter of MLP"),
        ({"scoring": "accurate"}, BOTH, "scoring='accurate' has 'accurate' in it; allowed is None, 'loss', a name"),
        ({"scoring": []}, BOTH, r"scoring=\[\] has no score in it"),
        ({"scoring": ["r2", 3]}, BOTH, r"scoring=\['r2', 3\] has 3 in it"),
        ({"scoring": ["r2", "r2"]}, BOTH, "has two scores of the name 'r2'"),
        ({"scoring": {3: "r2"}}, BOTH, "names must be str, got 3"),
        ({"scoring": {"loss": "r2"}}, BOTH, "the name 'loss' is that of the validation loss"),
        ({}, BOTH | {"X_val": X[VAL][:, :3]}, "X_val, y_val: X has 3 features, but MLP.* is expecting 4"),
        ({}, BOTH | {"X_val": X[VAL] * np.nan}, "X_val, y_val: Input X contains NaN"),
        ({"dtype": "float32"}, BOTH | {"X_val": X[VAL] * 1e200}, "X_val, y_val: Input X contains infinity"),
        ({}, BOTH | {"y_val": y[TRAIN]}, "X_val, y_val: Found input variables with inconsistent numbers"),
        ({}, BOTH | {"y_val": multilabel[VAL]}, "X_val, y_val: y_val has 3 columns, y has 1"),
        ({}, BOTH | {"sample_weight_val": -WEIGHT}, "sample_weight_val: Negative values"),
        ({}, BOTH | {"sample_weight_val": WEIGHT[:3]}, "sample_weight_val: .*shape"),
    ],
)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_errors_name_both_sides_and_come_before_any_work(make, settings, arguments, match):
    fitted = make().fit(X, y).set_params(**settings)
    for model, method in [(make(**settings), "fit"), (fitted, "fit"), (fitted, "partial_fit")]:
        if not hasattr(model, method):
            continue
        before = dict(vars(model))
        with pytest.raises(ValueError, match=match):
            getattr(model, method)(X[TRAIN], y[TRAIN], **arguments)
        assert vars(model) == before


def test_labels_must_be_known():
    with pytest.raises(ValueError, match=r"X_val, y_val: `y` has classes not in `self.classes_`"):
        classifier().fit(X[TRAIN], y[TRAIN], X_val=X[VAL], y_val=y[VAL] + 1)
    with pytest.raises(ValueError, match="X_val, y_val: Unknown label type: continuous"):
        classifier().fit(X[TRAIN], y[TRAIN], X_val=X[VAL], y_val=X[VAL, 0])
    only = classifier().fit(X[TRAIN], y[TRAIN], X_val=X[:1], y_val=y[:1])  # not all of them are needed
    assert len(only.validation_loss_curve_) == 5


def test_targets_must_fit_the_loss():
    with pytest.raises(ValueError, match="X_val, y_val: loss='gamma' needs y > 0"):
        regressor(loss="gamma").fit(X[TRAIN], y[TRAIN] + 1, X_val=X[VAL], y_val=y[VAL])


def test_one_row_has_no_r_squared():
    with pytest.raises(ValueError, match="X_val has one row, but the R squared of scoring=None needs two"):
        regressor().fit(X[TRAIN], y[TRAIN], X_val=X[:1], y_val=y[:1])
    assert len(regressor(scoring="loss").fit(X, y, X_val=X[:1], y_val=y[:1]).validation_loss_curve_) == 5


def test_names_of_features_are_checked():
    frame = pd.DataFrame(X, columns=list("abcd"))
    scored = classifier(scoring="accuracy").fit(frame, y, X_val=frame[VAL], y_val=y[VAL])
    assert scored.history_["validation_accuracy"][-1] == scored.score(frame[VAL], y[VAL])
    with pytest.raises(ValueError, match="X_val, y_val: The feature names should match"):
        classifier().fit(frame, y, X_val=frame[VAL].rename(columns={"a": "z"}), y_val=y[VAL])


def mean_of_truth(estimator, rows, truth, sample_weight=None):
    return np.average(truth, weights=sample_weight)


@pytest.mark.usefixtures("each_engine")
def test_all_scores_are_recorded_and_the_first_decides():
    scoring = {
        "f1": "f1_macro",
        "minus": "loss",
        "mean": mean_of_truth,
        "own": metrics.make_scorer(metrics.f1_score, average="micro"),
    }
    settings = {"early_stopping": True, "max_iter": 40, "n_iter_no_change": 2, "learning_rate_init": 0.1}
    data = {"X_val": X[VAL], "y_val": y[VAL], "sample_weight_val": WEIGHT}
    model = classifier(scoring=scoring, **settings).fit(X[TRAIN], y[TRAIN], **data)
    history = model.history_
    assert history["validation_f1"] == model.validation_scores_
    assert history["validation_minus"] == [-loss for loss in model.validation_loss_curve_]
    assert history["validation_mean"] == [np.average(y[VAL], weights=WEIGHT)] * model.n_iter_
    # the weights of the best epoch are kept
    predicted = model.predict(X[VAL])
    best = int(np.argmax(model.validation_scores_))
    weight = {"sample_weight": WEIGHT}
    assert history["validation_f1"][best] == metrics.f1_score(y[VAL], predicted, average="macro", **weight)
    assert history["validation_own"][best] == metrics.f1_score(y[VAL], predicted, average="micro", **weight)
    loss = classifier(scoring=["loss", mean_of_truth], **settings).fit(X[TRAIN], y[TRAIN], **data)
    assert loss.validation_scores_ == [-one for one in loss.validation_loss_curve_]
    assert loss.best_validation_score_ == -min(loss.validation_loss_curve_)
    assert "validation_mean_of_truth" in loss.history_
    assert loss.n_iter_ != model.n_iter_


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("kind", ["float64", "float32", "CSR"])
@pytest.mark.parametrize(("make", "name"), [(classifier, "accuracy"), (regressor, "r2")])
def test_the_default_score_by_its_name(make, name, kind):
    rows = scipy.sparse.csr_matrix(X) if kind == "CSR" else X.astype(kind)
    arguments = {"X_val": rows[VAL], "y_val": y[VAL], "sample_weight_val": WEIGHT}
    plain, named = (
        make(early_stopping=True, scoring=scoring).fit(rows[TRAIN], y[TRAIN], **arguments) for scoring in (None, name)
    )
    np.testing.assert_allclose(named.validation_scores_, plain.validation_scores_, rtol=1e-6)
    assert plain.history_.keys() == named.history_.keys()
    assert plain.history_[f"validation_{name}"] == plain.validation_scores_


def test_a_scorer_without_weights_is_called_without():
    model = regressor(scoring="neg_max_error").fit(X[TRAIN], y[TRAIN], **BOTH, sample_weight_val=WEIGHT)
    expected = -np.abs(model.predict(X[VAL]) - y[VAL]).max()
    assert model.history_["validation_neg_max_error"][-1] == pytest.approx(expected)


def test_a_scorer_gets_a_copy_for_each_epoch():
    copies = []

    def collect(estimator, rows, truth):
        assert type(estimator) is fastmlp.MLPClassifier
        assert estimator.n_layers_ == 4
        copies.append(estimator)
        return len(copies)

    model = classifier(scoring=collect).fit(X[TRAIN], y[TRAIN], **BOTH)
    losses = [metrics.log_loss(y[VAL], one.predict_proba(X[VAL])) for one in copies]
    np.testing.assert_allclose(losses, model.validation_loss_curve_, rtol=1e-10)
    np.testing.assert_array_equal(copies[-1].coefs_[0], model.coefs_[0])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(KeyError("a"), KeyError), (ValueError(), ValueError), (UnicodeDecodeError("utf", b"", 0, 1, "no"), RuntimeError)],
)
def test_a_scorer_that_fails_names_the_epoch_and_loses_nothing(error, kind):
    calls = []

    def fails(estimator, rows, truth):
        calls.append(1)
        if len(calls) == 3:
            raise error
        return 0.0

    fitted = classifier().fit(X, y).set_params(scoring=fails)
    before = dict(vars(fitted))
    with pytest.raises(kind, match="scoring: 'fails' failed in epoch 3: "):
        fitted.fit(X[TRAIN], y[TRAIN], **BOTH)
    assert vars(fitted) == before


def test_a_scorer_that_gives_no_number():
    with pytest.raises(TypeError, match="scoring: 'none' failed in epoch 1: "):
        classifier(scoring={"none": lambda *arguments: None}).fit(X[TRAIN], y[TRAIN], **BOTH)


def test_probabilities_of_a_hinge_are_an_error():
    with pytest.raises(Exception, match="scoring: 'neg_log_loss' failed in epoch 1: "):
        classifier(loss="hinge", scoring="neg_log_loss").fit(X[TRAIN], y[TRAIN], **BOTH)


def test_another_first_score_begins_anew():
    settings = {"early_stopping": True, "warm_start": True}
    model = classifier(**settings).fit(X, y)
    model.set_params(scoring="loss").fit(X, y)
    assert len(model.validation_scores_) == 5
    assert model.best_validation_score_ < 0
    model.set_params(scoring=("loss", "accuracy")).fit(X, y)  # the first is the same
    assert len(model.validation_scores_) == 10
    assert len(model.validation_loss_curve_) == len(model.loss_curve_) == 15


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("make", [classifier, regressor])
def test_history_goes_on_like_the_loss_curve(make):
    model = make(solver="sgd", learning_rate="adaptive", learning_rate_init=0.01, tol=10, n_iter_no_change=1)
    model.set_params(warm_start=True, max_iter=4).fit(X, y)
    history = model.history_
    assert list(history) == ["loss", "learning_rate", "seconds"]
    assert history["loss"] == model.loss_curve_
    assert history["learning_rate"] == pytest.approx([0.01, 0.01, 0.01, 0.002])  # of the epoch, not of the next one
    assert (np.diff(history["seconds"]) > 0).all()
    assert history["seconds"][0] > 0
    first = copy.deepcopy(history)
    model.fit(X, y, **BOTH)
    assert history == first  # ours was a copy
    model.partial_fit(X, y)
    name = "validation_accuracy" if make is classifier else "validation_r2"
    assert {len(values) for values in model.history_.values()} == {9}
    assert model.history_["loss"] == model.loss_curve_
    for numbers in (model.history_["validation_loss"], model.history_[name]):
        assert np.isnan(numbers).tolist() == [True] * 4 + [False] * 4 + [True]
    assert model.validation_loss_curve_ is None
    assert model.history_["seconds"][4] < model.history_["seconds"][7]
    model.set_params(warm_start=False).fit(X, y)
    assert {len(values) for values in model.history_.values()} == {4}
    model.set_params(solver="lbfgs").fit(X, y)
    assert not hasattr(model, "history_")
    assert not hasattr(model, "validation_loss_curve_")


def test_learning_rate_is_that_of_the_last_step():
    model = classifier(max_iter=4, batch_size=75, learning_rate="cosine").fit(X, y)
    expected = [0.001 * (1 + np.cos(np.pi * (epoch + 0.5) / 4)) / 2 for epoch in range(4)]
    np.testing.assert_allclose(model.history_["learning_rate"], expected, rtol=1e-12)
    assert classifier(solver="rmsprop").fit(X, y).history_["learning_rate"] == [0.001] * 5


def test_ctrl_c_in_a_scorer_leaves_whole_epochs():
    calls = []

    def interrupt(estimator, rows, truth):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return len(calls)

    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = classifier(scoring=interrupt, early_stopping=True).fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == len(model.validation_scores_) == 2
    assert {len(values) for values in model.history_.values()} == {2}


def test_verbose_prints_the_score(capsys):
    classifier(verbose=True, max_iter=2).fit(X[TRAIN], y[TRAIN], **BOTH)
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub("[0-9].*", "", line) for line in lines] == ["Iteration ", "Validation score: "] * 2


@pytest.mark.parametrize("make", [classifier, regressor])
def test_metadata_routing(make):
    scaler = StandardScaler().fit(X[TRAIN])
    requests = {"X_val": True, "y_val": True, "sample_weight_val": True}
    with config_context(enable_metadata_routing=True):
        pipeline = Pipeline([("scale", StandardScaler()), ("mlp", make().set_fit_request(**requests))])
        if parse_version(sklearn.__version__) >= parse_version("1.6"):
            pipeline.set_params(transform_input=["X_val"])
        pipeline.fit(X[TRAIN] * 3, y[TRAIN], X_val=X[VAL] * 3, y_val=y[VAL], sample_weight_val=WEIGHT)
        partial = make().set_partial_fit_request(**requests)
        assert partial.get_metadata_routing().partial_fit.requests["X_val"] is True
    arguments = {"X_val": scaler.transform(X[VAL]), "y_val": y[VAL], "sample_weight_val": WEIGHT}
    alone = make().fit(scaler.transform(X[TRAIN]), y[TRAIN], **arguments)
    np.testing.assert_allclose(pipeline[-1].validation_loss_curve_, alone.validation_loss_curve_, rtol=1e-6)
