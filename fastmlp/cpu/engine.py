"""The CPU engine: an object with the same verbs as every engine, over one flat buffer and a team of threads."""

import time
from itertools import pairwise

import numpy as np
from scipy import sparse

from fastmlp.cpu import step
from fastmlp.cpu.compile import entry
from fastmlp.cpu.data import as_kernel_input, encode
from fastmlp.cpu.forward import forward_call
from fastmlp.cpu.layout import BLOCK_ROWS, FIRST, GRADIENT
from fastmlp.cpu.mean_loss import mean_loss
from fastmlp.cpu.parameters import UPDATE_CODES
from fastmlp.cpu.program import program_of
from fastmlp.cpu.shuffle import room_for_numbers
from fastmlp.cpu.step import (
    ALPHA,
    BATCH,
    BEST,
    CURVE,
    DROPPED_FEATURES,
    EPOCHS,
    FIRST_ROW,
    GRADIENT_NORM,
    HALT,
    HELPERS,
    HYPERPARAMETERS,
    JITTER,
    L1_RATIO,
    LAST_BLOCK,
    LAST_ROW,
    LINE,
    LOSS_PARAMETER,
    LOSS_SUM,
    MAX_NORM,
    MOST_BATCHES,
    MOST_EPOCHS,
    OWN_PARTS,
    PATIENCE,
    PENALTIES,
    RATES,
    SEED,
    SHUFFLES,
    STEP,
    UPDATE,
    WEIGHT_ALPHA,
)
from fastmlp.cpu.threads import (
    Pace,
    Team,
    fair_share,
    fit_begins,
    fit_ends,
    may_be_interrupted,
    resolve_threads,
    run_interruptibly,
)
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import NO_AUGMENTATION, Augmentation, Network, scattered, views

work = entry(step.work)
NO_GENERATOR = np.empty(0, dtype=np.uint32)  # of a job that does not shuffle
# Multiply-adds of a forward pass of a batch.
HELPER_PRODUCTS = 20_000_000  # the batch takes 1 ms, beside which starting a thread is little
LONG_BATCH = 300_000_000  # the batch takes 20 ms or more, beside which a thread's 0.1 ms are nothing


