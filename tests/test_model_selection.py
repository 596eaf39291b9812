"""Searches by our classes: scikit-learn's results, with fits that share rows and threads."""

import threading
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import loguniform
from sklearn import model_selection as theirs
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp import model_selection as ours
from fastmlp.estimators import shared

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 5))
y = np.array(["a", "b", "c"])[np.argmax(X[:, :3], axis=1)]
TIMES = ("mean_fit_time", "std_fit_time", "mean_score_time", "std_score_time")
GRID = {"hidden_layer_sizes": [(4,), (9,), (6, 3)], "alpha": [1e-4, 1.0]}
MODEL = MLPClassifier(max_iter=8, random_state=0)


def assert_same_search(search, expected):
    assert {*search.cv_results_} == {*expected.cv_results_}
    for name in expected.cv_results_:
        if name in TIMES:
            assert np.shape(search.cv_results_[name]) == np.shape(expected.cv_results_[name])
        elif name == "params":
            assert search.cv_results_[name] == expected.cv_results_[name]
        else:
            np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name], err_msg=name)
    for name in ("best_params_", "best_index_", "best_score_", "n_splits_", "multimetric_"):
        assert getattr(search, name, None) == getattr(expected, name, None), name
    if expected.refit:
        np.testing.assert_array_equal(search.predict(X), expected.predict(X))
        assert search.get_params().keys() == expected.get_params().keys()
        assert search.pre_dispatch == expected.pre_dispatch


def both(name, estimator, *arguments, **named):
    """Return our search and theirs, which is serial."""
    serial = {**named, "n_jobs": None}
    return getattr(ours, name)(clone(estimator), *arguments, **named), getattr(theirs, name)(
        clone(estimator), *arguments, **serial
    )


@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cv": 3, "return_train_score": True},
        {"scoring": ["accuracy", "neg_log_loss"], "refit": "neg_log_loss", "cv": 3},
        {"scoring": lambda model, X, y: {"one": model.score(X, y), "rows": type(X) is np.ndarray}, "refit": "one"},
        {"cv": theirs.ShuffleSplit(4, random_state=1), "refit": False},
        {"refit": lambda results: 3, "cv": 3},
    ],
)
def test_grid(settings, n_jobs):
    search, expected = both("GridSearchCV", MODEL, GRID, n_jobs=n_jobs, **settings)
    assert_same_search(search.fit(X, y), expected.fit(X, y))


@pytest.mark.parametrize("name", ["RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"])
def test_other_searches(name):
    space = {"hidden_layer_sizes": [(4,), (9,), (6, 3)], "alpha": loguniform(1e-5, 1)}
    named = {"random_state": 3, "cv": 3}
    if "Random" in name:
        named["n_iter" if name == "RandomizedSearchCV" else "n_candidates"] = 5
    search, expected = both(name, MODEL, GRID if "Grid" in name else space, **named)
    assert_same_search(search.fit(X, y), expected.fit(X, y))


def test_halving_of_epochs():
    named = {"resource": "max_iter", "max_resources": 8, "min_resources": 2, "factor": 2, "random_state": 0, "cv": 3}
    search, expected = both("HalvingGridSearchCV", MLPClassifier(random_state=0), GRID, **named)
    assert_same_search(search.fit(X, y), expected.fit(X, y))


@pytest.mark.parametrize(
    "table",
    [
        X.astype("float32"),
        pd.DataFrame(X, columns=list("abcde")),
        sparse.csr_array(np.where(X > 0, X, 0)),
        sparse.csc_matrix(np.where(X > 0, X, 0)),
        X.tolist(),
    ],
    ids=["float32", "frame", "csr", "csc", "list"],
)
def test_tables(table):
    search, expected = both("GridSearchCV", MODEL, GRID, cv=3)
    search.fit(table, y)
    expected.fit(table, y)
    np.testing.assert_array_equal(search.predict(table), expected.predict(table))
    search.refit = expected.refit = False
    assert_same_search(search, expected)


