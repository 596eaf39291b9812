"""Networks that are built for a function, not trained."""

import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted

from fastmlp import MLPRegressor, theory
from fastmlp.theory import approximate, plot_approximation

TOLERANCES = [0.3, 0.05, 0.004]


def cubic(x):
    return x**3 - 2 * x + 1


def constant(x):
    return np.full(x.shape, -7.5)


def steep(x):
    return np.tanh(1000 * (x - 0.123))


def wave_without_end(x):  # of infinite total variation near 0
    return x * np.sin(1 / np.maximum(x, 1e-300))


def steeper_than_any_root(x):  # at 0, where it is 0
    return -1 / np.log(np.where(x > 0, x, 1e-320))


def far_from_zero(x):
    return 1e6 + np.sin(x)


def zigzag(seed):
    random = np.random.default_rng(seed)
    ends = np.concatenate([[0], np.sort(random.uniform(0, 1, 12)), [1]])
    heights = random.normal(0, 1, ends.size)

    def interpolated(x):
        return np.interp(x, ends, heights)

    interpolated.__name__ = f"zigzag {seed}"
    return interpolated


FUNCTIONS = [
    (np.sin, (0, 2 * np.pi)),
    (np.sin, (-31, -20.5)),
    (np.exp, (-2, 2)),
    (np.exp, (-700, 0)),
    (np.abs, (-1, 3)),
    (np.abs, (-1e-3, 1e-3)),
    (np.sqrt, (0, 4)),
    (np.sqrt, (0, 1e-4)),
    (np.log, (1e-9, 1)),
    (cubic, (-2, 2)),
    (cubic, (1, 1.5)),
    (constant, (-1, 1)),
    (constant, (1e6, 1e9)),
    (steep, (-1, 1)),
    (steep, (-1e4, 1e4)),
    (wave_without_end, (0, 1)),
    (far_from_zero, (-5, 5)),
    *((zigzag(seed), (0, 1)) for seed in range(6)),
]
NAMES = [f"{function.__name__}-{interval}" for function, interval in FUNCTIONS]

each_function = pytest.mark.parametrize(("function", "interval"), FUNCTIONS, ids=NAMES)
each_tolerance = pytest.mark.parametrize("tolerance", TOLERANCES)


def steps(network):
    return -network.intercepts_[0] / network.coefs_[0][0]


def dense(network, interval):
    """Points that are not those of the construction: at random, and around each step, where a unit is not 0 or 1."""
    low, high = interval
    around = np.linspace(-30, 30, 41) / np.abs(network.coefs_[0].T)  # units of a sigmoid's argument
    points = [
        [low, high],
        np.random.default_rng(1).uniform(low, high, 20_000),
        (steps(network)[:, None] + around).ravel(),
    ]
    return np.unique(np.clip(np.concatenate(points), low, high))


def largest_error(network, function, interval):
    x = dense(network, interval)
    return np.abs(network.predict(x[:, np.newaxis]) - function(x)).max()


def total_variation(function, interval):
    ends = np.union1d(
        np.linspace(*interval, 200_001), interval[0] + (interval[1] - interval[0]) * np.logspace(-12, 0, 9999)
    )
    return np.abs(np.diff(function(ends))).sum()


@each_function
@each_tolerance
def test_error_is_within_the_tolerance(function, interval, tolerance):
    network = approximate(function, interval, tolerance)
    assert largest_error(network, function, interval) <= tolerance


@pytest.mark.parametrize("tolerance", [0.3, 0.05])  # with less, it changes by more from 0 to the next number
def test_a_function_steeper_than_any_root(tolerance):
    network = approximate(steeper_than_any_root, (0, 0.5), tolerance)
    assert largest_error(network, steeper_than_any_root, (0, 0.5)) <= tolerance
    assert steps(network)[0] < 0.02  # where the function has grown to 0.26 already


