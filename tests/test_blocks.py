"""shuffle="blocks": rows that are read in blocks, from memory, from memory maps and from arrays that are files."""

import copy
import importlib.util
import json
import math
import sys

import numpy as np
import pytest
from scipy import sparse

import fastmlp
from benchmarks.common import run_module
from fastmlp import MLPClassifier, MLPRegressor, check_gradient, fit_many
from fastmlp.estimators import stored
from fastmlp.training import blocks
from fastmlp.training.shuffle import Blocks, Shuffle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ROWS, FEATURES, BLOCK, GROUP = 203, 6, 8, 40


class Table:
    """The least that an array is that is read in parts; it keeps what was read of it."""

    def __init__(self, X, chunks=None):
        self._X, self.shape, self.dtype, self.read = X, X.shape, X.dtype, []
        if chunks is not None:
            self.chunks = chunks

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert 0 <= rows.start <= rows.stop <= self.shape[0]
        self.read.append((rows.start, rows.stop))
        return self._X[rows].copy()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Make blocks of BLOCK rows of float64, and groups of GROUP rows."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", BLOCK * FEATURES * 8)
    monkeypatch.setattr(blocks, "GROUP_BYTES", GROUP * FEATURES * 8)
    monkeypatch.setattr(stored, "PREDICTED_BYTES", 30 * FEATURES * 8)


@pytest.fixture
def data(random):
    X = random.normal(size=(ROWS, FEATURES))
    return X, (X[:, 0] + X[:, 1] ** 2 > 0.7).astype(int) + (X[:, 2] > 1)


@pytest.fixture
def on_disk(tmp_path):
    def write(X, order="C"):
        there = np.memmap(tmp_path / f"rows{len(list(tmp_path.iterdir()))}", X.dtype, "w+", shape=X.shape, order=order)
        there[...] = X
        there.flush()
        return np.memmap(there.filename, X.dtype, "r", shape=X.shape, order=order)

    return write


def classifier(**settings):
    return MLPClassifier((7,), **{"max_iter": 3, "random_state": 0, "shuffle": "blocks", "batch_size": 16, **settings})


def assert_same(model, other):
    """Compare all that was learnt, bit for bit."""
    for one, two in zip((*model.coefs_, *model.intercepts_), (*other.coefs_, *other.intercepts_), strict=True):
        np.testing.assert_array_equal(one, two)
    assert model.loss_curve_ == other.loss_curve_
    assert model.validation_scores_ == other.validation_scores_
    assert model.t_ == other.t_


