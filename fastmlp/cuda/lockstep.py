"""Fits of many networks in step: their epochs are run together, each network by a block of threads of its own.

Each fit runs in a thread, which does nothing on the GPU: what it asks of its engine is done by the thread that calls
`Lockstep.run`. When all fits that are not over wait for an epoch, all are run by one launch of the kernel.
"""

import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np

from fastmlp.cuda.data import encode
from fastmlp.cuda.engine import Engine
from fastmlp.cuda.launch import kind_of
from fastmlp.cuda.layout import MOST_ROWS
from fastmlp.cuda.population import Population
from fastmlp.cuda.program import program_of
from fastmlp.futures import complete
from fastmlp.network import NO_AUGMENTATION, Augmentation, Network, scattered

OF_A_BLOCK = ("shared", "block")  # kernels by which one block trains a network


class Lockstep:
    """Runs what fits in other threads ask for.

    Parameters
    ----------
    n_fits : int
        How many fits there will be; each has to call `leave` at its end.
    """

    def __init__(self, n_fits: int):
        self._requests, self._live = queue.SimpleQueue(), n_fits
        self._groups: list[_Group] = []

    def engine(self, network: Network, dtype: np.dtype, precision: str) -> "Member":
        """Return the engine of a fit."""
        return Member(self, network, np.dtype(dtype), precision)

    def leave(self) -> None:
        """Say that a fit is over."""
        self._requests.put(None)

    def ask(self, function: Callable[[], Any]) -> Any:
        """Let the thread of `run` call a function; return what that returns."""
        future = Future()
        self._requests.put((future, function))
        return future.result()

    def ask_for_epoch(self, member: "Member") -> float:
        """Return the loss of a member's next epoch, once all fits wait for one."""
        future = Future()
        self._requests.put((future, member, None))
        return future.result()

    def run(self) -> None:
        """Do what is asked for until all fits are over."""
        waiting = {}
        try:
            while self._live > 0:
                request = self._requests.get()
                if request is None:
                    self._live -= 1
                elif len(request) == 2:
                    complete(*request)
                else:
                    waiting[request[1]] = request[0]
                if waiting and len(waiting) == self._live:
                    self._run_epochs(waiting)
                    waiting = {}
        except BaseException:  # as Ctrl-C: no fit may wait for ever
            for future in waiting.values():
                if not future.done():
                    future.set_exception(InterruptedError())
            while self._live > 0:
                request = self._requests.get()
                if request is None:
                    self._live -= 1
                else:
                    request[0].set_exception(InterruptedError())
            raise

    def _run_epochs(self, waiting):
        """Run an epoch of each member, and answer its future."""
        for member in waiting:
            if member.group is None:
                member.group = next((group for group in self._groups if group.takes(member)), None)
            if member.group is None:
                member.group = _Group(member)
                self._groups.append(member.group)
        for group in self._groups:
            asked = [member for member in group.members if member in waiting]
            try:
                losses = group.run_epoch(asked) if asked else []
            except BaseException as error:
                for member in asked:
                    waiting[member].set_exception(error)
            else:
                for member, loss in zip(asked, losses, strict=True):
                    waiting[member].set_result(loss)


class _Group:
    """Members of one kind that share rows and targets; where they train on the same row, its target is the same."""

    def __init__(self, first):
        self._first, self.members, self._population = first, [first], None
        self._targets, self._known = first.whole_targets(), np.zeros(first.X.shape[0], bool)
        self._known[first.index] = True

    def takes(self, member):
        """Take a member in, if it fits; return whether it did."""
        if self._population is not None or member.share != self._first.share:
            return False
        targets, both = member.whole_targets(), member.index[self._known[member.index]]
        if targets.shape != self._targets.shape or not np.array_equal(self._targets[both], targets[both]):
            return False
        self._targets[member.index] = targets[member.index]
        self._known[member.index] = True
        self.members.append(member)
        return True

    def run_epoch(self, asked):
        """Run an epoch of some members; return their losses."""
        if self._population is None:
            for member in self.members:
                member.begin("block", self._first.X, self._targets)
            self._population = Population.of([member.inner for member in self.members])
        nothing = np.empty(0, np.int64)
        steps = [(member.order if member in asked else nothing, *member.step_of_epoch) for member in self.members]
        losses = self._population.run_epoch(*map(list, zip(*steps, strict=True)))
        return [float(loss) for member, loss in zip(self.members, losses, strict=True) if member in asked]


