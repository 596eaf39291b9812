"""scikit-learn's networks as ours, and ours as scikit-learn's."""

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, is_classifier
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

from fastmlp.estimators import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.inputs import hidden_activations, hidden_widths
from fastmlp.estimators.targets import LabelEncoder
from fastmlp.network import flatten, unflatten
from fastmlp.training.optimizers import SGD, Adam, LearningRate

# What both have of a fit, under one name; some of them only after some solvers.
LEARNT = (
    "classes_",
    "coefs_",
    "intercepts_",
    "n_features_in_",
    "feature_names_in_",
    "n_iter_",
    "t_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "_no_improvement_count",
)
LEARNT_BY_PERCEPTRON = ("classes_", "coef_", "intercept_", "n_features_in_", "feature_names_in_")
# Parameters of ours that change a training and that scikit-learn has not, with the value at which they do not.
OF_TRAINING = {
    "weight_init": "auto",
    "label_smoothing": 0.0,
    "class_weight": None,
    "warmup_epochs": 0,
    "max_grad_norm": None,
    "gradient_tol": None,
    "l1_ratio": 0.0,
    "scale_alpha": True,
    "dropout": 0.0,
    "augment": None,
    "scoring": None,
    "on_divergence": "error",
}
# Parameters of scikit-learn's Perceptron that Rosenblatt's has not, with the value at which they change nothing.
OF_PERCEPTRON = {
    "penalty": None,
    "fit_intercept": True,
    "eta0": 1.0,
    "class_weight": None,
    "early_stopping": False,
}


def from_sklearn(estimator: BaseEstimator) -> BaseEstimator:
    """Return one of scikit-learn's networks as ours: with its parameters and, where it is fitted, with all it learnt.

    Predictions are the same to rounding, and `partial_fit` and warm starts go on where it was: the optimizer's moments
    and step, or velocities, come along. With the same rows, and the same `random_state`, they give scikit-learn's
    curve.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or MLPRegressor, sklearn.linear_model.Perceptron or Pipeline
        In a Pipeline these steps are converted, and copies of the others are kept. The Perceptron's updates are those
        of `fastmlp.Perceptron` as long as no w.x + b is exactly 0; but that stops when it makes no mistake, so that
        `tol` and `n_iter_no_change` are dropped, and it knows nothing of the epochs so far: `n_iter_` is 0. What it
        does not have, such as `penalty`, is an error, or, if the estimator is fitted, a warning.

    Returns
    -------
    fastmlp.MLPClassifier, MLPRegressor or Perceptron, or Pipeline
        It shares nothing with `estimator`. `history_` holds the losses only.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it is a Perceptron that is not fitted, with a parameter that ours has not.

    Warns
    -----
    UserWarning
        If it is a fitted Perceptron with such a parameter, which further training would not have.

    See Also
    --------
    to_sklearn : The other way.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> theirs = MLPClassifier((5,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> ours = fastmlp.from_sklearn(theirs)
    >>> ours
    MLPClassifier(hidden_layer_sizes=(5,), max_iter=1000, random_state=0, solver='lbfgs')
    >>> bool(abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-12)
    True
    """
    from sklearn import linear_model

    for ours, theirs in _networks():
        if isinstance(estimator, theirs):
            return _mlp_from(estimator, ours, theirs)
    if isinstance(estimator, linear_model.Perceptron):
        return _perceptron_from(estimator)
    kinds = (*(theirs for _, theirs in _networks()), linear_model.Perceptron)
    return _converted_steps(estimator, from_sklearn, kinds, "an MLPClassifier, MLPRegressor or Perceptron of sklearn")


