"""Training on a Dask cluster of processes."""

import inspect
import os
import pickle
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import psutil
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")

import dask.array as da  # noqa: E402
import dask.dataframe as dd  # noqa: E402
from conftest import use_reference  # noqa: E402
from distributed import Client, Event, LocalCluster  # noqa: E402

from fastmlp import MLPClassifier, MLPRegressor, reference  # noqa: E402
from fastmlp.dask import DaskMLPClassifier, DaskMLPRegressor, simulation  # noqa: E402
from fastmlp.dask.cluster import Cluster  # noqa: E402
from fastmlp.dask.engine import Engine  # noqa: E402
from fastmlp.dask.estimators import OWN, SEEDS  # noqa: E402
from fastmlp.dask.work import Share  # noqa: E402
from fastmlp.network import Network, flatten, unflatten  # noqa: E402
from fastmlp.training.initialisation import draw_parameters  # noqa: E402
from fastmlp.training.optimizers import SGD, Adam, LearningRate  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WORKERS = 3
ROWS = 360
random = np.random.default_rng(0)
X = random.normal(size=(ROWS, 4))
numbers = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
labels = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
weight = random.uniform(0.5, 2.0, ROWS)
SETTINGS = {"hidden_layer_sizes": (6,), "max_iter": 3, "batch_size": 60, "random_state": 0, "tol": 0.0}
CLOSE = {"rtol": 1e-10, "atol": 1e-13}


@pytest.fixture(scope="module")
def client():
    with (
        LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=":0", processes=True) as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def doomed(client):
    """Give a client of a cluster of two workers that may be killed; another one is the default."""
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", processes=True) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def cut(values, chunks=ROWS // WORKERS):
    return da.from_array(values, chunks=(chunks, *values.shape[1:]))


def order_of_one_machine(n_rows, batch_size, n_shards):
    """Return the rows such that batches of one machine are those of shards of one size that take theirs in order."""
    size, share = n_rows // n_shards, batch_size // n_shards
    return np.concatenate(
        [np.arange(s * share, (s + 1) * share) + i * size for s in range(size // share) for i in range(n_shards)]
    )


def same_fit(ours, theirs):
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, **CLOSE)
    for name in ("coefs_", "intercepts_"):
        for one, other in zip(getattr(ours, name), getattr(theirs, name), strict=True):
            np.testing.assert_allclose(one, other, **CLOSE)


# What is equal to one machine


@pytest.mark.parametrize(
    "more",
    [
        {"solver": "adam", "alpha": 0.5},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.05, "max_grad_norm": 0.3},
        {"solver": "adamw", "alpha": 0.1, "warmup_epochs": 2},
        {"solver": "nadam", "l1_ratio": 0.4, "alpha": 0.3},
        {"solver": "rmsprop", "scale_alpha": False, "alpha": 0.01},
        {"solver": "sgd", "l1_ratio": 0.5, "alpha": 0.2, "learning_rate_init": 0.01},
    ],
    ids=lambda more: "-".join(map(str, more.values())),
)
@pytest.mark.parametrize("kind", ["classifier", "regressor", "weighted"])
def test_synchronous_training_is_that_of_one_machine(client, monkeypatch, kind, more):
    distributed_type, plain, y = {
        "classifier": (DaskMLPClassifier, MLPClassifier, labels),
        "regressor": (DaskMLPRegressor, MLPRegressor, numbers),
        "weighted": (DaskMLPClassifier, MLPClassifier, labels),
    }[kind]
    settings = SETTINGS | {"batch_size": 120} | more | {"shuffle": False}
    weights = weight if kind == "weighted" else None
    given = () if weights is None else (cut(weights),)
    ours = distributed_type(**settings).fit(cut(X), cut(y), *given)
    order = order_of_one_machine(ROWS, 120, WORKERS)
    use_reference(monkeypatch)
    theirs = plain(**settings).fit(X[order], y[order], None if weights is None else weights[order])
    same_fit(ours, theirs)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.t_ == theirs.t_


