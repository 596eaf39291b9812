"""The engine whose rows are on workers, with the same verbs as every engine, so that `training/` trains it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import dask
import numpy as np
from distributed import Future

from fastmlp import reference
from fastmlp.dask.cluster import Cluster
from fastmlp.dask.work import Job, Share, Sums, add, gradient_of, same, steps_of
from fastmlp.network import Network
from fastmlp.training import device
from fastmlp.training.optimizers import Update

FAN_IN = 16  # how many sums a task adds up
SMALL = 1_000_000  # bytes that are sent along with tasks; more is fetched by workers from each other
LOOK_AFTER = 10.0  # seconds, at least, between two looks at where the shards are
WARNING = "distributed.admin.large-graph-warning-threshold"


@dataclass
class Placed:
    """A shard on the cluster: its future, the worker that it was made on, and its number of rows."""

    future: Future
    address: str
    n_rows: int


@dataclass(frozen=True)
class Rounds:
    """How often workers exchange what they have; names and meanings are the estimators'.

    `shuffle_seed` is None for no shuffling.
    """

    sync_every: int | str
    synchronous_epochs: int
    shuffle_seed: int | None
    dropout_seed: int
    n_threads: int | None


class Engine:
    """Trains one network on rows that lie on the workers of a Dask cluster.

    Weights and moments are the client's; workers get them for a round and return sums.

    Parameters
    ----------
    network : Network
        The architecture.
    dtype : numpy.dtype
        float32 or float64: the type of all arithmetic.
    cluster : Cluster
        Runs the tasks.
    shards : sequence of Placed
        The rows.
    rounds : Rounds
        What a round is.
    epoch : int, default=0
        The number of epochs since the weights were drawn.
    """

    def __init__(
        self,
        network: Network,
        dtype: np.dtype,
        cluster: Cluster,
        shards: Sequence[Placed],
        rounds: Rounds,
        epoch: int = 0,
    ) -> None:
        self.network, self.dtype, self.cluster, self.rounds, self.epoch = network, dtype, cluster, rounds, epoch
        self.shards = list(shards)
        self.n_rows = sum(shard.n_rows for shard in shards)
        self.step = 0  # how many were taken, as `run_epochs` counts them
        self.before_epoch: Callable[[], None] | None = None
        # Its update costs little beside the network, and it is plain NumPy, so nothing is compiled for it.
        self._optimizer = reference.Engine(network, dtype)
        self._next_look = time.monotonic() + LOOK_AFTER
        self._local = device.make_engine(network, dtype, 1)  # measures validation rows; holds none

    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights (inputs, outputs) and biases (outputs,) of all layers in."""
        self._optimizer.set_parameters(coefs, intercepts)

    def get_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases as fresh arrays."""
        return self._optimizer.get_parameters()

    def set_state(self, state: np.ndarray) -> None:
        """Copy the optimizer's moments in, (n_slots, n_parameters)."""
        self._optimizer.set_state(state)

    def get_state(self) -> np.ndarray:
        """Return the optimizer's moments as a fresh array (n_slots, n_parameters)."""
        return self._optimizer.get_state()

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        return self._optimizer.is_finite()

    @property
    def gradient_norm(self) -> float:
        """The norm of the last synchronous step's gradient, before its bound, if the update had one."""
        return self._optimizer.gradient_norm

    def forward(self, X: Any) -> np.ndarray:
        """Return the outputs for rows here, at the present parameters."""
        return device.forward(self.network, *self.get_parameters(), X, 1)

    def mean_loss(self, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Return the mean loss of rows here, without penalty, from their outputs."""
        return self._local.mean_loss(output, targets, sample_weight)

    def run_epochs(
        self, shuffle: object, batch_size: int, alpha: float, update: Update, stopping: object, most: int
    ) -> list[float]:
        """Take an epoch and return its loss, in a list. The workers shuffle their rows; other engines may take more."""
        if self.before_epoch is not None:
            self.before_epoch()
        if time.monotonic() >= self._next_look:
            self._spread()
            self._next_look = time.monotonic() + LOOK_AFTER
        n_steps = -(-self.n_rows // batch_size)
        every = self.rounds.sync_every
        synchronous = every == 1 or self.epoch < self.rounds.synchronous_epochs
        length = 1 if synchronous else n_steps if every == "epoch" else int(every)
        run = self._synchronous_step if synchronous else self._local_steps
        total = 0.0
        for first in range(0, n_steps, length):
            last = min(first + length, n_steps)
            rates = None if update.rates is None else update.rates[first:last]
            total += run(batch_size, alpha, update._replace(step=update.step + first, rates=rates), first, last)
            self.step = update.step + last
        self.epoch += 1
        return [total / self.n_rows]

    def _spread(self) -> None:
        """Move shards from workers that got several, when others died, to workers that have none, such as new ones."""
        homes = self.cluster.homes([shard.future for shard in self.shards])
        if len(set(homes)) == len(homes):
            return
        idle = [address for address in self.cluster.addresses() if address not in homes]
        for number, shard in enumerate(self.shards):
            if idle and homes[number] is not None and homes.count(homes[number]) > 1:
                homes[number] = shard.address = idle.pop()
                shard.future = self.cluster.submit(same, shard.future, address=shard.address)

    def _synchronous_step(self, batch_size: int, alpha: float, update: Update, first: int, last: int) -> float:
        """Take the step of one machine on the whole batch; return the sum of its rows' losses."""
        optimizer = self._optimizer
        flat = optimizer.parameters.copy()  # a step may change them in place, and the task be repeated
        # workers have no use for the learning rate, and a schedule's rates are long
        sums = self._round(gradient_of, [flat], batch_size, 0.0, update._replace(rates=None), first, last)
        if sums.weight == 0:
            return 0.0
        if update.rates is not None:
            update = update._replace(constants=(float(update.rates[0]), *update.constants[1:]))
        loss, gradient = sums.loss / sums.weight, sums.arrays[0] / self.dtype.type(sums.weight)
        strength = alpha / (sums.weight if self.network.scale_alpha else 1)
        if update.name == "adamw":
            strength = 0.0  # its decay is none of the loss
        weights = flat[: flat.size - sum(self.network.widths[1:])]
        l1, l2 = strength * update.l1_ratio, strength * (1 - update.l1_ratio)
        with np.errstate(all="ignore"):
            loss += 0.5 * l2 * float(weights @ weights) + l1 * float(np.abs(weights).sum())
            gradient[: weights.size] += self.dtype.type(l2) * weights
            optimizer.take_step(gradient, sums.weight, alpha, update, update.step + 1)
        return loss * sums.n_rows

    def _local_steps(self, batch_size: int, alpha: float, update: Update, first: int, last: int) -> float:
        """Take the mean of what workers make of the parameters in some steps; return the sum of the rows' losses."""
        optimizer = self._optimizer
        sums = self._round(steps_of, [optimizer.parameters, optimizer.state], batch_size, alpha, update, first, last)
        if sums.weight > 0:
            with np.errstate(all="ignore"):
                optimizer.parameters, optimizer.state = (array / self.dtype.type(sums.weight) for array in sums.arrays)
        return sums.loss

    def _round(
        self,
        task: Callable,
        arrays: list[np.ndarray],
        batch_size: int,
        alpha: float,
        update: Update,
        first: int,
        last: int,
    ) -> Sums:
        """Run a task on all shards and return the sum of what they give."""
        submit = self.cluster.submit
        sent = [self._publish(array) for array in arrays]
        futures = []
        for number, shard in enumerate(self.shards):
            share = Share(number, len(self.shards), shard.n_rows, self.n_rows, batch_size)
            # The penalty of a batch counts once. Of a share of it, it is as much less as the share is smaller.
            divided = self.network.scale_alpha and update.name != "adamw"
            own_alpha = alpha * shard.n_rows / self.n_rows if divided else alpha
            rounds = self.rounds
            job = Job(
                share,
                self.epoch,
                first,
                last,
                own_alpha,
                update,
                rounds.shuffle_seed,
                rounds.dropout_seed,
                rounds.n_threads,
            )
            futures.append(submit(task, shard.future, *sent, job, address=shard.address))
        keep = list(futures)  # what is added up may be needed again, if a worker dies
        while len(futures) > 1:
            futures = [submit(add, *futures[i : i + FAN_IN]) for i in range(0, len(futures), FAN_IN)]
            keep += futures
        what = f"a round of {last - first} step(s) on {len(self.shards)} worker(s)"
        return self.cluster.results(futures, what, keep)[0]

    def _publish(self, array: np.ndarray) -> np.ndarray | Future:
        """Return what tasks take in an array's place: a small one itself, else one that workers pass on to each other.

        It is given to a task, not scattered: what is lost with a worker is computed again.
        """
        if array.nbytes * len(self.shards) <= SMALL:
            return array
        with dask.config.set({WARNING: "1TiB"}):
            return self.cluster.submit(same, array)
