"""The CPU engine against the plain NumPy one and finite differences, at sizes below, at and above its tiles."""

import os
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numba
import numpy as np
import pytest
from problems import FURTHER_OUTPUTS, OUTPUTS, UPDATES, make_network, make_problem, run
from scipy import sparse
from suite import measured

from fastmlp import reference
from fastmlp.cpu import compile, layout
from fastmlp.cpu import engine as cpu_engine
from fastmlp.cpu import forward as cpu_forward
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import FEW_PRODUCTS, FEW_ROWS, MORE_ROWS, forward
from fastmlp.cpu.layout import BLOCK_ROWS, CHUNKS, TAIL, UNITS, Layout, lanes_of
from fastmlp.cpu.multiply import ROW_BLOCK
from fastmlp.cpu.parameters import TILES_AT_ONCE
from fastmlp.cpu.saliency import input_gradient
from fastmlp.cpu.target import PANELS, ROWS, TAIL_UNITS
from fastmlp.cpu.threads import resolve_threads
from fastmlp.formulas import updates
from fastmlp.formulas.activations import ACTIVATIONS, CLASSIC
from fastmlp.network import Network, flatten

TILE = PANELS * lanes_of(np.float64)  # columns


def assert_same_training(network, n_rows, dtype=np.float64, seed=0, rtol=1e-9, **settings):
    problem = make_problem(network, n_rows, dtype, seed)
    ours = run(Engine, network, problem, dtype, **settings)
    settings.pop("n_threads", None)
    theirs = run(reference.Engine, network, problem, dtype, **settings)
    for got, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


def recorded_jobs(monkeypatch):
    """Return a list that takes (threads of the job, helpers that are alive) of every job from now on.

    The first job of a team has all its helpers; of a later one they may not be ready where cores are busy.
    """
    jobs, work = [], cpu_engine.work

    def recording(*arguments):
        result = work(*arguments)
        if arguments[-1] == 0:  # the leader's
            jobs.append((result, sum(thread.name.startswith("fastmlp") for thread in threading.enumerate())))
        return result

    monkeypatch.setattr(cpu_engine, "work", recording)
    return jobs


def assert_same_bits_in_teams(monkeypatch, network, problem, dtype, batches, repeats, **settings):
    """Compare with one thread, in jobs of so many batches; repeats: {number of threads: how often}."""
    serial = run(Engine, network, problem, dtype, **settings)
    jobs = recorded_jobs(monkeypatch)
    monkeypatch.setattr(cpu_engine.Pace, "next", lambda pace: (pace.choices[-1], batches))
    for n_threads, count in repeats.items():
        for _ in range(count):
            threaded = run(Engine, network, problem, dtype, n_threads=n_threads, **settings)
            for got, expected in zip(threaded, serial, strict=True):
                np.testing.assert_array_equal(got, expected)
    assert max(team for team, _ in jobs) > 1, "no job had helpers"


@pytest.mark.parametrize("width", range(1, 2 * TILE + 2))
def test_widths_from_one_to_two_tiles_and_one(width):
    assert_same_training(make_network((width, 3, width, 2), "log_loss"), 9, batch=9)


@pytest.mark.parametrize("more", [{}, {"csr": True}, {"l1_ratio": 0.3}, {"max_norm": 0.05}])
@pytest.mark.parametrize("width", [1, 2, TILE - 1, TILE, TILE + 1, (ROWS + 1) * TILE])
def test_layers_of_one_output(width, more):
    """Their weights lie along their inputs, if they are not the first; a batch's rows are in two chunks, or one."""
    for widths in ((7, width, 1), (width, 1, 5, 1), (7, 1, 1, 2)):
        for batch in (2 * ROWS - 1, 70):
            assert_same_training(make_network(widths), 75, batch=batch, **more)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("more", [{}, {"csr": True}, {"l1_ratio": 0.3, "update": "sgd"}, {"max_norm": 0.05}])
