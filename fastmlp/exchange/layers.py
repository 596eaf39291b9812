"""A fitted estimator as a list of layers, for libraries whose networks are made of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastmlp.activation import Activation
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.inputs import dropout_rates

OUTPUTS = ("probability", "logits", None)


@dataclass(frozen=True)
class Layers:
    """What a library needs to build the network.

    Attributes
    ----------
    coefs, intercepts : list of ndarray
        Of shapes (inputs, outputs) and (outputs,), of one dtype.
    activations : tuple of str
        Of the hidden layers, then of the output: "identity" where the output activation is left out.
    dropout : tuple of float
        The rate of each hidden layer.
    groups : tuple of int
        How many outputs share a softmax, where there are several softmaxes.
    both_classes : bool
        Whether the one output p becomes two columns, 1 - p and p.
    missing : str or None
        The estimator's parameter.
    indicated : ndarray of int
        The features that have an input of their own which says where they are missing.
    n_features : int
        The columns of X.
    """

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    activations: tuple[str, ...]
    dropout: tuple[float, ...]
    groups: tuple[int, ...]
    both_classes: bool
    missing: str | None
    indicated: np.ndarray
    n_features: int


def layers_of(estimator: Any, output: str | None, function: str) -> Layers:
    """Return the layers of a fitted estimator, for a function of this name.

    Raises
    ------
    TypeError
        If it is none of ours, or has an activation of the user's own.
    ValueError
        If `output` is none that it has.
    NotFittedError
        If it is not fitted.
    """
    if not isinstance(estimator, BaseMLP):
        raise TypeError(f"{function} takes a fitted MLPClassifier or MLPRegressor of fastmlp, got {estimator!r}.")
    check_is_fitted(estimator)
    if output not in OUTPUTS:
        raise ValueError(f"output must be one of {OUTPUTS}, got {output!r}.")
    if output == "probability" and not hasattr(estimator, "predict_proba"):
        raise ValueError(
            f"output='probability' needs an estimator with predict_proba, got {estimator!r}: take output=None or "
            "'logits'."
        )
    network, coefs, intercepts = estimator._fitted_network()
    for number, activation in enumerate(network.activations, start=1):
        if isinstance(activation, Activation):
            raise TypeError(
                f"{function} cannot take a Python function along, and hidden layer {number} has {activation}: it takes "
                "the activations that have names."
            )
    raw, n_hidden, last = output == "logits", len(coefs) - 1, network.activations[-1]
    indicator = vars(estimator).get("indicator_")
    return Layers(
        coefs,
        intercepts,
        (*network.activations[:-1], "identity" if raw else last),
        dropout_rates(estimator.dropout, n_hidden) or (0.0,) * n_hidden,
        () if raw else network.groups,
        last == "logistic" and network.widths[-1] == 1 and not raw,
        estimator.missing,
        np.array([], np.intp) if indicator is None else indicator.features_,
        estimator.n_features_in_,
    )
