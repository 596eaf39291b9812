"""Functions that are called after each epoch, scikit-learn's callbacks, and the line of `verbose=2`."""

import logging
import pickle
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV as ScikitLearnGridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier, MLPRegressor, fit_many
from fastmlp.callbacks import Checkpoint, EarlyStopping, LearningRateLogger, PruneTrial, TimeBudget
from fastmlp.model_selection import GridSearchCV
from fastmlp.training.callbacks import call

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


def test_told_of_each_iteration_of_lbfgs():
    epochs = []
    model = MLPRegressor(
        solver="lbfgs", max_iter=50, random_state=0, callbacks=[epochs.append, lambda epoch: epoch.number == 7]
    )
    model.fit(X, X[:, 0])
    assert model.n_iter_ == len(epochs) == 7
    assert [epoch.number for epoch in epochs] == list(range(1, 8))
    assert model.loss_ == epochs[-1].loss < epochs[0].loss
    assert epochs[0].learning_rate is epochs[0].validation_score is None
    assert set(epochs[0].numbers) == {"loss", "seconds"}
    expected = MLPRegressor(solver="lbfgs", max_iter=7, random_state=0).fit(X, X[:, 0])
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def public(model):
    skipped = ("history_", "callbacks")  # seconds
    return {name: value for name, value in vars(model).items() if not name.startswith("_") and name not in skipped}


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_the_estimator_of_an_epoch(solver):
    """It is what a fit of so many epochs gives, can go on, and does not change with those that follow."""
    kept = {}

    def keep(epoch):
        kept[epoch.number] = epoch.fitted_estimator()

    model = MLPClassifier((7,), solver=solver, max_iter=6, random_state=0, callbacks=keep).fit(X, y)
    assert list(kept) == [1, 2, 3, 4, 5, 6]
    for number in (1, 4):
        expected = MLPClassifier((7,), solver=solver, max_iter=number, random_state=0).fit(X, y)
        got = public(kept[number])
        assert got.pop("max_iter") == 6
        for name, value in public(expected).items():
            if name != "max_iter":
                np.testing.assert_equal(got.pop(name), value)
        assert got == {}
        if solver != "lbfgs":
            np.testing.assert_array_equal(
                kept[number].partial_fit(X, y).coefs_[1], expected.partial_fit(X, y).coefs_[1]
            )
    np.testing.assert_array_equal(kept[6].coefs_[0], model.coefs_[0])


def test_the_estimator_of_an_epoch_has_its_weights_with_early_stopping():
    kept, scores = [], []

    def keep(epoch):
        kept.append(epoch.fitted_estimator())
        scores.append(kept[-1].score(X[:30], y[:30]))

    model = MLPClassifier(max_iter=9, random_state=0, early_stopping=True, callbacks=keep)
    model.fit(X[30:], y[30:], X_val=X[:30], y_val=y[:30])
    assert scores == model.validation_scores_


def test_the_estimator_of_an_epoch_is_there_while_callbacks_are_called():
    epochs = []
    MLPClassifier(max_iter=2, callbacks=epochs.append).fit(X, y)
    with pytest.raises(RuntimeError, match="the training has gone on"):
        epochs[0].fitted_estimator()
    assert pickle.loads(pickle.dumps(epochs[0].loss)) == epochs[0].loss


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"callbacks": [3]}, TypeError, r"callbacks must be functions of an epoch, got 3"),
        ({"callbacks": 3}, ValueError, "'callbacks' parameter"),
    ],
)
def test_bad_input(parameters, error, message):
    with pytest.raises(error, match=message):
        MLPClassifier(**parameters).fit(X, y)


def told(callback, values, name="loss", **more):
    """Return the number of the epoch after which a callback ends a training with these numbers; None if it does not."""
    for number, value in enumerate(values, start=1):
        numbers = {"loss": 0.0, "learning_rate": 0.1, "seconds": float(number), name: value, **more}
        if call([callback], number, numbers, None, None):
            return number
    return None