def test_weights_groups_and_regression():
    weight, groups, numbers = RNG.uniform(0.5, 2, 120), np.repeat(np.arange(12), 10), X[:, 0] * X[:, 1]
    model = MLPRegressor(max_iter=8, random_state=0)
    search, expected = both("GridSearchCV", model, GRID, cv=theirs.GroupKFold(4))
    search.fit(X, numbers, groups=groups, sample_weight=weight)
    assert_same_search(search, expected.fit(X, numbers, groups=groups, sample_weight=weight))


@pytest.mark.parametrize("frame", [False, True])
def test_rows_are_not_copied_for_fits(monkeypatch, frame):
    seen, load = [], fastmlp.cpu.Engine.load

    def noted(engine, rows, *arguments, **named):
        seen.append(rows)
        return load(engine, rows, *arguments, **named)

    monkeypatch.setattr(fastmlp.cpu.Engine, "load", noted)
    ours.GridSearchCV(MODEL, GRID, cv=4).fit(pd.DataFrame(X) if frame else X, y)
    assert len(seen) == 6 * 4 + 1
    if frame:
        assert all(rows is seen[0] for rows in seen[:-1])
    else:
        assert all(rows is X for rows in seen)


@pytest.mark.parametrize("error_score", [np.nan, -1.0, "raise"])
def test_fits_that_fail(error_score):
    grid = {"learning_rate_init": [1e-3, 1e300], "solver": ["sgd"]}
    search, expected = both("GridSearchCV", MODEL, grid, error_score=error_score, cv=3)
    if error_score == "raise":
        before = threading.active_count()
        for one in (search, expected):
            with pytest.raises(ValueError, match="non-finite"):
                one.fit(X, y)
        assert threading.active_count() == before
        assert search.pre_dispatch == "2*n_jobs"
        return
    for one in (search, expected):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            one.fit(X, y)
        assert any(issubclass(warning.category, FitFailedWarning) for warning in caught)
    assert_same_search(search, expected)


def test_warnings_arrive():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ours.GridSearchCV(MODEL, GRID, cv=3).fit(X, y)
    assert any(issubclass(warning.category, ConvergenceWarning) for warning in caught)


class Counted(TransformerMixin, BaseEstimator):
    """Scales, and counts how often it is fitted."""

    fits = []  # noqa: RUF012

    def __init__(self, factor=1.0):
        self.factor = factor

    def fit(self, X, y=None):
        Counted.fits.append(self.factor)
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return (X - self.mean_) * self.factor


@pytest.mark.parametrize("n_jobs", [None, 1, 3])
def test_what_precedes_is_fitted_once_for_each_setting_and_fold(n_jobs):
    pipeline = Pipeline([("counted", Counted()), ("pca", PCA(random_state=0)), ("mlp", MODEL)])
    grid = {"counted__factor": [1.0, 2.0], "pca__n_components": [2, 4], "mlp__alpha": [1e-4, 1.0, 2.0]}
    search, expected = both("GridSearchCV", pipeline, grid, cv=3, n_jobs=n_jobs)
    expected.fit(X, y)
    Counted.fits.clear()
    search.fit(X, y)
    # what PCA's settings share is fitted once as well; and once more for the best
    assert sorted(Counted.fits[:-1]) == [1.0] * 3 + [2.0] * 3
    assert_same_search(search, expected)
    assert search.best_estimator_.memory is None


@pytest.mark.parametrize(
    "pipeline",
    [
        make_pipeline(StandardScaler(), MODEL),
        make_pipeline("passthrough", FunctionTransformer(lambda X: X * 2), MODEL),
        make_pipeline(FeatureUnion([("pca", PCA(2)), ("scale", StandardScaler())]), MODEL),
        make_pipeline(MODEL),
    ],
)
def test_pipelines(pipeline):
    grid = {"mlpclassifier__hidden_layer_sizes": [(3,), (8,)], "mlpclassifier__alpha": [1e-4, 1]}
    search, expected = both("GridSearchCV", pipeline, grid, cv=3, return_train_score=True)
    assert_same_search(search.fit(X, y), expected.fit(X, y))


