"""Class labels as numbers, and back."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import check_array
from sklearn.utils.multiclass import type_of_target, unique_labels

from fastmlp.estimators.inputs import class_number, column_number
from fastmlp.network import split_groups

# (output activation, loss) of the network: for two classes or labels of their own, for more classes, and for several
# columns of classes
NETWORK_LOSSES = {
    "log_loss": (("logistic", "binary_log_loss"), ("softmax", "log_loss")),
    "soft log_loss": (
        ("logistic", "soft_binary_log_loss"),
        ("softmax", "soft_log_loss"),
        ("softmax", "grouped_log_loss"),
    ),
    "squared_error": (("logistic", "binary_squared_error"), ("softmax", "softmax_squared_error")),
    "hinge": (("identity", "hinge"),) * 3,
}


class LabelEncoder:
    """Labels as an engine takes them: 0/1 for two classes or multilabel, else the index of the class.

    Parameters
    ----------
    y : array-like
        What the classes are learnt from.
    kind : str or None, default=None
        What `kind_of_labels` says of y, if that is known.

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

    groups = ()

    def __init__(self, y: object, kind: str | None = None) -> None:
        kind = type_of_target(y) if kind is None else kind
        self.multiclass, self.multilabel = kind == "multiclass", kind.startswith("multilabel")
        if self.multilabel:
            self._binarizer = LabelBinarizer(sparse_output=True).fit(y)
            self.classes = self._binarizer.classes_
        else:
            self.classes = unique_labels(y) if np.asarray(y).dtype == object else np.unique(y)
        self.n_outputs = len(self.classes) if self.multiclass or self.multilabel else 1
        self.classes_of_columns = [np.arange(2)] * self.n_outputs if self.multilabel else [self.classes]

    @property
    def sparse(self) -> bool:
        """Whether labels are a sparse matrix."""
        return self.multilabel and self._binarizer.sparse_input_

    def encode(self, y: object, dtype: np.dtype) -> np.ndarray:
        """Return known labels as an array of shape (n_samples, 1), or (n_samples, n_outputs) if multilabel.

        Raises
        ------
        ValueError
            If y is multilabel where it was not, or has other labels.
        """
        if self.multilabel:
            return (self._binarizer.transform(y).toarray() != 0).astype(dtype)
        if issparse(y) or np.ndim(y) > 1:
            raise ValueError("The object was not fitted with multilabel input.")
        return np.searchsorted(self.classes, y)[:, np.newaxis].astype(dtype)

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
            targets = one_hot(targets[:, 0], self.n_outputs)
        return smoothed(targets, smoothing, self.n_outputs if self.multiclass else 2)

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

    def split(self, output: np.ndarray) -> np.ndarray:
        """Return outputs as users get them."""
        return output


class MultioutputEncoder:
    """Labels of several targets, each of which has one of its classes, with the methods of `LabelEncoder`.

    A target is a group of output units, one for each of its classes. Encoded labels have a column for each target.

    Parameters
    ----------
    classes : sequence of ndarray
        Of each target, sorted.

    Attributes
    ----------
    classes, classes_of_columns : list of ndarray
        The same.
    groups : tuple of int
        How many classes each target has.
    n_outputs : int
        The number of output units.
    multiclass, multilabel : bool
        True and False.
    """

    multiclass, multilabel = True, False

    def __init__(self, classes: Sequence[np.ndarray]) -> None:
        self.classes = self.classes_of_columns = list(classes)
        self.groups = tuple(map(len, self.classes))
        self.n_outputs = sum(self.groups)

    def encode(self, y: object, dtype: np.dtype) -> np.ndarray:
        """Return known labels as an array of shape (n_samples, n_targets)."""
        columns = zip(self.classes, columns_of(y), strict=True)
        return np.column_stack([np.searchsorted(known, column) for known, column in columns]).astype(dtype)

    def soften(self, targets: np.ndarray, smoothing: float) -> np.ndarray:
        """Return encoded labels as a number for each output; of each target's, `smoothing` is shared out."""
        columns = zip(targets.T, self.groups, strict=True)
        return np.hstack([smoothed(one_hot(column, size), smoothing, size) for column, size in columns])

    def decode(self, output: np.ndarray) -> np.ndarray:
        """Return the labels that outputs speak for; as objects if some targets are numbers and some are not."""
        numeric = {known.dtype.kind in "biuf" for known in self.classes}
        dtype = np.result_type(*self.classes) if len(numeric) == 1 else object
        numbers = self.decode_to_numbers(output)
        labels = np.empty(numbers.shape, dtype)
        for target, known in enumerate(self.classes):
            labels[:, target] = known[numbers[:, target]]
        return labels

    def decode_to_numbers(self, output: np.ndarray) -> np.ndarray:
        """Return the same, encoded."""
        return np.column_stack([part.argmax(axis=1) for part in self.split(output)])

    def unit(self, output: object) -> int:
        """Return the number of the output unit of (column, class).

        Raises
        ------
        ValueError
            If there is none.
        """
        if not isinstance(output, tuple) or len(output) != 2:
            raise ValueError(f"output must be a tuple (column, class), as y has several columns, got {output!r}.")
        column = column_number(output[0], len(self.groups), "a column of y")
        return sum(self.groups[:column]) + class_number(output[1], self.classes[column])

    def split(self, output: np.ndarray) -> list[np.ndarray]:
        """Return the outputs of each target."""
        return split_groups(output, self.groups)


