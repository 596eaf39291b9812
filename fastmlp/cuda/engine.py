"""The GPU engine: an object with the same verbs as every engine."""

import time

import numpy as np
from scipy import sparse

from fastmlp.cuda.compiler import allow_shared_memory, cuda, launch, most_blocks, multiprocessors
from fastmlp.cuda.data import empty_array, encode, upload, use_rows
from fastmlp.cuda.launch import THREADS, check_precision, kind_of, shape_of, tile_of
from fastmlp.cuda.layout import COLUMNS, DECOUPLED, MOST_ROWS, N_SLOTS, ORDERED, PARAMETERS, SEED, UPDATE, WEIGHTED
from fastmlp.cuda.memory import check_fits, explain, usable_memory
from fastmlp.cuda.predict import mean_loss, parts_of, run_in_parts, run_predict
from fastmlp.cuda.program import ONLY_GRADIENT, program_of
from fastmlp.cuda.rows import DeviceRows
from fastmlp.cuda.step import (
    ACTIVATED,
    ALPHA,
    DROPPED_FEATURES,
    EPOCH,
    FIRST,
    GOES_ON,
    GRADIENT_NORM,
    HYPERPARAMETERS,
    JITTER,
    L1_RATIO,
    LAST,
    LOSS_PARAMETER,
    MAX_NORM,
    N_STEPS,
    NUMBER,
    OWN_PART,
    PLACES,
    PLAN,
    RATE,
    RAW,
    SCALE,
    STEP_FIELDS,
    STEPS,
    find_not_finite,
    make_train,
)
from fastmlp.cuda.stream import MOST_BYTES, HostRows, Stream
from fastmlp.formulas.progress import compare_loss
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import NO_AUGMENTATION, Augmentation, Network, flatten, views

MOST_STEPS = 4096  # of a launch
MOST_EPOCHS = 256  # of a launch
LAUNCH_SECONDS = 0.05  # short enough for Ctrl-C, long enough to hide what the host does


def epochs_until_stop(losses, stopping):
    """Return how many epochs there are until the loss has not improved for too long, or all."""
    best, without, tol, patience = stopping
    for epoch, loss in enumerate(losses, start=1):
        best, without = compare_loss.py_func(loss, best, without, tol)
        if without > patience:
            return epoch
    return len(losses)


