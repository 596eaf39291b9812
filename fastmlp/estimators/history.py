"""What an estimator remembers of its epochs, as attributes and as a history that goes on."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from fastmlp.estimators.inputs import contiguous
from fastmlp.estimators.validation import first_scoring
from fastmlp.training.stochastic import History


def history_of(estimator: BaseEstimator, start: float, dtype: np.dtype) -> History:
    """Return a copy of the history so far, as far as there is one: the last solver may have been lbfgs.

    Parameters
    ----------
    estimator : BaseEstimator
        It has been fitted.
    start : float
        When this fit began, as `time.perf_counter` counts.
    dtype : numpy.dtype
        Of the parameters in this fit.

    Returns
    -------
    History
    """
    so_far = vars(estimator).get
    scores, losses = so_far("validation_scores_"), so_far("validation_loss_curve_")
    best = so_far("_best_parameters")
    if so_far("_followed_score") != first_scoring(estimator.scoring):
        scores = None  # those of another score say nothing of this one
    return History(
        so_far("t_", 0),
        list(so_far("loss_curve_", ())),
        so_far("best_loss_", np.inf),
        None if scores is None else list(scores),
        so_far("best_validation_score_"),
        so_far("_no_improvement_count", 0),
        None if best is None else contiguous(best, dtype),
        None if losses is None else list(losses),
        {name: list(values) for name, values in so_far("history_", {}).items()},
        start,
    )


def attributes_of(history: History, scoring: Any) -> dict[str, Any]:
    """Return the attributes in which an estimator keeps a history; scoring: the parameter."""
    return {
        "loss_": history.loss_curve[-1] if history.loss_curve else np.nan,
        "loss_curve_": history.loss_curve,
        "best_loss_": history.best_loss,
        "validation_scores_": history.validation_scores,
        "best_validation_score_": history.best_validation_score,
        "validation_loss_curve_": history.validation_losses,
        "history_": history.epochs,
        "t_": history.n_samples_seen,
        "_no_improvement_count": history.no_improvement_count,
        "_best_parameters": history.best_parameters,
        "_followed_score": first_scoring(scoring),
    }


def forget_history(estimator: BaseEstimator) -> None:
    """Remove what a fit in epochs left, and a fit without them does not set."""
    for name in (*attributes_of(History(), None), "_optimizer"):
        vars(estimator).pop(name, None)
