"""The kernels for NVIDIA GPUs against the plain NumPy engine.

They run in Numba's simulator, in Python, thread by thread: only small sizes. `conftest` switches it on, but for
`pytest -m gpu`, which runs them on a GPU, with larger ones at the end.
"""

from dataclasses import replace

import numpy as np
import pytest
from problems import FURTHER_OUTPUTS, OUTPUTS, UPDATES, make_network, make_problem, run
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPRegressor, reference
from fastmlp.formulas import updates
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.network import Augmentation, flatten
from fastmlp.training.shuffle import Shuffle

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from fastmlp.cuda import backward, compiler, launch, parameters, predict
from fastmlp.cuda import engine as cuda_engine
from fastmlp.cuda import forward as cuda_forward
from fastmlp.cuda import layout as cuda_layout
from fastmlp.cuda.compiler import SIMULATED, available
from fastmlp.cuda.engine import Engine

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not available(), reason="there is no NVIDIA GPU, or no driver")]
KINDS = ["shared", "block", "grid"]


def on(kind):
    """Return what makes an engine that trains with this kernel."""
    return lambda network, dtype, n_threads: Engine(network, dtype, kind=kind)


def assert_same_training(network, n_rows, dtype=np.float64, rtol=1e-9, kind="block", **settings):
    problem = make_problem(network, n_rows, dtype)
    ours = run(on(kind), network, problem, dtype, **settings)
    theirs = run(reference.Engine, network, problem, dtype, **settings)
    for mine, other in zip(ours, theirs, strict=True):
        scale = np.abs(other).max() if other.size else 1.0
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize(("kind", "batch"), [("shared", 7), ("block", 1), ("block", 4), ("grid", 7)])
@pytest.mark.parametrize("widths", [(1, 1), (3, 5, 2), (4, 8, 1, 4), (9, 4, 5, 3)])
def test_sizes(widths, kind, batch):
    # below, at and above four numbers, which a thread loads at once
    assert_same_training(make_network(widths), 9, batch=batch, kind=kind, epochs=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_precisions(kind, dtype):
    rtol = 1e-9 if dtype == np.float64 else 2e-4
    assert_same_training(make_network((5, 6, 3), "log_loss"), 13, dtype, rtol, kind, batch=5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation):
    assert_same_training(make_network((4, 5, 3), "log_loss", activation), 8, batch=4, epochs=1)


@pytest.mark.parametrize("n_outputs", [1, 3, 9])
@pytest.mark.parametrize("loss", [*OUTPUTS, *FURTHER_OUTPUTS])
def test_every_loss(loss, n_outputs):
    network = make_network((3, 4, n_outputs), loss)
    assert_same_training(network, 7, batch=4, epochs=1)
    X, targets, weight, parameters = make_problem(network, 5)
    output = reference.forward(network, *parameters, X)
    for weights in (None, weight):
        ours = predict.mean_loss(network, output, targets, weights)
        losses = reference.row_losses(loss, targets, output, network.loss_parameter)
        assert ours == pytest.approx(np.average(losses, weights=weights), rel=1e-9)


@pytest.mark.parametrize("l1_ratio", [0.0, 0.6])
@pytest.mark.parametrize("update", updates.UPDATES)
def test_every_update(update, l1_ratio):
    if update == "adamw" and l1_ratio > 0:
        pytest.skip("its decay is apart from the loss")
    network = make_network((4, 5, 2), "log_loss")
    assert_same_training(network, 8, batch=4, update=update, l1_ratio=l1_ratio, alpha=0.4)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "more",
    [
        {"max_norm": 0.05},
        {"max_norm": np.inf, "l1_ratio": 0.5},
        {"max_norm": 0.05, "update": "adamw", "alpha": 3.0},
        {"rates": np.array([0.1, 0.0, 0.02])},
        {"weighted": False},
    ],
    ids=["norm", "any norm", "adamw", "rates", "weightless"],
)
def test_more_of_a_step(more, kind, csr):
    scaled = kind == "grid" or more.get("update") == "adamw"  # whose decay is none of the loss
    network = replace(make_network((4, 6, 3), "log_loss"), scale_alpha=scaled)
    assert_same_training(network, 9, batch=4, kind=kind, csr=csr, **more)


def test_rows_without_weight():
    network = make_network((3, 4, 2), "log_loss")
    X, targets, _, parameters = make_problem(network, 8)
    weight = np.repeat([0.0, 1.0], 4)
    problem = X, targets, weight, parameters
    ours, theirs = (run(kind, network, problem, np.float64, batch=2) for kind in (on("block"), reference.Engine))
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-9)


