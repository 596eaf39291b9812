"""Displays show what is in the estimator or search: against the arrays they are made of, on matplotlib itself."""

import math
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import same_color, to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text
from scipy.sparse import csr_array
from scipy.stats import loguniform
from sklearn import neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from fastmlp import MLPClassifier, MLPRegressor, model_selection, reference
from fastmlp.plots import ActivationDisplay, LossCurveDisplay, SearchDisplay, WeightsDisplay
from fastmlp.plots.search import log_from
from fastmlp.plots.shared import colors_of

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
ROWS = np.random.default_rng(1).permutation(len(X))
VALIDATION = {"X_val": X[ROWS[:40]], "y_val": y[ROWS[:40]]}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


def fitted(**settings):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0, "learning_rate_init": 0.05, **settings}
    return MLPClassifier(**settings).fit(X, y)


@pytest.fixture(scope="module")
def stopping():
    """An estimator whose best epoch is neither the first nor the last one, nor that of the least loss."""
    model = fitted(early_stopping=True, n_iter_no_change=100, max_iter=30)
    best = int(np.argmax(model.validation_scores_)) + 1
    assert 1 < best < 30
    assert best != int(np.argmin(model.validation_loss_curve_)) + 1
    return model


@pytest.fixture(scope="module")
def network():
    return fitted(hidden_layer_sizes=(9, 5))


def data(line):
    return line.get_xdata().tolist(), line.get_ydata().tolist()


def texts(legend):
    return [text.get_text() for text in legend.get_texts()]


# ---- LossCurveDisplay


def test_curves_are_those_of_the_estimator(stopping):
    display = LossCurveDisplay.from_estimator(stopping)
    epochs = list(range(1, 31))
    assert data(display.lines_["loss"][0]) == (epochs, stopping.loss_curve_)
    assert data(display.lines_["validation_loss"][0]) == (epochs, stopping.validation_loss_curve_)
    assert data(display.lines_["score"][0]) == (epochs, stopping.validation_scores_)
    assert list(display.lines_) == ["loss", "validation_loss", "score"]  # the learning rate does not change
    assert display.learning_rate_ax_ is None
    assert display.lines_["loss"][0].axes is display.lines_["validation_loss"][0].axes is display.ax_
    assert display.lines_["score"][0].axes is display.score_ax_
    assert display.score_ax_.get_ylabel() == "validation accuracy"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")
    best = int(np.argmax(stopping.validation_scores_)) + 1
    assert display.best_epochs == [best]
    assert [data(mark) for mark in display.best_[0]] == [
        ([best], [curve[best - 1]])
        for curve in (stopping.loss_curve_, stopping.validation_loss_curve_, stopping.validation_scores_)
    ]
    assert texts(display.legend_) == [
        "training loss",
        "validation loss",
        "validation accuracy",
        f"best epoch: {best}",
    ]
    assert display.figure_ is display.ax_.figure


def test_without_early_stopping_the_best_epoch_is_that_of_the_least_loss():
    followed = MLPClassifier((6,), max_iter=30, learning_rate_init=0.3, random_state=0)
    followed.fit(X[ROWS[40:]], y[ROWS[40:]], **VALIDATION)
    best = int(np.argmin(followed.validation_loss_curve_)) + 1
    assert best < followed.n_iter_  # overfits
    assert LossCurveDisplay.from_estimator(followed).best_epochs == [best]
    alone = fitted(learning_rate_init=0.5)
    display = LossCurveDisplay.from_estimator(alone)
    assert display.best_epochs == [int(np.argmin(alone.loss_curve_)) + 1]
    assert display.ax_.get_ylabel() == "training loss"
    assert display.score_ax_ is None


def test_scores_followed_since_a_later_fit_belong_to_its_epochs():
    model = fitted(warm_start=True, max_iter=5, n_iter_no_change=100)
    model.set_params(early_stopping=True, max_iter=12).fit(X, y)
    assert len(model.loss_curve_) == 17
    display = LossCurveDisplay.from_estimator(model)
    assert display.best_epochs == [5 + int(np.argmax(model.validation_scores_)) + 1]
    assert np.isnan(display.lines_["score"][0].get_ydata()).tolist() == [True] * 5 + [False] * 12


def test_no_epoch_is_the_best_where_no_score_is_finite():
    display = LossCurveDisplay({"loss": [math.nan, math.nan]}).plot()
    assert display.best_epochs == [0]
    assert display.best_ == [[]]
    assert texts(display.legend_) == ["training loss"]


@pytest.mark.parametrize("ask", ["auto", True, False])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_learning_rate_is_drawn_if_it_changes_or_on_request(schedule, ask):
    model = fitted(learning_rate=schedule)
    display = LossCurveDisplay.from_estimator(model, learning_rate=ask)
    drawn = ask is True or (ask == "auto" and schedule == "cosine")
    assert ("learning_rate" in display.lines_) == drawn == (display.learning_rate_ax_ is not None)
    if drawn:
        line = display.lines_["learning_rate"][0]
        assert line.axes is display.learning_rate_ax_ is not display.ax_
        assert line.get_ydata().tolist() == model.history_["learning_rate"]


def test_seconds(stopping):
    display = LossCurveDisplay.from_estimator(stopping, x="seconds")
    assert display.lines_["loss"][0].get_xdata().tolist() == stopping.history_["seconds"]
    assert display.ax_.get_xlabel() == "seconds"


