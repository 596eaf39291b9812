"""The training kernel for large layers against the plain NumPy engine, and its products against NumPy's.

They run in Numba's simulator, with tiles so small that a product has several of them, and parts of tiles, in each
direction. There, a twin takes the place of the instruction of tensor cores, with the same words for each thread.
"""

from dataclasses import replace

import numpy as np
import pytest
from problems import make_network, make_problem, run
from scipy import sparse
from sklearn.datasets import load_iris

from fastmlp import MLPClassifier, reference
from fastmlp.network import flatten

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from fastmlp.cuda import engine as cuda_engine
from fastmlp.cuda import launch as cuda_launch
from fastmlp.cuda.compiler import cuda, grid_sync, kernel, launch, scalar_type
from fastmlp.cuda.data import encode
from fastmlp.cuda.engine import Engine
from fastmlp.cuda.forward import record_of
from fastmlp.cuda.large import PITCH, SQUARE, make_layers, make_tile_phases
from fastmlp.cuda.layout import Layout
from fastmlp.cuda.phases import worker_of
from fastmlp.cuda.program import program_of
from fastmlp.cuda.tensor import PRECISIONS, make_multiplier
from fastmlp.cuda.tiles import Tile, make_product, words_of

FMA_TILE = Tile(8, 8, 8, 4, 4)
TENSOR_TILES = [Tile(32, 16, 16, 16, 16), Tile(16, 32, 16, 16, 16), Tile(32, 16, 16, 32, 8)]  # two warps each
WIDTHS = (10, 9, 18, 3)  # more than one tile of 8, and more than two; the last padded to 4


def large(precision="float32"):
    """Return what makes an engine that trains with this kernel."""
    return lambda network, dtype, n_threads: Engine(network, dtype, precision=precision, kind="large")


def assert_same_training(network, n_rows, dtype=np.float64, rtol=1e-9, precision="float32", **settings):
    problem = make_problem(network, n_rows, dtype)
    settings = {"epochs": 1, "batch": 9} | settings
    ours = run(large(precision), network, problem, dtype, **settings)
    theirs = run(reference.Engine, network, problem, dtype, **settings)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol * np.abs(other).max())


def rounded(x, bits, half_to_even):
    """Return numbers rounded to so many significant bits."""
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = mantissa * 2.0**bits
    near = np.rint(scaled) if half_to_even else np.trunc(scaled + np.copysign(0.5, scaled))
    return np.ldexp(near, exponent - bits)


def multiplied(tile, left, right, along=True, dtype=np.float32, before=None):
    """Return the product that a block computes tile by tile, added to `before` if that is given."""
    (n_rows, depth), n_columns = left.shape, right.shape[1]
    multiplier = make_multiplier(tile, np.dtype(dtype))
    product, n_words, word = make_product(tile, multiplier), words_of(tile, multiplier), scalar_type(multiplier.word)
    fresh = before is None

    def multiply(out, left, right):
        words, thread = cuda.shared.array(n_words, word), cuda.threadIdx.x
        for row in range(0, n_rows, tile.rows):
            for column in range(0, n_columns, tile.columns):
                left_at = (0, depth if along else n_rows, row, n_rows)
                right_at = (0, n_columns, column, n_columns)
                product(out, (0, n_columns), left, left_at, right, right_at, depth, along, fresh, words, thread)

    out = cuda.to_device(np.full(n_rows * n_columns, np.nan, dtype) if fresh else before.astype(dtype).ravel())
    operands = [np.ascontiguousarray(x, dtype).ravel() for x in (left if along else left.T, right)]
    launch(kernel(multiply), 1, tile.threads, out, *map(cuda.to_device, operands))
    return out.copy_to_host().reshape(n_rows, n_columns)


def operands(along, seed=0):
    """Return matrices of several tiles, the last of them parts, in each direction."""
    random = np.random.default_rng(seed)
    shape = (35, 36) if along else (36, 37)  # what lies side by side in memory is padded to a multiple of 4
    return random.normal(size=shape).astype(np.float32), random.normal(size=(shape[1], 20)).astype(np.float32)


@pytest.mark.parametrize(("tile", "along"), zip(TENSOR_TILES, (True, False, False), strict=True), ids=str)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_products_of_rounded_numbers(precision, tile, along):
    left, right = operands(along)
    ours = multiplied(tile._replace(arithmetic=precision), left, right, along)
    if precision == "float32":
        big, other = rounded(left, 11, False), rounded(right, 11, False)
        small, small_other = rounded(left - big, 11, False), rounded(right - other, 11, False)
        theirs = small @ other + big @ small_other + big @ other
    else:
        bits = 11 if precision == "tf32" else 8
        theirs = rounded(left, bits, precision == "bfloat16") @ rounded(right, bits, precision == "bfloat16")
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-5)
    error = np.abs(ours - left.astype(np.float64) @ right).max()
    if precision == "float32":
        assert error < 2e-5, "the accuracy of float32"
    else:
        assert error > 1e-3, "rounded"


