"""Weights of classes as weights of rows."""

from collections.abc import Sequence

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from fastmlp.estimators.targets import columns_of


def check_class_weight_of_parts(class_weight: object) -> None:
    """Check the parameter of a partial fit.

    Raises
    ------
    ValueError
        If it needs to know all rows.
    """
    if "balanced" in (class_weight if isinstance(class_weight, list) else [class_weight]):
        raise ValueError(
            f"class_weight={class_weight!r} is not for partial_fit, where y is a part of the rows only. Take the dict "
            "that sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, y=y) gives for a y of "
            "all rows, or of a sample of them."
        )


def weight_of_classes(class_weight: object, y: object, classes: Sequence[np.ndarray]) -> np.ndarray | None:
    """Return the product of the weights of a row's labels, for each row; None for None.

    Parameters
    ----------
    class_weight : dict, list of dict, "balanced" or None
        As the estimator has it.
    y : {ndarray, sparse matrix} of shape (n_samples,) or (n_samples, n_columns)
        Labels.
    classes : sequence of ndarray
        Which labels each column may have: a part of the rows may lack some.

    Returns
    -------
    ndarray of shape (n_samples,), or None

    Raises
    ------
    ValueError
        If there is not one dict for each column, or a dict does not know a class, or a weight is no number >= 0.
    """
    if class_weight is None:
        return None
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
    product = np.ones(len(columns[0]))
    for weight, column, known in zip(weights, columns, classes, strict=True):
        known = np.unique(column) if isinstance(weight, str) else known
        of_classes = compute_class_weight(weight, classes=known, y=column)
        if not (np.isfinite(of_classes) & (of_classes >= 0)).all():
            raise ValueError(f"class_weight={class_weight!r} must have finite weights >= 0.")
        product *= of_classes[np.searchsorted(known, column)]
    return product
