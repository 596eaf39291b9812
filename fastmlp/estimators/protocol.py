"""scikit-learn's callbacks (`sklearn.callback`, from 1.9): the estimators tell them of a fit and of its epochs."""

from typing import Any

from sklearn.base import BaseEstimator

from fastmlp.estimators.shared import Part, rows_of
from fastmlp.training.callbacks import Epoch

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before 1.9

    class CallbackSupportMixin:
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Any) -> Any:
        """Return the method."""
        return method


OF_A_FIT = ("_callback_fit_ctx", "_skl_callbacks_to_teardown", "_parent_callback_ctx")  # what scikit-learn sets


class FitTask:
    """A fit as scikit-learn's callbacks see it: a task, with one of its own for each epoch.

    An instance is a callback of ours that calls theirs.

    Parameters
    ----------
    estimator : BaseEstimator
        What is fitted.
    X, y, sample_weight : object
        As passed to `fit`.
    """

    def __init__(self, estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any):
        self._most = estimator.max_iter
        self._name = "iteration" if estimator.solver == "lbfgs" else "epoch"
        self._context = estimator._init_callback_context(max_subtasks=self._most)
        rows = (lambda: rows_of(X.whole.X, X.index)) if isinstance(X, Part) else X
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._told = {"estimator": estimator, "X": rows, "y": y, "metadata": metadata}
        self._context.call_on_fit_task_begin(**self._told)
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch = self._context.subcontext(task_name=self._name)
        self._epoch.call_on_fit_task_begin(**self._told)

    def __call__(self, epoch: Epoch) -> bool:
        """End the task of an epoch and begin the next; return whether a callback wants the training to end."""
        stops = self._epoch.call_on_fit_task_end(
            **self._told, reconstruction_attributes=lambda: vars(epoch.fitted_estimator())
        )
        self._epoch = None
        if epoch.number < self._most and not stops:
            self._begin_epoch()
        return stops

    def end(self) -> None:
        """End the task of the fit; the estimator is fitted."""
        if self._epoch is not None:  # it was begun and never ran: the fit ended before
            self._epoch.call_on_fit_task_end(estimator=self._told["estimator"])
        self._context.call_on_fit_task_end(**self._told, reconstruction_attributes=dict)


def fit_task(estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any) -> FitTask | None:
    """Return the task of a fit that begins; None where no callback of scikit-learn is set."""
    listened = getattr(estimator, "_skl_callbacks", None) or hasattr(estimator, "_parent_callback_ctx")
    return FitTask(estimator, X, y, sample_weight) if listened else None
