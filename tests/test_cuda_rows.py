"""Rows that are on the GPU before the fit, and rows that the GPU has no room for."""

import sys
import types
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from problems import make_network, make_problem, run
from scipy import sparse
from sklearn.metrics import accuracy_score

from fastmlp import MLPClassifier, MLPRegressor, check_gradient

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from fastmlp.cuda import engine as cuda_engine
from fastmlp.cuda import memory, predict, stream
from fastmlp.cuda.compiler import CudaAPIError, array_of
from fastmlp.cuda.engine import Engine
from fastmlp.cuda.rows import DeviceRows, rows_of, view_of
from fastmlp.estimators.gpu import is_on_gpu
from fastmlp.network import flatten

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class ByInterface:
    """An array of another library on the GPU; that of the simulator has the host's memory."""

    def __init__(self, array):
        self.array = array

    @property
    def __cuda_array_interface__(self):
        return self.array.__array_interface__


class ByDLPack:
    """One that only has DLPack."""

    def __init__(self, array, where=(2, 0)):
        self.array, self.where = array, where

    def __dlpack_device__(self):
        return self.where

    def __dlpack__(self, **keywords):
        return self.array.__dlpack__()


def make_rows(n_rows=9, dtype=np.float64):
    random = np.random.default_rng(0)
    X = random.normal(size=(n_rows, 3)).astype(dtype)
    return X, np.arange(n_rows) % 3, random.uniform(0.5, 2.0, size=n_rows)


def fitted(cls=MLPClassifier, X=None, y=None, weight=None, **settings):
    settings = {"hidden_layer_sizes": (4,), "max_iter": 1, "batch_size": 5, "device": "cuda", **settings}
    more = {name: settings.pop(name) for name in ("X_val", "y_val", "sample_weight_val") if name in settings}
    return cls(random_state=0, **settings).fit(X, y, weight, **more)


def assert_same_weights(some, other):
    np.testing.assert_array_equal(flatten(some.coefs_, some.intercepts_), flatten(other.coefs_, other.intercepts_))
    assert some.loss_ == other.loss_


def test_what_is_on_a_gpu():
    X = make_rows()[0]
    assert is_on_gpu(ByInterface(X))
    assert is_on_gpu(ByDLPack(X))
    assert not is_on_gpu(ByDLPack(X, (1, 0)))  # on the CPU, as NumPy's own
    for values in (X, X.tolist(), sparse.csr_array(X), None):
        assert not is_on_gpu(values)


@pytest.mark.parametrize("kind", [ByInterface, ByDLPack])
def test_used_in_place_or_converted(kind):
    X = make_rows()[0]
    rows = rows_of(view_of(kind(X)), X.dtype)
    X[2, 1] = 7.0
    assert rows.values.copy_to_host().reshape(X.shape)[2, 1] == 7.0
    columns, whole = X.T.copy().T, np.arange(6).reshape(2, 3)
    for other, dtype in [(X, np.float32), (columns, np.float64), (X[::2, 1:], np.float32), (whole, np.float64)]:
        rows = rows_of(view_of(kind(other)), np.dtype(dtype))
        assert rows.dtype == dtype
        np.testing.assert_array_equal(rows.values.copy_to_host().reshape(other.shape), other.astype(dtype))
        np.testing.assert_array_equal(rows[1:2].values.copy_to_host(), other[1].astype(dtype))
        taken = rows[np.array([1, 0, 1])]
        np.testing.assert_array_equal(taken.values.copy_to_host().reshape(3, -1), other[[1, 0, 1]].astype(dtype))
        assert taken.shape == (3, other.shape[1])


@pytest.mark.parametrize(
    ("cls", "settings"),
    [
        (MLPClassifier, {}),
        (MLPClassifier, {"early_stopping": True, "validation_fraction": 0.3}),
        (MLPClassifier, {"dtype": "float32"}),
        (MLPClassifier, {"device": "auto", "class_weight": "balanced"}),
        (MLPRegressor, {"augment": {"mixup": 0.3}}),
        (MLPRegressor, {"solver": "lbfgs", "activation": "tanh"}),
    ],
    ids=str,
)
def test_same_fit_as_from_the_host(cls, settings):
    X, y, weight = make_rows(9, np.float32 if settings.get("solver") == "lbfgs" else np.float64)
    theirs = fitted(cls, X, y, weight, **settings)
    ours = fitted(cls, ByInterface(X), ByInterface(y), ByInterface(weight), **settings)
    assert_same_weights(ours, theirs)
    assert ours.n_features_in_ == 3
    assert ours.coefs_[0].dtype == theirs.coefs_[0].dtype