def test_several_estimators_are_named_by_what_they_differ_in():
    models = [fitted(alpha=alpha, learning_rate=rate) for alpha, rate in ((0.1, "constant"), (np.float64(2), "cosine"))]
    display = LossCurveDisplay.from_estimator(models)
    assert display.names == ["alpha=0.1, learning_rate='constant'", "alpha=2.0, learning_rate='cosine'"]
    assert [data(line)[1] for line in display.lines_["loss"]] == [model.loss_curve_ for model in models]
    first, second = (line.get_color() for line in display.lines_["loss"])
    assert first != second
    assert display.lines_["learning_rate"][1].get_color() == second
    assert texts(display.legend_) == [*display.names, "training loss", "learning rate", "best epoch"]
    twins = LossCurveDisplay.from_estimator([models[0], models[0]])
    assert twins.names == ["1", "2"]
    named = LossCurveDisplay.from_estimator({"low": models[0], "high": models[1]})
    assert named.names == ["low", "high"]
    assert texts(named.legend_)[:2] == ["low", "high"]
    assert LossCurveDisplay.from_estimator(models, names=("a", "b")).names == ["a", "b"]


def test_classes_name_estimators_that_differ_in_them(stopping):
    theirs = neural_network.MLPClassifier((6,), early_stopping=True, max_iter=5, random_state=0).fit(X, y)
    regressor = MLPRegressor(hidden_layer_sizes=(6,), max_iter=5, random_state=0).fit(X, y)
    names = LossCurveDisplay.from_estimator([stopping, theirs]).names
    assert [name.partition(",")[0] for name in names] == ["fastmlp.MLPClassifier", "sklearn.MLPClassifier"]
    names = LossCurveDisplay.from_estimator([stopping, regressor]).names
    assert [name.partition(",")[0] for name in names] == ["MLPClassifier", "MLPRegressor"]


def test_curves_of_scikit_learns():
    theirs = neural_network.MLPClassifier((6,), early_stopping=True, max_iter=5, random_state=0).fit(X, y)
    display = LossCurveDisplay.from_estimator(theirs)
    assert display.lines_["loss"][0].get_ydata().tolist() == theirs.loss_curve_
    assert display.lines_["score"][0].get_ydata().tolist() == theirs.validation_scores_
    assert display.best_epochs == [int(np.argmax(theirs.validation_scores_)) + 1]


def test_many_estimators_have_different_colours():
    histories = [{"loss": [number, 0.5]} for number in range(30)]
    display = LossCurveDisplay(histories).plot()
    assert len({to_rgb(line.get_color()) for line in display.lines_["loss"]}) == 30
    assert len(display.legend_.get_texts()) == 31
    display.figure_.canvas.draw()
    inside, below = display.ax_.get_window_extent(), display.legend_.get_window_extent()
    assert below.y1 < inside.y0  # it hides no curve
    assert below.y0 >= 0
    assert display.figure_.bbox.x0 <= below.x0 < below.x1 <= display.figure_.bbox.x1


def test_score_by_name():
    model = fitted(early_stopping=True, scoring=["balanced_accuracy", "neg_log_loss"])
    first = LossCurveDisplay.from_estimator(model)
    assert first.lines_["score"][0].get_ydata().tolist() == model.history_["validation_balanced_accuracy"]
    second = LossCurveDisplay.from_estimator(model, score="neg_log_loss")
    assert second.lines_["score"][0].get_ydata().tolist() == model.history_["validation_neg_log_loss"]
    assert second.score_ax_.get_ylabel() == "validation neg log loss"
    assert second.best_epochs == first.best_epochs  # which another score decides
    assert LossCurveDisplay.from_estimator(model, score=False).score_ax_ is None
    with pytest.raises(ValueError, match=r"score='f1' is in no history; there is \['balanced_accuracy', 'neg_log"):
        LossCurveDisplay.from_estimator(model, score="f1")


def inside(wrapper):
    """Return what holds a fitted network, and the network."""
    network = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
    if wrapper == "pipeline":
        whole = make_pipeline(StandardScaler(), network).fit(X, y)
        return whole, whole[-1]
    if wrapper == "search":
        pipeline = make_pipeline(StandardScaler(), network)
        whole = GridSearchCV(pipeline, {"mlpregressor__alpha": [0.1, 1]}, cv=2).fit(X, y)
        return whole, whole.best_estimator_[-1]
    whole = TransformedTargetRegressor(network, transformer=StandardScaler()).fit(X, y)
    return whole, whole.regressor_


@pytest.mark.parametrize("wrapper", ["pipeline", "search", "target"])
def test_network_is_found_inside(wrapper):
    whole, network = inside(wrapper)
    display = LossCurveDisplay.from_estimator(whole)
    assert display.lines_["loss"][0].get_ydata().tolist() == network.loss_curve_
    np.testing.assert_array_equal(WeightsDisplay.from_estimator(whole).weights, network.coefs_[0])
    rows = X if wrapper == "target" else StandardScaler().fit_transform(X)
    activations = ActivationDisplay.from_estimator(whole, X).activations
    np.testing.assert_allclose(activations[0], network.transform(rows), rtol=1e-12)


