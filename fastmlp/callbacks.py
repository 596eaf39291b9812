"""Callbacks: what may be done after each epoch, for the parameter `callbacks` of the estimators.

A callback is any function of an `Epoch`, a plain, read-only record of what is known. If it returns True the training
ends there; if it raises, `fit` does, and the estimator stays as it was. The classes here are such functions. They begin
anew with each `fit`, and a clone of an estimator has its own.

From scikit-learn 1.9 the estimators take scikit-learn's callbacks, too, by `set_callbacks`: `ProgressBar` and
`ScoringMonitor` of `sklearn.callback`, on the estimator itself, in a `Pipeline`, and in searches.
"""

import logging
import os
from numbers import Integral, Real
from typing import Any

from fastmlp.extras import import_extra
from fastmlp.training.callbacks import Epoch

__all__ = ["Checkpoint", "EarlyStopping", "Epoch", "LearningRateLogger", "PruneTrial", "TimeBudget"]


class _Monitor:
    """What a callback reads of an epoch, and whether it is better than the best one."""

    def __init__(self, owner: object, name: str, greater_is_better: bool | None, min_delta: float = 0.0):
        if not isinstance(name, str):
            raise TypeError(f"monitor must be the name of a number in history_, got {name!r}.")
        self._owner, self._name, self._min_delta = type(owner).__name__, name, min_delta
        # as in scikit-learn, whose scores are better if they are greater
        greater = not name.endswith("loss") if greater_is_better is None else greater_is_better
        self._sign = 1.0 if greater else -1.0
        self.best: float | None = None

    def value(self, epoch: Epoch) -> float:
        """Return the number.

        Raises
        ------
        ValueError
            If the epoch has none of this name.
        """
        numbers = dict(epoch.numbers)
        if epoch.validation_score is not None:
            numbers["validation_score"] = epoch.validation_score
        if self._name not in numbers:
            raise ValueError(
                f"{self._owner} has monitor={self._name!r}, and an epoch has {', '.join(map(repr, numbers))}. Those of "
                "validation rows are there with early_stopping=True, or X_val and y_val in fit."
            )
        return numbers[self._name]

    def improves(self, epoch: Epoch) -> bool:
        """Return whether an epoch is better than all before by more than `min_delta`; no NaN is."""
        if epoch.number == 1:
            self.best = None
        value = self.value(epoch)
        better = value == value and (self.best is None or self._sign * (value - self.best) > self._min_delta)
        if better:
            self.best = value
        return better


