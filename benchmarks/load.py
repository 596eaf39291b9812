"""Fit while other processes keep all cores busy: `python -m benchmarks.load`.

As many processes as there are cores do nothing but compute. Threads that wait for one that is not running could then
make a fit slower than it is with one thread: with all threads it should take at most GOAL times the serial fit, under
the same load.
"""

import argparse
import json
import math
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial

from benchmarks.common import format_machine, format_spread, format_table, interleave, machine, seconds, summarise
from benchmarks.contestants import Estimator, Problem, fit_quietly
from benchmarks.shapes import BY_NAME, SHAPES

GOAL = 1.3
FIT_SECONDS = 2.0
BUSY = "while True: pass"


@contextmanager
def busy_processes(count: int):
    """Keep so many processes computing."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    time.sleep(0.5)
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(problem: Problem, threads: int, busy: int, repeats: int, duration: float) -> dict:
    """Return seconds of whole fits with one and with all threads, alone and under load."""
    estimator = Estimator(problem, peer="fastmlp")
    epochs = 1
    while (taken := seconds(partial(fit_quietly, estimator.make(epochs), estimator.X, estimator.y))) < duration / 2:
        epochs *= min(8, math.ceil(duration / taken))
    functions = {
        f"{count} thread{'s' * (count > 1)}": lambda count=count: seconds(
            partial(fit_quietly, estimator.make(epochs, n_threads=count), estimator.X, estimator.y)
        )
        for count in (1, threads)
    }
    alone = interleave(functions, repeats)
    with busy_processes(busy):
        loaded = interleave(functions, repeats)
    times = {f"{name}, alone": summarise(values) for name, values in alone.items()}
    times |= {f"{name}, under load": summarise(values) for name, values in loaded.items()}
    serial, parallel = (times[f"{name}, under load"]["median"] for name in functions)
    return {"network": problem.shape.name, "epochs": epochs, "seconds": times, "ratio": parallel / serial}


def main(arguments: list[str] | None = None) -> None:
    """Time fits of fastmlp with one and with all threads, while as many processes as cores are busy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=main.__doc__)
    parser.add_argument("--shape", action="append", choices=list(BY_NAME), help="only this (default: five)")
    parser.add_argument("--busy", type=int, default=os.cpu_count(), help="busy processes (default: %(default)s)")
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 5, with --quick 1)")
    parser.add_argument("--quick", action="store_true", help="short fits: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    facts = machine()
    if facts["threads"] < 2:
        parser.error("fastmlp may use one thread only here")
    repeats = options.repeats or (1 if options.quick else 5)
    duration = 0.1 if options.quick else FIT_SECONDS
    names = options.shape or [shape.name for shape in SHAPES[:5]]
    problems = [Problem(BY_NAME[name], BY_NAME[name].rows, "float32") for name in names]
    results = [measure(problem, facts["threads"], options.busy, repeats, duration) for problem in problems]
    if options.json:
        print(json.dumps({"machine": facts, "repeats": repeats, "busy": options.busy, "results": results}, indent=2))
        return
    print(format_machine(facts), f"{repeats} rounds, {options.busy} busy processes", "", sep="\n")
    rows = []
    for result in results:
        times = map(format_spread, result["seconds"].values())
        rows.append([result["network"], str(result["epochs"]), *times, f"{result['ratio']:.2f} ({GOAL})"])
    columns = [f"{name}, s" for name in results[0]["seconds"]]
    print(format_table(["network", "epochs", *columns, "under load: all threads / one (at most)"], rows))


if __name__ == "__main__":
    main()