@pytest.mark.parametrize(
    "draw",
    [
        LossCurveDisplay.from_estimator,
        WeightsDisplay.from_estimator,
        lambda estimator: ActivationDisplay.from_estimator(estimator, X),
    ],
)
def test_what_is_no_fitted_network(draw):
    network = MLPClassifier()
    for whole in (network, make_pipeline(StandardScaler(), network), GridSearchCV(network, {})):
        with pytest.raises(NotFittedError, match="not fitted yet"):
            draw(whole)
    with pytest.raises(TypeError, match=r"needs an MLPClassifier or MLPRegressor.*got LogisticRegression\(\)"):
        draw(make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y))
    with pytest.raises(TypeError, match=r"got BaggingClassifier"):  # has no network that would be its best
        draw(BaggingClassifier(LogisticRegression(), n_estimators=2).fit(X, y))
    search = GridSearchCV(MLPClassifier((2,), max_iter=1), {"alpha": [1]}, cv=2, refit=False).fit(X, y)
    with pytest.raises(ValueError, match="needs the best estimator of a search, and this one has refit=False"):
        draw(search)


def test_loss_curve_errors(stopping):
    with pytest.raises(ValueError, match="solver='lbfgs' has no epochs: take a stochastic solver"):
        LossCurveDisplay.from_estimator(fitted(solver="lbfgs"))
    with pytest.raises(ValueError, match="x must be 'epoch' or 'seconds', got 'minutes'"):
        LossCurveDisplay.from_estimator(stopping, x="minutes")
    with pytest.raises(ValueError, match="learning_rate must be True, False or 'auto', got 'yes'"):
        LossCurveDisplay.from_estimator(stopping, learning_rate="yes")
    with pytest.raises(ValueError, match="names must have 1 values, got 2"):
        LossCurveDisplay.from_estimator(stopping, names=["a", "b"])
    with pytest.raises(ValueError, match="whose keys are the names: leave it out"):
        LossCurveDisplay.from_estimator({"a": stopping}, names=["a"])
    with pytest.raises(ValueError, match="at least one history"):
        LossCurveDisplay.from_estimator([])
    model = fitted(max_iter=2).partial_fit(X, y)
    with pytest.raises(ValueError, match="of the 3 epochs of this MLPClassifier the last fit had 1: take x='epoch'"):
        LossCurveDisplay.from_estimator(model, x="seconds")
    with pytest.raises(ValueError, match=r"needs 'seconds' in each history, got \['loss'\]"):
        LossCurveDisplay({"loss": [1.0]}).plot(x="seconds")
    with pytest.raises(ValueError, match="here seconds decrease"):
        LossCurveDisplay({"loss": [1.0, 1.0], "seconds": [2.0, 1.0]}).plot(x="seconds")
    with pytest.raises(ValueError, match=r"must have 'loss', got \['validation_loss'\]"):
        LossCurveDisplay({"validation_loss": [1.0]})
    with pytest.raises(ValueError, match=r"each of its 1 epochs, got an array of shape \(2,\) as 'seconds'"):
        LossCurveDisplay({"loss": [1.0], "seconds": [1.0, 2.0]})
    with pytest.raises(ValueError, match="best_epochs has 2 for a history of 1 epochs"):
        LossCurveDisplay({"loss": [1.0]}, best_epochs=[2])
    with pytest.raises(ValueError, match="learning_rate=True needs"):
        LossCurveDisplay({"loss": [1.0]}).plot(learning_rate=True)
    assert plt.get_fignums() == []  # an error leaves no empty figure


def test_line_settings_under_any_name(stopping):
    display = LossCurveDisplay.from_estimator(stopping, line_kw={"c": "red", "lw": 5})
    assert {line.get_color() for lines in display.lines_.values() for line in lines} == {"red"}
    assert display.lines_["loss"][0].get_linewidth() == 5


# ---- WeightsDisplay


def test_images_are_the_weights_of_each_unit_most_important_first(network):
    display = WeightsDisplay.from_estimator(network, image_shape=(2, 2))
    importance = [np.linalg.norm(network.coefs_[0][:, j]) * np.linalg.norm(network.coefs_[1][j]) for j in range(9)]
    assert display.units_.tolist() == sorted(range(9), key=lambda unit: -importance[unit])
    assert display.units_.tolist() != list(range(9))
    largest = np.abs(network.coefs_[0]).max()
    extents = set()
    for unit, image in zip(display.units_, display.images_, strict=True):
        np.testing.assert_array_equal(image.get_array(), network.coefs_[0][:, unit].reshape(2, 2))
        assert image.get_clim() == (-largest, largest)
        assert image.origin == "upper"  # the first row of pixels is above
        extents.add(tuple(image.get_extent()))
    assert len(extents) == 9
    labels = [text.get_text() for text in display.ax_.texts]
    assert labels == [str(unit) for unit in display.units_]
    assert len(display.figure_.axes) == 2  # with one colour bar
    assert display.colorbar_.ax is display.figure_.axes[1]
    few = WeightsDisplay.from_estimator(network, image_shape=(1, 4), n_units=3, colorbar=False)
    assert few.units_.tolist() == display.units_[:3].tolist()
    assert few.colorbar_ is None
    assert len(few.images_) == 3
    assert len(few.figure_.axes) == 1


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10, 64, 100, 130])
@pytest.mark.parametrize("shape", [(2, 2), (4, 1), (1, 4)])
def test_images_do_not_overlap(count, shape, random):
    display = WeightsDisplay(random.normal(size=(4, count)), image_shape=shape).plot()
    assert len(display.images_) == min(count, 100)
    extents = np.array([image.get_extent() for image in display.images_])
    for i, (left, right, bottom, top) in enumerate(extents):
        others = np.delete(extents, i, axis=0)
        apart = (others[:, 0] > right) | (others[:, 1] < left) | (others[:, 2] > top) | (others[:, 3] < bottom)
        assert apart.all()
        assert (top - bottom) / (right - left) == pytest.approx(shape[0] / shape[1])
    low, high = display.ax_.get_xlim()
    assert low < extents[:, 0].min() < extents[:, 1].max() < high