class Member:
    """The engine of one fit, with the verbs of `fastmlp.cuda.engine.Engine`.

    Parameters
    ----------
    lockstep : Lockstep
        What does the work.
    network : Network
        The architecture.
    dtype : dtype
        float32 or float64: the type of all arithmetic.
    precision : str
        Of the products of large layers.
    """

    def __init__(self, lockstep: Lockstep, network: Network, dtype: np.dtype, precision: str):
        self.network, self.dtype, self.seed = network, dtype, 0
        self.inner: Engine | None = None
        self.group: _Group | None = None
        self._lockstep, self._precision = lockstep, precision
        self._parameters, self._state = None, None

    def __enter__(self) -> "Member":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing: the GPU's memory is released when all fits are over."""

    def load(
        self,
        X: Any,
        targets: np.ndarray,
        sample_weight: np.ndarray | None = None,
        augmentation: Augmentation = NO_AUGMENTATION,
        index: np.ndarray | None = None,
    ) -> None:
        """Take the rows to train on, as `Engine.load` does."""
        self.X, self._targets, self._weight = X, targets, sample_weight
        self._augmentation, self._own = augmentation, index
        self.index = np.arange(X.shape[0]) if index is None else index

    def whole_targets(self) -> np.ndarray:
        """Return targets for all rows of X, 0 where this fit has none."""
        return scattered(self.X.shape[0], self.index, self._targets)

    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Take the weights and biases to begin with."""
        self._parameters = [[array.copy() for array in arrays] for arrays in (coefs, intercepts)]

    def set_state(self, state: np.ndarray) -> None:
        """Take the optimizer's moments to begin with."""
        self._state = state.copy()

    def begin(self, kind: str | None, X: Any, targets: np.ndarray, *more: Any) -> None:
        """Make the engine, in the thread that may use the GPU."""
        self.inner = Engine(self.network, self.dtype, precision=self._precision, kind=kind)
        self.inner.load(X, targets, *more)
        if self._parameters is not None:
            self.inner.set_parameters(*self._parameters)
        if self._state is not None:
            self.inner.set_state(self._state)
        self.inner.seed = self.seed

    def _begin_alone(self):
        if self.inner is None:
            self.begin(None, self.X, self._targets, self._weight, self._augmentation, self._own)

    @property
    def step(self) -> int:
        """How many steps were taken, as `run_epochs` counts them."""
        return 0 if self.inner is None else self.inner.step

    def run_epochs(
        self, shuffle: Any, batch_size: int, alpha: float, update: Any, stopping: Any, most: int
    ) -> list[float]:
        """Take the next epoch of a `Shuffle` and return its loss, in a list."""
        order, self.step_of_epoch = shuffle.next(), (batch_size, alpha, update)
        if self.inner is None:
            self.share = (self._kind(min(batch_size, MOST_ROWS)), id(self.X), self.dtype, self.network.widths[0])
        if self.group is None and (
            self.share[0] not in OF_A_BLOCK or self._weight is not None or self._augmentation != NO_AUGMENTATION
        ):
            return [
                self._lockstep.ask(lambda: (self._begin_alone(), self.inner.run_epoch(order, *self.step_of_epoch))[1])
            ]
        self.order = self.index[order]
        return [self._lockstep.ask_for_epoch(self)]

    def _kind(self, n_rows):
        layout = encode(self.network, program_of(self.network, "adagrad"), n_rows)
        return kind_of(layout, n_rows, self.dtype)

    def get_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases as fresh arrays."""
        if self.inner is None:
            return tuple([array.copy() for array in arrays] for arrays in self._parameters)
        return self._lockstep.ask(self.inner.get_parameters)

    def get_state(self) -> np.ndarray:
        """Return the optimizer's moments as a fresh array."""
        return self._state.copy() if self.inner is None else self._lockstep.ask(self.inner.get_state)

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        return self._lockstep.ask(self.inner.is_finite)

    @property
    def gradient_norm(self) -> float:
        """The norm of the last batch's gradient, before its bound, if the update had one."""
        return self.inner.gradient_norm

    def loss_and_gradient(self, flat: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
        """Return the loss over all rows and its gradient, as `Engine.loss_and_gradient` does."""
        return self._lockstep.ask(lambda: (self._begin_alone(), self.inner.loss_and_gradient(flat, alpha))[1])

    def forward(self, X: Any, raw: bool = False) -> np.ndarray:
        """Return the outputs for rows X at the present parameters."""
        return self._lockstep.ask(lambda: (self._begin_alone(), self.inner.forward(X, raw))[1])

    def mean_loss(self, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Return the mean loss of rows from their outputs, as `Engine.mean_loss` does."""
        return self._lockstep.ask(lambda: self.inner.mean_loss(output, targets, sample_weight))
