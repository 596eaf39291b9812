"""Many networks trained at once on a GPU, or its simulator, against each alone."""

import numpy as np
import pytest
from problems import UPDATES, make_network, make_problem

from fastmlp.network import flatten

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from fastmlp.cuda import population as cuda_population
from fastmlp.cuda.engine import Engine
from fastmlp.cuda.population import Population, train_population

pytestmark = pytest.mark.gpu

N_ROWS = 9
NETWORKS = [
    make_network((4, 5, 3), "log_loss"),
    make_network((4, 3, 2, 3), "log_loss", "relu"),
    make_network((4, 3), "log_loss"),
]


def alone(network, X, targets, weight, parameters, orders, batch_size, alpha, update):
    with Engine(network, X.dtype, kind="block") as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(*parameters)
        losses = []
        for order in orders:
            losses.append(engine.run_epoch(order, batch_size, alpha, update))
            update = update._replace(step=engine.step)
        return losses, flatten(*engine.get_parameters()), engine.get_state()


@pytest.mark.parametrize("shared", [True, False])
def test_each_has_the_bits_of_its_own_training(shared, monkeypatch):
    monkeypatch.setattr(cuda_population, "most_shared_memory", lambda: 1 << 15 if shared else 0)
    X, targets, weight, _ = make_problem(NETWORKS[0], N_ROWS)
    random = np.random.default_rng(0)
    starts = [make_problem(network, 1, seed=seed)[3] for seed, network in enumerate(NETWORKS)]
    orders = [[random.permutation(N_ROWS) for _ in range(2)] for _ in NETWORKS]
    batch_sizes, alphas = [4, 9, 2], [0.1, 0.0, 0.5]
    updates = [UPDATES["adam"], UPDATES["nadam"], UPDATES["sgd"]._replace(max_norm=0.1)]
    population = Population(NETWORKS, np.dtype(np.float64))
    population.load(X, [targets] * 3, weight)
    for engine, start in zip(population.engines, starts, strict=True):
        engine.set_parameters(*start)
    losses, steps = [], updates
    for epoch in range(2):
        losses.append(population.run_epoch([own[epoch] for own in orders], batch_sizes, alphas, steps))
        steps = [update._replace(step=engine.step) for update, engine in zip(steps, population.engines, strict=True)]
    for i, network in enumerate(NETWORKS):
        settings = (orders[i], batch_sizes[i], alphas[i], updates[i])
        expected, parameters, state = alone(network, X, targets, weight, starts[i], *settings)
        np.testing.assert_array_equal([own[i] for own in losses], expected)
        np.testing.assert_array_equal(flatten(*population.engines[i].get_parameters()), parameters)
        np.testing.assert_array_equal(population.engines[i].get_state(), state)


def test_train_population():
    network = NETWORKS[0]
    X, targets, _, start = make_problem(network, N_ROWS, np.float32)
    orders = np.array([[np.arange(N_ROWS)] * 2, [np.arange(N_ROWS)[::-1]] * 2])
    losses, parameters = train_population([network] * 2, X, targets, [start] * 2, orders, 4, UPDATES["adam"])
    assert losses.shape == (2, 2)
    for i in range(2):
        expected, end, _ = alone(network, X, targets, None, start, orders[i], 4, 0.0, UPDATES["adam"])
        np.testing.assert_array_equal(losses[i], expected)
        np.testing.assert_array_equal(flatten(*parameters[i]), end)