@pytest.mark.parametrize(
    ("callback", "values", "end"),
    [
        (EarlyStopping("loss", patience=2), [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0], 6),
        (EarlyStopping("loss", patience=0), [3.0, 2.0, 2.0], 3),
        (EarlyStopping("loss", patience=1), [3.0, 4.0, 2.0, 4.0, 1.0, 4.0], None),
        (EarlyStopping("loss", patience=1, min_delta=0.5), [3.0, 2.8, 2.6, 2.4], 3),
        (EarlyStopping("loss", patience=1), [1.0, np.nan, np.nan, 0.5], 3),
        (EarlyStopping("loss", patience=1), [np.nan, 3.0, 2.0, 1.0], None),
        (EarlyStopping("accuracy", patience=1), [0.5, 0.6, 0.7, 0.7, 0.6], 5),
        (EarlyStopping("accuracy", patience=1, greater_is_better=False), [0.5, 0.6, 0.7], 3),
        (EarlyStopping("validation_loss", patience=1), [0.5, 0.4, 0.6, 0.7], 4),
    ],
    ids=str,
)
def test_early_stopping_by_any_number(callback, values, end):
    for _ in range(2):  # it begins anew with each fit
        assert told(callback, values, callback.monitor) == end


@pytest.mark.parametrize(
    ("seconds", "end"),
    [(0.0, 1), (1.0, 1), (2.9, 2), (3.0, 2), (3.1, 3), (10.5, None)],  # epochs end at 1, 2, ... 9
)
def test_time_budget_ends_before_an_epoch_that_would_be_too_late(seconds, end):
    for _ in range(2):
        assert told(TimeBudget(seconds), [0.0] * 9) == end


def test_callbacks_in_a_fit():
    model = MLPClassifier(max_iter=100, random_state=0, callbacks=TimeBudget(0)).fit(X, y)
    assert model.n_iter_ == 1
    model = MLPClassifier(max_iter=300, tol=0, random_state=0, callbacks=EarlyStopping(patience=3))
    model.fit(X, (X[:, 0] * X[:, 1] > 0) + 0, X_val=X[:20], y_val=y[:20])  # other labels: the loss grows
    assert model.n_iter_ == int(np.argmin(model.validation_loss_curve_)) + 1 + 4
    clones = [clone(model), clone(model)]
    assert clones[0].callbacks is not clones[1].callbacks  # fits of several threads have their own


def test_monitor_that_an_epoch_does_not_have():
    message = r"EarlyStopping has monitor='validation_loss', and an epoch has 'loss', .*early_stopping=True"
    with pytest.raises(ValueError, match=message):
        MLPClassifier(callbacks=EarlyStopping()).fit(X, y)


