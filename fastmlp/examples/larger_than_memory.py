"""Rows in a file that need not fit into the memory: `np.memmap` and `shuffle="blocks"`.

The file has a byte for each feature, as images do. `fit` reads it in blocks of consecutive rows, makes numbers of 32
bits of them, and mixes the rows of those blocks that are in memory at once. The network is the same, bit for bit, as of
all rows in memory.
"""

import tempfile
import tracemalloc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier

N_ROWS, N_FEATURES, CHUNK = 1_000_000, 64, 50_000
MIB = 1 << 20


def write_rows(path: Path) -> np.ndarray:
    """Write rows into a file, a chunk at a time; return their classes."""
    rng = np.random.default_rng(0)
    y = np.empty(N_ROWS, dtype=np.int64)
    with path.open("wb") as file:
        for start in range(0, N_ROWS, CHUNK):
            rows = rng.integers(0, 2, (CHUNK, N_FEATURES), dtype=np.uint8)
            rows.tofile(file)
            y[start : start + CHUNK] = rows[:, :8].sum(axis=1) > rows[:, 8:16].sum(axis=1)
    return y


def peak_of_fit(model: MLPClassifier, X: np.ndarray, y: np.ndarray) -> int:
    """Fit the model; return how many bytes NumPy's arrays took at most."""
    tracemalloc.start()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are all there shall be
        model.fit(X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> dict[str, Any]:
    """Train on the file in three ways; return accuracy and memory."""
    settings = {"hidden_layer_sizes": (16,), "batch_size": 1000, "max_iter": 1, "dtype": "float32", "random_state": 0}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.u8"
        y = write_rows(path)
        X = np.memmap(path, dtype=np.uint8, mode="r", shape=(N_ROWS, N_FEATURES))
        print(
            f"A file of {N_ROWS:,} rows, {X.nbytes / MIB:.0f} MiB; as float32 it would be {4 * X.nbytes / MIB:.0f} MiB."
        )

        model = MLPClassifier(shuffle="blocks", **settings)
        peak = peak_of_fit(model, X, y)
        accuracy = model.score(X, y)  # predictions read in blocks as well
        print(f"An epoch in blocks: accuracy {accuracy:.1%}, {peak / MIB:.0f} MiB of memory at most.")

        copied = MLPClassifier(shuffle=True, **settings)
        peak_of_copy = peak_of_fit(copied, X, y)
        print(f"With shuffle=True all rows are made float32 at once: {peak_of_copy / MIB:.0f} MiB.")

        in_memory = MLPClassifier(shuffle="blocks", **settings)
        peak_of_fit(in_memory, np.array(X), y)
        same = all(np.array_equal(one, other) for one, other in zip(model.coefs_, in_memory.coefs_, strict=True))
        print(f"Weights of the rows in memory are the same bits: {same}")
        del X  # closes the file, which else could not be deleted on Windows
    return {"accuracy": accuracy, "peak": peak, "peak_of_copy": peak_of_copy, "same": same}


if __name__ == "__main__":
    main()
