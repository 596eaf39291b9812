"""Schedules of the learning rate, and full-batch descent until the gradient vanishes."""

import copy

import numpy as np
import pytest
import pytorch
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, Ridge

import fastmlp
from fastmlp.formulas.schedules import SCHEDULES
from fastmlp.training.optimizers import LearningRate

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
SETTINGS = {
    "step": {"learning_rate_decay": 0.5, "decay_epochs": 3},
    "exponential": {"learning_rate_decay": 0.7},
    "cosine": {},
    "one_cycle": {},
}


def classifier(**settings):
    settings = {"hidden_layer_sizes": (8, 6), "max_iter": 10, "random_state": 0, "tol": 0, "batch_size": 40, **settings}
    return fastmlp.MLPClassifier(**settings)


def rates(n_steps, n_epochs, **settings):
    """Return the rates of all steps, epoch by epoch as a training takes them."""
    rate = LearningRate(**settings)
    found = []
    for epoch in range(n_epochs):
        found.append(rate.of_steps(epoch * n_steps, n_steps))
        rate.iteration_ends(0)
    return np.concatenate(found)


def test_step_and_exponential():
    found = rates(4, 7, initial=0.8, schedule="step", decay=0.5, length=3)
    np.testing.assert_allclose(found, np.repeat([0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2], 4), rtol=1e-15)
    found = rates(4, 3, initial=0.8, schedule="exponential", decay=0.5)
    np.testing.assert_allclose(found, 0.8 * 0.5 ** (np.arange(12) / 4), rtol=1e-15)


def test_cosine_falls_to_zero_and_stays():
    found = rates(5, 6, initial=2.0, schedule="cosine", length=4)
    np.testing.assert_allclose(found[:20], 1 + np.cos(np.pi * np.arange(20) / 20), rtol=1e-14)
    np.testing.assert_array_equal(found[20:], 0)


def test_one_cycle_has_its_largest_value_after_three_tenths():
    found = rates(10, 12, initial=0.5, schedule="one_cycle", length=10)
    assert found.argmax() == 29
    assert found[29] == pytest.approx(0.5, rel=1e-12)
    assert found[0] == pytest.approx(0.02, rel=1e-12)
    np.testing.assert_allclose(found[99:], 0.02e-4, rtol=1e-9)
    assert np.isfinite(rates(1, 3, initial=0.5, schedule="one_cycle", length=1)).all()


@pytest.mark.parametrize("schedule", ["constant", "cosine", lambda step: 0.3])
def test_warm_up_rises_linearly(schedule):
    settings = {"initial": 0.3, "schedule": schedule, "length": 20}
    found = rates(4, 5, **settings, warmup=2.5)
    plain = rates(4, 5, **settings, warmup=1e-9)
    np.testing.assert_allclose(found, plain * np.minimum(1, np.arange(1, 21) / 10), rtol=1e-14)


def test_schedules_go_on_in_partial_fits_of_any_size():
    """An epoch is an epoch, however many rows it has."""
    model = classifier(**SETTINGS["step"], learning_rate="step", learning_rate_init=0.8, batch_size=10)
    last = []
    for rows in (150, 20, 20, 50, 150, 20, 20):
        model.partial_fit(X[:rows], y[:rows], classes=[0, 1, 2])
        last.append(model._optimizer.last_rate)
    np.testing.assert_allclose(last, [0.8, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2])


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"])
@pytest.mark.parametrize("learning_rate", SCHEDULES)
def test_every_schedule_with_every_solver(learning_rate, solver):
    """The same as a fit with the learning rates as a function of the step."""
    settings = {"solver": solver, "learning_rate_init": 0.02}
    named = classifier(**settings, learning_rate=learning_rate, **SETTINGS[learning_rate]).fit(X, y)
    extra = {"decay": SETTINGS[learning_rate].get("learning_rate_decay", 1.0)}
    extra["length"] = SETTINGS[learning_rate].get("decay_epochs", 10)
    values = rates(4, 10, initial=0.02, schedule=learning_rate, **extra)
    by_step = classifier(**settings, learning_rate=lambda step: values[step]).fit(X, y)
    np.testing.assert_array_equal(named.loss_curve_, by_step.loss_curve_)
    constant = classifier(**settings).fit(X, y)
    assert named.loss_curve_ != constant.loss_curve_
    assert classifier(**settings, learning_rate=lambda step: 0.02).fit(X, y).loss_curve_ == constant.loss_curve_


def test_more_steps_than_a_job_holds():
    """Only one step, late in the epoch, moves the weights: as if its row had been the only one."""
    rows, labels = np.tile(X, (40, 1)), np.tile(y, 40)
    settings = {"hidden_layer_sizes": (2,), "batch_size": 1, "max_iter": 1, "shuffle": False, "solver": "sgd"}
    settings["momentum"] = 0
    model = classifier(**settings, learning_rate=lambda step: 0.1 if step == 5555 else 0.0).fit(rows, labels)
    alone = classifier(**settings, learning_rate_init=1e-300).fit(rows, labels)
    alone.set_params(learning_rate_init=0.1)._optimizer = None
    alone.partial_fit(rows[5555:5556], labels[5555:5556])
    np.testing.assert_allclose(model.coefs_[0][:, 0], alone.coefs_[0][:, 0], rtol=1e-12)