def test_log_of_learning_rates(caplog):
    model = MLPClassifier(
        solver="sgd", learning_rate="step", learning_rate_decay=0.5, decay_epochs=2, max_iter=5, random_state=0
    )
    with caplog.at_level(logging.INFO, logger="fastmlp"):
        model.set_params(callbacks=LearningRateLogger()).fit(X, y)
    rates = model.history_["learning_rate"]
    assert [record.getMessage() for record in caplog.records] == [
        f"Epoch {number}: learning rate {rates[number - 1]}" for number in (1, 3, 5)
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=-1), "patience must be an int >= 0, got -1"),
        (lambda: EarlyStopping(patience=1.5), "patience must be an int >= 0, got 1.5"),
        (lambda: EarlyStopping(min_delta=float("nan")), "min_delta must be a number >= 0, got nan"),
        (lambda: Checkpoint("file", every=0), "every must be an int >= 1, got 0"),
        (lambda: TimeBudget(-1), "seconds must be a number >= 0, got -1"),
        (lambda: TimeBudget("1"), "seconds must be a number >= 0, got '1'"),
    ],
)
def test_bad_parameters_of_callbacks(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_bad_types_of_callbacks():
    with pytest.raises(TypeError, match="trial must be a trial of Optuna, got 3"):
        PruneTrial(3)
    with pytest.raises(TypeError, match="logger must be a name"):
        LearningRateLogger(3)
    with pytest.raises(TypeError, match="monitor must be the name"):
        EarlyStopping(3)


def test_prune_trial_reports_to_the_trial_itself():
    reports = []
    trial = SimpleNamespace(report=lambda value, step: reports.append((step, value)), should_prune=lambda: False)
    model = clone(MLPClassifier(max_iter=4, random_state=0, callbacks=PruneTrial(trial, "loss"))).fit(X, y)
    assert reports == list(enumerate(model.loss_curve_, start=1))


def needs_callbacks():
    return pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9 has no callbacks")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("weight", [None, np.linspace(0.1, 1, 90)])
def test_scoring_monitor_of_scikit_learn(solver, weight):
    monitor = needs_callbacks().ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(max_iter=5, solver=solver, random_state=0).set_callbacks(monitor)
    model.fit(X, y, sample_weight=weight)
    log = monitor.get_logs().data
    assert [(row["task_name"], row["task_id"]) for row in log[1:]] == [
        ("iteration" if solver == "lbfgs" else "epoch", number) for number in range(5)
    ]
    for row in log[1:]:
        expected = MLPClassifier(max_iter=row["task_id"] + 1, solver=solver, random_state=0).fit(X, y, weight)
        assert row["accuracy"] == expected.score(X, y, weight)
    assert log[0]["accuracy"] == log[-1]["accuracy"] == model.score(X, y, weight)


class Recorder:
    """Keeps the calls of the hooks; ends the training after the epoch `end`."""

    def __init__(self, end=None, error=None):
        self.calls, self.end, self.error = [], end, error

    def note(self, hook, context):
        self.calls.append((hook, context.task_name, context.task_id))

    def setup(self, estimator, context):
        self.note("setup", context)

    def teardown(self, estimator, context):
        self.note("teardown", context)

    def on_fit_task_begin(self, estimator, context):
        self.note("begin", context)

    def on_fit_task_end(self, estimator, context):
        self.note("end", context)
        if self.error == (context.task_name, context.task_id):
            raise Pruned
        return context.task_name == "epoch" and context.task_id == self.end


def test_hooks_of_scikit_learn_in_their_order():
    needs_callbacks()
    recorder = Recorder()
    model = MLPClassifier(max_iter=9, n_iter_no_change=2, tol=10.0, random_state=0).set_callbacks(recorder).fit(X, y)
    assert model.n_iter_ == 4
    epochs = [(hook, "epoch", number) for number in range(4) for hook in ("begin", "end")]
    unused = [("begin", "epoch", 4), ("end", "epoch", 4)]  # each that was begun is ended
    of_fit = [(hook, "fit", 0) for hook in ("setup", "begin", "end", "teardown")]
    assert recorder.calls == [*of_fit[:2], *epochs, *unused, *of_fit[2:]]
    recorder.calls.clear()
    model.partial_fit(X, y)  # scikit-learn's callbacks are about fit
    assert recorder.calls == []


def test_callback_of_scikit_learn_ends_the_training():
    needs_callbacks()
    recorder = Recorder(end=2)
    assert MLPClassifier(max_iter=9, random_state=0).set_callbacks(recorder).fit(X, y).n_iter_ == 3
    assert recorder.calls[-3:] == [("end", "epoch", 2), ("end", "fit", 0), ("teardown", "fit", 0)]


@pytest.mark.parametrize("place", [("epoch", 1), ("fit", 0)])
def test_error_in_a_callback_of_scikit_learn(place):
    needs_callbacks()
    model = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    before, recorder = model.coefs_, Recorder(error=place)
    with pytest.raises(Pruned):
        model.set_params(max_iter=5).set_callbacks(recorder).fit(X, y)
    assert model.coefs_ is before
    assert recorder.calls[-1] == ("teardown", "fit", 0)
    assert not [name for name in vars(model) if "callback" in name and name not in ("callbacks", "_skl_callbacks")]


@pytest.mark.parametrize("kind", [GridSearchCV, ScikitLearnGridSearchCV])
def test_callbacks_of_scikit_learn_in_pipelines_and_searches(kind, capsys):
    callback = needs_callbacks()
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(max_iter=4, random_state=0).set_callbacks(monitor)
    pipeline = make_pipeline(StandardScaler(), model)
    search = kind(pipeline, {"mlpclassifier__alpha": [1e-4, 1.0]}, cv=3)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(X, y)
    assert "MLPClassifier - fit" in capsys.readouterr().out
    log = monitor.get_logs().data
    epochs = [row for row in log if row["task_name"] == "epoch"]
    assert len(epochs) == 7 * 4  # of 2 candidates on 3 folds, and the best one on all
    depth = min(len(row["task_id_path"]) for row in epochs)  # of the refit
    scaled = search.best_estimator_[0].transform(X)
    assert next(row for row in epochs if len(row["task_id_path"]) == depth and row["task_id"] == 3)["accuracy"] == (
        search.best_estimator_[1].score(scaled, y)
    )


def test_callbacks_of_scikit_learn_in_fit_many():
    monitor = needs_callbacks().ScoringMonitor(scoring="accuracy")
    index = np.arange(60)
    model = MLPClassifier(max_iter=4, random_state=0).set_callbacks(monitor)
    assert fit_many([model], X, y, [index]) == [None]
    assert monitor.get_logs().data[-1]["accuracy"] == model.score(X[index], y[index])


def test_line_of_a_fit(capsys):
    model = MLPClassifier(max_iter=20, random_state=0, verbose=2, early_stopping=True, n_iter_no_change=30).fit(X, y)
    out = capsys.readouterr().out
    assert "20/20" in out
    for text in (f"loss {model.loss_:.4f}", f"score {model.validation_scores_[-1]:.4f}", "rows/s"):
        assert text in out
    assert "Iteration" not in out
    plain = MLPClassifier(max_iter=20, random_state=0, early_stopping=True, n_iter_no_change=30).fit(X, y)
    np.testing.assert_array_equal(plain.coefs_[0], model.coefs_[0])
    assert capsys.readouterr().out == ""
    model = MLPRegressor(max_iter=5, solver="lbfgs", random_state=0, verbose=2).fit(X, X[:, 0])
    assert f"loss {model.loss_:.4f}" in capsys.readouterr().out


def test_line_of_a_fit_that_fails(capsys):
    for _ in range(2):
        with pytest.raises(Pruned):
            MLPClassifier(verbose=2, callbacks=raises).fit(X, y)
    assert capsys.readouterr().out.count("0/200") == 2
    for thread in threading.enumerate():
        if "Refresh" in type(thread).__name__:  # of rich, told to end
            thread.join(10)
            assert not thread.is_alive()


def raises(epoch):
    raise Pruned


def test_lines_of_several_fits(capsys):
    models = [MLPClassifier(max_iter=30, random_state=seed, verbose=2) for seed in range(6)]
    assert fit_many(models, X, y) == [None] * 6
    assert "30/30" in capsys.readouterr().out


def test_partial_fit_prints_as_with_verbose_1(capsys):
    MLPClassifier(verbose=2).partial_fit(X, y, classes=[0, 1])
    assert capsys.readouterr().out.startswith("Iteration 1, loss = ")


def test_line_without_rich(monkeypatch):
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"verbose=2 needs the extra 'progress'.*pip install 'fastmlp\[progress\]'"):
        MLPClassifier(verbose=2).fit(X, y)


def test_optuna_prunes_by_a_callback():
    """The example of the README."""
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def objective(trial):
        rate = trial.suggest_float("learning_rate_init", 1e-6, 1e-1, log=True)
        model = MLPClassifier(
            learning_rate_init=rate, max_iter=20, early_stopping=True, random_state=0, callbacks=PruneTrial(trial)
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
