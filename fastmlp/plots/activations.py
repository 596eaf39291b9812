"""Distributions of the activations in each hidden layer, and units that are of no use."""

from collections.abc import Sequence
from math import pi
from numbers import Integral
from typing import Any

import numpy as np

from fastmlp.activation import name_of
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.stored import by_blocks, is_stored
from fastmlp.network import Network
from fastmlp.plots.shared import OURS, axes_for, listed, pyplot_for, styled, unwrap
from fastmlp.training import device

DISPLAY = "ActivationDisplay"
LIMITS = {
    "logistic": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hard_tanh": (-1.0, 1.0),
    "softsign": (-1.0, 1.0),
    "arctan": (-pi / 2, pi / 2),
}
NEAR = 0.01  # of the distance between the limits; there the slope of logistic and tanh is 4 % of the steepest
# these only tend to 0, and further from it a unit does something
NEVER_ZERO = {"softplus": 1e-3, "gelu": 1e-3, "silu": 1e-3, "mish": 1e-3}


class ActivationDisplay:
    """The distribution of the activations in each hidden layer, over some rows.

    Draw it with `from_estimator`. A unit is dead if it is 0 in all rows, as one of "relu" that is never active; one of
    "softplus", "gelu", "silu" and "mish", which only tend to 0, if it is nearer to 0 than 0.001 in all rows. A unit of
    "logistic", "tanh", "hard_tanh", "softsign" or "arctan" is saturated if in more than half of the rows it is nearer
    to one of its limits than a hundredth of the distance between them. Through both kinds little or nothing of a
    gradient comes back.

    Parameters
    ----------
    activations : sequence of array-like of shape (n_samples, n_units)
        Those of each hidden layer.
    names : sequence of str or None, default=None
        Of the activation functions, by which it is known which have limits. None: none is known.

    Attributes
    ----------
    dead_ : list of ndarray of bool of shape (n_units,)
        Which units of each layer are dead.
    saturated_ : list of ndarray of bool of shape (n_units,) or None
        Which units of each layer are saturated; None where the activation has no two limits.
    ax_ : matplotlib.axes.Axes
        The axes that were passed or made. They are switched off; in their place are the layers' own.
    axes_ : ndarray of matplotlib.axes.Axes of shape (n_layers,)
        Those of each layer.
    figure_ : matplotlib.figure.Figure
        The figure.
    histograms_ : list of matplotlib.patches.StepPatch
        The histogram of each layer: shares of all activations. Those that are exactly 0 are not in it, which would hide
        all others; their share is in words below.

    Raises
    ------
    ValueError
        If there is no layer, or an array is not of two dimensions, or not finite.

    Examples
    --------
    >>> from fastmlp.plots import ActivationDisplay
    >>> display = ActivationDisplay(
    ...     [[[0.0, 0.3], [0.0, 0.0]], [[0.999, -0.4], [1.0, 0.7]]], names=["relu", "tanh"]
    ... ).plot()
    >>> display.dead_[0]
    array([ True, False])
    >>> display.saturated_[1]
    array([ True, False])
    """

    def __init__(self, activations: Sequence[Any], *, names: Sequence[str] | None = None) -> None:
        self.activations = [np.asarray(layer) for layer in activations]
        if not self.activations:
            raise ValueError("activations must have an array for each hidden layer, got none.")
        for number, layer in enumerate(self.activations, start=1):
            if layer.ndim != 2 or 0 in layer.shape:
                raise ValueError(
                    f"activations must be of shape (n_samples, n_units), got shape {layer.shape} of layer {number}."
                )
            if not np.isfinite(layer).all():
                raise ValueError(f"activations must be finite, got infinity or NaN in layer {number}.")
        self.names = listed("names", names, len(self.activations))

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, *, bins: int = 50, ax: Any = None, hist_kw: dict[str, Any] | None = None
    ) -> "ActivationDisplay":
        """Draw the distributions for the rows of X.

        Parameters
        ----------
        estimator : estimator
            A fitted `fastmlp.MLPClassifier` or `MLPRegressor`, or a `Pipeline` that ends in one, or a search, whose
            best estimator is taken.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The rows, as `predict` takes them. The activations of all of them are held in memory; some thousand rows
            are enough.
        bins, ax, hist_kw
            As for `plot`.

        Returns
        -------
        ActivationDisplay
            What is drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If there is no network of fastmlp inside.
        ValueError
            If there is no hidden layer, or X does not fit the estimator.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from fastmlp.plots import ActivationDisplay
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = MLPClassifier((20, 10), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0).fit(X, y)
        >>> display = ActivationDisplay.from_estimator(model, X)
        >>> [layer.shape for layer in display.activations]
        [(150, 20), (150, 10)]
        >>> len(display.axes_)
        2
        """
        pyplot_for(DISPLAY)
        network, before = unwrap(estimator, DISPLAY, OURS)
        for steps in before:
            X = steps.transform(X)
        activations, names = activations_of(network, X)
        return cls(activations, names=names).plot(ax, bins=bins, hist_kw=hist_kw)

    def plot(self, ax: Any = None, *, bins: int = 50, hist_kw: dict[str, Any] | None = None) -> "ActivationDisplay":
        """Draw a histogram for each layer, side by side.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, array-like of matplotlib.axes.Axes, or None, default=None
            Axes that are divided among the layers, or axes for each layer. None: on a new figure.
        bins : int, default=50
            The number of bins of each histogram.
        hist_kw : dict or None, default=None
            Settings of the histograms, for `matplotlib.axes.Axes.stairs`.

        Returns
        -------
        ActivationDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `bins` is not a positive integer, or there are not as many axes as layers.
        """
        pyplot_for(DISPLAY)
        from matplotlib.patches import StepPatch

        if not isinstance(bins, Integral) or bins < 1:
            raise ValueError(f"bins must be a positive integer, got {bins!r}.")
        names = self.names or ["activation"] * len(self.activations)
        self.dead_ = [_dead(*layer) for layer in zip(self.activations, names, strict=True)]
        self.saturated_ = [_saturated(*layer) for layer in zip(self.activations, names, strict=True)]
        n_columns = self._divide(ax)
        self.figure_ = self.axes_[0].figure
        self.histograms_ = []
        for number, (ax, name, values) in enumerate(zip(self.axes_, names, self.activations, strict=True)):
            others = values[values != 0]
            counts, edges = np.histogram(others, bins=bins)
            style = styled({"fill": True, "color": "C0"}, hist_kw, StepPatch)
            self.histograms_.append(ax.stairs(counts / values.size, edges, **style))
            ax.set_title(f"layer {number + 1}: {name}\n{self._useless(number)}", fontsize="small")
            zeros = 1 - others.size / values.size
            ax.set_xlabel(f"activation ({_percent(zeros)} are 0)" if zeros > 0 else "activation")
            if number % n_columns == 0:
                ax.set_ylabel("share")
        return self

    def _divide(self, ax: Any) -> int:
        """Set the axes, and return how many are in a row."""
        from matplotlib.axes import Axes

        n_layers = len(self.activations)
        if ax is not None and not isinstance(ax, Axes):
            self.ax_, self.axes_ = None, np.asarray(ax, object).ravel()
            if self.axes_.size != n_layers:
                raise ValueError(f"ax must be one Axes, or {n_layers}, one for each layer, got {self.axes_.size}.")
            return np.shape(ax)[-1] if np.ndim(ax) > 1 else n_layers
        n_columns = min(4, int(np.ceil(n_layers**0.5)))
        n_rows = -(-n_layers // n_columns)
        self.ax_ = ax = axes_for(DISPLAY, ax, (max(4.8, 3.0 * n_columns), max(3.6, 2.6 * n_rows)))
        ax.set_axis_off()
        place = ax.get_subplotspec()
        if place is None:  # axes that were put somewhere by hand
            box = ax.get_position()
            edges = {"left": box.x0, "right": box.x1, "bottom": box.y0, "top": box.y1}
            place = ax.figure.add_gridspec(1, 1, **edges)[0]
        # for titles of two lines and a label in between, where no layout engine makes room
        room = {"hspace": 0.9, "wspace": 0.4} if ax.figure.get_layout_engine() is None else {}
        grid = place.subgridspec(n_rows, n_columns, **room)
        self.axes_ = np.array([ax.figure.add_subplot(grid[divmod(i, n_columns)]) for i in range(n_layers)], object)
        return n_columns

    def _useless(self, number: int) -> str:
        dead, saturated = self.dead_[number], self.saturated_[number]
        parts = [(dead, "dead")] if saturated is None or dead.any() else []
        if saturated is not None:
            parts.append((saturated, "saturated"))
        return "\n".join(f"{units.sum()} of {units.size} {what} ({_percent(units.mean())})" for units, what in parts)


def activations_of(estimator: BaseMLP, X: Any) -> tuple[list[np.ndarray], list[str]]:
    """Return the activations of each hidden layer, and the names of the activation functions.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        It is fitted.
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        Rows, as for `predict`.

    Returns
    -------
    activations : list of ndarray of shape (n_samples, n_units)
    names : list of str

    Raises
    ------
    ValueError
        If there is no hidden layer, or X does not fit the estimator.
    """
    if len(estimator.coefs_) == 1:
        raise ValueError(
            f"{DISPLAY} is about hidden layers, and hidden_layer_sizes={estimator.hidden_layer_sizes!r} has none: give "
            "it at least one layer."
        )
    network = estimator._fitted_network()[0]
    names = [name if isinstance(name, str) else name_of(name.function) for name in network.activations[:-1]]
    if is_stored(X):
        together = by_blocks(lambda rows: np.hstack(_hidden_layers(estimator, rows)), X)
        return np.split(together, np.cumsum(network.widths[1:-2]), axis=1), names
    return _hidden_layers(estimator, X), names


def _hidden_layers(estimator: BaseMLP, X: Any) -> list[np.ndarray]:
    """Return the activations of each hidden layer, made of those of the layer before it."""
    network, coefs, intercepts, rows = estimator._to_predict(X)
    layers = []
    for layer in range(len(coefs) - 1):
        here = slice(layer, layer + 2)  # a hidden layer, and what `hidden_layer` leaves out as the output
        one = Network(network.widths[layer : layer + 3], network.activations[here], "squared_error")
        rows = device.hidden_layer(
            one, coefs[here], intercepts[here], rows, estimator.n_threads, device=estimator.device
        )
        layers.append(rows)
    return layers


def _dead(layer: np.ndarray, name: str) -> np.ndarray:
    return np.abs(layer).max(axis=0) <= NEVER_ZERO.get(name, 0.0)


def _saturated(layer: np.ndarray, name: str) -> np.ndarray | None:
    if name not in LIMITS:
        return None
    low, high = LIMITS[name]
    near = NEAR * (high - low)
    return ((layer < low + near) | (layer > high - near)).mean(axis=0) > 0.5


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share in (0, 1) or 0.01 <= share <= 0.99 else f"{100 * share:.2g} %"
