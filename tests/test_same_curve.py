"""Same seed, same curve: our estimators against scikit-learn's, which follow the same steps in other arithmetic.

What an older scikit-learn cannot do is skipped there: before 1.7 it has no sample weights and no Poisson loss, before
1.9 no early stopping with labels that are not numbers.
"""

import inspect
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn
import sklearn.neural_network
from sklearn.datasets import load_diabetes, load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.fixes import parse_version

import fastmlp

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.usefixtures("each_engine"),
]

HAS_WEIGHTS = "sample_weight" in inspect.signature(sklearn.neural_network.MLPClassifier.fit).parameters
HAS_POISSON = "loss" in inspect.signature(sklearn.neural_network.MLPRegressor).parameters
EPOCHS = 15
RTOL = 1e-6

digits = load_digits()
diabetes = load_diabetes(scaled=True)
multilabel = make_multilabel_classification(n_samples=150, n_features=12, n_classes=4, random_state=0)


def problem(name):
    """Return (estimator's name, X, y, parameters) of about 150 rows: not a multiple of the batch."""
    X = np.ascontiguousarray(digits.data[:157] / 16)
    if name == "multiclass":
        return "MLPClassifier", X, digits.target[:157], {}
    if name == "binary":
        return "MLPClassifier", X, np.where(digits.target[:157] < 4, "few", "many"), {}
    if name == "multilabel":
        return "MLPClassifier", *multilabel, {}
    X = diabetes.data[:157] * 10
    if name == "squared_error":
        return "MLPRegressor", X, diabetes.target[:157] / 100, {}
    if name == "multioutput":
        return "MLPRegressor", X, np.column_stack([diabetes.target, -(diabetes.target**2) / 100])[:157] / 100, {}
    if not HAS_POISSON:
        pytest.skip("this scikit-learn has no Poisson loss")
    return "MLPRegressor", X, np.floor(diabetes.target[:157] / 50), {"loss": "poisson"}


CLASSIFICATION = ["multiclass", "binary", "multilabel"]
REGRESSION = ["squared_error", "multioutput", "poisson"]
PROBLEMS = CLASSIFICATION + REGRESSION
DEFAULTS = {
    "hidden_layer_sizes": (11, 9),
    "batch_size": 32,
    "max_iter": EPOCHS,
    "random_state": 7,
    "learning_rate_init": 0.01,
}


def pair(name, **settings):
    return [getattr(module, name)(**{**DEFAULTS, **settings}) for module in (fastmlp, sklearn.neural_network)]


def assert_same(ours, original, X, rtol=RTOL, atol=1e-9):
    """Compare all that both learnt, and what they predict."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "_no_improvement_count"):
        assert getattr(ours, name) == getattr(original, name), name
    for name in ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        expected = getattr(original, name)
        if expected is None:
            assert getattr(ours, name) is None, name
        else:
            np.testing.assert_allclose(getattr(ours, name), expected, rtol=rtol, atol=atol, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for layer, (array, expected) in enumerate(zip(getattr(ours, name), getattr(original, name), strict=True)):
            assert array.dtype == expected.dtype
            np.testing.assert_allclose(array, expected, rtol=rtol, atol=atol, err_msg=f"{name}[{layer}]")
    if hasattr(original, "classes_"):
        np.testing.assert_array_equal(ours.classes_, original.classes_)
        np.testing.assert_array_equal(ours.predict(X), original.predict(X))
        np.testing.assert_allclose(ours.predict_proba(X), original.predict_proba(X), rtol=rtol, atol=atol)
        np.testing.assert_allclose(ours.predict_log_proba(X), original.predict_log_proba(X), rtol=rtol, atol=atol)
    else:
        np.testing.assert_allclose(ours.predict(X), original.predict(X), rtol=rtol, atol=atol)


def fit_original(original, X, y, sample_weight=None):
    """Fit scikit-learn's; skip the test where it is too old to do that."""
    if sample_weight is not None and not HAS_WEIGHTS:
        pytest.skip("this scikit-learn takes no sample weights here")
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    try:
        return original.fit(X, y, **weight)
    except TypeError as error:
        if "ufunc 'isnan' not supported" in str(error) and parse_version(sklearn.__version__) < parse_version("1.9"):
            pytest.skip("this scikit-learn cannot stop early with such labels")
        raise


def compare(name, X, y, passed=None, sample_weight=None, rtol=RTOL, atol=1e-9, **settings):
    """Fit both, ours on `passed` where given, and compare."""
    ours, original = pair(name, **settings)
    ours.fit(X if passed is None else passed, y, sample_weight=sample_weight)
    fit_original(original, X, y, sample_weight)
    assert_same(ours, original, X, rtol, atol)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("problem_name", PROBLEMS)
def test_solvers_activations_losses(solver, activation, problem_name):
    name, X, y, settings = problem(problem_name)
    compare(name, X, y, solver=solver, activation=activation, **settings)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("problem_name", PROBLEMS)