def test_steps_that_are_replaced():
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", MODEL)])
    grid = {"scale": [StandardScaler(), "passthrough", PCA(3)], "mlp": [MODEL, LogisticRegression()]}
    search, expected = both("GridSearchCV", pipeline, grid, cv=3)
    search.fit(X, y)
    expected.fit(X, y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.cv_results_["std_test_score"], expected.cv_results_["std_test_score"])


def test_a_step_that_fails_fails_in_each_fit_of_its_setting():
    pipeline = Pipeline([("pca", PCA()), ("mlp", MODEL)])
    grid = {"pca__n_components": [2, 400], "mlp__alpha": [1e-4, 1.0]}
    search, expected = both("GridSearchCV", pipeline, grid, cv=3)
    for one in (search, expected):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            one.fit(X, y)
        assert any("6 fits failed" in str(warning.message) for warning in caught)
    assert_same_search(search, expected)


def test_a_users_own_memory_stays(tmp_path):
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", MODEL)], memory=str(tmp_path))
    search, expected = both("GridSearchCV", pipeline, {"mlp__alpha": [1e-4, 1.0]}, cv=3)
    assert_same_search(search.fit(X, y), expected.fit(X, y))
    assert any(tmp_path.iterdir())


def test_other_estimators_are_searched_as_by_scikit_learn(monkeypatch):
    monkeypatch.setattr(ours, "_Backend", None)
    search, expected = both("GridSearchCV", LogisticRegression(), {"C": [0.1, 1.0]}, cv=3)
    assert_same_search(search.fit(X, y), expected.fit(X, y))


def test_progress(capsys, monkeypatch):
    monkeypatch.setattr(ours, "PROGRESS_EVERY", 0.0)
    ours.GridSearchCV(MODEL, GRID, cv=3, verbose=1).fit(X, y)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "Fitting 3 folds for each of 6 candidates, totalling 18 fits"
    assert len(lines) == 18
    assert lines[-1].startswith("18 of 18 fits done, some 0:00:00 left")
    ours.GridSearchCV(MODEL, GRID, cv=3).fit(X, y)
    assert capsys.readouterr().out == ""


def test_searches_within_threads_of_the_user():
    expected = theirs.GridSearchCV(MODEL, GRID, cv=3).fit(X, y)
    searches = [ours.GridSearchCV(MODEL, GRID, cv=3) for _ in range(3)]
    users = [threading.Thread(target=search.fit, args=(X, y)) for search in searches]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for search in searches:
        assert_same_search(search, expected)


def test_n_jobs_of_0_is_refused():
    with pytest.raises(ValueError, match="n_jobs == 0"):
        ours.GridSearchCV(MODEL, GRID, n_jobs=0).fit(X, y)


def test_nothing_is_kept_of_the_rows():
    """Neither the search nor its best estimator refers to what the fits shared."""
    search = ours.GridSearchCV(make_pipeline(StandardScaler(), MODEL), {"mlpclassifier__alpha": [1.0]}, cv=3).fit(X, y)
    assert search.best_estimator_.get_params()["memory"] is None
    assert not any(isinstance(value, shared.SharedRows) for value in vars(search).values())


def test_callbacks_of_scikit_learn_see_the_rows():
    pytest.importorskip("sklearn.callback")

    class Recorder:
        kinds, tasks = set(), []

        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context, *, X=None, **more):
            self.tasks.append(context.task_name)
            self.kinds.add(type(X))

        def on_fit_task_end(self, estimator, context, **more):
            pass

    search = ours.GridSearchCV(MODEL, GRID, cv=3)
    search.set_callbacks(Recorder())
    search.fit(X, y)
    assert Recorder.tasks.count("candidate-split-evaluation") == 18
    assert Recorder.kinds <= {np.ndarray, type(None)}
