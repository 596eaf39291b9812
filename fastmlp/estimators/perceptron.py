"""Rosenblatt's perceptron."""

from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, _fit_context
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.estimators.gpu import check_no_dates
from fastmlp.estimators.inputs import as_rows, check_entries, unchanged_on_error
from fastmlp.estimators.storable import Storable
from fastmlp.estimators.targets import LabelEncoder, check_classes, check_labels, check_same_classes
from fastmlp.training.perceptron import preactivations, train

FLOATS = (np.float64, np.float32)  # X is converted to the first unless it has one of them


class Perceptron(Storable, ClassifierMixin, BaseEstimator):
    """Rosenblatt's perceptron [1]_: one unit with a step activation that learns from its mistakes, row by row.

    The unit fires, yhat = 1, if w.x + b > 0, and else yhat = 0. Each row changes it by ::

        w += (y - yhat) x
        b += (y - yhat)

    and so only if yhat is wrong. All weights begin at 0. For two classes there is one unit, which shall fire for
    `classes_[1]`. For more there is one for each class, which learns to tell this class from all others; the one with
    the largest w.x + b decides.

    If a hyperplane separates the classes, the unit finds one after finitely many mistakes: at most (R / gamma)**2 if no
    (x, 1) is longer than R and a hyperplane through 0 that separates them is nowhere nearer to them than gamma [2]_. If
    none does, it never stops of itself.

    Parameters
    ----------
    max_iter : int, default=1000
        The most epochs, >= 1. Training stops before if an epoch makes no mistake, for each unit by itself.
    shuffle : bool, default=False
        Whether to draw a new order of the rows for each epoch. False: in the order given, as published.
    random_state : int, RandomState instance or None, default=None
        Draws these orders; has no effect with `shuffle=False`.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the last one. It must then see the same classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        The weights w, one row for two classes, else a row for each class.
    intercept_ : ndarray of shape (1,) or (n_classes,)
        The biases b.
    n_iter_ : int
        The number of epochs of the last `fit`, and of each `partial_fit` since.
    n_mistakes_ : ndarray of int of shape (n_iter_,)
        The mistakes in each of these epochs, of all units together.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of str of shape (n_features_in_,)
        Their names, if X has names that are all strings.

    See Also
    --------
    MLPClassifier : With hidden layers, for classes that no hyperplane separates.

    Notes
    -----
    All arithmetic is in the dtype of X if that is float32 or float64, and in float64 for others.

    `sklearn.linear_model.Perceptron` differs: it stops when its loss no longer improves by `tol`, shuffles by default,
    and has penalties, weights and a learning rate.

    References
    ----------
    .. [1] Rosenblatt, F. (1958). The perceptron: a probabilistic model for information storage and organization in the
       brain. Psychological Review 65, 386-408.
    .. [2] Novikoff, A. B. J. (1962). On convergence proofs on perceptrons. Proceedings of the Symposium on the
       Mathematical Theory of Automata 12, 615-622.

    Examples
    --------
    >>> from fastmlp import Perceptron
    >>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
    >>> both = Perceptron().fit(X, [0, 0, 0, 1])
    >>> both.n_mistakes_
    array([1, 3, 3, 2, 1, 0])
    >>> both.coef_, both.intercept_
    (array([[2., 1.]]), array([-2.]))
    >>> both.predict(X)
    array([0, 0, 0, 1])
    """

    _parameter_constraints: ClassVar[dict] = {
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "warm_start": ["boolean"],
    }

    def __init__(
        self,
        *,
        max_iter: int = 1000,
        shuffle: bool = False,
        random_state: int | np.random.RandomState | None = None,
        warm_start: bool = False,
    ) -> None:
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any) -> "Perceptron":
        """Train until an epoch makes no mistake, or for `max_iter` epochs, with a ConvergenceWarning.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features. Sparse input other than CSR is converted to it once.
        y : array-like of shape (n_samples,)
            The labels: numbers, bools or strings, at least two different ones.

        Returns
        -------
        Perceptron
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are not what they must be, or X is so large that w.x + b is not finite. The
            estimator is then unchanged.
        """
        return self._fit(X, y)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "Perceptron":
        """Train for one epoch on these rows, going on from the present weights.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,)
            The labels; not every class has to be among them.
        classes : array-like of shape (n_classes,) or None, default=None
            All labels of all calls. Needed in the first call.

        Returns
        -------
        Perceptron
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`, or if `classes` is missing in the first call or differs later. The estimator is then unchanged.
        """
        return self._fit(X, y, partial=True, classes=classes)

    # Here and not around partial_fit, where scikit-learn leaves out the check of parameters set after the first fit.
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X: Any, y: Any, partial: bool = False, classes: Any = None) -> "Perceptron":
        check_no_dates(X)
        with unchanged_on_error(self):
            continues = hasattr(self, "coef_") and (self.warm_start or partial)
            dtypes = FLOATS
            if continues:
                dtypes = np.float32 if self.coef_.dtype == np.float32 else np.float64
            with np.errstate(
                over="ignore", invalid="ignore"
            ):  # what is too large for float32 becomes infinite, and an error
                X, y = validate_data(self, X, y, accept_sparse="csr", dtype=dtypes, order="C", reset=not continues)
            check_entries(X)
            encoder = self._encoder(y, check_labels(y), partial, continues, classes)
            if continues:
                self._check_units(encoder.n_outputs)
                coef = np.array(self.coef_, X.dtype, order="C")
                intercept = np.array(self.intercept_, X.dtype)
            else:
                coef = np.zeros((encoder.n_outputs, X.shape[1]), X.dtype)
                intercept = np.zeros(encoder.n_outputs, X.dtype)
            n_mistakes = train(
                coef,
                intercept,
                X,
                encoder.encode(y, np.int64)[:, 0],
                self.max_iter,
                check_random_state(self.random_state) if self.shuffle else None,
                single_epoch=partial,
            )
            if partial and continues:
                n_mistakes = np.concatenate([self.n_mistakes_, n_mistakes])
            self.classes_ = encoder.classes
            self.coef_, self.intercept_ = coef, intercept
            self.n_mistakes_, self.n_iter_ = n_mistakes, len(n_mistakes)
        return self

    def _encoder(self, y: np.ndarray, kind: str, partial: bool, continues: bool, classes: Any) -> LabelEncoder:
        """Return the encoder of the classes known, given, or found in y, which must have no others."""
        known = self.classes_ if continues else None
        if partial:
            check_classes(classes, known)
        if partial and not continues and np.ndim(classes) != 1:
            raise ValueError(f"classes must be a list of labels, got {classes!r}.")
        if continues:
            encoder = LabelEncoder(known)
        else:
            encoder = LabelEncoder(classes) if partial else LabelEncoder(y, kind)
        if len(encoder.classes) < 2:
            name = "classes" if partial else "y"
            raise ValueError(f"{name} must have at least 2 different labels, got 1 class: {encoder.classes.tolist()}.")
        check_same_classes(y, kind, encoder.classes, warm_start=continues and not partial)
        return encoder

    def _check_units(self, n_units: int) -> None:
        """Check the weights, which may have been set by hand: kernels trust their shapes."""
        found = [getattr(array, "shape", type(array).__name__) for array in (self.coef_, self.intercept_)]
        if found != [(n_units, self.n_features_in_), (n_units,)]:
            raise ValueError(
                f"coef_ and intercept_ must have the shapes {(n_units, self.n_features_in_)} and {(n_units,)}, got "
                f"{found[0]} and {found[1]}."
            )

    def decision_function(self, X: Any) -> np.ndarray:
        """Return w.x + b of each row.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            For two classes of the one unit, which fires for `classes_[1]`; for more, in the order of `classes_`.
        """
        check_is_fitted(self)
        check_no_dates(X)
        X = validate_data(self, X, accept_sparse="csr", dtype=FLOATS, reset=False)
        check_entries(X)
        self._check_units(1 if len(self.classes_) == 2 else len(self.classes_))
        dtype = np.result_type(X.dtype, self.coef_.dtype)
        coef, intercept = (np.ascontiguousarray(array, dtype) for array in (self.coef_, self.intercept_))
        scores = preactivations(coef, intercept, as_rows(X, dtype))
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of each row: for two classes whether the unit fires, else that of the largest w.x + b.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,)
            The labels.
        """
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(np.intp) if scores.ndim == 1 else scores.argmax(axis=1)]

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