def test_weights_and_early_stopping(weighted, early_stopping, problem_name):
    name, X, y, settings = problem(problem_name)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    compare(name, X, y, sample_weight=weight, early_stopping=early_stopping, validation_fraction=0.3, **settings)


@pytest.mark.parametrize(
    "container",
    [
        scipy.sparse.csr_matrix,
        scipy.sparse.csr_array,
        scipy.sparse.csc_matrix,
        scipy.sparse.coo_array,
        np.asfortranarray,
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("problem_name", ["multiclass", "poisson"])
def test_inputs(container, early_stopping, problem_name):
    name, X, y, settings = problem(problem_name)
    X = np.where(np.abs(X) < 0.3, 0, X)
    compare(name, X, y, passed=container(X), early_stopping=early_stopping, **settings)
    ours, original = pair(name, **settings)
    passed = container(X)
    assert_same(ours.fit(passed, y), original.fit(passed, y), passed)


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": "constant"},
        {"learning_rate": "invscaling", "power_t": 0.25, "learning_rate_init": 0.5},
        {"learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "learning_rate_init": 0.1},
        {"learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1, "early_stopping": True, "max_iter": 60},
        {"momentum": 0.0},
        {"momentum": 0.5, "nesterovs_momentum": False},
        {"momentum": 1.0, "learning_rate_init": 1e-4},
    ],
    ids=str,
)
@pytest.mark.parametrize("problem_name", ["multiclass", "squared_error"])
def test_sgd(settings, problem_name):
    name, X, y, own = problem(problem_name)
    compare(name, X, y, solver="sgd", **own, **settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-3},
        {"alpha": 0.0},
        {"alpha": 10.0},
        {"shuffle": False},
        {"batch_size": 1, "max_iter": 3},
        {"batch_size": "auto"},
        {"batch_size": 157},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 1},
        {"hidden_layer_sizes": [17, 1, 33]},
        {"tol": 0.1, "n_iter_no_change": 2},
        {"tol": 0.1, "n_iter_no_change": np.inf},
    ],
    ids=str,
)
@pytest.mark.parametrize("problem_name", ["multiclass", "multioutput"])
def test_settings(settings, problem_name):
    name, X, y, own = problem(problem_name)
    compare(name, X, y, **own, **settings)


@pytest.mark.parametrize("problem_name", PROBLEMS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_warm_start(problem_name, solver):
    name, X, y, settings = problem(problem_name)
    both = pair(name, solver=solver, warm_start=True, max_iter=5, **settings)
    for max_iter in (5, 3, 7):
        for estimator in both:
            estimator.set_params(max_iter=max_iter).fit(X, y)
        assert_same(*both, X)


def test_warm_start_with_early_stopping():
    """Compared while the score improves: otherwise scikit-learn loses the best weights, see the next test."""
    name, X, y, settings = problem("squared_error")
    both = pair(name, warm_start=True, max_iter=5, early_stopping=True, **settings)
    for _ in range(3):
        before = both[1].best_validation_score_ if hasattr(both[1], "coefs_") else -np.inf
        for estimator in both:
            estimator.fit(X, y)
        assert both[1].best_validation_score_ > before
        assert_same(*both, X)


def test_warm_start_with_early_stopping_keeps_the_best_weights_of_all_fits():
    name, X, y, settings = problem("squared_error")
    ours = pair(name, warm_start=True, max_iter=5, early_stopping=True, **settings)[0].fit(X, y)
    best = [coef.copy() for coef in ours.coefs_]
    ours.set_params(learning_rate_init=1e-9, max_iter=2, alpha=1e6).fit(X, -y)  # no epoch can be better
    for before, after in zip(best, ours.coefs_, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("problem_name", PROBLEMS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit(problem_name, solver):
    name, X, y, settings = problem(problem_name)
    both = pair(name, solver=solver, learning_rate="invscaling", **settings)
    classes = {} if problem_name in REGRESSION else {"classes": np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])}
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X))
    for part in (slice(0, 70), slice(70, 157), slice(30, 157), slice(40, 100)):
        weights = {"sample_weight": weight[part]} if HAS_WEIGHTS else {}
        for estimator in both:
            estimator.partial_fit(X[part], y[part], **weights, **classes)
        assert_same(*both, X)


@pytest.mark.parametrize("problem_name", ["multiclass", "poisson"])
def test_partial_fit_after_fit(problem_name):
    name, X, y, settings = problem(problem_name)
    both = pair(name, **settings)
    for estimator in both:
        estimator.fit(X, y)
        estimator.partial_fit(X, y)
    assert_same(*both, X)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", "b", "c"],
        np.array(["a", "b", "c"], dtype=object),
        np.array(["yes", "no"], dtype=object),
        [False, True],
        [-1.0, 0.0, 7.0],
        [3, 9],
        np.array([1, 2, 200], dtype=np.uint8),
        ["only"],
        [5],
    ],
    ids=str,
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_labels(labels, early_stopping):
    X = digits.data[:100] / 16
    y = np.array(labels)[digits.target[:100] % len(labels)]
    ours, original = pair("MLPClassifier", early_stopping=early_stopping)
    assert_same(ours.fit(X, y), fit_original(original, X, y), X)
    assert ours.classes_.dtype == original.classes_.dtype
    assert ours.predict(X).dtype == original.predict(X).dtype