def test_heat_map_has_features_and_units(network):
    display = WeightsDisplay.from_estimator(network)
    assert len(display.images_) == 1
    np.testing.assert_array_equal(display.images_[0].get_array(), network.coefs_[0][:, display.units_])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [str(unit) for unit in display.units_]
    assert display.ax_.get_xlabel() == "unit of the first hidden layer"
    assert display.ax_.get_ylabel() == "feature"


def test_features_by_their_names():
    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame(X, columns=names)
    plain = MLPClassifier((3,), max_iter=2, random_state=0)

    def labels(estimator):
        ax = WeightsDisplay.from_estimator(estimator).ax_
        return [label.get_text() for label in ax.get_yticklabels()]

    assert labels(plain.fit(frame, y)) == names
    assert labels(make_pipeline(StandardScaler(), plain).fit(frame, y)) == names
    frame.iloc[3, 2] = np.nan
    missing = MLPClassifier((3,), max_iter=2, random_state=0, missing="indicator").fit(frame, y)
    assert labels(missing) == [*names, "c missing"]
    display = WeightsDisplay.from_estimator(missing, image_shape=(2, 2))  # the images have no such pixel
    unit = display.units_[0]
    np.testing.assert_array_equal(display.images_[0].get_array().ravel(), missing.coefs_[0][:4, unit])


def test_outputs_of_a_network_without_hidden_layers_are_the_classes():
    model = MLPClassifier((), max_iter=5, random_state=0).fit(X, load_iris().target_names[y])
    display = WeightsDisplay.from_estimator(model)
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["setosa", "versicolor", "virginica"]
    assert display.units_.tolist() == [0, 1, 2]
    assert display.ax_.get_xlabel() == "output"


def test_weights_that_are_all_zero():
    display = WeightsDisplay(np.zeros((4, 2))).plot()
    assert display.images_[0].get_clim() == (-1, 1)


def test_image_settings(network):
    display = WeightsDisplay.from_estimator(network, cmap="PiYG", im_kw={"vmin": -3, "vmax": 3})
    assert display.images_[0].get_clim() == (-3, 3)
    assert display.images_[0].get_cmap().name == "PiYG"


def test_weights_errors(network):
    with pytest.raises(ValueError, match=r"image_shape=\(8, 8\) has 64 pixels, but there are 4 features"):
        WeightsDisplay.from_estimator(network, image_shape=(8, 8))
    for wrong in ((2, 2, 1), 4, (2.0, 2.0), (-2, -2)):
        with pytest.raises(ValueError, match="image_shape must be two positive integers"):
            WeightsDisplay.from_estimator(network, image_shape=wrong)
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f"n_units must be a positive integer or None, got {wrong}"):
            WeightsDisplay.from_estimator(network, n_units=wrong)
    with pytest.raises(ValueError, match="feature_names must have 4 values, got 1"):
        WeightsDisplay(network.coefs_[0], feature_names=["a"])
    with pytest.raises(ValueError, match=r"weights must be of shape \(n_features, n_units\), got shape \(3,\)"):
        WeightsDisplay([1, 2, 3])


# ---- ActivationDisplay


def snake(z):
    return z + math.sin(z) ** 2


def own_relu(z):
    return max(z, 0)


ALL = ("relu", "tanh", snake, "logistic", "gelu", "elu", "softplus", "hard_tanh", own_relu, "relu")


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("n_layers", [1, 2, 10])
@pytest.mark.parametrize("kind", [np.asarray, csr_array])
def test_activations_are_those_of_each_layer(n_layers, kind):
    names = ALL[:n_layers]
    model = fitted(hidden_layer_sizes=tuple(range(5, 5 + n_layers)), activation=names, max_iter=2, dropout=0.1)
    display = ActivationDisplay.from_estimator(model, kind(X))
    assert len(display.activations) == len(display.axes_) == len(display.histograms_) == n_layers
    values = X
    own = {snake: lambda z: z + np.sin(z) ** 2, own_relu: lambda z: np.maximum(z, 0)}
    for number, name in enumerate(names):
        values = values @ model.coefs_[number] + model.intercepts_[number]
        values = own[name](values) if name in own else reference.ACTIVATIONS[name](values)
        np.testing.assert_allclose(display.activations[number], values, rtol=1e-9, atol=1e-12)
        called = name if isinstance(name, str) else name.__name__
        assert display.axes_[number].get_title().startswith(f"layer {number + 1}: {called}\n")
    np.testing.assert_allclose(display.activations[-1], model.transform(X), rtol=1e-12, atol=1e-14)


def with_constant_units(activation, k, value):
    """Return a network whose first k units of the second layer do not depend on the rows."""
    model = fitted(hidden_layer_sizes=(8, 12), activation=activation, max_iter=1)
    model.coefs_[1][:, :k] = 0
    model.intercepts_[1][:k] = value
    model.coefs_[1][:, k:] *= 0.1  # the others are neither dead nor saturated
    model.intercepts_[1][k:] = 0.5
    return model


@pytest.mark.parametrize("k", [0, 1, 5, 12])
@pytest.mark.parametrize("activation", ["relu", own_relu, "gelu", "softplus"])
def test_exactly_the_dead_units_are_dead(activation, k):
    model = with_constant_units(activation, k, -20.0)
    display = ActivationDisplay.from_estimator(model, X)
    assert display.dead_[1].tolist() == [True] * k + [False] * (12 - k)
    assert display.saturated_ == [None, None]
    assert f"{k} of 12 dead ({100 * k / 12:.0f} %)" in display.axes_[1].get_title()


