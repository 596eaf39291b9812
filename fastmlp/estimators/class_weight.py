"""Weights of classes as weights of rows."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from fastmlp.estimators.targets import columns_of


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
