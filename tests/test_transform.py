"""The last hidden layer as features for other models."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import reference
from fastmlp.cpu.forward import FEW_PRODUCTS, FEW_ROWS
from fastmlp.cpu.layout import BLOCK_ROWS
from fastmlp.cpu.saliency import hidden_layer
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.network import Network, unflatten

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
SPARSE = csr_array(np.where(np.abs(X) < 0.7, 0, X))


@pytest.fixture(params=["MLPClassifier", "MLPRegressor"])
def estimator(request):
    def make(**settings):
        settings = {"hidden_layer_sizes": (8, 6), "max_iter": 5, "random_state": 0, **settings}
        return getattr(fastmlp, request.param)(**settings)

    return make


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("hidden", [(7,), (9, 3, 18)], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_transform_gives_the_last_hidden_layer(estimator, activation, hidden):
    model = estimator(activation=activation, hidden_layer_sizes=hidden, dropout=0.2).fit(X, y)  # in training only
    for rows in (X, SPARSE):
        activations = rows.toarray() if rows is SPARSE else rows
        for coef, intercept in zip(model.coefs_[:-1], model.intercepts_[:-1], strict=True):
            activations = reference.ACTIVATIONS[activation](activations @ coef + intercept)
        transformed = model.transform(rows)
        assert type(transformed) is np.ndarray
        np.testing.assert_allclose(transformed, activations, rtol=1e-12, atol=1e-14)


@pytest.mark.usefixtures("each_engine")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_output_layer_makes_predictions_of_it(dtype):
    """Predictions are what the last weights make of the features, also with an activation for each layer."""
    model = fastmlp.MLPRegressor("poisson", (30, 20), ("gelu", "relu"), max_iter=5, random_state=0).fit(
        X.astype(dtype), y
    )
    features = model.transform(X.astype(dtype))
    assert features.dtype == dtype
    assert (features >= 0).all()
    expected = np.exp(features @ model.coefs_[-1] + model.intercepts_[-1])
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(model.predict(X.astype(dtype)), expected[:, 0], rtol=0, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(3, 1, 2), (11, 37, 3), (11, 37, 20, 16, 1)], ids=str)
def test_same_bits_for_any_number_of_rows_and_threads(monkeypatch, widths, dtype, random):
    network = Network(widths, (*("relu", "tanh", "mish")[2 - len(widths) :], "identity"), "squared_error")
    parameters = unflatten(random.normal(size=network.n_parameters).astype(dtype), widths)
    rows = random.normal(size=(2 * BLOCK_ROWS + 21, widths[0])).astype(dtype)
    whole = hidden_layer(network, *parameters, rows)
    expected = reference.hidden_layer(network, *parameters, rows)
    assert whole.dtype == dtype
    tolerance = (1e-4 if dtype == np.float32 else 1e-12) * np.abs(expected).max()
    np.testing.assert_allclose(whole, expected, rtol=0, atol=tolerance)
    np.testing.assert_allclose(hidden_layer(network, *parameters, csr_array(rows)), expected, rtol=0, atol=tolerance)
    few = min(FEW_PRODUCTS // network.without_output().n_parameters, BLOCK_ROWS)
    for n_rows in (1, 5, FEW_ROWS, FEW_ROWS + 1, few, few + 1, BLOCK_ROWS + 1):
        np.testing.assert_array_equal(hidden_layer(network, *parameters, rows[:n_rows]), whole[:n_rows])
    monkeypatch.setattr("fastmlp.cpu.share.WAKE_PRODUCTS", 1)
    for n_threads in (2, 3):
        np.testing.assert_array_equal(hidden_layer(network, *parameters, rows, n_threads), whole)


@pytest.mark.usefixtures("each_engine")
def test_features_for_another_model():
    digits, labels = load_digits(return_X_y=True)
    network = fastmlp.MLPClassifier((40, 20), random_state=0, max_iter=100)
    pipeline = make_pipeline(StandardScaler(), network, LogisticRegression(max_iter=500))
    assert pipeline.fit(digits[:1000], labels[:1000]).score(digits[1000:], labels[1000:]) > 0.9
    assert pipeline[-1].n_features_in_ == 20
    search = GridSearchCV(
        make_pipeline(clone(network).set_params(max_iter=3), KNeighborsRegressor()),
        {"mlpclassifier__hidden_layer_sizes": [(3,), (4, 2)]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_estimator_[-1].n_features_in_ in (2, 3)


def test_beside_other_features(estimator):
    union = FeatureUnion([("network", estimator()), ("scaler", StandardScaler())])
    assert union.fit_transform(X, y).shape == (150, 10)
    prefix = type(estimator()).__name__.lower()
    assert list(union.get_feature_names_out())[5:7] == [f"network__{prefix}5", "scaler__x0"]


def test_fit_transform_is_fit_and_transform(estimator):
    weight = np.linspace(0.1, 2, len(y))
    model = estimator()
    features = model.fit_transform(X, y, sample_weight=weight)
    np.testing.assert_array_equal(features, model.transform(X))
    np.testing.assert_array_equal(features, estimator().fit(X, y, weight).transform(X))


def test_names_and_frames(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"), index=np.arange(len(X)) + 1000)
    model = estimator().fit(frame, y)
    names = [f"{type(model).__name__.lower()}{unit}" for unit in range(6)]
    assert list(model.get_feature_names_out()) == names
    assert list(model.get_feature_names_out(list("abcd"))) == names
    with pytest.raises(ValueError, match="input_features is not equal to feature_names_in_"):
        model.get_feature_names_out(list("abce"))
    plain = model.transform(frame)
    assert type(plain) is np.ndarray
    transformed = model.set_output(transform="pandas").transform(frame)
    assert list(transformed.columns) == names
    assert transformed.index.equals(frame.index)
    np.testing.assert_array_equal(transformed.to_numpy(), plain)
    assert list(estimator().set_output(transform="pandas").fit_transform(frame, y).columns) == names
    assert type(model.predict(frame)) is np.ndarray


def test_dtype(estimator):
    for passed, dtype, expected in [
        (X, None, np.float64),
        (X.astype(np.float32), None, np.float32),
        (X.astype(np.float32), "float64", np.float64),
        (X, "float32", np.float32),
        (SPARSE.astype(np.float32), None, np.float32),
        (np.arange(12).reshape(3, 4), None, np.float64),
    ]:
        model = estimator(dtype=dtype).fit(passed, np.arange(passed.shape[0]) % 2)
        assert model.transform(passed).dtype == expected


def test_no_hidden_layer(estimator):
    model = estimator(hidden_layer_sizes=()).fit(X, y)
    for method, argument in ((model.transform, X), (model.get_feature_names_out, None)):
        with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(\) has none: give it at least one layer"):
            method(argument)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(\)"):
        make_pipeline(model, LogisticRegression()).fit(X, y)


def test_errors_are_those_of_a_prediction(estimator):
    with pytest.raises(NotFittedError):
        estimator().transform(X)
    with pytest.raises(NotFittedError):
        estimator().get_feature_names_out()
    model = estimator().fit(X, y)
    for rows in (np.where(X > 1, np.nan, X), np.where(X > 1, np.inf, X), X[:, :3], X[0], X[:0]):
        with pytest.raises(ValueError) as predicted:  # noqa: PT011  compared below
            model.predict(rows)
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            model.transform(rows)
        assert str(caught.value) == str(predicted.value)
