"""Time prediction beside scikit-learn's, and measure its memory: `python -m benchmarks.predict`."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.common import (
    SHAPES,
    Shape,
    dataset,
    fit_quietly,
    format_machine,
    format_number,
    format_spread,
    format_table,
    interleave,
    machine,
    make_model,
    seconds,
    summarise,
)

ROWS = (1, 100, 200_000)
FIT_ROWS = 2_000
DEFAULT = "50-256-256-256-2"
PEERS = ("fastmlp", "scikit-learn")
MEGABYTE = 2**20


def fitted(peer: str, shape: Shape):
    """Return a model after one epoch of few rows: how good it is makes no difference to the time."""
    return fit_quietly(make_model(peer, shape, 1), *dataset(shape, FIT_ROWS))


def seconds_a_call(model, X: np.ndarray, calls: int) -> float:
    """Return the mean seconds of some calls of predict."""

    def call():
        for _ in range(calls):
            model.predict(X)

    return seconds(call) / calls


def measure(shape: Shape, rows: int, repeats: int) -> dict:
    """Return the summaries of seconds a call for both, interleaved."""
    models = {peer: fitted(peer, shape) for peer in PEERS}
    X, _ = dataset(shape, rows)
    first = {peer: model.predict_proba(X) for peer, model in models.items()}
    np.testing.assert_allclose(first["fastmlp"], first["scikit-learn"], rtol=1e-2, atol=1e-3)
    # A round of a tenth of a second each, so that the clock and the scheduler do not matter.
    calls = {peer: max(1, int(0.1 / seconds_a_call(model, X, 3))) for peer, model in models.items()}
    functions = {peer: lambda model=model, n=calls[peer]: seconds_a_call(model, X, n) for peer, model in models.items()}
    times = {peer: summarise(values) for peer, values in interleave(functions, repeats).items()}
    ratio = times["scikit-learn"]["median"] / times["fastmlp"]["median"]
    return {"shape": shape.name, "rows": rows, "seconds": times, "ratio": ratio}


def peak_bytes() -> int | None:
    """Return the most memory that this process has held so far; None where the system does not tell."""
    if sys.platform == "linux":
        # Not getrusage, whose figure a process inherits from the one that started it.
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None


def print_memory(peer: str, shape: Shape, rows: int) -> None:
    """Print by how many bytes the peak grows in the first large prediction of this process."""
    model = fitted(peer, shape)
    X = np.random.default_rng(0).standard_normal((rows, shape.features), dtype=np.float32)
    model.predict(X[:FIT_ROWS])
    before = peak_bytes()
    model.predict(X)
    print(json.dumps(None if before is None else peak_bytes() - before))


def memory(shape: Shape, rows: int) -> dict[str, int | None]:
    """Return the growth of each peer, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.predict", "--shape", shape.name, "--memory-rows", str(rows)]
    return {
        peer: json.loads(subprocess.run([*command, "--memory-of", peer], check=True, stdout=subprocess.PIPE).stdout)
        for peer in PEERS
    }


def main(arguments: list[str] | None = None) -> None:
    """Time predict of fastmlp and of scikit-learn, interleaved, and measure the memory of the largest."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=main.__doc__)
    names = [shape.name for shape in SHAPES]
    parser.add_argument("--shape", choices=names, default=DEFAULT, help="the network (default: %(default)s)")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS, help="rows a call (default: 1 100 200000)")
    parser.add_argument("--repeats", type=int, default=9, help="rounds to time (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--memory-of", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--memory-rows", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    shape = SHAPES[names.index(options.shape)]
    if options.memory_of:
        print_memory(options.memory_of, shape, options.memory_rows)
        return
    facts = machine()
    largest = max(options.rows)
    results = [measure(shape, rows, options.repeats) for rows in options.rows]
    growth = memory(shape, largest)
    if options.json:
        print(json.dumps({"machine": facts, "results": results, "rows": largest, "peak growth": growth}, indent=2))
        return
    table = [
        [
            f"{result['rows']:,}",
            *(format_spread(result["seconds"][peer], unit=1e3) for peer in PEERS),
            f"{result['ratio']:.1f}",
        ]
        for result in results
    ]
    print(format_machine(facts), f"{options.repeats} rounds, {shape.name}, float32", "", sep="\n")
    print(format_table(["rows", *(f"{peer}, ms" for peer in PEERS), "ratio"], table))
    print("\nMilliseconds a call of predict: median (quartiles). ratio: scikit-learn / fastmlp.")
    if growth["fastmlp"] is None:
        print("This system does not tell a process's peak memory.")
        return
    sizes = ", ".join(f"{peer} {format_number(growth[peer] / MEGABYTE)} MiB" for peer in PEERS)
    print(f"Growth of peak memory in the first predict of {largest:,} rows, each in a fresh process: {sizes}.")


if __name__ == "__main__":
    main()
