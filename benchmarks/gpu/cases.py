"""What is timed on a GPU, and what the project aims at."""

from typing import NamedTuple

from benchmarks.shapes import DIGITS, PREDICTED, Shape

EPOCH, FIT, POPULATION, PREDICTION = "epoch", "fit", "population", "prediction"
PREDICTED_ROWS = 200_000
FIT_ROWS = 2_000  # that the network is trained on that predicts


class Case(NamedTuple):
    """What is timed.

    `measured`: an epoch, a fit of some epochs from the host's rows on, the same of many networks, or a prediction of
    the host's rows. `goals`: at least how many times fastmlp's time each peer takes; `most_seconds`: of fastmlp.
    """

    name: str
    measured: str
    shape: Shape
    goals: dict[str, float]
    precision: str = "float32"
    epochs: int = 1
    most_seconds: float | None = None
    networks: int = 1

    @property
    def operations(self) -> float:
        """Useful floating-point operations: two for each multiply-add."""
        if self.measured == PREDICTION:
            return 2 * self.shape.weights * self.predicted_rows
        return self.shape.flop_per_row * self.shape.rows * self.epochs * self.networks

    @property
    def predicted_rows(self) -> int:
        """How many rows are predicted: as many as of a whole case, unless it was shrunk."""
        return PREDICTED_ROWS if self.shape == PREDICTED else self.shape.rows

    @property
    def what(self) -> str:
        """What the time is of."""
        if self.measured == PREDICTION:
            return f"{self.predicted_rows:,} rows"
        return "an epoch" if self.measured == EPOCH else f"{self.epochs} epochs"

    def shrunk(self) -> "Case":
        """Return the case with few small layers, rows and networks, to see that it works."""
        shape = self.shape
        hidden = tuple(min(width, 6) for width in shape.hidden[:2])
        shape = shape._replace(features=8, hidden=hidden, outputs=min(shape.outputs, 3), batch=8, rows=20)
        return self._replace(shape=shape, epochs=min(self.epochs, 2), networks=min(self.networks, 3))


MIDDLE = Shape(784, (512,), 10, batch=1_024, rows=50_000)
# At 1e-3 its loss grows to where scikit-learn clips probabilities, which PyTorch and JAX do not.
LARGE = Shape(1024, (4096, 4096), 10, batch=4_096, rows=32_768, learning_rate=1e-5)
SMALL_GOALS = {"PyTorch": 10, "PyTorch, CUDA graphs": 5, "JAX": 3}
CASES = (
    Case("64-100-10", EPOCH, DIGITS, SMALL_GOALS),
    Case("20-64-64-2", EPOCH, Shape(20, (64, 64), 2, batch=32, rows=10_000), SMALL_GOALS),
    Case("784-512-10", FIT, MIDDLE, {}, epochs=40, most_seconds=0.4),
    Case("1024-4096-4096-10", EPOCH, LARGE, {"PyTorch": 1.5}),
    Case("1024-4096-4096-10, tf32", EPOCH, LARGE, {"PyTorch, tf32": 0.6}, precision="tf32"),
    Case("1024-4096-4096-10, bfloat16", EPOCH, LARGE, {"PyTorch, bfloat16": 0.6}, precision="bfloat16"),
    Case("1,024 networks 64-100-10", POPULATION, DIGITS, {}, epochs=20, networks=1_024),
    Case("predict 50-256-256-256-2", PREDICTION, PREDICTED, {}),
)
BY_NAME = {case.name: case for case in CASES}