def test_the_shards_take_each_row_once():
    for sizes in ([40, 40, 40], [1, 50, 9], [7], [100, 3, 3, 3, 3, 3]):
        for batch_size in (1, 2, 7, 50, 1000):
            total, n = sum(sizes), len(sizes)
            n_steps = -(-total // batch_size)
            edges = [Share(i, n, size, total, batch_size).edges(0, n_steps) for i, size in enumerate(sizes)]
            assert all(one[0] == 0 and one[-1] == size for one, size in zip(edges, sizes, strict=True))
            taken = np.diff(edges, axis=1)
            assert (taken >= 0).all()
            wanted = np.diff(np.minimum(np.arange(n_steps + 1) * batch_size, total))
            assert (np.abs(taken.sum(axis=0) - wanted) < n).all()
            if len(set(sizes)) == 1:
                np.testing.assert_array_equal(taken.sum(axis=0), wanted)
            np.testing.assert_array_equal(Share(0, n, sizes[0], total, batch_size).edges(0, 1), edges[0][:2])


class OneMachine:
    """The rounds of `fastmlp.dask.engine`, written again for a regression on plain NumPy engines."""

    def __init__(self, sizes, solver, *, shuffle, batch_size=60, alpha=0.1):
        self.sizes, self.batch_size, self.alpha, self.solver = sizes, batch_size, alpha, solver
        self.starts = np.cumsum([0, *sizes])
        self.network = Network((4, 6, 1), ("relu", "identity"), "squared_error")
        random_state = np.random.RandomState(0)
        self.parameters = draw_parameters(self.network.widths, ("relu",), random_state, np.dtype(np.float64))
        self.seed = random_state.randint(SEEDS) if shuffle else None
        rate = LearningRate(0.001)
        self.optimizer = SGD(rate) if solver == "sgd" else Adam(rate, variant=solver)
        self.state = np.zeros((self.optimizer.n_slots, self.network.n_parameters))
        self.losses = []

    def engine(self, parameters, state):
        engine = reference.Engine(self.network, np.dtype(np.float64))
        engine.load(X, numbers[:, np.newaxis], None)
        engine.set_parameters(*parameters)
        engine.set_state(state)
        return engine

    def rows(self, shard, epoch, first, last):
        size = self.sizes[shard]
        order = np.arange(size)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, shard, epoch)).permutation(size)
        edges = Share(shard, len(self.sizes), size, ROWS, self.batch_size).edges(first, last)
        return [self.starts[shard] + order[low:high] for low, high in pairwise(edges)]

    def run(self, lengths):
        """Run epochs, each with rounds of so many steps."""
        n_steps, step = -(-ROWS // self.batch_size), 0
        for epoch, length in enumerate(lengths):
            total = 0.0
            for first in range(0, n_steps, length):
                last = min(first + length, n_steps)
                shares = [self.rows(shard, epoch, first, last) for shard in range(len(self.sizes))]
                if length == 1:
                    shares, alphas = [[np.concatenate([share[0] for share in shares])]], [self.alpha]
                else:
                    alphas = [self.alpha * size / ROWS for size in self.sizes]
                results, counts = [], []
                for share, alpha in zip(shares, alphas, strict=True):
                    engine = self.engine(self.parameters, self.state)
                    for number, rows in enumerate(share):
                        update = self.optimizer.update()._replace(step=step + number)
                        total += engine.run_epoch(rows, len(rows), alpha, update) * len(rows)
                    counts.append(sum(map(len, share)))
                    results.append((engine.get_parameters(), engine.get_state()))
                mean = np.array(counts) / sum(counts)
                flat = np.tensordot(mean, [flatten(*parameters) for parameters, _ in results], 1)
                self.parameters = unflatten(flat, self.network.widths)
                self.state = np.tensordot(mean, [state for _, state in results], 1)
                step += last - first
            self.losses.append(total / ROWS)

    def same_as(self, model):
        np.testing.assert_allclose(model.loss_curve_, self.losses, **CLOSE)
        flat = flatten(model.coefs_, model.intercepts_)
        np.testing.assert_allclose(flat, flatten(*self.parameters), **CLOSE)


@pytest.mark.parametrize(
    ("options", "lengths"),
    [
        ({"sync_every": 1}, (1, 1, 1)),
        ({"sync_every": 4}, (4, 4, 4)),
        ({"sync_every": "epoch"}, (6, 6, 6)),
        ({"sync_every": 3, "synchronous_epochs": 2}, (1, 1, 3)),
    ],
    ids=str,
)
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("chunks", [ROWS // WORKERS, (100, 33, 227)], ids=str)
def test_rounds_of_shuffled_rows(client, options, lengths, solver, chunks):
    sizes = [chunks] * WORKERS if isinstance(chunks, int) else list(chunks)
    oracle = OneMachine(sizes, solver, shuffle=True)
    oracle.run(lengths)
    settings = SETTINGS | options | {"solver": solver, "alpha": 0.1}
    model = DaskMLPRegressor(**settings).fit(cut(X, chunks), cut(numbers, chunks))
    oracle.same_as(model)


def test_partial_fit_and_warm_start_go_on(client):
    settings = SETTINGS | {"shuffle": False, "sync_every": 3}
    whole = DaskMLPClassifier(**settings | {"max_iter": 2}).fit(cut(X), cut(labels))
    parts = DaskMLPClassifier(**settings)
    for _ in range(2):
        parts.partial_fit(cut(X), cut(labels), classes=[0, 1, 2])
    same_fit(parts, whole)
    warm = DaskMLPClassifier(**settings | {"max_iter": 1, "warm_start": True, "keep_optimizer": True})
    warm.fit(cut(X), cut(labels)).fit(cut(X), cut(labels))
    same_fit(warm, whole)


def test_early_stopping_by_validation_rows(client, monkeypatch):
    more = {"early_stopping": True, "shuffle": False, "n_iter_no_change": 2, "max_iter": 8, "tol": 0.05}
    order = order_of_one_machine(ROWS, 60, WORKERS)
    X_val, y_val = X[::5] + 0.1, labels[::5]
    ours = DaskMLPClassifier(**SETTINGS | more).fit(cut(X), cut(labels), X_val=da.from_array(X_val), y_val=y_val)
    use_reference(monkeypatch)
    theirs = MLPClassifier(**SETTINGS | more).fit(X[order], labels[order], X_val=X_val, y_val=y_val)
    same_fit(ours, theirs)
    assert ours.validation_scores_ == theirs.validation_scores_
    np.testing.assert_allclose(ours.validation_loss_curve_, theirs.validation_loss_curve_)


def test_dropout_differs_between_shards_and_is_reproducible(client):
    twice = [np.vstack([X[:120]] * 3), np.tile(labels[:120], 3)]  # the same rows on each worker
    settings = SETTINGS | {"hidden_layer_sizes": (16,), "dropout": 0.5, "shuffle": False, "max_iter": 1}
    curves = {}
    for every in (1, "epoch"):
        first, second = (DaskMLPClassifier(sync_every=every, **settings).fit(*map(cut, twice)) for _ in range(2))
        assert first.loss_curve_ == second.loss_curve_
        curves[every] = first.loss_curve_
    without = DaskMLPClassifier(**settings | {"dropout": 0.0}).fit(*map(cut, twice))
    assert without.loss_curve_ != curves[1]


# What is made of the data


def test_class_weight_balanced(client, monkeypatch):
    settings = SETTINGS | {"class_weight": "balanced", "shuffle": False}
    ours = DaskMLPClassifier(**settings).fit(cut(X), cut(labels))
    order = order_of_one_machine(ROWS, 60, WORKERS)
    use_reference(monkeypatch)
    same_fit(ours, MLPClassifier(**settings).fit(X[order], labels[order]))


def test_classes_missing_from_partitions_and_empty_partitions(client):
    order = np.argsort(labels, kind="stable")
    words = np.array(["blue", "green", "red"])[labels[order]]
    chunks = (0, 100, 0, 0, 160, 100)
    model = DaskMLPClassifier(**SETTINGS).fit(cut(X[order], chunks), cut(words, chunks))
    assert model.classes_.tolist() == ["blue", "green", "red"]
    predicted = model.predict(cut(X, chunks))
    assert predicted.shape == (ROWS,)
    computed = predicted.compute()
    assert computed.dtype == predicted.dtype == model.classes_.dtype
    np.testing.assert_array_equal(computed, model.to_local().predict(X))


def test_unknown_chunk_sizes(client):
    everything = np.ones(ROWS, bool)
    known = DaskMLPRegressor(**SETTINGS).fit(cut(X), cut(numbers))
    dX, dy = cut(X)[cut(everything)], cut(numbers)[cut(everything)]
    assert np.isnan(dX.shape[0])
    model = DaskMLPRegressor(**SETTINGS).fit(dX, dy)
    assert model.loss_curve_ == known.loss_curve_
    np.testing.assert_array_equal(model.predict(dX).compute(), known.predict(X))


def test_partitions_of_other_types_get_one(client):
    parts = [X[:120].astype(np.float32), X[120:240], X[240:].astype(np.int64)]
    mixed = da.concatenate([da.from_array(part.astype(np.float64)) for part in parts])
    mixed = mixed.map_blocks(lambda block, block_id: block.astype(["f4", "f8", "i8"][block_id[0]]), dtype=np.float64)
    model = DaskMLPRegressor(**SETTINGS).fit(mixed, cut(numbers))
    same_fit(model, DaskMLPRegressor(**SETTINGS).fit(cut(np.vstack(parts)), cut(numbers)))
    single = DaskMLPRegressor(**SETTINGS).fit(cut(X.astype(np.float32)), cut(numbers))
    assert single.coefs_[0].dtype == np.float32
    assert single.predict(cut(X.astype(np.float32))).compute().dtype == np.float32


def test_arrays_cut_otherwise_and_sparse_blocks(client):
    model = DaskMLPRegressor(**SETTINGS).fit(cut(X), cut(numbers))
    columns = da.from_array(X, chunks=(120, 3))
    cut_otherwise = DaskMLPRegressor(**SETTINGS).fit(columns, cut(numbers, 90))
    assert cut_otherwise.loss_curve_ == model.loss_curve_
    np.testing.assert_array_equal(model.predict(columns).compute(), model.predict(X))
    blocks = cut(X).map_blocks(sparse.csr_array, dtype=X.dtype)
    by_sparse = DaskMLPRegressor(**SETTINGS).fit(blocks, cut(numbers))
    np.testing.assert_allclose(by_sparse.loss_curve_, model.loss_curve_)


def test_data_frames(client):
    frame = pd.DataFrame(X, columns=list("abcd")).assign(y=labels)
    ddf = dd.from_pandas(frame, npartitions=4)
    model = DaskMLPClassifier(**SETTINGS).fit(ddf[list("abcd")], ddf["y"])
    assert model.feature_names_in_.tolist() == list("abcd")
    local = model.to_local()
    features = ddf[list("abcd")]
    np.testing.assert_array_equal(model.predict(features).compute(), local.predict(frame[list("abcd")]))
    np.testing.assert_array_equal(model.predict_proba(features).compute(), local.predict_proba(frame[list("abcd")]))
    assert model.score(features, ddf["y"]) == pytest.approx(local.score(frame[list("abcd")], labels))
    persisted = features.persist()
    distributed.wait(persisted)
    assert DaskMLPClassifier(**SETTINGS).fit(persisted, ddf["y"].persist()).n_features_in_ == 4


def test_rows_that_were_persisted_stay_where_they_are(client):
    addresses = sorted(client.nthreads())
    wanted = [addresses[i] for i in (2, 0, 2, 1)]
    parts = [
        client.submit(lambda block: block, X[i * 90 : (i + 1) * 90], workers=[address], pure=False)
        for i, address in enumerate(wanted)
    ]
    dX = da.concatenate([da.from_delayed(dask.delayed(part), (90, 4), dtype=float) for part in parts]).persist()
    distributed.wait(dX)
    before = [next(iter(place)) for place in client.who_has(dX).values()]
    placed = {}

    def note(self, delayed, address):
        future = compute(self, delayed, address)
        placed[address] = future.key
        return future

    compute = Cluster.compute
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Cluster, "compute", note)
        DaskMLPRegressor(**SETTINGS).fit(dX, cut(numbers, 90))
    assert set(placed) == set(before)


def test_missing_features(client, monkeypatch):
    holes = X.copy()
    holes[200, 1] = holes[3, 2] = np.nan
    settings = SETTINGS | {"missing": "indicator", "shuffle": False}
    ours = DaskMLPRegressor(**settings).fit(cut(holes), cut(numbers))
    order = order_of_one_machine(ROWS, 60, WORKERS)
    use_reference(monkeypatch)
    same_fit(ours, MLPRegressor(**settings).fit(holes[order], numbers[order]))


def test_scores(client):
    several = np.column_stack([numbers, X[:, 0], np.ones(ROWS)])
    model = DaskMLPRegressor(**SETTINGS).fit(cut(X), cut(several))
    assert model.score(cut(X), cut(several)) == pytest.approx(model.to_local().score(X, several), rel=1e-12)
    several[:, 2] = X[:, 1]  # for the weighted mean of ones may not be one
    chunks = (0, 100, 260)
    ours = model.score(cut(X, chunks), cut(several, chunks), cut(weight, chunks))
    assert ours == pytest.approx(model.to_local().score(X, several, weight), rel=1e-12)
    assert model.predict(cut(X)).shape == (ROWS, 3)
    classifier = DaskMLPClassifier(**SETTINGS).fit(cut(X), cut(labels))
    ours = classifier.score(cut(X, chunks), cut(labels, chunks), cut(weight, chunks))
    assert ours == pytest.approx(classifier.to_local().score(X, labels, weight), rel=1e-12)
    assert classifier.score(X, labels) == classifier.to_local().score(X, labels)


def test_lists_of_probabilities(monkeypatch):
    use_reference(monkeypatch)
    both = np.column_stack([labels, labels > 1])
    local = MLPClassifier(**SETTINGS).fit(X, both)
    model = DaskMLPClassifier(**SETTINGS)
    vars(model).update({name: value for name, value in vars(local).items() if name not in local.get_params()})
    ours = model.predict_proba(cut(X))
    assert [one.shape for one in ours] == [(ROWS, 3), (ROWS, 2)]
    for one, other in zip(dask.compute(*ours, scheduler="synchronous"), local.predict_proba(X), strict=True):
        np.testing.assert_allclose(one, other)
    hidden = model.transform(cut(X)).compute(scheduler="synchronous")
    np.testing.assert_allclose(hidden, local.transform(X))


# What happens when something dies


def killing(monkeypatch, client, at, after=False):
    """Kill the worker of the first shard as the fit's wait of this number begins, or ends; return the pids killed."""
    waits, killed, original = [], [], Cluster.wait

    def wait(self, futures, what, of=()):
        waits.append(what)
        if after:
            original(self, futures, what, of)
        if len(waits) == at:
            pids = client.run(os.getpid)
            killed.append(pids[min(pids)])
            os.kill(killed[0], getattr(signal, "SIGKILL", signal.SIGTERM))
            while after and psutil.pid_exists(killed[0]):
                time.sleep(0.001)
        if not after:
            original(self, futures, what, of)

    monkeypatch.setattr(Cluster, "wait", wait)
    return killed


@pytest.mark.parametrize(("at", "every", "after"), [(1, "epoch", False), (1, "epoch", True), (5, 1, False)])
def test_a_worker_that_dies(doomed, monkeypatch, at, every, after):
    """Before a wait ends, or with results that nobody has fetched yet."""
    settings = SETTINGS | {"sync_every": every, "client": doomed, "timeout": 120}
    undisturbed = DaskMLPClassifier(**settings).fit(cut(X, 60), cut(labels, 60))
    killed = killing(monkeypatch, doomed, at, after)
    model = DaskMLPClassifier(**settings).fit(cut(X, 60), cut(labels, 60))
    assert len(killed) == 1
    assert killed[0] not in doomed.run(os.getpid).values()
    assert model.loss_curve_ == undisturbed.loss_curve_
    np.testing.assert_array_equal(model.coefs_[0], undisturbed.coefs_[0])


def test_a_client_that_is_not_the_default(client, monkeypatch):
    def none():
        raise ValueError("No clients found")

    monkeypatch.setattr("distributed.client.default_client", none)
    DaskMLPRegressor(**SETTINGS, client=client).fit(cut(X), cut(numbers))


def test_a_new_worker_takes_rows_over(doomed, monkeypatch):
    settings = SETTINGS | {"max_iter": 6, "sync_every": "epoch", "client": doomed, "timeout": 120}
    undisturbed = DaskMLPRegressor(**settings).fit(cut(X), cut(numbers))
    before, homes = set(doomed.nthreads()), []

    def spread(self):
        if len(homes) == 3:  # a worker died two epochs ago
            doomed.cluster.scale(3)
            doomed.wait_for_workers(2, timeout=120)
        original(self)
        self.cluster.wait([shard.future for shard in self.shards], "moving")
        homes.append(self.cluster.homes([shard.future for shard in self.shards]))

    original = Engine._spread
    monkeypatch.setattr(Engine, "_spread", spread)
    monkeypatch.setattr("fastmlp.dask.engine.LOOK_AFTER", 0.0)
    killing(monkeypatch, doomed, 4)
    model = DaskMLPRegressor(**settings).fit(cut(X), cut(numbers))
    assert model.loss_curve_ == undisturbed.loss_curve_
    assert len(set(homes[-1])) == 2
    assert len(set(homes[-1]) - before) == 1


def test_rows_that_cannot_be_computed_again(doomed, monkeypatch):
    parts = doomed.scatter([X[:180], X[180:]], workers=[min(doomed.nthreads())])
    dX = da.concatenate([da.from_delayed(dask.delayed(part), (180, 4), dtype=float) for part in parts])
    model = DaskMLPRegressor(**SETTINGS, timeout=60, client=doomed)
    killing(monkeypatch, doomed, 5)
    with pytest.raises(RuntimeError, match="cannot be computed again"):
        model.fit(dX, cut(numbers, 180))
    assert not hasattr(model, "coefs_")


def test_a_wait_ends(client):
    event = Event("never set in the fit", client=client)

    def blocked(block):
        Event("never set in the fit").wait()
        return block

    try:
        with pytest.raises(TimeoutError, match=r"timeout=0\.5: computing and reading the partitions took longer"):
            DaskMLPRegressor(**SETTINGS, timeout=0.5).fit(cut(X).map_blocks(blocked, meta=X[:0]), cut(numbers))
    finally:
        event.set()


class Stop(Exception):
    pass


def failing(at_step, action):
    """Return a learning rate that does something in the first epoch that begins at this step or later."""

    def rate(step):
        if step >= at_step:
            action()
        return 0.001

    return rate


def stop():
    raise Stop


def go_on(step):
    return 0.001


go_on.__name__ = "rate"


@pytest.mark.parametrize("options", [{}, {"sync_every": 4, "solver": "sgd"}], ids=str)
def test_checkpoint(client, tmp_path, options):
    file = tmp_path / "fit"
    settings = SETTINGS | options | {"max_iter": 5}
    whole = DaskMLPClassifier(**settings, learning_rate=go_on).fit(cut(X), cut(labels))
    model = DaskMLPClassifier(**settings, learning_rate=failing(18, stop), checkpoint=file)
    with pytest.raises(Stop):
        model.fit(cut(X), cut(labels))
    with pytest.raises(ValueError, match=r"is of another fit, with alpha=0\.0001, here it is 0\.5: take another file"):
        DaskMLPClassifier(**settings, alpha=0.5, learning_rate=go_on, checkpoint=file).fit(cut(X), cut(labels))
    went_on = DaskMLPClassifier(**settings, learning_rate=go_on, checkpoint=file).fit(cut(X), cut(labels))
    assert went_on.loss_curve_ == whole.loss_curve_
    assert went_on.n_iter_ == 5
    np.testing.assert_array_equal(went_on.coefs_[0], whole.coefs_[0])
    assert len(went_on.history_["seconds"]) == 5
    assert np.all(np.diff(went_on.history_["seconds"]) > 0)
    assert not list(tmp_path.iterdir())
    file.write_text("no pickle")
    with pytest.raises(ValueError, match="is not a checkpoint"):
        DaskMLPClassifier(**settings, checkpoint=file).fit(cut(X), cut(labels))


def test_a_scheduler_that_dies(client, tmp_path):
    file, address_file = tmp_path / "fit", tmp_path / "scheduler.json"
    common = ["--no-dashboard", "--scheduler-file", str(address_file)]
    commands = {"scheduler": ["--port", "0"], "worker": ["--nthreads", "1", "--no-nanny"]}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{name}", *words, *common],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for name, words in commands.items()
    ]
    settings = SETTINGS | {"checkpoint": file}
    try:
        with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
            other = Client(scheduler_file=str(address_file), timeout=60, set_as_default=False)
            other.wait_for_workers(1, timeout=60)
            model = DaskMLPClassifier(**settings, client=other, learning_rate=failing(6, processes[0].kill))
            with pytest.raises(RuntimeError, match=r"scheduler at tcp://.* was lost: .*it goes on"):
                model.fit(cut(X, ROWS), cut(labels, ROWS))
            other.close(timeout=1)
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert file.exists()
    went_on = DaskMLPClassifier(**settings, learning_rate=go_on).fit(cut(X, ROWS), cut(labels, ROWS))
    whole = DaskMLPClassifier(**SETTINGS, learning_rate=go_on).fit(cut(X, ROWS), cut(labels, ROWS))
    assert went_on.loss_curve_ == whole.loss_curve_


# What is refused


def fit(X, y, weight=None, estimator=DaskMLPRegressor, **more):
    return estimator(**SETTINGS | {"timeout": 60} | more).fit(X, y, weight)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (lambda: (X, cut(numbers)), TypeError, r"X must be a Dask array or data frame, got numpy\.ndarray"),
        (lambda: (cut(X), numbers), TypeError, r"y must be a Dask array, series or data frame, got numpy\.ndarray"),
        (lambda: (cut(X), cut(numbers[:-1])), ValueError, "X has 360 rows, and y has 359"),
        (lambda: (cut(X), cut(numbers), cut(weight[:-2])), ValueError, "X has 360 rows, and sample_weight has 358"),
        (lambda: (cut(numbers), cut(numbers)), ValueError, "X must have 2 dimensions, got 1"),
        (
            lambda: (cut(X)[cut(X[:, 0] > -9)], cut(numbers, 90)),
            ValueError,
            r"X has 3 partitions, and y has 4, .* compute_chunk_sizes\(\)",
        ),
        (
            lambda: (cut(X)[cut(X[:, 0] > 0)], cut(numbers)),
            ValueError,
            "same rows in each partition: in partition 0, X has",
        ),
        (lambda: (cut(X)[:0], cut(numbers)[:0]), ValueError, "X has no rows: all of its partitions are empty"),
        (lambda: (cut(np.where(X > 2, np.nan, X)), cut(numbers)), ValueError, "Input X contains NaN"),
        (lambda: (cut(X), cut(numbers), cut(-weight)), ValueError, "Negative values in data passed to `sample_weight`"),
        (lambda: (cut(X), cut(numbers), cut(0 * weight)), ValueError, "at least one non-zero number"),
        (
            lambda: (cut(X, 60).map_blocks(narrower, dtype=float), cut(numbers, 60)),
            ValueError,
            "X: partition 3 differs from partition [02]: it has 3 columns, not 4",
        ),
        (
            lambda: (frames_with_another_order(), cut(numbers)),
            ValueError,
            "X: partition 2 differs from partition 0 in its columns",
        ),
        (
            lambda: (cut(X, 60), cut(numbers, 60).map_blocks(as_words, dtype=object)),
            ValueError,
            "y: partition 5 differs from partition [04] in its type",
        ),
    ],
)
def test_bad_data(client, arguments, kind, message):
    with pytest.raises(kind, match=message):
        fit(*arguments())


