"""What goes on from fit to fit: the optimizer's state, and the best weights of partial fits that stop early."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastmlp

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
order = np.random.default_rng(0).permutation(150)
X, y = X[order], y[order]
TRAIN, VAL = slice(0, 100), slice(100, 150)
KINDS = {"MLPClassifier": {"classes": [0, 1, 2]}, "MLPRegressor": {}}

quiet = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
set_back = "did not improve more than tol=.* for {} consecutive calls of partial_fit. The weights are those of the best"


@pytest.fixture(params=KINDS)
def name(request):
    return request.param


def make(name, **settings):
    return getattr(fastmlp, name)(**{"hidden_layer_sizes": (8, 6), "random_state": 0, "max_iter": 5, **settings})


def weights_of(model):
    return [array.copy() for array in model.coefs_ + model.intercepts_]


def assert_weights(model, expected):
    for ours, array in zip(model.coefs_ + model.intercepts_, expected, strict=True):
        np.testing.assert_array_equal(ours, array)


@quiet
@parametrize_with_checks(
    [
        fastmlp.MLPClassifier(early_stopping=True, validation_fraction=0.3, scoring="loss", keep_optimizer=True),
        fastmlp.MLPRegressor(early_stopping=True, validation_fraction=0.3, scoring=["loss", "r2"]),
    ],
    expected_failed_checks=lambda estimator: {
        f"check_sample_weight_equivalence_on_{kind}_data": "other rows are held out if rows are repeated"
        for kind in ("dense", "sparse")
    },
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


@quiet
@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("kind", ["float64", "float32", "CSR"])
def test_calls_of_partial_fit_are_the_epochs_of_fit(name, kind):
    """As long as the score improves: by the same rows, with the same state."""
    rows = scipy.sparse.csr_matrix(X) if kind == "CSR" else X.astype(kind)
    data = {"X_val": rows[VAL], "y_val": y[VAL], "sample_weight_val": np.linspace(0.1, 2, 50)}
    settings = {"early_stopping": True, "shuffle": False, "tol": 0, "scoring": "loss"}
    whole = make(name, **settings).fit(rows[TRAIN], y[TRAIN], **data)
    parts = make(name, **settings)
    for _ in range(5):
        parts.partial_fit(rows[TRAIN], y[TRAIN], **data, **KINDS[name])
    assert whole.validation_scores_ == sorted(whole.validation_scores_)  # the premise
    assert parts.validation_scores_ == whole.validation_scores_
    assert parts.loss_curve_ == whole.loss_curve_
    assert parts.history_["validation_loss"] == parts.validation_loss_curve_ == whole.validation_loss_curve_
    assert_weights(parts, weights_of(whole))


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_the_best_weights_come_back_after_calls_without_improvement(name, solver):
    scores = iter([1.0, 3.0, 2.0, 3.0 + 1e-6, 2.0, 2.0, 2.0, 2.0, 5.0])
    settings = {"early_stopping": True, "n_iter_no_change": 3, "solver": solver, "keep_optimizer": True}
    model = make(name, scoring=lambda *arguments: next(scores), **settings)
    after = []
    for _ in range(4):
        model.partial_fit(X, y, **KINDS[name])
        after.append(weights_of(model))
        assert model._no_improvement_count == [0, 0, 1, 2][len(after) - 1]
    # by less than tol: no improvement, but the best weights
    assert model.best_validation_score_ == 3.0 + 1e-6
    with pytest.warns(ConvergenceWarning, match=set_back.format(3)):
        model.partial_fit(X, y)
    assert_weights(model, after[3])
    assert model._optimizer.state is None
    assert model.validation_scores_ == [1.0, 3.0, 2.0, 3.0 + 1e-6, 2.0]
    assert model.n_iter_ == 1
    assert model.t_ == 5 * 135  # a tenth is held out
    # it goes on from there, and again after three more
    first = copy.deepcopy(model).set_params(scoring=lambda *arguments: 2.0)
    fresh = make(name, solver=solver, early_stopping=True).partial_fit(X, y, **KINDS[name])
    fresh.coefs_, fresh.intercepts_ = copy.deepcopy((model.coefs_, model.intercepts_))
    fresh._optimizer.state, fresh._optimizer.step = None, 0
    assert_weights(first.partial_fit(X, y), weights_of(fresh.partial_fit(X, y)))
    model.partial_fit(X, y).partial_fit(X, y)
    assert any((ours != best).any() for ours, best in zip(model.coefs_, after[3], strict=False))
    with pytest.warns(ConvergenceWarning, match=set_back.format(3)):
        model.partial_fit(X, y)
    assert_weights(model, after[3])
    assert model.partial_fit(X, y).best_validation_score_ == 5.0
    assert model._best_parameters is None  # they are the present ones


def test_the_best_weights_survive_a_pickle(name):
    scores = [3.0, 1.0, 1.0]
    settings = {"early_stopping": True, "n_iter_no_change": 2}
    model = make(name, scoring="loss", **settings).partial_fit(X, y, **KINDS[name])
    best = weights_of(model)
    model.best_validation_score_ = scores[0]
    model.partial_fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    with pytest.warns(ConvergenceWarning, match=set_back.format(2)):
        loaded.partial_fit(X, y)
    assert_weights(loaded, best)
    with pytest.warns(ConvergenceWarning, match=set_back.format(2)):
        model.set_params(dtype="float32").partial_fit(X, y)
    assert_weights(model, [array.astype(np.float32) for array in best])
    assert model.coefs_[0].dtype == np.float32


@quiet
def test_partial_fit_after_fit_keeps_its_best_weights(name):
    settings = {"early_stopping": True, "n_iter_no_change": 2, "max_iter": 100, "tol": 0.1, "scoring": "loss"}
    model = make(name, **settings).fit(X, y)
    assert model._no_improvement_count == 3  # it stopped
    best, n_scores = weights_of(model), len(model.validation_scores_)
    model.set_params(tol=1e6)
    model.best_validation_score_ = 0.0
    model.partial_fit(X, y)
    assert model._no_improvement_count == 1
    with pytest.warns(ConvergenceWarning, match=set_back.format(2)):
        model.partial_fit(X, y)
    assert_weights(model, best)
    assert len(model.validation_scores_) == n_scores + 2


@quiet
def test_a_warm_start_keeps_the_best_weights_of_partial_fits(name):
    model = make(name, early_stopping=True, scoring="loss", warm_start=True).partial_fit(X, y, **KINDS[name])
    best = weights_of(model)
    model.best_validation_score_ = 0.0
    model.partial_fit(X, y)
    assert_weights(model.fit(X, y), best)


def test_early_stopping_switched_off_and_on_begins_anew(name):
    model = make(name, early_stopping=True, scoring="loss").partial_fit(X, y, **KINDS[name])
    model.best_validation_score_ = 0.0
    model.partial_fit(X, y)
    assert model._best_parameters is not None
    model.set_params(early_stopping=False, scoring=None).partial_fit(X, y)
    assert model._best_parameters is model.validation_scores_ is model.validation_loss_curve_ is None
    model.set_params(early_stopping=True).partial_fit(X, y)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == 1


def test_each_call_holds_out_the_same_rows_by_an_int(name):
    held_out = []

    def collect(estimator, rows, truth):
        held_out.append(rows)
        return float(len(held_out))

    model = make(name, early_stopping=True, validation_fraction=0.2, scoring=collect)
    for _ in range(3):
        model.partial_fit(X, y, **KINDS[name])
    assert held_out[0].shape == (30, 4)
    np.testing.assert_array_equal(held_out[0], held_out[1])
    np.testing.assert_array_equal(held_out[0], held_out[2])


def test_a_part_may_have_few_rows_of_a_class(name):
    wanted = np.zeros(20, int)
    wanted[3] = 1
    classes = {"classes": [0, 1]} if name == "MLPClassifier" else {}
    model = make(name, early_stopping=True)
    model.partial_fit(X[:20], wanted, **classes).partial_fit(X[:20], np.zeros(20, int))
    assert len(model.validation_scores_) == 2
    with pytest.raises(ValueError, match=r"The validation set is too small\. .* or pass X_val and y_val"):
        model.partial_fit(X[:5], wanted[:5])
    model.partial_fit(X[:5], wanted[:5], X_val=X[5:], y_val=y[5:] > 5)
    assert len(model.validation_scores_) == 3


def test_an_adaptive_learning_rate_falls_before_the_weights_are_set_back(name):
    settings = {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 6e-6, "n_iter_no_change": 1}
    scores = iter([2.0, 1.0, 1.0, 1.0])
    model = make(name, early_stopping=True, scoring=lambda *arguments: next(scores), **settings)
    model.partial_fit(X, y, **KINDS[name])
    best = weights_of(model)
    for rate in (6e-6 / 5, 6e-6 / 25):
        model.partial_fit(X, y)
        assert model._optimizer.learning_rate == pytest.approx(rate)
    with pytest.warns(ConvergenceWarning, match=set_back.format(1)):
        model.partial_fit(X, y)
    assert_weights(model, best)


def test_a_partial_fit_that_diverges_is_set_back_at_once():
    settings = {"solver": "sgd", "activation": "identity", "early_stopping": True, "batch_size": 20}
    model = make("MLPRegressor", **settings, learning_rate_init=1e-6).partial_fit(X, y)
    best = weights_of(model)
    model._optimizer.rate.base = 1e300
    with pytest.warns(ConvergenceWarning, match="Training stopped in epoch 1; the weights of the best"):
        model.partial_fit(X, y)
    assert_weights(model, best)
    assert np.isnan(model.validation_scores_[-1])
    assert model._optimizer.state is None
    new = make("MLPRegressor", **settings, learning_rate_init=1e300)
    with pytest.raises(ValueError, match="in epoch 1, before any finite validation score"):
        new.partial_fit(X * 1e10, y)
    assert not hasattr(new, "coefs_")


@quiet
@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("make_y", [np.asarray, scipy.sparse.csr_matrix])
def test_partial_fit_of_several_labels_is_as_good_as_fit(early_stopping, make_y):
    """Two calls on the halves of the rows take the two steps of an epoch of all."""
    labels = np.column_stack([X[:, 0] > 0, X[:, 2] > 0.5, y == 1]).astype(int)
    settings = {"learning_rate_init": 0.02, "batch_size": 50, "shuffle": False, "n_iter_no_change": np.inf}
    whole = make("MLPClassifier", **settings | {"max_iter": 60}).fit(X[TRAIN], labels[TRAIN])
    model = make("MLPClassifier", **settings, early_stopping=early_stopping)
    data = {"X_val": X[VAL], "y_val": make_y(labels[VAL])}
    for _ in range(60):
        for part in (slice(0, 50), slice(50, 100)):
            model.partial_fit(X[part], make_y(labels[part]), classes=np.arange(3), **data)
    predicted = model.predict(X[TRAIN])
    assert scipy.sparse.issparse(predicted) == (make_y is scipy.sparse.csr_matrix)
    predicted = scipy.sparse.csr_matrix(predicted).toarray()
    assert (predicted == labels[TRAIN]).mean() > 0.95
    np.testing.assert_array_equal(predicted, whole.predict(X[TRAIN]))
    np.testing.assert_allclose(model.predict_proba(X), whole.predict_proba(X), rtol=1e-6)
    assert model.history_["validation_accuracy"][-1] == model.score(X[VAL], labels[VAL])
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])


def test_without_early_stopping_nothing_is_remembered(name):
    model = make(name).partial_fit(X, y, **KINDS[name])
    assert model._best_parameters is model.validation_scores_ is model.best_validation_score_ is None


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_a_pickle_leaves_out_the_state(name, solver):
    model = make(name, hidden_layer_sizes=(200, 100), solver=solver)
    model.partial_fit(X, y, **KINDS[name]).partial_fit(X, y)
    kept, left_out = (len(pickle.dumps(model.set_params(keep_optimizer=keep))) for keep in (True, False))
    weights = sum(array.nbytes for array in weights_of(model))
    assert left_out < weights + 10_000
    assert kept - left_out == pytest.approx((2 if solver == "adam" else 1) * weights, abs=1000)
    assert model._optimizer.state is not None  # the original goes on
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert (other._optimizer.state, other._optimizer.step) == (None, 0)
        expected = copy.deepcopy(model)
        expected._optimizer.state = np.zeros(
            ((2 if solver == "adam" else 1), len(np.concatenate([array.ravel() for array in weights_of(model)])))
        )
        assert_weights(other.partial_fit(X, y), weights_of(expected.partial_fit(X, y)))
        other.set_params(keep_optimizer=True)
        assert_weights(pickle.loads(pickle.dumps(other)).partial_fit(X, y), weights_of(other.partial_fit(X, y)))


def test_a_pickle_keeps_an_adaptive_learning_rate(name):
    settings = {"solver": "sgd", "learning_rate": "adaptive", "tol": 1e6, "n_iter_no_change": 1}
    model = make(name, **settings)
    for _ in range(3):
        model.partial_fit(X, y, **KINDS[name])
    rate = model._optimizer.learning_rate
    assert rate < 0.001
    loaded = pickle.loads(pickle.dumps(model)).set_params(tol=0).partial_fit(X, y)
    assert loaded.history_["learning_rate"][-1] == rate


@quiet
@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("schedule", [{}, {"learning_rate": "cosine", "decay_epochs": 6}], ids=["constant", "cosine"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "nadam"])
def test_warm_starts_of_one_epoch_are_the_epochs_of_one_fit(name, solver, schedule):
    settings = {"solver": solver, "shuffle": False, "batch_size": 50, **schedule}
    whole = make(name, **settings, max_iter=6).fit(X, y)
    kept, anew = (make(name, **settings, max_iter=1, warm_start=True, keep_optimizer=keep) for keep in (True, False))
    for _ in range(6):
        kept.fit(X, y)
        anew.fit(X, y)
    assert kept.loss_curve_ == whole.loss_curve_
    assert kept.history_["learning_rate"] == whole.history_["learning_rate"]
    assert_weights(kept, weights_of(whole))
    assert anew.loss_curve_[3:] != whole.loss_curve_[3:]
    kept.set_params(warm_start=False).fit(X, y)
    assert kept.loss_curve_ == whole.loss_curve_[:1]
    assert kept._optimizer.step == 3


@quiet
def test_a_kept_state_and_changed_hyperparameters(name):
    settings = {"warm_start": True, "keep_optimizer": True, "shuffle": False}
    model = make(name, solver="sgd", **settings).fit(X, y)
    state = model._optimizer.state
    model.set_params(learning_rate_init=0.5, max_iter=1).fit(X, y)
    assert model.history_["learning_rate"][-1] == 0.5
    model.set_params(solver="adam").fit(X, y)  # another kind has another state
    assert model._optimizer.state.shape == (2, state.shape[1])
    assert model._optimizer.step == 1


@quiet
def test_a_warm_start_begins_with_a_new_optimizer_as_theirs():
    both = [
        module.MLPClassifier((8, 6), random_state=0, warm_start=True, max_iter=3)
        for module in (fastmlp, sklearn.neural_network)
    ]
    for _ in range(3):
        for model in both:
            model.fit(X, y)
    np.testing.assert_allclose(both[0].loss_curve_, both[1].loss_curve_, rtol=1e-6)