class Engine:
    """Trains one network on the CPU.

    Parameters
    ----------
    network : Network
        The architecture.
    dtype : dtype
        float32 or float64: the type of all arithmetic.
    n_threads : int or None, default=None
        The most threads to use; None: as many as the process may use, divided among the engines that are in use as
        context managers. Results do not depend on it.
    """

    def __init__(self, network: Network, dtype: np.dtype, n_threads: int | None = None):
        self.network, self.dtype = network, np.dtype(dtype)
        self.n_threads, self._divides = resolve_threads(n_threads), n_threads is None
        self._team = None
        self._n_slots = 0
        self._interrupted = False
        self._program = program_of(network)
        self._pace = Pace(self.n_threads)
        self.seed = 0  # of the random numbers of all steps

    def __enter__(self) -> "Engine":
        fit_begins()
        return self

    def __exit__(self, *exception: object) -> None:
        fit_ends()
        self.close()

    def close(self) -> None:
        """End the helper threads."""
        if self._team is not None:
            self._team.close()
            self._team = None

    def load(
        self,
        X: np.ndarray | sparse.csr_array,
        targets: np.ndarray,
        sample_weight: np.ndarray | None = None,
        augmentation: Augmentation = NO_AUGMENTATION,
        index: np.ndarray | None = None,
    ) -> None:
        """Take the rows to train on: X (n, features) dense or CSR, targets (n, columns), sample_weight (n,) or None.

        Sparse rows cannot be augmented. With `index` they are those rows of X, which then may have more than n, and is
        not copied.
        """
        self._augmentation, self._index = augmentation, index
        self._n_rows = targets.shape[0]
        if index is not None:
            self._place_of = scattered(X.shape[0], index, np.arange(self._n_rows))
            targets = scattered(X.shape[0], index, targets)
            sample_weight = None if sample_weight is None else scattered(X.shape[0], index, sample_weight)
        self._capacity = min(self._n_rows, BLOCK_ROWS)
        columns = targets.shape[1] if augmentation.mixup > 0 else 0
        change = 0
        if augmentation.function is not None:
            from fastmlp.cpu.user import address_of_change  # here, for who needs it not should not wait for it

            change = address_of_change(augmentation.function, self.dtype)
        self._layout = encode(
            self.network,
            self.dtype,
            self._n_rows,
            self.n_threads,
            isinstance(X, np.ndarray),
            target_columns=columns,
            change=change,
        )
        order = np.append(np.empty(self._n_rows, dtype=np.int64), np.arange(BLOCK_ROWS))
        self._order = order[: self._n_rows]
        self._control = np.zeros(HELPERS + (self.n_threads + 1) * LINE, dtype=np.int64)
        self._numbers = np.zeros(PENALTIES + 2 * self._layout.n_tiles)
        self._numbers[LOSS_PARAMETER] = self.network.loss_parameter
        self._numbers[[JITTER, DROPPED_FEATURES]] = augmentation.jitter, augmentation.drop_features
        weights = np.empty(0, dtype=self.dtype) if sample_weight is None else sample_weight
        self._arguments = (
            self._layout.memory,
            self._numbers,
            self._layout.plan,
            self._control,
            as_kernel_input(X),
            np.require(targets, requirements=["C", "W"]).reshape(-1),  # the type of a slice of the buffer
            np.require(weights, requirements=["C", "W"]),
            order,
        )
        self._curve = np.zeros(CURVE + MOST_EPOCHS)

    def _set_order(self, order):
        """Set which rows are taken, in which order: places among those that were loaded."""
        self._order[: len(order)] = order if self._index is None else self._index[order]

    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights (inputs, outputs) and biases (outputs,) of all layers in."""
        self._layout.write(coefs, intercepts)
        self._layout.write_transposed()

    def get_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases as fresh arrays."""
        widths = self.network.widths
        coefs = [np.empty(shape, dtype=self.dtype) for shape in pairwise(widths)]
        intercepts = [np.empty(outputs, dtype=self.dtype) for outputs in widths[1:]]
        self._layout.read(coefs, intercepts)
        return coefs, intercepts

    def set_state(self, state: np.ndarray) -> None:
        """Copy the optimizer's moments in, (n_slots, n_parameters) in the order of `network.flatten`."""
        self._n_slots = len(state)
        for slot, moment in enumerate(state, start=1):
            self._layout.write(*views(moment, self.network.widths), slot * self._layout.plan[FIRST])

    def get_state(self) -> np.ndarray:
        """Return the optimizer's moments as a fresh array (n_slots, n_parameters)."""
        distance = self._layout.plan[FIRST]
        state = np.empty((self._n_slots, self.network.n_parameters), dtype=self.dtype)
        for slot, moment in enumerate(state, start=1):
            self._layout.read(*views(moment, self.network.widths), slot * distance)
        return state

    @property
    def step(self) -> int:
        """How many steps were taken, as `run_epoch` counts them: also within an epoch that was interrupted."""
        return int(self._control[STEP]) - 1

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        return bool(np.isfinite(self._layout.memory[: self._layout.parameters_size]).all())

    @property
    def gradient_norm(self) -> float:
        """The norm of the last batch's gradient, before its bound, if the update had one."""
        return float(self._numbers[GRADIENT_NORM])

    def _prepare(self, batch_size, update, first_step, alpha):
        """Set what is the same for all jobs of an epoch."""
        control, numbers = self._control, self._numbers
        self._layout.set_batch(batch_size)
        control[BATCH], control[UPDATE], control[STEP] = batch_size, update, first_step
        control[SEED], numbers[LOSS_SUM] = self.seed, 0.0
        numbers[[ALPHA, WEIGHT_ALPHA]] = (alpha, 0.0) if self.network.scale_alpha else (0.0, alpha)

    def _run(self, n_rows, batch_size, rates, own_parts):
        """Run so many rows in the present order through batches, job by job; add their losses to LOSS_SUM.

        rates: the learning rate of each step, or one for all; own_parts: of each step, as `Augmentation` says.
        """
        control, numbers = self._control, self._numbers
        control[EPOCHS] = control[SHUFFLES] = 0
        row = 0
        while row < n_rows:
            wanted, batches, measured = self._next_job()
            batches = min(batches, MOST_BATCHES)
            steps = slice(row // batch_size, min(row // batch_size + batches, -(-n_rows // batch_size)))
            if self._augmentation.mixup > 0:
                numbers[OWN_PARTS : OWN_PARTS + steps.stop - steps.start] = own_parts[steps]
            numbers[RATES : RATES + steps.stop - steps.start] = rates if isinstance(rates, float) else rates[steps]
            control[FIRST_ROW] = row
            control[LAST_ROW] = row = min(n_rows, row + batches * batch_size)
            self._work(wanted, measured, steps.stop - steps.start, NO_GENERATOR)

    @property
    def _products(self):
        """The multiply-adds of a forward pass of a batch."""
        return int(self._control[BATCH]) * self.network.n_parameters

    def _next_job(self):
        """Return (threads, batches, whether its time tells something) of the next job, with the helpers awake."""
        most = fair_share(self.n_threads) if self._divides else self.n_threads
        if most != self._pace.choices[-1]:  # another fit has begun or ended
            self.close()
            self._pace = Pace(most)
        self._pace.team_first = self._products > (most - 1) * HELPER_PRODUCTS
        wanted, batches = self._pace.next()
        if wanted == 1 and self._pace.settled:
            self.close()  # under load the system shares out the cores as if a helper that sleeps did not
        # what a helper needs to wake up would be counted against the team
        measured = wanted == 1 or not self._gather_team(wanted)
        return wanted, batches if measured else 1, measured

    def _work(self, wanted, measured, batches, generator):
        """Run a job of so many batches in each of its epochs."""
        control = self._control
        control[HALT] = control[LAST_BLOCK] = 0
        start = time.perf_counter()

        def job():
            return work(self._program, *self._arguments, generator, self._curve, wanted, 0)

        long = self._products > LONG_BATCH and may_be_interrupted()
        try:
            team = run_interruptibly(job, control) if long else job()
        except BaseException:
            self.close()  # a helper may not yet have read which block was the last one
            raise
        if measured:
            self._pace.done(team, batches * max(1, int(control[EPOCHS])), time.perf_counter() - start)

    def _gather_team(self, wanted):
        """Start or wake the helpers; return whether one was not awake."""
        begins = self._team is None
        if begins:
            self._team = Team(
                self._control,
                lambda helper: work(self._program, *self._arguments, NO_GENERATOR, self._curve, 0, helper) == 1,
                self.n_threads - 1,
            )
        return self._team.wake(wanted) or begins

    def run_epoch(self, order: np.ndarray, batch_size: int, alpha: float, update) -> float:
        """Take one step a batch, over the rows of an order; return the mean of the batches' losses by rows.

        The order may have all loaded rows or some of them.
        """
        return self.run_parts([order], len(order), batch_size, alpha, update)

    def run_parts(self, parts, n_rows: int, batch_size: int, alpha: float, update) -> float:
        """Take an epoch of so many rows whose order comes in parts, all but the last of whole batches.

        Each part is of places among the rows that were loaded, which may be others when the next one is asked for: then
        the arrays have been written to. Returns the same as `run_epoch`, and the same bits.
        """
        self._prepare_update(batch_size, alpha, update)
        n_steps, step = -(-n_rows // batch_size), 0
        own_parts = self._augmentation.parts(self.seed, update.step + 1, n_steps)
        for order in parts:
            self._set_order(order)
            rates = update.constants[0] if update.rates is None else update.rates[step:]
            self._run(len(order), batch_size, rates, own_parts[step:])
            step += -(-len(order) // batch_size)
        return float(self._numbers[LOSS_SUM]) / n_rows

    def run_epochs(self, shuffle, batch_size: int, alpha: float, update, stopping, most: int) -> list[float]:
        """Take at least one epoch, in the orders of a `Shuffle`, and `most` at most; return the loss of each.

        It takes those at once that a job has the time for, and shuffles in the kernel: if the `update` is the same for
        all their steps, and if the generator of the shuffle can be had. It ends with the epoch after which the loss has
        not improved for too long, as `stopping` says it, or a parameter is not finite. Ctrl-C is raised once the epochs
        are told that were taken.
        """
        if self._interrupted:
            raise KeyboardInterrupt
        n_steps = -(-self._n_rows // batch_size)
        if most > 1 and update.rates is None and self._augmentation.mixup == 0 and n_steps <= MOST_BATCHES:
            self._prepare_update(batch_size, alpha, update)  # helpers begin with its program
            wanted, batches, measured = self._next_job()
            epochs = min(batches // n_steps, most, MOST_EPOCHS)
            generator = shuffle.take_generator() if epochs > 0 else None
            if generator is not None:
                self._numbers[RATES : RATES + n_steps] = update.constants[0]
                return self._run_whole(shuffle, stopping, epochs, generator, (wanted, measured, n_steps))
        return [self.run_epoch(shuffle.next(), batch_size, alpha, update)]

    def _run_whole(self, shuffle, stopping, epochs, generator, job):
        """Run whole epochs as one job = (threads, whether its time tells something, steps); return their losses."""
        control, curve = self._control, self._curve
        self._set_order(shuffle.order)
        control[FIRST_ROW], control[LAST_ROW] = 0, self._n_rows
        control[EPOCHS], control[SHUFFLES] = epochs, generator.size > 0
        curve[BEST : PATIENCE + 1] = stopping
        first_step, n_steps = int(control[STEP]), job[2]
        roomy = room_for_numbers(generator)
        try:
            self._work(*job, roomy)
        except KeyboardInterrupt:
            if control[STEP] - first_step < n_steps:
                raise
            self._interrupted = True
        shuffle.order[:] = self._order if self._index is None else self._place_of[self._order]
        shuffle.give_generator(roomy[: generator.size])
        return curve[CURVE : CURVE + (control[STEP] - first_step) // n_steps].tolist()

    def _prepare_update(self, batch_size, alpha, update):
        self._n_slots = UPDATES[update.name].n_slots
        more = update.max_norm > 0 or update.l1_ratio > 0 or self._augmentation != NO_AUGMENTATION
        self._program = program_of(self.network, update.name, more)
        self._prepare(batch_size, UPDATE_CODES[update.name], update.step + 1, alpha)
        numbers, constants = self._numbers, update.constants
        numbers[HYPERPARAMETERS : HYPERPARAMETERS + len(constants)] = constants
        numbers[L1_RATIO], numbers[MAX_NORM] = update.l1_ratio, update.max_norm

    def loss_and_gradient(
        self, flat: np.ndarray, alpha: float, rows: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        """Return the loss over rows and its gradient at parameters in the order of `network.flatten`.

        rows: which of the loaded rows, as indices, with a weight that is not 0; None: all.
        """
        self.set_parameters(*views(flat, self.network.widths))
        rows = np.arange(self._n_rows) if rows is None else rows
        self._set_order(rows)
        self._prepare(len(rows), UPDATE_CODES["gradient"], 1, alpha)
        self._run(len(rows), len(rows), 0.0, np.ones(1))
        loss = self._numbers[LOSS_SUM] / len(rows)
        gradient = np.empty(self.network.n_parameters, dtype=self.dtype)
        self._layout.read(*views(gradient, self.network.widths), self._layout.plan[GRADIENT])
        return float(loss), gradient.astype(np.float64)

    def forward(self, X: np.ndarray | sparse.csr_array, raw: bool = False) -> np.ndarray:
        """Return the outputs for rows X (n, features) at the present parameters, (n, outputs)."""
        self._layout.set_batch(self._capacity)
        out = np.empty((X.shape[0], self.network.widths[-1]), dtype=self.dtype)
        forward_call(out, self._layout, self._layout.undropped_plan(), X, self._capacity, raw)()
        return out

    def mean_loss(self, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Return the mean loss of rows, without penalty, from their outputs (n, outputs); the rest as for `load`."""
        return mean_loss(self.network, output, targets, sample_weight)
