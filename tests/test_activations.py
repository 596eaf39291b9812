"""Activations as users of the estimators meet them."""

import copy

import numpy as np
import pytest
import pytorch
from scipy.special import ndtr, softmax
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV

import fastmlp
from fastmlp.cpu.program import CLASSIC_PROGRAM, FULL_PROGRAM, program_of
from fastmlp.formulas.activations import ACTIVATIONS, CLASSIC
from fastmlp.network import Network

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def classifier(**settings):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": (8, 6), "max_iter": 20, "random_state": 0, **settings})


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_every_activation_learns(activation, solver):
    model = classifier(activation=activation, solver=solver, max_iter=200, learning_rate_init=0.01)
    assert model.fit(X, y).score(X, y) >= 0.95


def test_one_name_for_each_layer_is_the_same_as_one_for_all():
    one, each = classifier(activation="softplus").fit(X, y), classifier(activation=["softplus"] * 2).fit(X, y)
    np.testing.assert_array_equal(one.loss_curve_, each.loss_curve_)
    np.testing.assert_array_equal(one.predict_proba(X), each.predict_proba(X))


@pytest.mark.usefixtures("each_engine")
def test_each_layer_has_its_own():
    model = classifier(activation=("elu", "gelu")).fit(X, y)
    z = X @ model.coefs_[0] + model.intercepts_[0]
    hidden = np.where(z > 0, z, np.expm1(np.minimum(z, 0)))
    z = hidden @ model.coefs_[1] + model.intercepts_[1]
    hidden = z * ndtr(z)
    expected = softmax(hidden @ model.coefs_[2] + model.intercepts_[2], axis=1)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-10)


def test_initial_weights_are_bounded_by_the_activation_of_their_layer():
    model = classifier(hidden_layer_sizes=(200, 200), activation=("logistic", "tanh"), learning_rate_init=1e-12)
    model.set_params(max_iter=1).fit(X, y)
    bounds = [np.sqrt(2 / 204), np.sqrt(6 / 400), np.sqrt(6 / 203)]
    for weight, bound in zip(model.coefs_, bounds, strict=True):
        assert 0.98 * bound < np.abs(weight).max() <= bound + 1e-9


def test_in_a_grid():
    search = GridSearchCV(classifier(), {"activation": ["relu", "mish", ("tanh", "silu")]}, cv=2).fit(X, y)
    assert len(search.cv_results_["params"]) == 3
    assert clone(search.best_estimator_).activation == search.best_estimator_.activation


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "relu6"}, "'activation' parameter of MLPClassifier must be"),
        ({"activation": ("relu", "relu6")}, r"activation must have names out of .*'arctan'.*, got 'relu6'"),
        ({"activation": ("relu",)}, "has 1 names, but hidden_layer_sizes 2 layers"),
        ({"activation": (1.5, "relu")}, "got 1.5"),
    ],
)
def test_errors_say_what_is_allowed(settings, message):
    fitted = classifier().fit(X, y)
    before = copy.deepcopy(vars(fitted.set_params(**settings)))
    with pytest.raises(ValueError, match=message):
        fitted.fit(X, y)
    np.testing.assert_equal(vars(fitted)["coefs_"], before["coefs_"])


def test_what_scikit_learn_has_needs_no_more_formulas_than_that():
    assert program_of(Network((1, 2, 3, 1), ("relu", "tanh", "identity"), "squared_error")) is CLASSIC_PROGRAM
    assert program_of(Network((1, 2, 3, 1), ("relu", "elu", "identity"), "squared_error")) is FULL_PROGRAM
    assert set(CLASSIC_PROGRAM.codes) == set(CLASSIC)


TORCH = {
    "identity": "Identity",
    "logistic": "Sigmoid",
    "tanh": "Tanh",
    "relu": "ReLU",
    "leaky_relu": "LeakyReLU",
    "elu": "ELU",
    "selu": "SELU",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "hard_tanh": "Hardtanh",
    "gelu": "GELU",
    "silu": "SiLU",
    "mish": "Mish",
}


@pytest.mark.parametrize("activation", TORCH)
def test_same_losses_as_pytorch(activation):
    torch = pytorch.import_torch()
    settings = {"activation": activation, "solver": "sgd", "learning_rate_init": 0.1, "momentum": 0, "alpha": 0}
    model = classifier(**settings, batch_size=150, shuffle=False, max_iter=20, tol=0)
    start = classifier(**{**settings, "learning_rate_init": 1e-300}, max_iter=1).fit(X, y)
    losses = pytorch.full_batch_losses(
        start,
        X,
        TORCH[activation],
        lambda output: torch.nn.functional.cross_entropy(output, torch.from_numpy(y)),
        lambda weights, biases: torch.optim.SGD([*weights, *biases], lr=0.1),
    )
    np.testing.assert_allclose(model.fit(X, y).loss_curve_, losses, rtol=1e-10)