def test_partial_fits_of_either_kind():
    X, y, _ = make_rows()
    settings = {"hidden_layer_sizes": (4,), "batch_size": 5, "device": "cuda", "random_state": 0}
    ours, theirs = MLPClassifier(**settings), MLPClassifier(**settings)
    for rows in (ByDLPack(X), X):
        ours.partial_fit(rows, y, classes=[0, 1, 2])
        theirs.partial_fit(X, y, classes=[0, 1, 2])
    assert_same_weights(ours, theirs)


@pytest.mark.parametrize("on_gpu", ["X_val", "X", "both"])
def test_validation_rows(on_gpu):
    X, y, weight = make_rows()
    X_val = X[:4] + 0.1

    def scorer(estimator, X, y):
        return accuracy_score(y, estimator.predict(X))

    settings = {"y_val": ByInterface(y[:4]), "sample_weight_val": ByInterface(weight[:4]), "scoring": [scorer, "loss"]}
    theirs = fitted(MLPClassifier, X, y, X_val=X_val, **settings)
    rows = X if on_gpu == "X_val" else ByInterface(X)
    ours = fitted(
        MLPClassifier, rows, y, X_val=X_val if on_gpu == "X" else ByInterface(X_val), output="input", **settings
    )
    assert_same_weights(ours, theirs)
    assert ours.validation_loss_curve_ == theirs.validation_loss_curve_
    assert ours.history_["validation_scorer"] == theirs.history_["validation_scorer"]


def test_every_prediction():
    X, y, weight = make_rows(6)
    labels = np.array(["a", "b", "c"])[y]
    on_cpu = {"device": "cpu"}  # which takes less time than the simulator
    models = [
        (
            fitted(MLPClassifier, X, y, **on_cpu),
            ["predict", "predict_proba", "predict_log_proba", "transform", "input_gradient"],
        ),
        (fitted(MLPClassifier, X, y > 1, **on_cpu), ["predict", "predict_proba", "input_gradient"]),
        (fitted(MLPClassifier, X, y, loss="hinge"), ["decision_function"]),
        (fitted(MLPClassifier, X, np.c_[y, y], loss="hinge"), ["decision_function", "predict"]),
        (fitted(MLPClassifier, X, y > 1, loss="hinge"), ["decision_function"]),
        (fitted(MLPRegressor, X, y, **on_cpu), ["predict", "transform", "input_gradient"]),
        (fitted(MLPRegressor, X, np.c_[y, weight], **on_cpu), ["predict"]),
        (fitted(MLPClassifier, X, labels, **on_cpu), ["predict"]),
    ]
    for model, methods in models:
        model.set_params(device="cuda")
        for method in methods:
            expected = getattr(model.set_params(output="numpy"), method)(X)
            results = [getattr(model, method)(ByDLPack(X)), getattr(model.set_params(output="input"), method)(X)]
            there = getattr(model, method)(ByInterface(X))
            if not isinstance(expected, list):
                expected, there, results = [expected], [there], [[result] for result in results]
            for result in results:
                for one, other in zip(result, expected, strict=True):
                    assert type(one) is np.ndarray
                    np.testing.assert_array_equal(one, other)
            for one, other in zip(there, expected, strict=True):
                assert (type(one) is np.ndarray) == (other.dtype.kind == "U")
                np.testing.assert_array_equal(one if other.dtype.kind == "U" else one.copy_to_host(), other)
                assert one.dtype == other.dtype


@pytest.mark.parametrize("output", ["numpy", "input"])
def test_score(output):
    X, y, weight = make_rows(6)
    for model in (fitted(MLPClassifier, X, y), fitted(MLPRegressor, X, y), fitted(MLPClassifier, X, np.c_[y, y])):
        expected = model.score(X, np.c_[y, y] if model.n_outputs_ == 6 else y, weight)
        labels = ByInterface(np.c_[y, y] if model.n_outputs_ == 6 else y)
        assert model.set_params(output=output).score(ByInterface(X), labels, ByInterface(weight)) == expected


