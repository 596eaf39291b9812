"""A fit as plain values: what pickles and the files of `skops` hold in place of objects of inner classes.

Such files name the classes in them, and `skops` asks its user to trust each one: here it is the estimator's alone.
"""

from typing import Any

import numpy as np
from scipy.sparse import csr_array

from fastmlp.estimators.targets import LabelEncoder, MultioutputEncoder
from fastmlp.training.warm_state import as_data, from_data


def plain_state(state: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimator with dicts in the place of its own objects."""
    state = dict(state)
    if state.get("_optimizer") is not None:
        state["_optimizer"] = as_data(state["_optimizer"])
    if state.get("_label_encoder") is not None:
        state["_label_encoder"] = _data_of_encoder(state["_label_encoder"])
    return state


def state_of(plain: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of which `plain_state` returned this; objects of older pickles stay what they are."""
    state = dict(plain)
    if isinstance(state.get("_optimizer"), dict):
        state["_optimizer"] = from_data(state["_optimizer"])
    if isinstance(state.get("_label_encoder"), dict):
        state["_label_encoder"] = encoder_of(**state["_label_encoder"])
    return state


def _data_of_encoder(encoder: LabelEncoder | MultioutputEncoder) -> dict[str, Any]:
    multilabel = None
    if encoder.multilabel:
        multilabel = "sparse" if encoder.sparse else "dense"
    return {"classes": encoder.classes, "multilabel": multilabel}


def encoder_of(
    classes: np.ndarray | list[np.ndarray], multilabel: str | None = None
) -> LabelEncoder | MultioutputEncoder:
    """Return the encoder of known labels.

    Parameters
    ----------
    classes : ndarray or list of ndarray
        The labels, sorted; those of each of several columns.
    multilabel : {"dense", "sparse"} or None, default=None
        Whether a row can have any number of them, and what y was then.

    Returns
    -------
    LabelEncoder or MultioutputEncoder
    """
    if isinstance(classes, list):
        return MultioutputEncoder(classes)
    if multilabel is None:
        encoder = LabelEncoder(classes, "multiclass" if len(classes) > 2 else "binary")
    else:
        none = np.zeros((1, len(classes)), np.int64)  # of the labels
        encoder = LabelEncoder(csr_array(none) if multilabel == "sparse" else none, "multilabel-indicator")
    encoder.classes = classes  # the same array, which a pickle has once
    return encoder