@pytest.mark.parametrize("k", [0, 1, 5, 12])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("activation", "enough", "short"), [("tanh", 2.5, 2.1), ("logistic", 4.7, 4.5)])
def test_exactly_the_saturated_units_are_saturated(activation, enough, short, sign, k):
    """Beyond 0.98, which is tanh(2.3), or 0.99, the logistic function of 4.6."""
    display = ActivationDisplay.from_estimator(with_constant_units(activation, k, sign * enough), X)
    assert display.saturated_[1].tolist() == [True] * k + [False] * (12 - k)
    assert f"{k} of 12 saturated ({100 * k / 12:.0f} %)" in display.axes_[1].get_title()
    assert not display.dead_[1].any()
    display = ActivationDisplay.from_estimator(with_constant_units(activation, k, sign * short), X)
    assert not display.saturated_[1].any()


def test_units_saturated_in_half_of_the_rows_or_dead_in_all_but_one():
    layer = np.array([[1.0, 1.0, 0.0], [-1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.1]])
    display = ActivationDisplay([layer, layer], names=["tanh", "relu"]).plot()
    assert display.saturated_[0].tolist() == [True, False, False]  # in 3, 2 and none of 4 rows
    assert display.dead_[1].tolist() == [False, False, False]
    unknown = ActivationDisplay([np.zeros((3, 2))]).plot()
    assert unknown.dead_[0].tolist() == [True, True]
    assert unknown.saturated_ == [None]


def test_histograms_count_what_is_not_zero(network):
    display = ActivationDisplay.from_estimator(network, X, bins=20)
    for ax, layer, histogram in zip(display.axes_, display.activations, display.histograms_, strict=True):
        counts, edges = np.histogram(layer[layer != 0], bins=20)
        np.testing.assert_array_equal(histogram.get_data().values, counts / layer.size)
        np.testing.assert_array_equal(histogram.get_data().edges, edges)
        zeros = (layer == 0).mean()
        assert zeros > 0
        assert ax.get_xlabel() == f"activation ({100 * zeros:.0f} % are 0)"
        assert histogram.axes is ax


def test_rows_in_a_file(tmp_path, network):
    stored = np.memmap(tmp_path / "rows", X.dtype, "w+", shape=X.shape)
    stored[:] = X
    whole, parts = (ActivationDisplay.from_estimator(network, rows).activations for rows in (X, stored))
    for expected, got in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_axes_of_activations(network):
    figure, axes = plt.subplots(2, 2)
    display = ActivationDisplay.from_estimator(network, X, ax=axes[0])
    assert list(display.axes_) == list(axes[0])
    assert display.ax_ is None
    display = ActivationDisplay.from_estimator(network, X, ax=axes[1, 0])
    assert display.ax_ is axes[1, 0]
    assert not axes[1, 0].axison
    corners = axes[1, 0].get_position()
    free = ActivationDisplay.from_estimator(network, X, ax=figure.add_axes((0.55, 0.1, 0.4, 0.3)))
    for outer, made in ((corners, display), (free.ax_.get_position(), free)):
        for ax in made.axes_:
            box = ax.get_position()
            assert ax.figure is figure is made.figure_
            assert outer.x0 - 1e-9 <= box.x0 < box.x1 <= outer.x1 + 1e-9
            assert outer.y0 - 1e-9 <= box.y0 < box.y1 <= outer.y1 + 1e-9


def test_activation_errors(network):
    with pytest.raises(ValueError, match=r"about hidden layers, and hidden_layer_sizes=\(\) has none"):
        ActivationDisplay.from_estimator(MLPClassifier((), max_iter=1).fit(X, y), X)
    with pytest.raises(ValueError, match="X has 2 features, but MLPClassifier is expecting 4"):
        ActivationDisplay.from_estimator(network, X[:, :2])
    theirs = neural_network.MLPClassifier((2,), max_iter=1).fit(X, y)
    with pytest.raises(TypeError, match="needs an MLPClassifier or MLPRegressor of fastmlp"):
        ActivationDisplay.from_estimator(theirs, X)
    with pytest.raises(ValueError, match="bins must be a positive integer, got 0"):
        ActivationDisplay.from_estimator(network, X, bins=0)
    with pytest.raises(ValueError, match="ax must be one Axes, or 2, one for each layer, got 3"):
        ActivationDisplay.from_estimator(network, X, ax=plt.subplots(3)[1])
    with pytest.raises(ValueError, match="got none"):
        ActivationDisplay([])
    with pytest.raises(ValueError, match=r"got shape \(2,\) of layer 2"):
        ActivationDisplay([[[1.0]], [1.0, 2.0]])
    with pytest.raises(ValueError, match="finite, got infinity or NaN in layer 1"):
        ActivationDisplay([[[math.inf]]])
    with pytest.raises(ValueError, match="names must have 1 values, got 2"):
        ActivationDisplay([[[1.0]]], names=["relu", "tanh"])


# ---- SearchDisplay


@pytest.fixture(scope="module")
def grid():
    tree = DecisionTreeClassifier(random_state=0)
    values = {"max_depth": [1, 2, 5], "min_samples_leaf": [1, 10, 40, 60], "criterion": ["gini", "entropy"]}
    return GridSearchCV(tree, values, cv=4).fit(X, y)


