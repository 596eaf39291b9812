"""The estimators' parameter `device`: the same fits on a GPU (here its simulator), and errors where there is none."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris

from fastmlp import MLPClassifier, MLPRegressor, check_gradient
from fastmlp.training import device

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Setting penalty"),
]

X, y = load_iris(return_X_y=True)
X, y = X[::6] - X.mean(axis=0), y[::6]
SMALL = {"max_iter": 3, "batch_size": 9, "random_state": 0}


def both(estimator, hidden, **settings):
    """Return an estimator for each device."""
    return [estimator(hidden_layer_sizes=hidden, device=where, **(SMALL | settings)) for where in ("cpu", "cuda")]


def assert_same(one, other, rows=X):
    """Check that two fits are the same but for the order of sums."""
    for ours, theirs in zip([*one.coefs_, *one.intercepts_], [*other.coefs_, *other.intercepts_], strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(other.loss_, one.loss_, rtol=1e-9)
    np.testing.assert_allclose(other.predict(rows), one.predict(rows), rtol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "lbfgs"},
        {"early_stopping": True, "scoring": "accuracy", "n_iter_no_change": 1},
        {"learning_rate": "cosine", "solver": "sgd", "warmup_epochs": 1},
        {"dropout": 0.3, "max_grad_norm": 0.1, "solver": "nadam"},
        {"augment": {"jitter": 0.1, "mixup": 0.4}},
        {"batch_size": "full", "gradient_tol": 1e-3},
        {"class_weight": "balanced", "label_smoothing": 0.1},
        {"loss": "hinge", "activation": "gelu"},
    ],
    ids=lambda settings: ", ".join(settings) or "defaults",
)
def test_the_same_curve(settings):
    ours, theirs = (model.fit(X, y) for model in both(MLPClassifier, (5, 3), **settings))
    assert_same(ours, theirs)
    if settings.get("solver") != "lbfgs":
        np.testing.assert_allclose(theirs.loss_curve_, ours.loss_curve_, rtol=1e-9)
        assert theirs.history_.keys() == ours.history_.keys()


def test_regression_on_sparse_rows_with_weights():
    targets, weight = X[:, :2] ** 2, np.linspace(0, 1, len(X))
    rows = sparse.csr_array(np.maximum(X, 0))
    ours, theirs = (
        model.fit(rows, targets, sample_weight=weight) for model in both(MLPRegressor, (4,), activation="tanh")
    )
    assert_same(ours, theirs, rows)
    np.testing.assert_allclose(theirs.transform(rows), ours.transform(rows), rtol=1e-9)
    np.testing.assert_allclose(
        theirs.input_gradient(rows, output=1), ours.input_gradient(rows, output=1), rtol=1e-9, atol=1e-12
    )


def test_partial_fits_and_warm_starts():
    ours, theirs = both(MLPClassifier, (4,), keep_optimizer=True, warm_start=True)
    for model in (ours, theirs):
        model.fit(X, y)
        model.partial_fit(X, y)
        model.fit(X[::-1], y[::-1])
    assert_same(ours, theirs)


def test_a_training_may_change_its_device():
    ours, theirs = (model.partial_fit(X, y, classes=[0, 1, 2]) for model in both(MLPClassifier, (4,)))
    theirs.set_params(device="cpu")
    assert_same(ours.partial_fit(X, y), theirs.partial_fit(X, y))


def test_gradient_check():
    assert (
        check_gradient(MLPClassifier((3,), "tanh", random_state=0, device="cuda"), X[:5], y[:5], n_parameters=6) < 1e-6
    )


def test_float32():
    model = MLPClassifier((4,), device="cuda", dtype="float32", **SMALL).fit(X, y)
    assert model.coefs_[0].dtype == np.float32
    assert model.predict_proba(X).dtype == np.float32
    other = MLPClassifier((4,), dtype="float32", **SMALL).fit(X, y)
    np.testing.assert_allclose(model.coefs_[0], other.coefs_[0], rtol=1e-4, atol=1e-6)


def no_gpu(monkeypatch):
    from fastmlp.cuda import compiler

    monkeypatch.setattr(compiler, "available", lambda: False)


def test_a_model_of_a_gpu_predicts_where_there_is_none(monkeypatch):
    model = MLPClassifier((4,), device="cuda", **SMALL).fit(X, y)
    expected = model.predict_proba(X)
    no_gpu(monkeypatch)
    np.testing.assert_allclose(pickle.loads(pickle.dumps(model)).predict_proba(X), expected, rtol=1e-9)


def test_errors_name_what_is_missing(monkeypatch):
    model = MLPClassifier((4,), device="cuda", **SMALL)
    with monkeypatch.context() as patch:
        no_gpu(patch)
        with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU .* take device='cpu'"):
            model.fit(X, y)
    with monkeypatch.context() as patch:
        patch.setattr(device, "find_spec", lambda name: None)
        with pytest.raises(ImportError, match=r"extra 'cuda'.*pip install 'fastmlp\[cuda\]'"):
            model.fit(X, y)
    assert not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match="'device' parameter of MLPClassifier must be a str among"):
        model.set_params(device="gpu").fit(X, y)


@pytest.mark.parametrize(
    "settings", [{"activation": np.sin}, {"augment": lambda row, uniform: None}], ids=["activation", "augment"]
)
def test_functions_of_the_user_are_for_the_cpu(settings):
    with pytest.raises(ValueError, match="device='cuda' has no functions of your own"):
        MLPClassifier((4,), device="cuda", **SMALL, **settings).fit(X, y)


def test_auto(monkeypatch):
    made = []
    make_engine = device.make_engine
    monkeypatch.setattr(
        device, "make_engine", lambda *args, **more: made.append(more["device"]) or make_engine(*args, **more)
    )
    model = MLPClassifier((3,), device="auto", **SMALL).fit(X, y)
    assert made == ["cuda"]
    model.set_params(activation=lambda z: z * z).fit(X, y)  # which a GPU has not
    assert made == ["cuda", "cpu"]
    no_gpu(monkeypatch)
    model.set_params(activation="relu").fit(X, y)
    assert made == ["cuda", "cpu", "cpu"]


def test_auto_predicts_on_a_gpu_only_if_that_is_worth_it(monkeypatch):
    from fastmlp.cuda import predict

    forward, on_gpu = predict.forward, []
    monkeypatch.setattr(predict, "forward", lambda *args, **more: on_gpu.append(len(args[3])) or forward(*args, **more))
    model = MLPClassifier((3,), device="auto", **SMALL).fit(X, y)
    model.predict(X)
    assert on_gpu == []
    monkeypatch.setattr(device, "WORK_WORTH_A_GPU", len(X) * 20)
    model.predict(X)
    model.predict(X[:1])
    assert on_gpu == [len(X)]
