"""The order of a stochastic training: epochs, shuffling, stopping, and what is printed and remembered."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp.training.optimizers import SGD, Adam

Parameters = tuple[list[np.ndarray], list[np.ndarray]]

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and need to be preprocessed."
)
ADVICE = "Try a smaller learning_rate_init, scaled features and targets, or a larger alpha."


@dataclass(frozen=True)
class Schedule:
    """How long to train and when to stop; names and meanings are the estimators'.

    With `gradient_tol`, training ends when the norm of an epoch's last gradient is at most that, and not by the loss.
    `single_epoch` is set for partial_fit: one epoch and no complaint that it did not converge.
    """

    batch_size: int
    alpha: float
    max_iter: int
    shuffle: bool
    tol: float
    n_iter_no_change: float
    verbose: bool | int
    gradient_tol: float | None = None
    single_epoch: bool = False


@dataclass
class History:
    """What is known of all epochs since the weights were drawn; goes on in warm starts and partial fits.

    `validation_scores` and `best_validation_score` are None without early stopping, `best_loss` is None with it.
    """

    n_samples_seen: int = 0
    loss_curve: list[float] = field(default_factory=list)
    best_loss: float | None = np.inf
    validation_scores: list[float] | None = None
    best_validation_score: float | None = None
    no_improvement_count: int = 0

    def set_early_stopping(self, early_stopping: bool) -> None:
        """Begin to follow the validation score, or the training loss, if that is not what was followed so far."""
        if early_stopping and (self.best_validation_score is None or self.validation_scores is None):
            self.validation_scores, self.best_validation_score, self.best_loss = [], -np.inf, None
            self.no_improvement_count = 0
        elif not early_stopping and self.best_loss is None:
            self.validation_scores, self.best_validation_score, self.best_loss = None, None, np.inf
            self.no_improvement_count = 0

    def record_loss(self, tol: float) -> None:
        """Compare the last loss with the best one."""
        loss = self.loss_curve[-1]
        self.no_improvement_count = self.no_improvement_count + 1 if loss > self.best_loss - tol else 0
        if loss < self.best_loss:
            self.best_loss = loss

    def record_score(self, score: float, tol: float) -> bool:
        """Append a validation score, compare it with the best one, and return whether it is better."""
        self.validation_scores.append(score)
        self.no_improvement_count = self.no_improvement_count + 1 if score < self.best_validation_score + tol else 0
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
    score: Callable[[], float] | None = None,
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
    score : callable or None, default=None
        Gives the validation score at the engine's present parameters. None: no early stopping.

    Returns
    -------
    parameters : tuple of (coefs, intercepts)
        The last epoch's, or with early stopping those of the epoch with the best score.
    n_iter : int
        The number of epochs of this call.

    Raises
    ------
    ValueError
        If parameters are no longer finite after an epoch; with early stopping only if no epoch had a finite score,
        otherwise a ConvergenceWarning.
    """
    history.set_early_stopping(score is not None)
    best = engine.get_parameters() if score is not None else None
    order = np.arange(n_samples, dtype=np.int64)
    n_steps = -(-n_samples // schedule.batch_size)
    n_iter = 0
    try:
        while n_iter < schedule.max_iter:
            if schedule.shuffle:
                order = _shuffled(order, random_state)
            try:
                loss = engine.run_epoch(order, schedule.batch_size, schedule.alpha, optimizer.update(n_steps))
            finally:
                optimizer.advance(max(optimizer.step, engine.step))
            n_iter += 1
            history.n_samples_seen += n_samples
            history.loss_curve.append(loss)
            if schedule.verbose:
                print(f"Iteration {n_iter}, loss = {loss:.8f}")

            finite = engine.is_finite()
            if not finite and score is None:
                raise ValueError(f"{NOT_FINITE} It happened in epoch {n_iter}. {ADVICE}")
            if score is None:
                history.record_loss(schedule.tol)
            else:
                better = history.record_score(score() if finite else float("nan"), schedule.tol)
                if schedule.verbose:
                    print(f"Validation score: {history.validation_scores[-1]:f}")
                if better:
                    best = engine.get_parameters()
            if not finite:
                _stop_diverged(history, n_iter)
                break

            optimizer.iteration_ends(history.n_samples_seen)
            if schedule.gradient_tol is not None:
                if engine.gradient_norm <= schedule.gradient_tol:
                    if schedule.verbose:
                        print(f"The gradient's norm is {engine.gradient_norm:g}. Stopping.")
                    break
                if score is None:
                    history.no_improvement_count = 0
            if history.no_improvement_count > schedule.n_iter_no_change:
                if optimizer.trigger_stopping(_no_improvement(schedule, score is not None), bool(schedule.verbose)):
                    break
                history.no_improvement_count = 0
            if schedule.single_epoch:
                break
            if n_iter == schedule.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({n_iter}) reached and the optimization hasn't "
                    "converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=2)
    optimizer.state = engine.get_state()
    return best if score is not None else engine.get_parameters(), n_iter


def _shuffled(order: np.ndarray, random_state: np.random.RandomState) -> np.ndarray:
    """Return the rows in another order: the draws of `sklearn.utils.shuffle`, which permutes the last epoch's order."""
    permutation = np.arange(order.size)
    random_state.shuffle(permutation)
    return order[permutation]


def _stop_diverged(history: History, n_iter: int) -> None:
    if history.best_validation_score == -np.inf:
        raise ValueError(f"{NOT_FINITE} It happened in epoch {n_iter}, before any finite validation score. {ADVICE}")
    warnings.warn(
        f"{NOT_FINITE} Training stopped in epoch {n_iter}; the weights of the best validation score are kept. {ADVICE}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _no_improvement(schedule: Schedule, early_stopping: bool) -> str:
    subject = "Validation score" if early_stopping else "Training loss"
    epochs = f"{schedule.n_iter_no_change:d} consecutive epochs"
    return f"{subject} did not improve more than tol={schedule.tol:f} for {epochs}."