def narrower(block, block_id=(0, 0)):
    return block[:, :3] if block_id[0] == 3 else block


def as_words(block, block_id=(0,)):
    return block.astype(str).astype(object) if block_id[0] == 5 else block


def frames_with_another_order():
    frames = [pd.DataFrame(X[i : i + 120]) for i in (0, 120, 240)]
    frames[2] = frames[2][[3, 2, 1, 0]]
    return dd.from_delayed([dask.delayed(frame) for frame in frames], meta=frames[0][:0], verify_meta=False)


def test_fractions_are_no_labels(client):
    with pytest.raises(ValueError, match="Unknown label type: continuous"):
        fit(cut(X), cut(numbers), estimator=DaskMLPClassifier)
    with pytest.raises(ValueError, match="loss='poisson' needs y >= 0"):
        fit(cut(X), cut(numbers), loss="poisson")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs"}, r"solver='lbfgs' is not for DaskMLPRegressor: take one of \['adagrad', "),
        ({"device": "auto"}, "device='auto' is not for DaskMLPRegressor, .* take device='cpu'"),
        ({"early_stopping": True}, "early_stopping=True needs X_val and y_val"),
        ({"augment": {"jitter": 0.1}}, "augment=.* is not for DaskMLPRegressor"),
        ({"gradient_tol": 0.1, "batch_size": "full", "sync_every": 2}, "gradient_tol=0.1 .* take sync_every=1"),
        ({"gradient_tol": 0.1}, "batch_size='full'"),
        ({"sync_every": 0}, "'sync_every' parameter of DaskMLPRegressor must be .*epoch.* Got 0"),
        ({"synchronous_epochs": -1}, "'synchronous_epochs' parameter .* Got -1"),
        ({"timeout": 0}, "'timeout' parameter .* Got 0"),
        ({"checkpoint": 3}, "'checkpoint' parameter .* Got 3"),
        ({"checkpoint": "file", "warm_start": True}, "checkpoint='file' is for fits that begin anew"),
    ],
    ids=str,
)
def test_bad_parameters(client, parameters, message):
    with pytest.raises(ValueError, match=message):
        fit(cut(X), cut(numbers), **parameters)


