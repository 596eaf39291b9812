"""NaN as zero, and features that say where it was."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn import config_context
from sklearn.datasets import load_iris
from sklearn.impute import SimpleImputer
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

complete, y = load_iris(return_X_y=True)
complete = (complete - complete.mean(axis=0)) / complete.std(axis=0)
X = complete.copy()
X[np.random.default_rng(0).random(X.shape) < 0.2] = np.nan
X[:, 2] = complete[:, 2]  # a feature without NaN
imputer = SimpleImputer(strategy="constant", fill_value=0, add_indicator=True).fit(X)
EXPECTED = {"zero": np.where(np.isnan(X), 0, X), "indicator": imputer.transform(X)}


def stored(rows, dtype=np.float64):
    """Return CSR with NaN and everything else stored but every other zero, which has to stay zero."""
    rows = scipy.sparse.csr_array(rows.astype(dtype))
    rows.data[::7] = 0
    return rows


@pytest.fixture(params=["MLPClassifier", "MLPRegressor"])
def estimator(request):
    defaults = {"hidden_layer_sizes": (7,), "max_iter": 4, "random_state": 0}
    return lambda **settings: getattr(fastmlp, request.param)(**{**defaults, **settings})


def predictions(model, rows):
    names = ("predict", "predict_proba", "predict_log_proba")
    return [getattr(model, name)(rows) for name in names if hasattr(model, name)]


def assert_same_predictions(one, rows, other, expected_rows):
    for ours, expected in zip(predictions(one, rows), predictions(other, expected_rows), strict=True):
        np.testing.assert_array_equal(ours, expected)


def assert_same_model(one, other):
    for ours, expected in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("missing", EXPECTED)
def test_the_same_as_an_imputer_before(estimator, missing, early_stopping):
    settings = {"early_stopping": early_stopping}
    ours = estimator(missing=missing, **settings).fit(X, y)
    expected = estimator(**settings).fit(EXPECTED[missing], y)
    assert_same_model(ours, expected)
    assert ours.validation_scores_ == expected.validation_scores_
    assert ours.score(X, y) == expected.score(EXPECTED[missing], y)
    assert_same_predictions(ours, X, expected, EXPECTED[missing])
    for row in range(12):  # the short way of few rows, with NaN and without
        assert_same_predictions(ours, X[row : row + 1], expected, EXPECTED[missing][row : row + 1])
    assert ours.n_features_in_ == 4
    assert ours.coefs_[0].shape == (7 if missing == "indicator" else 4, 7)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("missing", EXPECTED)
def test_sparse_rows(estimator, missing, solver, dtype):
    rows = stored(X, dtype)
    assert (rows.data == 0).any()
    assert np.isnan(rows.data).any()
    plain = rows.toarray()
    filled = np.where(np.isnan(plain), 0, plain)
    if missing == "indicator":
        filled = np.hstack([filled, np.isnan(plain)[:, np.isnan(plain).any(axis=0)]])
        assert filled.shape[1] == 7
    ours = estimator(missing=missing, solver=solver).fit(rows, y)
    expected = estimator(solver=solver).fit(scipy.sparse.csr_array(filled), y)
    for one, other in zip(ours.coefs_, expected.coefs_, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3 if dtype == np.float32 else 1e-8, atol=1e-6)
        assert one.dtype == dtype
    assert_same_predictions(ours, rows, ours, scipy.sparse.csc_matrix(rows))
    np.testing.assert_allclose(predictions(ours, rows)[-1], predictions(ours, plain)[-1], rtol=2e-5)


@pytest.mark.parametrize("missing", EXPECTED)
def test_several_entries_for_one_place(estimator, missing):
    """Their sum is the number there, and NaN if one of them is."""
    rows = scipy.sparse.csr_array(X)
    twice = scipy.sparse.csr_array((np.repeat(rows.data / 2, 2), np.repeat(rows.indices, 2), 2 * rows.indptr), X.shape)
    once_nan = twice.copy()
    once_nan.data[::2][np.isnan(rows.data)] = 5.0
    model = estimator(missing=missing).fit(rows, y)
    for others in (twice, once_nan):
        before = others.copy()
        assert_same_predictions(model, rows, model, others)
        assert_same_model(model, estimator(missing=missing).fit(others, y))
        np.testing.assert_array_equal(others.data, before.data)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_dtypes(estimator, dtype):
    ours = estimator(missing="indicator", dtype=dtype).fit(X, y)
    assert ours.coefs_[0].dtype == dtype
    assert_same_model(ours, estimator(dtype=dtype).fit(EXPECTED["indicator"], y))
    assert_same_predictions(ours, X, ours, X.tolist())


def test_weights_and_class_weights():
    settings = {"class_weight": "balanced", "max_iter": 4, "random_state": 0}
    ours = fastmlp.MLPClassifier(missing="zero", **settings).fit(X, y, sample_weight=np.arange(150.0))
    expected = fastmlp.MLPClassifier(**settings).fit(EXPECTED["zero"], y, sample_weight=np.arange(150.0))
    assert_same_model(ours, expected)


def test_the_first_partial_fit_decides_on_the_columns(estimator):
    classes = {"classes": np.unique(y)} if "Classifier" in repr(estimator()) else {}
    first = X[:50].copy()
    first[:, 0] = complete[:50, 0]
    ours = estimator(missing="indicator").partial_fit(first, y[:50], **classes)
    assert list(ours.indicator_.features_) == [1, 3]
    expected = estimator().partial_fit(np.hstack([np.nan_to_num(first), np.isnan(first)[:, [1, 3]]]), y[:50], **classes)
    filled = np.hstack([np.nan_to_num(X), np.isnan(X)[:, [1, 3]]])
    assert_same_model(ours.partial_fit(X, y), expected.partial_fit(filled, y))  # NaN in another feature: 0
    assert list(ours.indicator_.features_) == [1, 3]


def test_warm_start_keeps_the_columns(estimator):
    ours = estimator(missing="indicator", warm_start=True).fit(X, y).fit(complete, y)
    assert list(ours.indicator_.features_) == [0, 1, 3]
    cold = ours.set_params(warm_start=False).fit(complete, y)
    assert cold.indicator_.features_.size == 0
    assert_same_model(cold, estimator().fit(complete, y))
    assert not hasattr(cold.set_params(missing="zero").fit(X, y), "indicator_")


def test_new_missing_features_in_prediction_are_zero(estimator):
    model = estimator(missing="indicator").fit(np.where(np.arange(4) == 1, X, complete), y)
    rows = complete[:5].copy()
    rows[0, 0] = np.nan
    filled = np.nan_to_num(rows)
    assert_same_predictions(model, rows, model, filled)


@pytest.mark.parametrize("change", [np.inf, -np.inf])
@pytest.mark.parametrize("missing", EXPECTED)
@pytest.mark.parametrize("make", [np.asarray, stored])
def test_infinity_is_an_error(estimator, make, missing, change):
    rows = make(X).copy()
    rows[3, 2] = change
    model = estimator(missing=missing).fit(X, y)
    before = copy.deepcopy(model.coefs_), model.n_iter_, vars(model).keys()
    for call in (lambda: model.fit(rows, y), lambda: model.partial_fit(rows, y), lambda: model.predict(rows[:4])):
        with pytest.raises(ValueError, match="Input X contains infinity"):
            call()
    np.testing.assert_equal((model.coefs_, model.n_iter_, vars(model).keys()), before)
    large = np.where(np.arange(4) == 2, 1e300, X)
    with pytest.raises(ValueError, match="Input X contains infinity or a value too large"):
        model.set_params(dtype="float32").predict(large)


def test_nan_stays_an_error_by_default(estimator):
    model = estimator().fit(complete, y)
    for call in (lambda: model.fit(X, y), lambda: model.partial_fit(X, y), lambda: model.predict(X)):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            call()
    target = y.astype(float)
    target[3] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        estimator(missing="zero").fit(X, target)


@pytest.mark.parametrize(("before", "now"), [("indicator", "zero"), ("zero", "indicator"), ("indicator", None)])
def test_further_training_with_other_columns(estimator, before, now):
    model = estimator(missing=before, warm_start=True).fit(X, y).set_params(missing=now)
    kept = vars(model).copy()
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=f"missing={now!r} does not fit the weights to be trained further"):
            getattr(model, method)(complete, y)
        assert vars(model).items() == kept.items()


def test_parameter_changed_after_the_fit(estimator):
    model = estimator(missing="indicator").fit(X, y)
    predicted = model.predict(complete)
    np.testing.assert_array_equal(model.set_params(missing=None).predict(complete), predicted)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.predict(X)
    with pytest.raises(ValueError, match=r"The 'missing' parameter of .* Got 'mean' instead"):
        model.set_params(missing="mean").predict(complete)
    with pytest.raises(ValueError, match=r"The 'missing' parameter of .* Got 'mean' instead"):
        model.fit(complete, y)


def test_kinds_of_rows_without_place_for_nan(estimator):
    model = estimator(missing="indicator").fit(X, y)
    for kind in (int, bool, np.float16):
        rows = complete.round().astype(kind)
        assert_same_predictions(model, rows, model, rows.astype(float))


def test_data_are_not_written_to(estimator):
    for make in (np.array, np.asfortranarray, scipy.sparse.csr_array):
        rows = make(X)
        before = rows.copy()
        for missing in EXPECTED:
            estimator(missing=missing).fit(rows, y).predict(rows)
        if scipy.sparse.issparse(rows):
            rows, before = rows.data, before.data
        np.testing.assert_array_equal(rows, before)


def test_frames_names_and_pickles(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"))
    with config_context(transform_output="pandas"):
        model = estimator(missing="indicator").fit(frame, y)
        assert list(model.feature_names_in_) == list("abcd")
        assert_same_predictions(model, frame, estimator(missing="indicator").fit(X, y), X)
        estimator(missing="indicator").fit(stored(X), y).predict(stored(X))
    assert_same_predictions(model, frame, pickle.loads(pickle.dumps(model)), frame)
    with pytest.raises(ValueError, match=r"X has 5 features, but .* is expecting 4 features"):
        estimator(missing="indicator").fit(X, y).predict(np.hstack([X, X[:, :1]]))


@pytest.mark.parametrize("missing", EXPECTED)
def test_validation_rows(estimator, missing):
    def own(model, rows, wanted):
        assert np.isfinite(rows).all()
        return model.score(rows, wanted)

    settings = {"early_stopping": True, "scoring": [own, "loss"]}
    ours = estimator(missing=missing, **settings).fit(X, y, X_val=X[::2], y_val=y[::2])
    expected = estimator(**settings).fit(EXPECTED[missing], y, X_val=EXPECTED[missing][::2], y_val=y[::2])
    assert_same_model(ours, expected)
    assert ours.validation_scores_ == expected.validation_scores_
    assert ours.validation_loss_curve_ == expected.validation_loss_curve_
    rows = X.copy()
    rows[0, 0] = np.inf
    with pytest.raises(ValueError, match=r"X_val.* contains infinity"):
        ours.fit(X, y, X_val=rows, y_val=y)


@pytest.mark.parametrize("missing", EXPECTED)
def test_what_a_prediction_depends_on(estimator, missing):
    ours, expected = estimator(missing=missing).fit(X, y), estimator().fit(EXPECTED[missing], y)
    np.testing.assert_array_equal(ours.input_gradient(X), expected.input_gradient(EXPECTED[missing])[:, :4])
    np.testing.assert_array_equal(ours.transform(X), expected.transform(EXPECTED[missing]))
    assert fastmlp.check_gradient(ours.set_params(activation="tanh"), X, y) < 1e-6


def test_tags(estimator):
    assert [get_tags(estimator(missing=missing)).input_tags.allow_nan for missing in (None, "zero", "indicator")] == [
        False,
        True,
        True,
    ]


def test_where_a_feature_is_missing_says_something():
    random = np.random.default_rng(1)
    rows = random.normal(size=(300, 3))
    target = random.random(300) < 0.5
    rows[target, 1] = np.nan
    scores = [
        fastmlp.MLPClassifier((8,), missing=missing, random_state=0).fit(rows, target).score(rows, target)
        for missing in ("zero", "indicator")
    ]
    assert scores[0] < 0.95 < scores[1]


@parametrize_with_checks(
    [
        fastmlp.MLPClassifier(missing="zero"),
        fastmlp.MLPRegressor(missing="zero"),
        fastmlp.MLPClassifier(missing="indicator", max_iter=50),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)
