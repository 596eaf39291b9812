"""The check of backpropagation, and gradients with respect to the inputs, as users of the estimators meet them."""

import copy

import numpy as np
import pytest
import pytorch
from scipy.sparse import csr_array
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError

import fastmlp
from fastmlp import check_gradient, reference
from fastmlp.cpu.layout import BLOCK_ROWS
from fastmlp.cpu.saliency import input_gradient
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.network import Network, unflatten
from fastmlp.training.gradient import gradient_error

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NUMBERS = np.column_stack([X[:, 0] + y, X[:, 1] ** 2, y]) + 0.1
LABELS = np.column_stack([X[:, 0] > 0, X[:, 2] > 0.5, y == 1]).astype(int)
WORDS = np.array(["setosa", "versicolor", "virginica"])[y]
SPARSE = csr_array(np.where(np.abs(X) < [0, 0.7, 0.7, 0.7], 0, X))

SETTINGS = {"hidden_layer_sizes": (8, 6), "max_iter": 5, "random_state": 0, "activation": "tanh"}


def classifier(**settings):
    return fastmlp.MLPClassifier(**{**SETTINGS, **settings})


def regressor(**settings):
    return fastmlp.MLPRegressor(**{**SETTINGS, **settings})


# those with targets: all losses, one output and several
PROBLEMS = {
    "log_loss, 3 classes": (classifier(), y),
    "log_loss, 2 classes": (classifier(), y == 1),
    "log_loss, labels": (classifier(), LABELS),
    "smoothed, 3 classes": (classifier(label_smoothing=0.2), WORDS),
    "smoothed, labels": (classifier(label_smoothing=0.2), LABELS),
    "squared_error, 3 classes": (classifier(loss="squared_error"), y),
    "squared_error, 2 classes": (classifier(loss="squared_error"), y == 1),
    "hinge, 3 classes": (classifier(loss="hinge"), y),
    "hinge, 2 classes": (classifier(loss="hinge"), y == 1),
    "squared_error": (regressor(), y),
    "squared_error, 3 outputs": (regressor(), NUMBERS),
    "poisson": (regressor(loss="poisson"), NUMBERS - NUMBERS.min()),
    "gamma": (regressor(loss="gamma"), y + 0.5),
    "absolute_error": (regressor(loss="absolute_error"), NUMBERS),
    "huber": (regressor(loss="huber", delta=0.3), NUMBERS),
    "quantile": (regressor(loss="quantile", quantile=0.8), y),
}


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "CSR"])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_gradients_of_all_losses_are_right(problem, rows):
    model, targets = PROBLEMS[problem]
    weight = np.linspace(0.1, 2, len(y))
    model = copy.deepcopy(model).set_params(alpha=0.3)
    assert check_gradient(model, rows, targets, weight, n_parameters=None) < 1e-5
    model.set_params(scale_alpha=False)
    assert check_gradient(model.fit(rows, targets), rows, targets, weight, n_parameters=None) < 1e-5


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("hidden", [(), (5,), (9, 7, 4)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_all_activations_are_right(activation, hidden):
    model = classifier(activation=activation, hidden_layer_sizes=hidden)
    assert check_gradient(model, X, y) < 1e-5
    assert check_gradient(model, SPARSE, y) < 1e-5


@pytest.mark.usefixtures("each_engine")
def test_dropout_silences_the_same_units_for_all_differences():
    model = classifier(dropout=(0.3, 0.5))
    assert check_gradient(model, X, y, n_parameters=None) < 1e-5
    assert check_gradient(model, SPARSE, y, n_parameters=None) < 1e-5


@pytest.mark.usefixtures("each_engine")
def test_no_dropout_in_an_input_gradient():
    model = regressor(dropout=0.4).fit(X, y)
    np.testing.assert_allclose(model.input_gradient(X), numeric_gradient(model.predict, X), rtol=1e-6, atol=1e-8)


def test_a_converged_fit_is_right():
    """Its gradient is so small that a difference sees nothing but rounding."""
    model = classifier(solver="lbfgs", max_iter=2000, tol=1e-9, alpha=1.0).fit(X, y)
    assert check_gradient(model, X, y) < 1e-2


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "selu", "hard_tanh"])
def test_steps_across_kinks_are_no_false_alarm(activation, random):
    """With so many rows and units some steps do cross one."""
    rows = random.normal(size=(2000, 5))
    model = classifier(activation=activation, hidden_layer_sizes=(60, 40))
    assert check_gradient(model, rows, rows[:, 0] > 0) < 1e-4


