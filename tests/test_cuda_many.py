"""Many fits at once on a GPU, or its simulator: each is what its own fit there is."""

import numpy as np
import pytest
from sklearn import model_selection as theirs
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, fit_many
from fastmlp.model_selection import GridSearchCV

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from fastmlp.cuda import lockstep
from fastmlp.cuda.population import Population

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((18, 3))
y = np.arange(18) % 3


@pytest.fixture
def epochs(monkeypatch):
    """Return how many networks each launch of a population trains."""
    counts, run_epoch = [], Population.run_epoch

    def noted(population, orders, *arguments):
        counts.append(sum(len(order) > 0 for order in orders))
        return run_epoch(population, orders, *arguments)

    monkeypatch.setattr(Population, "run_epoch", noted)
    return counts


def assert_same(model, expected):
    np.testing.assert_array_equal(model.loss_curve_, expected.loss_curve_)
    for one, other in zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model._optimizer.step == expected._optimizer.step
    np.testing.assert_array_equal(model._optimizer.state, expected._optimizer.state)


def test_networks_of_several_shapes_folds_and_lengths_are_trained_at_once(epochs):
    common = {"device": "cuda", "random_state": 0, "batch_size": 5}
    models = [
        MLPClassifier((4,), max_iter=3, **common),
        MLPClassifier((3, 2), max_iter=1, solver="sgd", activation="tanh", **common),
        MLPClassifier((2,), max_iter=2, alpha=0.1, early_stopping=True, validation_fraction=0.3, **common),
    ]
    index = [np.arange(12), RNG.permutation(18)[:11], None]
    assert fit_many(models, X, y, index) == [None] * 3
    assert epochs == [3, 2, 1]
    for model, own in zip(models, index, strict=True):
        rows = np.arange(18) if own is None else own
        assert_same(model, clone(model).fit(X[rows], y[rows]))


def test_what_a_block_is_not_for_is_trained_alone(epochs, monkeypatch):
    monkeypatch.setattr(lockstep, "OF_A_BLOCK", ())
    common = {"device": "cuda", "random_state": 0, "max_iter": 2}
    models = [MLPRegressor(hidden_layer_sizes=(3,), solver=solver, **common) for solver in ("adam", "lbfgs")]
    assert fit_many(models, X, X[:, 0]) == [None] * 2
    assert epochs == []
    assert_same(models[0], clone(models[0]).fit(X, X[:, 0]))
    np.testing.assert_array_equal(models[1].coefs_[0], clone(models[1]).fit(X, X[:, 0]).coefs_[0])


def test_weights_and_augmentation_are_trained_alone_beside_others(epochs):
    common = {"device": "cuda", "random_state": 0, "max_iter": 2}
    models = [
        MLPClassifier((3,), class_weight={0: 2.0}, **common),
        MLPClassifier((3,), augment={"jitter": 0.1}, **common),
        MLPClassifier((3,), **common),
        MLPClassifier((3,), max_iter=2, random_state=0),  # on the CPU
    ]
    assert fit_many(models, X, y) == [None] * 4
    assert epochs == [1, 1]
    for model in models[:3]:
        assert_same(model, clone(model).fit(X, y))
    np.testing.assert_array_equal(models[3].coefs_[0], clone(models[3]).fit(X, y).coefs_[0])


def test_a_search_trains_its_fits_at_once(epochs):
    model = MLPClassifier((2,), device="cuda", random_state=0, max_iter=2)
    grid = {"alpha": [1e-4, 1.0], "solver": ["adam", "sgd"]}
    search = GridSearchCV(model, grid, cv=2).fit(X, y)
    assert epochs == [8, 8]
    expected = theirs.GridSearchCV(model, grid, cv=2).fit(X, y)
    for fold in range(2):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(search.cv_results_[name], expected.cv_results_[name])
    pipeline = make_pipeline(StandardScaler(), model)
    assert GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=2, refit=False).fit(X, y).best_score_ > 0
    assert max(epochs[2:]) > 1


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the simulator, where numbers overflow
def test_one_that_fails_stops_no_other(epochs):
    common = {"device": "cuda", "random_state": 0, "max_iter": 2, "solver": "sgd"}
    models = [
        MLPClassifier((3,), **common),
        MLPClassifier((3,), learning_rate_init=1e300, **common),
        MLPClassifier((3,), alpha=-1, **common),
    ]
    errors = fit_many(models, X, y)
    assert all(isinstance(error, ValueError) for error in errors[1:])
    assert errors[0] is None
    assert_same(models[0], clone(models[0]).fit(X, y))
    assert not hasattr(models[1], "coefs_")


def test_an_interrupt_ends_all_fits(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(lockstep.Lockstep, "_run_epochs", interrupted)
    models = [MLPClassifier((n,), device="cuda", max_iter=2) for n in (2, 3)]
    with pytest.raises(KeyboardInterrupt):
        fit_many(models, X, y)
    assert not any(hasattr(model, "coefs_") for model in models)