def to_sklearn(estimator: BaseEstimator) -> BaseEstimator:
    """Return one of our networks as scikit-learn's: with its parameters and, where it is fitted, with all it learnt.

    Predictions are the same to rounding, and `partial_fit` and warm starts go on where it was.

    Parameters
    ----------
    estimator : fastmlp.MLPClassifier, MLPRegressor or Perceptron, or Pipeline
        In a Pipeline these steps are converted, and copies of the others are kept.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor, sklearn.linear_model.Perceptron, or Pipeline
        It shares nothing with `estimator`. Parameters that change no results are dropped: `n_threads`, `dtype`,
        `device`, `precision`, `output`, `callbacks`, `keep_optimizer`.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If it has what scikit-learn cannot compute: other activations, or one for each layer; missing values; several
        columns of classes; the loss "hinge". And if it is not fitted, and a parameter asks for a training that
        scikit-learn has not: another solver, loss or schedule, `dropout`, `class_weight`, and so on.

    Warns
    -----
    UserWarning
        If it is fitted and has such a parameter of the training. Its predictions are the same, but further training
        will be without it: the warning names what takes its place.

    See Also
    --------
    from_sklearn : The other way.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> ours = fastmlp.MLPClassifier((5,), solver="lbfgs", max_iter=1000, n_threads=1, random_state=0).fit(X, y)
    >>> theirs = fastmlp.to_sklearn(ours)
    >>> type(theirs).__module__.partition(".")[0], theirs
    ('sklearn', MLPClassifier(hidden_layer_sizes=(5,), max_iter=1000, random_state=0,
                  solver='lbfgs'))
    >>> bool(abs(ours.predict_proba(X) - theirs.predict_proba(X)).max() < 1e-12)
    True
    """
    for ours, theirs in _networks():
        if isinstance(estimator, ours):
            return _mlp_to(estimator, theirs)
    if isinstance(estimator, Perceptron):
        return _perceptron_to(estimator)
    kinds = (MLPClassifier, MLPRegressor, Perceptron)
    return _converted_steps(estimator, to_sklearn, kinds, "an MLPClassifier, MLPRegressor or Perceptron of fastmlp")


def _networks() -> list[tuple[type, type]]:
    from sklearn import neural_network

    return [
        (MLPClassifier, neural_network.MLPClassifier),
        (MLPRegressor, neural_network.MLPRegressor),
    ]


def _converted_steps(estimator: Any, convert: Callable, kinds: tuple[type, ...], what: str) -> Any:
    """Return a pipeline with some of its steps converted; raise TypeError where there is no such step."""
    from sklearn.pipeline import Pipeline

    def is_converted(step: object) -> bool:
        return isinstance(step, kinds) or (
            isinstance(step, Pipeline) and any(is_converted(one) for _, one in step.steps)
        )

    if not is_converted(estimator):
        raise TypeError(f"{convert.__name__} takes {what}, or a Pipeline with one of them, got {estimator!r}.")
    pipeline = copy.copy(estimator)
    pipeline.steps = [
        (name, convert(step) if is_converted(step) else copy.deepcopy(step)) for name, step in estimator.steps
    ]
    return pipeline


def _mlp_from(theirs: BaseEstimator, our_class: type, their_class: type) -> BaseMLP:
    names = their_class._get_param_names()  # a subclass may have more
    ours = our_class(**{name: copy.deepcopy(getattr(theirs, name)) for name in names})
    if not hasattr(theirs, "coefs_"):
        return ours
    vars(ours).update(_copied(theirs, LEARNT))
    if is_classifier(ours):
        known = theirs._label_binarizer
        several = known.y_type_.startswith("multilabel")
        labels = _any_labels(theirs.n_outputs_, known.sparse_input_) if several else theirs.classes_
        ours._label_encoder = LabelEncoder(labels, known.y_type_)
    if hasattr(ours, "loss_curve_"):
        ours.history_ = {"loss": list(ours.loss_curve_)}
        ours.validation_loss_curve_ = None
    if hasattr(theirs, "_optimizer"):
        ours._optimizer = _our_optimizer(theirs._optimizer, theirs.max_iter)
    return ours