@pytest.mark.parametrize("library", ["torch", "cupy"])
def test_output_of_the_library_of_the_input(library, monkeypatch):
    made = []
    module = types.ModuleType(library)
    module.as_tensor = lambda array, device: made.append((array, device)) or "a tensor"
    module.asarray = lambda array: made.append((array, None)) or "an array"
    monkeypatch.setitem(sys.modules, library, module)
    X, y, _ = make_rows()
    theirs = type("Array", (ByInterface,), {"__module__": f"{library}.somewhere", "device": "cuda:0"})(X)
    model = fitted(MLPRegressor, theirs, y, output="input")
    assert model.predict(theirs) == ("a tensor" if library == "torch" else "an array")
    np.testing.assert_array_equal(made[0][0].copy_to_host(), model.set_params(output="numpy").predict(X))
    assert made[0][1] == ("cuda:0" if library == "torch" else None)


@pytest.mark.parametrize(
    ("X", "y"),
    [
        (np.zeros(3), np.zeros(3)),
        (np.zeros(()), np.zeros(3)),
        (np.zeros((3, 2, 1)), np.zeros(3)),
        (np.zeros((0, 2)), np.zeros(0)),
        (np.zeros((3, 0)), np.zeros(3)),
        (np.zeros((3, 2)), np.zeros(4)),
        (np.array([[1.0], [np.nan], [np.inf]]), np.zeros(3)),
        (np.array([[1.0], [-np.inf], [2.0]], np.float32), np.zeros(3)),
        (np.array([[1.0], [1e300]]), np.zeros(2)),
        (np.zeros((3, 2)), np.array([0.0, np.nan, 1.0])),
        (np.zeros((3, 2)), None),
    ],
    ids=["1-D", "0-D", "3-D", "no rows", "no features", "lengths", "NaN", "inf", "overflow", "NaN in y", "no y"],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")  # in the simulator
def test_errors_are_those_of_the_host(X, y):
    messages = []
    for rows, targets in ((X, y), (ByInterface(X), y if y is None else ByInterface(y))):
        model = MLPRegressor(device="cuda", dtype="float32" if 1e300 in X else None)
        with pytest.raises(ValueError, match=r".") as error:
            model.fit(rows, targets)
        assert "n_features_in_" not in vars(model)
        messages.append(str(error.value))
    assert messages[0] == messages[1]


def test_errors_of_a_prediction_are_those_of_the_host():
    X, y, _ = make_rows()
    model = fitted(MLPClassifier, X, y)
    for wrong in (X[:, :2], X[0], X * np.nan):
        messages = []
        for rows in (wrong, ByDLPack(wrong)):
            with pytest.raises(ValueError, match=r".") as error:
                model.predict(rows)
            messages.append(str(error.value))
        assert messages[0] == messages[1]


def test_errors_name_both_sides():
    X, y, _ = make_rows()
    there = ByInterface(X)
    cudf = type("DataFrame", (), {"__module__": "cudf.core"})()

    class Refuses(ByDLPack):
        def __dlpack__(self, **keywords):
            raise BufferError("it is sparse")

    for message, rows, settings in [
        (r"X is a test_cuda_rows.ByInterface on a GPU, which device='cpu'", there, {"device": "cpu"}),
        (r"y is a test_cuda_rows.ByInterface on a GPU, which device='cpu'", X, {"device": "cpu", "y": ByInterface(y)}),
        (r"missing='zero' is for X on the host, and X is a ByInterface on a GPU", there, {"missing": "zero"}),
        (r"X is a cudf.core.DataFrame, but on a GPU .*X.to_cupy\(\)", cudf, {}),
        (r"X is a .*Refuses on a GPU, but gives no dense array there: it is sparse", Refuses(X), {}),
        (r"on GPU 3, but GPU 0 computes", ByDLPack(X, (2, 3)), {}),
        (r"float32, float64, integers or bool, got float16", ByInterface(X.astype(np.float16)), {}),
        (r"X_val is on a GPU, and X is a sparse matrix", sparse.csr_array(X), {"X_val": there, "y_val": y}),
        (r"functions of your own", there, {"activation": lambda z: z, "device": "auto"}),
        (r"The 'output' parameter of MLPClassifier must be a str among", X, {"output": "torch"}),
    ]:
        settings = {"y": y, **settings}
        with pytest.raises(ValueError, match=message):
            fitted(MLPClassifier, rows, **settings)
    model = fitted(MLPClassifier, X, y)
    with pytest.raises(ValueError, match="take device='cuda', or copy X to the host"):
        model.set_params(device="cpu").predict(there)
    with pytest.raises(ValueError, match="The 'output' parameter"):
        model.set_params(output="torch").predict(X)
    with pytest.raises(ValueError, match="function of your own"):  # trained on the CPU, where it predicts, too
        model.set_params(output="numpy", device="cuda", activation=lambda z: z).predict(there)


def test_gradient_is_checked_on_them():
    X, y, _ = make_rows(5, np.float32)
    model = MLPRegressor(hidden_layer_sizes=(2,), activation="tanh", device="cuda", random_state=0)
    assert check_gradient(model, ByInterface(X), y, n_parameters=4) < 1e-6


@pytest.fixture
def free(monkeypatch):
    """Set how many bytes of the GPU's memory are free, and count the rows of each chunk that is sent there."""
    sizes, send = [], stream.Stream._send

    def counted(self, chosen):
        sizes.append(len(chosen))
        return send(self, chosen)

    monkeypatch.setattr(stream.Stream, "_send", counted)

    def set_free(size, for_rows_only=False):
        if for_rows_only:  # so few that parameters, too, would not fit
            monkeypatch.setattr(cuda_engine, "check_fits", lambda *arguments, held=0: None)
        monkeypatch.setattr(memory, "free_memory", lambda: size)
        return sizes

    return set_free


def assert_same_streamed(network, free, n_rows=25, dtype=np.float64, kind="block", **settings):
    settings = {"batch": 4, "epochs": 1, **settings}
    problem = make_problem(network, n_rows, dtype)

    def on_gpu(network, dtype, n_threads):
        return Engine(network, dtype, kind=kind)

    expected = run(on_gpu, network, problem, dtype, **settings)
    X = sparse.csr_array(problem[0]) if settings.get("csr") else problem[0]
    size = stream.HostRows(X, problem[1], problem[2] if settings.get("weighted", True) else None).size
    sizes = free((size - 1) / memory.SHARE, for_rows_only=True)
    streamed = run(on_gpu, network, problem, dtype, **settings)
    for one, other in zip(streamed, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(sizes) >= 2
    assert sum(sizes) == n_rows * settings["epochs"]
    return sizes


@pytest.mark.parametrize(
    "settings",
    [
        {"csr": True},
        {"weighted": False, "kind": "shared"},
        {"max_norm": 0.1, "csr": True, "kind": "grid", "weighted": False},
        {"update": "sgd", "epochs": 2, "n_rows": 16},
    ],
    ids=str,
)
def test_streamed_rows(settings, free):
    network = replace(make_network((4, 6, 3), "log_loss"), dropout=(0.3,))
    assert_same_streamed(network, free, **settings)


def test_streamed_fit(free):
    X, y, weight = make_rows(60)
    theirs = fitted(MLPClassifier, X, y, weight)
    sizes = free(3000)
    assert_same_weights(fitted(MLPClassifier, X, y, weight), theirs)
    assert len(sizes) > 1


def test_streamed_rows_that_are_mixed(free):
    augment = {"mixup": 0.4, "jitter": 0.1, "drop_features": 0.2}
    assert_same_streamed(make_network((4, 6, 3), "soft_log_loss"), free, dtype=np.float32, augment=augment)


def test_streamed_batches_of_several_blocks_and_launches(free, monkeypatch):
    monkeypatch.setattr(cuda_engine, "MOST_ROWS", 4)
    monkeypatch.setattr(cuda_engine, "MOST_STEPS", 2)
    sizes = assert_same_streamed(make_network((4, 5, 3), "log_loss"), free, n_rows=35, batch=7)
    assert all(size % 7 == 0 for size in sizes)


def test_uneven_csr_rows(free):
    # a chunk ends where its rows fill it, and the largest rows may all come in one batch
    X = sparse.random_array((40, 30), density=0.1, rng=np.random.default_rng(0), format="csr")
    X = sparse.vstack([X, sparse.csr_array(np.ones((3, 30)))], "csr")
    rows = stream.HostRows(X, np.zeros((43, 1)), None)
    capacity, order = rows.largest_batch(4), np.random.default_rng(1).permutation(43)
    edges = rows.edges(order, np.arange(0, 43, 4), capacity)
    assert edges[0] == 0
    assert edges[-1] == 11
    assert len(edges) > 3
    sent = stream.Stream(rows, capacity)
    for first, last in pairwise(edges):
        assert first < last
        chosen = order[4 * first : 4 * last]
        there, _, weights, positions = sent._send(chosen)
        columns = there.entries.copy_to_host()[there.first_column :]
        np.testing.assert_array_equal(there.values.copy_to_host()[: X[chosen].nnz], X[chosen].data)
        np.testing.assert_array_equal(columns, X[chosen].indices)
        np.testing.assert_array_equal(positions.copy_to_host(), np.arange(len(chosen)))
        assert weights.size == 0


@pytest.mark.parametrize("csr", [False, True])
def test_predictions_in_parts_that_fit(csr, free, monkeypatch):
    network = make_network((4, 5, 3), "log_loss")
    X, targets, weight, parameters = make_problem(network, 40)
    X = sparse.csr_array(X) if csr else X
    errors = np.random.default_rng(0).normal(size=(40, 3))

    def by_engine():
        with Engine(network, np.dtype(np.float64)) as engine:
            engine.load(X, targets, weight)
            engine.set_parameters(*parameters)
            return engine.forward(X)

    edges, parts = [], predict._parts
    monkeypatch.setattr(predict, "_parts", lambda *arguments: edges.append(parts(*arguments)) or edges[-1])
    for size, function in [
        (6500, by_engine),
        (6500, lambda: predict.forward(network, *parameters, X)),
        (6500, lambda: predict.hidden_layer(network, *parameters, X)),
        (13500, lambda: predict.input_gradient(network, *parameters, X, errors)),
    ]:
        free(np.inf)
        expected = function()
        assert len(edges[-1]) == 2
        free(size)
        np.testing.assert_array_equal(function(), expected)
        assert len(edges[-1]) > 2


def test_too_little_memory(free):
    X, y, _ = make_rows(200)
    advice = "free. Take a smaller batch_size, smaller hidden_layer_sizes, or dtype='float32'."
    free(1000)
    with pytest.raises(MemoryError, match=r"the parameters need \d,\d{3} bytes, 900 are " + advice):
        fitted(MLPClassifier, X, y)
    free(6000)
    with pytest.raises(
        MemoryError, match=r"the parameters and batches of 150 rows need \d\d,\d{3} bytes, .* " + advice
    ):
        fitted(MLPClassifier, X, y, batch_size=150)
    free(np.inf)
    model = fitted(MLPClassifier, X[:9], y[:9])
    free(1000)
    with pytest.raises(MemoryError, match=r"the units of the rows need \d,\d{3} bytes, 900 are " + advice):
        model.predict(X)


def test_the_drivers_error(monkeypatch):
    def upload(X):
        error = CudaAPIError("no memory")
        error.code = code
        raise error

    X, y, _ = make_rows()
    monkeypatch.setattr(predict, "upload", upload)
    monkeypatch.setattr(cuda_engine, "upload", upload)
    model = fitted(MLPClassifier, X, y, device="cpu").set_params(device="cuda")
    code = 2
    for call in (lambda: fitted(MLPClassifier, X, y), lambda: model.predict(X), lambda: model.input_gradient(X)):
        with pytest.raises(MemoryError, match=r"has no memory left.* Take a smaller batch_size"):
            call()
    code = 1
    with pytest.raises(CudaAPIError):
        model.predict(X)


def test_rows_are_an_array_for_others():
    X = make_rows()[0]
    rows = DeviceRows(array_of(ByInterface(X)).ravel(), X.shape)
    np.testing.assert_array_equal(array_of(rows).copy_to_host(), X)
    assert len(rows) == 9
