"""Searches over hyperparameters, beside scikit-learn's: `python -m benchmarks.search`.

A grid of 72 candidates on 5 folds of the digits: scikit-learn's GridSearchCV of its own MLP, the same of ours, both
with one process for each core (loky), and ours, whose fits are threads over one copy of the rows. Then how much more
memory a search takes than a fit, and the part of both cores' time that `fit_many` spends in kernels.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as TheirClassifier

import fastmlp
from benchmarks.common import ROOT, format_machine, format_spread, format_table, interleave, machine, seconds, summarise
from benchmarks.peers import peak_bytes
from fastmlp import model_selection
from fastmlp.cpu import engine

GRID = {
    "hidden_layer_sizes": [(50,), (100,), (100, 50)],
    "alpha": [1e-5, 1e-4, 1e-3, 1e-2],
    "learning_rate_init": [5e-4, 1e-3, 2e-3],
    "activation": ["relu", "tanh"],
}
GOALS = {200: (8.0, 1.3), 32: (12.0, 1.3)}  # times as fast as theirs, and as theirs with our estimator, by batch
MEMORY_GOAL, KERNEL_GOAL = 1.5, 0.95
CANDIDATES, CANDIDATE_ROWS = 500, 2000


def problem(quick: bool) -> tuple[np.ndarray, np.ndarray, dict]:
    """Return digits as float32, and the grid."""
    X, y = load_digits(return_X_y=True)
    grid = {name: values[: 1 + (name == "alpha")] for name, values in GRID.items()} if quick else GRID
    return (X / 16).astype(np.float32), y, grid


def quietly(function):
    """Call a function without what it warns of: here and in processes that it starts."""
    os.environ["PYTHONWARNINGS"] = "ignore"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function()


def searches(batch: int, epochs: int, grid: dict, only: list[str] | None) -> dict:
    """Return the searches to compare."""
    cores = os.cpu_count()
    settings = {"max_iter": epochs, "batch_size": batch, "random_state": 0, "tol": 0.0, "n_iter_no_change": epochs}
    ours = fastmlp.MLPClassifier(**settings)
    found = {
        "scikit-learn": GridSearchCV(TheirClassifier(**settings), grid, cv=5, n_jobs=cores, refit=False),
        "scikit-learn of fastmlp": GridSearchCV(ours, grid, cv=5, n_jobs=cores, refit=False),
        "fastmlp": model_selection.GridSearchCV(ours, grid, cv=5, n_jobs=cores, refit=False),
    }
    return {name: search for name, search in found.items() if only is None or name in only}


def measure_grid(batch: int, epochs: int, repeats: int, quick: bool, only: list[str] | None) -> dict:
    """Return seconds of each search, and how their scores compare."""
    X, y, grid = problem(quick)
    found = searches(batch, epochs, grid, only)
    for search in found.values():  # workers begin, caches are read
        quietly(partial(search.set_params(param_grid={name: values[:1] for name, values in grid.items()}).fit, X, y))
        search.set_params(param_grid=grid)
    times = interleave(
        {
            name: lambda search=search: seconds(partial(quietly, partial(search.fit, X, y)))
            for name, search in found.items()
        },
        repeats,
    )
    scores = {name: search.cv_results_["mean_test_score"] for name, search in found.items()}
    if "scikit-learn of fastmlp" in scores and "fastmlp" in scores:
        np.testing.assert_array_equal(scores["scikit-learn of fastmlp"], scores["fastmlp"])
    fits = 5 * len(next(iter(scores.values())))
    return {
        "batch": batch,
        "fits": fits,
        "seconds": {name: summarise(values) for name, values in times.items()},
        "first": measure_first(batch, epochs, repeats, quick, only),
        "best": {name: float(values.max()) for name, values in scores.items()},
    }


def first_seconds(name: str, batch: int, epochs: int, quick: bool) -> float:
    """Return seconds of the first search in this process: workers start, code is read from the cache."""
    X, y, grid = problem(quick)
    (one,) = searches(batch, epochs, grid, [name]).values()
    return seconds(partial(quietly, partial(one.fit, X, y)))


def measure_first(batch: int, epochs: int, repeats: int, quick: bool, only: list[str] | None) -> dict:
    """Return seconds of the first search of a fresh process, for searches of our estimator."""

    def run(name: str) -> float:
        # no pool of processes: one of its that has used loky ends only when loky's workers do, minutes later
        code = (
            f"from benchmarks.search import first_seconds; print(first_seconds({name!r}, {batch}, {epochs}, {quick}))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        return float(done.stdout.split()[-1])

    names = [name for name in ("scikit-learn of fastmlp", "fastmlp") if only is None or name in only]
    return {
        name: summarise(values) for name, values in interleave({n: partial(run, n) for n in names}, repeats).items()
    }


def peak_of(search: bool, epochs: int, quick: bool) -> int | None:
    """Return this process's peak after a fit, or after a whole search."""
    X, y, grid = problem(quick)
    one = searches(200, epochs, grid, ["fastmlp"])["fastmlp"]
    quietly(
        partial(one.fit, X, y) if search else partial(one.estimator.set_params(hidden_layer_sizes=(100, 50)).fit, X, y)
    )
    return peak_bytes()