class Engine:
    """Trains one network on the GPU.

    Parameters
    ----------
    network : Network
        The architecture.
    dtype : dtype
        float32 or float64: the type of all arithmetic.
    n_threads : int or None, default=None
        Not used; engines share the signature.
    precision : {"float32", "tf32", "bfloat16"}, default="float32"
        Of the products of large layers in float32: see `tensor`.
    kind : {"shared", "block", "grid", "large"} or None, default=None
        Which kernel trains; None: the one for this size of network and batch.

    Raises
    ------
    ValueError
        If there is no such precision, or none but "float32" for this dtype or this GPU.
    """

    def __init__(
        self,
        network: Network,
        dtype: np.dtype,
        n_threads: int | None = None,
        precision: str = "float32",
        kind: str | None = None,
    ):
        check_precision(precision, np.dtype(dtype))
        self.network, self.dtype, self._precision, self._kind = network, np.dtype(dtype), precision, kind
        self.seed = 0  # of the random numbers of all steps
        self.step = 0  # how many were taken, as `run_epoch` counts them: also within an epoch that was interrupted
        self.gradient_norm = 0.0  # of the last batch, before its bound, if the update had one
        self._n_slots = 0
        self._trains = cuda.stream()  # not the default one, for which all others wait

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what the engine holds on the GPU."""
        self._memory = self._rows = self._data = self._stream = self._host = self._validated = None

    @explain
    def load(
        self,
        X: np.ndarray | sparse.csr_array | DeviceRows,
        targets: np.ndarray,
        sample_weight: np.ndarray | None = None,
        augmentation: Augmentation = NO_AUGMENTATION,
        index: np.ndarray | None = None,
    ) -> None:
        """Take the rows to train on: X (n, features) dense or CSR, targets (n, columns), sample_weight (n,) or None.

        With `index` they are those rows of X. Rows that do not fit into the GPU's memory stay on the host, and go there
        as they are trained on.

        Raises
        ------
        ValueError
            If rows are changed by a user's own function.
        MemoryError
            If the parameters do not fit.
        """
        self._take_rows(X, targets, sample_weight, augmentation, index)
        check_fits(self._parameters.memory_size * self.dtype.itemsize, "the parameters")
        self._memory = cuda.to_device(np.zeros(self._parameters.memory_size, self.dtype))

    def _take_rows(self, X, targets, sample_weight, augmentation=NO_AUGMENTATION, index=None):
        """Do what `load` does, but for the memory of the parameters."""
        if augmentation.function is not None:
            raise ValueError("augment: a function of your own is not compiled for device='cuda': take device='cpu'.")
        X = X if index is None else X[index]
        self._n_rows, self._augmentation = X.shape[0], augmentation
        self._weights, self._columns = sample_weight, targets.shape[1]
        self._host, self._data, self._stream = HostRows(X, targets, sample_weight), None, None
        self._layout, self._validated = None, (None, None)
        # parameters lie at the same places for any number of rows
        self._parameters = encode(self.network, program_of(self.network, "adagrad"), 1)
        self._size = int(self._parameters.plan[PARAMETERS])

    def set_parameters(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> None:
        """Copy weights (inputs, outputs) and biases (outputs,) of all layers in."""
        packed = self._parameters.pack(coefs, intercepts, self.dtype)
        self._memory[: self._size].copy_to_device(packed)
        transposed = self._parameters.transpose(packed)
        if transposed.size > 0:
            self._memory[4 * self._size :].copy_to_device(transposed)

    def _read(self, slot):
        part = self._memory[slot * self._size : (slot + 1) * self._size]
        return self._parameters.unpack(part.copy_to_host())

    def get_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return weights and biases as fresh arrays."""
        return self._read(0)

    def set_state(self, state: np.ndarray) -> None:
        """Copy the optimizer's moments in, (n_slots, n_parameters) in the order of `network.flatten`."""
        self._n_slots = len(state)
        for slot, moment in enumerate(state, start=1):
            packed = self._parameters.pack(*views(moment, self.network.widths), self.dtype)
            self._memory[slot * self._size : (slot + 1) * self._size].copy_to_device(packed)

    def get_state(self) -> np.ndarray:
        """Return the optimizer's moments as a fresh array (n_slots, n_parameters)."""
        moments = [flatten(*self._read(slot)) for slot in range(1, self._n_slots + 1)]
        return np.array(moments, dtype=self.dtype).reshape(self._n_slots, -1)

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        flag = cuda.to_device(np.zeros(1, np.int32))
        launch(find_not_finite, max(1, min(1024, self._size // 512)), THREADS, flag, self._memory, self._size)
        return flag.copy_to_host()[0] == 0

    def _allocate(self, layout, batch_size):
        """Make room for a batch; copy all rows to the GPU, or make the buffers they go through, as memory allows."""
        self._rows = self._stream = None
        host, batch = self._host, self._host.largest_batch(batch_size)
        parameters, units = (size * self.dtype.itemsize for size in (layout.memory_size, layout.rows_size))
        least = 0 if self._data is not None else min(host.size, 2 * batch)
        check_fits(parameters + units + least, f"the parameters and batches of {batch_size:,} rows", held=parameters)
        self._rows = cuda.to_device(np.zeros(layout.rows_size, self.dtype))
        free = usable_memory()
        if self._data is None and host.size <= free:
            weights = empty_array(self.dtype) if host.weights is None else cuda.to_device(host.weights)
            self._data = upload(host.X), cuda.to_device(host.targets.reshape(-1)), weights
        elif self._data is None:
            self._stream = Stream(host, min(max(batch, MOST_BYTES), int(free // 2)))

    def _lay_out(self, batch_size, update, program):
        """Make the layout for batches of so many rows, and tell it the update; return whether it is another one."""
        new = self._layout is None or self._program is not program or self._batch_size != batch_size
        if new:
            self._program, self._batch_size = program, batch_size
            self._layout = encode(self.network, program, min(batch_size, MOST_ROWS))
            if self._augmentation.mixup > 0:
                self._layout.add_targets(self._columns)
        plan = self._layout.plan
        plan[COLUMNS], plan[SEED] = self._columns, self.seed
        plan[ORDERED], plan[WEIGHTED] = 1, self._weights is not None
        plan[UPDATE] = ONLY_GRADIENT if update is None else program.update_codes[update]
        if update is not None:
            self._n_slots = UPDATES[update].n_slots
        plan[N_SLOTS] = 0 if update is None else self._n_slots
        plan[DECOUPLED] = update is not None and UPDATES[update].decoupled
        return new

    def _prepare(self, batch_size, update, program):
        """Lay out batches of so many rows, place the rows, and choose the kernel."""
        if self._lay_out(batch_size, update, program):
            layout, n_rows = self._layout, min(batch_size, MOST_ROWS)
            self._allocate(layout, batch_size)
            kind = self._kind or kind_of(layout, n_rows, self.dtype)
            numbers, integers, doubles = map(empty_array, (self.dtype, np.int64, np.float64))
            types = (*(numbers,) * 2, integers, numbers, integers, numbers, numbers, integers, doubles, doubles)
            tile, blocks = None, 1
            if kind == "large":
                tile = tile_of(layout, n_rows, self.dtype, self._precision, multiprocessors())
            self._train = make_train(program, self.dtype, kind, tile)
            if kind in ("grid", "large"):
                blocks = most_blocks(self._train, tile.threads if tile else THREADS, *types)
            self._shape = shape_of(layout, n_rows, self.dtype, kind, blocks, tile)
            if self._shape.shared > 0:
                allow_shared_memory(self._train, self._shape.shared, *types)
            self._results = cuda.device_array(self._shape.blocks * (self._shape.threads + MOST_EPOCHS), np.float64)
            self._runs, self._seconds = 0, np.inf  # how many, and what an epoch of the last one took

    def _numbers(self, order, batch_size, first_step, rates, alpha, n_epochs=1):
        """Return the records of all steps of some epochs, each of the same number of rows."""
        n_rows = len(order) // n_epochs
        starts = np.arange(0, n_rows, batch_size)
        stops, first_rows = np.minimum(starts + batch_size, n_rows), n_rows * np.arange(n_epochs)[:, None]
        starts, stops = (first_rows + starts).ravel(), (first_rows + stops).ravel()
        if self._weights is None:
            sums = (stops - starts).astype(np.float64)
        else:
            sums = np.add.reduceat(self._weights[order].astype(np.float64), starts)
        records = np.zeros((len(starts), STEP_FIELDS))
        records[:, FIRST], records[:, LAST] = starts, stops
        np.divide(1.0, sums, out=records[:, SCALE], where=sums > 0)
        records[:, ALPHA] = alpha if self.network.scale_alpha else alpha * sums
        n_steps = len(starts) // n_epochs
        first_steps = first_step + n_steps * np.arange(n_epochs)
        records[:, OWN_PART] = np.ravel([self._augmentation.parts(self.seed, first, n_steps) for first in first_steps])
        records[:, NUMBER] = first_step + np.arange(len(starts))
        records[:, RATE] = rates
        if len(order) > 0:
            records.reshape(n_epochs, -1, STEP_FIELDS)[:, -1, EPOCH] = 1 + np.arange(n_epochs)
        return records

    def _chunks(self, order, records):
        """Give (records of steps, rows, targets, weights, order) for each launch."""
        if self._stream is not None:
            yield from self._stream.chunks(order, records, MOST_STEPS)
            return
        order = cuda.to_device(order)
        for first in range(0, len(records), MOST_STEPS):
            yield records[first : first + MOST_STEPS], *self._data, order

    def _run(self, order, head, records):
        """Take all steps, and return the sum of the losses of each epoch."""
        shape, plan, chunks = self._shape, self._layout.plan, self._chunks(order, records)
        chunk = next(chunks)
        cuda.synchronize()  # its rows are there
        while chunk is not None:
            part, rows, targets, weights, positions = chunk
            use_rows(self._layout, rows)
            numbers = cuda.to_device(np.concatenate([head, part.ravel()]))
            table = np.zeros(PLACES, np.int64)
            table[PLAN], table[N_STEPS] = PLACES, len(part)
            plans = cuda.to_device(np.concatenate([table, plan]))
            data = (rows.values, rows.entries, targets, weights, positions)
            arguments = (self._memory, self._rows, plans, *data, numbers, self._results)
            launch(self._train, shape.blocks, shape.threads, *arguments, shared=shape.shared, stream=self._trains)
            try:
                chunk = next(chunks, None)  # its rows go to the GPU while that trains
            finally:
                cuda.synchronize()
                self.step = int(part[-1, NUMBER])
            head[GOES_ON] = 1.0
            if head[MAX_NORM] > 0:
                self.gradient_norm = float(numbers[GRADIENT_NORM : GRADIENT_NORM + 1].copy_to_host()[0])
        return self._sums(int(records[-1, EPOCH]))

    def _sums(self, n_epochs):
        """Return the sums of the losses of the first epochs of the last launch."""
        first = self._shape.blocks * self._shape.threads
        return self._results[first : first + n_epochs * self._shape.blocks].copy_to_host().reshape(n_epochs, -1).sum(1)

    @explain
    def run_epoch(self, order: np.ndarray, batch_size: int, alpha: float, update) -> float:
        """Take one step a batch, over all rows in the given order; return the mean of the batches' losses by rows."""
        self._prepare(batch_size, update.name, program_of(self.network, update.name))
        head, records = self._epoch(order, batch_size, alpha, update)
        start = time.perf_counter()
        sums = self._run(np.ascontiguousarray(order, np.int64), head, records)
        self._runs, self._seconds = self._runs + 1, time.perf_counter() - start
        return float(sums[0]) / self._n_rows

    @explain
    def run_epochs(self, shuffle, batch_size: int, alpha: float, update, stopping, most: int) -> list[float]:
        """Take at least one epoch, in the orders of a `Shuffle`, and `most` at most; return the loss of each.

        Where they are short, one launch takes several: if the `update` is the same for all their steps, all rows are on
        the GPU, and the generator of the shuffle can be had. If the training ends before the last of them, as
        `stopping` says, or a parameter is not finite then, all are taken back, and fewer are taken again.
        """
        self._prepare(batch_size, update.name, program_of(self.network, update.name))
        epochs, generator = 1, None
        if self._runs > 1 and update.rates is None and self._stream is None:  # the first run may compile the kernel
            at_once = min(MOST_EPOCHS, MOST_STEPS // -(-self._n_rows // batch_size))
            epochs = min(most, at_once, int(LAUNCH_SECONDS / self._seconds))
            generator = shuffle.take_generator() if epochs > 1 else None
        if generator is None:
            return [self.run_epoch(shuffle.next(), batch_size, alpha, update)]
        return self._run_whole(shuffle, (batch_size, alpha, update), stopping, epochs, generator)

    def _run_whole(self, shuffle, how, stopping, epochs, generator):
        """Take whole epochs by one launch; return their losses."""
        first_order, first_step = shuffle.order.copy(), self.step
        before = cuda.device_array(self._memory.size, self.dtype)
        before.copy_to_device(self._memory)

        def go_back():
            self._memory.copy_to_device(before)
            shuffle.give_generator(generator)
            shuffle.order[:], self.step = first_order, first_step

        def run(epochs):
            orders = np.concatenate([shuffle.next().copy() for _ in range(epochs)])
            sums = self._run(orders, *self._epoch(orders, *how, epochs))
            return [float(total) / self._n_rows for total in sums]

        while True:
            start = time.perf_counter()
            try:
                losses = run(epochs)
                self._seconds = (time.perf_counter() - start) / epochs
                wanted = epochs_until_stop(losses, stopping) if self.is_finite() else max(1, epochs // 2)
            except BaseException:
                go_back()
                raise
            if wanted == epochs:
                return losses
            go_back()
            epochs = wanted

    def _epoch(self, order, batch_size, alpha, update, n_epochs=1):
        """Return the head of the `numbers` of epochs whose orders are one after another, and the records of steps."""
        head = np.zeros(STEPS)
        head[LOSS_PARAMETER], head[L1_RATIO] = self.network.loss_parameter, update.l1_ratio
        head[MAX_NORM], head[JITTER] = update.max_norm, self._augmentation.jitter
        head[DROPPED_FEATURES] = self._augmentation.drop_features
        head[HYPERPARAMETERS : HYPERPARAMETERS + len(update.constants)] = update.constants
        rates = update.constants[0] if update.rates is None else update.rates
        return head, self._numbers(order, batch_size, update.step + 1, rates, alpha, n_epochs)

    @explain
    def loss_and_gradient(self, flat: np.ndarray, alpha: float) -> tuple[float, np.ndarray]:
        """Return the loss over all rows and its gradient at parameters in the order of `network.flatten`."""
        self.set_parameters(*views(flat, self.network.widths))
        self._prepare(self._n_rows, None, program_of(self.network))
        head = np.zeros(STEPS)
        head[LOSS_PARAMETER] = self.network.loss_parameter
        order = np.arange(self._n_rows)
        records = self._numbers(order, self._n_rows, 1, 0.0, alpha)
        loss = float(self._run(order, head, records)[0]) / self._n_rows
        return loss, flatten(*self._read(3)).astype(np.float64)

    @explain
    def forward(self, X: np.ndarray | sparse.csr_array | DeviceRows, raw: bool = False) -> np.ndarray:
        """Return the outputs for rows X (n, features) at the present parameters, (n, outputs)."""
        what = RAW if raw else ACTIVATED
        if self._validated[0] is not X:  # the same rows epoch after epoch
            self._validated = (None, None)
            self._validated = (X, upload(X) if len(parts_of(self.network, X, what)) == 2 else None)
        rows = self._validated[1]
        if rows is None:
            return run_in_parts(self.network, self._memory, X, self.dtype, what)
        return run_predict(self.network, self._memory, rows, X.shape[0], self.dtype, what)

    @explain
    def mean_loss(self, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        """Return the mean loss of rows, without penalty, from their outputs (n, outputs); the rest as for `load`."""
        return mean_loss(self.network, output, targets, sample_weight)
