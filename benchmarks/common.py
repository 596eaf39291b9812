"""What the benchmarks share: shapes, data, timing, and the machine they ran on."""

import datetime
import os
import platform
import threading
import time
import warnings
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
import scipy
import sklearn
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as ScikitLearnMLPClassifier
from threadpoolctl import ThreadpoolController

import fastmlp
from fastmlp.__main__ import PAUSE, processor_name
from fastmlp.cpu import describe
from fastmlp.cpu.lanes import width
from fastmlp.cpu.layout import lanes_of
from fastmlp.cpu.multiply import rows_product
from fastmlp.cpu.target import PANELS, ROWS

PROTOTYPE_PEAK = 500.0  # GFLOP/s of both cores


class Shape(NamedTuple):
    """A network for classification, its batches and its data.

    `prototype_ms`: milliseconds an epoch of the prototype of this engine, and of scikit-learn with kernels for AVX2 and
    for AVX-512 in its BLAS, on the machine where the engine was designed: two cores with AVX-512, PROTOTYPE_PEAK.
    `epochs` is how many are timed: scikit-learn takes about a second for them.
    """

    features: int
    hidden: tuple[int, ...]
    classes: int
    batch: int
    rows: int
    epochs: int
    prototype_ms: tuple[float, float, float]

    @property
    def name(self) -> str:
        return "-".join(map(str, (self.features, *self.hidden, self.classes)))

    @property
    def widths(self) -> tuple[int, ...]:
        """Two classes need one output."""
        return (self.features, *self.hidden, self.classes if self.classes > 2 else 1)

    @property
    def flop_per_row(self) -> int:
        """Useful floating-point operations to train on one row: two per multiply-add of the three products.

        Every layer multiplies by its weights forward, and makes a gradient; all but the first pass errors back.
        """
        weights = [inputs * outputs for inputs, outputs in pairwise(self.widths)]
        return 2 * (2 * sum(weights) + sum(weights[1:]))


SHAPES = (
    Shape(64, (100,), 10, batch=200, rows=1_797, epochs=200, prototype_ms=(0.30, 3.6, 3.0)),
    Shape(20, (64, 64), 2, batch=32, rows=10_000, epochs=16, prototype_ms=(3.5, 61, 58)),
    Shape(784, (100,), 10, batch=200, rows=20_000, epochs=8, prototype_ms=(24, 116, 80)),
    Shape(50, (256, 256, 256), 2, batch=256, rows=50_000, epochs=2, prototype_ms=(113, 580, 424)),
    Shape(1024, (1024, 1024), 10, batch=512, rows=8_192, epochs=2, prototype_ms=(215, 748, 523)),
)
DIGITS = SHAPES[0]


@cache
def dataset(shape: Shape, rows: int | None = None, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Return X (rows, features) and y: handwritten digits for DIGITS, else labels by a random linear map with noise."""
    rows = shape.rows if rows is None else rows
    if shape == DIGITS and rows <= shape.rows:
        X, y = load_digits(return_X_y=True)
        return (X[:rows] / 16).astype(dtype), y[:rows]
    random = np.random.default_rng(0)
    X = random.standard_normal((rows, shape.features), dtype="float32").astype(dtype, copy=False)
    scores = X @ random.standard_normal((shape.features, shape.classes)).astype(dtype)
    scores += random.gumbel(scale=scores.std() / 4, size=scores.shape).astype(dtype)
    return X, scores.argmax(axis=1)


def make_model(peer: str, shape: Shape, max_iter: int, **parameters: object):
    """Return an estimator of "fastmlp" or "scikit-learn" that trains for max_iter epochs, whatever its loss does."""
    cls = {"fastmlp": fastmlp.MLPClassifier, "scikit-learn": ScikitLearnMLPClassifier}[peer]
    settings = {"solver": "adam", "activation": "relu", "tol": 0.0, "n_iter_no_change": np.inf, "random_state": 0}
    return cls(hidden_layer_sizes=shape.hidden, batch_size=shape.batch, max_iter=max_iter, **settings | parameters)


def fit_quietly(model, X: np.ndarray, y: np.ndarray):
    """Fit without the warning that max_iter was reached, which is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(functions: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call all in turn, `repeats` rounds, so that a change of the machine's load meets all; return their results.

    A pause keeps the threads that a BLAS leaves waiting off the next one's cores.
    """
    results = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            time.sleep(PAUSE)
            results[name].append(function())
    return results


def summarise(values: list[float]) -> dict[str, float]:
    """Return the median and both quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def format_number(value: float) -> str:
    """Return three significant digits, never as a power of ten."""
    decimals = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:,.{decimals}f}"


def format_spread(summary: dict[str, float], unit: float = 1.0) -> str:
    """Return "median (low to high)" in the unit."""
    median, low, high = (format_number(summary[key] * unit) for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def format_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, columns aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


@numba.njit(nogil=True, _nrt=False)
def _multiply_tiles(memory, depth, count):
    """Multiply `count` times what stays in the first-level cache: a register tile's rows and columns, `depth` deep."""
    lanes = width(memory)
    left = PANELS * ROWS * lanes
    right = left + depth * ROWS
    for _ in range(count):
        rows_product(
            PANELS, memory, 0, right, left, right, ROWS * lanes, depth * lanes, np.int64(0), np.int64(ROWS), depth
        )


def measured_peak(threads: int) -> float:
    """Return the GFLOP/s of float32 multiply-adds that so many threads reach together on data in first-level caches."""
    depth, count, lanes = 128, 100_000, lanes_of("float32")
    size = PANELS * ROWS * lanes + depth * ROWS + depth * PANELS * lanes
    memories = [np.zeros(size, "float32") for _ in range(threads)]
    _multiply_tiles(memories[0], depth, 1)

    def once():
        team = [threading.Thread(target=_multiply_tiles, args=(memory, depth, count)) for memory in memories]
        for thread in team:
            thread.start()
        for thread in team:
            thread.join()

    fastest = min(seconds(once) for _ in range(20))  # a peak: whatever disturbs makes it less
    return threads * count * 2 * depth * ROWS * PANELS * lanes / fastest / 1e9


def blas_kernel() -> str:
    """Return the BLAS behind NumPy's products, which scikit-learn's networks use, and which processor's kernels run."""
    found = ThreadpoolController().select(user_api="blas").info()
    found = [library for library in found if "scipy.libs" not in library["filepath"]] or found
    return ", ".join(
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip() for library in found
    )


def has_avx512() -> bool:
    """Return whether the processor has AVX-512."""
    return bool(llvm.get_host_cpu_features().get("avx512f", False))


def machine() -> dict[str, object]:
    """Return what ran where, and when."""
    host = describe()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {module.__name__: module.__version__ for module in (fastmlp, numba, sklearn, np, scipy)},
        "instruction set": host["instruction set"],
        "threads": host["threads"],
        "blas": blas_kernel(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
    }


SETTINGS = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_", "GOTO_")


def format_machine(facts: dict[str, object]) -> str:
    """Return what `machine` found, one line a subject."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    lines = [
        facts["date"],
        f"{facts['processor']}, {facts['cores']} cores, {facts['system']}",
        f"Python {facts['python']}, {versions}",
        f"fastmlp: {facts['instruction set']}, {facts['threads']} threads at most; scikit-learn: {facts['blas']}",
    ]
    if facts["environment"]:
        lines.append("set: " + " ".join(f"{name}={value}" for name, value in facts["environment"].items()))
    return "\n".join(lines)
