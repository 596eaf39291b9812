"""Checks of parameters against each other, before anything is computed."""

import numpy as np
from sklearn.base import BaseEstimator

from fastmlp.estimators.inputs import augmentation_of, callbacks_of
from fastmlp.formulas.schedules import SCHEDULES
from fastmlp.training.bar import check_bar

# what a stochastic solver can do beyond scikit-learn's, with the value at which it is off
OF_STOCHASTIC_SOLVERS = {
    "warmup_epochs": 0,
    "max_grad_norm": None,
    "gradient_tol": None,
    "l1_ratio": 0,
    "on_divergence": "error",
}


def check_combinations(estimator: BaseEstimator) -> None:
    """Check that the parameters, each of which is valid, make sense together.

    Raises
    ------
    ValueError
        If not. It names both sides.
    """
    callbacks_of(estimator.callbacks)
    if estimator.verbose > 1:
        check_bar()
    parameters = vars(estimator)
    solver, learning_rate = estimator.solver, estimator.learning_rate
    if solver == "lbfgs":
        wrong = [name for name, off in OF_STOCHASTIC_SOLVERS.items() if parameters[name] != off]
        if np.any(estimator.dropout):
            wrong.append("dropout")
        if estimator.augment:
            wrong.append("augment")
        if callable(learning_rate) or learning_rate in SCHEDULES:
            wrong.insert(0, "learning_rate")
        if wrong:
            raise ValueError(
                f"solver='lbfgs' has no {wrong[0]}, got {wrong[0]}={parameters[wrong[0]]!r}: take a stochastic solver "
                f"such as 'adam', or leave {wrong[0]} at its default."
            )
        if isinstance(estimator.shuffle, str):
            raise ValueError(
                f"solver='lbfgs' takes all rows at once, got shuffle={estimator.shuffle!r}: take a stochastic solver "
                "such as 'adam', or shuffle=True."
            )
    if not callable(learning_rate) and learning_rate in SCHEDULES:
        missing = [name for name in SCHEDULES[learning_rate].needs if parameters[name] is None]
        if missing:
            raise ValueError(f"learning_rate={learning_rate!r} needs {missing[0]}, got {missing[0]}=None.")
    if callable(learning_rate) and estimator.on_divergence == "retry":
        raise ValueError(
            f"on_divergence='retry' divides the learning rate, and learning_rate={learning_rate!r} is a function that "
            "gives it: take the name of a schedule, or on_divergence='error'."
        )
    if estimator.l1_ratio > 0 and solver == "adamw":
        raise ValueError(
            f"solver='adamw' keeps its decay of the weights apart from the loss, so l1_ratio={estimator.l1_ratio} has "
            "no meaning: take solver='adam', or l1_ratio=0."
        )


def check_precision(estimator: BaseEstimator, dtype: np.dtype) -> None:
    """Check that there are products whose precision can be chosen: of float32, on a GPU.

    Parameters
    ----------
    estimator : BaseEstimator
        An estimator.
    dtype : numpy.dtype
        Of its arithmetic.

    Raises
    ------
    ValueError
        If not. It names both sides.
    """
    precision = estimator.precision
    if precision == "float32":
        return
    if estimator.device == "cpu":
        raise ValueError(
            f"precision={precision!r} needs device='cuda' or 'auto', got device='cpu': take such a device, or "
            "precision='float32'."
        )
    if estimator.solver == "lbfgs":
        raise ValueError(
            f"precision={precision!r} is of arithmetic in float32, and solver='lbfgs' computes in float64: take a "
            "stochastic solver such as 'adam', or precision='float32'."
        )
    if dtype != np.float32:
        raise ValueError(
            f"precision={precision!r} is of arithmetic in float32, got dtype={estimator.dtype!r} and X of "
            f"{np.dtype(dtype).name}: take dtype='float32', or precision='float32'."
        )


def check_loss(estimator: BaseEstimator) -> None:
    """Check that a classifier's loss can have the targets that other parameters make.

    Raises
    ------
    ValueError
        If not. It names both sides.
    """
    loss, smoothing, augment = estimator.loss, estimator.label_smoothing, estimator.augment
    if smoothing > 0 and loss != "log_loss":
        raise ValueError(
            f"label_smoothing={smoothing} needs loss='log_loss', got loss={loss!r}: take that loss, or "
            "label_smoothing=0.0."
        )
    if loss == "hinge" and augmentation_of(augment).mixup > 0:
        raise ValueError(
            f"augment={augment} mixes labels, of which loss='hinge' can make nothing: take another loss, or leave "
            "'mixup' out."
        )


def check_full_batch(gradient_tol: float | None, batch_size: int, n_rows: int) -> None:
    """Check that a gradient is that of all rows where its norm ends the training.

    Raises
    ------
    ValueError
        If it is not.
    """
    if gradient_tol is not None and batch_size < n_rows:
        raise ValueError(
            f"gradient_tol={gradient_tol} needs the gradient of all {n_rows} rows, got batches of {batch_size}: take "
            "batch_size='full', or gradient_tol=None."
        )