def _mlp_to(ours: BaseMLP, their_class: type) -> BaseEstimator:
    fitted = hasattr(ours, "coefs_")
    _check_network(ours, fitted)
    theirs = their_class(**_their_parameters(ours, their_class, fitted))
    if not fitted:
        return theirs
    vars(theirs).update(_copied(ours, LEARNT))
    theirs._best_coefs, theirs._best_intercepts = copy.deepcopy((ours.coefs_, ours.intercepts_))
    if is_classifier(ours):
        encoder = ours._label_encoder
        several = encoder.multilabel
        labels = _any_labels(ours.n_outputs_, encoder._binarizer.sparse_input_) if several else ours.classes_
        theirs._label_binarizer = LabelBinarizer().fit(labels)
    optimizer = getattr(ours, "_optimizer", None)
    if optimizer is not None and optimizer.name == theirs.solver:
        theirs._optimizer = _their_optimizer(optimizer, theirs)
    return theirs


def _copied(estimator: BaseEstimator, names: Sequence[str]) -> dict[str, Any]:
    return {name: copy.deepcopy(vars(estimator)[name]) for name in names if name in vars(estimator)}


def _any_labels(n_labels: int, sparse: bool) -> Any:
    """Return a table from which an encoder learns that there are so many labels."""
    table = np.repeat([[0], [1]], n_labels, axis=1)
    return csr_array(table) if sparse else table


def _check_network(ours: BaseMLP, fitted: bool) -> None:
    """Check that scikit-learn can compute the network; raise ValueError if not."""
    if ours.missing is not None:
        raise ValueError(f"scikit-learn has no missing={ours.missing!r}: fill the gaps before, and train without it.")
    if ours.loss == "hinge":
        raise ValueError("scikit-learn has no loss='hinge' of an MLPClassifier.")
    if fitted and is_classifier(ours) and ours._label_encoder.groups:
        n_columns = len(ours._label_encoder.groups)
        raise ValueError(f"scikit-learn has no several columns of classes, and y had {n_columns}.")


def _their_parameters(ours: BaseMLP, their_class: type, fitted: bool) -> dict[str, Any]:
    """Return the parameters of scikit-learn's class; raise ValueError, or warn, of what they cannot say."""
    names = their_class._get_param_names()
    values = {name: copy.deepcopy(getattr(ours, name)) for name in names}
    different = set(hidden_activations(ours.activation, len(hidden_widths(ours.hidden_layer_sizes))))
    if len(different) == 1:
        values["activation"] = different.pop()
    errors = {name: _error(their_class, name, values[name]) for name in names}
    for name, off in {**OF_TRAINING, "loss": _usual_loss(ours)}.items():
        value = getattr(ours, name, off)
        if name not in names and (np.any(value) if name == "dropout" else value != off):
            errors[name] = f"{their_class.__name__} of scikit-learn has no parameter {name}, got {name}={value!r}."
    errors = {name: error for name, error in errors.items() if error is not None}
    if "activation" in errors:
        raise ValueError(errors["activation"])
    exponential = getattr(ours, "out_activation_", None) == "exp"
    if errors and (not fitted or (exponential and "loss" not in names)):
        raise ValueError(errors.get("loss", next(iter(errors.values()))))
    if errors:
        defaults = {**their_class().get_params(deep=False), **({"loss": "poisson"} if exponential else {})}
        values.update({name: defaults[name] for name in errors if name in names})
        instead = [
            f"{name}={getattr(ours, name)!r} becomes {values[name]!r}" if name in names else f"there is no {name}"
            for name in errors
        ]
        warnings.warn(
            f"scikit-learn's {their_class.__name__} predicts the same, but trains otherwise: {', '.join(instead)}.",
            UserWarning,
            stacklevel=4,
        )
    return values


