"""Functions that are called after each epoch."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone

from fastmlp import MLPClassifier, MLPRegressor, fit_many

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 4))
y = (X[:, 0] > 0) + 0


class Pruned(Exception):
    pass


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("early_stopping", [False, True])
def test_told_of_each_epoch(early_stopping):
    epochs = []
    model = MLPClassifier(
        max_iter=7, early_stopping=early_stopping, learning_rate="cosine", callbacks=epochs.append, random_state=0
    )
    model.fit(X, y)
    assert [epoch.number for epoch in epochs] == list(range(1, 8))
    assert [epoch.loss for epoch in epochs] == model.loss_curve_
    for name in ("learning_rate", "seconds"):
        assert [getattr(epoch, name) for epoch in epochs] == model.history_[name]
    assert [dict(epoch.numbers) for epoch in epochs] == [
        {name: values[place] for name, values in model.history_.items()} for place in range(7)
    ]
    if early_stopping:
        assert [epoch.validation_score for epoch in epochs] == model.validation_scores_
        assert [epoch.validation_loss for epoch in epochs] == model.validation_loss_curve_
    else:
        assert {(epoch.validation_score, epoch.validation_loss) for epoch in epochs} == {(None, None)}
    with pytest.raises(TypeError):
        epochs[0].numbers["loss"] = 0.0


def test_nothing_changes_by_being_told():
    plain = MLPRegressor(max_iter=9, random_state=0).fit(X, X[:, 0])
    told = clone(plain).set_params(callbacks=[lambda epoch: None, lambda epoch: 1]).fit(X, X[:, 0])
    np.testing.assert_array_equal(told.loss_curve_, plain.loss_curve_)
    np.testing.assert_array_equal(told.coefs_[0], plain.coefs_[0])


def test_true_ends_the_training_after_all_are_called():
    later = []
    model = MLPClassifier(max_iter=9, random_state=0, callbacks=[lambda epoch: epoch.number == 4, later.append])
    model.fit(X, y)
    expected = MLPClassifier(max_iter=4, random_state=0).fit(X, y)
    assert model.n_iter_ == len(later) == 4
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_with_early_stopping_the_best_weights_are_kept():
    model = MLPClassifier(max_iter=30, random_state=0, early_stopping=True, validation_fraction=0.3)
    model.set_params(callbacks=lambda epoch: epoch.number == 20).fit(X, y)
    assert model.n_iter_ == 20
    assert model.best_validation_score_ == max(model.validation_scores_)


def test_numbers_go_on_from_1_in_each_fit():
    numbers = []
    model = MLPClassifier(
        max_iter=3, warm_start=True, random_state=0, callbacks=lambda epoch: numbers.append(epoch.number)
    )
    model.fit(X, y).fit(X, y).partial_fit(X, y)
    assert numbers == [1, 2, 3, 1, 2, 3, 1]


def test_an_exception_leaves_the_estimator_as_it_was():
    def prune(epoch):
        if epoch.number == 3:
            raise Pruned

    model = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    before = pickle.dumps(model)
    with pytest.raises(Pruned):
        model.set_params(max_iter=9, callbacks=prune).fit(X, y)
    assert pickle.dumps(model.set_params(max_iter=3, callbacks=None)) == before
    errors = fit_many([MLPClassifier(callbacks=prune), MLPClassifier(max_iter=2)], X, y)
    assert [type(error) for error in errors] == [Pruned, type(None)]


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"callbacks": [3]}, TypeError, r"callbacks must be functions of an epoch, got 3"),
        ({"callbacks": 3}, ValueError, "'callbacks' parameter"),
        ({"callbacks": [print], "solver": "lbfgs"}, ValueError, "solver='lbfgs' has no callbacks"),
    ],
)
def test_bad_input(parameters, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**parameters).fit(X, y)


def test_optuna_prunes_by_a_callback():
    """The example of the README."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        def report(epoch):
            trial.report(epoch.validation_score, epoch.number)
            if trial.should_prune():
                raise optuna.TrialPruned

        rate = trial.suggest_float("learning_rate_init", 1e-6, 1e-1, log=True)
        model = MLPClassifier(
            learning_rate_init=rate, max_iter=20, early_stopping=True, random_state=0, callbacks=report
        )
        return model.fit(X, y).best_validation_score_

    pruner = optuna.pruners.MedianPruner(n_startup_trials=2)
    study = optuna.create_study(direction="maximize", pruner=pruner, sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=12)
    states = {trial.state for trial in study.trials}
    assert states == {optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED}
    assert study.best_value > 0.5


@pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental", "ignore::FutureWarning")
def test_optuna_search():
    integration = pytest.importorskip("optuna_integration")
    optuna = pytest.importorskip("optuna")
    space = {"alpha": optuna.distributions.FloatDistribution(1e-5, 1.0, log=True)}
    search = integration.OptunaSearchCV(
        MLPClassifier(max_iter=5, random_state=0), space, n_trials=3, random_state=0, cv=3
    )
    search.fit(X, y)
    assert search.best_params_["alpha"] > 0
    assert search.predict(X).shape == (90,)