@each_function
@each_tolerance
def test_units_are_steps_in_order(function, interval, tolerance):
    network = approximate(function, interval, tolerance)
    at, (low, high) = steps(network), interval
    assert (low < at).all()
    assert (at < high).all()
    assert (np.diff(at) > 0).all()
    weight, height = network.coefs_[0][0], network.coefs_[1][:, 0]
    assert (weight > 0).all()
    if at.size > 1:  # each unit has gone from 0 to 1 before the next begins
        assert (weight[:-1] * np.diff(at) > math.log(at.size)).all()
        assert (weight[1:] * np.diff(at) > math.log(at.size)).all()
    for end in (-1, 1):  # and the function hardly changes meanwhile
        x = np.clip(at + end * math.log(at.size) / weight, low, high)
        np.testing.assert_allclose(function(x), function(at), rtol=0, atol=0.11 * tolerance)
    assert (np.abs(height) <= 2 * tolerance).all()
    assert network.intercepts_[1] == function(np.array([low], float))
    levels = network.intercepts_[1] + np.cumsum(height)  # that of each piece, which begins where its unit steps
    np.testing.assert_allclose(levels, function(at), rtol=0, atol=tolerance)


@each_function
@each_tolerance
def test_no_more_neurons_than_the_variation_asks_for(function, interval, tolerance):
    neurons = len(approximate(function, interval, tolerance).coefs_[1])
    assert neurons <= 0.75 * total_variation(function, interval) / tolerance + 1


@pytest.mark.parametrize(("function", "interval"), [FUNCTIONS[0], FUNCTIONS[2], FUNCTIONS[6], FUNCTIONS[-1]])
def test_half_the_tolerance_takes_twice_the_neurons(function, interval):
    neurons = [len(approximate(function, interval, 0.02 / 2**halvings).coefs_[1]) for halvings in range(4)]
    assert neurons[0] >= total_variation(function, interval) / (2 * 0.02)  # what a staircase needs
    np.testing.assert_allclose(np.divide(neurons[1:], neurons[:-1]), 2, atol=0.1)


def test_a_ripple_below_the_tolerance_costs_nothing():
    smooth = len(approximate(np.sin, (0, 6), 0.1).coefs_[1])
    rippled = len(approximate(lambda x: np.sin(x) + 0.005 * np.sin(300 * x), (0, 6), 0.1).coefs_[1])
    assert rippled <= 1.2 * smooth  # although the variation is 1.8 times as large


def test_a_wave_in_step_with_the_first_grid():
    period = 0.25 / (theory.FIRST_POINTS - 1)  # 0 at all its points, and where these are halved and halved again

    def wave(x):
        return np.clip(4 - np.abs(x - 0.4) * 1000, 0, 1) * np.sin(2 * np.pi * x / period)

    network = approximate(wave, (0, 1), 0.3)
    assert largest_error(network, wave, (0, 1)) <= 0.3
    assert len(network.coefs_[1]) > 100


def test_a_check_at_a_part_of_the_points(monkeypatch):
    monkeypatch.setattr(theory, "MOST_PRODUCTS", 100_000_000)
    network = approximate(np.sin, (0, 3), 1e-4)
    assert len(network.coefs_[1]) > 10_000
    x = np.random.default_rng(0).uniform(0, 3, (5_000, 1))
    assert np.abs(network.predict(x) - np.sin(x[:, 0])).max() <= 1e-4


@pytest.mark.parametrize(
    ("scalar", "function"),
    [
        (math.sin, np.sin),
        (lambda x: x if x > 0 else 0.0, lambda x: np.maximum(x, 0)),
        (lambda x: 3, lambda x: np.full(x.shape, 3)),
    ],
    ids=["math", "branch", "number"],
)
def test_a_function_of_one_number(scalar, function):
    ours, other = (approximate(each, (-1, 2), 0.05) for each in (scalar, function))
    np.testing.assert_array_equal(ours.coefs_[0], other.coefs_[0])
    np.testing.assert_array_equal(ours.coefs_[1], other.coefs_[1])


def test_a_function_that_writes_into_its_argument():
    def twice(x):
        x *= 2
        return x

    assert largest_error(approximate(twice, (0, 1), 0.1), lambda x: 2 * x, (0, 1)) <= 0.1


def test_it_is_a_fitted_regressor():
    network = approximate(np.sin, (0, 6), 0.1)
    neurons = len(network.coefs_[1])
    assert isinstance(network, MLPRegressor)
    check_is_fitted(network)
    assert network.hidden_layer_sizes == (neurons,)
    assert network.activation == "logistic"
    assert [coef.shape for coef in network.coefs_] == [(1, neurons), (neurons, 1)]
    assert [intercept.shape for intercept in network.intercepts_] == [(neurons,), (1,)]
    assert (network.n_features_in_, network.n_outputs_, network.n_layers_) == (1, 1, 3)
    assert (network.out_activation_, network.n_iter_, network.t_) == ("identity", 0, 0)
    assert 0 < network.loss_ <= 0.1**2 / 2
    x = np.linspace(0, 6, 777)[:, np.newaxis]
    assert network.predict(x[:1]).shape == (1,)
    assert network.score(x, np.sin(x[:, 0])) > 0.98
    np.testing.assert_array_equal(
        network.predict(x.astype("float32")), network.predict(x.astype("float32").astype(float))
    )


