"""Curves of a training: losses, score and learning rate of each epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, is_classifier

from fastmlp.activation import name_of
from fastmlp.plots.shared import axes_for, colors_of, listed, pyplot_for, styled, unwrap

DISPLAY = "LossCurveDisplay"
NOT_SCORES = ("loss", "validation_loss", "learning_rate", "seconds")  # in a history
STYLES = {"loss": "-", "validation_loss": "--", "score": ":", "learning_rate": "-."}
MOST_INSIDE = 7  # entries of a legend that lies on the axes
MOST_WITHOUT_LAYOUT = 12  # where nothing makes room for one below them
SECOND_AXIS = 52  # points from the right edge to an axis beside one that is there already
LONGEST_VALUE = 30  # characters of a parameter in a legend


class LossCurveDisplay:
    """Loss, validation loss, validation score and learning rate of each epoch.

    Draw it with `from_estimator`. Several trainings have a colour each; one has a colour for each of its curves.

    Parameters
    ----------
    histories : dict of str to sequence of float, or sequence of such dicts
        What `history_` of an estimator is, one for each training: "loss", and what there is of "validation_loss",
        "validation_" and the name of a score, "learning_rate" and "seconds", each with a number for each epoch.
    names : sequence of str or None, default=None
        Of the trainings, for the legend. None: "1", "2" and so on, where there are several.
    best_epochs : sequence of int or None, default=None
        The epoch of each training, from 1, that is marked; 0 for none. None: that of the least validation loss, or of
        the least loss where no validation loss is finite.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the losses.
    score_ax_, learning_rate_ax_ : matplotlib.axes.Axes or None
        Those of the score and of the learning rate, on the right, where these are drawn.
    figure_ : matplotlib.figure.Figure
        The figure.
    lines_ : dict of str to list of matplotlib.lines.Line2D or None
        The curves of "loss", "validation_loss", "score" and "learning_rate", one for each training, None where it has
        none.
    best_ : list of list of matplotlib.lines.Line2D
        The marks of the best epoch, for each training one on each of its curves but that of the learning rate.
    legend_ : matplotlib.legend.Legend
        The legend.

    Raises
    ------
    ValueError
        If a history has no "loss", lists of several lengths, or no such epoch; or the names are not as many.

    Examples
    --------
    >>> from fastmlp.plots import LossCurveDisplay
    >>> display = LossCurveDisplay({"loss": [0.9, 0.5, 0.4], "validation_loss": [0.8, 0.6, 0.7]}).plot()
    >>> display.lines_["loss"][0].get_ydata().tolist()
    [0.9, 0.5, 0.4]
    >>> display.best_epochs
    [2]
    """

    def __init__(
        self,
        histories: Mapping[str, Sequence[float]] | Sequence[Mapping[str, Sequence[float]]],
        *,
        names: Sequence[str] | None = None,
        best_epochs: Sequence[int] | None = None,
    ) -> None:
        self.histories = [_checked(one) for one in ([histories] if isinstance(histories, Mapping) else histories)]
        if not self.histories:
            raise ValueError("histories must have at least one history, got none.")
        self.names = listed("names", names, len(self.histories))
        self.best_epochs = listed("best_epochs", best_epochs, len(self.histories))
        if self.best_epochs is None:
            self.best_epochs = [_least_loss(history) for history in self.histories]
        for best, history in zip(self.best_epochs, self.histories, strict=True):
            if not 0 <= best <= history["loss"].size:
                raise ValueError(f"best_epochs has {best!r} for a history of {history['loss'].size} epochs.")

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        names: Sequence[str] | None = None,
        x: str = "epoch",
        score: bool | str = True,
        learning_rate: bool | str = "auto",
        ax: Any = None,
        line_kw: dict[str, Any] | None = None,
    ) -> "LossCurveDisplay":
        """Draw how one estimator was trained, or several.

        The epoch that is marked is, with early stopping, that of the best validation score, whose weights the estimator
        has. Without, it is that of the least validation loss, or of the least loss where there are no validation rows;
        the weights are then those of the last epoch.

        Parameters
        ----------
        estimator : estimator, sequence of estimators, or dict of str to estimator
            Fitted `fastmlp.MLPClassifier` or `MLPRegressor`, or scikit-learn's; or a `Pipeline` that ends in one, or a
            search, whose best estimator is taken. The keys of a dict are the names.
        names : sequence of str or None, default=None
            Of the estimators, for the legend. None: the parameters in which they differ.
        x, score, learning_rate, ax, line_kw
            As for `plot`.

        Returns
        -------
        LossCurveDisplay
            What is drawn.

        Raises
        ------
        NotFittedError
            If an estimator is not fitted.
        TypeError
            If there is no network inside.
        ValueError
            If one has no curve, as after the solver "lbfgs", or a parameter is not what it must be.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from fastmlp.plots import LossCurveDisplay
        >>> from sklearn.datasets import make_moons
        >>> X, y = make_moons(200, noise=0.2, random_state=0)
        >>> models = [
        ...     MLPClassifier(alpha=alpha, early_stopping=True, random_state=0, max_iter=500).fit(X, y)
        ...     for alpha in (0.001, 1.0)
        ... ]
        >>> display = LossCurveDisplay.from_estimator(models)
        >>> display.names
        ['alpha=0.001', 'alpha=1.0']
        >>> display.lines_["loss"][1].get_ydata().tolist() == models[1].loss_curve_
        True
        """
        pyplot_for(DISPLAY)
        if isinstance(estimator, Mapping):
            if names is not None:
                raise ValueError(f"names={names!r} with a dict of estimators, whose keys are the names: leave it out.")
            names, estimators = [str(name) for name in estimator], list(estimator.values())
        else:
            estimators = list(estimator) if isinstance(estimator, list | tuple) else [estimator]
        networks = [unwrap(one, DISPLAY)[0] for one in estimators]
        histories = [_history_of(network) for network in networks]
        if x == "seconds":
            for network in networks:
                _check_one_fit(network)
        if names is None and len(networks) > 1:
            names = names_of(networks)
        best = [_best_epoch(*pair) for pair in zip(networks, histories, strict=True)]
        display = cls(histories, names=names, best_epochs=best)
        return display.plot(ax, x=x, score=score, learning_rate=learning_rate, line_kw=line_kw)

    def plot(
        self,
        ax: Any = None,
        *,
        x: str = "epoch",
        score: bool | str = True,
        learning_rate: bool | str = "auto",
        line_kw: dict[str, Any] | None = None,
    ) -> "LossCurveDisplay":
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None, default=None
            Where to draw; None: on a new figure.
        x : {"epoch", "seconds"}, default="epoch"
            What is along the horizontal axis: epochs, from 1, or the seconds since the fit began, which the histories
            have to have, of one fit each.
        score : bool or str, default=True
            Whether to draw the validation score, on an axis of its own. True: the first score of each history, where
            there is one. A str: the score of that name, such as "accuracy".
        learning_rate : bool or "auto", default="auto"
            Whether to draw the learning rate, on an axis of its own. "auto": if it changes in one of the histories.
        line_kw : dict or None, default=None
            Settings of all curves, for `matplotlib.axes.Axes.plot`.

        Returns
        -------
        LossCurveDisplay
            The display itself.

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If a parameter is not what it must be, or a history has not what it asks for.
        """
        pyplot = pyplot_for(DISPLAY)
        from matplotlib.lines import Line2D

        abscissae = [self._abscissa(history, x) for history in self.histories]
        curves, labels = self._curves(score, learning_rate)
        # a long legend below takes its height from the axes
        self.ax_ = ax = axes_for(DISPLAY, ax, (6.4, max(4.8, 3.6 + 0.12 * len(self.histories))))
        self.figure_ = ax.figure
        self.score_ax_ = ax.twinx() if "score" in curves else None
        self.learning_rate_ax_ = ax.twinx() if "learning_rate" in curves else None
        if self.score_ax_ is not None and self.learning_rate_ax_ is not None:
            self.learning_rate_ax_.spines.right.set_position(("outward", SECOND_AXIS))
        axes = {"score": self.score_ax_, "learning_rate": self.learning_rate_ax_}
        several = len(self.histories) > 1 or self.names is not None
        colors = colors_of(pyplot, len(self.histories) if several else len(STYLES))

        self.lines_, self.best_ = {}, [[] for _ in self.histories]
        for kind, values in curves.items():
            on, lines = axes.get(kind) or ax, []
            for number, (abscissa, ordinate) in enumerate(zip(abscissae, values, strict=True)):
                if ordinate is None:
                    lines.append(None)
                    continue
                color = colors[number if several else list(STYLES).index(kind)]
                style = styled({"color": color, "linestyle": STYLES[kind]}, line_kw, Line2D)
                lines += on.plot(abscissa, ordinate, **style)
                best = self.best_epochs[number]
                if kind != "learning_rate" and best > 0:
                    at = slice(best - 1, best)
                    mark = on.plot(abscissa[at], ordinate[at], "o", color=lines[-1].get_color(), zorder=3)
                    self.best_[number] += mark
            self.lines_[kind] = lines
            if on is not ax:
                on.set_ylabel(labels[kind])
                if not several:
                    on.yaxis.label.set_color(color)
                    on.tick_params(axis="y", colors=color)
        if self.learning_rate_ax_ is not None:
            self.learning_rate_ax_.set_ylim(bottom=0)
        ax.set(xlabel=x, ylabel="loss" if "validation_loss" in curves else "training loss")
        if x == "epoch":
            ax.xaxis.get_major_locator().set_params(integer=True)
        self.legend_ = self._legend(pyplot, labels, several)
        return self

    def _abscissa(self, history: dict[str, np.ndarray], x: str) -> np.ndarray:
        if x == "epoch":
            return np.arange(1, history["loss"].size + 1)
        if x != "seconds":
            raise ValueError(f"x must be 'epoch' or 'seconds', got {x!r}.")
        if "seconds" not in history:
            raise ValueError(f"x='seconds' needs 'seconds' in each history, got {list(history)}: take x='epoch'.")
        if (np.diff(history["seconds"]) < 0).any():
            raise ValueError("x='seconds' needs histories of one fit each, and here seconds decrease: take x='epoch'.")
        return history["seconds"]

    def _curves(self, score: Any, learning_rate: Any) -> tuple[dict[str, list[np.ndarray | None]], dict[str, str]]:
        """Return for each kind of curve that of each training, and how the kind is called."""
        if learning_rate not in (True, False, "auto"):
            raise ValueError(f"learning_rate must be True, False or 'auto', got {learning_rate!r}.")
        keys = [_score_of(history, score) for history in self.histories]
        if isinstance(score, str) and not any(keys):
            known = sorted({key for history in self.histories for key in _scores(history)})
            raise ValueError(f"score={score!r} is in no history; there is {known or 'no score'}.")
        rates = [history.get("learning_rate") for history in self.histories]
        curves = {
            "loss": [history["loss"] for history in self.histories],
            "validation_loss": [history.get("validation_loss") for history in self.histories],
            "score": [None if key is None else history[key] for key, history in zip(keys, self.histories, strict=True)],
            "learning_rate": rates,
        }
        if learning_rate is True and not any(rate is not None for rate in rates):
            raise ValueError("learning_rate=True needs 'learning_rate' in a history, and there is none.")
        if learning_rate == "auto" and not any(rate is not None and np.ptp(rate) > 0 for rate in rates):
            del curves["learning_rate"]
        if learning_rate is False:
            del curves["learning_rate"]
        curves = {kind: values for kind, values in curves.items() if any(one is not None for one in values)}
        names = {key.replace("_", " ") for key in keys if key is not None}
        labels = {
            "loss": "training loss",
            "validation_loss": "validation loss",
            "score": names.pop() if len(names) == 1 else "validation score",
            "learning_rate": "learning rate",
        }
        return curves, labels

    def _legend(self, pyplot: Any, labels: dict[str, str], several: bool) -> Any:
        from matplotlib.lines import Line2D

        def entry(label: str, **style: Any) -> Any:
            return Line2D([], [], label=label, **style)

        neutral = pyplot.rcParams["text.color"]
        lines = {kind: next(line for line in lines if line is not None) for kind, lines in self.lines_.items()}
        if several:
            names = self.names or [str(number) for number in range(1, len(self.histories) + 1)]
            entries = [
                entry(name, color=line.get_color()) for name, line in zip(names, self.lines_["loss"], strict=True)
            ]
            if len(lines) > 1:
                entries += [
                    entry(labels[kind], color=neutral, linestyle=line.get_linestyle()) for kind, line in lines.items()
                ]
        else:
            entries = [
                entry(labels[kind], color=line.get_color(), linestyle=line.get_linestyle())
                for kind, line in lines.items()
            ]
        if any(self.best_):
            best = "best epoch" if several else f"best epoch: {self.best_epochs[0]}"
            entries.append(entry(best, color=neutral, marker="o", linestyle=""))

        top = self.learning_rate_ax_ or self.score_ax_ or self.ax_  # nothing is drawn over a legend there
        most = MOST_WITHOUT_LAYOUT if self.figure_.get_layout_engine() is None else MOST_INSIDE
        if len(entries) > most:
            from matplotlib.transforms import ScaledTranslation

            below = top.transAxes + ScaledTranslation(0, -38 / 72, self.figure_.dpi_scale_trans)
            longest = max(len(one.get_label()) for one in entries)
            columns = max(1, min(4, int(72 * self.figure_.get_figwidth() / (45 + 5 * longest))))
            place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0), "bbox_transform": below, "ncols": columns}
            return top.legend(handles=entries, fontsize="small", borderaxespad=0, **place)
        for ax in (self.ax_, self.score_ax_):  # a legend keeps away from the curves of its own axes only
            if ax is not None and ax is not top:
                for line in list(ax.lines):
                    top.add_artist(Line2D(*line.get_data(), transform=ax.transData, visible=False, label="_under"))
        return top.legend(handles=entries)


