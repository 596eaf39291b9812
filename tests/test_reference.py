"""The reference engine, the oracle of the others, against finite differences and itself."""

import numpy as np
import pytest
import scipy.sparse

from fastmlp.network import Network, flatten, unflatten
from fastmlp.reference import Engine, forward, row_losses
from fastmlp.training.optimizers import SGD, Adam, LearningRate

OUTPUTS = {
    "squared_error": "identity",
    "poisson": "exp",
    "log_loss": "softmax",
    "binary_log_loss": "logistic",
}


def problem(loss, hidden=(5, 3), activation="tanh", n_samples=9, dtype=np.float64):
    """Return a network, parameters, rows, targets and weights."""
    random = np.random.default_rng(0)
    network = Network((4, *hidden, 3), (activation,) * len(hidden) + (OUTPUTS[loss],), loss)
    parameters = unflatten(random.normal(0, 0.5, network.n_parameters).astype(dtype), network.widths)
    X = random.normal(size=(n_samples, 4)).astype(dtype)
    targets = {
        "squared_error": random.normal(size=(n_samples, 3)),
        "poisson": random.poisson(1.0, (n_samples, 3)),
        "log_loss": random.integers(0, 3, (n_samples, 1)),
        "binary_log_loss": random.integers(0, 2, (n_samples, 3)),
    }[loss]
    return network, parameters, X, targets.astype(dtype), random.uniform(0.1, 2, n_samples).astype(dtype)


def loaded(network, parameters, X, targets, weight, dtype=np.float64):
    engine = Engine(network, dtype)
    engine.load(X, targets, weight)
    engine.set_parameters(*parameters)
    return engine


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("hidden", [(), (5,), (5, 3)])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("loss", OUTPUTS)
def test_gradient_against_finite_differences(loss, activation, hidden, weighted):
    network, parameters, X, targets, weight = problem(loss, hidden, activation)
    engine = loaded(network, parameters, X, targets, weight if weighted else None)
    flat = flatten(*parameters)
    gradient = engine.loss_and_gradient(flat, 0.1)[1]
    step = 1e-6
    numeric = np.empty_like(flat)
    for number in range(flat.size):
        moved = flat.copy()
        moved[number] += step
        above = engine.loss_and_gradient(moved, 0.1)[0]
        moved[number] -= 2 * step
        numeric[number] = (above - engine.loss_and_gradient(moved, 0.1)[0]) / (2 * step)
    if loss == "squared_error":
        # The loss is the mean over the outputs, the gradient that of the sum, and the penalty in both the same.
        penalty = 0.1 * np.concatenate([*(coef.ravel() for coef in parameters[0]), np.zeros(sum(network.widths[1:]))])
        penalty /= weight.sum() if weighted else len(X)
        numeric = (numeric - penalty) * targets.shape[1] + penalty
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("loss", OUTPUTS)
def test_sparse_rows_give_the_same(loss):
    network, parameters, X, targets, weight = problem(loss)
    X[np.abs(X) < 0.7] = 0
    dense, sparse = (loaded(network, parameters, rows, targets, weight) for rows in (X, scipy.sparse.csr_array(X)))
    order = np.random.default_rng(1).permutation(len(X))
    losses = [engine.run_epoch(order, 4, 0.1, Adam(LearningRate(0.01)).update()) for engine in (dense, sparse)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
    np.testing.assert_allclose(dense.parameters, sparse.parameters, rtol=1e-12)
    np.testing.assert_allclose(
        forward(network, *parameters, X), forward(network, *parameters, scipy.sparse.csr_array(X))
    )


@pytest.mark.parametrize(
    "optimizer",
    [SGD(LearningRate(0.1)), SGD(LearningRate(0.1), nesterovs_momentum=False), Adam(LearningRate(0.1))],
    ids=lambda one: one.update().name,
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_all_arithmetic_is_in_the_dtype(optimizer, dtype):
    for loss in OUTPUTS:
        network, parameters, X, targets, weight = problem(loss, dtype=dtype)
        engine = loaded(network, parameters, X, targets, weight, dtype)
        assert isinstance(engine.run_epoch(np.arange(len(X)), 4, 0.1, optimizer.update()), float)
        assert engine.parameters.dtype == engine.state.dtype == engine.forward(X).dtype == dtype
        assert engine._loss_and_gradient(np.arange(3), 0.1)[1].dtype == dtype
        assert engine.loss_and_gradient(engine.parameters, 0.1)[1].dtype == np.float64


def test_an_epoch_in_two_halves_is_the_same():
    """The state taken out and put back, and the number of steps, carry all that the optimizer knows."""
    network, parameters, X, targets, weight = problem("log_loss", n_samples=8)
    for optimizer in (SGD(LearningRate(0.1)), Adam(LearningRate(0.1))):
        whole = loaded(network, parameters, X, targets, weight)
        whole.run_epoch(np.arange(8), 4, 0.1, optimizer.update())
        first = loaded(network, parameters, X, targets, weight)
        first.run_epoch(np.arange(4), 4, 0.1, optimizer.update())
        optimizer.advance(1)
        second = loaded(network, first.get_parameters(), X, targets, weight)
        second.set_state(first.get_state())
        second.run_epoch(np.arange(4, 8), 4, 0.1, optimizer.update())
        np.testing.assert_array_equal(second.parameters, whole.parameters)
        np.testing.assert_array_equal(second.get_state(), whole.get_state())


def test_batch_without_weight_takes_no_step():
    network, parameters, X, targets, weight = problem("log_loss")
    weight[:4] = 0
    engine = loaded(network, parameters, X, targets, weight)
    assert engine.run_epoch(np.arange(4), 4, 0.1, SGD(LearningRate(0.1)).update()) == 0.0
    np.testing.assert_array_equal(engine.parameters, flatten(*parameters))


def test_losses_of_saturated_outputs_are_finite():
    for dtype in (np.float32, np.float64):
        output = np.array([[0.0, 1.0]], dtype)
        for loss, targets in (("log_loss", [[0]]), ("binary_log_loss", [[1, 0]])):
            assert np.isfinite(row_losses(loss, np.array(targets, dtype), output)).all()


def test_preactivations():
    network, parameters, X, *_ = problem("log_loss")
    raw = forward(network, *parameters, X, raw=True)
    probability = np.exp(raw) / np.exp(raw).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(forward(network, *parameters, X), probability)


def test_flatten_and_back():
    network, parameters, *_ = problem("log_loss")
    flat = flatten(*parameters)
    assert flat.shape == (network.n_parameters,)
    for arrays, expected in zip(unflatten(flat, network.widths), parameters, strict=True):
        for array, original in zip(arrays, expected, strict=True):
            np.testing.assert_array_equal(array, original)
            assert array.base is None


def test_poisson_loss_of_nothing_predicted_where_nothing_came():
    with np.errstate(all="raise"):
        assert row_losses("poisson", np.zeros((1, 1)), np.zeros((1, 1))) == [0.0]