@pytest.mark.parametrize("batch", [2 * ROWS - 1, 70, 3 * ROW_BLOCK, BLOCK_ROWS + 1])
def test_tails(batch, more, dtype):
    """Outputs beyond the whole registers: their sums are along the inputs, if they are few and the inputs are not."""
    lanes, rtol = lanes_of(dtype), 1e-9 if dtype == np.float64 else 2e-4
    for rest in {1, TAIL_UNITS, TAIL_UNITS + 1, 3 * TAIL_UNITS, lanes - 1} & set(range(lanes)):
        for widths in ((2 * lanes, lanes + rest, rest), (4 * lanes - 1, rest, 7 * lanes + rest, 2 * lanes + rest, 2)):
            network = make_network(widths)
            if rest == 1 and lanes > TAIL_UNITS:
                assert Layout(network, np.dtype(dtype), batch, 1).layers[0][TAIL] == rest
            assert_same_training(network, batch + 5, dtype, rtol=rtol, batch=batch, **more)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("widths", [(36, 41, 3), (68, 36, 1), (33, 1, 2), (4, 36, 36)])
def test_gradient_by_the_inputs(widths, dtype):
    network = make_network(widths)
    X, _, _, parameters = make_problem(network, BLOCK_ROWS + 21, dtype)
    errors = np.random.default_rng(1).standard_normal((len(X), widths[-1])).astype(dtype)
    expected = reference.input_gradient(network, *parameters, X, errors)
    rtol = 1e-9 if dtype == np.float64 else 2e-4
    got = input_gradient(network, *parameters, X, errors)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * np.abs(expected).max())


@pytest.mark.parametrize("batch", [1, 70, 600])
def test_more_tiles_than_are_taken_at_once(batch):
    """A layer's tiles go from gradient to update some at a time; also those of the backward pass's transposed copy."""
    inputs = TILES_AT_ONCE * ROWS
    assert_same_training(make_network((2 * inputs + 1, inputs + 1, 3), "log_loss"), min(batch + 1, 601), batch=batch)