@pytest.mark.parametrize("n_rows", [1, 7, 8, 9, 40, 41, 203, 1000])
@pytest.mark.parametrize("together", [1, 3, 5, 1000])
def test_order_has_each_row_once_and_whole_blocks(n_rows, together):
    parts = Blocks(np.append(np.arange(0, n_rows, BLOCK), n_rows), together)
    shuffle = Shuffle(n_rows, np.random.RandomState(0), parts)
    orders = [shuffle.next().copy() for _ in range(2)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(n_rows))
    assert shuffle.groups[0] == 0
    assert shuffle.groups[-1] == n_rows
    assert len(shuffle.groups) - 1 == math.ceil(math.ceil(n_rows / BLOCK) / together)
    for first, last in zip(shuffle.groups[:-1], shuffle.groups[1:], strict=True):
        of_group, counts = np.unique(orders[1][first:last] // BLOCK, return_counts=True)
        assert len(of_group) <= together
        np.testing.assert_array_equal(counts, [min(BLOCK, n_rows - BLOCK * block) for block in of_group])
    again = Shuffle(n_rows, np.random.RandomState(0), parts)
    for order in orders:
        np.testing.assert_array_equal(order, again.next())
    if n_rows > 40:
        assert (orders[0] != orders[1]).any()


def test_order_mixes_the_rows_of_a_group():
    edges = np.arange(0, 2001, 10)
    order = Shuffle(2000, np.random.RandomState(3), Blocks(edges, 20)).next()
    assert 0 < np.mean(np.diff(order) == 1) < 0.05
    assert len(np.unique(order[:100] // 10)) > 18  # of the 20 blocks in the group
    assert np.ptp(order[:200]) > 1500  # and these are from everywhere


def test_blocks_are_of_whole_chunks():
    X = np.zeros((1000, FEATURES))
    assert blocks.StoredRows(Table(X), X.dtype).block_rows == BLOCK
    assert blocks.StoredRows(Table(X), np.dtype("float32")).block_rows == 2 * BLOCK
    for chunks, rows in [((5, 2), 10), ((8, 6), 8), ((100, 6), 100), (((30, 70), (6,)), 30)]:
        assert blocks.StoredRows(Table(X, chunks), X.dtype).block_rows == rows
    together = blocks.blocks_of(blocks.StoredRows(Table(X, (100, 6)), X.dtype), None, 1000, 16).together
    assert together == blocks.LEAST_BLOCKS


SETTINGS = {
    "plain": {},
    "batches of one row": {"batch_size": 1, "max_iter": 1},
    "batch as large as a block": {"batch_size": BLOCK},
    "odd batches": {"batch_size": 37},
    "batch larger than a group": {"batch_size": 90},
    "full batch": {"batch_size": "full"},
    "float32": {"dtype": "float32"},
    "early stopping": {"early_stopping": True},
    "early stopping by the loss": {"early_stopping": True, "scoring": "loss", "validation_fraction": 0.4},
    "class weights": {"class_weight": "balanced"},
    "dropout": {"dropout": 0.3},
    "mixup": {"augment": {"mixup": 0.4, "jitter": 0.1}},
    "schedule": {"learning_rate": "cosine", "warmup_epochs": 1},
    "sgd": {"solver": "sgd", "max_grad_norm": 0.1},
    "until it converges": {"max_iter": 200, "tol": 0.01, "n_iter_no_change": 2},
}


@pytest.mark.parametrize("case", SETTINGS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.usefixtures("each_engine")
def test_files_give_the_bits_of_an_array(data, on_disk, case, weighted, random):
    X, y = data
    weight = random.uniform(0.1, 3, ROWS) if weighted else None
    expected = classifier(**SETTINGS[case]).fit(X, y, weight)
    table = Table(X)
    for rows in (on_disk(X), on_disk(X, "F"), table):
        assert_same(classifier(**SETTINGS[case]).fit(rows, y, weight), expected)
    assert max(last - first for first, last in table.read) <= 2 * BLOCK  # of float32 twice as many
    if not SETTINGS[case].get("early_stopping"):
        assert sum(last - first for first, last in table.read) == ROWS * expected.n_iter_


def test_blocks_are_another_order(data):
    X, y = data
    curves = [classifier(shuffle=shuffle).fit(X, y).loss_curve_ for shuffle in ("blocks", True, False)]
    assert curves[0] != curves[1]
    assert curves[0] != curves[2]


@pytest.mark.parametrize("stored_dtype", ["float32", "float64", "float16", "int16", "uint8", "bool", ">f8"])
@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
def test_rows_are_converted_as_they_are_read(data, on_disk, stored_dtype, dtype):
    X, y = data
    X = (10 * X).astype(stored_dtype) if stored_dtype != "uint8" else np.abs(10 * X).astype(np.uint8)
    expected = classifier(dtype=dtype).fit(X, y)
    for rows in (on_disk(X), Table(X)):
        model = classifier(dtype=dtype).fit(rows, y)
        assert_same(model, expected)
        assert model.coefs_[0].dtype == expected.coefs_[0].dtype
        np.testing.assert_array_equal(model.predict_proba(rows), expected.predict_proba(X))


def test_threads_and_repetition(data):
    X, y = data
    expected = classifier(n_threads=1).fit(Table(X), y)
    for n_threads in (1, 2, 3):
        assert_same(classifier(n_threads=n_threads).fit(Table(X), y), expected)


@pytest.mark.usefixtures("each_engine")
def test_regressor_of_several_outputs(data, random):
    X, _ = data
    Y = np.stack([X[:, 0], X[:, 1] * X[:, 2], random.normal(size=ROWS)], axis=1)
    models = [
        MLPRegressor("squared_error", (5,), max_iter=3, batch_size=20, shuffle="blocks", random_state=1).fit(rows, Y)
        for rows in (X, Table(X))
    ]
    assert_same(*models)
    np.testing.assert_array_equal(models[1].predict(Table(X)), models[0].predict(X))
    assert models[1].score(Table(X), Y) == models[0].score(X, Y)


@pytest.mark.usefixtures("each_engine")
def test_partial_fit_and_warm_start(data):
    X, y = data
    expected, model = (classifier(warm_start=True, keep_optimizer=True, max_iter=2) for _ in range(2))
    for rows, one in ((X, expected), (Table(X), model)):
        one.fit(rows, y).fit(rows, y).partial_fit(rows, y)
    assert_same(model, expected)
    assert len(model.loss_curve_) == 5


def test_sparse_rows_in_blocks(data):
    X, y = data
    X = np.where(X > 0.5, X, 0)
    model = classifier().fit(sparse.csr_array(X), y)
    assert_same(model, classifier().fit(sparse.csr_array(X), y))
    assert model.loss_curve_ != classifier(shuffle=True).fit(sparse.csr_array(X), y).loss_curve_


def test_fit_many_in_blocks(data, on_disk):
    X, y = data
    index = np.flatnonzero(np.arange(ROWS) % 5)
    for early_stopping in (False, True):
        models = [classifier(early_stopping=early_stopping) for _ in range(3)]
        assert fit_many(models, on_disk(X), y, [index, index[::-1], None]) == [None] * 3
        for model, rows in zip(models, (index, index[::-1], slice(None)), strict=True):
            assert_same(model, classifier(early_stopping=early_stopping).fit(X[rows], y[rows]))


def test_validation_rows_in_a_file(data, on_disk):
    X, y = data
    seen = []

    def mean_probability(model, rows, labels):
        seen.append(type(rows))
        return model.predict_proba(rows)[np.arange(len(labels)), labels].mean()

    for scoring in (None, "loss", "neg_log_loss", mean_probability):
        curves = []
        for rows in (X, on_disk(X), Table(X)):
            model = classifier(scoring=scoring, early_stopping=True).fit(rows, y, X_val=rows, y_val=y)
            curves.append((model.validation_scores_, model.validation_loss_curve_, model.loss_curve_))
        assert curves[0] == curves[1] == curves[2]
    assert seen[-1] is blocks.StoredRows


METHODS = ["predict", "predict_proba", "predict_log_proba", "transform", "input_gradient"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shuffle", [True, "blocks"])
def test_predictions_in_blocks(data, on_disk, method, shuffle):
    X, y = data
    model = classifier(shuffle=shuffle).fit(X, y)
    expected = getattr(model, method)(X)
    table = Table(X)
    for rows in (on_disk(X), table):
        np.testing.assert_array_equal(getattr(model, method)(rows), expected)
    assert max(last - first for first, last in table.read) == 30
    assert model.score(table, y) == model.score(X, y)


def test_transform_gives_frames_of_a_file(data):
    X, y = data
    model = classifier().fit(X, y).set_output(transform="pandas")
    frame = model.transform(Table(X))
    assert frame.shape == (ROWS, 7)
    np.testing.assert_array_equal(frame.to_numpy(), model.set_output(transform="default").transform(X))


def test_decision_function_of_a_file(data):
    X, y = data
    model = classifier(loss="hinge").fit(Table(X), y)
    np.testing.assert_array_equal(model.decision_function(Table(X)), model.decision_function(X))


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.usefixtures("each_engine")
def test_what_is_not_finite_is_named(data, on_disk, wrong):
    X, y = data
    model = classifier().fit(X, y)
    before = copy.deepcopy(vars(model))
    bad = X.copy()
    bad[[190, 191], 3] = wrong  # of one block
    name = "NaN" if np.isnan(wrong) else "infinity"
    for rows in (on_disk(bad), Table(bad)):
        with pytest.raises(ValueError, match=f"Input X contains {name}.* row 190"):
            model.fit(rows, y)
        with pytest.raises(ValueError, match=f"X, row 190: Input X contains {name}"):
            model.predict(rows)
    assert model.loss_curve_ == before["loss_curve_"]
    np.testing.assert_array_equal(model.coefs_[0], before["coefs_"][0])


def test_too_large_for_float32(data):
    X, y = data
    bad = X.copy()
    bad[77, 0] = 1e300
    with pytest.raises(ValueError, match=r"too large for dtype\('float32'\), in row 77"):
        classifier(dtype="float32").fit(Table(bad), y)
    bad = np.full_like(X, 1e38)  # whose sum is too large, and they are not
    bad[::2] *= -1
    rows = blocks.StoredRows(Table(np.abs(bad)), np.dtype("float32"))[0:50]
    np.testing.assert_array_equal(rows, np.float32(1e38))


def test_missing_numbers(data):
    X, y = data
    X = np.where(X > 1.5, np.nan, X)
    expected = classifier(missing="zero").fit(X, y)
    assert_same(classifier(missing="zero").fit(Table(X), y), expected)
    np.testing.assert_array_equal(expected.predict_proba(Table(X)), expected.predict_proba(X))
    with pytest.raises(ValueError, match=r"missing='indicator' needs X in memory.*missing='zero'"):
        classifier(missing="indicator").fit(Table(X), y)
    model = classifier(missing="indicator", shuffle=True).fit(X, y)
    np.testing.assert_array_equal(model.predict_proba(Table(X)), model.predict_proba(X))


def test_combinations_that_are_refused(data, on_disk, monkeypatch):
    X, y = data
    with pytest.raises(ValueError, match=r"solver='lbfgs' takes all rows at once, got shuffle='blocks'"):
        classifier(solver="lbfgs").fit(X, y)
    with pytest.raises(ValueError, match=r"device='cuda' needs X in memory, and X is a .*Table of float64"):
        classifier(device="cuda").fit(Table(X), y)
    with pytest.raises(ValueError, match=r"'shuffle' parameter of MLPClassifier must be"):
        classifier(shuffle="block").fit(X, y)
    monkeypatch.setattr(stored, "MOST_WHOLE_BYTES", X.nbytes - 1)
    with pytest.raises(ValueError, match=r"would be read into memory with shuffle=True .*take shuffle='blocks'"):
        classifier(shuffle=True).fit(Table(X), y)
    with pytest.raises(ValueError, match=r"solver='lbfgs': pass np.asarray\(X\)"):
        classifier(shuffle=True, solver="lbfgs").fit(Table(X), y)
    assert_same(classifier(shuffle=True).fit(on_disk(X), y), classifier(shuffle=True).fit(X, y))


@pytest.mark.parametrize("settings", [{"shuffle": True}, {"shuffle": False}, {"shuffle": True, "solver": "lbfgs"}])
def test_small_files_are_read_whole_without_blocks(data, settings):
    X, y = data
    model, expected = (classifier(**settings).fit(rows, y) for rows in (Table(X), X))
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


def test_gpu_takes_a_memory_map_as_an_array(data, on_disk):
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda, of the extra cuda, is not installed")
    X, y = data
    X, y = X[:60, :2].astype("float32"), y[:60]
    settings = {"device": "cuda", "max_iter": 1, "batch_size": 20}
    expected = classifier(**settings).fit(X, y)
    assert_same(classifier(**settings).fit(on_disk(X), y), expected)
    on_cpu = classifier(**(settings | {"device": "cpu"})).fit(X, y)
    np.testing.assert_allclose(on_cpu.loss_curve_, expected.loss_curve_, rtol=1e-5)


def test_gradient_of_rows_in_a_file(data, on_disk):
    X, y = data
    assert check_gradient(classifier(activation="tanh"), on_disk(X), y) < 1e-6
    assert check_gradient(classifier(activation="tanh"), Table(X), y) < 1e-6


def test_validation_rows_of_another_kind(data):
    X, y = data
    expected = classifier().fit(X, y, X_val=X[:50], y_val=y[:50])
    for rows, validation in ((Table(X), X[:50]), (X, Table(X[:50])), (Table(X), sparse.csr_array(X[:50]))):
        model = classifier().fit(rows, y, X_val=validation, y_val=y[:50])
        assert_same(model, expected)
        assert model.validation_loss_curve_ == expected.validation_loss_curve_
    model = classifier().fit(sparse.csr_array(X), y, X_val=Table(X[:50]), y_val=y[:50])
    np.testing.assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_)


def test_wrong_shapes(data):
    X, y = data
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(Table(X), y[:-1])
    for rows in (X[:0], X[:, :0]):
        with pytest.raises(ValueError, match="Found array with 0"):
            classifier().fit(Table(rows), y[: len(rows)])
    model = classifier().fit(X, y)
    for method in (model.partial_fit, lambda rows, y: model.predict(rows)):
        with pytest.raises(ValueError, match="X has 5 features, but MLPClassifier is expecting 6"):
            method(Table(X[:, :5]), y)
    short = Table(X)
    short._X = X[:-1]
    with pytest.raises(ValueError, match=r"must have the shape \(3, 6\), as X has \(203, 6\)"):
        classifier().fit(short, y)


@pytest.mark.parametrize("dtype", [complex, "U3", object])
def test_what_are_no_numbers(data, dtype):
    X, y = data
    with pytest.raises(ValueError, match=r"Complex data not supported|X must be of numbers, got a .*Table of"):
        classifier().fit(Table(X.astype(dtype)), y)


def test_interrupted_while_it_reads(data):
    X, y = data
    table, read = Table(X), blocks.StoredRows.read

    def interrupted(self, out, first, last):
        if len(table.read) > 2 * -(-ROWS // BLOCK) + 5:
            raise KeyboardInterrupt
        read(self, out, first, last)

    model = classifier(max_iter=10)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks.StoredRows, "read", interrupted)
        with pytest.warns(UserWarning, match="Training interrupted by user"):
            model.fit(table, y)
    assert model.loss_curve_ == classifier(max_iter=2).fit(X, y).loss_curve_


def test_memory_does_not_grow_with_the_file():
    if sys.platform != "linux":
        pytest.skip("only Linux tells how much anonymous memory a process holds")
    cases = ["np.memmap", "file read by seeking", "np.memmap, computed in float64, shuffle=True"]
    arguments = [word for case in cases for word in ("--case", case)]
    report = json.loads(run_module("benchmarks.stored", "--quick", "--json", *arguments))
    growth = {result["case"]: result for result in report["results"]}
    assert list(growth) == cases
    size, rows = report["bytes"], report["rows"]
    for case in cases[:2]:  # two groups, and for each row its target, its place in the order, and what is drawn
        assert growth[case]["fit"] < 3 * (1 << 25) + 24 * rows < 0.5 * size, case
        assert growth[case]["predict"] < (1 << 25) + 2 * 40 * rows < 0.5 * size, case
    assert growth[cases[0]]["loss"] == growth[cases[1]]["loss"]
    assert growth[cases[2]]["fit"] > 1.8 * size  # what would be seen if a copy were made


def test_zarr(data, tmp_path):
    if importlib.util.find_spec("zarr") is None:
        pytest.skip("zarr is not installed")
    import zarr

    X, y = data
    array = zarr.create_array(tmp_path / "rows.zarr", shape=X.shape, chunks=(BLOCK, 4), dtype=X.dtype)
    array[...] = X
    model, expected = classifier().fit(array, y), classifier().fit(X, y)
    assert_same(model, expected)
    np.testing.assert_array_equal(model.predict_proba(array), expected.predict_proba(X))
    assert_same(classifier(shuffle=True).fit(array, y), classifier(shuffle=True).fit(X, y))


def test_dask_array(data):
    if importlib.util.find_spec("dask") is None:
        pytest.skip("dask is not installed")
    import dask.array

    X, y = data
    array = dask.array.from_array(X, chunks=(2 * BLOCK, FEATURES))
    model = classifier().fit(array, y)
    assert_same(model, classifier().fit(Table(X, (2 * BLOCK, FEATURES)), y))
    np.testing.assert_array_equal(model.predict_proba(array), model.predict_proba(X))


def test_incremental_of_dask_ml(data):
    if importlib.util.find_spec("dask_ml") is None:
        pytest.skip("dask-ml is not installed")
    import dask.array
    from dask_ml.wrappers import Incremental

    X, y = data
    sizes = (50, 50, 50, 53)
    rows, labels = dask.array.from_array(X, chunks=(sizes, FEATURES)), dask.array.from_array(y, chunks=(sizes,))
    wrapped = Incremental(MLPClassifier((7,), random_state=0, batch_size=16), shuffle_blocks=False)
    wrapped.fit(rows, labels, classes=np.unique(y))
    expected = fastmlp.MLPClassifier((7,), random_state=0, batch_size=16)
    for first, last in ((0, 50), (50, 100), (100, 150), (150, 203)):
        expected.partial_fit(X[first:last], y[first:last], classes=np.unique(y))
    assert_same(wrapped.estimator_, expected)
    np.testing.assert_array_equal(np.asarray(wrapped.predict(rows)), expected.predict(X))
