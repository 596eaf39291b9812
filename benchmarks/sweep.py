"""Show that an epoch costs in proportion to rows and to weights: `python -m benchmarks.sweep`.

Rows from 1e3 to 1e6 of one network, and weights from 1e4 to 1e7 at a fixed number of rows. Cost is linear where time a
row, or a weight, is constant. `--plot FILE` draws both; it needs matplotlib, which the extra `bench` installs.
"""

import argparse
import json

import numpy as np

from benchmarks.common import format_machine, format_number, format_spread, format_table, machine
from benchmarks.contestants import Estimator, Problem
from benchmarks.peers import Effort, timed
from benchmarks.shapes import Shape

ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
WEIGHTS = (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
FIXED_ROWS = 4_096
BATCH = 256
BUDGET = 0.4  # seconds a round of each


def by_rows(rows: int) -> Problem:
    """Return the problem of the sweep over rows."""
    return Problem(Shape(64, (100, 100), 10, batch=BATCH, rows=rows), rows, "float32")


def by_weights(weights: int) -> Problem:
    """Return a network of four equally wide layers and an output, with about so many weights."""
    width = round((weights / 3) ** 0.5)
    return Problem(Shape(width, (width,) * 3, 2, batch=BATCH, rows=FIXED_ROWS), FIXED_ROWS, "float32")


def measure(problems: list[Problem], effort: Effort) -> list[dict]:
    """Return rows, weights and seconds of an epoch of each, rounds interleaved."""
    times = timed({problem: Estimator(problem, peer="fastmlp").epoch_seconds for problem in problems}, effort)
    return [
        {
            "rows": problem.rows,
            "network": problem.shape.name,
            "weights": problem.shape.weights,
            "seconds": summary,
        }
        for problem, summary in times.items()
    ]


def exponent(results: list[dict], quantity: str) -> float:
    """Return p where seconds grow as quantity ** p, fitted to the larger half of the points: 1 is linear."""
    larger = results[len(results) // 2 :]
    x, y = np.log([[result[quantity], result["seconds"]["median"]] for result in larger]).T
    return float(np.polyfit(x, y, 1)[0])


def format_sweep(results: list[dict], quantity: str, unit: str) -> str:
    """Return a table with the nanoseconds a row, or a weight."""
    table = [
        [
            result["network"],
            f"{result['rows']:,}",
            f"{result['weights']:,}",
            format_spread(result["seconds"], unit=1e3),
            format_number(1e9 * result["seconds"]["median"] / result[quantity]),
        ]
        for result in results
    ]
    return format_table(["network", "rows", "weights", "ms an epoch", f"ns a {unit}"], table)


def plot(sweeps: dict[str, list[dict]], path: str) -> None:
    """Draw seconds an epoch over rows and over weights, both axes logarithmic, beside a line of slope 1."""
    import matplotlib as mpl

    mpl.use("agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(sweeps), figsize=(10, 4.2), layout="constrained", sharey=True)
    for ax, (quantity, results) in zip(axes, sweeps.items(), strict=True):
        x = np.array([result[quantity] for result in results])
        low, median, high = (
            np.array([result["seconds"][key] for result in results]) for key in ("low", "median", "high")
        )
        ax.loglog(x, median[-1] * x / x[-1], color="0.6", linestyle="--", label="in proportion")
        ax.errorbar(x, median, [median - low, high - median], marker="o", capsize=3, label="measured (quartiles)")
        ax.set_xlabel(quantity)
        ax.set_title(f"exponent {exponent(results, quantity):.2f} over the larger half")
        ax.grid(color="0.9")
    axes[0].set_ylabel("seconds an epoch")
    axes[0].legend(frameon=False)
    figure.savefig(path, dpi=150)


def main(arguments: list[str] | None = None) -> None:
    """Time an epoch of fastmlp, float32 and all threads, over numbers of rows and of weights."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=main.__doc__)
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 5, with --quick 2)")
    parser.add_argument("--plot", metavar="FILE", help="draw both sweeps into this file")
    parser.add_argument("--quick", action="store_true", help="the three smallest of each: to see that it works")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args(arguments)
    points = 3 if options.quick else None
    repeats = options.repeats or (2 if options.quick else 5)
    effort = Effort(repeats, BUDGET, 2)
    facts = machine()
    sweeps = {
        "rows": measure([by_rows(rows) for rows in ROWS[:points]], effort),
        "weights": measure([by_weights(weights) for weights in WEIGHTS[:points]], effort),
    }
    exponents = {quantity: exponent(results, quantity) for quantity, results in sweeps.items()}
    if options.plot:
        plot(sweeps, options.plot)
    if options.json:
        print(json.dumps({"machine": facts, "repeats": repeats, "exponents": exponents} | sweeps, indent=2))
        return
    print(format_machine(facts), f"{repeats} rounds, batch {BATCH}, Adam, relu, float32", "", sep="\n")
    for quantity, results in sweeps.items():
        print(format_sweep(results, quantity, quantity.removesuffix("s")))
        print(f"Seconds grow as {quantity} to the power {exponents[quantity]:.2f}, over the larger half.\n")


if __name__ == "__main__":
    main()