def test_full_batch_until_the_gradient_is_small(client):
    model = fit(cut(X), cut(numbers), batch_size="full", gradient_tol=1e3)
    assert model.n_iter_ == 1


def test_no_client(monkeypatch):
    def none():
        raise ValueError("No clients found")

    monkeypatch.setattr(distributed, "default_client", none)
    with pytest.raises(ValueError, match="client=None takes the Dask client of this process, and there is none"):
        fit(cut(X), cut(numbers))
    with pytest.raises(TypeError, match=r"client must be a dask\.distributed\.Client or None, got 'here'"):
        fit(cut(X), cut(numbers), client="here")


def test_a_closed_client(client):
    closed = Client(client.scheduler.address, set_as_default=False)
    closed.close()
    with pytest.raises(ValueError, match="is not connected to a scheduler, its status is 'closed'"):
        fit(cut(X), cut(numbers), client=closed)


# What scikit-learn expects


@pytest.mark.parametrize(("ours", "plain"), [(DaskMLPClassifier, MLPClassifier), (DaskMLPRegressor, MLPRegressor)])
def test_parameters_are_those_of_the_plain_estimator_and_its_own(ours, plain):
    parameters = inspect.signature(ours).parameters
    assert list(parameters) == [*inspect.signature(plain).parameters, *OWN]
    assert set(ours._parameter_constraints) == set(parameters)
    assert set(ours().get_params()) == set(parameters)
    assert all(parameter.default is not inspect.Parameter.empty for parameter in parameters.values())
    model = ours((3,), sync_every=4) if plain is MLPClassifier else ours("huber", (3,), sync_every=4)
    assert model.hidden_layer_sizes == (3,)
    assert repr(model).startswith(f"{ours.__name__}(hidden_layer_sizes=(3,)")
    assert "sync_every=4" in repr(model)
    with pytest.raises(TypeError, match="unknown"):
        ours(unknown=1)


