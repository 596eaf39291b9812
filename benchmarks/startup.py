"""Time import and first fit, with an empty and with a warm cache of compiled code: `python -m benchmarks.startup`.

Every measurement is a process of its own, timed from outside. A process that imports scikit-learn and Numba, makes the
data and fits nothing is the base: one runs before each measurement, and its time is subtracted.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

from benchmarks.common import format_machine, format_number, format_spread, format_table, machine, seconds, summarise

BASE = """\
import numba
import numpy as np
import sklearn.neural_network
random = np.random.default_rng(0)
X, y = random.standard_normal((500, 20)).astype({dtype!r}), random.integers(0, {classes}, 500)
"""
FIT = """\
import time
start = time.perf_counter()
import fastmlp
imported = time.perf_counter()
fastmlp.{estimator}(max_iter=1, random_state=0).set_params(**{parameters}).fit(X, y)
print(imported - start, time.perf_counter() - imported)
"""
# What a fit compiles may depend on the type of the numbers and on the solver.
CASES = {
    "classifier, float32": {"estimator": "MLPClassifier", "dtype": "float32", "classes": 3, "parameters": {}},
    "regressor, float64": {"estimator": "MLPRegressor", "dtype": "float64", "classes": 1_000, "parameters": {}},
    "classifier, float64, lbfgs": {
        "estimator": "MLPClassifier",
        "dtype": "float64",
        "classes": 3,
        "parameters": {"solver": "lbfgs", "max_iter": 2},
    },
}
IGNORE = ["-W", "ignore"]  # max_iter is reached on purpose


def run(program: str, cache: str) -> tuple[float, list[float]]:
    """Run a program in a fresh process; return its seconds and the numbers that it printed."""
    printed = []

    def call():
        answer = subprocess.run(
            [sys.executable, *IGNORE, "-c", program],
            env=os.environ | {"NUMBA_CACHE_DIR": cache},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        printed.extend(float(word) for word in answer.stdout.split())

    return seconds(call), printed


def measure(case: dict, repeats: int, repeats_cold: int) -> dict:
    """Return summaries: of the base, and of cold and warm starts beyond it, with import and fit as seen from inside."""
    base_program = BASE.format(**case)
    program = base_program + FIT.format(**case)
    bases, runs = [], {"empty cache": [], "warm cache": []}

    def start(cache, name):
        base, _ = run(base_program, cache)
        total, (importing, fitting) = run(program, cache)
        bases.append(base)
        runs[name].append({"beyond the base": total - base, "import": importing, "first fit": fitting})

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        run(base_program, cache)  # brings the files of the libraries into memory
    for index in range(repeats_cold):
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
            start(cache, "empty cache")
            for _ in range(index, repeats, repeats_cold):
                start(cache, "warm cache")
    result = {name: {part: summarise([one[part] for one in some]) for part in some[0]} for name, some in runs.items()}
    return result | {"base": summarise(bases)}


def main(arguments: list[str] | None = None) -> None:
    """Time import and first fit of fastmlp beyond importing scikit-learn and Numba, in fresh processes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=6, help="processes with a warm cache (default: %(default)s)")
    parser.add_argument("--repeats-cold", type=int, default=2, help="and with an empty one (default: %(default)s)")
    parser.add_argument("--case", action="append", choices=list(CASES), help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    facts = machine()
    results = {
        name: measure(case, options.repeats, options.repeats_cold)
        for name, case in CASES.items()
        if not options.case or name in options.case
    }
    if options.json:
        print(json.dumps({"machine": facts, "results": results}, indent=2))
        return
    rows = [
        [name, cache, format_spread(result[cache]["beyond the base"])]
        + [format_number(result[cache][part]["median"]) for part in ("import", "first fit")]
        + [format_spread(result["base"])]
        for name, result in results.items()
        for cache in ("empty cache", "warm cache")
    ]
    header = ["first fit", "cache", "beyond the base, s", "its import, s", "its first fit, s", "base, s"]
    print(format_machine(facts), "", format_table(header, rows), "", sep="\n")
    print(
        "Seconds of processes, end included: medians (quartiles). Base: imports scikit-learn and Numba, makes the data."
    )
    print(
        f"{options.repeats} processes with a warm cache, {options.repeats_cold} with an empty one; 500 x 20, one epoch."
    )


if __name__ == "__main__":
    main()
