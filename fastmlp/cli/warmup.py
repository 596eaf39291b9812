"""Compile the engine into Numba's cache, so that no later process has to."""

import argparse
import time
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
from numba.core import event
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.cli.errors import BadInput, CommandError
from fastmlp.cli.info import cache
from fastmlp.cpu.share import most_looks

DTYPES = ("float32", "float64")


def estimators(full: bool) -> dict[str, object]:
    """Return tiny estimators that together need all that is compiled, by what they are."""
    settings = {"hidden_layer_sizes": (4,), "max_iter": 1, "random_state": 0}
    found = {
        "MLPClassifier, adam": MLPClassifier(**settings, early_stopping=True, batch_size=20),
        "MLPClassifier, lbfgs": MLPClassifier(**settings, solver="lbfgs"),
        "MLPRegressor, adam": MLPRegressor(**settings, early_stopping=True, batch_size=20),
        "MLPRegressor, lbfgs": MLPRegressor(**settings, solver="lbfgs"),
    }
    if full:  # what scikit-learn has not is a program of its own, with all formulas
        found["MLPClassifier, adamw, gelu"] = MLPClassifier(
            **settings, solver="adamw", activation="gelu", early_stopping=True, batch_size=20
        )
        found["Perceptron"] = Perceptron(max_iter=1)
    return found


def warm_up(dtypes: Sequence[str] = DTYPES, full: bool = False) -> Iterator[tuple[str, float, int]]:
    """Fit tiny estimators and predict with them, which compiles what is not in Numba's cache yet.

    Parameters
    ----------
    dtypes : sequence of {"float32", "float64"}
        The arithmetic to compile for.
    full : bool, default=False
        Whether to compile what scikit-learn has not, too.

    Yields
    ------
    str
        What was fitted.
    float
        The seconds it took.
    int
        How many functions were compiled and kept for it.
    """
    for dtype in dtypes:
        X = np.random.default_rng(0).normal(size=(40, 3)).astype(dtype)
        y = np.arange(40) % 2
        for kind, rows in (("dense", X), ("sparse", csr_array(X))):
            for name, estimator in estimators(full).items():
                start = time.perf_counter()
                with warnings.catch_warnings(), event.install_recorder("numba:compile") as record:
                    warnings.simplefilter("ignore", ConvergenceWarning)  # one epoch is enough here
                    most_looks()  # what helpers of larger predictions run
                    estimator.fit(rows, y)
                    estimator.predict(rows)
                    estimator.predict(rows[:1])  # a few rows go through other functions
                kept = [one for _, one in record.buffer if one.is_start and one.data["dispatcher"].stats.cache_path]
                yield f"{name}, {kind}, {dtype}", time.perf_counter() - start, len(kept)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--dtype", default=",".join(DTYPES), metavar="TYPES", help="arithmetic (default: %(default)s)")
    parser.add_argument("--full", action="store_true", help="also the formulas that scikit-learn has not")


def run(options: argparse.Namespace) -> int:
    """Compile, and print what and how long."""
    dtypes = [dtype.strip() for dtype in options.dtype.split(",")]
    for dtype in dtypes:
        if dtype not in DTYPES:
            raise BadInput(f"--dtype must be some of {', '.join(DTYPES)}, got {dtype!r}")
    kept = cache()
    if not kept["writable"]:
        raise CommandError(
            f"nothing can be kept in Numba's cache ({kept['folder'] or 'no place to write to'}): set NUMBA_CACHE_DIR "
            "to a folder that can be written to"
        )
    compiled, seconds = 0, 0.0
    for name, took, count in warm_up(dtypes, options.full):
        done = f"{count} compiled" if count else "nothing to compile"
        print(f"{name:<45} {took:7.2f} s  {done}", flush=True)
        compiled, seconds = compiled + count, seconds + took
    print(f"{compiled} functions compiled in {seconds:.1f} s, kept in {kept['folder']}")
    return 0