def _checked(history: Mapping[str, Sequence[float]]) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(values, np.float64) for name, values in history.items()}
    if "loss" not in arrays:
        raise ValueError(f"A history must have 'loss', got {list(arrays)}.")
    for name, values in arrays.items():
        if values.shape != (arrays["loss"].size,):
            raise ValueError(
                f"A history must have a number for each of its {arrays['loss'].size} epochs, got an array of shape "
                f"{values.shape} as {name!r}."
            )
    return arrays


def _scores(history: Mapping[str, Any]) -> list[str]:
    return [name.removeprefix("validation_") for name in history if name not in NOT_SCORES]


def _score_of(history: dict[str, np.ndarray], score: bool | str) -> str | None:
    """Return the key of a score in a history."""
    if score is False:
        return None
    scores = [name for name in history if name not in NOT_SCORES]
    if score is True:
        return scores[0] if scores else None
    return next((name for name in scores if name in (score, f"validation_{score}")), None)


def _least_loss(history: dict[str, np.ndarray]) -> int:
    """Return the epoch, from 1, of the least validation loss or else loss; 0 if none is finite."""
    for name in ("validation_loss", "loss"):
        values = history.get(name)
        if values is not None and np.isfinite(values).any():
            return int(np.nanargmin(values)) + 1
    return 0