def test_pickle_and_clone():
    network = approximate(np.exp, (0, 1), 0.1)
    x = np.linspace(0, 1, 777)[:, np.newaxis]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(network)).predict(x), network.predict(x))
    copy = clone(network)
    assert copy.get_params() == network.get_params()
    assert not hasattr(copy, "coefs_")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_training_goes_on_from_what_was_built(solver):
    network = approximate(np.sin, (0, 6), 0.1)
    x = np.random.default_rng(0).uniform(0, 6, (2_000, 1))
    y = np.sin(x[:, 0])
    built = np.mean((network.predict(x) - y) ** 2) / 2
    before = steps(network)
    network.set_params(warm_start=True, solver=solver, max_iter=30, learning_rate_init=5e-4, tol=0, random_state=0)
    network.fit(x, y)
    assert network.n_iter_ > 0
    assert network.loss_ < 0.97 * built  # a new start would be at 0.2
    assert np.mean((network.predict(x) - y) ** 2) / 2 < 0.97 * built
    np.testing.assert_allclose(steps(network), before, atol=0.05)
    if solver != "lbfgs":
        assert network.loss_curve_[0] < 1.1 * built
        assert network.t_ == network.n_iter_ * len(x)


def test_partial_fit_goes_on_from_what_was_built():
    network = approximate(np.sin, (0, 6), 0.1)
    before = [coef.copy() for coef in network.coefs_]
    x = np.linspace(0, 6, 500)[:, np.newaxis]
    network.partial_fit(x, np.sin(x[:, 0]))
    assert network.t_ == 500
    assert any((coef != old).any() for coef, old in zip(network.coefs_, before, strict=True))
    assert np.abs(network.predict(x) - np.sin(x[:, 0])).max() < 0.2


INTERVAL = r"interval must be two finite numbers \(low, high\), low < high, got "


@pytest.mark.parametrize(
    "interval", [(1, 0), (1, 1), (0, np.inf), (np.nan, 1), (-1.7e308, 1.7e308), (0, 1, 2), 3, None, ("a", "b")], ids=str
)
def test_bad_interval(interval):
    with pytest.raises(ValueError, match=INTERVAL):
        approximate(np.sin, interval, 0.1)


@pytest.mark.parametrize("tolerance", [0, -0.1, np.nan, np.inf, "small", None])
def test_bad_tolerance(tolerance):
    with pytest.raises(ValueError, match=f"tolerance must be a finite number > 0, got {tolerance!r}"):
        approximate(np.sin, (0, 1), tolerance)


@pytest.mark.parametrize("max_neurons", [0, -1, 1.5, None])
def test_bad_max_neurons(max_neurons):
    with pytest.raises(ValueError, match=f"max_neurons must be an integer >= 1, got {max_neurons}"):
        approximate(np.sin, (0, 1), 0.1, max_neurons=max_neurons)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0.5, 0.3])  # on the first grid, and where it is refined only
def test_a_function_that_is_not_finite(bad, place):
    with pytest.raises(ValueError, match=f"function must be finite on the interval, got {bad} at 0"):
        approximate(lambda x: np.where(np.abs(x - place) < 1e-4, bad, x), (0, 1), 0.01)


@pytest.mark.parametrize("result", [lambda x: x[:-1], lambda x: x[:, np.newaxis], lambda x: 1j * x], ids=range(3))
def test_a_function_of_another_shape_or_type(result):
    with pytest.raises(ValueError, match=r"function must return real numbers of the shape of its argument, \("):
        approximate(result, (0, 1), 0.1)


def test_an_error_of_the_function_is_its_own():
    def broken(x):
        raise TypeError("no such thing")

    with pytest.raises(TypeError, match="no such thing"):
        approximate(broken, (0, 1), 0.1)