def use_wrong_derivative(monkeypatch, activation, wrong):
    monkeypatch.setattr("fastmlp.training.device.make_engine", reference.Engine)
    monkeypatch.setitem(reference.DERIVATIVES, activation, wrong)


@pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "CSR"])
@pytest.mark.parametrize("fitted", [False, True])
def test_finds_a_wrong_derivative(monkeypatch, fitted, rows):
    model = classifier().fit(X, y) if fitted else classifier()
    use_wrong_derivative(monkeypatch, "tanh", lambda z, a: 1 - a)  # the square is missing
    assert check_gradient(model, rows, y) > 0.1
    use_wrong_derivative(monkeypatch, "tanh", lambda z, a: 1.01 * (1 - a**2))
    assert check_gradient(model, rows, y) == pytest.approx(1 - 1 / 1.01**2, abs=1e-4)  # of two layers


@pytest.mark.parametrize("problem", ["huber", "hinge, 3 classes", "log_loss, 3 classes", "squared_error, 3 outputs"])
def test_finds_a_wrong_error_of_the_output(monkeypatch, problem):
    monkeypatch.setattr("fastmlp.training.device.make_engine", reference.Engine)
    right = reference.output_error
    monkeypatch.setattr(reference, "output_error", lambda *arguments: right(*arguments) + 0.1)
    assert check_gradient(*PROBLEMS[problem][:1], X, PROBLEMS[problem][1]) > 0.01


class Faulty(reference.Engine):
    """Leaves out one part of the gradient: a bias, a weight or the penalty."""

    part = None

    def loss_and_gradient(self, flat, alpha):
        if self.part == "penalty":
            return super().loss_and_gradient(flat, alpha)[0], super().loss_and_gradient(flat, 0.0)[1]
        loss, gradient = super().loss_and_gradient(flat, alpha)
        gradient[self.part] = 0
        return loss, gradient


@pytest.mark.parametrize("part", [0, -1, "penalty"])
def test_finds_what_is_missing(monkeypatch, part):
    monkeypatch.setattr("fastmlp.training.device.make_engine", Faulty)
    monkeypatch.setattr(Faulty, "part", part)
    assert check_gradient(classifier(alpha=1.0), X, y, n_parameters=None) > 0.01


def test_a_sample_sees_each_layer(monkeypatch):
    """With few parameters to compare there is one of each weight matrix and bias vector."""
    seen = []
    right = reference.Engine.loss_and_gradient

    def recorded(engine, flat, alpha):
        seen.append(flat)
        return right(engine, flat, alpha)

    monkeypatch.setattr("fastmlp.training.device.make_engine", reference.Engine)
    monkeypatch.setattr(reference.Engine, "loss_and_gradient", recorded)
    model = classifier(hidden_layer_sizes=(50, 40))
    for asked, count in ((1, 6), (50, 50), (200, 200)):
        seen.clear()
        check_gradient(model, X, y, n_parameters=asked)
        assert len(seen) == 1 + 2 * count
        moved = np.flatnonzero((np.array(seen[1:]) != seen[0]).any(axis=0))
        assert len(moved) == count
        edges = np.cumsum([0, 4 * 50, 50 * 40, 40 * 3, 50, 40, 3])
        counts = np.bincount(np.searchsorted(edges, moved, side="right") - 1, minlength=6)
        np.testing.assert_array_equal(
            counts, {6: [1] * 6, 50: [10, 10, 9, 9, 9, 3], 200: [40, 40, 39, 39, 39, 3]}[count]
        )
    first = [flat.copy() for flat in seen]
    seen.clear()
    check_gradient(model, X, y, n_parameters=200)
    np.testing.assert_array_equal(seen, first)