def one_hot(numbers: np.ndarray, n_classes: int) -> np.ndarray:
    """Return 1 for the class of each row and 0 for all others, of the numbers' dtype."""
    return np.eye(n_classes, dtype=numbers.dtype)[numbers.astype(np.intp)]


def smoothed(targets: np.ndarray, smoothing: float, n_classes: int) -> np.ndarray:
    """Return targets of so many classes, `smoothing` of them shared out among all."""
    dtype = targets.dtype.type
    return targets * dtype(1 - smoothing) + dtype(smoothing / n_classes)


def kind_of_labels(y: object) -> str:
    """Return what scikit-learn's `type_of_target` says, which does not know columns of strings beside numbers."""
    if not issparse(y) and y.ndim == 2 and y.dtype == object and any(isinstance(label, str) for label in y[0]):
        others = {type_of_target(column) for column in columns_of(y)} - {"binary", "multiclass"}
        return others.pop() if others else "multiclass-multioutput"
    return type_of_target(y, input_name="y")


def check_labels(y: object) -> str:
    """Check that y can be labels; return what `kind_of_labels` says of them.

    Raises
    ------
    ValueError
        If y has fractions, or None, as polars has for a missing string.
    """
    if not issparse(y) and y.dtype == object and np.equal(y, None).any():
        raise ValueError("Input y contains None, which is no label.")
    kind = kind_of_labels(y)
    if kind not in ("binary", "multiclass", "multilabel-indicator", "multiclass-multioutput"):
        raise ValueError(
            f"Unknown label type: {kind}. Labels are integers, bools or strings; for other numbers take a regressor."
        )
    return kind


def check_same_classes(y: object, kind: str, classes: np.ndarray | list[np.ndarray], warm_start: bool) -> None:
    """Check the labels of a further fit: all classes in a warm start, no others in a partial fit.

    kind: what `check_labels` says of y.

    Raises
    ------
    ValueError
        If they are not.
    """
    several = isinstance(classes, list)
    found = [np.unique(column) for column in columns_of(y)]
    if not several and kind != "multiclass-multioutput":
        found = np.arange(y.shape[1]) if kind == "multilabel-indicator" else found[0]
    elif not several or len(found) != len(classes):
        raise ValueError(
            f"y has {len(found)} column(s) of classes, but `self.classes_` has {len(classes) if several else 1}: "
            f"{classes}. To begin with new weights, call fit with warm_start=False."
        )
    if not warm_start:
        pairs = zip(found, classes, strict=True) if several else [(found, classes)]
        if not all(set(labels) <= set(known) for labels, known in pairs):
            raise ValueError(f"`y` has classes not in `self.classes_`. `self.classes_` has {classes}. 'y' has {found}.")
    elif not same_classes(found, classes):
        raise ValueError(
            "warm_start can only be used where `y` has the same classes as in the previous call to fit. "
            f"Previously got {classes}, `y` has {found}"
        )


def same_classes(some: np.ndarray | list[np.ndarray], others: np.ndarray | list[np.ndarray]) -> bool:
    """Return whether two arrays of sorted classes, or two lists of them, are the same."""
    if isinstance(some, list) and isinstance(others, list):
        return len(some) == len(others) and all(map(np.array_equal, some, others))
    return type(some) is type(others) and np.array_equal(some, others)


