"""Penalties that make weights exactly zero, bounds of the gradient, and dropout."""

import copy

import numpy as np
import pytest
import pytorch
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.linear_model import ElasticNet, LogisticRegression

import fastmlp
from fastmlp import reference
from fastmlp.formulas.updates import UPDATES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
random = np.random.default_rng(0)
NOISE = np.hstack([X, random.normal(size=(150, 6))])
ROUND = {"batch_size": "full", "tol": 0, "random_state": 0, "n_iter_no_change": 10**6}


def classifier(**settings):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": (8, 6), "max_iter": 20, "random_state": 0, **settings})


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["sgd", "adam", "rmsprop", "nadam"])
@pytest.mark.parametrize("l1_ratio", [0.5, 1.0])
def test_the_minimum_is_that_of_the_elastic_net(l1_ratio, solver):
    """A network without a hidden layer is a linear model, whose penalised minimum scikit-learn finds by coordinates."""
    wanted = 2 * X[:, 2] - 0.5 * X[:, 1] + 0.3 * random.normal(size=150)
    strength = 0.2
    exact = ElasticNet(alpha=strength, l1_ratio=l1_ratio, tol=1e-12, max_iter=10**5).fit(NOISE, wanted)
    settings = {"solver": solver, "alpha": strength, "scale_alpha": False, "l1_ratio": l1_ratio}
    settings |= {"learning_rate": "cosine", "learning_rate_init": 0.05, "max_iter": 3000}
    model = fastmlp.MLPRegressor(hidden_layer_sizes=(), **settings, **ROUND).fit(NOISE, wanted)
    np.testing.assert_allclose(model.coefs_[0][:, 0], exact.coef_, atol=2e-4)
    np.testing.assert_array_equal(model.coefs_[0][:, 0] == 0, exact.coef_ == 0)
    residual = wanted - model.predict(NOISE)
    coef = model.coefs_[0]
    penalty = strength * (l1_ratio * np.abs(coef).sum() + (1 - l1_ratio) / 2 * (coef**2).sum())
    assert model.loss_ == pytest.approx((residual**2).mean() / 2 + penalty, rel=1e-6)


@pytest.mark.parametrize("sparse", [False, True])
def test_logistic_regression_with_an_l1_penalty(sparse):
    labels = y == 1
    exact = LogisticRegression(C=1 / 4.0, l1_ratio=1.0, solver="saga", tol=1e-9, max_iter=10**5)
    try:
        exact.fit(NOISE, labels)
    except ValueError:  # older scikit-learn: the penalty has a name
        exact = exact.set_params(penalty="l1", l1_ratio=None).fit(NOISE, labels)
    rows = csr_array(NOISE) if sparse else NOISE
    settings = {"solver": "sgd", "alpha": 4.0, "l1_ratio": 1.0, "learning_rate_init": 0.5, "max_iter": 3000}
    model = classifier(hidden_layer_sizes=(), **{**settings, **ROUND}).fit(rows, labels)
    np.testing.assert_allclose(model.coefs_[0][:, 0], exact.coef_[0], atol=1e-3)
    assert (model.coefs_[0] == 0).sum() == (exact.coef_ == 0).sum() > 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_features_without_use_lose_all_their_weights(dtype):
    settings = {"alpha": 3.0, "l1_ratio": 1.0, "max_iter": 200, "learning_rate_init": 0.01, "dtype": dtype}
    model = classifier(**settings).fit(NOISE, y)
    zeros = (model.coefs_[0] == 0).mean(axis=1)
    assert zeros[4:].mean() > 0.9 > 0.8 > zeros[2:4].mean()
    assert model.score(NOISE, y) > 0.9
    plain = classifier(**{**settings, "l1_ratio": 0.0}).fit(NOISE, y)
    assert not (plain.coefs_[0] == 0).any()


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", UPDATES)
def test_a_large_bound_of_the_norm_changes_nothing(solver):
    free = classifier(solver=solver).fit(X, y)
    bounded = classifier(solver=solver, max_grad_norm=1e10).fit(X, y)
    np.testing.assert_allclose(bounded.loss_curve_, free.loss_curve_, rtol=1e-12)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("sparse", [False, True])
def test_a_bound_of_the_norm_is_the_length_of_a_step(sparse):
    settings = {"solver": "sgd", "momentum": 0, "learning_rate_init": 0.5, "batch_size": "full", "alpha": 0.1}
    start = classifier(**{**settings, "learning_rate_init": 1e-300}, max_iter=1).fit(X, y)
    end = classifier(**settings, max_iter=1, max_grad_norm=0.01).fit(csr_array(X) if sparse else X, y)
    moves = [a - b for a, b in zip(end.coefs_ + end.intercepts_, start.coefs_ + start.intercepts_, strict=True)]
    assert np.sqrt(sum((move**2).sum() for move in moves)) == pytest.approx(0.5 * 0.01, rel=1e-9)


def test_a_bound_of_the_norm_keeps_a_training_with_large_steps():
    """Without it the first steps kill all units, and the mean is all that is learnt."""
    rows = np.linspace(-1, 1, 200)[:, np.newaxis]
    wanted = 100 * rows[:, 0] ** 3
    settings = {"solver": "sgd", "learning_rate_init": 0.1, "hidden_layer_sizes": (50, 50), "batch_size": 20}
    settings |= {"random_state": 0, "max_iter": 100, "tol": 0, "n_iter_no_change": 1000}
    assert fastmlp.MLPRegressor(**settings).fit(rows, wanted).score(rows, wanted) < 0.1
    assert fastmlp.MLPRegressor(**settings, max_grad_norm=1.0).fit(rows, wanted).score(rows, wanted) > 0.95