@pytest.mark.parametrize("kind", ["block", "grid"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_dropout(activation, kind):
    network = replace(make_network((4, 6, 5, 3), "log_loss", activation), dropout=(0.3, 0.5))
    assert_same_training(network, 9, batch=5, kind=kind)


@pytest.mark.parametrize(
    "augment",
    [{"jitter": 0.1}, {"drop_features": 0.4}, {"mixup": 0.4}, {"mixup": 0.4, "jitter": 0.2, "drop_features": 0.2}],
    ids=lambda augment: "+".join(augment),
)
@pytest.mark.parametrize("loss", ["squared_error", "soft_log_loss"])
def test_augmentation(loss, augment, monkeypatch):
    from fastmlp.cuda import forward

    n_rows, batch = 1300, 1100  # several blocks of rows that are mixed with each other
    if SIMULATED:  # a kernel that is kept on disk would keep the number, too
        n_rows, batch = 9, 7
        monkeypatch.setattr(forward, "MIXED_ROWS", 3)
        monkeypatch.setattr(reference, "BLOCK_ROWS", 3)
    assert_same_training(make_network((5, 4, 3), loss), n_rows, batch=batch, augment=augment)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("csr", [False, True])
def test_batches_of_several_blocks(csr, kind, monkeypatch):
    monkeypatch.setattr(cuda_engine, "MOST_ROWS", 4)
    network = replace(make_network((5, 6, 3), "log_loss"), dropout=(0.4,))
    assert_same_training(network, 14, batch=11, kind=kind, csr=csr)


def test_epochs_of_several_launches(monkeypatch):
    monkeypatch.setattr(cuda_engine, "MOST_STEPS", 2)
    assert_same_training(make_network((3, 4, 2)), 9, batch=2)


@pytest.mark.skipif(not SIMULATED, reason="it counts calls within a kernel")
@pytest.mark.parametrize(
    ("widths", "batch", "n_rows", "module", "shared"),
    [((20, 17, 17), 2, 4, cuda_forward, "put_parts"), ((5, 3, 2), 36, 37, parameters, "put_gradient_part")],
)
def test_threads_share_sums(widths, batch, n_rows, module, shared, monkeypatch):
    function, calls = getattr(module, shared), []

    def noted(*arguments):
        calls.append(arguments)
        return function(*arguments)

    for each in (module, backward):
        monkeypatch.setattr(each, shared, noted, raising=False)
    for each in (launch, cuda_engine):
        monkeypatch.setattr(each, "THREADS", 32)
    network = make_network(widths, "log_loss")
    assert_same_training(network, n_rows, kind="grid", batch=batch)
    assert calls, "they have done so"
    problem = make_problem(network, n_rows)
    alone, together = (run(on(kind), network, problem, np.float64, batch=batch)[1] for kind in ("block", "grid"))
    np.testing.assert_array_equal(alone, together)


def fitted(monkeypatch, epochs_at_once, **settings):
    """Return what a fit ends with, and how many launches it took; all but the first two take so many epochs."""
    runs, run = [], Engine._run

    def noted(engine, *arguments):
        runs.append(arguments)
        return run(engine, *arguments)

    random = np.random.RandomState(3)
    settings = {"max_iter": 12, "batch_size": 4, "random_state": random} | settings
    X = np.random.default_rng(0).normal(size=(9, 3))
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "_run", noted)
        patch.setattr(cuda_engine, "LAUNCH_SECONDS", 1e9)
        patch.setattr(cuda_engine, "MOST_EPOCHS", epochs_at_once)
        model = MLPRegressor(hidden_layer_sizes=(4,), device="cuda", **settings)
        try:
            model.fit(X, X[:, 0])
        except ValueError as error:
            return str(error), len(runs)
    state = flatten(model.coefs_, model.intercepts_), random.randint(1 << 30)
    return (model.loss_curve_, model.n_iter_, *map(np.ravel, state)), len(runs)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("more", "launches"),
    [({}, 2 + 2), ({"tol": 1e9, "n_iter_no_change": 4}, 2 + 2), ({"shuffle": False, "augment": {"mixup": 0.3}}, 2 + 2)],
    ids=["to the end", "until it stops", "mixed"],
)
def test_epochs_of_one_launch(more, launches, monkeypatch):
    several, n_launches = fitted(monkeypatch, 5, **more)
    one_by_one, _ = fitted(monkeypatch, 1, **more)
    for mine, other in zip(several, one_by_one, strict=True):
        np.testing.assert_array_equal(mine, other)
    assert n_launches == launches


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the simulator, where numbers overflow
def test_an_epoch_of_a_launch_after_which_a_parameter_is_not_finite(monkeypatch):
    settings = {"solver": "sgd", "learning_rate_init": 12.0, "momentum": 0.0, "activation": "identity"}
    several, one_by_one = (fitted(monkeypatch, most, **settings)[0] for most in (5, 1))
    assert several == one_by_one
    assert "non-finite" in several


