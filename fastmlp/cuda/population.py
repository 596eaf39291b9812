"""Many networks trained at once, each by a block of threads of its own, over one copy of the rows."""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastmlp.cuda.compiler import allow_shared_memory, cuda, launch, most_shared_memory
from fastmlp.cuda.data import use_rows
from fastmlp.cuda.engine import Engine
from fastmlp.cuda.launch import THREADS, shape_of
from fastmlp.cuda.layout import MOST_ROWS
from fastmlp.cuda.memory import check_fits, explain
from fastmlp.cuda.program import program_of
from fastmlp.cuda.step import (
    MEMORY_PLACE,
    N_STEPS,
    NUMBERS_PLACE,
    ORDER_PLACE,
    PLACES,
    PLAN,
    RESULTS_PLACE,
    ROWS_PLACE,
    STEP_FIELDS,
    STEPS,
    make_train,
)
from fastmlp.network import Network

LAUNCH_STEPS = 256  # of each network, between which Ctrl-C is seen


class Population:
    """Trains networks, which may differ in all but the type of their numbers, on the same rows.

    Each gets the same bits as by an engine of its own whose kernel is that of a block.

    Parameters
    ----------
    networks : sequence of Network
        The architectures.
    dtype : dtype
        float32 or float64: the type of all arithmetic.

    Attributes
    ----------
    engines : list of Engine
        One for each network, to set and get parameters and state of.
    """

    def __init__(self, networks: Sequence[Network], dtype: np.dtype):
        self.dtype = np.dtype(dtype)
        self.engines = [Engine(network, dtype, kind="block") for network in networks]

    @classmethod
    def of(cls, engines: Sequence[Engine]) -> "Population":
        """Return a population of engines for blocks that were loaded with the same rows, which the first one has."""
        population = object.__new__(cls)
        population.dtype, population.engines = engines[0].dtype, list(engines)
        before = [engine._memory for engine in engines]
        sizes = [array.size for array in before]
        population._share(cuda.device_array(sum(sizes), population.dtype), sizes)
        for engine, array in zip(engines, before, strict=True):
            engine._memory.copy_to_device(array)
        return population

    @explain
    def load(
        self,
        X: np.ndarray | sparse.csr_array,
        targets: Sequence[np.ndarray],
        sample_weight: np.ndarray | None = None,
    ) -> None:
        """Take the rows to train on, as `Engine.load` does; targets: of each network."""
        for engine, own in zip(self.engines, targets, strict=True):
            engine._take_rows(X, own, sample_weight)
        sizes = [engine._parameters.memory_size for engine in self.engines]
        check_fits(sum(sizes) * self.dtype.itemsize, f"the parameters of {len(sizes):,} networks")
        self._share(cuda.to_device(np.zeros(sum(sizes), self.dtype)), sizes)

    def _share(self, memory, sizes):
        """Give each engine its own part of a memory."""
        self._memory = memory
        for engine, first, size in zip(self.engines, _starts(sizes).tolist(), sizes, strict=True):
            engine._memory = memory[first : first + size]

    def run_epoch(
        self, orders: Sequence[np.ndarray], batch_sizes: Sequence[int], alphas: Sequence[float], updates: Sequence
    ) -> np.ndarray:
        """Take an epoch of each network, as `Engine.run_epoch` does; return the mean losses, of shape (n_networks,).

        An order may have some of the rows; a network without any takes no step.
        """
        return self.run_epochs(orders, batch_sizes, alphas, updates)[:, 0]

    @explain
    def run_epochs(
        self,
        orders: Sequence[np.ndarray],
        batch_sizes: Sequence[int],
        alphas: Sequence[float],
        updates: Sequence,
        n_epochs: int = 1,
    ) -> np.ndarray:
        """Take some epochs of each network, whose orders are one after another; of shape (n_networks, n_epochs)."""
        engines, places = self.engines, np.zeros((len(self.engines), PLACES), np.int64)
        programs = {program_of(engine.network, update.name) for engine, update in zip(engines, updates, strict=True)}
        program = programs.pop() if len(programs) == 1 else program_of(engines[0].network, "adagrad")  # which has all
        layouts = [engine._layout for engine in engines]
        engines[0]._prepare(batch_sizes[0], updates[0].name, program)  # with it go the rows to the GPU
        rows, targets, weights = engines[0]._data
        numbers, known = [], {}
        for engine, order, *rest in zip(engines, orders, batch_sizes, alphas, updates, strict=True):
            engine._lay_out(rest[0], rest[2].name, program)
            numbers.append(self._numbers(engine, order, rest, n_epochs, known))
            use_rows(engine._layout, rows)
        if layouts != [engine._layout for engine in engines]:
            self._shape, self._rows = self._shape_of(batch_sizes), None
            n_numbers = sum(int(engine._layout.rows_size) for engine in engines)
            check_fits(n_numbers * self.dtype.itemsize, f"batches of {len(engines):,} networks")
            self._rows = cuda.to_device(np.zeros(n_numbers, self.dtype))
        train = make_train(program, self.dtype, self._shape.kind)
        plans, each = [engine._layout.plan for engine in engines], THREADS + n_epochs
        places[:, PLAN] = places.size + _starts([plan.size for plan in plans])
        places[:, MEMORY_PLACE] = _starts([engine._memory.size for engine in engines])
        places[:, ROWS_PLACE] = _starts([engine._layout.rows_size for engine in engines])
        places[:, ORDER_PLACE] = _starts([len(order) for order in orders])
        places[:, NUMBERS_PLACE] = _starts([own.size for own in numbers])
        places[:, RESULTS_PLACE] = each * np.arange(len(engines))
        places[:, N_STEPS] = [(own.size - STEPS) // STEP_FIELDS for own in numbers]
        results = cuda.to_device(np.zeros(len(engines) * each))
        arguments = (
            self._memory,
            self._rows,
            cuda.to_device(np.concatenate([places.ravel(), *plans])),
            rows.values,
            rows.entries,
            targets,
            weights,
            cuda.to_device(np.concatenate(orders).astype(np.int64, copy=False)),
            cuda.to_device(np.concatenate(numbers)),
            results,
        )
        if self._shape.shared > 0:
            allow_shared_memory(train, self._shape.shared, *arguments)
        launch(train, len(engines), THREADS, *arguments, shared=self._shape.shared)
        losses = results.copy_to_host().reshape(len(engines), each)[:, THREADS:]
        for engine, update, n_steps in zip(engines, updates, places[:, N_STEPS].tolist(), strict=True):
            engine.step = update.step + n_steps
        n_rows = np.array([max(1, len(order) // n_epochs) for order in orders])
        return losses / n_rows[:, None]

    def _numbers(self, engine, order, how, n_epochs, known):
        """Return the numbers of the steps of a network, of which those that are the same are made once."""
        batch_size, alpha, update = how
        network, key = engine.network, id(engine)
        if engine._weights is None and update.rates is None:
            key = (network.loss_parameter, network.scale_alpha, engine._augmentation, len(order), *how)
        if key not in known:
            head, records = engine._epoch(order, batch_size, alpha, update, n_epochs)
            known[key] = np.concatenate([head, records.ravel()])
        return known[key]

    def _shape_of(self, batch_sizes):
        """Return how all are launched: with the parameters in shared memory, if those of each fit into a block's."""
        shapes = []
        for engine, batch_size in zip(self.engines, batch_sizes, strict=True):
            shapes.append(shape_of(engine._layout, min(batch_size, MOST_ROWS), self.dtype, "shared", 1))
        largest = max(shape.shared for shape in shapes)
        if largest <= most_shared_memory():
            return shapes[0]._replace(shared=largest)
        return shapes[0]._replace(kind="block", shared=0)


def _starts(sizes):
    """Return where each of some arrays begins if they lie one after another."""
    return np.cumsum([0, *sizes[:-1]])


def train_population(
    networks: Sequence[Network],
    X: np.ndarray | sparse.csr_array,
    targets: np.ndarray,
    parameters: Sequence[tuple[list[np.ndarray], list[np.ndarray]]],
    orders: np.ndarray,
    batch_size: int,
    update: object,
    sample_weight: np.ndarray | None = None,
    alpha: float = 0.0,
) -> tuple[np.ndarray, list[tuple[list[np.ndarray], list[np.ndarray]]]]:
    """Train networks at once for some epochs, all with the same update.

    Parameters
    ----------
    networks, X, sample_weight
        As for `Population`.
    targets : ndarray of shape (n, columns)
        Of all networks.
    parameters : sequence of (coefs, intercepts)
        Where each network begins.
    orders : ndarray of int of shape (n_networks, n_epochs, n)
        Of the rows.
    batch_size : int
        Rows of a step.
    update : Update
        What the steps of the first epoch are.
    alpha : float, default=0.0
        The penalty.

    Returns
    -------
    losses : ndarray of shape (n_networks, n_epochs)
        The mean loss of each network in each epoch.
    parameters : list of (coefs, intercepts)
        Where each network ends.
    """
    population, count = Population(networks, X.dtype), len(networks)
    population.load(X, [targets] * count, sample_weight)
    for engine, (coefs, intercepts) in zip(population.engines, parameters, strict=True):
        engine.set_parameters(coefs, intercepts)
    at_once, losses = max(1, LAUNCH_STEPS // -(-orders.shape[2] // batch_size)), []
    for first in range(0, orders.shape[1], at_once):
        part = orders[:, first : first + at_once]
        each = [[value] * count for value in (batch_size, alpha, update)]
        losses.append(population.run_epochs(part.reshape(count, -1), *each, part.shape[1]))
        update = update._replace(step=population.engines[0].step)
    return np.concatenate(losses, axis=1), [engine.get_parameters() for engine in population.engines]