def test_adaptive_rate_with_a_warm_up():
    settings = {"solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 1, "max_iter": 6}
    model = classifier(**settings, learning_rate_init=0.5, warmup_epochs=2).fit(X, y)
    assert model._optimizer.learning_rate in (0.5 / 5, 0.5 / 5 / 5)
    assert model._optimizer.last_rate in (0.5 / 5, 0.5 / 5 / 5)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_full_batch_descends_until_the_gradient_is_small(early_stopping):
    """Without a hidden layer the minimum is unique, and scikit-learn finds it too."""
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "batch_size": "full", "learning_rate_init": 1.0}
    settings |= {"max_iter": 20000, "alpha": 1.5, "gradient_tol": 1e-7, "n_iter_no_change": 100000}
    model = classifier(**settings, early_stopping=early_stopping).fit(X, y)
    assert 10 < model.n_iter_ < 20000
    if early_stopping:
        return
    exact = LogisticRegression(C=1 / 1.5, tol=1e-10, max_iter=1000).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), exact.predict_proba(X), atol=1e-4)


def test_gradient_tol_alone_ends_the_training(capsys):
    settings = {"hidden_layer_sizes": (), "solver": "sgd", "batch_size": 150, "tol": 1e3, "max_iter": 300}
    short = classifier(**settings, n_iter_no_change=2).fit(X, y)
    long = classifier(**settings, n_iter_no_change=2, gradient_tol=0.02, learning_rate_init=1.0, verbose=True).fit(X, y)
    assert short.n_iter_ < 10 < long.n_iter_ < 300
    assert "The gradient's norm is" in capsys.readouterr().out


def test_penalty_that_does_not_depend_on_the_batch():
    """Ridge regression has one solution; ours is the same whatever the batch if the penalty is not scaled by it."""
    wanted = X[:, 2] * 3 + X[:, 1]
    settings = {"hidden_layer_sizes": (), "solver": "lbfgs", "max_iter": 5000, "tol": 1e-12, "alpha": 0.3}
    model = fastmlp.MLPRegressor(**settings, scale_alpha=False).fit(X[:, :2], wanted)
    np.testing.assert_allclose(model.coefs_[0][:, 0], Ridge(alpha=0.3 * 150).fit(X[:, :2], wanted).coef_, rtol=1e-3)
    scaled = fastmlp.MLPRegressor(**settings).fit(X[:, :2], wanted)
    np.testing.assert_allclose(scaled.coefs_[0][:, 0], Ridge(alpha=0.3).fit(X[:, :2], wanted).coef_, rtol=1e-3)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_unscaled_penalty_is_the_scaled_one_times_the_rows(solver):
    settings = {"solver": solver, "batch_size": 50, "shuffle": False}
    scaled, plain = classifier(**settings, alpha=0.5), classifier(**settings, alpha=0.01, scale_alpha=False)
    np.testing.assert_allclose(scaled.fit(X, y).loss_curve_, plain.fit(X, y).loss_curve_, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learning_rate": "step", "decay_epochs": 2}, "learning_rate='step' needs learning_rate_decay, got .*None"),
        ({"learning_rate": "step", "learning_rate_decay": 0.5}, "learning_rate='step' needs decay_epochs, got .*None"),
        ({"learning_rate": "exponential"}, "learning_rate='exponential' needs learning_rate_decay"),
        ({"learning_rate": "linear"}, "'learning_rate' parameter of MLPClassifier must be"),
        ({"learning_rate": lambda step: -1.0}, "must give numbers >= 0, got -1.0 for step 0"),
        ({"learning_rate": lambda step: np.nan if step == 5 else 1e-3}, "got nan for step 5"),
        ({"learning_rate": "cosine", "solver": "lbfgs"}, "solver='lbfgs' has no learning_rate, got .*'cosine'"),
        ({"warmup_epochs": 1, "solver": "lbfgs"}, "solver='lbfgs' has no warmup_epochs, got warmup_epochs=1"),
        ({"gradient_tol": 0.1, "solver": "lbfgs"}, "solver='lbfgs' has no gradient_tol"),
        ({"max_grad_norm": 1.0, "solver": "lbfgs"}, "solver='lbfgs' has no max_grad_norm"),
        ({"gradient_tol": 0.1}, "gradient_tol=0.1 needs the gradient of all 150 rows, got batches of 40"),
        ({"warmup_epochs": -1}, "'warmup_epochs' parameter"),
        ({"learning_rate_decay": 1.5}, "'learning_rate_decay' parameter"),
        ({"decay_epochs": 0}, "'decay_epochs' parameter"),
    ],
)
def test_errors_name_both_sides(settings, message):
    model = classifier().fit(X, y).set_params(**settings)
    before = copy.copy(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert vars(model) == before


TORCH = {
    "step": lambda lr, optimizer: lr.StepLR(optimizer, step_size=3, gamma=0.5),
    "cosine": lambda lr, optimizer: lr.CosineAnnealingLR(optimizer, T_max=20),
    "one_cycle": lambda lr, optimizer: lr.OneCycleLR(optimizer, max_lr=0.1, total_steps=20, cycle_momentum=False),
    "exponential": lambda lr, optimizer: lr.ExponentialLR(optimizer, gamma=0.7),
}


@pytest.mark.parametrize("learning_rate", SCHEDULES)
def test_same_rates_as_pytorch(learning_rate):
    torch = pytorch.import_torch()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = TORCH[learning_rate](torch.optim.lr_scheduler, optimizer)
    theirs = []
    for _ in range(20):
        theirs.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    decay = SETTINGS[learning_rate].get("learning_rate_decay", 1.0)
    length = SETTINGS[learning_rate].get("decay_epochs", 20)
    ours = rates(1, 20, initial=0.1, schedule=learning_rate, decay=decay, length=length)
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)