def test_client_to_local_clone_and_pickle(client):
    model = DaskMLPClassifier(**SETTINGS, client=client, alpha=0.2)
    with pytest.raises(NotFittedError, match="no client_ before the first fit"):
        model.client_  # noqa: B018
    with pytest.raises(NotFittedError):
        model.predict(cut(X))
    model.fit(cut(X), cut(labels))
    assert model.client_ is client
    copy = clone(model)
    assert copy.client is client
    assert copy.alpha == 0.2
    assert not hasattr(copy, "coefs_")
    read = pickle.loads(pickle.dumps(model))
    assert read.client is None
    assert model.client is client
    np.testing.assert_array_equal(read.predict(X), model.predict(X))
    local = model.to_local()
    assert type(local) is MLPClassifier
    assert local.alpha == 0.2
    assert local.loss_curve_ == model.loss_curve_
    assert not set(OWN) & set(vars(local))
    hinge = DaskMLPClassifier(loss="hinge")
    assert not hasattr(hinge, "predict_proba")
    assert hasattr(hinge, "decision_function")


def test_an_error_leaves_the_estimator_as_it_was(client):
    model = DaskMLPRegressor(**SETTINGS).fit(cut(X), cut(numbers))
    before = dict(vars(model))
    with pytest.raises(ValueError, match="contains NaN"):
        model.fit(cut(np.full_like(X, np.nan)), cut(numbers))
    assert vars(model) == before