@pytest.mark.parametrize("params", [("max_depth", "min_samples_leaf"), ("min_samples_leaf", "criterion")], ids=str)
def test_heat_map_is_the_best_over_the_others(grid, params):
    display = SearchDisplay.from_estimator(grid, params)
    table = pd.DataFrame(grid.cv_results_["params"]).assign(score=grid.cv_results_["mean_test_score"])
    expected = table.groupby(list(params), sort=False)["score"].max().unstack(0, sort=False)
    np.testing.assert_array_equal(display.image_.get_array(), expected.to_numpy())
    assert display.image_.origin == "lower"
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == [str(value) for value in expected.columns]
    assert [label.get_text() for label in display.ax_.get_yticklabels()] == [str(value) for value in expected.index]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == params
    column, row = np.add(display.best_.get_xy(), 0.5).astype(int)
    assert (expected.columns[column], expected.index[row]) == tuple(grid.best_params_[name] for name in params)
    shown = {(*text.get_position(), float(text.get_text())) for text in display.texts_}
    assert shown == {
        (column, row, float(f"{expected.iloc[row, column]:.3g}")) for row, column in np.ndindex(expected.shape)
    }
    assert display.colorbar_.ax.get_ylabel() == "score"


def test_curve_is_the_best_over_the_others_with_its_folds(grid):
    display = SearchDisplay.from_estimator(grid, "min_samples_leaf")
    results, chosen = grid.cv_results_, []
    for value in (1, 10, 40, 60):
        same = [i for i, one in enumerate(results["params"]) if one["min_samples_leaf"] == value]
        chosen.append(max(same, key=lambda i: results["mean_test_score"][i]))
    assert data(display.line_) == ([1, 10, 40, 60], results["mean_test_score"][chosen].tolist())
    assert display.line_.get_linestyle() == "-"
    folds = [results[f"split{fold}_test_score"][i] for i in chosen for fold in range(4)]
    assert data(display.folds_) == (np.repeat([1, 10, 40, 60], 4).tolist(), folds)
    assert data(display.best_) == ([grid.best_params_["min_samples_leaf"]], [grid.best_score_])
    assert display.colorbar_ is None
    assert f"best: {grid.best_score_:.3f}" in texts(display.ax_.get_legend())


def test_curve_of_names(grid):
    display = SearchDisplay.from_estimator(grid, "criterion")
    assert display.line_.get_xdata().tolist() == [0, 1]
    assert display.line_.get_linestyle() == "None"  # nothing is between two names
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["gini", "entropy"]


@pytest.fixture(scope="module")
def random_search():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    values = {"logisticregression__C": loguniform(1e-4, 1e2), "logisticregression__tol": loguniform(1e-5, 1e-1)}
    return RandomizedSearchCV(pipeline, values, n_iter=12, random_state=0, cv=3).fit(X, y)


def test_random_values_are_points(random_search):
    display = SearchDisplay.from_estimator(random_search)
    candidates = random_search.cv_results_["params"]
    places = [(one["logisticregression__C"], one["logisticregression__tol"]) for one in candidates]
    expected = dict(zip(places, random_search.cv_results_["mean_test_score"], strict=True))
    offsets = map(tuple, display.points_.get_offsets().tolist())
    assert dict(zip(offsets, display.points_.get_array(), strict=True)) == expected
    assert display.image_ is None
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("C", "tol")
    assert (display.ax_.get_xscale(), display.ax_.get_yscale()) == ("log", "log")
    best = random_search.best_params_
    assert data(display.best_) == ([best["logisticregression__C"]], [best["logisticregression__tol"]])


def test_random_values_of_one_of_two_parameters_are_no_curve(random_search):
    display = SearchDisplay.from_estimator(random_search, "C")
    assert display.line_.get_linestyle() == "None"
    expected = sorted(one["logisticregression__C"] for one in random_search.cv_results_["params"])
    assert display.line_.get_xdata().tolist() == expected


@pytest.mark.parametrize("halving", [HalvingGridSearchCV, model_selection.HalvingGridSearchCV])
def test_halving_shows_the_last_round_of_each_candidate(halving):
    network = MLPClassifier((3,), max_iter=5, random_state=0)
    search = halving(network, {"alpha": [1e-3, 1, 30, 100]}, cv=2, factor=2, random_state=0, max_resources=120)
    search.fit(X, y)
    results = search.cv_results_
    expected, n_rounds = {}, {}
    for i, one in enumerate(results["params"]):  # a later round comes later
        expected[one["alpha"]] = results["mean_test_score"][i]
        n_rounds[one["alpha"]] = n_rounds.get(one["alpha"], 0) + 1
    assert max(n_rounds.values()) > min(n_rounds.values())
    display = SearchDisplay.from_estimator(search)
    assert data(display.line_) == (sorted(expected), [expected[value] for value in sorted(expected)])
    assert data(display.best_) == ([search.best_params_["alpha"]], [search.best_score_])


def test_of_two_rounds_the_later_one_is_shown_though_it_is_worse():
    display = SearchDisplay({"a": [1, 2, 1]}, [0.9, 0.8, 0.7], rounds=[0, 0, 1]).plot()
    assert data(display.line_) == ([1, 2], [0.7, 0.8])
    assert display.best == 2


