"""The universal representation theorem made constructive: networks that are built for a function, not trained."""

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import numpy as np

from fastmlp.estimators import MLPRegressor
from fastmlp.extras import import_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# How the tolerance is shared out; the docstring of `approximate` says why these parts may be added.
PIECES = 0.75  # between the function and the level of its piece
TRANSITIONS = 0.1  # what the function changes by while a unit goes from one level to the next
TAILS = 0.05  # of all units that are nearly 0 or 1
GRID = 0.1  # between neighbouring points of the grid: what a peak between two of them may hide

FIRST_POINTS = 4097  # of an equidistant grid
PLACE = 0.381966  # of a new point between two: the golden section, which is in step with no period
POINTS_PER_NEURON = 200  # at most, beside the first grid; a monotone function needs up to 60
MOST_PRODUCTS = 2_000_000_000  # of a check, units x points: two or three seconds
ROUNDS = 5  # of building; each takes a grid twice as dense


def approximate(
    function: Callable,
    interval: tuple[float, float],
    tolerance: float,
    *,
    max_neurons: int = 100_000,
) -> MLPRegressor:
    """Build a network with one hidden layer that is a continuous function within a tolerance.

    A network with one hidden layer of enough sigmoids comes as near to any continuous function on a bounded interval
    as one likes [1]_, [2]_. Here the proof is a program, by steps as in [3]_: a steep sigmoid logistic(w x + b) is
    nearly a step at s = -b / w, and a sum of steps is a staircase along the function. Nothing is trained.

    Parameters
    ----------
    function : callable
        Takes a float64 array of points, of shape (n,), and returns an array of real numbers of that shape. A function
        that takes one number only is called for each point.
    interval : tuple of two float
        The ends (low, high), finite, low < high.
    tolerance : float
        What max |network(x) - function(x)| on the interval may be, > 0.
    max_neurons : int, default=100_000
        The most hidden units, >= 1.

    Returns
    -------
    MLPRegressor
        Fitted in `n_iter_` = 0 iterations, with `len(coefs_[1])` logistic units in the order of their steps.
        `coefs_[1]` are the heights of the steps, the bias of the output is function(low), `loss_` the mean over the
        points of the check. Its `alpha` is 0, for a penalty would make the steps flat. To train it further, call `fit`
        with `warm_start` set to True, or `partial_fit`.

    Raises
    ------
    ValueError
        If a parameter is not as above, if the function is not finite or jumps, if `max_neurons` do not suffice, or if
        the network misses the tolerance because float64 does not resolve the points or values.

    See Also
    --------
    plot_approximation : Draws function, network and error.

    Notes
    -----
    Let e be the tolerance, and d = 0.75 e.

    1. *Pieces.* From the left, the interval is cut into pieces with common ends s_1 < ... < s_n, each as long as
       possible, so that max - min of the function on a piece is at most 2 d. The level y_k of a piece is the middle
       between both, so that abs(f - y_k) <= d on it, its ends included. The first piece goes as far as
       abs(f - f(low)) <= d, with y_0 = f(low). But for the step that this costs, and for the grid, no staircase within
       d has fewer steps. A piece uses up 2 d of the function's total variation V, so about V / (1.5 e) units suffice:
       twice as many for half the tolerance.
    2. *Transitions.* Unit k has the height y_k - y_(k-1) and goes from nearly 0 to nearly 1 where
       abs(x - s_k) < r_k, which is chosen so that f is within 0.1 e of f(s_k) there. The network is then between
       y_(k-1) and y_k, both within d of f(s_k): its error is at most 0.85 e. No two transitions meet, for f changes by
       more on the piece between them.
    3. *Tails.* A unit of weight w_k = c / r_k is at most exp(-c) from 0 or 1 outside its transition. A height is at
       most 2 d, so c = log(2 d n / (0.05 e)) keeps the sum of all tails below 0.05 e, however they lie.
    4. *Grid.* The function is known at points only. They are made denser until neighbouring values differ by no more
       than 0.1 e, which is left for what a peak between two of them hides, and one more point between any two changes
       nothing in this. A peak narrower than 1 / 10,000 of the interval may pass unseen.
    5. *Check.* The network is compared with the function at the points of the grid and at one more between any two (at
       some of them, if there are thousands of neurons). If it fails, these join the grid, and it is built again.

    Where the hidden units are saturated, the partial sums of the output, in the order of the units, are the levels: no
    larger than the function, so that rounding stays at its last digits.

    References
    ----------
    .. [1] G. Cybenko, "Approximation by superpositions of a sigmoidal function", Mathematics of Control, Signals and
       Systems 2, 1989.
    .. [2] K. Hornik, M. Stinchcombe and H. White, "Multilayer feedforward networks are universal approximators", Neural
       Networks 2, 1989.
    .. [3] M. A. Nielsen, "Neural Networks and Deep Learning", Determination Press, 2015, chapter 4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.theory import approximate
    >>> network = approximate(np.sin, (0, 2 * np.pi), 0.05)
    >>> x = np.linspace(0, 2 * np.pi, 12_345)
    >>> bool(np.abs(network.predict(x[:, np.newaxis]) - np.sin(x)).max() <= 0.05)
    True
    >>> len(network.coefs_[1]) < 4 / 0.05  # the total variation of the sine is 4
    True
    """
    low, high = _checked_interval(interval)
    if not isinstance(tolerance, Real) or not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance must be a finite number > 0, got {tolerance!r}.")
    if not isinstance(max_neurons, Integral) or max_neurons < 1:
        raise ValueError(f"max_neurons must be an integer >= 1, got {max_neurons!r}.")
    evaluate = _on_arrays(function, low, high)
    points = np.unique(np.linspace(low, high, FIRST_POINTS))  # there may be fewer numbers in the interval
    values = evaluate(points)
    for _ in range(ROUNDS):
        points, values = _made_denser(evaluate, points, values, tolerance, max_neurons)
        steps, levels = _staircase(values, PIECES * tolerance)
        if len(steps) > max_neurons:
            raise ValueError(
                f"max_neurons={max_neurons} do not suffice for tolerance={tolerance}: allowed is a max_neurons >= "
                f"{len(steps)}, or a larger tolerance."
            )
        regressor = _built(points, values, steps, levels, TRANSITIONS * tolerance)

        between = points[:-1] + PLACE * np.diff(points)
        points, first = np.unique(np.concatenate([points, between]), return_index=True)
        values = np.concatenate([values, evaluate(between)])[first]
        checked = slice(None, None, 1 + points.size * len(regressor.coefs_[1]) // MOST_PRODUCTS)
        error = np.abs(regressor.predict(points[checked, np.newaxis]) - values[checked])
        worst = error.argmax()  # the first NaN, if there is one
        if error[worst] <= tolerance:
            regressor.loss_ = float(np.mean(error**2) / 2)
            return regressor
    raise ValueError(
        f"tolerance={tolerance} cannot be kept: the network differs from the function by {error[worst]} at "
        f"{points[checked][worst]}. Allowed is what float64 resolves on the interval."
    )


def plot_approximation(
    regressor: MLPRegressor, function: Callable, interval: tuple[float, float], ax: "Axes | None" = None
) -> "tuple[Axes, Axes]":
    """Draw a function and a network over an interval, and the network's error below.

    Parameters
    ----------
    regressor : MLPRegressor
        A fitted network of one feature and one output, as `approximate` returns it.
    function : callable
        As in `approximate`.
    interval : tuple of two float
        The ends (low, high), finite, low < high.
    ax : matplotlib.axes.Axes or None, default=None
        Where to draw; the axes of the error take a part of its place. None: a new figure.

    Returns
    -------
    tuple of two matplotlib.axes.Axes
        That of function and network, and that of the error.

    Raises
    ------
    ImportError
        If the extra `plots` is not installed.
    ValueError
        If the interval is not as above, or the function is not finite on it.

    Examples
    --------
    >>> import numpy as np
    >>> from fastmlp.theory import approximate, plot_approximation
    >>> network = approximate(np.sin, (0, 6), 0.1)
    >>> axes = plot_approximation(network, np.sin, (0, 6))  # doctest: +SKIP
    """
    plt = import_extra("matplotlib.pyplot", "plots", "plot_approximation")
    make_axes_locatable = import_extra("mpl_toolkits.axes_grid1", "plots", "plot_approximation").make_axes_locatable

    low, high = _checked_interval(interval)
    x = np.linspace(low, high, FIRST_POINTS)
    value = _on_arrays(function, low, high)(x)
    output = regressor.predict(x[:, np.newaxis])
    if ax is None:
        _, ax = plt.subplots()
    error_ax = make_axes_locatable(ax).append_axes("bottom", size="30%", pad=0.15, sharex=ax)
    ax.plot(x, value, label="function")
    ax.plot(x, output, label=f"network, {len(regressor.coefs_[-1])} neurons")
    ax.legend()
    ax.tick_params(labelbottom=False)
    error_ax.plot(x, output - value, color="C2")
    error_ax.axhline(0, color="black", linewidth=0.5)
    error_ax.set(xlabel="x", ylabel="error")
    return ax, error_ax


def _checked_interval(interval: Any) -> tuple[float, float]:
    try:
        low, high = (float(end) for end in interval)
        valid = low < high and np.isfinite(high - low)
    except (TypeError, ValueError):
        valid = False
    if not valid:
        raise ValueError(f"interval must be two finite numbers (low, high), low < high, got {interval!r}.")
    return low, high


def _on_arrays(function: Callable, low: float, high: float) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function of arrays, with a check of what it returns."""
    # What takes one number only either refuses an array (math.sin: TypeError; `if x < 0`: ValueError) or does not look
    # at it and returns one number. If the error has another reason, calls with one number raise it again.
    try:
        takes_arrays = np.ndim(function(np.array([low, high]))) > 0
    except (TypeError, ValueError):
        takes_arrays = False
    of_arrays = function if takes_arrays else np.vectorize(function, otypes=[np.float64])

    def evaluate(points: np.ndarray) -> np.ndarray:
        values = np.asarray(of_arrays(points.copy()))  # a function may write into its argument
        if values.shape != points.shape or values.dtype.kind not in "biuf":
            raise ValueError(
                f"function must return real numbers of the shape of its argument, {points.shape}, got dtype "
                f"{values.dtype} and shape {values.shape}."
            )
        finite = np.isfinite(values)
        if not finite.all():
            bad = finite.argmin()
            raise ValueError(f"function must be finite on the interval, got {values[bad]} at {points[bad]}.")
        return values.astype(np.float64)

    return evaluate


def _made_denser(
    evaluate: Callable[[np.ndarray], np.ndarray],
    points: np.ndarray,
    values: np.ndarray,
    tolerance: float,
    max_neurons: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and values, with points put in until one more between any two is near both in value."""
    most = 3 * points.size + POINTS_PER_NEURON * max_neurons
    open_gap = np.ones(points.size - 1, bool)
    while open_gap.any():
        left = np.flatnonzero(open_gap)
        right = left + 1
        if points.size + left.size > most:
            raise ValueError(
                f"max_neurons={max_neurons} do not suffice for tolerance={tolerance}: the function varies by more than "
                f"{np.abs(np.diff(values)).sum():.3g}. Allowed is a larger max_neurons or tolerance."
            )
        between = points[left] + PLACE * (points[right] - points[left])
        apart = (points[left] < between) & (between < points[right])
        jump = ~apart & (np.abs(values[right] - values[left]) > GRID * tolerance)
        if jump.any():
            first, second = left[jump.argmax()] + [0, 1]
            raise ValueError(
                f"function must be continuous, and change by less than tolerance={tolerance} between neighbouring "
                f"numbers, got {values[first]} at {points[first]} and {values[second]} at {points[second]}."
            )
        left, right, between = left[apart], right[apart], between[apart]
        value = evaluate(between)
        far = np.zeros(points.size - 1, bool)
        far[left] = np.maximum(np.abs(value - values[left]), np.abs(value - values[right])) > GRID * tolerance
        open_gap = far.copy()  # with the gaps beside: a wave may have met the points there by chance
        open_gap[1:] |= far[:-1]
        open_gap[:-1] |= far[1:]
        parts = np.ones(points.size - 1, int)
        parts[left] = 2
        open_gap = np.repeat(open_gap, parts)
        points, values = np.insert(points, right, between), np.insert(values, right, value)
    return points, values


def _staircase(values: np.ndarray, reach: float) -> tuple[list[int], list[float]]:
    """Return where one piece ends and the next begins, and the levels of all pieces, within `reach` of the values."""
    levels = [float(values[0])]
    outside = np.flatnonzero(np.abs(values - values[0]) > reach)
    if outside.size == 0:
        return [], levels
    steps = [int(outside[0]) - 1]
    values = values.tolist()  # Python's own numbers: the loop takes a third of the time
    lowest = highest = values[steps[0]]
    for index in range(steps[0] + 1, len(values)):
        low, high = min(lowest, values[index]), max(highest, values[index])
        if high - low > 2 * reach:
            levels.append(lowest + (highest - lowest) / 2)
            steps.append(index - 1)
            low, high = sorted(values[index - 1 : index + 1])
        lowest, highest = low, high
    levels.append(lowest + (highest - lowest) / 2)
    return steps, levels


def _built(
    points: np.ndarray, values: np.ndarray, steps: Sequence[int], levels: Sequence[float], change: float
) -> MLPRegressor:
    """Return the network that goes from level to level at the steps, while the function changes by `change` at most."""
    if steps:
        place, height = points[steps], np.diff(levels)
        radius = np.array([_radius(points, values, steps, unit, change) for unit in range(len(steps))])
    else:  # a layer needs a unit: one that adds nothing
        place, height, radius = points[:1] + (points[-1:] - points[:1]) / 2, np.zeros(1), points[-1:] - points[:1]
    with np.errstate(all="ignore"):  # a radius below 1e-306: the check finds that the weights are not finite
        weight = np.log(2 * PIECES * place.size / TAILS) / radius
        bias = -weight * place
    regressor = MLPRegressor(hidden_layer_sizes=(place.size,), activation="logistic", alpha=0.0)
    regressor.coefs_ = [weight[np.newaxis], height[:, np.newaxis]]
    regressor.intercepts_ = [bias, np.array(levels[:1])]
    regressor.n_features_in_ = 1
    regressor.n_outputs_ = 1
    regressor.n_layers_ = 3
    regressor.out_activation_ = "identity"
    regressor.n_iter_ = 0
    regressor.t_ = 0
    return regressor


def _radius(points: np.ndarray, values: np.ndarray, steps: Sequence[int], unit: int, change: float) -> float:
    """Return how far from its step, on both sides, the function has changed by no more than `change`."""
    step = steps[unit]
    first = steps[unit - 1] if unit > 0 else 0
    last = steps[unit + 1] if unit + 1 < len(steps) else len(points) - 1
    far = np.flatnonzero(np.abs(values[first : last + 1] - values[step]) > change) + first
    following = np.searchsorted(far, step)
    left = far[following - 1] + 1 if following > 0 else first
    right = far[following] - 1 if following < far.size else last
    return min(points[step] - points[left], points[right] - points[step])