def test_all_parameters_of_a_small_network():
    class Quadratic:
        """The loss |p|**2 / 2, and its gradient with one number wrong by a tenth of all."""

        network = Network((3, 2), ("identity",), "squared_error")

        def loss_and_gradient(self, flat, alpha):
            gradient = flat.copy()
            gradient[4] *= 1.1
            return flat @ flat / 4, gradient  # the mean over the two outputs

    weights = np.arange(1.0, 7).reshape(3, 2)
    error = gradient_error(Quadratic(), ([weights], [np.ones(2)]), 0.0, None)
    assert error == pytest.approx(0.5 / np.linalg.norm([1, 2, 3, 4, 5.5, 6]), rel=1e-6)


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("seed", ["int", "RandomState", "None"])
def test_the_check_leaves_all_as_it_was(seed, fitted):
    model = classifier(random_state={"int": 3, "RandomState": np.random.RandomState(3), "None": None}[seed])
    if fitted:
        model.fit(X, y)
    before, drawn = copy.deepcopy(vars(model)), np.random.get_state()[1].copy()  # noqa: NPY002
    check_gradient(model, X, y, n_parameters=5)
    assert vars(model).keys() == before.keys()
    np.testing.assert_equal(
        {**vars(model), **dict.fromkeys(("random_state", "_optimizer", "_label_encoder"))},
        {**before, **dict.fromkeys(("random_state", "_optimizer", "_label_encoder"))},
    )
    if seed == "RandomState":
        assert str(model.random_state.get_state()) == str(before["random_state"].get_state())
    np.testing.assert_array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


def test_the_check_begins_where_a_fit_begins(monkeypatch):
    points = []
    right = reference.Engine.loss_and_gradient

    def recorded(engine, flat, alpha):
        points.append((flat, alpha))
        return right(engine, flat, alpha)

    monkeypatch.setattr("fastmlp.training.device.make_engine", reference.Engine)
    monkeypatch.setattr(reference.Engine, "loss_and_gradient", recorded)
    model = classifier(solver="sgd", learning_rate_init=1e-300, max_iter=1, alpha=0.25)
    check_gradient(model, X, y, n_parameters=1)
    model.fit(X, y)
    check_gradient(model, X[:40], y[:40], n_parameters=1)  # one class only
    for flat, alpha in (points[0], points[13]):
        assert alpha == 0.25
        for got, expected in zip(unflatten(flat, (4, 8, 6, 3)), (model.coefs_, model.intercepts_), strict=True):
            for one, other in zip(got, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    for settings, alpha in (({"l1_ratio": 0.6}, 0.1), ({"l1_ratio": 0, "solver": "adamw"}, 0.0)):
        points.clear()
        check_gradient(model.set_params(**settings), X, y, n_parameters=1)
        assert points[0][1] == pytest.approx(alpha)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((fastmlp.Perceptron(), X, y), TypeError, r"must be an MLPClassifier or MLPRegressor, got Perceptron\(\)"),
        ((classifier(), X, y, None, 0), ValueError, "n_parameters must be an int > 0, or None for all, got 0"),
        ((classifier(), X, y, None, 2.5), ValueError, "n_parameters must be .* got 2.5"),
        ((classifier(alpha=-1), X, y), ValueError, "'alpha' parameter of MLPClassifier"),
        ((classifier(l1_ratio=0.5, solver="adamw"), X, y), ValueError, "l1_ratio=0.5 has no meaning"),
        ((classifier(), X[:, :2], y[:9]), ValueError, "inconsistent numbers of samples"),
        ((classifier(), np.where(X > 2, np.nan, X), y), ValueError, "contains NaN"),
        ((classifier(), X, y, -np.ones(len(y))), ValueError, "Negative values in data passed to `sample_weight`"),
        ((regressor(activation="identity"), 1e200 * X, y), ValueError, "not finite at these parameters"),
    ],
)
def test_errors_of_the_check(arguments, error, message):
    with pytest.raises(error, match=message):
        check_gradient(*arguments)


def test_errors_of_the_check_at_fitted_weights():
    model = classifier().fit(X, y)
    with pytest.raises(ValueError, match="X has 2 features"):
        check_gradient(model, X[:, :2], y)
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        check_gradient(model, X, y + 1)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(3,\) does not fit the weights"):
        check_gradient(model.set_params(hidden_layer_sizes=(3,)), X, y)