@pytest.mark.parametrize("n_rows", range(1, 2 * ROWS + 2))
def test_rows_from_one_to_two_tiles_and_one(n_rows):
    assert_same_training(make_network((5, 4, 2)), n_rows, batch=n_rows)
    assert_same_training(make_network((5, 4, 2)), 2 * ROWS + 1, batch=n_rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("update", updates.CLASSIC)
@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_every_formula(activation, loss, update, dtype):
    rtol = 1e-9 if dtype == np.float64 else 2e-4
    assert_same_training(make_network((7, 19, 5, 3), loss, activation), 75, dtype, update=update, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", FURTHER_OUTPUTS)
@pytest.mark.parametrize("n_outputs", [1, 3, TILE + 1])
def test_every_further_loss(n_outputs, loss, dtype):
    rtol = 1e-9 if dtype == np.float64 else 5e-4
    assert_same_training(make_network((7, 19, n_outputs), loss), 75, dtype, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("activation", [name for name in ACTIVATIONS if name not in CLASSIC])
def test_every_further_activation(activation, dtype):
    rtol = 1e-9 if dtype == np.float64 else 5e-4
    assert_same_training(make_network((7, 19, 5, 3), "log_loss", activation), 75, dtype, rtol=rtol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("update", [name for name in updates.UPDATES if name not in updates.CLASSIC])
@pytest.mark.parametrize("csr", [False, True])
def test_every_further_update(csr, update, dtype):
    rtol = 1e-9 if dtype == np.float64 else 5e-4
    network = make_network((7, 19, 5, 3), "log_loss")
    assert_same_training(network, 75, dtype, update=update, epochs=4, csr=csr, rtol=rtol)


REGULARISATIONS = [
    {"max_norm": 0.05},
    {"max_norm": np.inf},
    {"l1_ratio": 0.3},
    {"l1_ratio": 1.0, "max_norm": 0.1},
    {"rates": np.geomspace(0.1, 0.001, 40)},
]


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("batch", [33, 2 * BLOCK_ROWS + 5])
@pytest.mark.parametrize("more", REGULARISATIONS, ids=str)
@pytest.mark.parametrize("scale_alpha", [False, True])
def test_regularised_steps(scale_alpha, more, batch, csr):
    network = replace(make_network((6, 18, 5, 2), "log_loss"), scale_alpha=scale_alpha)
    assert_same_training(network, 2 * BLOCK_ROWS + 40, batch=batch, csr=csr, **more)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("update", [name for name in updates.UPDATES if name != "adamw"])
def test_sparsity_in_every_update(update, dtype):
    rtol = 1e-9 if dtype == np.float64 else 2e-3
    problem = make_problem(make_network((7, 19, 5, 3), "log_loss"), 75, dtype)
    settings = {"update": update, "epochs": 4, "l1_ratio": 0.8}
    network = make_network((7, 19, 5, 3), "log_loss")
    ours, theirs = (run(kind, network, problem, dtype, **settings)[1] for kind in (Engine, reference.Engine))
    np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


@pytest.mark.parametrize("update", updates.UPDATES)
def test_bound_of_the_norm_in_every_update(update):
    # the penalty is a part of the gradient, but not where the decay of the weights is decoupled
    network = make_network((7, 19, 5, 3), "log_loss")
    problem = make_problem(network, 75, np.float64)
    settings = {"update": update, "epochs": 4, "alpha": 3.0, "max_norm": 0.2}
    ours, theirs = (run(kind, network, problem, np.float64, **settings)[1] for kind in (Engine, reference.Engine))
    np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("more", REGULARISATIONS, ids=str)
@pytest.mark.parametrize("batch", [50, 100])  # in one chunk of rows, and in two
def test_regularised_steps_have_the_same_bits_in_teams(batch, more, csr, monkeypatch):
    network = make_network((9, 40, 17, 3))
    problem = make_problem(network, 203, np.float32)
    repeats = dict.fromkeys((2, 3), 3)
    settings = {"batch": batch, "csr": csr, "epochs": 4, **more}
    assert_same_bits_in_teams(monkeypatch, network, problem, np.float32, 2, repeats, **settings)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("batch", [33, 2 * BLOCK_ROWS + 5])
@pytest.mark.parametrize("activations", [("relu", "tanh", "logistic"), ("gelu", "identity", "softplus")])
def test_dropout(activations, batch, csr):
    network = Network((6, 18, 5, 20, 3), (*activations, "softmax"), "log_loss", dropout=(0.3, 0.0, 0.5))
    assert_same_training(network, 2 * BLOCK_ROWS + 40, batch=batch, csr=csr)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch", [50, 100])
def test_dropout_has_the_same_bits_in_teams(batch, dtype, monkeypatch):
    network = replace(make_network((9, 40, 17, 3)), dropout=(0.5, 0.2))
    problem = make_problem(network, 203, dtype)
    repeats = dict.fromkeys((2, 3), 3)
    assert_same_bits_in_teams(monkeypatch, network, problem, dtype, 2, repeats, batch=batch, epochs=4)


def test_dropout_in_float32_silences_the_same_units():
    network = replace(make_network((7, 300, 3), "log_loss", "relu"), dropout=(0.5,))
    assert_same_training(network, 75, np.float32, rtol=5e-4)


def test_outputs_of_a_network_in_training_have_no_dropout():
    network = replace(make_network((7, 30, 3), "log_loss"), dropout=(0.5,))
    X, targets, weight, parameters = make_problem(network, 75)
    with Engine(network, np.dtype(np.float64)) as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(*parameters)
        np.testing.assert_allclose(engine.forward(X), reference.forward(network, *parameters, X), rtol=1e-12)


AUGMENTATIONS = [
    {"jitter": 0.5},
    {"drop_features": 0.3},
    {"mixup": 0.4},
    {"jitter": 0.1, "drop_features": 0.1, "mixup": 1.0},
]


@pytest.mark.parametrize("loss", ["squared_error", "soft_log_loss", "binary_squared_error", "soft_binary_log_loss"])
@pytest.mark.parametrize("batch", [33, 2 * BLOCK_ROWS + 5])
@pytest.mark.parametrize("augment", AUGMENTATIONS, ids=str)
def test_augmentation(augment, batch, loss):
    assert_same_training(make_network((6, 18, 3), loss), 2 * BLOCK_ROWS + 40, batch=batch, augment=augment)


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids=str)
@pytest.mark.parametrize("n_features", [1, 7, 8, 9, 40])
def test_augmentation_of_any_number_of_features(n_features, augment):
    network = make_network((n_features, 18, 1), "soft_binary_log_loss")
    for settings in ({"weighted": False}, {"dtype": np.float32, "rtol": 5e-4}):
        assert_same_training(network, 75, augment=augment, **settings)


@pytest.mark.parametrize("widths", [(9, 40, 17, 3), (9, 3)])
@pytest.mark.parametrize("batch", [50, 100])
def test_augmentation_has_the_same_bits_in_teams(batch, widths, monkeypatch):
    network = make_network(widths)
    problem = make_problem(network, 203, np.float32)
    repeats = dict.fromkeys((2, 3), 3)
    settings = {"batch": batch, "epochs": 4, "augment": AUGMENTATIONS[-1]}
    assert_same_bits_in_teams(monkeypatch, network, problem, np.float32, 2, repeats, **settings)


def test_norm_of_the_last_gradient():
    network = make_network((7, 19, 5, 3), "log_loss")
    X, targets, weight, parameters = make_problem(network, 40)
    norms = []
    for kind in (Engine, reference.Engine):
        with kind(network, np.dtype(np.float64)) as engine:
            engine.load(X, targets, weight)
            engine.set_parameters(*parameters)
            engine.run_epoch(np.arange(40), 40, 0.1, UPDATES["sgd"]._replace(max_norm=1e-3))
            norms.append(engine.gradient_norm)
    _, gradient = engine.loss_and_gradient(flatten(*parameters), 0.1)
    np.testing.assert_allclose(norms, np.linalg.norm(gradient), rtol=1e-10)


@pytest.mark.parametrize("batch", [75, 2 * BLOCK_ROWS + 5])
def test_another_activation_in_each_layer(batch):
    network = Network((6, 18, 20, 5, 9, 1), ("gelu", "relu", "mish", "arctan", "identity"), "squared_error")
    assert_same_training(network, 2 * BLOCK_ROWS + 40, batch=batch)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("batch", [1, 33, 100, 2 * BLOCK_ROWS + 5])
def test_batches_smaller_and_larger_than_a_block(batch, csr, weighted):
    network = make_network((6, 18, 2), "binary_log_loss")
    n_rows = 60 if batch == 1 else 2 * BLOCK_ROWS + 40
    assert_same_training(network, n_rows, batch=batch, csr=csr, weighted=weighted)


def test_subnormal_numbers_are_zero_to_kernels_only():
    """The moments of a dead unit decay; below the normal numbers they slow many processors down."""
    network = make_network((4, 20, 2), activation="relu")
    X, targets, weight, (coefs, intercepts) = make_problem(network, 32, np.float32)
    tiny = np.finfo(np.float32).tiny
    intercepts[0][:] = -1e3  # no hidden unit is active
    with Engine(network, np.float32, 1) as engine:
        engine.load(X, targets, weight)
        engine.set_parameters(coefs, intercepts)
        engine.set_state(np.full((2, network.n_parameters), 1.5 * tiny, np.float32))
        for epoch in range(4):  # 1.5 * 0.9**4 < 1
            engine.run_epoch(np.arange(32), 32, 0.0, UPDATES["adam"]._replace(step=epoch))
        first = engine.get_state()[0][: coefs[0].size]
    forward(network, coefs, intercepts, X)
    forward(network, coefs, intercepts, X[:1])
    assert not first.any()
    assert np.float32(tiny) * np.float32(0.5) != 0, "the mode of a kernel outlives it"


def test_batch_without_weight_takes_no_step():
    network = make_network((4, 5, 1))
    X, targets, weight, parameters = make_problem(network, 40)
    weight[:] = 0
    weight[3] = 1
    problem = (X, targets, weight, parameters)
    for got, expected in zip(
        run(Engine, network, problem, np.float64, batch=4),
        run(reference.Engine, network, problem, np.float64, batch=4),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-14)


def test_jobs_without_weight_run_in_teams(monkeypatch):
    """Nothing is computed in most of these jobs: they end as soon as they begin, and the next one must wait for all."""
    network = make_network((4, 5, 1))
    X, targets, weight, parameters = make_problem(network, 400)
    weight[np.random.default_rng(0).random(400) < 0.97] = 0
    problem = (X, targets, weight, parameters)
    assert_same_bits_in_teams(monkeypatch, network, problem, np.float64, 1, {2: 20, 3: 20}, batch=4)


@pytest.mark.parametrize("loss", [*OUTPUTS, *FURTHER_OUTPUTS])
@pytest.mark.parametrize("activation", ["logistic", "tanh", "relu", "gelu", "elu"])
@pytest.mark.parametrize("width", [1, ROWS + 1, TILE, 2 * TILE + 1])
def test_gradient_against_finite_differences(width, activation, loss):
    # scikit-learn's squared error is averaged over the outputs, its gradient is that of the sum: one output only
    network = make_network((width, width, 3, 1 if loss == "squared_error" else 2), loss, activation)
    if width == TILE:
        network = replace(network, dropout=(0.3, 0.0))  # the same units for the same step
    X, targets, weight, parameters = make_problem(network, 2 * ROWS + 1, seed=3)
    flat = flatten(*parameters)
    with Engine(network, np.dtype(np.float64)) as engine:
        engine.load(X, targets, weight)
        _, gradient = engine.loss_and_gradient(flat, 0.3)
        random = np.random.default_rng(0)
        first = 0
        for size in [array.size for arrays in parameters for array in arrays]:
            # one direction through all weights, or biases, of a layer at once
            direction = np.zeros_like(flat)
            direction[first : first + size] = random.normal(size=size)
            first += size
            step = 1e-6
            losses = [engine.loss_and_gradient(flat + move * direction, 0.3)[0] for move in (-step, step)]
            slope = (losses[1] - losses[0]) / (2 * step)
            scale = np.abs(gradient * direction).sum()
            assert abs(slope - gradient @ direction) <= 1e-6 * max(scale, 1e-3)


@pytest.mark.parametrize("csr", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("widths", "n_rows", "batch", "chunks", "units"),
    [
        ((9, 40, 17, 3), 203, 50, 1, 1),
        ((9, 40, 17, 3), 203, 50, 1, 16),
        ((9, 40, 17, 3), 203, 100, 2, 1),
        ((9, 40, 17, 3), 203, 100, 2, 16),  # who is ready first takes units of the other chunk of rows
        ((20, 70, 1), 1300, 1300, 2, 3),
        ((20, 70, 1, 9, 1), 203, 50, 1, 16),
        ((300, 150, 3), 60, 30, 1, 16),
        ((40, 20, 36, 3), 203, 50, 1, 1),
        ((40, 20, 36, 3), 203, 50, 1, 16),
        ((40, 20, 36, 3), 203, 150, 2, 16),
    ],
)
def test_same_bits_for_any_number_of_threads(widths, n_rows, batch, chunks, units, dtype, csr, monkeypatch):
    if units > 1:
        monkeypatch.setattr(layout, "MOST_UNITS", units)
        monkeypatch.setattr(layout, "UNIT_PRODUCTS", 1)
    network = make_network(widths)
    problem = make_problem(network, n_rows, dtype)
    with Engine(network, np.dtype(dtype)) as engine:
        engine.load(problem[0], problem[1])
        engine._layout.set_batch(batch)
        assert engine._layout.plan[CHUNKS] == chunks
        assert engine._layout.plan[UNITS] == units
    repeats = dict.fromkeys((2, 3, 5), 3)
    assert_same_bits_in_teams(monkeypatch, network, problem, dtype, 2, repeats, batch=batch, csr=csr, epochs=4)


def test_helpers_end_where_one_thread_is_enough_and_begin_anew(monkeypatch):
    """A helper that only sleeps makes a fit slower under load: the system counts it when it shares out the cores."""
    network = make_network((9, 40, 17, 3), "log_loss")
    problem = make_problem(network, 2000)
    serial = run(Engine, network, problem, np.float64, batch=10)
    turns, jobs = cycle([2] * 60 + [1]), recorded_jobs(monkeypatch)

    def next_job(pace):
        pace.settled = True
        return next(turns), 1

    monkeypatch.setattr(cpu_engine.Pace, "next", next_job)
    for _ in range(20):
        jobs.clear()
        for got, expected in zip(run(Engine, network, problem, np.float64, batch=10, n_threads=2), serial, strict=True):
            np.testing.assert_array_equal(got, expected)
        alone = [alive for _, alive in jobs].index(0)  # or helpers outlive the choice of one thread
        assert 2 in [team for team, _ in jobs[alone:]], "no team after one that has ended"


def test_a_helper_stays_awake_for_a_job_that_counts_on_it(monkeypatch):
    """The way to a job may take as long as helpers stay awake; one that slept then left the whole job to one thread."""
    network = make_network((5, 8, 2))
    jobs, asleep, gather = recorded_jobs(monkeypatch), [], Engine._gather_team

    def gather_and_dawdle(engine, wanted):
        asleep.append(gather(engine, wanted))
        time.sleep(0.05)
        return asleep[-1]

    monkeypatch.setattr(Engine, "_gather_team", gather_and_dawdle)
    monkeypatch.setattr(cpu_engine.Pace, "next", lambda pace: (2, 1))
    run(Engine, network, make_problem(network, 100), np.float64, batch=10, epochs=2, n_threads=2)
    assert not all(asleep), "no helper was awake"
    assert [team for team, _ in jobs] == [2] * 20


@pytest.mark.parametrize(("products", "team"), [(0, 2), (10**12, 1)])
def test_helpers_begin_with_the_first_batch_if_it_is_long(products, team, monkeypatch):
    """A fit of one long batch would else have one thread; for short ones to start threads takes longer than the fit."""
    network = make_network((5, 8, 2))
    monkeypatch.setattr(cpu_engine, "HELPER_PRODUCTS", products)
    jobs = recorded_jobs(monkeypatch)
    run(Engine, network, make_problem(network, 100), np.float64, batch=100, epochs=1, n_threads=2)
    assert [size for size, _ in jobs] == [team]


def test_helpers_come_and_go_and_no_thread_is_left():
    network = make_network((5, 8, 2))
    problem = make_problem(network, 40)
    before = threading.active_count()
    expected = run(Engine, network, problem, np.float64)
    for _ in range(200):
        got = run(Engine, network, problem, np.float64, n_threads=2)
        np.testing.assert_array_equal(got[1], expected[1])
    assert threading.active_count() == before


def test_same_bits_in_teams_with_another_activation_in_each_layer(monkeypatch):
    network = Network((9, 40, 17, 33, 3), ("silu", "elu", "gelu", "softmax"), "log_loss")
    problem = make_problem(network, 2003)
    assert_same_bits_in_teams(monkeypatch, network, problem, np.float64, 2, {2: 5, 3: 5}, batch=100, epochs=4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", OUTPUTS)
@pytest.mark.parametrize("widths", [(11, 37, 20, 3), (11, 37, 1, 1, 20, 2), (11, 37, 20, 1), (11, 1), (33, 20, 34, 3)])
def test_prediction_has_the_same_bits_for_any_number_of_rows(widths, loss, dtype):
    network = make_network(widths, loss, "relu")
    X, _, _, parameters = make_problem(network, BLOCK_ROWS + 21, dtype)
    whole = forward(network, *parameters, X)
    expected = reference.forward(network, *parameters, X)
    tolerance = (1e-4 if dtype == np.float32 else 1e-12) * np.abs(expected).max()
    np.testing.assert_allclose(whole, expected, rtol=0, atol=tolerance)
    few = FEW_PRODUCTS // network.n_parameters  # as they lie, and one more in panels
    for rows in (1, 5, FEW_ROWS, FEW_ROWS + 1, few, few + 1, BLOCK_ROWS):
        np.testing.assert_array_equal(forward(network, *parameters, X[:rows]), whole[:rows])
        raw = forward(network, *parameters, X[:rows], raw=True)
        np.testing.assert_allclose(
            raw, reference.forward(network, *parameters, X[:rows], raw=True), rtol=1e-3, atol=1e-5
        )


@pytest.mark.parametrize("widths", [(11, 37, 3), (40, 100, 37, 1)])
@pytest.mark.parametrize("most_bytes", [0, cpu_forward.MOST_SPARE_BYTES])
def test_prediction_has_the_same_bits_for_any_number_of_threads(monkeypatch, widths, most_bytes):
    """With one copy of the parameters for all threads, and one for each."""
    monkeypatch.setattr("fastmlp.cpu.share.WAKE_PRODUCTS", 1)
    monkeypatch.setattr(cpu_forward, "MOST_SPARE_BYTES", most_bytes)
    network = make_network(widths)
    X, _, _, parameters = make_problem(network, 3 * BLOCK_ROWS)
    whole = forward(network, *parameters, X)
    for n_threads in (2, 3, 2):
        np.testing.assert_array_equal(forward(network, *parameters, X, n_threads), whole)
        np.testing.assert_array_equal(
            forward(network, *parameters, sparse.csr_array(X), n_threads),
            forward(network, *parameters, sparse.csr_array(X)),
        )
    assert forward(network, *parameters, sparse.csr_array(X)[:0], 2).shape == (0, widths[-1])


def test_what_a_thread_keeps_for_its_next_prediction(monkeypatch):
    """It is of the same network, or made anew, nobody else has it at the time, and it is not large."""
    made = []
    encode = cpu_forward.encode
    monkeypatch.setattr(cpu_forward, "encode", lambda *args, **named: made.append(args) or encode(*args, **named))
    monkeypatch.setattr(cpu_forward, "_spare", threading.local())
    network, other = make_network((80, 120, 80, 2)), make_network((80, 117, 80, 2))
    X, _, _, parameters = make_problem(network, 40)
    others = make_problem(other, 40)[3]
    expected = [reference.forward(*case) for case in ((network, *parameters, X), (other, *others, X))]
    for _ in range(3):
        np.testing.assert_allclose(forward(network, *parameters, X), expected[0], rtol=1e-10)
    assert len(made) == 1
    np.testing.assert_allclose(forward(other, *others, X), expected[1], rtol=1e-10)
    assert len(made) == 2

    doubled = [[2 * x for x in each] for each in parameters]
    forward_call = cpu_forward.forward_call

    def within(*arguments):  # as what handles a signal may
        monkeypatch.setattr(cpu_forward, "forward_call", forward_call)
        got = forward(network, *doubled, X)
        np.testing.assert_allclose(got, reference.forward(network, *doubled, X), rtol=1e-10)
        return forward_call(*arguments)

    for _ in range(2):
        monkeypatch.setattr(cpu_forward, "forward_call", within)
        np.testing.assert_allclose(forward(network, *parameters, X), expected[0], rtol=1e-10)
    monkeypatch.setattr(cpu_forward, "MOST_SPARE_BYTES", 0)
    forward(network, *parameters, X)
    assert not vars(cpu_forward._spare)


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array])
def test_what_is_kept_does_for_fewer_rows_and_some_more(monkeypatch, convert):
    monkeypatch.setattr("fastmlp.cpu.share.WAKE_PRODUCTS", 1)
    monkeypatch.setattr("fastmlp.cpu.share.LATE_PRODUCTS", 1)
    monkeypatch.setattr(cpu_forward, "_spare", threading.local())
    made = []
    encode = cpu_forward.encode
    monkeypatch.setattr(cpu_forward, "encode", lambda *args, **named: made.append(args) or encode(*args, **named))
    network = make_network((80, 120, 80, 2))
    X, _, _, parameters = make_problem(network, 3 * MORE_ROWS)
    expected = forward(network, *parameters, convert(X))
    monkeypatch.setattr(cpu_forward, "_spare", threading.local())
    made.clear()
    for rows in (MORE_ROWS - 10, 3, MORE_ROWS, 20, MORE_ROWS - 3):
        np.testing.assert_array_equal(forward(network, *parameters, convert(X[:rows])), expected[:rows])
    assert len(made) == 1
    for rows, n_threads in ((MORE_ROWS + 1, 1), (3 * MORE_ROWS, 2), (30, 3), (2 * MORE_ROWS, 1), (3 * MORE_ROWS, 3)):
        np.testing.assert_array_equal(forward(network, *parameters, convert(X[:rows]), n_threads), expected[:rows])
    assert len(made) in (2, 3, 4)  # who comes too late for a piece makes none


def test_no_compiling_for_other_hyperparameters():
    network = make_network((4, 5, 2))
    run(Engine, network, make_problem(network, 30), np.float64)
    compiled = len(cpu_engine.work.signatures)
    for widths, loss, activation, update, batch in [
        ((3, 9, 9, 9, 1), "binary_log_loss", "relu", "sgd", 7),
        ((70, 40, 5), "log_loss", "logistic", "adam", 64),
        ((2, 3), "poisson", "identity", "sgd", 1),
    ]:
        other = make_network(widths, loss, activation)
        run(Engine, other, make_problem(other, 80), np.float64, update=update, batch=batch, epochs=1)
    X, targets, weight, parameters = make_problem(network, 30)
    for array in (X, targets, weight):
        array.flags.writeable = False
    run(Engine, network, (X, targets, weight, parameters), np.float64)
    assert len(cpu_engine.work.signatures) == compiled


def test_threads_are_those_that_numba_may_use():
    numba.set_num_threads(1)
    try:
        assert resolve_threads(None) == 1
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)
    assert resolve_threads(None) == numba.config.NUMBA_NUM_THREADS
    assert resolve_threads(7) == 7


PRINT_STAMP = "from fastmlp.cpu import compile; print(compile._STAMP)"


def test_cached_code_is_stale_when_any_formula_has_changed(tmp_path):
    package = Path(cpu_engine.__file__).parent.parent
    copy = tmp_path / "fastmlp"
    shutil.copytree(package, copy, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def stamp():
        command = [sys.executable, "-P" if sys.version_info >= (3, 11) else "-s", "-c", PRINT_STAMP]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    first = stamp()
    assert stamp() == first
    with (copy / "formulas" / "activations.py").open("a") as file:
        file.write("# changed\n")
    assert stamp() != first
    assert cpu_engine.work._cache._cache_file._depends_on == (numba.__version__, compile._STAMP)


SHARE_A_CACHE = """
import sys
import numpy as np
import test_cpu as test
network = test.make_network((37, 40, 17, 4), "log_loss", "relu")
for kind in sys.argv[1:]:
    test.assert_same_training(network, 300, np.float32, csr=kind == "csr", batch=50, rtol=1e-4)
"""


def run_python(program, *arguments, **environment):
    here = Path(__file__).parent
    paths = f"{here}{os.pathsep}{here.parent}"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=here.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def test_programs_of_several_processes_in_one_cache(tmp_path):
    # Each of the first two compiles something; the last ones load both, in either order.
    for kinds in (["dense"], ["dense", "csr"], ["dense", "csr"], ["csr", "dense"]):
        result = run_python(SHARE_A_CACHE, *kinds, NUMBA_CACHE_DIR=str(tmp_path))
        assert result.returncode == 0, (kinds, result.stderr)


NO_PLACE_FOR_A_CACHE = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
caching.CompileResultCacheImpl._locator_classes = []
import test_cpu as test
test.assert_same_training(test.make_network((3, 4, 2)), 20)
"""


def test_no_place_for_a_cache():
    result = run_python(NO_PLACE_FOR_A_CACHE, **measured({}))  # all is compiled, so the bodies of intrinsics run
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("n_threads", [1, 2])
def test_prediction_goes_through_the_network_in_blocks(n_threads):
    """Memory does not grow with the rows times the units of a hidden layer."""
    network = make_network((20, 400, 400, 2), "binary_log_loss", "relu")
    X, _, _, parameters = make_problem(network, 20_000, np.float32)
    forward(network, *parameters, X[:1000], n_threads)  # what is compiled or loaded is none of it
    tracemalloc.start()
    out = forward(network, *parameters, X, n_threads)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (
        peak - out.nbytes < n_threads * 3 * BLOCK_ROWS * 400 * 4 + 4 * network.n_parameters * 2 < 20_000 * 400 * 4 / 3
    )
