"""The classifier."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, column_or_1d
from sklearn.utils.metaestimators import available_if

from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.documentation import document
from fastmlp.estimators.targets import LabelEncoder, check_classes, check_labels, check_same_classes, first_encoder
from fastmlp.training.prediction import class_probabilities, log_probabilities


@document("sklearn.neural_network.MLPClassifier")
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron that classifies: a dense network trained by backpropagation [1]_ on the log-loss.

    It has the parameters, attributes and methods of `sklearn.neural_network.MLPClassifier`, and three parameters more,
    `n_threads`, `dtype` and `weight_init`, and more choices of `activation` and `solver`. The output layer is a softmax
    for three or more classes, and logistic for two classes and for multilabel targets.

    Parameters
    ----------
    %PARAMETERS%

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted; for multilabel targets the indices of the columns.
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

    References
    ----------
    %REFERENCES%

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

    loss = "log_loss"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "MLPClassifier":
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features. Sparse input other than CSR is converted to it once.
        y : array-like of shape (n_samples,), or {array-like, sparse matrix} of 0 and 1 of shape (n_samples, n_labels)
            The labels: numbers, bools or strings; or an indicator matrix if a row can have several.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.

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
        return self._fit(X, y, sample_weight)

    @available_if(lambda self: self._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> "MLPClassifier":
        """Train for one epoch on these rows, going on from the present weights and the optimizer's state.

        Not with the solver "lbfgs", and without early stopping.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,), or {array-like, sparse matrix} of shape (n_samples, n_labels)
            The labels; not every class has to be among them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        classes : array-like of shape (n_classes,) or None, default=None
            All labels of all calls. Needed in the first call.

        Returns
        -------
        MLPClassifier
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if `classes` is missing in the first call or differs later. The estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, partial=True, classes=classes)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable label of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Labels; for multilabel targets 1 where the probability is over 0.5, sparse if y was.
        """
        output = self._forward(X)
        return self._label_encoder.decode(output)

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probability of each class, or of each label of its own for multilabel targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return class_probabilities(self._forward(X))

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
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`.
        """
        return log_probabilities(self._forward(X), lambda: self._forward(X, raw=True), self.out_activation_)

    def _encode(
        self, y: Any, dtype: np.dtype, partial: bool, continues: bool, classes: Sequence | None = None
    ) -> tuple[np.ndarray, int]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_labels(y)
        known = getattr(self, "classes_", None) if partial or self.warm_start else None
        if partial:
            check_classes(classes, known)
        if known is None:
            self._label_encoder = first_encoder(y, classes) if partial else LabelEncoder(y)
            self.classes_ = self._label_encoder.classes
        if partial or known is not None:
            check_same_classes(y, self.classes_, self.warm_start)
        return self._label_encoder.encode(y, dtype), self._label_encoder.n_outputs

    def _output(self) -> tuple[str, str]:
        return ("softmax", "log_loss") if self._label_encoder.multiclass else ("logistic", "binary_log_loss")

    def _score_output(self, y: np.ndarray, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        return np.average((self._label_encoder.decode_to_numbers(output) == targets).all(axis=1), weights=weight)

    def _stratify(self, targets: np.ndarray) -> np.ndarray | None:
        return targets.astype(bool) if self._label_encoder.n_outputs == 1 else None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
