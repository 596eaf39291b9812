"""Class labels as numbers, and back."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import issparse
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import type_of_target, unique_labels


class LabelEncoder:
    """Labels as an engine takes them: 0/1 for two classes or multilabel, else the index of the class.

    Parameters
    ----------
    y : array-like
        What the classes are learnt from.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
        Sorted; for multilabel the indices of the columns.
    classes_of_columns : list of ndarray
        Which labels each column of y may have.
    n_outputs : int
        The number of output units: 1 for up to two classes.
    multiclass : bool
        Whether a row has exactly one of more than two classes.
    multilabel : bool
        Whether a row has any number of them.
    """

    def __init__(self, y: object) -> None:
        # Sparse: its indices are the numbers of the classes, and the dense one-hot matrix never exists.
        self._binarizer = LabelBinarizer(sparse_output=True).fit(y)
        self.classes = self._binarizer.classes_
        self.multiclass = self._binarizer.y_type_ == "multiclass"
        self.multilabel = self._binarizer.y_type_.startswith("multilabel")
        self.n_outputs = len(self.classes) if self.multiclass or self.multilabel else 1
        self.classes_of_columns = [np.arange(2)] * self.n_outputs if self.multilabel else [self.classes]

    def encode(self, y: object, dtype: np.dtype) -> np.ndarray:
        """Return known labels as an array of shape (n_samples, 1), or (n_samples, n_outputs) if multilabel.

        Raises
        ------
        ValueError
            If y is multilabel where it was not, or has other labels.
        """
        binary = self._binarizer.transform(y)
        if self.multiclass:
            return binary.indices[:, np.newaxis].astype(dtype)
        return (binary.toarray() != 0).astype(dtype)

    def soften(self, targets: np.ndarray, smoothing: float) -> np.ndarray:
        """Return encoded labels as a number for each output, `smoothing` of them shared out among all classes.

        Parameters
        ----------
        targets : ndarray of shape (n_samples, 1) or (n_samples, n_outputs)
            As `encode` returns them.
        smoothing : float
            In [0, 1).

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)
            Of the same dtype. One output stands for two classes, also where a row can have several labels.
        """
        if self.multiclass:
            targets = np.eye(self.n_outputs, dtype=targets.dtype)[targets[:, 0].astype(np.intp)]
        n_classes = self.n_outputs if self.multiclass else 2
        dtype = targets.dtype.type
        return targets * dtype(1 - smoothing) + dtype(smoothing / n_classes)

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the labels that probabilities, of shape (n_samples, n_outputs), speak for."""
        if self.multilabel:
            return self._binarizer.inverse_transform(output)  # sparse if y was
        return self.classes[self.decode_to_numbers(output)[:, 0]]

    def decode_to_numbers(self, output: np.ndarray) -> np.ndarray:
        """Return the same, encoded."""
        if self.multiclass:
            return output.argmax(axis=1)[:, np.newaxis]
        return ((output > 0.5) & (len(self.classes) > 1)).astype(np.intp)


def check_labels(y: object) -> None:
    """Check that y can be labels.

    Raises
    ------
    ValueError
        If y has fractions, or several columns that are not 0 and 1.
    """
    kind = type_of_target(y, input_name="y")
    if kind == "multiclass-multioutput":
        raise ValueError(
            "Multioutput target data is not supported with label binarization: several columns must be 0 and 1."
        )
    if kind not in ("binary", "multiclass", "multilabel-indicator"):
        raise ValueError(
            f"Unknown label type: {kind}. Labels are integers, bools or strings; for other numbers take a regressor."
        )


def check_same_classes(y: object, classes: np.ndarray, warm_start: bool) -> None:
    """Check the labels of a further fit: all classes in a warm start, no others in a partial fit.

    Raises
    ------
    ValueError
        If they are not.
    """
    labels = unique_labels(y)
    if warm_start:
        if set(labels) != set(classes):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
                f"Previously got {classes}, `y` has {labels}"
            )
    elif not set(labels) <= set(classes):
        raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {labels}.")


def check_classes(classes: Sequence | None, known: np.ndarray | None) -> None:
    """Check the `classes` of a partial fit against those known from earlier ones.

    Raises
    ------
    ValueError
        If none are known or given, or others are known.
    """
    if known is None and classes is None:
        raise ValueError("classes must be passed on the first call to partial_fit.")
    if known is not None and classes is not None and not np.array_equal(known, unique_labels(classes)):
        raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")


def first_encoder(y: object, classes: Sequence) -> LabelEncoder:
    """Return the encoder of a first partial fit: of `classes`, or of y if that is multilabel."""
    return LabelEncoder(y if type_of_target(y).startswith("multilabel") else classes)


def columns_of(y: object) -> list[np.ndarray]:
    """Return the columns of labels, of which one dimension is one and a sparse matrix can have many."""
    if issparse(y):
        y = y.toarray()
    return [y] if y.ndim == 1 else list(y.T)


def weight_of_classes(class_weight: object, y: object, classes: Sequence[np.ndarray], partial: bool) -> np.ndarray:
    """Return the product of the weights of a row's labels, for each row.

    Parameters
    ----------
    class_weight : dict, list of dict or "balanced"
        As the estimator has it.
    y : {ndarray, sparse matrix} of shape (n_samples,) or (n_samples, n_columns)
        Labels.
    classes : sequence of ndarray
        Which labels each column may have: a part of the rows may lack some.
    partial : bool
        Whether y is a part of the rows only.

    Returns
    -------
    ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        If there is not one dict for each column, or a dict does not know a class, or a weight is no number >= 0.
    """
    columns = columns_of(y)
    one = len(columns) == 1
    weights = [class_weight] * len(columns) if one or isinstance(class_weight, str) else class_weight
    fits = not isinstance(class_weight, list if one else dict) and len(weights) == len(columns)
    if not fits or not all(isinstance(weight, dict) or weight in (None, "balanced") for weight in weights):
        needed = "a dict" if one else f"a list of {len(columns)} dicts, one for each column"
        raise ValueError(
            f"class_weight={class_weight!r} does not fit y with {len(columns)} column{'' if one else 's'}: it must be "
            f"{needed}, or 'balanced'."
        )
    if partial and "balanced" in weights:
        raise ValueError(
            f"class_weight={class_weight!r} is not for partial_fit, where y is a part of the rows only. Take the dict "
            "that sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, y=y) gives for a y of "
            "all rows, or of a sample of them."
        )
    product = np.ones(len(columns[0]))
    for weight, column, known in zip(weights, columns, classes, strict=True):
        known = np.unique(column) if isinstance(weight, str) else known
        of_classes = compute_class_weight(weight, classes=known, y=column)
        if not (np.isfinite(of_classes) & (of_classes >= 0)).all():
            raise ValueError(f"class_weight={class_weight!r} must have finite weights >= 0.")
        product *= of_classes[np.searchsorted(known, column)]
    return product


def dense_values(y: object) -> np.ndarray:
    """Return the targets of a regression with shape (n_samples, n_outputs).

    Raises
    ------
    TypeError
        If y is sparse.
    """
    if issparse(y):
        raise TypeError("Sparse data was passed for y, but dense data is required. Use '.toarray()' to convert it.")
    return y[:, np.newaxis] if y.ndim == 1 else y