def test_our_search_over_networks():
    network = MLPClassifier(max_iter=3, random_state=0)
    sizes = [(20,), (3, 3), (3,)]
    search = model_selection.GridSearchCV(network, {"hidden_layer_sizes": sizes, "alpha": [0, 0.1]}, cv=2)
    display = SearchDisplay.from_estimator(search.fit(X, y), ["hidden_layer_sizes", "alpha"])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == ["(3,)", "(3, 3)", "(20,)"]
    for score, one in zip(search.cv_results_["mean_test_score"], search.cv_results_["params"], strict=True):
        column, row = [(3,), (3, 3), (20,)].index(one["hidden_layer_sizes"]), [0, 0.1].index(one["alpha"])
        assert display.image_.get_array()[row, column] == score


def test_several_scores():
    scoring = ["r2", "neg_mean_absolute_error"]
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 10, 1000]}, scoring=scoring, refit="r2", cv=3).fit(X, y)
    results = search.cv_results_
    display = SearchDisplay.from_estimator(search)
    assert display.line_.get_ydata().tolist() == results["mean_test_r2"].tolist()
    display = SearchDisplay.from_estimator(search, score="neg_mean_absolute_error")
    assert display.line_.get_ydata().tolist() == results["mean_test_neg_mean_absolute_error"].tolist()
    assert display.best_.get_ydata()[0] == results["mean_test_neg_mean_absolute_error"].max()
    assert display.ax_.get_ylabel() == "neg mean absolute error"
    with pytest.raises(ValueError, match=r"score='f1' is not in the search; it has \['r2', 'neg_mean_abs"):
        SearchDisplay.from_estimator(search, score="f1")
    search.set_params(refit=False).fit(X, y)
    with pytest.raises(ValueError, match=r"several scores: choose one as score out of \['r2', 'neg_mean_absolute"):
        SearchDisplay.from_estimator(search)


def test_candidates_without_a_parameter_are_left_out():
    grids = [{"solver": ["lsqr"], "tol": [1e-3, 1e-1]}, {"solver": ["cholesky"]}]
    search = GridSearchCV(Ridge(), grids, cv=3).fit(X, y)
    display = SearchDisplay.from_estimator(search, "tol")
    assert display.scores.tolist() == search.cv_results_["mean_test_score"][:2].tolist()
    assert SearchDisplay.from_estimator(search, "solver").scores.size == 3


def test_failed_fits_are_empty_cells():
    values = {"a": [1, 1, 2, 2], "b": [1, 2, 1, 2]}
    display = SearchDisplay(values, [0.1, math.nan, 0.3, 0.2]).plot()
    np.testing.assert_array_equal(np.ma.filled(display.image_.get_array(), np.nan), [[0.1, 0.3], [np.nan, 0.2]])
    assert len(display.texts_) == 3
    assert display.best == 2


@pytest.mark.parametrize(
    ("values", "least"),
    [
        ([1e-4, 1e-3, 1e-2, 1e-1], 1e-4),
        ([0, 1e-4, 1e-3, 1e-2], 1e-4),
        ([1e-4, 1e-2], 1e-4),
        ([1, 2, 4, 8, 16], 1),
        ([1, 2, 3, 4, 5], None),
        ([0.1, 0.3, 0.5, 0.7, 0.9], None),
        ([1, 25, 50, 75, 100], None),
        ([-1, 1, 10, 100], None),
        ([0, 0.5], None),
        ([3], None),
    ],
    ids=str,
)
def test_values_that_ask_for_a_logarithmic_axis(values, least):
    assert log_from(values) == least
    display = SearchDisplay({"a": values}, np.ones(len(values))).plot()
    assert display.ax_.get_xscale() == ("linear" if least is None else "symlog" if values[0] == 0 else "log")


def test_search_errors(grid, random_search):
    known = r"\['criterion', 'max_depth', 'min_samples_leaf'\]"
    with pytest.raises(ValueError, match=f"has 3 parameters with several values: choose one or two.*{known}"):
        SearchDisplay.from_estimator(grid)
    with pytest.raises(ValueError, match=f"params: 'depth' is not in the search; it has {known}"):
        SearchDisplay.from_estimator(grid, "depth")
    with pytest.raises(ValueError, match="params must be one or two names, got 3"):
        SearchDisplay.from_estimator(grid, ["criterion", "max_depth", "min_samples_leaf"])
    with pytest.raises(ValueError, match="params must be different"):
        SearchDisplay.from_estimator(random_search, ["C", "logisticregression__C"])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        SearchDisplay.from_estimator(GridSearchCV(Ridge(), {"alpha": [1]}))
    with pytest.raises(TypeError, match=r"needs a search, such as GridSearchCV, got Ridge\(\)"):
        SearchDisplay.from_estimator(Ridge())
    two = GridSearchCV(Ridge(), [{"alpha": [1.0], "tol": [1e-2]}, {"solver": ["svd"]}], cv=2).fit(X, y)
    with pytest.raises(ValueError, match="no candidate of the search has both"):
        SearchDisplay.from_estimator(two, ["alpha", "solver"])
    with pytest.raises(ValueError, match="of one or two parameters, got 0"):
        SearchDisplay({}, [1.0])
    with pytest.raises(ValueError, match=r"values\['a'\] must have 2 values, got 1"):
        SearchDisplay({"a": [1]}, [1.0, 2.0])
    with pytest.raises(ValueError, match="all fits failed"):
        SearchDisplay({"a": [1]}, [math.nan])
    with pytest.raises(ValueError, match=r"fold_scores must be of shape \(1, n_folds\).*got \(2, 1\)"):
        SearchDisplay({"a": [1]}, [1.0], fold_scores=[[1.0], [2.0]])
    with pytest.raises(ValueError, match="best must be the number of a candidate, from 0 to 0, got 1"):
        SearchDisplay({"a": [1]}, [1.0], best=1)