@pytest.mark.parametrize(
    "function", [lambda x: np.where(x < 0.3, 0, 1), lambda x: 1e17 + 1000 * x], ids=["jump", "rounding"]
)
def test_a_function_that_jumps(function):
    with pytest.raises(ValueError, match=r"function must be continuous, and change by less than tolerance=0\.1"):
        approximate(function, (0, 1), 0.1)


def test_too_few_neurons():
    enough = len(approximate(np.sin, (0, 6), 0.1).coefs_[1])
    assert len(approximate(np.sin, (0, 6), 0.1, max_neurons=enough).coefs_[1]) == enough
    with pytest.raises(
        ValueError, match=rf"max_neurons={enough - 1} do not suffice .* allowed is a max_neurons >= {enough}"
    ):
        approximate(np.sin, (0, 6), 0.1, max_neurons=enough - 1)
    with pytest.raises(
        ValueError, match="max_neurons=10 do not suffice for tolerance=1e-09: the function varies by more"
    ):
        approximate(np.sin, (0, 6), 1e-9, max_neurons=10)
    with pytest.raises(ValueError, match=r"max_neurons=1000 do not suffice for tolerance=0\.1: the function varies by"):
        approximate(lambda x: 1 / (x - 0.3), (0, 1), 0.1, max_neurons=1000)


def test_a_network_that_misses_the_function_is_not_returned(monkeypatch):
    monkeypatch.setattr(MLPRegressor, "predict", lambda self, X: np.full(len(X), np.nan))
    with pytest.raises(
        ValueError, match=r"tolerance=0\.1 cannot be kept: the network differs from the function by nan at"
    ):
        approximate(np.sin, (0, 1), 0.1)


def test_a_network_that_fails_the_check_is_built_again(monkeypatch):
    predict, sizes = MLPRegressor.predict, []

    def fail_once(self, X):
        sizes.append(len(X))
        return predict(self, X) + (len(sizes) == 1)

    monkeypatch.setattr(MLPRegressor, "predict", fail_once)
    approximate(np.sin, (0, 1), 0.1)
    assert len(sizes) == 2
    assert sizes[1] > 1.9 * sizes[0]


def test_an_interval_of_few_numbers():
    high = np.nextafter(np.nextafter(1, 2), 2)
    assert largest_error(approximate(np.sqrt, (1, high), 0.1), np.sqrt, (1, high)) <= 0.1


def test_import_of_fastmlp_takes_neither_theory_nor_matplotlib():
    loaded = "import sys, fastmlp; print([name for name in ('fastmlp.theory', 'matplotlib') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "[]\n"
    loaded = "import sys, fastmlp.theory; print('matplotlib' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "False\n"
    )


@pytest.fixture
def plt():
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    yield plt
    plt.close("all")


@pytest.mark.parametrize("own", [False, True], ids=["new figure", "given axes"])
def test_plot(plt, own):
    network = approximate(np.sin, (0, 6), 0.1)
    given = plt.subplots(1, 2)[1][1] if own else None
    ax, error_ax = plot_approximation(network, np.sin, (0, 6), ax=given)
    assert given in (None, ax)
    assert ax.figure is error_ax.figure
    function, output = ax.get_lines()
    x = function.get_xdata()
    assert (x[0], x[-1]) == (0, 6)
    np.testing.assert_array_equal(function.get_ydata(), np.sin(x))
    np.testing.assert_array_equal(output.get_ydata(), network.predict(x[:, np.newaxis]))
    np.testing.assert_array_equal(error_ax.get_lines()[0].get_ydata(), output.get_ydata() - np.sin(x))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "function",
        f"network, {len(network.coefs_[1])} neurons",
    ]
    ax.figure.canvas.draw()
    upper, lower = ax.get_position(), error_ax.get_position()
    assert lower.y1 < upper.y0
    assert (lower.x0, lower.x1) == pytest.approx((upper.x0, upper.x1))


def test_plot_of_a_bad_interval(plt):
    with pytest.raises(ValueError, match=INTERVAL):
        plot_approximation(approximate(np.sin, (0, 6), 0.1), np.sin, (6, 0))
    assert plt.get_fignums() == []


def test_plot_without_matplotlib(monkeypatch):
    network = approximate(np.sin, (0, 6), 0.1)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # also where another test has imported it
    with pytest.raises(ImportError, match=r"plot_approximation needs the extra 'plots'"):
        plot_approximation(network, np.sin, (0, 6))
