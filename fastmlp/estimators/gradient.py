"""The check of backpropagation on a user's own network and data."""

import copy
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.inputs import as_rows
from fastmlp.formulas.updates import UPDATES
from fastmlp.training.gradient import gradient_error


def check_gradient(
    estimator: BaseMLP, X: Any, y: Any, sample_weight: Any = None, n_parameters: int | None = 500
) -> float:
    """Compare the gradient by backpropagation with central finite differences of the loss [1]_, in float64.

    The network is that of the estimator, with its activations, its loss and its penalty `alpha`: at the fitted weights
    and biases if it is fitted, else at the initial ones that the next `fit` draws. The estimator and its random state
    stay as they are.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted or not.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The features.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        The targets, as for `fit`; for a fitted classifier not every class has to be among them.
    sample_weight : array-like of shape (n_samples,) or None, default=None
        The weights of the rows, >= 0. None: all 1.
    n_parameters : int or None, default=500
        The most weights and biases to compare: each takes the loss of all rows twice. They are shared out among the
        layers, at least one of each weight matrix and bias vector, and are the same in each call. None: all.

    Returns
    -------
    float
        The largest relative error of a weight matrix or bias vector: with its gradient g by backpropagation and d by
        differences, ||g - d|| / max(||g||, ||d||, 0.00001 |loss|). If all is right it is some 1e-8, and up to 1e-4
        where the gradient is small beside the loss, as rounding is then seen; a wrong derivative gives 0.01 to 1.

    Raises
    ------
    TypeError
        If the estimator is of another class.
    ValueError
        If a parameter or the data are not what they must be, or the loss is not finite.

    Notes
    -----
    A kink gives a false alarm: "relu", "leaky_relu", "selu" and "hard_tanh", and the losses "hinge", "absolute_error"
    and "quantile", have points without a derivative. Where a parameter's step takes a row across one, the difference
    mixes both sides. The step is 5e-6 times max(1, |parameter|), and a parameter that disagrees is tried again with a
    hundredth of it, which crosses hardly any. But a row that lies on a kink is on both sides for all steps: rows of
    zeros do while all biases are zero, at the start of each `weight_init` but "auto", and "lbfgs" may converge to a
    minimum on a kink. The error of a kink goes with other rows or weights; that of a wrong derivative stays.

    For several outputs with the loss "squared_error", the gradient is that of the sum over the outputs, though the
    loss that is reported is the mean, as in scikit-learn; it is compared with the differences of the sum. With the
    solver "adamw", `alpha` is no part of the loss. Of a penalty with `l1_ratio` only the L2 part is compared: the L1
    part has no gradient at 0 and takes steps of its own. With `dropout`, the same units are silent in all losses.

    References
    ----------
    .. [1] Nocedal, J., Wright, S. J. (2006). Numerical optimization, chapter 8.1: finite-difference derivative
       approximations. Springer.

    Examples
    --------
    >>> from fastmlp import MLPClassifier, check_gradient
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> check_gradient(MLPClassifier(activation="tanh", random_state=0), X, y) < 1e-6
    True
    """
    if not isinstance(estimator, BaseMLP):
        raise TypeError(f"estimator must be an MLPClassifier or MLPRegressor, got {estimator!r}.")
    whole = isinstance(n_parameters, Integral) and not isinstance(n_parameters, bool)
    if n_parameters is not None and not (whole and n_parameters > 0):
        raise ValueError(f"n_parameters must be an int > 0, or None for all, got {n_parameters!r}.")
    estimator._validate_params()
    fitted = hasattr(estimator, "coefs_")
    model = copy.copy(estimator)
    model.dtype, model.precision, model.warm_start, model.shuffle = "float64", "float32", False, True
    random_state = copy.deepcopy(check_random_state(model.random_state))
    network, parameters, rows = model._prepare(X, y, sample_weight, random_state, partial=fitted, continues=fitted)
    # the loss has no penalty where weights decay apart from it, and none with kinks, which is a step of its own
    decoupled = model.solver in UPDATES and UPDATES[model.solver].decoupled
    alpha = 0.0 if decoupled else model.alpha * (1 - model.l1_ratio)
    with model._make_engine(network, np.dtype(np.float64)) as engine:
        engine.load(as_rows(rows.X, np.float64), rows.targets, rows.weight)
        return gradient_error(engine, parameters, alpha, n_parameters)
