"""Show how much memory a fit of rows takes that lie in a file: `python -m benchmarks.stored`.

Each case is a fresh process, which first trains on a few rows in memory. Then it fits and predicts the rows of the
file, and a thread looks every few milliseconds how much anonymous memory the process holds (`RssAnon`): not the pages
of the file, which the system takes back when it needs them. Linux only.
"""

import argparse
import json
import multiprocessing
import tempfile
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.common import format_machine, format_number, format_table, machine
from fastmlp import MLPClassifier

FEATURES, CLASSES = 64, 10
MIB = 1 << 20
PERIOD = 0.004  # seconds between two looks at the memory


class File:
    """Rows of a file of float32 that is read by seeking: what `fit` needs of an array that is not in memory."""

    def __init__(self, path: str, rows: int):
        self.path, self.shape, self.dtype = path, (rows, FEATURES), np.dtype(np.float32)

    def __getitem__(self, rows: slice) -> np.ndarray:
        count, row_bytes = (rows.stop - rows.start) * FEATURES, FEATURES * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, count, offset=rows.start * row_bytes).reshape(-1, FEATURES)


def zarr_of(path: str, rows: int):
    """Return the rows as an array of Zarr, in a folder beside the file."""
    import zarr

    stored = zarr.create_array(path + ".zarr", shape=(rows, FEATURES), chunks=(4096, FEATURES), dtype="float32")
    table = File(path, rows)
    for first in range(0, rows, 1 << 16):
        last = min(rows, first + (1 << 16))
        stored[first:last] = table[first:last]
    return stored


def memmap(path: str, rows: int) -> np.memmap:
    """Return the rows as a memory map."""
    return np.memmap(path, np.float32, "r", shape=(rows, FEATURES))


CASES = {
    "np.memmap": (memmap, "blocks", "float32"),
    "np.memmap, computed in float64": (memmap, "blocks", "float64"),
    "file read by seeking": (File, "blocks", "float32"),
    "zarr, chunks of 1 MiB": (zarr_of, "blocks", "float32"),
    "np.memmap, shuffle=True": (memmap, True, "float32"),
    "np.memmap, computed in float64, shuffle=True": (memmap, True, "float64"),
}


def write_rows(path: str, rows: int) -> None:
    """Write random rows into a file."""
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        for first in range(0, rows, 1 << 16):
            random.standard_normal((min(rows - first, 1 << 16), FEATURES), dtype=np.float32).tofile(file)


def anonymous_bytes() -> int:
    """Return how much anonymous memory this process holds."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


class Watch:
    """Looks at the anonymous memory until the block ends; `growth` is what was held at most beyond the beginning."""

    def __enter__(self) -> "Watch":
        self._before, self.growth, self._ended = anonymous_bytes(), 0, threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._ended.wait(PERIOD):
            self.growth = max(self.growth, anonymous_bytes() - self._before)

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        self.growth = max(self.growth, anonymous_bytes() - self._before)


def measure(case: str, path: str, rows: int, epochs: int) -> dict:
    """Return the growth of memory in a fit and in a prediction, and the seconds of an epoch."""
    warnings.simplefilter("ignore")
    make, shuffle, dtype = CASES[case]
    X = make(path, rows)
    y = np.random.default_rng(1).integers(CLASSES, size=rows, dtype=np.int8)
    settings = {"batch_size": 256, "random_state": 0, "dtype": dtype, "shuffle": shuffle, "tol": 0.0}
    MLPClassifier((50,), max_iter=1, **settings).fit(np.asarray(X[0:1000]), y[:1000]).predict(np.asarray(X[0:1000]))
    model = MLPClassifier((50,), max_iter=epochs, **settings)
    with Watch() as fit:
        start = time.perf_counter()
        model.fit(X, y)
        seconds = time.perf_counter() - start
    with Watch() as predict:
        model.predict_proba(X)
    return {
        "case": case,
        "fit": fit.growth,
        "predict": predict.growth,
        "seconds": seconds / epochs,
        "loss": model.loss_,
    }


def main(arguments: list[str] | None = None) -> None:
    """Fit rows of a file, in blocks and otherwise, and print by how much the memory grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stored", description=main.__doc__)
    parser.add_argument("--mib", type=int, help="size of the file (default: 1024, with --quick 256)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this")
    parser.add_argument("--quick", action="store_true", help="a smaller file and one epoch: to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    size = (options.mib or (256 if options.quick else 1024)) * MIB
    rows, epochs = size // (4 * FEATURES), 1 if options.quick else 3
    cases = [name for name in options.case or CASES if not name.startswith("zarr") or find_spec("zarr") is not None]
    facts, results = machine(), []
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "rows")
        write_rows(path, rows)
        for case in cases:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                results.append(process.submit(measure, case, path, rows, epochs).result())
    if options.json:
        print(json.dumps({"machine": facts, "rows": rows, "bytes": size, "results": results}, indent=2))
        return
    print(format_machine(facts), f"{rows:,} rows of {FEATURES} float32, {size // MIB:,} MiB, {epochs} epochs", sep="\n")
    table = [
        [
            result["case"],
            format_number(result["fit"] / MIB),
            format_number(result["predict"] / MIB),
            format_number(result["seconds"]),
        ]
        for result in results
    ]
    print("", format_table(["X", "growth in fit, MiB", "in predict_proba, MiB", "s an epoch"], table), sep="\n")


if __name__ == "__main__":
    main()