def _error(their_class: type, name: str, value: Any) -> str | None:
    """Return what scikit-learn's class says of a value of its parameter, if it refuses it."""
    constraints = {name: their_class._parameter_constraints[name]}
    try:
        validate_parameter_constraints(constraints, {name: value}, their_class.__name__)
    except InvalidParameterError as error:
        return str(error)
    return None


def _usual_loss(ours: BaseMLP) -> str:
    return "log_loss" if is_classifier(ours) else "squared_error"


def _our_optimizer(theirs: Any, max_iter: int) -> SGD | Adam:
    """Return scikit-learn's optimizer as ours."""
    if hasattr(theirs, "velocities"):
        rate = LearningRate(theirs.learning_rate_init, theirs.lr_schedule, theirs.power_t, length=max_iter)
        rate.base = theirs.learning_rate
        ours = SGD(rate, theirs.momentum, theirs.nesterov)
        moments = [theirs.velocities]
    else:
        rate = LearningRate(theirs.learning_rate_init, length=max_iter)
        ours = Adam(rate, theirs.beta_1, theirs.beta_2, theirs.epsilon)
        ours.step, moments = theirs.t, [theirs.ms, theirs.vs]
    ours.state = np.array([flatten(slot, ()) for slot in moments])
    return ours


def _their_optimizer(ours: SGD | Adam, theirs: BaseEstimator) -> Any:
    """Return our optimizer as that of a fitted estimator of scikit-learn's."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    parameters, rate = theirs.coefs_ + theirs.intercepts_, ours.rate
    widths = (theirs.coefs_[0].shape[0], *(coef.shape[1] for coef in theirs.coefs_))
    slots = () if ours.state is None else ours.state  # which a pickle may have left out
    moments = [[*coefs, *intercepts] for coefs, intercepts in (unflatten(slot, widths) for slot in slots)]
    if isinstance(ours, SGD):
        schedule = rate.schedule if rate.schedule in ("invscaling", "adaptive") else "constant"
        optimizer = SGDOptimizer(
            parameters, rate.initial, schedule, ours.momentum, ours.nesterovs_momentum, rate.power_t
        )
        optimizer.learning_rate = rate.base
        if moments:
            (optimizer.velocities,) = moments
    else:
        optimizer = AdamOptimizer(parameters, rate.initial, ours.beta_1, ours.beta_2, ours.epsilon)
        optimizer.t, optimizer.learning_rate = ours.step, ours.learning_rate
        if moments:
            optimizer.ms, optimizer.vs = moments
    return optimizer


def _perceptron_from(theirs: BaseEstimator) -> Perceptron:
    fitted = hasattr(theirs, "coef_")
    wrong = [f"{name}={getattr(theirs, name)!r}" for name, off in OF_PERCEPTRON.items() if getattr(theirs, name) != off]
    if wrong and not fitted:
        raise ValueError(f"fastmlp.Perceptron is Rosenblatt's, without {wrong[0].partition('=')[0]}, got {wrong[0]}.")
    if wrong:
        warnings.warn(
            "The predictions of fastmlp.Perceptron are the same, but where its training goes on, it is without "
            f"{', '.join(wrong)}.",
            UserWarning,
            stacklevel=3,
        )
    names = Perceptron._get_param_names()
    ours = Perceptron(**{name: copy.deepcopy(getattr(theirs, name)) for name in names})
    if fitted:
        vars(ours).update(_copied(theirs, LEARNT_BY_PERCEPTRON))
        ours.n_mistakes_, ours.n_iter_ = np.array([], np.int64), 0
    return ours


def _perceptron_to(ours: Perceptron) -> BaseEstimator:
    from sklearn import linear_model

    # tol=None: all epochs, for Rosenblatt's does not stop while there are mistakes
    theirs = linear_model.Perceptron(tol=None, **copy.deepcopy(ours.get_params(deep=False)))
    if hasattr(ours, "coef_"):
        vars(theirs).update(_copied(ours, (*LEARNT_BY_PERCEPTRON, "n_iter_")))
    return theirs
