"""Time an epoch of training beside scikit-learn's: `python -m benchmarks.epoch`.

An epoch's time is the difference of two fits that differ in max_iter only, divided by that difference: what a fit does
once (validation, initial weights, packing) cancels out. Rounds of all are interleaved, after one round to warm up.
"""

import argparse
import json
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial

import numpy as np

from benchmarks.common import (
    PROTOTYPE_PEAK,
    SHAPES,
    Shape,
    blas_kernel,
    dataset,
    fit_quietly,
    format_machine,
    format_number,
    format_spread,
    format_table,
    has_avx512,
    interleave,
    machine,
    make_model,
    measured_peak,
    seconds,
    summarise,
)

LOSS_TOLERANCE = 1e-3  # relative, for float32 after two epochs: rounding errors grow with every step
KERNELS = "SkylakeX"
AVX512_KERNELS = (KERNELS, "Cooperlake", "SapphireRapids")


def epoch_seconds(peer: str, shape: Shape, rows: int, epochs: int, **parameters: object) -> float:
    """Return the seconds of one epoch: (a fit of 1 + epochs) - (a fit of 1), over epochs."""
    X, y = dataset(shape, rows)
    short, long = (make_model(peer, shape, max_iter, **parameters) for max_iter in (1, 1 + epochs))
    short, long = (seconds(partial(fit_quietly, model, X, y)) for model in (short, long))
    return (long - short) / epochs


def check_same_loss(shape: Shape, rows: int) -> None:
    """Raise if the two do not compute the same losses in two epochs from the same seed."""
    X, y = dataset(shape, rows)
    ours, theirs = (fit_quietly(make_model(peer, shape, 2), X, y).loss_curve_ for peer in ("fastmlp", "scikit-learn"))
    np.testing.assert_allclose(ours, theirs, rtol=LOSS_TOLERANCE, err_msg=f"{shape.name}: the losses differ")


@contextmanager
def best_kernels():
    """Give a process of its own where OpenBLAS takes kernels for AVX-512; None where it does so here or cannot."""
    here = blas_kernel()
    if "openblas" not in here or any(kernel in here for kernel in AVX512_KERNELS) or not has_avx512():
        yield None
        return
    before = os.environ.get("OPENBLAS_CORETYPE")
    os.environ["OPENBLAS_CORETYPE"] = KERNELS  # the library reads it when it is loaded
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            kernel = process.submit(blas_kernel).result()
            if KERNELS not in kernel:
                raise RuntimeError(f"OPENBLAS_CORETYPE={KERNELS} was set, and OpenBLAS took {kernel}")
            yield process
    finally:
        if before is None:
            del os.environ["OPENBLAS_CORETYPE"]
        else:
            os.environ["OPENBLAS_CORETYPE"] = before


def thread_name(count: int) -> str:
    """Return what the table calls fastmlp with so many threads."""
    return f"fastmlp, {count} thread{'s' * (count > 1)}"


def competitors(
    shape: Shape, rows: int, threads: int, process: ProcessPoolExecutor | None
) -> dict[str, Callable[[int], float]]:
    """Return a function for each, that measures the seconds of one epoch over so many."""
    functions = {"scikit-learn": partial(epoch_seconds, "scikit-learn", shape, rows)}
    for count in sorted({1, threads}):
        functions[thread_name(count)] = partial(epoch_seconds, "fastmlp", shape, rows, n_threads=count)
    if process is not None:
        functions[f"scikit-learn, {KERNELS}"] = lambda epochs: process.submit(
            epoch_seconds, "scikit-learn", shape, rows, epochs
        ).result()
    return functions