def sorted_classes(classes: Sequence) -> np.ndarray | list[np.ndarray]:
    """Return the `classes` of a partial fit sorted: one array, or a list of arrays where there are several."""
    if len(classes) > 0 and all(np.ndim(one) == 1 for one in classes):
        return [np.unique(one) for one in classes]
    return unique_labels(classes)


def check_classes(classes: Sequence | None, known: np.ndarray | None) -> None:
    """Check the `classes` of a partial fit against those known from earlier ones.

    Raises
    ------
    ValueError
        If none are known or given, or others are known.
    """
    if known is None and classes is None:
        raise ValueError("classes must be passed on the first call to partial_fit.")
    if known is not None and classes is not None and not same_classes(known, sorted_classes(classes)):
        raise ValueError(f"`classes={classes!r}` is not the same as on last call to partial_fit, was: {known!r}")


def make_encoder(y: object, kind: str, classes: Sequence | None) -> LabelEncoder | MultioutputEncoder:
    """Return the encoder of a fit, where `classes` is None, or of a first partial fit; kind: what `check_labels` says.

    Raises
    ------
    ValueError
        If y has several columns of classes, and `classes` not as many arrays.
    """
    columns = columns_of(y)
    if classes is None:
        several = kind == "multiclass-multioutput"
        return MultioutputEncoder([np.unique(column) for column in columns]) if several else LabelEncoder(y, kind)
    known = sorted_classes(classes)
    several = isinstance(known, list)
    if several and len(known) == len(columns) > 1:
        return MultioutputEncoder(known)
    if several or kind == "multiclass-multioutput":
        raise ValueError(
            f"`classes={classes!r}` does not fit y with {len(columns)} column(s): it must be "
            "one array for y of one column, and for several columns of classes a list of as many arrays."
        )
    return LabelEncoder(y if kind == "multilabel-indicator" else classes)


def columns_of(y: object) -> list[np.ndarray]:
    """Return the columns of labels; numbers that are objects, as beside a column of strings, become numbers."""
    if issparse(y):
        y = y.toarray()
    if y.ndim == 1:
        return [y]
    if y.dtype != object:
        return list(y.T)
    return [column if any(isinstance(label, str) for label in column) else np.array(column.tolist()) for column in y.T]


def accuracy(y: object, predicted: np.ndarray, sample_weight: object) -> float:
    """Return the share of rows whose labels are right in all columns.

    Raises
    ------
    ValueError
        If y has not the shape of what was predicted.
    """
    y = check_array(y, accept_sparse=True, dtype=None, ensure_all_finite=False, input_name="y")
    if y.shape != predicted.shape:
        raise ValueError(f"y has shape {y.shape}, but what is predicted for X has {predicted.shape}.")
    right = ((y.toarray() if issparse(y) else y) == predicted).all(axis=1)
    return accuracy_score(np.ones_like(right), right, sample_weight=sample_weight)


def network_loss(loss: str, soft: bool, encoder: LabelEncoder | MultioutputEncoder) -> tuple[str, str]:
    """Return the output activation and the loss of a network for labels.

    Raises
    ------
    ValueError
        If there is no such loss of several columns of classes.
    """
    pairs = NETWORK_LOSSES["soft log_loss" if soft and loss == "log_loss" else loss]
    kind = 2 if encoder.groups else int(encoder.multiclass)
    if kind == len(pairs):
        raise ValueError(
            f"loss={loss!r} does not go with several columns of classes, and y has {len(encoder.groups)}: take "
            "loss='log_loss' or 'hinge'."
        )
    return pairs[kind]


def dense_values(y: object) -> np.ndarray:
    """Return the targets of a regression with shape (n_samples, n_outputs).

    Raises
    ------
    TypeError
        If y is sparse, or of dates, which NumPy would cast to the numbers of their unit.
    """
    if issparse(y):
        raise TypeError("Sparse data was passed for y, but dense data is required. Use '.toarray()' to convert it.")
    if y.dtype.kind in "mM":
        raise TypeError(f"y has dtype {y.dtype}, and dates are no numbers: make some of them first.")
    return y[:, np.newaxis] if y.ndim == 1 else y