def test_a_launch_of_several_epochs_that_is_interrupted(monkeypatch):
    def interrupted(*arguments):
        run(*arguments)
        raise KeyboardInterrupt

    network, update = make_network((3, 4, 2)), UPDATES["adam"]
    X, targets, _, start = make_problem(network, 9)
    shuffle, run = Shuffle(9, np.random.RandomState(0)), Engine._run
    with Engine(network, np.dtype(np.float64)) as engine:
        engine.load(X, targets)
        engine.set_parameters(*start)
        engine.set_state(np.zeros((2, network.n_parameters)))
        monkeypatch.setattr(cuda_engine, "LAUNCH_SECONDS", 1e9)
        stopping = (np.inf, 0, 0.0, np.inf)
        for _ in range(2):
            assert len(engine.run_epochs(shuffle, 4, 0.0, update._replace(step=engine.step), stopping, 3)) == 1
        before = flatten(*engine.get_parameters()), engine.get_state(), shuffle.order.copy(), engine.step
        monkeypatch.setattr(Engine, "_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.run_epochs(shuffle, 4, 0.0, update._replace(step=engine.step), stopping, 3)
        after = flatten(*engine.get_parameters()), engine.get_state(), shuffle.order, engine.step
        for mine, other in zip(before, after, strict=True):
            np.testing.assert_array_equal(mine, other)


@pytest.mark.parametrize("csr", [False, True])
def test_loss_and_gradient(csr):
    network = replace(make_network((4, 6, 3), "log_loss", "tanh"), dropout=(0.5,))
    X, targets, weight, parameters = make_problem(network, 7)
    engines = [kind(network, np.dtype(np.float64), 1) for kind in (on("grid"), reference.Engine)]
    results = []
    for engine in engines:
        engine.load(sparse.csr_array(X) if csr and engine is engines[0] else X, targets, weight)
        engine.seed = 3
        results.append(engine.loss_and_gradient(flatten(*parameters), 0.3))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-12)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("loss", ["squared_error", "log_loss", "grouped_log_loss", "poisson"])
@pytest.mark.parametrize("n_rows", [1, 19, 37])
def test_prediction(n_rows, loss, csr, monkeypatch):
    monkeypatch.setattr(predict, "MOST_NUMBERS", 60)  # several parts
    network = make_network((4, 5, 3, 6), loss, "gelu")
    X, _, _, parameters = make_problem(network, n_rows)
    X[:, 0] = 0
    rows = sparse.csr_array(X) if csr else X
    errors = np.random.default_rng(0).normal(size=(n_rows, 6))
    pairs = [
        (predict.forward(network, *parameters, rows), reference.forward(network, *parameters, X)),
        (predict.forward(network, *parameters, rows, raw=True), reference.forward(network, *parameters, X, raw=True)),
        (predict.hidden_layer(network, *parameters, rows), reference.hidden_layer(network, *parameters, X)),
        (
            predict.input_gradient(network, *parameters, rows, errors),
            reference.input_gradient(network, *parameters, X, errors),
        ),
    ]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.skipif(not SIMULATED, reason="a GPU does not warn")
def test_prediction_does_not_warn_of_what_memory_held_before(monkeypatch):
    device_array = predict.cuda.device_array

    def spoilt(*arguments):
        array = device_array(*arguments)
        if array.size > 0:
            array.copy_to_device(np.full(array.shape, np.inf))
        return array

    monkeypatch.setattr(predict.cuda, "device_array", spoilt)
    network = make_network((4, 5, 3, 6), "squared_error", "gelu")
    X, _, _, parameters = make_problem(network, 1)
    expected = reference.forward(network, *parameters, X)
    np.testing.assert_allclose(predict.forward(network, *parameters, X), expected, rtol=1e-9)
    errors = np.ones((1, 6))
    expected = reference.input_gradient(network, *parameters, X, errors)
    np.testing.assert_allclose(predict.input_gradient(network, *parameters, X, errors), expected, rtol=1e-9)


def test_csr_rows_with_repeated_and_no_entries():
    network = make_network((4, 3, 2))
    _, _, _, parameters = make_problem(network, 3)
    X = sparse.csr_array((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 3]), np.array([0, 2, 2, 3])), shape=(3, 4))
    for rows in (X, sparse.csr_array((3, 4))):
        ours = predict.forward(network, *parameters, rows)
        np.testing.assert_allclose(ours, reference.forward(network, *parameters, rows.toarray()), rtol=1e-12)
    assert X.nnz == 3, "the user's matrix is as it was"