@pytest.mark.parametrize("along", [True, False])
@pytest.mark.parametrize("part", [4, 8])
def test_products_by_multiply_adds(part, along):
    left, right = operands(along)
    ours = multiplied(Tile(16, 16, 8, part, part), left, right, along, np.float64)
    np.testing.assert_allclose(ours, left.astype(np.float64) @ right, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tile", [FMA_TILE, TENSOR_TILES[0]._replace(arithmetic="float32")], ids=str)
def test_products_are_added(tile):
    left, right = operands(True)
    before = np.random.default_rng(1).normal(size=(35, 20))
    ours = multiplied(tile, left, right, before=before)
    np.testing.assert_allclose(ours, before + left.astype(np.float64) @ right, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("value", [-np.inf, np.nan])
def test_what_is_not_finite_stays_so(value, precision):
    left, right = np.ones((4, 8), np.float32), np.ones((8, 4), np.float32)
    left[1, 3] = value
    ours = multiplied(TENSOR_TILES[0]._replace(arithmetic=precision), left, right)
    assert not np.isfinite(ours[1]).any()
    np.testing.assert_array_equal(ours[[0, 2, 3]], 8.0)


def test_a_tile_that_threads_cannot_share():
    with pytest.raises(ValueError, match="unequal parts of 16 x 8 words"):
        multiplied(Tile(32, 16, 8, 16, 16, "tf32"), *operands(True))


@pytest.mark.parametrize("size", [64, 128])
def test_threads_of_a_warp_read_different_banks(size):
    tile, lanes = Tile(size, size, 16, size // 2, size // 4, "float32"), np.arange(32)
    stride = size + make_multiplier(tile, np.dtype(np.float32)).padding
    assert len({*((lanes % 4 * stride + lanes // 4) % 32)}) == 32


@pytest.mark.parametrize(
    "more",
    [
        {"csr": True},
        {"max_norm": 0.05, "l1_ratio": 0.5, "update": "rmsprop"},
        {"update": "adamw", "weighted": False, "csr": True},
    ],
    ids=["adam", "norm, L1", "adamw"],
)
def test_training(more):
    network = replace(make_network(WIDTHS, "log_loss"), scale_alpha="max_norm" not in more)
    assert_same_training(network, 13, **more)


@pytest.mark.parametrize("widths", [(1, 1), (3, 5, 2), (8, 16, 8)])
def test_sizes(widths):
    assert_same_training(make_network(widths), 8, batch=8, epochs=2)


def test_dropout_and_augmentation():
    network = replace(make_network(WIDTHS, "soft_log_loss", "gelu"), dropout=(0.3, 0.5))
    assert_same_training(network, 10, augment={"mixup": 0.4, "jitter": 0.2, "drop_features": 0.2})


@pytest.mark.parametrize("csr", [False, True])
def test_batches_of_several_blocks(csr, monkeypatch):
    monkeypatch.setattr(cuda_engine, "MOST_ROWS", 4)
    network = replace(make_network((5, 9, 3), "log_loss"), dropout=(0.4,))
    assert_same_training(network, 11, batch=11, csr=csr)


def test_loss_and_gradient():
    network = make_network(WIDTHS, "log_loss", "tanh")
    X, targets, weight, parameters = make_problem(network, 9)
    results = []
    for kind in (large(), reference.Engine):
        engine = kind(network, np.dtype(np.float64), 1)
        engine.load(X, targets, weight)
        results.append(engine.loss_and_gradient(flatten(*parameters), 0.3))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("precision", "rtol"), [("float32", 2e-4), ("tf32", 1e-2), ("bfloat16", 6e-2)])
def test_training_with_tensor_cores(precision, rtol):
    assert_same_training(make_network((20, 17, 3), "log_loss"), 18, np.float32, rtol, precision, update="sgd", batch=18)


def test_training_in_float32_without_tensor_cores(monkeypatch):
    monkeypatch.setattr(cuda_launch, "has_tensor_cores", lambda: False)
    assert_same_training(make_network((9, 10, 3), "log_loss"), 9, np.float32, 2e-4)
    with pytest.raises(ValueError, match=r"precision='tf32' needs tensor cores, of a GPU of compute capability 8\.0"):
        Engine(make_network((3, 2)), np.dtype(np.float32), precision="tf32")


def test_blocks_share_all_that_there_is_to_do():
    # the simulator has one block: here it does the work of three, one after another
    network, dtype, n_rows = make_network(WIDTHS), np.dtype(np.float64), 9
    program, multiplier = program_of(network, "adagrad"), make_multiplier(FMA_TILE, dtype)
    layout = encode(network, program, n_rows)
    plan = layout.plan
    plan[cuda_launch.GROUP_ROWS] = 3
    phases = make_tile_phases(program, FMA_TILE, multiplier, grid_sync)
    forward, backward = make_layers(program, FMA_TILE, make_product(FMA_TILE, multiplier))
    n_words, word, scalar = words_of(FMA_TILE, multiplier), scalar_type(dtype), scalar_type(dtype)

    def step(memory, rows, plan, blocks):
        words = cuda.shared.array(n_words, word)
        scratch = cuda.shared.array(FMA_TILE.threads, scalar)
        square = cuda.shared.array((SQUARE, PITCH), scalar)
        worker, shared = worker_of(cuda.threadIdx.x, cuda.blockDim.x), (scratch, scratch, square, words)
        for block in range(blocks):
            forward(memory, rows, plan, record_of(0), 0, n_rows, np.uint64(0), True, words, worker, (block, blocks))
        for block in range(blocks):
            backward(memory, rows, plan, record_of(2), n_rows, words, worker, (block, blocks))
        for block in range(blocks):
            phases.gradients(memory, rows, plan, n_rows, True, shared, worker, (block, blocks))
        grid_sync()
        for block in range(blocks):
            constants = (0.1, 0.9, 0.9, 1e-8, 0.1, 0.1)
            phases.update(memory, plan, (0.1, 0.0, 1.0), 0.5, constants, shared, worker, (block, blocks))

    random, results = np.random.default_rng(0), []
    start = random.uniform(0.1, 1, layout.memory_size), random.uniform(-1, 1, layout.rows_size)
    for blocks in (1, 3, 50):
        memory, rows = (cuda.to_device(x) for x in start)
        launch(kernel(step), 1, FMA_TILE.threads, memory, rows, cuda.to_device(plan), blocks)
        results.append([memory.copy_to_host(), rows.copy_to_host()])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)
    for one, other in zip(results[0], start, strict=True):
        assert (one != other).any()


def test_large_layers_are_for_this_kernel():
    small, wide = (Layout(make_network((1000, width, 10)), 1) for width in (10, 1000))
    assert cuda_launch.kind_of(small, 100, np.float32) == "grid"
    assert cuda_launch.kind_of(wide, 100, np.float32) == "large"


def test_tiles_are_as_large_as_there_is_work_for_all_blocks(monkeypatch):
    sizes = Tile(64, 64, 16, 32, 16, "float32"), Tile(128, 128, 16, 64, 32, "float32")
    monkeypatch.setattr(cuda_launch, "SMALL_TILE", sizes[0])
    monkeypatch.setattr(cuda_launch, "LARGE_TILE", sizes[1])
    layout = Layout(make_network((1024, 1024, 1024)), 1)
    for n_rows, size in ((128, sizes[0]), (2048, sizes[1])):  # 8 and 128 large tiles a layer
        tile = cuda_launch.tile_of(layout, n_rows, np.dtype(np.float32), "tf32", 100)
        assert tile == size._replace(arithmetic="tf32")
    assert cuda_launch.tile_of(layout, 2048, np.dtype(np.float64), "float32", 100) == cuda_launch.SMALL_FMA_TILE


def test_engines_refuse_other_precisions():
    network = make_network((3, 2))
    with pytest.raises(ValueError, match="precision='half' must be one of 'float32', 'tf32', 'bfloat16'"):
        Engine(network, np.dtype(np.float32), precision="half")
    with pytest.raises(ValueError, match="precision='tf32' is of arithmetic in float32, got float64"):
        Engine(network, np.dtype(np.float64), precision="tf32")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"device": "cpu"}, "precision='tf32' needs device='cuda' or 'auto', got device='cpu'"),
        ({}, "precision='tf32' is of arithmetic in float32, got dtype=None and X of float64"),
        ({"dtype": "float64"}, "precision='tf32' is of arithmetic in float32, got dtype='float64' and X of float64"),
        ({"solver": "lbfgs", "dtype": "float32"}, "solver='lbfgs' computes in float64"),
        ({"precision": "half"}, "The 'precision' parameter of MLPClassifier must be a str among"),
    ],
)
def test_estimators_refuse_what_has_no_precision(settings, message):
    X, y = load_iris(return_X_y=True)
    model = MLPClassifier((4,), **({"device": "cuda", "precision": "tf32"} | settings))
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)


def test_the_precision_of_an_estimator_reaches_the_engine(monkeypatch):
    monkeypatch.setattr(cuda_engine, "kind_of", lambda *arguments: "large")
    X, y = load_iris(return_X_y=True)
    X, y = X[::10].astype(np.float32), y[::10]
    settings = {"max_iter": 1, "batch_size": 15, "random_state": 0, "device": "cuda", "dtype": "float32"}
    with pytest.warns(match="Maximum iterations"):
        losses = [MLPClassifier((4,), precision=name, **settings).fit(X, y).loss_ for name in PRECISIONS]
    exact, tf32, bfloat16 = losses
    assert 0 < abs(tf32 - exact) < 1e-3 * exact
    assert abs(tf32 - exact) < abs(bfloat16 - exact) < 3e-2 * exact


def test_sparse_rows_with_tensor_cores():
    network = make_network((9, 5, 2))
    problem = make_problem(network, 7, np.float32)
    problem[0][problem[0] < 0] = 0
    ours, theirs = (run(large(), network, problem, np.float32, epochs=1, csr=csr) for csr in (True, False))
    assert sparse.csr_array(problem[0]).nnz < problem[0].size
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
