"""The order of a stochastic training: epochs, shuffling, stopping, and what is printed and remembered."""

import functools
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.formulas.progress import compare_loss
from fastmlp.training.callbacks import Epoch, call
from fastmlp.training.optimizers import SGD, Adam
from fastmlp.training.retreat import Retreat
from fastmlp.training.shuffle import Blocks, Shuffle
from fastmlp.training.validation import Measured, append_epoch
from fastmlp.training.warm_state import forget_state

Parameters = tuple[list[np.ndarray], list[np.ndarray]]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
ADVICE = "Try a smaller learning_rate_init, scaled features and targets, or a larger alpha."


@dataclass(frozen=True)
class Schedule:
    """How long to train and when to stop; names and meanings are the estimators'.

    With `gradient_tol`, training ends when the norm of an epoch's last gradient is at most that, and not by the loss.
    `single_epoch` is set for partial_fit: one epoch and no complaint that it did not converge. `retries` says whether a
    training that diverges tries again. `blocks` are those of shuffle="blocks".
    """

    batch_size: int
    alpha: float
    max_iter: int
    shuffle: bool | str
    tol: float
    n_iter_no_change: float
    verbose: bool | int
    gradient_tol: float | None = None
    single_epoch: bool = False
    retries: bool = False
    blocks: Blocks | None = None


class Stopping(NamedTuple):
    """The rule by which a training stops that an engine may have to follow for several epochs.

    The best loss so far, how many epochs in a row have not improved it by `tol`, and the most that are allowed.
    """

    best_loss: float
    no_improvement_count: int
    tol: float
    patience: float


@dataclass
class History:
    """What is known of all epochs since the weights were drawn; goes on in warm starts and partial fits.

    `validation_scores` and `best_validation_score` are None without early stopping, `best_loss` is None with it.
    `best_parameters` are those of the best score where the present ones are others: between partial fits.
    `validation_losses` is None without validation rows. `epochs` holds the numbers of all epochs by their names.
    """

    n_samples_seen: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = np.inf
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    no_improvement_count: int = 0
    best_parameters: Parameters | None = None
    validation_losses: list[float] | None = None
    epochs: dict[str, list[float]] = field(default_factory=dict)
    start: float = field(default_factory=time.perf_counter)

    def set_early_stopping(self, early_stopping: bool) -> None:
        """Begin to follow the validation score, or the training loss, if that is not what was followed so far."""
        if early_stopping and (self.best_validation_score is None or self.validation_scores is None):
            self.validation_scores, self.best_validation_score, self.best_loss = [], -np.inf, None
            self.no_improvement_count, self.best_parameters = 0, None
        elif not early_stopping and self.best_loss is None:
            self.validation_scores, self.best_validation_score, self.best_loss = None, None, np.inf
            self.no_improvement_count, self.best_parameters = 0, None

    def record_epoch(
        self, loss: float, learning_rate: float, n_samples: int, measured: Measured | None, now: float
    ) -> None:
        """Append what is known of an epoch of so many rows that ended at `now`, a time of `time.perf_counter`."""
        self.n_samples_seen += n_samples
        self.loss_curve.append(loss)
        if measured is None:
            validation, self.validation_losses = {}, None
        else:
            validation = measured.numbers
            if self.validation_losses is None:
                self.validation_losses = []
            self.validation_losses.append(validation["validation_loss"])
        append_epoch(
            self.epochs,
            {"loss": float(loss), **validation, "learning_rate": learning_rate, "seconds": now - self.start},
        )

    def lengths(self) -> tuple[int, ...]:
        """Return how much there is of each list, and of those in `epochs`."""
        lists = (self.loss_curve, self.validation_scores, self.validation_losses, next(iter(self.epochs.values()), ()))
        return tuple(len(values or ()) for values in lists)

    def keep(self, lengths: tuple[int, ...], n_epochs: int) -> None:
        """Keep so many epochs beyond those `lengths`, and nothing of one that was recorded in part."""
        *of_lists, of_epochs = lengths
        lists = zip((self.loss_curve, self.validation_scores, self.validation_losses), of_lists, strict=True)
        for values, length in (*lists, *((values, of_epochs) for values in self.epochs.values())):
            if values is not None:
                del values[length + n_epochs :]

    def last_epoch(self) -> dict[str, float]:
        """Return the numbers of the last epoch."""
        return {name: values[-1] for name, values in self.epochs.items()}

    def record_loss(self, tol: float) -> None:
        """Compare the last loss with the best one."""
        self.best_loss, self.no_improvement_count = compare_loss.py_func(
            self.loss_curve[-1], self.best_loss, self.no_improvement_count, tol
        )

    def record_score(self, score: float, tol: float) -> bool:
        """Append a validation score, compare it with the best one, and return whether it is better."""
        self.validation_scores.append(score)
        improved = score >= self.best_validation_score + tol  # no NaN is an improvement
        self.no_improvement_count = 0 if improved else self.no_improvement_count + 1
        better = score > self.best_validation_score
        if better:
            self.best_validation_score = score
        return better


