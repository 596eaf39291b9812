"""Solvers as users of the estimators meet them."""

import copy

import numpy as np
import pytest
import pytorch
from scipy.sparse import csr_array
from sklearn.datasets import load_iris

import fastmlp
from fastmlp.formulas.updates import UPDATES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)


def classifier(**settings):
    return fastmlp.MLPClassifier(**{"hidden_layer_sizes": (8, 6), "max_iter": 20, "random_state": 0, **settings})


@pytest.mark.parametrize("solver", UPDATES)
@pytest.mark.parametrize("sparse", [False, True])
def test_every_solver_learns(sparse, solver):
    model = classifier(solver=solver, max_iter=300, learning_rate_init=0.1 if solver in ("sgd", "adagrad") else 0.01)
    assert model.fit(csr_array(X) if sparse else X, y).score(X, y) >= 0.95


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", UPDATES)
def test_partial_fit_goes_on_from_the_state(solver):
    """Epoch by epoch in pieces is the same as at once: no moment is lost, no step is counted twice."""
    settings = {"solver": solver, "shuffle": False, "batch_size": 50}
    whole = classifier(**settings, max_iter=4, tol=0).fit(X, y)
    pieces = classifier(**settings)
    for _ in range(4):
        pieces.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_array_equal(whole.loss_curve_, pieces.loss_curve_)


def test_another_solver_begins_with_a_state_of_its_own():
    model = classifier(solver="rmsprop", keep_optimizer=True).partial_fit(X, y, classes=[0, 1, 2])
    before = copy.deepcopy(model)
    model.set_params(solver="nadam").partial_fit(X, y)
    assert model._optimizer.step == before._optimizer.step == 1
    assert model._optimizer.state.shape[0] == 2


def test_decoupled_decay_shrinks_weights_that_no_gradient_moves():
    settings = {"batch_size": 150, "shuffle": False, "random_state": 0, "tol": 0}
    features = np.hstack([X, np.zeros((150, 1))])  # the last one moves no weight
    start = classifier(solver="adamw", alpha=0.0, learning_rate_init=0.01, **settings).set_params(max_iter=1)
    end = classifier(solver="adamw", alpha=0.5, learning_rate_init=0.01, **settings).set_params(max_iter=10)
    start.fit(features, y)
    end.fit(features, y)
    np.testing.assert_allclose(end.coefs_[0][-1], start.coefs_[0][-1] * (1 - 0.01 * 0.5) ** 10, rtol=1e-12)


TORCH = {
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {"weight_decay": 0.1}),
    "nadam": ("NAdam", {}),
    "rmsprop": ("RMSprop", {"alpha": 0.999}),
    "adagrad": ("Adagrad", {}),
}


@pytest.mark.parametrize("solver", TORCH)
def test_same_losses_as_pytorch(solver):
    torch = pytorch.import_torch()
    name, extra = TORCH[solver]
    # Adam's epsilon stands on another side of the correction there, so it must be too small to matter
    settings = {"solver": solver, "learning_rate_init": 0.01, "epsilon": 1e-30, "alpha": extra.get("weight_decay", 0)}
    model = classifier(**settings, batch_size=150, shuffle=False, max_iter=20, tol=0, activation="tanh")
    start = classifier(solver="sgd", learning_rate_init=1e-300, max_iter=1, activation="tanh").fit(X, y)

    def make_optimizer(weights, biases):
        groups = [{"params": weights}, {"params": biases, "weight_decay": 0}]
        return getattr(torch.optim, name)(groups, lr=0.01, eps=1e-30, **extra)

    losses = pytorch.full_batch_losses(
        start,
        X,
        "Tanh",
        lambda output: torch.nn.functional.cross_entropy(output, torch.from_numpy(y)),
        make_optimizer,
    )
    np.testing.assert_allclose(model.fit(X, y).loss_curve_, losses, rtol=1e-8)