def test_nothing_stays_on_the_workers(client):
    DaskMLPRegressor(**SETTINGS).fit(cut(X), cut(numbers))
    with pytest.raises(Stop) as error:  # its traceback holds what the fit had
        DaskMLPRegressor(**SETTINGS, learning_rate=failing(6, stop)).fit(cut(X), cut(numbers))
    deadline = time.monotonic() + 30
    while any(client.has_what().values()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(client.has_what().values()), error


# The simulation


def test_simulation_of_many_workers():
    figures = simulation.Figures(1_000_000, 1e-3, 1e-3, 1e-4, 1e-3, 1e-4, 1e-2, 1e9, 1e-5)
    size = figures.parameters_bytes
    for n_workers in (1, 2, 8, 100):
        result = simulation.simulate(figures, n_workers)
        # out: to the scheduler, a worker, and from there to all others; and back
        assert result.bytes == size * (2 * (n_workers - 1) + 4)
        assert result.seconds > figures.gradient + figures.round_trip + n_workers * figures.task
        local = simulation.simulate(figures, n_workers, 10, synchronous=False)
        assert local.bytes == 3 * result.bytes
    # one message after another through a link: 7 fetch and 7 are added up, at the least 3 each through the first one
    eight = simulation.simulate(figures, 8)
    assert eight.seconds < 4 * 1e-3 + 14 * 1e-3 + 1e-2 + 8e-4 + 3e-3
    text = simulation.table(figures, (8, 1024), (1, 16))
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == ["8", "8", "1,024", "1,024"]


# What is imported


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_fastmlp_does_not_import_dask():
    answer = python("import fastmlp, sys; print('dask' in sys.modules, 'distributed' in sys.modules)")
    assert answer.stdout.split() == ["False", "False"], answer.stderr


def test_without_dask_the_error_names_the_extra():
    answer = python("import sys; sys.modules['distributed'] = None; import fastmlp; import fastmlp.dask")
    assert "ImportError: fastmlp.dask needs the extra 'dask'" in answer.stderr
    assert "pip install 'fastmlp[dask]'" in answer.stderr