def measure(shape: Shape, repeats: int, threads: int, quick: bool, process: ProcessPoolExecutor | None) -> dict:
    """Return what was measured for one shape, times in seconds."""
    rows = min(shape.rows, 4 * shape.batch) if quick else shape.rows
    check_same_loss(shape, rows)
    # As many steps as otherwise, or an eighth: fewer would drown in what a fit does once.
    epochs = max(2, shape.epochs * shape.rows // rows // 8) if quick else shape.epochs
    functions = competitors(shape, rows, threads, process)
    warm = {name: function(epochs) for name, function in functions.items()}
    # As long for each: a processor that was idle needs some milliseconds to come to its full speed.
    longest = max(warm.values())
    as_long = {
        name: partial(function, round(epochs * min(16, longest / warm[name]))) for name, function in functions.items()
    }
    times = {name: summarise(values) for name, values in interleave(as_long, repeats).items()}
    medians = {name: summary["median"] for name, summary in times.items()}
    if min(medians.values()) <= 0:
        raise RuntimeError(f"{shape.name}: the machine is too busy to measure an epoch: seconds {medians}")
    default = medians["scikit-learn"]
    ours = [name for name in times if name.startswith("fastmlp")]
    prototype, *scikit_learn = shape.prototype_ms
    return {
        "shape": shape.name,
        "batch": shape.batch,
        "rows": rows,
        "seconds": times,
        "ratio": {name: default / medians[name] for name in ours},
        "prototype GFLOP/s": shape.flop_per_row * shape.rows / prototype / 1e6,
        "prototype ratio": [theirs / prototype for theirs in scikit_learn],
        "GFLOP/s": {name: shape.flop_per_row * rows / medians[name] / 1e9 for name in times},
    }


def format_results(results: list[dict], peaks: dict[str, float]) -> str:
    """Return the table: medians with quartiles in milliseconds; `peaks`: GFLOP/s for each of ours."""
    names = list(results[0]["seconds"])
    ours = list(results[0]["ratio"])
    header = ["network", "batch", "rows", *(f"{name}, ms" for name in names)]
    header += [f"{name.removeprefix('fastmlp, ')}: ratio" for name in ours]
    header += ["prototype: ratio to AVX2 BLAS", "to AVX-512 BLAS"]
    header += [f"{name.removeprefix('fastmlp, ')}: % of peak" for name in ours] + ["prototype: % of peak"]
    table = []
    for result in results:
        row = [result["shape"], str(result["batch"]), f"{result['rows']:,}"]
        row += [format_spread(result["seconds"][name], unit=1e3) for name in names]
        row += [f"{result['ratio'][name]:.1f}" for name in ours]
        row += [f"{ratio:.1f}" for ratio in result["prototype ratio"]]
        row += [f"{100 * result['GFLOP/s'][name] / peaks[name]:.0f}" for name in ours]
        row += [f"{100 * result['prototype GFLOP/s'] / PROTOTYPE_PEAK:.0f}"]
        table.append(row)
    return format_table(header, table)


NOTES = f"""\
Milliseconds an epoch: median (quartiles). Adam, float32, relu, classification; two classes have one output.
An epoch is the difference of two fits with different max_iter, divided by the difference of max_iter.
ratio: scikit-learn with its default BLAS kernels / fastmlp. prototype: the same where the engine was designed, for two
kinds of BLAS kernels; see above which are the default here.
% of peak: useful multiply-adds of forward, backward and gradient a second, two operations each, of what as many threads
reach on data in their first-level caches, measured in this run; the prototype's of its machine's peak.
Before it is timed, each network is checked to have scikit-learn's losses (relative {LOSS_TOLERANCE:g}, two epochs)."""


def main(arguments: list[str] | None = None) -> None:
    """Time an epoch of fastmlp and of scikit-learn, interleaved, on five networks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=main.__doc__)
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 9, with --quick 3)")
    parser.add_argument("--shape", action="append", choices=[shape.name for shape in SHAPES], help="only this one")
    parser.add_argument(
        "--quick", action="store_true", help="few rows and epochs: to see that it works, not to measure"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    facts = machine()
    threads = facts["threads"]
    repeats = options.repeats or (3 if options.quick else 9)
    shapes = [shape for shape in SHAPES if not options.shape or shape.name in options.shape]
    peaks = {thread_name(count): measured_peak(count) for count in sorted({1, threads})}
    with best_kernels() as process:
        results = [measure(shape, repeats, threads, options.quick, process) for shape in shapes]
    if options.json:
        print(
            json.dumps(
                {"machine": facts, "repeats": repeats, "quick": options.quick, "peaks": peaks, "results": results},
                indent=2,
            )
        )
        return
    print(format_machine(facts), f"{repeats} rounds" + ", --quick: not a measurement" * options.quick, sep="\n")
    print(
        "peak: "
        + ", ".join(
            f"{format_number(peak)} GFLOP/s with {name.removeprefix('fastmlp, ')}" for name, peak in peaks.items()
        )
    )
    print("", format_results(results, peaks), "", NOTES, sep="\n")


if __name__ == "__main__":
    main()