def _best_epoch(estimator: BaseEstimator, history: dict[str, list[float]]) -> int:
    """Return the epoch, from 1, whose weights early stopping kept, else that of the least loss; 0 if there is none."""
    scores = getattr(estimator, "validation_scores_", None)
    if scores is None:
        return _least_loss(_checked(history))
    scores = np.asarray(scores, np.float64)
    if not np.isfinite(scores).any():
        return 0
    return len(history["loss"]) - scores.size + int(np.nanargmax(scores)) + 1  # it may have been followed since later


def _history_of(estimator: BaseEstimator) -> dict[str, list[float]]:
    """Return what `history_` of an estimator is; scikit-learn's have the loss and a score."""
    if not hasattr(estimator, "loss_curve_"):
        raise ValueError(
            f"{DISPLAY} needs the loss of each epoch, and solver={estimator.solver!r} has no epochs: take a stochastic "
            "solver, such as 'adam'."
        )
    if hasattr(estimator, "history_"):
        return estimator.history_
    history = {"loss": estimator.loss_curve_}
    if getattr(estimator, "validation_scores_", None) is not None:
        history["validation_accuracy" if is_classifier(estimator) else "validation_r2"] = estimator.validation_scores_
    return history


def _check_one_fit(estimator: BaseEstimator) -> None:
    """Check that the seconds of a history are those of one fit, for each fit counts from its own beginning."""
    count = len(estimator.loss_curve_)
    if hasattr(estimator, "history_") and estimator.n_iter_ != count:
        raise ValueError(
            f"x='seconds' needs epochs of one fit, and of the {count} epochs of this {type(estimator).__name__} the "
            f"last fit had {estimator.n_iter_}: take x='epoch'."
        )


def names_of(estimators: Sequence[BaseEstimator]) -> list[str]:
    """Return a name for each estimator: its class, if these differ, and the parameters in which they differ.

    Parameters
    ----------
    estimators : sequence of estimators

    Returns
    -------
    list of str
    """
    kinds = [f"{type(one).__module__.partition('.')[0]}.{type(one).__name__}" for one in estimators]
    if len({type(one).__name__ for one in estimators}) == len(set(kinds)):  # the package says nothing more
        kinds = [type(one).__name__ for one in estimators]
    parameters = [{name: _shown(value) for name, value in one.get_params(deep=False).items()} for one in estimators]
    shared = set.intersection(*(set(one) for one in parameters))
    differ = [name for name in parameters[0] if name in shared and len({one[name] for one in parameters}) > 1]
    names = []
    for number, (kind, one) in enumerate(zip(kinds, parameters, strict=True), start=1):
        parts = [kind] if len(set(kinds)) > 1 else []
        parts += [f"{name}={one[name]}" for name in differ]
        names.append(", ".join(parts) or str(number))
    return names


def _shown(value: Any) -> str:
    value = value.item() if isinstance(value, np.generic) else value
    text = name_of(value) if callable(value) else repr(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