def test_parameters_and_state_come_back():
    network = make_network((3, 5, 2))
    X, targets, weight, parameters = make_problem(network, 4)
    with Engine(network, np.dtype(np.float64)) as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(*parameters)
        state = np.random.default_rng(0).uniform(size=(1, network.n_parameters))
        engine.set_state(state)
        np.testing.assert_array_equal(flatten(*engine.get_parameters()), flatten(*parameters))
        engine.run_epoch(np.arange(4), 4, 0.0, UPDATES["sgd"]._replace(constants=(0.0, 1.0, 0.0)))  # all goes on
        np.testing.assert_array_equal(engine.get_state(), state)
        assert engine.is_finite()
        engine.set_parameters([coef * np.inf for coef in parameters[0]], parameters[1])
        assert not engine.is_finite()


@pytest.mark.parametrize("kind", KINDS)
def test_same_bits_in_each_run(kind):
    network = replace(make_network((5, 6, 3), "log_loss"), dropout=(0.2,))
    problem = make_problem(network, 11, np.float32)
    first, second = (run(on(kind), network, problem, np.float32, batch=4, max_norm=0.1) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_kernels_give_the_same_bits():
    # each parameter is summed in the same order, whatever threads there are
    network = make_network((5, 6, 3), "log_loss")
    problem = make_problem(network, 11)
    results = [run(on(kind), network, problem, np.float64, batch=5)[1] for kind in KINDS]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_small_network_lies_in_shared_memory_and_a_large_one_is_for_the_grid():
    from fastmlp.cuda.launch import kind_of

    small, wide, large = (cuda_layout.Layout(make_network((10, width, 2)), 1) for width in (20, 4000, 4000))
    assert kind_of(small, 32, np.float32) == "shared"
    assert kind_of(wide, 1, np.float32) == "block"
    assert kind_of(large, 32, np.float32) == "grid"


real_gpu = pytest.mark.skipif(SIMULATED, reason="too large for the simulator")


@real_gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("widths", "batch", "n_rows"),
    [((64, 100, 10), 200, 1_797), ((20, 64, 64, 2), 32, 1_000), ((130, 257, 65, 7), 515, 1_100), ((300, 31, 3), 1, 20)],
)
def test_sizes_of_real_networks(widths, batch, n_rows, kind, dtype):
    # Adam makes a step of the rounding of a gradient that is next to nothing, gradient descent does not
    rtol, update = (1e-9, "adam") if dtype == np.float64 else (1e-3, "sgd")
    network = replace(make_network(widths, "log_loss"), dropout=(0.2,) * (len(widths) - 2))
    if kind == "shared" and not fits_in_a_block(network, dtype):
        pytest.skip("more than a block's shared memory")
    assert_same_training(network, n_rows, dtype, rtol, kind, batch=batch, update=update)


def fits_in_a_block(network, dtype):
    return cuda_layout.Layout(network, 1).memory_size * np.dtype(dtype).itemsize <= compiler.most_shared_memory()


@real_gpu
@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("batch", [8_192, 8_193, 20_000])
def test_large_batches(batch, csr):
    # below and above the rows that go through the network at once
    assert_same_training(make_network((40, 70, 10), "log_loss"), 20_000, batch=batch, kind="grid", csr=csr)


@real_gpu
@pytest.mark.parametrize("n_rows", [1, 1_000, 100_003])
def test_prediction_of_many_rows(n_rows):
    network = make_network((50, 256, 256, 2), "log_loss", "gelu")
    X, _, _, parameters = make_problem(network, n_rows)
    ours, theirs = (module.forward(network, *parameters, X) for module in (predict, reference))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@real_gpu
@pytest.mark.parametrize("kind", ["block", "grid"])
def test_many_runs_give_the_same_bits(kind):
    network = replace(make_network((64, 100, 10), "log_loss"), dropout=(0.2,))
    problem = make_problem(network, 1_797, np.float32)
    first, *others = (run(on(kind), network, problem, np.float32, batch=200, max_norm=0.1) for _ in range(10))
    for other in others:
        for one, another in zip(first, other, strict=True):
            np.testing.assert_array_equal(one, another)


@real_gpu
def test_estimators_train_as_on_the_cpu():
    from sklearn.datasets import load_digits

    from fastmlp import MLPClassifier

    X, y = load_digits(return_X_y=True)
    settings = {"max_iter": 20, "random_state": 0, "tol": 0.0, "n_iter_no_change": np.inf}
    curves = []
    for device in ("cpu", "cuda"):
        with pytest.warns(ConvergenceWarning):
            curves.append(MLPClassifier(device=device, **settings).fit(X / 16, y).loss_curve_)
    np.testing.assert_allclose(*curves, rtol=1e-6)


def test_a_users_change_of_rows_is_for_the_cpu():
    network = make_network((3, 2))
    X, targets, weight, _ = make_problem(network, 4)
    with pytest.raises(ValueError, match="device='cpu'"):
        Engine(network, np.dtype(np.float64)).load(X, targets, weight, Augmentation(function=print))