def test_a_short_name_of_two_parameters():
    pipeline = Pipeline([("one", MinMaxScaler()), ("other", MinMaxScaler()), ("ridge", Ridge())])
    search = GridSearchCV(pipeline, {"one__clip": [True, False], "other__clip": [True, False]}, cv=2).fit(X, y)
    with pytest.raises(ValueError, match=r"'clip' may be any of \['one__clip', 'other__clip'\]"):
        SearchDisplay.from_estimator(search, "clip")
    display = SearchDisplay.from_estimator(search)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("one__clip", "other__clip")


# ---- all displays


def all_displays(stopping, network, grid, random_search):
    """Yield a function for each display that draws it on axes or a new figure."""
    yield lambda ax=None: LossCurveDisplay.from_estimator(stopping, learning_rate=True, ax=ax)
    yield lambda ax=None: LossCurveDisplay.from_estimator([stopping, network, network], learning_rate=True, ax=ax)
    yield lambda ax=None: WeightsDisplay.from_estimator(network, image_shape=(2, 2), ax=ax)
    yield lambda ax=None: WeightsDisplay.from_estimator(network, ax=ax)
    yield lambda ax=None: ActivationDisplay.from_estimator(network, X, ax=ax)
    yield lambda ax=None: SearchDisplay.from_estimator(grid, ["max_depth", "criterion"], ax=ax)
    yield lambda ax=None: SearchDisplay.from_estimator(grid, "max_depth", ax=ax)
    yield lambda ax=None: SearchDisplay.from_estimator(random_search, ax=ax)


def test_axes_that_are_given(stopping, network, grid, random_search):
    for draw in all_displays(stopping, network, grid, random_search):
        figure, axes = plt.subplots(1, 2)
        display = draw(axes[1])
        assert display.ax_ is axes[1]
        assert display.figure_ is figure
        assert not axes[0].has_data()
        again = display.plot(axes[0])
        assert again is display
        assert display.ax_ is axes[0]
        display.plot()
        assert display.figure_ is not figure


def luminance(color):
    return np.dot(to_rgb(color), (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_texts_and_lines_are_seen_in_each_style(style, stopping, network, grid, random_search):
    for draw in all_displays(stopping, network, grid, random_search):
        with plt.style.context(style):
            display = draw()
            display.figure_.canvas.draw()
            background = luminance(display.figure_.get_facecolor())
            on_cells = getattr(display, "texts_", [])
            seen = [text for text in display.figure_.findobj(Text) if text.get_text() and text.get_visible()]
            assert len(seen) > 5
            for text in seen:
                if text in on_cells:
                    column, row = text.get_position()
                    image = display.image_
                    below = luminance(image.cmap(image.norm(image.get_array()[row, column])))
                else:
                    below = background
                assert abs(luminance(text.get_color()) - below) > 0.2, text
            for line in display.figure_.findobj(Line2D):
                if line.get_visible():
                    assert abs(luminance(line.get_color()) - background) > 0.2, line


@pytest.mark.parametrize("n_layers", range(1, 11))
def test_titles_and_labels_of_layers_do_not_overlap(n_layers, random):
    layers = [np.maximum(random.normal(size=(20, 100)), 0)] * n_layers
    display = ActivationDisplay(layers, names=["hard_tanh"] * n_layers).plot()
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for ax in display.axes_ for text in (ax.title, ax.xaxis.label)]
    boxes += [ax.get_window_extent() for ax in display.axes_]
    for i, box in enumerate(boxes):
        assert display.figure_.bbox.containsx(box.x0)
        assert display.figure_.bbox.containsx(box.x1)
        assert not any(box.overlaps(other) for other in boxes[:i])


@pytest.mark.parametrize("count", [3, 10, 11, 40])
def test_colours(count):
    colors = colors_of(plt, count)
    assert len(colors) == count
    assert not any(same_color(one, other) for i, one in enumerate(colors) for other in colors[:i])


def test_import_takes_no_matplotlib_and_without_it_the_extra_is_named():
    program = """
import sys
import fastmlp.plots
assert "matplotlib" not in sys.modules
sys.modules["matplotlib"] = None
from fastmlp import MLPClassifier
from fastmlp.plots import ActivationDisplay, LossCurveDisplay, SearchDisplay, WeightsDisplay
X, y = [[0.0], [1.0], [2.0], [3.0]], [0, 1, 0, 1]
model = MLPClassifier((2,), solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
for draw in (
    lambda: ActivationDisplay.from_estimator(model, X),
    lambda: LossCurveDisplay.from_estimator(model),
    lambda: SearchDisplay.from_estimator(model),
    lambda: WeightsDisplay.from_estimator(model),
    ActivationDisplay([[[1.0]]]).plot,
    LossCurveDisplay({"loss": [1.0]}).plot,
    SearchDisplay({"a": [1]}, [1.0]).plot,
    WeightsDisplay([[1.0]]).plot,
):
    try:
        draw()
    except ImportError as error:
        print(error)
"""
    lines = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    lines = lines.splitlines()
    names = ["ActivationDisplay", "LossCurveDisplay", "SearchDisplay", "WeightsDisplay"] * 2
    assert len(lines) == 8
    for name, line in zip(names, lines, strict=True):
        start = f"{name} needs the extra 'plots', which is not installed: pip install 'fastmlp[plots]'"
        assert line.startswith(start)
