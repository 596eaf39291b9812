"""Initial weights: their variance, shape and order, and that the default's are scikit-learn's."""

import numpy as np
import pytest
from sklearn.datasets import load_iris

import fastmlp
from fastmlp.training.initialisation import INITIALISATIONS, draw_parameters

X, y = load_iris(return_X_y=True)
VARIANCE = {"glorot": lambda i, o: 2 / (i + o), "he": lambda i, o: 2 / i, "lecun": lambda i, o: 1 / i}


@pytest.mark.parametrize("shape", [(300, 200), (150, 400)])
@pytest.mark.parametrize("name", [name for name in INITIALISATIONS if name != "orthogonal"])
def test_variance(name, shape):
    (weight,), (bias,) = draw_parameters(shape, ["relu"], np.random.RandomState(0), np.float64, name)
    kind, distribution = name.split("_")
    variance = VARIANCE[kind](*shape)
    # the mean of n squares of a normal variable deviates by sqrt(2 / n), here below 0.6 %: five times that
    assert np.mean(weight**2) == pytest.approx(variance, rel=0.03)
    assert abs(np.mean(weight)) < 5 * np.sqrt(variance / weight.size)
    if distribution == "uniform":
        assert 0.999 * np.sqrt(3 * variance) < np.abs(weight).max() <= np.sqrt(3 * variance)
    else:
        assert np.abs(weight).max() > 3 * np.sqrt(variance)
    assert not bias.any()


@pytest.mark.parametrize("shape", [(7, 7), (20, 5), (5, 20), (1, 6), (6, 1)])
def test_orthogonal(shape):
    (weight,), _ = draw_parameters(shape, ["tanh"], np.random.RandomState(1), np.float64, "orthogonal")
    assert weight.shape == shape
    assert weight.flags.c_contiguous
    product = weight.T @ weight if shape[0] >= shape[1] else weight @ weight.T
    np.testing.assert_allclose(product, np.eye(min(shape)), atol=1e-14)


def test_orthogonal_has_no_preferred_sign():
    random = np.random.RandomState(0)
    corners = [INITIALISATIONS["orthogonal"](3, 3, random)[0, 0] for _ in range(400)]
    assert 150 < np.sum(np.array(corners) > 0) < 250  # five deviations from a half


def test_selu_is_drawn_as_it_was_made_for():
    def drawn(activation, name):
        return draw_parameters((4, 5, 3), [activation], np.random.RandomState(0), np.float64, name)[0]

    np.testing.assert_equal(drawn("selu", "auto"), drawn("relu", "lecun_normal"))
    assert not np.array_equal(drawn("selu", "auto")[0], drawn("relu", "auto")[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_estimator_starts_from_them(dtype):
    settings = {"hidden_layer_sizes": (8, 6), "random_state": 3, "weight_init": "he_normal", "solver": "sgd"}
    model = fastmlp.MLPClassifier(**settings, learning_rate_init=1e-30, max_iter=1).fit(X.astype(dtype), y)
    coefs, _ = draw_parameters((4, 8, 6, 3), ["relu"] * 2, np.random.RandomState(3), dtype, "he_normal")
    for weight, expected in zip(model.coefs_, coefs, strict=True):
        assert weight.dtype == dtype
        np.testing.assert_array_equal(weight, expected)


def test_an_unknown_name():
    with pytest.raises(ValueError, match=r"'weight_init' parameter of MLPClassifier must be .*'orthogonal'.* Got 'he'"):
        fastmlp.MLPClassifier(weight_init="he").fit(X, y)