def test_dropout_silences_as_many_units_as_it_says():
    numbers = reference.uniform_numbers(3, 7, 1, (500, 400))
    assert np.mean(numbers) == pytest.approx(0.5, abs=0.005)
    for axis in (0, 1):  # neither rows nor units are favoured
        silent = (numbers < 0.3).mean(axis=axis)
        assert np.abs(silent - 0.3).max() < 5 * np.sqrt(0.3 * 0.7 / 400)
    other = [reference.uniform_numbers(*key, (500, 400)) for key in ((4, 7, 1), (3, 8, 1), (3, 7, 2))]
    for one in [*other, np.roll(numbers, 1, axis=0), np.roll(numbers, 1, axis=1)]:
        assert abs(np.corrcoef(numbers.ravel(), one.ravel())[0, 1]) < 5 / np.sqrt(200_000)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_dropout_in_a_fit(solver, sparse):
    settings = {"solver": solver, "max_iter": 150, "learning_rate_init": 0.02, "hidden_layer_sizes": (50, 30)}
    rows = csr_array(X) if sparse else X
    model = classifier(**settings, dropout=(0.4, 0.2)).fit(rows, y)
    assert model.score(rows, y) > 0.93
    again = classifier(**settings, dropout=(0.4, 0.2)).fit(rows, y)
    assert again.loss_curve_ == model.loss_curve_
    other = classifier(**settings, dropout=(0.4, 0.2), random_state=1).fit(rows, y)
    assert other.loss_curve_ != model.loss_curve_
    assert (
        classifier(**settings, dropout=0.0).fit(rows, y).loss_curve_ == classifier(**settings).fit(rows, y).loss_curve_
    )


def test_dropout_keeps_the_mean_of_a_unit():
    """An identity network with a step of nearly nothing: the loss over many epochs is that of noise around it."""
    rows = np.ones((2000, 1))
    settings = {"hidden_layer_sizes": (1,), "activation": "identity", "solver": "sgd", "alpha": 0, "max_iter": 20}
    settings |= {"learning_rate_init": 1e-300, "random_state": 0, "tol": 0, "n_iter_no_change": 100}
    silent = fastmlp.MLPRegressor(**settings, dropout=0.25).fit(rows, np.zeros(2000))
    output = silent.predict(rows[:1])[0]
    bias = silent.intercepts_[1][0]
    dropped, kept = bias**2 / 2, (bias + (output - bias) / 0.75) ** 2 / 2
    expected = 0.25 * dropped + 0.75 * kept
    deviation = abs(kept - dropped) * np.sqrt(0.25 * 0.75 / 40000)
    assert np.mean(silent.loss_curve_) == pytest.approx(expected, abs=4 * deviation)


def test_validation_uses_all_units():
    settings = {"hidden_layer_sizes": (40,), "early_stopping": True, "max_iter": 3, "learning_rate_init": 1e-300}
    scores = [classifier(**settings, dropout=rate).fit(X, y).validation_scores_ for rate in (0.0, 0.9)]
    assert scores[0] == scores[1]


def test_dropout_with_partial_fit_and_warm_start():
    model = classifier(dropout=0.5, hidden_layer_sizes=(20,))
    model.partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
    model.set_params(warm_start=True, max_iter=3).fit(X, y)
    assert len(model.loss_curve_) == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dropout": 0.5, "solver": "lbfgs"}, "solver='lbfgs' has no dropout, got dropout=0.5"),
        ({"dropout": (0.0, 0.5), "solver": "lbfgs"}, "solver='lbfgs' has no dropout"),
        ({"dropout": 1.0}, "'dropout' parameter of MLPClassifier must be"),
        ({"dropout": (0.5, -0.1)}, r"dropout must be in \[0, 1\), got"),
        ({"dropout": (0.5,)}, r"dropout=\(0.5,\) has 1 rates, but hidden_layer_sizes 2 layers"),
        ({"l1_ratio": 0.5, "solver": "lbfgs"}, "solver='lbfgs' has no l1_ratio, got l1_ratio=0.5"),
        ({"l1_ratio": 0.5, "solver": "adamw"}, "solver='adamw' keeps .* l1_ratio=0.5 has no meaning"),
        ({"l1_ratio": 1.5}, "'l1_ratio' parameter of MLPClassifier must be"),
        ({"max_grad_norm": 0.0}, "'max_grad_norm' parameter of MLPClassifier must be"),
        ({"scale_alpha": "no"}, "'scale_alpha' parameter of MLPClassifier must be"),
    ],
    ids=str,
)
def test_errors_name_both_sides(settings, message):
    model = classifier().fit(X, y).set_params(**settings)
    before = copy.copy(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert vars(model) == before


def test_same_losses_as_pytorch_with_a_bound_of_the_norm():
    torch = pytorch.import_torch()
    settings = {"solver": "sgd", "momentum": 0, "batch_size": 150, "shuffle": False, "alpha": 0, "activation": "tanh"}
    model = classifier(**settings, learning_rate_init=0.5, max_grad_norm=0.05, tol=0).fit(X, y)
    start = classifier(**settings, learning_rate_init=1e-300, max_iter=1).fit(X, y)

    def make_optimizer(weights, biases):
        class Clipped(torch.optim.SGD):
            def step(self, closure=None):
                torch.nn.utils.clip_grad_norm_([*weights, *biases], 0.05)
                super().step(closure)

        return Clipped([*weights, *biases], lr=0.5)

    losses = pytorch.full_batch_losses(
        start, X, "Tanh", lambda output: torch.nn.functional.cross_entropy(output, torch.from_numpy(y)), make_optimizer
    )
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-5)
