"""What workers compute: gradients or steps on their own rows, and sums of what several have computed."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from distributed import get_worker

from fastmlp.estimators.validation import Rows
from fastmlp.network import Network, flatten, views
from fastmlp.training import device
from fastmlp.training.optimizers import Update


class Share(NamedTuple):
    """Which of its rows a shard gives to each step of an epoch: a part of the batch as large as its part of all rows.

    Each row is taken once. If all shards have as many rows, a batch has `batch_size` rows, for by Hermite's identity
    the sum of floor(x + i / n) for i from 0 to n - 1 is floor(n x); else it may have more or fewer, by less than one a
    shard.

    Attributes
    ----------
    number, n_shards : int
        The number of the shard, from 0, and of all shards.
    n_rows, n_total : int
        The rows of the shard, and of all shards.
    batch_size : int
        The rows of a batch.
    """

    number: int
    n_shards: int
    n_rows: int
    n_total: int
    batch_size: int

    def edges(self, first: int, last: int) -> np.ndarray:
        """Return where in the order of the shard's rows steps `first` to `last` - 1 begin and end."""
        ends = np.minimum(np.arange(first, last + 1) * self.batch_size, self.n_total)
        return (self.n_rows * ends + self.number * self.n_total // self.n_shards) // self.n_total


class Job(NamedTuple):
    """What a shard does in a round.

    Attributes
    ----------
    share : Share
        Which rows it takes.
    epoch, first, last : int
        Steps `first` to `last` - 1 of an epoch, all from 0.
    alpha : float
        The penalty of its own steps.
    update : Update
        Of its own steps; of a gradient only the number of steps before counts.
    shuffle_seed : int or None
        Shuffles the rows, anew for each shard and epoch. None: they stay as they are.
    dropout_seed : int
        Of dropout.
    n_threads : int or None
        The most threads to use; None: as many as the worker has.
    """

    share: Share
    epoch: int
    first: int
    last: int
    alpha: float
    update: Update
    shuffle_seed: int | None
    dropout_seed: int
    n_threads: int | None


class Sums(NamedTuple):
    """What rounds of several shards add up to.

    Attributes
    ----------
    arrays : tuple of ndarray
        Gradients, or weights and moments, each times the sum of the weights of its rows.
    loss : float
        The sum of the rows' losses, times their weights for a gradient.
    weight : float
        The sum of their weights.
    n_rows : int
        How many they are.
    """

    arrays: tuple[np.ndarray, ...]
    loss: float
    weight: float
    n_rows: int


class Shard:
    """The rows of a worker, and an engine that holds them while they are there.

    The engine is no part of the value: it keeps nothing between tasks that these do not set, and is left out of copies.

    Parameters
    ----------
    network : Network
        What is trained.
    rows : Rows
        Validated and encoded.
    """

    def __init__(self, network: Network, rows: Rows) -> None:
        self.network, self.rows = network, rows
        self._begin()

    def _begin(self):
        self._engine = None
        self._lock = threading.Lock()  # a worker may have several threads
        self._order = (None, None)

    def __getstate__(self) -> dict[str, Any]:
        return {"network": self.network, "rows": self.rows}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._begin()

    def __sizeof__(self) -> int:
        """Return the bytes, as Dask plans with them."""
        X, targets, weight = self.rows.X, self.rows.targets, self.rows.weight
        X = X.nbytes if isinstance(X, np.ndarray) else X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
        return X + targets.nbytes + (0 if weight is None else weight.nbytes)

    @contextmanager
    def engine(self, n_threads: int | None) -> Iterator[Any]:
        """Lend the engine to one task at a time."""
        with self._lock:
            if self._engine is None:
                n_threads = n_threads or get_worker().state.nthreads
                self._engine = device.make_engine(self.network, self.rows.X.dtype, n_threads)
                self._engine.load(self.rows.X, self.rows.targets, self.rows.weight)
            yield self._engine

    def order(self, job: Job) -> np.ndarray:
        """Return the order of the rows in the epoch of a job."""
        key = (job.shuffle_seed, job.share.number, job.epoch)
        known, order = self._order
        if known != key:
            n_rows = self.rows.targets.shape[0]
            order = np.arange(n_rows) if key[0] is None else np.random.default_rng(key).permutation(n_rows)
            self._order = (key, order)
        return order

    def weight_of(self, rows: np.ndarray) -> float:
        """Return the sum of the weights of rows."""
        return float(len(rows) if self.rows.weight is None else self.rows.weight[rows].sum())


def gradient_of(shard: Shard, parameters: np.ndarray, job: Job) -> Sums:
    """Return the gradient of the loss, without penalty, of a shard's share of a step, at flat parameters."""
    low, high = job.share.edges(job.first, job.last)
    rows = shard.order(job)[low:high]
    weight = shard.weight_of(rows)
    if weight == 0:
        return Sums((np.zeros_like(parameters),), 0.0, 0.0, len(rows))
    with shard.engine(job.n_threads) as engine:
        engine.seed = _seed(job, job.update.step)  # a gradient is always the first step of an engine
        loss, gradient = engine.loss_and_gradient(parameters, 0.0, rows)
    return Sums(((gradient * weight).astype(parameters.dtype),), loss * weight, weight, len(rows))


def steps_of(shard: Shard, parameters: np.ndarray, moments: np.ndarray, job: Job) -> Sums:
    """Return what steps on a shard's shares make of flat parameters and the optimizer's moments (n_slots, size)."""
    edges = job.share.edges(job.first, job.last)
    order, loss, taken, first = shard.order(job), 0.0, 0, edges[0]
    weight = shard.weight_of(order[first : edges[-1]])
    if weight > 0:
        with shard.engine(job.n_threads) as engine:
            engine.seed = _seed(job)
            engine.set_parameters(*views(parameters, shard.network.widths))
            engine.set_state(moments)
            for size, same in groupby(np.diff(edges).tolist()):  # an engine's batches are all of one size
                steps = len(list(same))
                if size > 0:
                    rows = order[first : first + size * steps]
                    loss += engine.run_epoch(rows, size, job.alpha, _part(job.update, taken, steps)) * len(rows)
                taken, first = taken + steps, first + size * steps
            parameters, moments = flatten(*engine.get_parameters()), engine.get_state()
    factor = parameters.dtype.type(weight)
    return Sums((parameters * factor, moments * factor), float(loss), weight, int(edges[-1] - edges[0]))


def _part(update: Update, taken: int, steps: int) -> Update:
    rates = None if update.rates is None else update.rates[taken : taken + steps]
    return update._replace(step=update.step + taken, rates=rates)


def _seed(job: Job, *more: int) -> int:
    """Return a seed of dropout that no other shard has."""
    return int(np.random.SeedSequence((job.dropout_seed, job.share.number, *more)).generate_state(1)[0] >> 1)


def add(*several: Sums) -> Sums:
    """Return the sum, always in the same order."""
    first, *others = several
    arrays = [array.copy() for array in first.arrays]
    for sums in others:
        for array, more in zip(arrays, sums.arrays, strict=True):
            array += more
    return Sums(tuple(arrays), *(sum(numbers) for numbers in zip(*(sums[1:] for sums in several), strict=True)))


def same(value: Any) -> Any:
    """Return what is given: a task whose result others take from the worker, and that can be repeated."""
    return value