class _Callback:
    def __repr__(self) -> str:
        parameters = (f"{name}={value!r}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({', '.join(parameters)})"


class EarlyStopping(_Callback):
    """End the training when a number has not improved for some epochs.

    The weights stay those of the last epoch; `Checkpoint` can write the best ones. The estimators' own
    `early_stopping=True` returns to the best ones.

    Parameters
    ----------
    monitor : str, default="validation_loss"
        A name in `history_`, or "validation_score".
    patience : int, default=10
        How many epochs without an improvement are borne.
    min_delta : float, default=0.0
        An improvement is more than this.
    greater_is_better : bool or None, default=None
        None: not for a name that ends in "loss".

    Raises
    ------
    ValueError
        In `fit`, if an epoch has no such number.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.callbacks import EarlyStopping
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(max_iter=1000, callbacks=EarlyStopping("loss", min_delta=0.1, patience=5))
    >>> model.fit(X, y).n_iter_ < 100
    True
    """

    def __init__(
        self,
        monitor: str = "validation_loss",
        patience: int = 10,
        min_delta: float = 0.0,
        greater_is_better: bool | None = None,
    ):
        _check_count("patience", patience, 0)
        _check_amount("min_delta", min_delta, 0.0)
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.greater_is_better = greater_is_better
        self._monitor = _Monitor(self, monitor, greater_is_better, min_delta)
        self._without = 0

    def __call__(self, epoch: Epoch) -> bool:
        """Return whether the training ends."""
        self._without = 0 if self._monitor.improves(epoch) or epoch.number == 1 else self._without + 1
        return self._without > self.patience


class Checkpoint(_Callback):
    """Write the estimator to a file as it is after an epoch, and at the end of the fit, by its method `save`.

    The file is there as a whole at any time, also if the process is killed while it writes: another one takes its
    place. `fastmlp.load` reads it. Each call of `partial_fit` counts as epoch 1.

    Parameters
    ----------
    path : str or path
        The file.
    every : int, default=1
        After how many epochs it is written.
    monitor : str or None, default=None
        A name in `history_`, or "validation_score": then it is written only if the number is better than in all epochs
        that were looked at before, and not at the end of the fit. None: always.
    greater_is_better : bool or None, default=None
        None: not for a name that ends in "loss".
    resume : bool, default=False
        Whether `fit` goes on with an unfinished fit that is in the file, instead of beginning anew: run the program
        again that was killed. The results are the same, bit for bit, as of one that was not. X, y and parameters but
        `n_threads`, `verbose`, `callbacks`, `max_iter` and `output` have to be the same; rows are only counted. What
        other callbacks remember is not in the file. Not for "lbfgs", `gradient_tol`, Dask, or a warm start.

    Raises
    ------
    ImportError
        In `fit`, if the extra `files` is not installed.
    ValueError
        In `fit`, if an epoch has no such number, a parameter is what `save` has no form for, or the file is of another
        fit.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import fastmlp
    >>> from fastmlp.callbacks import Checkpoint
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     checkpoint = Checkpoint(Path(folder, "digits.safetensors"), resume=True)
    ...     model = fastmlp.MLPClassifier(tol=1.0, n_iter_no_change=3, random_state=0, callbacks=checkpoint)
    ...     model = model.fit(X / 16, y)
    ...     fastmlp.load(checkpoint.path).n_iter_ == model.n_iter_
    True
    """

    def __init__(
        self,
        path: str | os.PathLike,
        every: int = 1,
        monitor: str | None = None,
        greater_is_better: bool | None = None,
        resume: bool = False,
    ):
        _check_count("every", every, 1)
        if resume and monitor is not None:
            raise ValueError(f"resume=True needs the last epoch, and monitor={monitor!r} keeps the best: monitor=None.")
        self.path, self.every, self.monitor = os.fspath(path), every, monitor
        self.greater_is_better, self.resume = greater_is_better, bool(resume)
        self._monitor = None if monitor is None else _Monitor(self, monitor, greater_is_better)

    def __call__(self, epoch: Epoch) -> None:
        """Write the file, if it is time to."""
        if epoch.number % self.every == 0 and (self._monitor is None or self._monitor.improves(epoch)):
            self._save(epoch.fitted_estimator())

    def fit_ends(self, estimator: Any) -> None:
        """Write the file, unless it has the best epoch."""
        if self._monitor is None:
            self._save(estimator)

    def unfinished(self) -> Any:
        """Return the estimator in the file, if it is there and of an unfinished fit, else None."""
        if not self.resume or not os.path.exists(self.path):
            return None
        from fastmlp.storage import load  # which knows the estimators

        estimator = load(self.path)
        return estimator if hasattr(estimator, "_begun") else None

    def _save(self, estimator: Any) -> None:
        (estimator.to_local() if hasattr(estimator, "to_local") else estimator).save(self.path)


class LearningRateLogger(_Callback):
    """Log the learning rate of the first epoch, and whenever it has changed, by the module `logging`.

    Parameters
    ----------
    logger : str or logging.Logger, default="fastmlp"
        Where to.
    level : int, default=logging.INFO
        The level of the records.

    Examples
    --------
    >>> import logging, sys
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> from fastmlp.callbacks import LearningRateLogger
    >>> X, y = load_iris(return_X_y=True)
    >>> logger = logging.getLogger("rates")
    >>> logger.addHandler(logging.StreamHandler(sys.stdout))
    >>> logger.setLevel(logging.INFO)
    >>> schedule = {"learning_rate": "step", "learning_rate_decay": 0.1, "decay_epochs": 2}
    >>> model = MLPClassifier(**schedule, max_iter=9, callbacks=[LearningRateLogger(logger), lambda e: e.number == 4])
    >>> model = model.fit(X, y)
    Epoch 1: learning rate 0.001
    Epoch 3: learning rate 0.0001
    """

    def __init__(self, logger: str | logging.Logger = "fastmlp", level: int = logging.INFO):
        if not isinstance(logger, str | logging.Logger):
            raise TypeError(f"logger must be a name or a logging.Logger, got {logger!r}.")
        self.logger, self.level = logger, level
        self._last: float | None = None

    def __call__(self, epoch: Epoch) -> None:
        """Log the rate."""
        if epoch.number == 1 or epoch.learning_rate != self._last:
            self._last = epoch.learning_rate
            logger = logging.getLogger(self.logger) if isinstance(self.logger, str) else self.logger
            logger.log(self.level, "Epoch %d: learning rate %s", epoch.number, epoch.learning_rate)


class TimeBudget(_Callback):
    """End the training before an epoch that would last beyond a time, if it takes as long as the last one.

    Parameters
    ----------
    seconds : float
        From the beginning of `fit`. At least one epoch is trained.
    """

    def __init__(self, seconds: float):
        _check_amount("seconds", seconds, 0.0)
        self.seconds = seconds
        self._last: float | None = None

    def __call__(self, epoch: Epoch) -> bool:
        """Return whether the training ends."""
        # the first one may have waited for the compiler
        epoch_seconds = 0.0 if epoch.number == 1 or self._last is None else epoch.seconds - self._last
        self._last = epoch.seconds
        return epoch.seconds + epoch_seconds >= self.seconds


class PruneTrial(_Callback):
    """Report a number to a trial of Optuna after each epoch, and end the trial where its pruner says so.

    Parameters
    ----------
    trial : optuna.trial.Trial
        The trial in which this one fit is.
    monitor : str, default="validation_score"
        A name in `history_`, or "validation_score".

    Raises
    ------
    optuna.TrialPruned
        In `fit`, if the trial is pruned. The estimator stays as it was.

    Examples
    --------
    >>> def objective(trial):
    ...     rate = trial.suggest_float("learning_rate_init", 1e-5, 1e-1, log=True)
    ...     model = MLPClassifier(learning_rate_init=rate, early_stopping=True, callbacks=PruneTrial(trial))
    ...     return model.fit(X_train, y_train).best_validation_score_
    >>> study.optimize(objective, n_trials=50)  # doctest: +SKIP
    """

    def __init__(self, trial: Any, monitor: str = "validation_score"):
        if not (hasattr(trial, "report") and hasattr(trial, "should_prune")):
            raise TypeError(f"trial must be a trial of Optuna, got {trial!r}.")
        self.trial, self.monitor = trial, monitor
        self._monitor = _Monitor(self, monitor, None)

    def __call__(self, epoch: Epoch) -> None:
        """Report, and raise if the trial is pruned."""
        self.trial.report(self._monitor.value(epoch), epoch.number)
        if self.trial.should_prune():
            pruned = import_extra("optuna", "optuna", "PruneTrial").TrialPruned
            raise pruned(f"{self.monitor} after epoch {epoch.number}")

    def __deepcopy__(self, memo: dict) -> "PruneTrial":
        return PruneTrial(self.trial, self.monitor)  # a clone of the estimator is in the same trial


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} must be an int >= {least}, got {value!r}.")


def _check_amount(name: str, value: object, least: float) -> None:
    if not isinstance(value, Real) or isinstance(value, bool) or not value >= least:
        raise ValueError(f"{name} must be a number >= {least:g}, got {value!r}.")