def numeric_gradient(function, rows):
    """Return the central differences of a function of rows, (n_samples,), by each feature."""
    columns = []
    for feature in range(rows.shape[1]):
        step = np.zeros(rows.shape[1])
        step[feature] = 1e-6
        columns.append((function(rows + step) - function(rows - step)) / 2e-6)
    return np.column_stack(columns)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("hidden", [(7,), (9, 5, 6)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_input_gradient_against_differences_of_predictions(activation, hidden):
    model = regressor(activation=activation, hidden_layer_sizes=hidden).fit(X, y)
    expected = numeric_gradient(model.predict, X)
    np.testing.assert_allclose(model.input_gradient(X), expected, rtol=1e-6, atol=1e-8)
    sparse = model.input_gradient(csr_array(X))
    assert type(sparse) is np.ndarray
    np.testing.assert_allclose(sparse, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gamma", "huber"])
def test_input_gradient_of_each_output_of_a_regressor(loss):
    model = regressor(loss=loss).fit(X, NUMBERS - NUMBERS.min() + 0.1)
    for output in range(3):
        expected = numeric_gradient(lambda rows, output=output: model.predict(rows)[:, output], X)
        np.testing.assert_allclose(model.input_gradient(X, output), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "hinge"])
def test_input_gradient_of_classes(loss):
    model = classifier(loss=loss, max_iter=100).fit(X, WORDS)

    def scores(rows):
        return model._forward(rows, raw=True)

    expected = [numeric_gradient(lambda rows, i=i: scores(rows)[:, i], X) for i in range(3)]
    for label, one in zip(model.classes_, expected, strict=True):
        np.testing.assert_allclose(model.input_gradient(X, label), one, rtol=1e-6, atol=1e-8)
    predicted = np.searchsorted(model.classes_, model.predict(X))
    assert len(np.unique(predicted)) == 3
    expected = np.array(expected)[predicted, np.arange(len(X))]
    np.testing.assert_allclose(model.input_gradient(X), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("loss", ["log_loss", "squared_error", "hinge"])
def test_input_gradient_of_two_classes(loss):
    model = classifier(loss=loss, max_iter=100).fit(X, np.where(y == 0, "setosa", "another"))
    odds = numeric_gradient(lambda rows: model._forward(rows, raw=True)[:, 0], X)
    if loss != "hinge":
        logarithms = [numeric_gradient(lambda rows, i=i: model.predict_log_proba(rows)[:, i], X) for i in (0, 1)]
        np.testing.assert_allclose(logarithms[1] - logarithms[0], odds, rtol=1e-5, atol=1e-7)
    for label, sign in (("another", -1), ("setosa", 1)):
        np.testing.assert_allclose(model.input_gradient(X, label), sign * odds, rtol=1e-6, atol=1e-8)
    sign = np.where(model.predict(X) == "setosa", 1, -1)[:, np.newaxis]
    assert len(np.unique(sign)) == 2
    np.testing.assert_allclose(model.input_gradient(X), sign * odds, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("each_engine")
def test_input_gradient_of_labels_of_their_own():
    model = classifier().fit(X, LABELS)
    for output in range(3):
        expected = numeric_gradient(lambda rows, i=output: model._forward(rows, raw=True)[:, i], X)
        np.testing.assert_allclose(model.input_gradient(X, output), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "CSR"])
def test_input_gradient_without_hidden_layers_is_a_row_of_the_weights(rows):
    model = regressor(hidden_layer_sizes=()).fit(X, NUMBERS)
    for output in range(3):
        expected = np.tile(model.coefs_[0][:, output], (len(X), 1))
        np.testing.assert_array_equal(model.input_gradient(rows, output), expected)
    model = classifier(hidden_layer_sizes=()).fit(X, y)
    np.testing.assert_array_equal(model.input_gradient(rows), model.coefs_[0].T[model.predict(rows)])
    model = regressor(hidden_layer_sizes=(), loss="poisson").fit(X, y)
    expected = model.predict(rows)[:, np.newaxis] * model.coefs_[0].T
    np.testing.assert_allclose(model.input_gradient(rows), expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n_rows", [1, 7, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS + 5])
@pytest.mark.parametrize(
    "widths",
    [(1, 1), (3, 70), (19, 33, 2), (70, 5, 18, 1), (130, 40, 200, 9)],
    ids=lambda widths: "-".join(map(str, widths)),
)
def test_kernels_against_the_reference(widths, n_rows, dtype, random):
    names = ("gelu", "elu")[: len(widths) - 2]
    network = Network(widths, (*names, "identity"), "squared_error")
    scale = np.sqrt(3 / max(widths))
    parameters = unflatten(random.normal(scale=scale, size=network.n_parameters).astype(dtype), widths)
    rows = random.normal(size=(n_rows, widths[0])).astype(dtype)
    rows[np.abs(rows) < 0.5] = 0
    errors = random.normal(size=(n_rows, widths[-1])).astype(dtype)
    expected = reference.input_gradient(network, *parameters, rows, errors)
    for given in (rows, csr_array(rows)):
        got = input_gradient(network, *parameters, given, errors)
        assert got.dtype == dtype
        tolerance = (1e-5 if dtype == np.float32 else 1e-13) * np.abs(expected).max()
        np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("rows", [X, SPARSE], ids=["dense", "CSR"])
def test_same_bits_for_any_number_of_threads_and_rows(monkeypatch, rows):
    rows = csr_array(np.tile(rows.toarray(), (9, 1))) if rows is SPARSE else np.tile(rows, (9, 1))
    model = classifier(activation=("gelu", "relu"), n_threads=1).fit(X, y)
    whole = model.input_gradient(rows)
    monkeypatch.setattr("fastmlp.cpu.share.WAKE_PRODUCTS", 1)
    for n_threads in (2, 3, 5):
        np.testing.assert_array_equal(model.set_params(n_threads=n_threads).input_gradient(rows), whole)
    for n_rows in (1, 2, 8, 600):
        np.testing.assert_array_equal(model.input_gradient(rows[:n_rows]), whole[:n_rows])


def test_dtype_of_an_input_gradient():
    model = regressor().fit(X.astype(np.float32), y)
    for rows in (X, X.astype(np.float32), np.ones((3, 4), int), SPARSE, SPARSE.astype(np.float32)):
        gradient = model.input_gradient(rows)
        assert gradient.dtype == model.predict(rows).dtype
        assert gradient.shape == rows.shape
    np.testing.assert_allclose(
        model.input_gradient(X.astype(np.float32)), model.input_gradient(X), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("model", "targets", "output", "message"),
    [
        (regressor(), NUMBERS, None, "output must be the number of an output of the network, from 0 to 2, got None"),
        (regressor(), NUMBERS, 3, "from 0 to 2, got 3"),
        (regressor(), NUMBERS, -1, "got -1"),
        (regressor(), y, 1, "from 0 to 0, got 1"),
        (regressor(), y, True, "got True"),
        (regressor(), y, 0.0, "got 0.0"),
        (classifier(), WORDS, "rosa", "must be one of the classes .*'versicolor'.*, got 'rosa'"),
        (classifier(), WORDS, 1, "must be one of the classes .*, got 1"),
        (classifier(), y, [1, 2], r"must be one of the classes .*, got \[1, 2\]"),
        (classifier(), LABELS, None, "number of a column of the labels, from 0 to 2, got None"),
        (classifier(), LABELS, 3, "got 3"),
    ],
)
def test_errors_of_a_choice_of_output(model, targets, output, message):
    with pytest.raises(ValueError, match=message):
        copy.deepcopy(model).fit(X, targets).input_gradient(X, output)


def test_errors_of_the_rows_are_those_of_a_prediction():
    for model, targets in ((classifier(), y), (regressor(), y)):
        with pytest.raises(NotFittedError):
            model.input_gradient(X)
        model = copy.deepcopy(model).fit(X, targets)
        for rows in (np.where(X > 1, np.nan, X), np.where(X > 1, np.inf, X), X[:, :3], X[0], X[:0]):
            with pytest.raises(ValueError) as predicted:  # noqa: PT011  compared below
                model.predict(rows)
            with pytest.raises(ValueError) as caught:  # noqa: PT011
                model.input_gradient(rows)
            assert str(caught.value) == str(predicted.value)


def test_same_input_gradient_as_pytorch():
    torch = pytorch.import_torch()
    model = classifier(activation=("gelu", "silu")).fit(X, y)
    rows = torch.from_numpy(X.copy()).requires_grad_()
    weights = [torch.from_numpy(array) for array in model.coefs_]
    biases = [torch.from_numpy(array) for array in model.intercepts_]
    hidden = torch.nn.functional.gelu(rows @ weights[0] + biases[0])
    hidden = torch.nn.functional.silu(hidden @ weights[1] + biases[1])
    scores = hidden @ weights[2] + biases[2]
    scores.max(dim=1).values.sum().backward()
    np.testing.assert_allclose(model.input_gradient(X), rows.grad.numpy(), rtol=1e-10, atol=1e-12)
