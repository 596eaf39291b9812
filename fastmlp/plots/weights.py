"""The weights of the first layer, as images or as a heat map."""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline

from fastmlp.plots.shared import axes_for, listed, pyplot_for, unwrap

DISPLAY = "WeightsDisplay"
GAP = 0.12  # between images, in their widths
MOST_IMAGES = 100  # unless a user asks for more
MOST_NAMES = 60  # of features, beside a heat map
MOST_NUMBERS = 25  # of units, below a heat map
SMALLEST_LABEL = 4.5  # points; smaller ones are left out


class WeightsDisplay:
    """The weights from the features to each unit of the first layer.

    Draw it with `from_estimator`. Red weights are positive, blue ones negative, and white is 0.

    Parameters
    ----------
    weights : array-like of shape (n_features, n_units)
        The weights: `coefs_[0]`.
    importances : array-like of shape (n_units,) or None, default=None
        The units are drawn in the order of it, the largest first. None: in the order of the columns.
    image_shape : tuple of (int, int) or None, default=None
        Height and width of the images that the rows were, for an image of each unit. None: a heat map.
    feature_names, unit_names : sequence of str or None, default=None
        Of the features, beside a heat map, and of the units. None: their numbers.
    units : str, default="unit"
        What a column is, in words.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.
    figure_ : matplotlib.figure.Figure
        The figure.
    images_ : list of matplotlib.image.AxesImage
        An image for each unit that is drawn, in the order of `units_`; or the one heat map.
    units_ : ndarray of int
        The numbers of the units, from 0, in the order in which they are drawn.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The colour bar.

    Raises
    ------
    ValueError
        If `image_shape` does not fit the number of features, or there is not a name or importance for each.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.plots import WeightsDisplay
    >>> weights = np.arange(12.0).reshape(4, 3) - 6
    >>> display = WeightsDisplay(weights, importances=[1, 3, 2], image_shape=(2, 2)).plot()
    >>> display.units_
    array([1, 2, 0])
    >>> display.images_[0].get_array()
    masked_array(
      data=[[-5., -2.],
            [ 1.,  4.]],
      mask=False,
      fill_value=1e+20)
    """

    def __init__(
        self,
        weights: Any,
        *,
        importances: Any = None,
        image_shape: tuple[int, int] | None = None,
        feature_names: Sequence[str] | None = None,
        unit_names: Sequence[str] | None = None,
        units: str = "unit",
    ) -> None:
        self.weights = np.asarray(weights)
        if self.weights.ndim != 2 or 0 in self.weights.shape:
            raise ValueError(f"weights must be of shape (n_features, n_units), got shape {self.weights.shape}.")
        n_features, n_units = self.weights.shape
        self.importances = listed("importances", importances, n_units)
        self.image_shape = None if image_shape is None else _checked_shape(image_shape, n_features)
        self.feature_names = listed("feature_names", feature_names, n_features)
        self.unit_names = listed("unit_names", unit_names, n_units)
        self.units = units

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image_shape: tuple[int, int] | None = None,
        n_units: int | None = None,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        ax: Any = None,
        im_kw: dict[str, Any] | None = None,
    ) -> "WeightsDisplay":
        """Draw the weights of the first layer of an estimator.

        The most important units come first: those of the largest product of two norms, that of the weights into the
        unit and that of the weights out of it. The units of a network without hidden layers are its outputs, in their
        order.

        Parameters
        ----------
        estimator : estimator
            A fitted `fastmlp.MLPClassifier` or `MLPRegressor`, or scikit-learn's; or a `Pipeline` that ends in one, or
            a search, whose best estimator is taken.
        image_shape : tuple of (int, int) or None, default=None
            Height and width of the images that the rows of `X` are, for an image of each unit. None: a heat map of
            features and units. Inputs that say where a number is missing are only in the heat map.
        n_units, cmap, colorbar, ax, im_kw
            As for `plot`.

        Returns
        -------
        WeightsDisplay
            What is drawn.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        TypeError
            If there is no network inside.
        ValueError
            If a parameter is not what it must be.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from fastmlp.plots import WeightsDisplay
        >>> from sklearn.datasets import load_digits
        >>> X, y = load_digits(return_X_y=True)
        >>> model = MLPClassifier((16,), solver="lbfgs", tol=1e-3, max_iter=1000, random_state=0).fit(X / 16, y)
        >>> display = WeightsDisplay.from_estimator(model, image_shape=(8, 8))
        >>> len(display.images_)
        16
        >>> bool((display.images_[0].get_array().ravel() == model.coefs_[0][:, display.units_[0]]).all())
        True
        """
        pyplot_for(DISPLAY)
        network, before = unwrap(estimator, DISPLAY)
        first, n_features = np.asarray(network.coefs_[0]), network.n_features_in_
        hidden = len(network.coefs_) > 1
        importances = unit_names = None
        if hidden:
            importances = np.linalg.norm(first, axis=0) * np.linalg.norm(network.coefs_[1], axis=1)
        elif len(getattr(network, "classes_", ())) == first.shape[1]:
            unit_names = [str(name) for name in network.classes_]
        display = cls(
            first if image_shape is None else first[:n_features],
            importances=importances,
            image_shape=image_shape,
            feature_names=_feature_names(network, before) if image_shape is None else None,
            unit_names=unit_names,
            units="unit of the first hidden layer" if hidden else "output",
        )
        return display.plot(ax, n_units=n_units, cmap=cmap, colorbar=colorbar, im_kw=im_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        n_units: int | None = None,
        cmap: Any = "RdBu_r",
        colorbar: bool = True,
        im_kw: dict[str, Any] | None = None,
    ) -> "WeightsDisplay":
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; None: on a new figure.
        n_units : int or None, default=None
            The most units to draw. None: all of them in a heat map, 100 as images.
        cmap : str or matplotlib.colors.Colormap, default="RdBu_r"
            Colours whose middle is 0.
        colorbar : bool, default=True
            Whether to draw a colour bar.
        im_kw : dict or None, default=None
            Settings of the images, for `matplotlib.axes.Axes.imshow`.

        Returns
        -------
        WeightsDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If `n_units` is not a positive integer.
        """
        pyplot_for(DISPLAY)
        from matplotlib.colors import Normalize

        if n_units is not None and (not isinstance(n_units, Integral) or n_units < 1):
            raise ValueError(f"n_units must be a positive integer or None, got {n_units!r}.")
        if n_units is None and self.image_shape is not None:
            n_units = MOST_IMAGES
        count = self.weights.shape[1]
        # stable: equal ones stay in the order of their numbers
        order = np.arange(count) if self.importances is None else np.argsort(-np.array(self.importances), kind="stable")
        self.units_ = order[:n_units]
        largest = np.abs(self.weights[:, self.units_]).max()
        norm = Normalize(-largest, largest) if largest > 0 else Normalize(-1, 1)
        # `norm` must not be beside a user's `vmin` and `vmax`
        scale = {} if im_kw and {"vmin", "vmax"} & set(im_kw) else {"norm": norm}
        settings = {"cmap": cmap, **scale, "interpolation": "nearest", **(im_kw or {})}
        if self.image_shape is None:
            self._plot_heat_map(ax, settings)
        else:
            self._plot_images(ax, settings)
        self.figure_ = self.ax_.figure
        self.colorbar_ = None
        if colorbar:
            self.colorbar_ = self.figure_.colorbar(self.images_[0], ax=self.ax_, label="weight", aspect=30)
        return self

    def _plot_heat_map(self, ax: Any, settings: dict[str, Any]) -> None:
        n_features, n_shown = len(self.weights), len(self.units_)
        named = self.feature_names is not None and n_features <= MOST_NAMES
        height = min(12.0, max(4.0, 1.0 + 0.2 * n_features)) if named else 4.8
        self.ax_ = ax = axes_for(DISPLAY, ax, (6.4, height))
        self.images_ = [ax.imshow(self.weights[:, self.units_], **{"aspect": "auto", **settings})]
        if named:
            ax.set_yticks(range(n_features), self.feature_names)
        else:
            ax.yaxis.get_major_locator().set_params(integer=True)
            ax.set_ylabel("feature")
        if n_shown <= MOST_NUMBERS:
            names = [self._name(unit) for unit in self.units_]
            ax.set_xticks(range(n_shown), names, rotation=90 if sum(map(len, names)) > 24 else 0)
            ax.set_xlabel(self.units)
        else:
            ax.set_xticks([])
            order = "" if self.importances is None else ", most important first"
            ax.set_xlabel(f"{n_shown} of {self.weights.shape[1]}: {self.units}{order}")

    def _plot_images(self, ax: Any, settings: dict[str, Any]) -> None:
        from matplotlib.patches import Rectangle

        (height, width), n_shown = self.image_shape, len(self.units_)
        across, down = 1 + GAP, height / width + 2.2 * GAP  # of a cell with its label, in widths of an image
        n_columns = _columns(n_shown, (n_shown * down / across) ** 0.5)
        n_rows = -(-n_shown // n_columns)
        size = 0.9 if n_shown > 25 else 1.1
        figsize = (1.2 + size * across * max(n_columns, 2), 0.3 + size * down * max(n_rows, 2))
        self.ax_ = ax = axes_for(DISPLAY, ax, figsize)
        room = ax.get_window_extent()
        points = 72 / ax.figure.dpi * min(room.width / (n_columns * across), room.height / (n_rows * down))
        label_size = min(9.0, 0.14 * points)
        self.images_ = []
        for place, unit in enumerate(self.units_):
            row, column = divmod(place, n_columns)
            left, top = column * across, -row * down
            extent = (left, left + 1, top - height / width, top)
            image = self.weights[:, unit].reshape(self.image_shape)
            self.images_.append(ax.imshow(image, **{**settings, "extent": extent}))
            ax.add_patch(Rectangle(extent[0::2], 1, height / width, fill=False, edgecolor="0.5", linewidth=0.5))
            if label_size >= SMALLEST_LABEL:
                ax.text(left + 0.5, top + 0.02, self._name(unit), fontsize=label_size, ha="center", va="bottom")
        ax.set(
            xlim=(-GAP / 2, n_columns * across - GAP / 2),
            ylim=(-(n_rows - 1) * down - height / width - GAP / 2, 1.8 * GAP),
            aspect="equal",
        )
        ax.set_axis_off()

    def _name(self, unit: int) -> str:
        return str(unit) if self.unit_names is None else str(self.unit_names[unit])


def _columns(n_images: int, square: float) -> int:
    """Return how many images are in a row: near the number that makes a square, with the fewest empty places."""
    possible = range(max(1, int(0.75 * square)), min(n_images, int(1.7 * square)) + 1)
    return min(possible, key=lambda columns: (-n_images % columns, abs(columns - 1.2 * square)))


def _checked_shape(image_shape: Any, n_features: int) -> tuple[int, int]:
    shape = tuple(image_shape) if np.iterable(image_shape) else (image_shape,)
    if len(shape) != 2 or not all(isinstance(size, Integral) and size > 0 for size in shape):
        raise ValueError(f"image_shape must be two positive integers, height and width, got {image_shape!r}.")
    if shape[0] * shape[1] != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} has {shape[0] * shape[1]} pixels, but there are {n_features} features."
        )
    return shape


def _feature_names(network: BaseEstimator, before: Sequence[Pipeline]) -> list[str] | None:
    """Return the names of the inputs, those of an indicator of missing numbers included, if they have names."""
    names = getattr(network, "feature_names_in_", None)
    if names is None and before:
        try:
            names = before[-1].get_feature_names_out()
        except (AttributeError, ValueError):  # a step that gives none, or only if it is told those before it
            names = None
    if names is None or len(names) != network.n_features_in_:
        return None
    indicator = getattr(network, "indicator_", None)
    missing = [] if indicator is None else [f"{names[feature]} missing" for feature in indicator.features_]
    return [*map(str, names), *missing]
