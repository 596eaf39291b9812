"""Fits that end before their time go on from a file, as if they had not ended."""

import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.callbacks import Checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 5))
y = (X[:, 0] * X[:, 1] > 0) + 0


class Killed(BaseException):
    """Ends a fit at once; not even `except Exception` stops it."""


def kill_after(number):
    def kill(epoch):
        if epoch.number == number:
            raise Killed

    return kill


def assert_same(model, expected, optimizer=False):
    """Compare all that is fitted but times, bit for bit; the optimizer's state by what it does next."""
    names = [name for name in vars(expected) if name.endswith("_") and name != "history_"]
    assert {name for name in vars(model) if name.endswith("_")} - {"history_"} == set(names)
    for name in names:
        np.testing.assert_equal(getattr(model, name), getattr(expected, name), err_msg=name)
    for name, values in expected.history_.items():
        if name != "seconds":
            np.testing.assert_equal(model.history_[name], values)
    assert (np.diff(model.history_["seconds"]) > 0).all()
    if optimizer:
        np.testing.assert_array_equal(model.partial_fit(X, y).coefs_[0], expected.partial_fit(X, y).coefs_[0])


FITS = {
    "adam": {},
    "sgd, adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.5, "n_iter_no_change": 1},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.03},
    "schedule": {"learning_rate": "one_cycle", "learning_rate_init": 0.01},
    "dropout": {"dropout": 0.3},
    "augment": {"augment": {"jitter": 0.1, "mixup": 0.3}},
    "float32": {"dtype": "float32"},
    "blocks": {"shuffle": "blocks"},
    "in order": {"shuffle": False},
    "nadam, clipped": {"solver": "nadam", "max_grad_norm": 0.5, "l1_ratio": 0.5},
}


@pytest.mark.parametrize("settings", FITS.values(), ids=FITS)
@pytest.mark.parametrize("number", [1, 6, 11, 12])
def test_killed_fit_goes_on(settings, number, tmp_path):
    settings = {"max_iter": 12, "random_state": 3, "batch_size": 16, **settings}
    expected = MLPClassifier((7,), **settings).fit(X, y)
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    number = min(number, expected.n_iter_)
    with pytest.raises(Killed):
        MLPClassifier((7,), **settings, callbacks=[checkpoint, kill_after(number)]).fit(X, y)
    assert fastmlp.load(checkpoint.path).n_iter_ == number
    told = []
    model = MLPClassifier((7,), **settings, callbacks=[checkpoint, lambda epoch: told.append(epoch.number)]).fit(X, y)
    assert told == list(range(number + 1, expected.n_iter_ + 1))
    assert_same(fastmlp.load(checkpoint.path), expected)
    assert_same(model, expected, optimizer=True)


def test_fit_that_is_killed_again_and_again(tmp_path):
    expected = MLPRegressor(max_iter=20, random_state=0, tol=0).fit(X, X[:, 0])
    checkpoint = Checkpoint(tmp_path / "fit", every=3, resume=True)
    for number in (2, 4, 5, 13):  # before the first file, between two, and with one that is written anew
        with pytest.raises(Killed):
            MLPRegressor(max_iter=20, random_state=0, tol=0, callbacks=[checkpoint, kill_after(number)]).fit(X, X[:, 0])
    model = MLPRegressor(max_iter=20, random_state=0, tol=0, callbacks=checkpoint).fit(X, X[:, 0])
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    assert model.loss_curve_ == expected.loss_curve_


def test_any_generator_goes_on(tmp_path):
    """What it is when the fit begins is in the file: no number has to be known."""
    checkpoint, start = Checkpoint(tmp_path / "fit", resume=True), np.random.RandomState(9)
    start.rand(3)
    state = start.get_state()
    expected = MLPClassifier(max_iter=9, random_state=start).fit(X, y)
    after = start.get_state()[1]
    start.set_state(state)
    with pytest.raises(Killed):
        MLPClassifier(max_iter=9, random_state=start, callbacks=[checkpoint, kill_after(4)]).fit(X, y)
    other = np.random.RandomState(1)
    with pytest.warns(UserWarning, match="save leaves out random_state"):  # which only a fit that has ended does
        model = MLPClassifier(max_iter=9, random_state=other, callbacks=checkpoint).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
    np.testing.assert_array_equal(other.get_state()[1], after)
    shared = np.random.get_state()[1]  # noqa: NPY002 -- which a fit that goes on must not set
    os.remove(checkpoint.path)
    with pytest.raises(Killed):
        MLPClassifier(max_iter=9, callbacks=[checkpoint, kill_after(4)]).fit(X, y)
    drawn = np.random.get_state()[1]  # noqa: NPY002
    assert (drawn != shared).any()
    MLPClassifier(max_iter=9, callbacks=checkpoint).fit(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], drawn)  # noqa: NPY002


def test_finished_fit_begins_anew(tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    for seed in (0, 1):
        model = MLPClassifier(max_iter=3, random_state=seed, callbacks=checkpoint).fit(X, y)
        expected = MLPClassifier(max_iter=3, random_state=seed).fit(X, y)
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])
        np.testing.assert_array_equal(fastmlp.load(checkpoint.path).coefs_[0], expected.coefs_[0])