def test_sparse_multilabel_targets():
    X, y = multilabel
    ours, original = pair("MLPClassifier")
    ours.fit(X, scipy.sparse.csr_matrix(y))
    original.fit(X, scipy.sparse.csr_matrix(y))
    assert scipy.sparse.issparse(ours.predict(X))
    assert type(ours.predict(X)) is type(original.predict(X))
    np.testing.assert_array_equal(ours.predict(X).toarray(), original.predict(X).toarray())
    np.testing.assert_allclose(ours.loss_curve_, original.loss_curve_, rtol=RTOL)


@pytest.mark.parametrize("problem_name", PROBLEMS)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_float32(problem_name, solver):
    """The curve to a relative 1e-4: rounding in 15 epochs of 5 steps, in which the sums are in another order."""
    name, X, y, settings = problem(problem_name)
    if name == "MLPRegressor":
        y = y.astype(np.float32)  # in scikit-learn a float64 y makes it compute in float64
    X = X.astype(np.float32)
    ours, original = pair(name, solver=solver, **settings)
    ours.fit(X, y)
    original.fit(X, y)
    assert {array.dtype for array in ours.coefs_ + ours.intercepts_} == {np.dtype(np.float32)}
    np.testing.assert_allclose(ours.loss_curve_, original.loss_curve_, rtol=1e-4)
    assert ours.score(X, y) == pytest.approx(original.score(X, y), abs=0.02)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("problem_name", PROBLEMS)
def test_lbfgs(problem_name, weighted):
    name, X, y, settings = problem(problem_name)
    weight = np.random.default_rng(1).uniform(0.1, 3, len(X)) if weighted else None
    # A penalty under which both converge: without it, rounding leads the two to minima some percent apart.
    ours, original = pair(name, solver="lbfgs", alpha=3.0, max_iter=2000, activation="logistic", **settings)
    ours.fit(X, y, sample_weight=weight)
    fit_original(original, X, y, weight)
    assert ours.loss_ == pytest.approx(original.loss_, rel=1e-3)
    assert (ours.t_, ours.out_activation_) == (original.t_, original.out_activation_)


@pytest.mark.parametrize("problem_name", PROBLEMS)
def test_lbfgs_first_iterations(problem_name):
    """A few iterations, before the paths of rounding part, agree in every parameter."""
    name, X, y, settings = problem(problem_name)
    ours, original = pair(name, solver="lbfgs", max_iter=5, activation="logistic", **settings)
    ours.fit(X, y)
    original.fit(X, y)
    assert ours.n_iter_ == original.n_iter_
    for array, expected in zip(ours.coefs_ + ours.intercepts_, original.coefs_ + original.intercepts_, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("settings", [{"max_iter": 4}, {"max_fun": 6}], ids=str)
def test_lbfgs_limits_warn_as_theirs(settings):
    name, X, y, own = problem("multiclass")
    both = pair(name, solver="lbfgs", **{**own, **settings})
    after = ("after", "after" if parse_version(sklearn.__version__) >= parse_version("1.7") else "")
    for estimator, word in zip(both, after, strict=True):
        with pytest.warns(ConvergenceWarning, match=f"lbfgs failed to converge {word}"):
            estimator.fit(X, y)
    assert both[0].n_iter_ == both[1].n_iter_


def test_lbfgs_ends_at_tol():
    name, X, y, own = problem("squared_error")
    both = pair(name, solver="lbfgs", tol=0.1, max_iter=200, **own)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for estimator in both:
            estimator.fit(X, y)
    assert both[0].n_iter_ == both[1].n_iter_


@pytest.mark.parametrize("problem_name", ["multiclass", "squared_error"])
def test_change_of_solver_and_stopping_between_warm_starts(problem_name):
    """scikit-learn dies of missing attributes here, so there is only the outcome to look at."""
    name, X, y, own = problem(problem_name)
    ours = pair(name, warm_start=True, **own)[0]
    losses = []
    for settings in (
        {"solver": "lbfgs", "max_iter": 3},
        {"solver": "adam"},
        {"early_stopping": True, "validation_fraction": 0.3},
        {"early_stopping": False, "solver": "sgd"},
        {"solver": "lbfgs"},
    ):
        ours.set_params(**settings).fit(X, y)
        losses.append(ours.loss_)
        if ours.solver != "lbfgs":
            assert (ours.validation_scores_ is not None) == ours.early_stopping
            assert (ours.best_loss_ is None) == ours.early_stopping
    ours.set_params(solver="sgd").partial_fit(X, y)
    assert losses[-1] < losses[0]
