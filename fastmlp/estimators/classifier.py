"""The classifier."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import ActivationLike, BaseMLP
from fastmlp.estimators.class_weight import check_class_weight_of_parts, weight_of_classes
from fastmlp.estimators.combinations import check_loss
from fastmlp.estimators.documentation import document
from fastmlp.estimators.gpu import like_input, to_host, with_numpy_output
from fastmlp.estimators.inputs import augmentation_of, class_number, column_number
from fastmlp.estimators.targets import (
    accuracy,
    check_classes,
    check_labels,
    check_same_classes,
    make_encoder,
    network_loss,
)
from fastmlp.training.prediction import class_probabilities, log_probabilities


@document("sklearn.neural_network.MLPClassifier")
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron that classifies: a dense network trained by backpropagation [1]_.

    It has the parameters, attributes and methods of `sklearn.neural_network.MLPClassifier`. The parameters after
    `max_fun` are its own, and so are more choices of the others. The output layer is a softmax for
    three or more classes, and logistic for two classes and for multilabel targets. Several targets with several classes
    each, a column of `y` for each of them, are a softmax each, and the loss of a row is the sum over the targets.

    Parameters
    ----------
    %PARAMETERS%
    loss : {"log_loss", "squared_error", "hinge"}, default="log_loss"
        What is minimised: minus the logarithm of the probability of a row's class; half of the squared error of the
        probabilities of all classes (for multilabel targets, of each label and its opposite), also called the Brier
        score [19]_; or the hinge of each output, 1 for its class and -1 for all others [20]_, with an output layer
        without activation and so without probabilities. "squared_error" is not for several columns of classes.
    label_smoothing : float, default=0.0
        How much of the target of the "log_loss" is shared out among all classes alike, in [0, 1): a row's own class
        gets 1 - label_smoothing + label_smoothing / n_classes [21]_.
    class_weight : dict, list of dict, "balanced" or None, default=None
        The weights of the classes, {class: weight}, by which the weights of rows are multiplied; None: all 1.
        "balanced": n_samples / (n_classes * rows of the class), not in `partial_fit`, which sees a part of the rows
        only. For several columns of labels a list, one dict for each column: a row's weight is the product over the
        columns. They count in the score of early stopping too.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,), or list of ndarray
        The labels, sorted; for multilabel targets the indices of the columns; for several columns of classes a list of
        the labels of each.
    %ATTRIBUTES%

    See Also
    --------
    MLPRegressor : The same for numbers.

    Notes
    -----
    %DIFFERENCES%
    - `predict_log_proba` is finite where a probability rounds to 0.

    The held-out part of early stopping keeps the shares of the classes only if there is one output unit, that is for
    two classes, and is drawn without regard to them otherwise; its score is the accuracy. Both are as in scikit-learn.
    With several columns of `y`, a row is right if all of its labels are, in that score and in `score`.

    References
    ----------
    %REFERENCES%
    .. [19] Brier, G. W. (1950). Verification of forecasts expressed in terms of probability. Monthly Weather Review 78.
    .. [20] Cortes, C., Vapnik, V. (1995). Support-vector networks. Machine Learning 20, 273-297.
    .. [21] Szegedy, C. et al. (2015). Rethinking the Inception architecture for computer vision. arXiv:1512.00567.

    Examples
    --------
    >>> from fastmlp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
    >>> classifier = MLPClassifier(tol=1e-3, random_state=0).fit(X_train, y_train)
    >>> bool(classifier.score(X_test, y_test) > 0.95)
    True
    >>> classifier.predict_proba(X_test[:3]).shape
    (3, 10)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"log_loss", "squared_error", "hinge"})],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationLike | Sequence[ActivationLike] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto", "full"] = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool | Literal["blocks"] = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        n_threads: int | None = None,
        dtype: str | None = None,
        weight_init: str = "auto",
        loss: str = "log_loss",
        label_smoothing: float = 0.0,
        learning_rate_decay: float | None = None,
        decay_epochs: float | None = None,
        warmup_epochs: float = 0,
        max_grad_norm: float | None = None,
        gradient_tol: float | None = None,
        l1_ratio: float = 0.0,
        scale_alpha: bool = True,
        dropout: float | Sequence[float] = 0.0,
        augment: dict[str, float | Callable] | Callable | None = None,
        scoring: Any = None,
        keep_optimizer: bool = False,
        class_weight: dict | Sequence[dict] | Literal["balanced"] | None = None,
        missing: Literal["zero", "indicator"] | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        output: Literal["numpy", "input"] = "numpy",
        precision: Literal["float32", "tf32", "bfloat16"] = "float32",
        callbacks: Callable | Sequence[Callable] | None = None,
        on_divergence: Literal["error", "retry"] = "error",
    ) -> None:
        self.loss, self.label_smoothing, self.class_weight = loss, label_smoothing, class_weight
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            n_threads=n_threads,
            dtype=dtype,
            weight_init=weight_init,
            learning_rate_decay=learning_rate_decay,
            decay_epochs=decay_epochs,
            warmup_epochs=warmup_epochs,
            max_grad_norm=max_grad_norm,
            gradient_tol=gradient_tol,
            l1_ratio=l1_ratio,
            scale_alpha=scale_alpha,
            dropout=dropout,
            augment=augment,
            scoring=scoring,
            keep_optimizer=keep_optimizer,
            missing=missing,
            device=device,
            output=output,
            precision=precision,
            callbacks=callbacks,
            on_divergence=on_divergence,
        )

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPClassifier":
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features. Sparse input other than CSR is converted to it once. For rows beyond the memory see `shuffle`.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            The labels: numbers, bools or strings; or an indicator matrix of 0 and 1 if a row can have several; or
            several columns of labels, if a row has one of each.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features) or None, default=None
            Validation rows. With early_stopping=True they decide when to stop, and no rows of X are held out; else they
            are only followed, in `validation_loss_curve_` and `history_`. In a `Pipeline` they can be transformed as X
            is: `Pipeline(..., transform_input=["X_val"])`.
        y_val : array-like of shape (n_val,) or (n_val, n_labels), or None, default=None
            Their labels, all of them in `classes_`.
        sample_weight_val : array-like of shape (n_val,) or None, default=None
            Their weights, >= 0. None: all 1. `class_weight` does not count here.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are not what they must be, or the training diverges. The estimator is then
            unchanged.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda self: self._check_solver())
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPClassifier":
        """Train for one epoch on these rows, going on from the present weights and the optimizer's state.

        Not with the solver "lbfgs". With early_stopping=True each call holds out `validation_fraction` of its rows, or
        takes `X_val`, and scores them after its epoch. The weights of the best call so far are remembered. When
        `n_iter_no_change` calls one after another have not improved the best score by `tol`, the last of them sets
        `coefs_` and `intercepts_` back to those weights, with a ConvergenceWarning; the next call goes on from there,
        with a new state of the optimizer and a new count (with learning_rate="adaptive" the learning rate is divided
        by 5 instead, as in `fit`, until it is at most 1e-6). The rows held out are drawn without regard to classes. The
        scores of calls are comparable only as far as their rows are: pass the same `X_val` to each call, or, where all
        get the same X, an int as `random_state`, by which they hold out the same rows. After `fit`, scores and best
        weights go on from that.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,), or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The labels; not every class has to be among them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        classes : array-like of shape (n_classes,), list of array-like or None, default=None
            All labels of all calls, or those of each of several columns. Needed in the first call.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features) or None, default=None
            Validation rows. With early_stopping=True they decide when to stop, and no rows of X are held out; else they
            are only followed, in `validation_loss_curve_` and `history_`. In a `Pipeline` they can be transformed as X
            is: `Pipeline(..., transform_input=["X_val"])`.
        y_val : array-like of shape (n_val,) or (n_val, n_labels), or None, default=None
            Their labels, all of them in `classes_`.
        sample_weight_val : array-like of shape (n_val,) or None, default=None
            Their weights, >= 0. None: all 1. `class_weight` does not count here.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if `classes` is missing in the first call or differs later. The estimator is then unchanged.
        """
        check_class_weight_of_parts(self.class_weight)
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), partial=True, classes=classes)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each row; with the loss "hinge" that of the largest output.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels; for multilabel targets 1 where the probability is over 0.5, sparse if y was. Of several columns of
            labels, where some are strings and some are numbers, an array of objects.
        """
        output = self._forward(X)
        return like_input(self, X, self._label_encoder.decode(self._scores(output)))

    @available_if(lambda self: self.loss == "hinge")
    def decision_function(self, X: Any) -> np.ndarray:
        """Return the outputs of the network; only with the loss "hinge", which has no probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes), or list of ndarray
            For two classes positive for `classes_[1]`; for more, the largest is that of the predicted class. A list for
            several columns of labels, as in `predict_proba`.
        """
        output = self._forward(X)
        return like_input(self, X, output[:, 0] if output.shape[1] == 1 else self._label_encoder.split(output))

    @available_if(lambda self: self._check_probabilities())
    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, or of each label of its own for multilabel targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or list of ndarray
            In the order of `classes_`; for several columns of labels a list, an array for each.
        """
        check_is_fitted(self)
        encoder = self._label_encoder
        output = self._forward(X, stays=encoder.n_outputs > 1 and not encoder.groups)
        return like_input(self, X, encoder.split(class_probabilities(output, self.out_activation_)))

    @available_if(lambda self: self._check_probabilities())
    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of `predict_proba`.

        They are finite also where the probability itself rounds to 0: there they are computed from the output layer's
        preactivations (scikit-learn gives -inf).

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes), or list of ndarray
            In the order of `classes_`; for several columns of labels a list, an array for each.
        """
        output, encoder = self._forward(X), self._label_encoder
        logarithms = log_probabilities(output, lambda: self._forward(X, raw=True), self.out_activation_, encoder.groups)
        return like_input(self, X, encoder.split(logarithms))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the accuracy: the share of rows whose label is right, and with several columns all labels.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : {array-like, sparse matrix} of shape (n_samples,) or (n_samples, n_labels)
            The labels.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows. None: all 1.

        Returns
        -------
        float
        """
        y, sample_weight = to_host(self, y, "y"), to_host(self, sample_weight, "sample_weight")
        predicted = with_numpy_output(self).predict(X)
        if isinstance(self.classes_, list):  # scikit-learn's has no accuracy of these
            return accuracy(y, predicted, sample_weight)
        plain = sample_weight is None and type(y) is np.ndarray and y.ndim == 1 and y.dtype.kind in "biuU"
        if plain and y.size > 0 and predicted.shape == y.shape and predicted.dtype == y.dtype:
            return float(np.average(predicted == y))  # scikit-learn's checks take longer than to predict some rows
        return accuracy_score(y, predicted, sample_weight=sample_weight)

    def input_gradient(self, X: Any, output: Any = None) -> np.ndarray:
        """Return the gradient of a class's score with respect to the features: its saliency map [1]_.

        The score is what the output layer gets before its activation: for three or more classes before the softmax, for
        two and for multilabel targets the logarithm of the odds; with the loss "hinge" it is the output itself.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        output : label, int or None, default=None
            The class, one of `classes_`; None: for each row the one that is predicted. For multilabel targets the
            column of the label, from 0, which has to be given; for several columns of classes a tuple (column, class).

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of a probability. At a kink, as "relu" has one at 0, it is the slope that training uses.

        Raises
        ------
        ValueError
            If `output` is not one of the classes; for several columns of labels if it is not one of them, or None.

        References
        ----------
        .. [1] Simonyan, K., Vedaldi, A., Zisserman, A. (2013). Deep inside convolutional networks: visualising image
           classification models and saliency maps. arXiv:1312.6034.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> classifier = MLPClassifier(max_iter=5, tol=1.0, random_state=0, n_iter_no_change=1).fit(X / 16, y)
        >>> classifier.input_gradient(X[:5] / 16).shape
        (5, 64)
        >>> classifier.input_gradient(X[:5] / 16, output=3).shape
        (5, 64)
        """
        check_is_fitted(self)
        encoder = self._label_encoder
        if encoder.multilabel:
            number = column_number(output, self.n_outputs_, "a column of the labels")
        elif encoder.groups:
            number = encoder.unit(output)
        else:
            number = None if output is None else class_number(output, self.classes_)

        def choose(predict: Callable[[], np.ndarray]) -> tuple[Any, Any]:
            if encoder.multilabel or encoder.groups:
                return number, 1.0
            numbers = encoder.decode_to_numbers(self._scores(predict()))[:, 0] if number is None else number
            return (numbers, 1.0) if encoder.multiclass else (0, 2.0 * numbers - 1.0)

        return self._input_gradient(X, choose)

    def _encode(
        self, y: Any, dtype: np.dtype, partial: bool, continues: bool, classes: Sequence | None = None
    ) -> tuple[np.ndarray, int]:
        kind = check_labels(y)
        known = getattr(self, "classes_", None) if partial or self.warm_start else None
        if partial:
            check_classes(classes, known)
        if known is None:
            self._label_encoder = make_encoder(y, kind, classes if partial else None)
            self.classes_ = self._label_encoder.classes
        if partial or known is not None:
            check_same_classes(y, kind, self.classes_, self.warm_start)
        check_loss(self)
        return self._targets(y, dtype), self._label_encoder.n_outputs

    def _encode_known(self, y: Any, dtype: np.dtype) -> np.ndarray:
        check_same_classes(y, check_labels(y), self.classes_, warm_start=False)
        return self._targets(y, dtype)

    def _targets(self, y: Any, dtype: np.dtype) -> np.ndarray:
        targets = self._label_encoder.encode(y, dtype)
        return self._label_encoder.soften(targets, self.label_smoothing) if self._soft() else targets

    def _weight_of_classes(self, y: Any) -> np.ndarray | None:
        return weight_of_classes(self.class_weight, y, self._label_encoder.classes_of_columns)

    def _soft(self) -> bool:
        """Return whether the loss needs a target for each class."""
        return (
            self.loss != "log_loss"
            or self.label_smoothing > 0
            or augmentation_of(self.augment).mixup > 0
            or bool(self._label_encoder.groups)
        )

    def _check_probabilities(self) -> bool:
        if self.loss == "hinge":
            raise AttributeError("There are no probabilities with loss='hinge'; it has a decision_function.")
        return True

    def _n_known_outputs(self) -> int:
        return self._label_encoder.n_outputs

    def _output(self) -> tuple[str, str, float, tuple[int, ...]]:
        encoder = self._label_encoder
        return (*network_loss(self.loss, self._soft(), encoder), 0.0, encoder.groups)

    def _scores(self, output: np.ndarray) -> np.ndarray:
        """Return outputs such that a label of its own is given where its score is over 0.5."""
        return output + 0.5 if self.loss == "hinge" else output

    def _score_output(self, y: np.ndarray, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        numbers = self._label_encoder.decode_to_numbers(self._scores(output))
        if self._soft():
            wanted = self._label_encoder.decode_to_numbers(targets)
        else:
            wanted = targets
        return np.average((numbers == wanted).all(axis=1), weights=weight)

    def _stratify(self, targets: np.ndarray) -> np.ndarray | None:
        return targets > 0.5 if self._label_encoder.n_outputs == 1 else None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = tags.target_tags.multi_output = True
        return tags