def test_more_epochs_and_other_threads_may_be_asked_for(tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    with pytest.raises(Killed):
        MLPClassifier(max_iter=5, random_state=0, callbacks=[checkpoint, kill_after(4)]).fit(X, y)
    model = MLPClassifier(max_iter=9, random_state=0, n_threads=1, callbacks=checkpoint).fit(X, y)
    expected = MLPClassifier(max_iter=9, random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize(
    ("other", "rows", "message"),
    [
        ({"alpha": 0.5}, 120, "alpha=0.0001, here it is 0.5"),
        ({"random_state": 1}, 120, "random_state=0, here it is 1"),
        ({"hidden_layer_sizes": (8, 8)}, 120, r"hidden_layer_sizes=\(100,\), here it is \(8, 8\)"),
        ({}, 119, "rows: 120, here it is 119"),
        ({"solver": "lbfgs"}, 120, "cannot go on with a fit that has solver='lbfgs'"),
        ({"gradient_tol": 0.1, "batch_size": "full"}, 120, "cannot go on with a fit that has gradient_tol"),
    ],
)
def test_unfinished_fit_of_another_kind(other, rows, message, tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    with pytest.raises(Killed):
        MLPClassifier(max_iter=5, random_state=0, callbacks=[checkpoint, kill_after(2)]).fit(X, y)
    content = (tmp_path / "fit").read_bytes()
    model = MLPClassifier(**{"max_iter": 5, "random_state": 0, "callbacks": checkpoint, **other})
    with pytest.raises(ValueError, match=message):
        model.fit(X[:rows], y[:rows])
    assert (tmp_path / "fit").read_bytes() == content
    with pytest.raises(ValueError, match="of an unfinished fit of MLPClassifier, this is MLPRegressor"):
        MLPRegressor(callbacks=checkpoint).fit(X, X[:, 0])


def test_warm_start_does_not_go_on(tmp_path):
    model = MLPClassifier(max_iter=2, warm_start=True, callbacks=Checkpoint(tmp_path / "fit", resume=True)).fit(X, y)
    with pytest.raises(ValueError, match="cannot go on with a fit that has warm_start=True"):
        model.fit(X, y)


@pytest.mark.parametrize("cut", [0, 5, 100, -1])
def test_torn_file_is_no_fit(cut, tmp_path):
    checkpoint = Checkpoint(tmp_path / "fit", resume=True)
    MLPClassifier(max_iter=2, callbacks=checkpoint).fit(X, y)
    (tmp_path / "fit").write_bytes((tmp_path / "fit").read_bytes()[:cut])
    with pytest.raises(ValueError, match="is not a whole safetensors file"):
        MLPClassifier(max_iter=2, callbacks=checkpoint).fit(X, y)


def test_every_and_monitor(tmp_path):
    files = []

    def look(epoch):
        path = tmp_path / "fit"
        files.append(fastmlp.load(path).n_iter_ if path.exists() else None)

    model = MLPClassifier(max_iter=7, random_state=0, callbacks=[Checkpoint(tmp_path / "fit", every=3), look])
    model.fit(X, y)
    assert files == [None, None, 3, 3, 3, 6, 6]
    assert fastmlp.load(tmp_path / "fit").n_iter_ == 7
    best = Checkpoint(tmp_path / "best", monitor="validation_loss")
    model = MLPClassifier(max_iter=60, tol=0, learning_rate_init=0.05, random_state=0, callbacks=best)
    model.fit(X[:60], y[:60], X_val=X[60:], y_val=y[60:])
    place = int(np.argmin(model.validation_loss_curve_))
    assert place < 59, "the last epoch is not the best one"
    assert fastmlp.load(best.path).n_iter_ == place + 1
    assert not hasattr(fastmlp.load(tmp_path / "fit"), "_begun")
    with pytest.raises(ValueError, match=r"resume=True needs the last epoch"):
        Checkpoint("fit", monitor="loss", resume=True)


def test_file_of_an_unfinished_fit_is_a_model(tmp_path):
    with pytest.raises(Killed):
        MLPClassifier(max_iter=9, random_state=0, callbacks=[Checkpoint(tmp_path / "fit"), kill_after(4)]).fit(X, y)
    loaded, expected = fastmlp.load(tmp_path / "fit"), MLPClassifier(max_iter=4, random_state=0).fit(X, y)
    np.testing.assert_array_equal(loaded.predict_proba(X), expected.predict_proba(X))
    np.testing.assert_array_equal(loaded.partial_fit(X, y).coefs_[0], expected.partial_fit(X, y).coefs_[0])
    assert not hasattr(loaded, "_begun")


def fit_to(path, made):
    model = MLPClassifier((40,), max_iter=60, random_state=0, tol=0, callbacks=Checkpoint(path, resume=True))
    made.set()
    model.fit(X, y)


def test_kill_at_random_moments(tmp_path):
    """SIGKILL, at 50 moments: while it computes, while it writes, between."""
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("children that need no time to start are forks")
    context, path = multiprocessing.get_context("fork"), tmp_path / "fit"
    expected = MLPClassifier((40,), max_iter=60, random_state=0, tol=0).fit(X, y)
    random, killed, last = np.random.default_rng(0), 0, 0
    while killed < 50:
        made = context.Event()
        child = context.Process(target=fit_to, args=(path, made))
        child.start()
        made.wait()
        time.sleep(random.uniform(0, 0.03))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        if child.exitcode == 0:  # it was faster
            assert_same(fastmlp.load(path), expected)
            path.unlink()
            last = 0
            continue
        killed += 1
        if path.exists():
            n_iter = fastmlp.load(path).n_iter_
            assert n_iter >= last, "a file with less than the one before"
            last = n_iter
    child = context.Process(target=fit_to, args=(path, context.Event()))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert_same(fastmlp.load(path), expected)
    assert os.listdir(tmp_path) == ["fit"] or all(name.startswith(("fit", ".fit")) for name in os.listdir(tmp_path))