def measure_memory(epochs: int, quick: bool) -> dict:
    """Return the peaks of a fit and of a search, each in a process of its own."""
    peaks = {}
    for name in ("fit", "search"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            peaks[name] = process.submit(peak_of, name == "search", epochs, quick).result()
    return peaks


def measure_kernels(candidates: int, epochs: int) -> dict:
    """Return the part of all cores' time that many fits of one hidden layer spend in kernels."""
    X, y = make_classification(CANDIDATE_ROWS, 20, n_informative=10, random_state=0)
    X = X.astype(np.float32)
    draw = np.random.default_rng(0)
    models = [
        fastmlp.MLPClassifier(
            (int(draw.integers(20, 200)),),
            alpha=float(10 ** draw.uniform(-5, -1)),
            max_iter=epochs,
            tol=0.0,
            n_iter_no_change=epochs,
            random_state=seed,
        )
        for seed in range(candidates)
    ]
    within, lock, work = [0.0], threading.Lock(), engine.work

    def timed(*arguments):
        start = time.thread_time()
        try:
            return work(*arguments)
        finally:
            taken = time.thread_time() - start
            with lock:
                within[0] += taken

    quietly(partial(fastmlp.fit_many, models[:2], X, y))
    engine.work = timed
    try:
        start = time.perf_counter()
        errors = quietly(partial(fastmlp.fit_many, models, X, y))
        taken = time.perf_counter() - start
    finally:
        engine.work = work
    assert not any(errors), errors
    return {"candidates": candidates, "seconds": taken, "in kernels": within[0] / (taken * machine()["threads"])}


def main(arguments: list[str] | None = None) -> None:
    """Time searches over hyperparameters beside scikit-learn's."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=main.__doc__)
    parser.add_argument("--batch", type=int, action="append", choices=list(GOALS), help="only this (default: both)")
    parser.add_argument(
        "--only", action="append", help="only this search: scikit-learn, 'scikit-learn of fastmlp', fastmlp"
    )
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 3, with --quick 1)")
    parser.add_argument("--epochs", type=int, help="of each fit (default: 40, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="small grid: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    options = parser.parse_args(arguments)
    facts = machine()
    repeats, epochs = options.repeats or (1 if options.quick else 3), options.epochs or (2 if options.quick else 40)
    grids = [measure_grid(batch, epochs, repeats, options.quick, options.only) for batch in options.batch or GOALS]
    memory = measure_memory(epochs, options.quick)
    kernels = measure_kernels(4 if options.quick else CANDIDATES, epochs if options.quick else 200)
    report = {
        "machine": facts,
        "repeats": repeats,
        "epochs": epochs,
        "grids": grids,
        "memory": memory,
        "kernels": kernels,
    }
    print(json.dumps(report, indent=2) if options.json else format_report(report))


def format_report(report: dict) -> str:
    """Return the results as text."""
    lines = [
        format_machine(report["machine"]),
        f"{report['repeats']} rounds, {report['epochs']} epochs a fit, float32",
        "",
    ]
    names, rows = list(report["grids"][0]["seconds"]), []
    for grid in report["grids"]:
        times, goals = grid["seconds"], GOALS[grid["batch"]]
        cells = [str(grid["batch"]), str(grid["fits"]), *(format_spread(times[name]) for name in names)]
        for other, goal in zip(("scikit-learn", "scikit-learn of fastmlp"), goals, strict=True):
            both = other in times and "fastmlp" in times
            cells.append(f"{times[other]['median'] / times['fastmlp']['median']:.2f} ({goal:g})" if both else "")
        rows.append(cells)
    ratios = ["scikit-learn / fastmlp", "scikit-learn of fastmlp / fastmlp"]
    lines += [format_table(["batch", "fits", *(f"{name}, s" for name in names), *ratios], rows), ""]
    rows = []
    for grid in report["grids"]:
        times = grid["first"]
        both = [times[name]["median"] for name in times]
        ratio = f"{both[0] / both[1]:.2f} ({GOALS[grid['batch']][1]:g})" if len(both) == 2 else ""
        rows.append([str(grid["batch"]), *map(format_spread, times.values()), ratio])
    if rows[0][1:-1]:
        lines += ["The first search of a process, whose workers have to start:", ""]
        columns = [f"{name}, s" for name in report["grids"][0]["first"]]
        lines += [format_table(["batch", *columns, ratios[1]], rows), ""]
    fit, search = report["memory"]["fit"], report["memory"]["search"]
    if fit is not None:
        lines.append(
            f"Peak memory of a process: one fit {fit / 2**20:.0f} MiB, the search {search / 2**20:.0f} MiB, "
            f"{search / fit:.2f} times as much (at most {MEMORY_GOAL})."
        )
    kernels = report["kernels"]
    lines.append(
        f"fit_many of {kernels['candidates']} networks of one hidden layer, {CANDIDATE_ROWS:,} rows, 200 epochs: "
        f"{kernels['seconds']:.1f} s, of which all cores spend {kernels['in kernels']:.1%} in kernels "
        f"(goal {KERNEL_GOAL:.0%})."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
