"""How long an epoch takes with each activation, loss and solver: `python -m benchmarks.formulas`.

Each beside the same network with relu, log-loss and Adam, in turn: at most GOAL times as long.
"""

import argparse
import json
import math
from functools import partial

import numpy as np

from benchmarks.common import format_machine, format_spread, format_table, interleave, machine, seconds, summarise
from benchmarks.contestants import fit_quietly
from benchmarks.shapes import PREDICTED, dataset
from fastmlp import MLPClassifier, MLPRegressor
from fastmlp.estimators.regressor import LOSS_NAMES
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.updates import UPDATES


def swish(z):
    return z / (1 + math.exp(-1.5 * z))


def snake(z):
    return z + math.sin(z) ** 2


def relu_by_if(z):
    return z if z > 0 else 0


GOAL = 1.4
ROWS = 10_000
BATCH = 256
EPOCHS = 3
BASELINE = "relu, log-loss, adam"
CASES = {
    BASELINE: (MLPClassifier, {}),
    **{name: (MLPClassifier, {"activation": name}) for name in ACTIVATIONS if name != "relu"},
    **{f"a user's {own.__name__}": (MLPClassifier, {"activation": own}) for own in (swish, snake, relu_by_if)},
    "squared error of classes": (MLPClassifier, {"loss": "squared_error"}),
    "hinge": (MLPClassifier, {"loss": "hinge"}),
    "label smoothing": (MLPClassifier, {"label_smoothing": 0.1}),
    **{f"{name} of numbers": (MLPRegressor, {"loss": name}) for name in LOSS_NAMES},
    **{name: (MLPClassifier, {"solver": name}) for name in UPDATES if name != "adam"},
}


def make_epoch_seconds(case: str, rows: int, dtype: str):
    """Return the function that trains with one thread and returns the seconds of an epoch, compiled."""
    kind, settings = CASES[case]
    X, y = dataset(PREDICTED, rows, dtype)
    target = 1.0 + np.abs(X[:, 0] + 0.1 * y) if kind is MLPRegressor else y
    settings = {
        "hidden_layer_sizes": PREDICTED.hidden,
        "batch_size": BATCH,
        "random_state": 0,
        "tol": 0,
        "n_iter_no_change": np.inf,
        "n_threads": 1,
        "learning_rate_init": 1e-4,
        **settings,
    }
    fit_quietly(kind(**settings, max_iter=1), X[: 2 * BATCH], target[: 2 * BATCH])

    def epoch_seconds():
        once, more = (
            seconds(partial(fit_quietly, kind(**settings, max_iter=count), X, target)) for count in (1, 1 + EPOCHS)
        )
        return (more - once) / EPOCHS

    return epoch_seconds


def measure(cases: list[str], repeats: int, rows: int = ROWS, dtype: str = "float32") -> dict:
    """Return the seconds of an epoch, and how many times those of the baseline, of each case."""
    results = {}
    baseline = make_epoch_seconds(BASELINE, rows, dtype)
    for case in cases:
        functions = {BASELINE: baseline, case: make_epoch_seconds(case, rows, dtype)}
        times = {name: summarise(values) for name, values in interleave(functions, repeats).items()}
        ratio = times[case]["median"] / times[BASELINE]["median"]
        results[case] = {"seconds": times[case], "ratio": ratio}
    return results


def main(arguments: list[str] | None = None) -> None:
    """Time an epoch with each activation, loss and solver, one thread, each in turn with relu, log-loss and Adam."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.formulas", description=main.__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this (default: all)")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 7, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="few rows: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    facts = machine()
    repeats = options.repeats or (1 if options.quick else 7)
    rows = 4 * BATCH if options.quick else ROWS
    results = measure(options.case or list(CASES), repeats, rows, options.dtype)
    if options.json:
        print(json.dumps({"machine": facts, "repeats": repeats, "results": results}, indent=2))
        return
    print(
        format_machine(facts),
        f"{PREDICTED.name}, batch {BATCH}, {rows:,} rows, {options.dtype}, 1 thread",
        "",
        sep="\n",
    )
    table = [
        [case, format_spread(one["seconds"], 1e3), f"{one['ratio']:.2f} ({GOAL})"] for case, one in results.items()
    ]
    print(format_table(["formula", "ms an epoch", "times the first (at most)"], table))


if __name__ == "__main__":
    main()
