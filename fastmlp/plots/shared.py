"""What the displays share: the network inside of what a user passes, and axes to draw on."""

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection._search import BaseSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import BaseMLP
from fastmlp.extras import import_extra

OURS = (BaseMLP,)
ALIKE = (BaseMLP, MLPClassifier, MLPRegressor)  # scikit-learn's have the same attributes

LIGHT_FROM = 0.5  # of a colour's luminance; text on it is dark


def pyplot_for(display: str) -> ModuleType:
    """Return `matplotlib.pyplot` for a display of that name.

    Raises
    ------
    ImportError
        If it is not installed.
    """
    return import_extra("matplotlib.pyplot", "plots", display)


def axes_for(display: str, ax: Any, figsize: tuple[float, float] | None = None) -> Any:
    """Return the axes a user passed, or those of a new figure, which makes room for what lies around them."""
    pyplot = pyplot_for(display)
    return pyplot.subplots(figsize=figsize, layout="constrained")[1] if ax is None else ax


def unwrap(estimator: Any, display: str, kinds: tuple[type, ...] = ALIKE) -> tuple[BaseEstimator, list[Pipeline]]:
    """Return the fitted network inside of pipelines, searches and the like, and what rows go through before it.

    Raises
    ------
    NotFittedError
        If something is not fitted.
    TypeError
        If there is no network inside.
    ValueError
        If a search did not fit its best network.
    """
    before = []
    while not isinstance(estimator, kinds):
        if isinstance(estimator, Pipeline):
            if len(estimator) > 1:
                before.append(estimator[:-1])
            estimator = estimator[-1]
        elif hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "regressor_"):  # of TransformedTargetRegressor
            estimator = estimator.regressor_
        elif hasattr(estimator, "cv_results_"):
            raise ValueError(
                f"{display} needs the best estimator of a search, and this one has refit={estimator.refit!r}: take "
                "refit=True."
            )
        else:
            if isinstance(estimator, BaseSearchCV | TransformedTargetRegressor):
                check_is_fitted(estimator)
            raise TypeError(
                f"{display} needs an MLPClassifier or MLPRegressor{'' if kinds is ALIKE else ' of fastmlp'}, or a "
                f"Pipeline that ends in one, or a search of one, got {estimator!r}."
            )
    check_is_fitted(estimator, "coefs_")
    return estimator, before


def listed(name: str, values: Any, length: int) -> list | None:
    """Return values, one for each of so many, as a list; None stays None.

    Raises
    ------
    ValueError
        If there are more or less.
    """
    if values is None:
        return None
    values = list(values)
    if len(values) != length:
        raise ValueError(f"{name} must have {length} values, got {len(values)}: {values!r}.")
    return values


def styled(defaults: dict[str, Any], given: dict[str, Any] | None, artist: type) -> dict[str, Any]:
    """Return a user's settings of an artist, and the defaults of what they do not say, under whichever name."""
    from matplotlib.cbook import normalize_kwargs

    return {**normalize_kwargs(defaults, artist), **normalize_kwargs(given or {}, artist)}


def colors_of(pyplot: ModuleType, count: int) -> list:
    """Return so many colours: those of the style, or where it has fewer, those of a colour map."""
    cycle = pyplot.rcParams["axes.prop_cycle"].by_key().get("color", ["C0"])
    if count <= len(cycle):
        return cycle[:count]
    return list(pyplot.get_cmap("turbo")(np.linspace(0.08, 0.92, count)))


def is_light(color: Sequence[float]) -> bool:
    """Return whether a colour (red, green, blue, ...) is so light that text on it has to be dark."""
    return float(np.dot(color[:3], (0.2126, 0.7152, 0.0722))) > LIGHT_FROM
