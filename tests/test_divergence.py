"""A training that diverges: an error in its own epoch, or on request another try with a smaller learning rate."""

import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, fit_many

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 4))
y = X @ [1.0, -2.0, 0.5, 0.0]
DIVERGES = MLPRegressor(
    hidden_layer_sizes=(21,),  # no whole registers: what lies beyond them must not keep its NaN
    solver="sgd",
    learning_rate_init=3.0,
    max_iter=30,
    tol=0,
    n_iter_no_change=30,
    random_state=0,
    activation="identity",
    batch_size=10,
    momentum=0,
)
RETRIES = clone(DIVERGES).set_params(on_divergence="retry")


def fit(model, *arguments, method="fit"):
    """Fit, and return the learning rates that it went on with."""
    with pytest.warns(ConvergenceWarning) as caught:
        getattr(model, method)(*arguments)
    texts = [str(one.message) for one in caught if "diverged" in str(one.message)]
    return [float(text.rpartition("=")[2].rstrip(".")) for text in texts]


@pytest.mark.usefixtures("each_engine")
def test_error_by_default_and_retry_on_request():
    with pytest.raises(ValueError, match=r"non-finite parameter weights.* in epoch [1-9]"):
        DIVERGES.fit(X, y)
    model = clone(RETRIES)
    rates = fit(model, X, y)
    assert len(rates) > 0
    np.testing.assert_allclose(rates, 3.0 / 5.0 ** np.arange(1, len(rates) + 1), rtol=1e-5)
    assert model.n_iter_ == len(model.loss_curve_) == 30
    assert np.isfinite(model.loss_curve_).all()
    assert model.loss_ < 0.01
    np.testing.assert_allclose(model.history_["learning_rate"][-1], rates[-1], rtol=1e-5)


def test_first_epoch_goes_back_to_the_initial_weights():
    """A fit whose first epoch diverges is the fit with the smaller learning rate: same weights, same shuffles."""
    start = clone(RETRIES).set_params(learning_rate_init=1000.0, max_iter=6)
    rates = fit(start, X, y)
    assert len(rates) > 0
    expected = clone(RETRIES).set_params(learning_rate_init=1000.0, max_iter=6)
    for _ in rates:
        expected.learning_rate_init /= 5
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        expected.fit(X, y)
    assert start.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(start.coefs_[0], expected.coefs_[0])


def test_what_never_is_finite_is_an_error():
    model = clone(RETRIES).set_params(learning_rate_init=1.0)
    with pytest.warns(ConvergenceWarning, match="diverged"), pytest.raises(ValueError, match="in epoch 1"):
        model.fit(X * 1e200, y)
    assert not hasattr(model, "coefs_")


def test_nothing_changes_where_nothing_diverges():
    settings = {"max_iter": 15, "random_state": 0, "dropout": 0.2}
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        expected = MLPClassifier(**settings).fit(X, y > 0)
    with pytest.warns(ConvergenceWarning, match="Maximum iterations"):
        model = MLPClassifier(**settings, on_divergence="retry").fit(X, y > 0)
    assert model.loss_curve_ == expected.loss_curve_
    np.testing.assert_array_equal(model.coefs_[1], expected.coefs_[1])


@pytest.mark.parametrize("settings", [{"early_stopping": True}, {"learning_rate": "adaptive"}, {"shuffle": "blocks"}])
def test_with_others(settings):
    model = clone(RETRIES).set_params(**settings)
    assert len(fit(model, X, y)) > 0
    assert model.score(X, y) > 0.9


def test_partial_fit_and_what_it_keeps():
    model = clone(RETRIES).set_params(learning_rate_init=1000.0)  # each call goes back to what it began with
    rates = []
    for _ in range(3):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.partial_fit(X, y)
        rates += [one for one in caught if "diverged" in str(one.message)]
    assert rates
    assert np.isfinite(model.loss_curve_).all()
    assert pickle.loads(pickle.dumps(model))._optimizer.rate.initial < 1000.0


def test_in_many_fits():
    models = [clone(RETRIES), clone(DIVERGES)]
    with pytest.warns(ConvergenceWarning):
        errors = fit_many(models, X, y)
    assert errors[0] is None
    assert isinstance(errors[1], ValueError)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"on_divergence": "stop"}, "'on_divergence' parameter of MLPRegressor must be"),
        ({"on_divergence": "retry", "solver": "lbfgs"}, "solver='lbfgs' has no on_divergence"),
        ({"on_divergence": "retry", "learning_rate": lambda step: 0.1}, "on_divergence='retry' divides the learning"),
    ],
)
def test_bad_input(parameters, message):
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**parameters).fit(X, y)
