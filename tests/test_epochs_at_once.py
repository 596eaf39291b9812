"""Epochs that the engine takes in one call, with the draws and the rule of stopping in the kernel."""

import threading

import numpy as np
import pytest
from numba import njit

from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.cpu import engine, finite, shuffle, threads
from fastmlp.training.shuffle import Shuffle

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 5))
y = (X[:, 0] > 0) + 0


@njit
def shuffle_rows(order, count, generator):
    shuffle.shuffle(order, count, generator)


@njit
def is_finite(memory, count):
    return finite.is_finite(memory, count)


@pytest.fixture(params=[1, 2])
def many(request, monkeypatch):
    """Let a job be as many epochs as may be; give the number of threads, and the epochs of each job."""
    jobs, run_whole = [], engine.Engine._run_whole

    def noted(*arguments):
        losses = run_whole(*arguments)
        jobs.append(len(losses))
        return losses

    monkeypatch.setattr(threads.Pace, "next", lambda pace: (min(request.param, pace.choices[-1]), 10**7))
    monkeypatch.setattr(engine.Engine, "_run_whole", noted)
    return request.param, jobs


@pytest.fixture
def single(monkeypatch):
    """Return a function that fits with one epoch to a job."""

    def fit(model):
        with monkeypatch.context() as patch:
            patch.setattr(threads.Pace, "next", lambda pace: (1, 1))
            return model.fit(X, y)

    return fit


def assert_same(model, expected):
    np.testing.assert_array_equal(model.loss_curve_, expected.loss_curve_)
    assert {type(loss) for loss in model.loss_curve_ + expected.loss_curve_} == {float}
    for name in ("n_iter_", "t_", "best_loss_", "_no_improvement_count"):
        assert getattr(model, name) == getattr(expected, name)
    for one, other in zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        np.testing.assert_array_equal(one, other)
    assert model._optimizer.step == expected._optimizer.step
    assert model._optimizer.learning_rate == expected._optimizer.learning_rate
    assert {*model.history_} == {*expected.history_}
    assert len(model.history_["seconds"]) == len(model.loss_curve_)
    assert np.all(np.diff(model.history_["seconds"][-model.n_iter_ :]) >= 0)


@pytest.mark.parametrize("n_rows", [0, 1, 2, 3, 7, 8, 9, 100, 623, 624, 1797, 40_000])
def test_order_is_that_of_numpy(n_rows):
    by_numpy, by_kernel = (Shuffle(n_rows, np.random.RandomState(3)) for _ in range(2))
    for _ in range(3):
        by_numpy.next()
        generator = by_kernel.take_generator()
        roomy = shuffle.room_for_numbers(generator)
        shuffle_rows(by_kernel.order, n_rows, roomy)
        by_kernel.give_generator(roomy[: generator.size])
        np.testing.assert_array_equal(by_kernel.order, by_numpy.order)
    draws = [one.random_state.standard_normal(3) for one in (by_numpy, by_kernel)]
    np.testing.assert_array_equal(*draws)


def test_second_normal_variate_is_kept():
    """RandomState draws two at a time and keeps one of them."""
    random_state = np.random.RandomState(0)
    expected = np.random.RandomState(0).standard_normal(2)[1]
    random_state.standard_normal()
    one = Shuffle(5, random_state)
    one.give_generator(one.take_generator())
    assert random_state.standard_normal() == expected


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_is_found_anywhere(count, dtype):
    size = count * 64 // np.dtype(dtype).itemsize
    whole = np.zeros(size + 64, dtype)
    start = -whole.ctypes.data % 64 // whole.itemsize
    memory = whole[start : start + size]
    memory[:] = np.finfo(dtype).max
    assert is_finite(memory, size)
    for place in range(size):
        for value in (np.nan, np.inf, -np.inf):
            memory[place] = value
            assert not is_finite(memory, size)
        memory[place] = 1.0


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1},
        {"tol": 1e-3, "n_iter_no_change": 2, "max_iter": 200},
        {"shuffle": False},
        {"dropout": 0.2},
        {"alpha": 1.0, "l1_ratio": 0.5, "max_grad_norm": 0.1},
        {"batch_size": 7, "solver": "sgd", "momentum": 0.5},
        {"warm_start": True},
    ],
)
def test_same_as_epoch_by_epoch(many, single, parameters):
    n_threads, jobs = many
    parameters = {"hidden_layer_sizes": (9, 6), "max_iter": 25, "random_state": 0, "batch_size": 20, **parameters}
    model = MLPClassifier(n_threads=n_threads, **parameters)
    expected = MLPClassifier(n_threads=1, **parameters)
    for _ in range(2 if "warm_start" in parameters else 1):
        model.fit(X, y)
        single(expected)
        assert_same(model, expected)
    assert max(jobs) > 1


def test_divergence_is_found_in_its_epoch(many):
    parameters = {"solver": "sgd", "learning_rate_init": 1.0, "max_iter": 80, "random_state": 0, "tol": 0.0}
    parameters |= {"activation": "identity", "n_iter_no_change": 80, "n_threads": many[0]}
    messages = []
    for fit in (lambda model: model.fit(X, X[:, 0]), single_of_regression):
        with pytest.raises(ValueError, match="in epoch") as caught:
            fit(MLPRegressor(**parameters))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "in epoch 1." not in messages[0]


def single_of_regression(model):
    """Fit with validation rows, after each epoch of which something is to be done."""
    return model.fit(X, X[:, 0], X_val=X[:5], y_val=X[:5, 0])


def test_other_bit_generators_draw_themselves(many, single):
    _, jobs = many
    models = [
        MLPClassifier(max_iter=12, batch_size=20, random_state=np.random.RandomState(np.random.PCG64(3)))
        for _ in range(2)
    ]
    assert_same(models[0].fit(X, y), single(models[1]))
    assert jobs == []


def test_global_random_state(many, single):
    _, jobs = many
    models = []
    for fit in (lambda model: model.fit(X, y), single):
        np.random.seed(7)  # noqa: NPY002
        models.append(fit(MLPClassifier(max_iter=12, batch_size=20)))
        models[-1].draw = np.random.uniform()  # noqa: NPY002
    assert_same(*models)
    assert models[0].draw == models[1].draw
    assert max(jobs) > 5
    del jobs[:]
    thread = threading.Thread(target=models[0].fit, args=(X, y))  # others may draw from it at the same time
    thread.start()
    thread.join()
    assert jobs == []


@pytest.mark.parametrize(
    "parameters",
    [{"verbose": True}, {"early_stopping": True}, {"learning_rate": "cosine"}, {"augment": {"mixup": 0.2}}],
)
def test_one_by_one_where_something_happens_in_between(many, parameters, capsys):
    _, jobs = many
    model = MLPClassifier(max_iter=8, batch_size=20, random_state=0, **parameters).fit(X, y)
    assert jobs == []
    assert model.n_iter_ == 8
