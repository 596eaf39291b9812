"""Scores of a search over one or two of its parameters."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils.validation import check_is_fitted

from fastmlp.activation import name_of
from fastmlp.plots.shared import axes_for, is_light, listed, pyplot_for

DISPLAY = "SearchDisplay"
MOST_NUMBERS = 80  # cells of a heat map that have their numbers in them
MOST_TICKS = 20  # values of a parameter beside a heat map
LONGEST_VALUE = 24  # characters of a value beside an axis
LOG_FROM = 10  # of the largest number by the least


class SearchDisplay:
    """The scores of a search over one or two of its parameters.

    Draw it with `from_estimator`. Of candidates that have the same values the best one is shown; of a successive
    halving the best of those that came furthest, for the scores of other rounds are of fewer resources.

    Parameters
    ----------
    values : dict of str to sequence
        For one or two parameters the value of each candidate. The first one is along the horizontal axis.
    scores : array-like of shape (n_candidates,)
        The mean test scores; NaN for candidates whose fits failed.
    fold_scores : array-like of shape (n_candidates, n_folds) or None, default=None
        The test scores of each fold, drawn for one parameter.
    best : int or None, default=None
        The number of the candidate that is marked. None: that of the best score.
    rounds : array-like of int of shape (n_candidates,) or None, default=None
        The round of a successive halving that each candidate is of.
    score_name : str, default="score"
        What the score is called.
    others_vary : bool, default=False
        Whether candidates differ in other parameters, too.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes.
    figure_ : matplotlib.figure.Figure
        The figure.
    image_ : matplotlib.image.AxesImage or None
        The heat map, if there is one.
    points_ : matplotlib.collections.PathCollection or None
        The candidates of two parameters that are no grid.
    line_ : matplotlib.lines.Line2D or None
        The mean scores of one parameter.
    folds_ : matplotlib.lines.Line2D or None
        The scores of the folds of one parameter.
    best_ : matplotlib.artist.Artist
        The mark of the best candidate: a frame in a heat map, else a ring.
    texts_ : list of matplotlib.text.Text
        The numbers in a heat map of few cells.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The colour bar, where there are two parameters.

    Raises
    ------
    ValueError
        If there are not one or two parameters, or not as many values as scores, or no score is finite.

    Examples
    --------
    >>> from fastmlp.plots import SearchDisplay
    >>> values = {"alpha": [0.1, 0.1, 1, 1], "solver": ["sgd", "adam", "sgd", "adam"]}
    >>> display = SearchDisplay(values, [0.5, 0.8, 0.6, 0.7]).plot()
    >>> display.image_.get_array().tolist()
    [[0.5, 0.6], [0.8, 0.7]]
    """

    def __init__(
        self,
        values: Mapping[str, Sequence[Any]],
        scores: Any,
        *,
        fold_scores: Any = None,
        best: int | None = None,
        rounds: Any = None,
        score_name: str = "score",
        others_vary: bool = False,
    ) -> None:
        if len(values) not in (1, 2):
            raise ValueError(f"values must be of one or two parameters, got {len(values)}: {list(values)}.")
        self.scores = np.asarray(scores, np.float64)
        if not np.isfinite(self.scores).any():
            raise ValueError("scores must have a finite one, got none: all fits failed.")
        count = self.scores.size
        self.values = {name: listed(f"values[{name!r}]", some, count) for name, some in values.items()}
        self.fold_scores = None if fold_scores is None else np.asarray(fold_scores, np.float64)
        if self.fold_scores is not None and (self.fold_scores.ndim != 2 or len(self.fold_scores) != count):
            raise ValueError(
                f"fold_scores must be of shape ({count}, n_folds), for each score a row, got {self.fold_scores.shape}."
            )
        self.rounds = np.zeros(count) if rounds is None else np.array(listed("rounds", rounds, count))
        self.best = int(self._from_worst()[-1]) if best is None else best
        if not 0 <= self.best < count:
            raise ValueError(f"best must be the number of a candidate, from 0 to {count - 1}, got {best!r}.")
        self.score_name = score_name
        self.others_vary = others_vary

    @classmethod
    def from_estimator(
        cls,
        search: Any,
        params: str | Sequence[str] | None = None,
        *,
        score: str | None = None,
        cmap: Any = "viridis",
        ax: Any = None,
    ) -> "SearchDisplay":
        """Draw the scores of a fitted search.

        Parameters
        ----------
        search : GridSearchCV, RandomizedSearchCV, HalvingGridSearchCV or HalvingRandomSearchCV
            scikit-learn's or those of `fastmlp.model_selection`, fitted; or whatever has the same `cv_results_`.
        params : str, sequence of one or two str, or None, default=None
            The parameters, the first one for the horizontal axis. Of the names in a pipeline the last part is enough,
            "alpha" for "mlpclassifier__alpha", where there is only one such. None: those that have more than one value,
            if they are not more than two. Candidates that lack one of them are left out.
        score : str or None, default=None
            The name of the score, if the search has several. None: that by which it is refitted.
        cmap, ax
            As for `plot`.

        Returns
        -------
        SearchDisplay
            What is drawn.

        Raises
        ------
        NotFittedError
            If the search is not fitted.
        TypeError
            If it is no search.
        ValueError
            If the search has no such parameter or score, or more than two parameters and `params` names none.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from fastmlp.model_selection import GridSearchCV
        >>> from fastmlp.plots import SearchDisplay
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> network = MLPClassifier((10,), solver="lbfgs", tol=1e-2, max_iter=1000, random_state=0)
        >>> search = GridSearchCV(network, {"alpha": [0.01, 0.1, 1.0, 10.0]}).fit(X, y)
        >>> display = SearchDisplay.from_estimator(search)
        >>> display.line_.get_xdata().tolist()
        [0.01, 0.1, 1.0, 10.0]
        >>> bool((display.line_.get_ydata() == search.cv_results_["mean_test_score"]).all())
        True
        >>> display.ax_.get_xscale()
        'log'
        """
        pyplot_for(DISPLAY)
        if not hasattr(search, "cv_results_"):
            if not isinstance(search, BaseSearchCV):
                raise TypeError(f"{DISPLAY} needs a search, such as GridSearchCV, got {search!r}.")
            check_is_fitted(search, "cv_results_")
        results = search.cv_results_
        candidates, names = results["params"], _names(results["params"], params)
        key = _score_key(search, score)
        kept = [i for i, one in enumerate(candidates) if all(name in one for name in names)]
        folds = [results[name][kept] for name in _fold_keys(results, key)]
        best = getattr(search, "best_index_", None) if key in ("score", getattr(search, "refit", None)) else None
        scoring = getattr(search, "scoring", None)
        called = scoring if key == "score" and isinstance(scoring, str) else key
        display = cls(
            {_short(name, names): [candidates[i][name] for i in kept] for name in names},
            results[f"mean_test_{key}"][kept],
            fold_scores=np.column_stack(folds) if folds else None,
            best=kept.index(best) if best in kept else None,
            rounds=results["iter"][kept] if "iter" in results else None,
            score_name=called.replace("_", " "),
            others_vary=bool(set(_varied(candidates)) - set(names)),
        )
        return display.plot(ax, cmap=cmap)

    def plot(self, ax: Any = None, *, cmap: Any = "viridis") -> "SearchDisplay":
        """Draw the scores.

        Two parameters make a heat map if the candidates fill more than half of the pairs of their values, and else are
        points in the colours of their scores. One parameter makes a curve, or points where other parameters
        differ too and hardly a value is there twice. Axes of numbers are logarithmic where the values are spread more
        evenly so.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; None: on a new figure.
        cmap : str or matplotlib.colors.Colormap, default="viridis"
            Colours of the scores, of two parameters.

        Returns
        -------
        SearchDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        """
        pyplot = pyplot_for(DISPLAY)
        self.image_ = self.points_ = self.line_ = self.folds_ = self.colorbar_ = None
        self.texts_ = []
        axes = [_Axis(name, values) for name, values in self.values.items()]
        # of each place, or pair of places, what comes last is best
        shown = {tuple(axis.places[i] for axis in axes): i for i in self._from_worst()}
        grid = len(axes) == 2 and 2 * len(shown) > len(axes[0].distinct) * len(axes[1].distinct)
        self.ax_ = ax = axes_for(DISPLAY, ax)
        self.figure_ = ax.figure
        if len(axes) == 1:
            self._plot_curve(pyplot, axes[0], shown)
        elif grid:
            self._plot_grid(axes, shown, cmap)
        else:
            self._plot_points(pyplot, axes, list(shown.values()), cmap)
        if len(axes) == 2:
            mapped = self.image_ or self.points_
            self.colorbar_ = self.figure_.colorbar(mapped, ax=ax, label=self.score_name)
        return self

    def _from_worst(self) -> np.ndarray:
        """Return the numbers of the candidates, the best of the last round last."""
        scores = np.where(np.isnan(self.scores), -np.inf, self.scores)
        # of equal ones the first is taken, as scikit-learn does
        return np.lexsort((-np.arange(scores.size), scores, self.rounds))

    def _plot_curve(self, pyplot: Any, axis: "_Axis", shown: dict[tuple, int]) -> None:
        chosen = [shown[place] for place in sorted(shown)]
        x, ax = [axis.coordinates[i] for i in chosen], self.ax_
        # where hardly a value is there with several of the others, a line would only go up and down
        joined = axis.numeric and not (self.others_vary and 2 * len(chosen) > self.scores.size)
        if self.fold_scores is not None:
            folds = self.fold_scores[chosen]
            across = np.repeat(x, folds.shape[1])
            settings = {"color": "C0", "alpha": 0.5, "markersize": 4, "zorder": 1, "label": "folds"}
            self.folds_ = ax.plot(across, folds.ravel(), "o", **settings)[0]
        self.line_ = ax.plot(x, self.scores[chosen], "o-" if joined else "o", color="C0", label="mean")[0]
        self._ring(pyplot, axis.coordinates[self.best], self.scores[self.best])
        axis.label(ax.xaxis, ax.set_xscale, ax.set_xlim)
        ax.set_ylabel(self.score_name)
        ax.legend()

    def _plot_points(self, pyplot: Any, axes: Sequence["_Axis"], chosen: list[int], cmap: Any) -> None:
        ax, (x, y) = self.ax_, ([axis.coordinates[i] for i in chosen] for axis in axes)
        self.points_ = ax.scatter(x, y, c=self.scores[chosen], cmap=cmap, edgecolors="0.5", linewidths=0.5)
        self._ring(pyplot, *(axis.coordinates[self.best] for axis in axes))
        axes[0].label(ax.xaxis, ax.set_xscale, ax.set_xlim)
        axes[1].label(ax.yaxis, ax.set_yscale, ax.set_ylim)
        ax.legend()

    def _plot_grid(self, axes: Sequence["_Axis"], shown: dict[tuple, int], cmap: Any) -> None:
        from matplotlib.patches import Rectangle
        from matplotlib.patheffects import withStroke

        ax, (across, down) = self.ax_, axes
        cells = np.full((len(down.distinct), len(across.distinct)), np.nan)
        for (column, row), i in shown.items():
            cells[row, column] = self.scores[i]
        self.image_ = ax.imshow(cells, origin="lower", aspect="auto", interpolation="nearest", cmap=cmap)
        if cells.size <= MOST_NUMBERS:
            for (row, column), score in np.ndenumerate(cells):
                if np.isfinite(score):
                    color = "black" if is_light(self.image_.cmap(self.image_.norm(score))) else "white"
                    self.texts_.append(
                        ax.text(column, row, _number(score), ha="center", va="center", color=color, fontsize="small")
                    )
        corner = (across.places[self.best] - 0.5, down.places[self.best] - 0.5)
        frame = Rectangle(corner, 1, 1, fill=False, edgecolor="white", linewidth=2, zorder=3, clip_on=False)
        self.best_ = ax.add_patch(frame)
        self.best_.set_path_effects([withStroke(linewidth=4.5, foreground="black")])  # seen on any colour
        across.label_cells(ax.xaxis, slanted=True)
        down.label_cells(ax.yaxis, slanted=False)

    def _ring(self, pyplot: Any, x: float, y: float) -> None:
        label = f"best: {_number(self.scores[self.best])}"
        style = {"markersize": 13, "markeredgewidth": 2, "color": pyplot.rcParams["text.color"]}
        self.best_ = self.ax_.plot(x, y, "o", fillstyle="none", zorder=3, label=label, **style)[0]


class _Axis:
    """A parameter along an axis: numbers by their size, all else side by side.

    Sizes of layers are in ascending order, others in that in which they come.
    """

    def __init__(self, name: str, values: list[Any]):
        self.name = name
        self.numeric = all(isinstance(value, Real) and not isinstance(value, bool | np.bool_) for value in values)
        keys = [float(value) if self.numeric else repr(value) for value in values]
        if self.numeric:
            self.distinct = sorted(set(keys))
        else:
            # dicts keep the order in which they come; 50 is found beside (50,)
            sizes = {
                key: list(value) if isinstance(value, list | tuple) else [value]
                for key, value in zip(keys, values, strict=True)
            }
            known = all(isinstance(size, Real) for several in sizes.values() for size in several)
            self.distinct = sorted(sizes, key=sizes.get) if known else list(sizes)
        number = {key: place for place, key in enumerate(self.distinct)}
        self.places = [number[key] for key in keys]
        self.coordinates = keys if self.numeric else self.places
        texts = {key: _text(value) for key, value in zip(keys, values, strict=True)}
        self.texts = [texts[key] for key in self.distinct]

    def label(self, axis: Any, set_scale: Callable, set_limits: Callable) -> None:
        """Write what the coordinates along an axis of matplotlib are, and set its scale, or its limits."""
        axis.set_label_text(self.name)
        if not self.numeric:
            axis.set_ticks(range(len(self.texts)), self.texts)
            set_limits(-0.5, len(self.texts) - 0.5)
        elif (least := log_from(self.distinct)) is not None:
            set_scale("log") if self.distinct[0] > 0 else set_scale("symlog", linthresh=least)

    def label_cells(self, axis: Any, slanted: bool) -> None:
        """Write the values beside the cells of a heat map; if there are many, only some."""
        axis.set_label_text(self.name)
        step = -(-len(self.texts) // MOST_TICKS)
        long = slanted and sum(map(len, self.texts[::step])) > 40
        turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if long else {}
        axis.set_ticks(range(0, len(self.texts), step), self.texts[::step], **turned)


def log_from(values: Sequence[float]) -> float | None:
    """Return from which number on a logarithmic axis suits them, or None if none does.

    Parameters
    ----------
    values : sequence of float
        In ascending order, all different.

    Returns
    -------
    float or None
        The least positive number, if the positive ones, beside which only 0 may be, are a factor of 10 or more apart,
        and spread as evenly or more so in their logarithms.
    """
    positive = np.array([value for value in values if value > 0])
    if values[0] < 0 or positive.size < 2 or positive[-1] < LOG_FROM * positive[0]:
        return None

    def skew(numbers: np.ndarray) -> float:
        return abs(np.median(numbers) - (numbers[0] + numbers[-1]) / 2) / (numbers[-1] - numbers[0])

    return float(positive[0]) if skew(np.log(positive)) <= skew(positive) + 1e-9 else None


def _number(score: float) -> str:
    return f"{score:#.3g}".rstrip(".")


def _text(value: Any) -> str:
    if isinstance(value, Real) and not isinstance(value, bool | np.bool_):
        return f"{value:.4g}"
    text = name_of(value) if callable(value) else str(value)
    if isinstance(value, BaseEstimator):
        text = type(value).__name__
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."


def _names(candidates: Sequence[dict[str, Any]], params: Any) -> list[str]:
    """Return the whole names of the parameters to draw."""
    known = list(dict.fromkeys(name for one in candidates for name in one))
    if params is None:
        names = _varied(candidates) or known
        if not 1 <= len(names) <= 2:
            raise ValueError(
                f"The search has {len(names)} parameters with several values: choose one or two as params out of "
                f"{names}."
            )
        return names
    names = [params] if isinstance(params, str) else list(params)
    if len(names) not in (1, 2):
        raise ValueError(f"params must be one or two names, got {len(names)}: {params!r}.")
    whole = []
    for name in names:
        found = [one for one in known if one == name] or [one for one in known if one.endswith(f"__{name}")]
        if len(found) != 1:
            problem = "is not in the search" if not found else f"may be any of {found}"
            raise ValueError(f"params: {name!r} {problem}; it has {known}.")
        whole += found
    if len(set(whole)) < len(whole):
        raise ValueError(f"params must be different, got {params!r}.")
    if not any(all(name in one for name in whole) for one in candidates):
        raise ValueError(f"params={params!r}: no candidate of the search has both.")
    return whole


def _varied(candidates: Sequence[dict[str, Any]]) -> list[str]:
    """Return the names of the parameters that have several values."""
    values = {}
    for one in candidates:
        for name, value in one.items():
            values.setdefault(name, set()).add(repr(value))
    return [name for name, several in values.items() if len(several) > 1]


def _short(name: str, names: Sequence[str]) -> str:
    """Return the last part of a name in a pipeline, if that says which of the names it is."""
    last = name.rpartition("__")[2]
    return name if sum(other.rpartition("__")[2] == last for other in names) > 1 else last


def _score_key(search: Any, score: str | None) -> str:
    """Return what the score is called in `cv_results_`."""
    start = "mean_test_"
    known = [name.removeprefix(start) for name in search.cv_results_ if name.startswith(start)]
    if score is None:
        score = "score" if known == ["score"] else getattr(search, "refit", None)
        if score not in known:
            raise ValueError(f"The search has several scores: choose one as score out of {known}.")
    if score not in known:
        raise ValueError(f"score={score!r} is not in the search; it has {known}.")
    return score


def _fold_keys(results: Mapping[str, Any], score: str) -> list[str]:
    keys, fold = [], 0
    while (name := f"split{fold}_test_{score}") in results:
        keys.append(name)
        fold += 1
    return keys