def clipped_batch_size(batch_size: int | str, n_samples: int) -> int:
    """Return the rows of a batch: "auto" is at most 200, "full" all; a larger number is clipped, with a warning."""
    if batch_size == "auto":
        return min(200, n_samples)
    if batch_size == "full":
        return n_samples
    if batch_size > n_samples:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=2
        )
    return min(int(batch_size), n_samples)


def train(
    engine: object,
    optimizer: SGD | Adam,
    history: History,
    schedule: Schedule,
    random_state: np.random.RandomState,
    n_samples: int,
    validate: Callable[[int, bool], Measured] | None = None,
    early_stopping: bool = False,
    callbacks: Sequence[Callable[[Epoch], object]] = (),
    fitted: Callable[[int], object] | None = None,
    n_before: int = 0,
) -> tuple[Parameters, int]:
    """Train until the loss, or the validation score, no longer improves, or for `max_iter` epochs.

    Ctrl-C ends the training with a warning and keeps the weights so far.

    Parameters
    ----------
    engine : Engine
        Loaded with the training rows, the parameters and the optimizer's state.
    optimizer : SGD or Adam
        Its counts and learning rate go on here.
    history : History
        Continued in place.
    schedule : Schedule
        How long to train.
    random_state : numpy.random.RandomState
        Shuffles the rows.
    n_samples : int
        The number of training rows.
    validate : callable or None, default=None
        Gives the validation's numbers at the engine's present parameters, for the number of the epoch and whether the
        parameters are finite. None: there are no validation rows.
    early_stopping : bool, default=False
        Whether the validation's score decides when to stop and which parameters are kept.
    callbacks : sequence of callable, default=()
        Called with each `Epoch`; the training ends if one returns True.
    fitted : callable or None, default=None
        Gives `Epoch.fitted_estimator` what it returns, for the number of the epoch.
    n_before : int, default=0
        How many epochs of this call have been taken already, by one that did not end: `random_state` is as it was when
        that one began, all else as it was after its last epoch.

    Returns
    -------
    parameters : tuple of (coefs, intercepts)
        The last epoch's, or with early stopping those of the epoch with the best score. In a partial fit with early
        stopping the last epoch's too, until the score has not improved in `n_iter_no_change` calls: then those of the
        best call, with a ConvergenceWarning, and the optimizer's state begins anew.
    n_iter : int
        The number of epochs of this call.

    Raises
    ------
    ValueError
        If parameters are no longer finite after an epoch, and there is no retry; with early stopping only if no epoch
        had a finite score, otherwise a ConvergenceWarning.
    """
    history.set_early_stopping(early_stopping)
    patience = schedule.n_iter_no_change
    if early_stopping:
        if history.best_parameters is None:
            history.best_parameters = engine.get_parameters()
        if schedule.single_epoch:
            patience -= 1  # calls; an epoch more in `fit`, as in scikit-learn
            if history.no_improvement_count > patience:  # the last fit stopped, and kept its best weights
                history.no_improvement_count = 0
    shuffle = Shuffle(n_samples, random_state if schedule.shuffle else None, schedule.blocks)
    shuffle.skip(n_before)
    n_steps = -(-n_samples // schedule.batch_size)
    # whether nothing has to be done, said or known after each epoch
    alone = validate is None and not (schedule.verbose or schedule.single_epoch) and schedule.gradient_tol is None
    alone = alone and optimizer.rate.lasts and not callbacks and not schedule.retries
    retreat = Retreat(engine, optimizer) if schedule.retries else None
    n_iter, finite, better, stops = n_before, True, False, False
    lengths = history.lengths()

    def has_to_stop() -> bool:
        """Return whether it has not improved for too long, unless the optimizer has a smaller learning rate to try."""
        if history.no_improvement_count <= patience:
            return False
        if optimizer.trigger_stopping(_no_improvement(schedule, early_stopping), bool(schedule.verbose)):
            return True
        history.no_improvement_count = 0
        return False

    try:
        stops = n_before > 0 and has_to_stop()
        while n_iter < schedule.max_iter and not stops:
            stopping = Stopping(history.best_loss, history.no_improvement_count, schedule.tol, patience)
            if retreat is not None:
                retreat.epoch_begins()
            most, start = schedule.max_iter - n_iter if alone else 1, time.perf_counter()
            try:
                *earlier, loss = engine.run_epochs(
                    shuffle, schedule.batch_size, schedule.alpha, optimizer.update(n_steps), stopping, most
                )
            finally:
                optimizer.advance(max(optimizer.step, engine.step))
            seconds = (time.perf_counter() - start) / (len(earlier) + 1)
            for number, one in enumerate(earlier, start=1):
                history.record_epoch(one, optimizer.last_rate, n_samples, None, start + number * seconds)
                history.record_loss(schedule.tol)
                n_iter += 1
                optimizer.iteration_ends(history.n_samples_seen)
            if schedule.verbose:
                print(f"Iteration {n_iter + 1}, loss = {loss:.8f}")
            finite = engine.is_finite()
            if not finite and retreat is not None and retreat.goes_back(n_iter + 1):
                shuffle.repeat()
                continue
            if retreat is not None:
                retreat.epoch_ends(loss)
            if not finite and not early_stopping:
                raise ValueError(f"{NOT_FINITE} It happened in epoch {n_iter + 1}. {ADVICE}")
            measured = None if validate is None else validate(n_iter + 1, finite)
            history.record_epoch(loss, optimizer.last_rate, n_samples, measured, time.perf_counter())
            if early_stopping:
                better = history.record_score(measured.score, schedule.tol)
                if better:
                    history.best_parameters = engine.get_parameters()
            else:
                history.record_loss(schedule.tol)
            n_iter += 1
            if schedule.verbose and measured is not None:
                print(f"Validation score: {measured.score:f}")
            if not finite:
                _stop_diverged(history, n_iter)
                break

            optimizer.iteration_ends(history.n_samples_seen)
            score = None if measured is None else measured.score
            if callbacks:
                snapshot = None if fitted is None else functools.partial(fitted, n_iter)
                if call(callbacks, n_iter, history.last_epoch(), score, snapshot):
                    break
            if schedule.gradient_tol is not None:
                if engine.gradient_norm <= schedule.gradient_tol:
                    if schedule.verbose:
                        print(f"The gradient's norm is {engine.gradient_norm:g}. Stopping.")
                    break
                if not early_stopping:
                    history.no_improvement_count = 0
            stops = has_to_stop()
            if stops or schedule.single_epoch:
                break
            if n_iter == schedule.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({n_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        history.keep(lengths, n_iter - n_before)
        warnings.warn(
            f"Training interrupted by user after {n_iter} epochs, of at most {schedule.max_iter}.", stacklevel=2
        )
    optimizer.state = engine.get_state()
    if not early_stopping:
        return engine.get_parameters(), n_iter
    best, history.best_parameters = history.best_parameters, None
    if schedule.single_epoch and finite and not stops:
        if better:
            return best, n_iter
        history.best_parameters = best
        return engine.get_parameters(), n_iter
    if schedule.single_epoch:
        history.no_improvement_count = 0
    if schedule.single_epoch or not finite:
        forget_state(optimizer)  # it belongs to the weights that are left
    _warn_of_best(history, schedule, stops, n_iter)
    return best, n_iter


def _stop_diverged(history: History, n_iter: int) -> None:
    if history.best_validation_score == -np.inf:
        raise ValueError(f"{NOT_FINITE} It happened in epoch {n_iter}, before any finite validation score. {ADVICE}")
    warnings.warn(
        f"{NOT_FINITE} Training stopped in epoch {n_iter}; the weights of the best validation score are kept. {ADVICE}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _warn_of_best(history: History, schedule: Schedule, stops: bool, n_iter: int) -> None:
    """Warn if a partial fit is set back to its best weights, or if none were better than those before the training."""
    message = None
    if schedule.single_epoch and stops:
        message = f"{_no_improvement(schedule, True)} The weights are those of the best call again."
    elif history.best_validation_score == -np.inf and n_iter > 0:
        message = "No epoch had a finite validation score: the weights are those from before the training."
    if message is not None:
        warnings.warn(message, ConvergenceWarning, stacklevel=3)


def _no_improvement(schedule: Schedule, early_stopping: bool) -> str:
    subject = "Validation score" if early_stopping else "Training loss"
    calls = "calls of partial_fit" if early_stopping and schedule.single_epoch else "epochs"
    epochs = f"{schedule.n_iter_no_change:d} consecutive {calls}"
    return f"{subject} did not improve more than tol={schedule.tol:f} for {epochs}."
