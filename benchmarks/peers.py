"""Time fastmlp beside its peers, in one run: `python -m benchmarks.peers`.

Training: an epoch of ten networks, in scikit-learn, PyTorch, JAX, skorch and Keras as well. Prediction: 1, 100 and
200,000 rows, and the memory that the last takes. Peers that are not installed are left out; the extra `bench` installs
them.
"""

import argparse
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.common import (
    blas_kernel,
    format_machine,
    format_number,
    format_spread,
    format_table,
    installed_version,
    interleave,
    machine,
    seconds,
    summarise,
)
from benchmarks.contestants import (
    Contestant,
    Estimator,
    Jax,
    Keras,
    Problem,
    Remote,
    Skorch,
    Torch,
    keras_backend,
    make_start,
)
from benchmarks.kernels import measured_peak
from benchmarks.shapes import BY_NAME, PREDICTED, dataset

LOSS_TOLERANCE = 1e-3  # relative, for float32 after two epochs: rounding errors grow with every step
CHECKED_EPOCHS = 2
AGREEMENT = 0.999  # of the predicted labels: rounding decides the others
KERNELS = ("Haswell", "SkylakeX", "Cooperlake", "SapphireRapids")  # which OpenBLAS may have for this processor
PREDICTED_ROWS = (1, 100, 200_000)
FIT_ROWS = 2_000
MEGABYTE = 2**20

# What the project aims at on two cores with AVX-512, in float32 with all threads: time of JAX, of the better PyTorch
# and of scikit-learn with the default and with the best kernels over fastmlp's, and per cent of the peak.
GOALS = {
    "64-100-10": (3.5, 8, 14, 12, 50),
    "20-64-64-2": (3, 25, 25, 24, 30),
    "784-100-10": (1.7, 3.4, 5.5, 4, 70),
    "50-256-256-256-2": (1.8, 2.9, 5.5, 4.1, 82),
    "1024-1024-1024-10": (1.55, 2.6, 3.7, 2.6, 86),
}
GOALS_FLOAT64 = (1.3, 1.3, 1.3, 1.3, None)
GOALS_PREDICTION = {1: (None, None, 2, 2, None), 100: (None,) * 5, 200_000: (1, 1, 3, 3, None)}


def product_seconds() -> float:
    """Return the seconds of a product of matrices as scikit-learn's networks make them."""
    left, right = np.ones((256, 512), "float32"), np.ones((512, 512), "float32")
    return min(seconds(partial(np.matmul, left, right)) for _ in range(50))


@contextmanager
def blas_process(kernel: str):
    """Give a process of its own where OpenBLAS takes these kernels."""
    before = os.environ.get("OPENBLAS_CORETYPE")
    os.environ["OPENBLAS_CORETYPE"] = kernel  # the library reads it when it is loaded
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            yield process
    finally:
        if before is None:
            del os.environ["OPENBLAS_CORETYPE"]
        else:
            os.environ["OPENBLAS_CORETYPE"] = before


def best_kernels() -> str | None:
    """Return the kernels of OpenBLAS that are fastest here; None where those that it takes itself are, or nearly."""
    default = blas_kernel()
    if "openblas" not in default:
        return None
    times = {default: 0.95 * product_seconds()}
    for kernel in KERNELS:
        with blas_process(kernel) as process, suppress(BrokenProcessPool):  # where the processor lacks an instruction
            taken = process.submit(blas_kernel).result()
            if kernel in taken:  # it takes others where the library lacks these
                times[kernel] = process.submit(product_seconds).result()
    best = min(times, key=times.get)
    return None if best in default else best


def thread_name(count: int) -> str:
    """Return what the table calls fastmlp with so many threads."""
    return f"fastmlp, {count} thread{'s' * (count > 1)}"


@contextmanager
def roster(threads: int, missing: list[str], only: list[str] | None = None):
    """Give who takes part: name to a function of the problem; of fastmlp's the last has all threads.

    `only`: what the names of peers begin with. scikit-learn takes part anyway: it is what the others are checked by.
    """
    contestants: dict[str, Callable[[Problem], Contestant]] = {
        thread_name(count): partial(Estimator, peer="fastmlp", n_threads=count) for count in sorted({1, threads})
    }
    contestants["scikit-learn"] = partial(Estimator, peer="scikit-learn")
    kernel = best_kernels()
    with nullcontext() if kernel is None else blas_process(kernel) as process:
        if process is not None:
            contestants[f"scikit-learn, {kernel}"] = partial(Remote, process=process)
        if "torch" not in missing:
            contestants["PyTorch"] = partial(Torch, compiled=False)
            contestants["PyTorch, compiled"] = partial(Torch, compiled=True)
        if "jax" not in missing:
            contestants["JAX"] = Jax
        if "skorch" not in missing and "torch" not in missing:
            contestants["skorch"] = Skorch
        backend = keras_backend()
        if "keras" not in missing and backend is not None:
            contestants[f"Keras, {backend}"] = partial(Keras, backend=backend)
        begins = ("fastmlp", "scikit-learn", *(only or [""]))
        yield {name: make for name, make in contestants.items() if name.startswith(begins)}


def missing_peers() -> list[str]:
    """Return the packages of peers that are not installed."""
    return [package for package in ("torch", "jax", "skorch", "keras") if installed_version(package) is None]


def prepared(problem: Problem, contestants: dict) -> tuple[dict[str, Contestant], list[str]]:
    """Return those that compute scikit-learn's losses from the same start, warmed up, and what the other peers compute.

    Raise an error if fastmlp is not among them.
    """
    print(f"{problem.shape.name}, {problem.dtype}", file=sys.stderr)  # the whole takes minutes
    start = make_start(problem)
    ready = {name: make(problem) for name, make in contestants.items()}
    losses = {name: contestant.first_losses(start, CHECKED_EPOCHS) for name, contestant in ready.items()}
    left_out, expected = [], losses["scikit-learn"]
    for name, found in losses.items():
        if np.allclose(found, expected, rtol=LOSS_TOLERANCE, atol=0):
            continue
        numbers = [", ".join(f"{loss:.6g}" for loss in each) for each in (found, expected)]
        message = f"{name} computes losses of {numbers[0]} for {problem.shape.name}, scikit-learn {numbers[1]}"
        if name.startswith("fastmlp"):
            raise AssertionError(message)
        left_out.append(message)
        del ready[name]
    return ready, left_out


class Effort(NamedTuple):
    """How long to measure: rounds, seconds a round of each, and the fewest epochs or calls in it."""

    repeats: int
    budget: float
    fewest: int


def timed(functions: dict[str, Callable[[int], float]], effort: Effort) -> dict[str, dict]:
    """Return the summaries of functions(count), the seconds of one of `count`."""
    rounds = {}
    for name, function in functions.items():
        count = effort.fewest
        while (taken := seconds(partial(function, count))) < effort.budget / 2:
            count *= min(8, math.ceil(effort.budget / taken))
        rounds[name] = partial(function, count)
    return {name: summarise(values) for name, values in interleave(rounds, effort.repeats).items()}


def ratios(times: dict[str, dict]) -> dict[str, float | None]:
    """Return the time of each kind of peer over that of fastmlp with all threads; None where a kind is missing."""
    medians = {name: summary["median"] for name, summary in times.items()}
    ours = [name for name in medians if name.startswith("fastmlp")][-1]
    kinds = {
        "JAX": ["JAX"],
        "the better PyTorch": ["PyTorch", "PyTorch, compiled"],
        "scikit-learn": ["scikit-learn"],
        "with its best BLAS": [name for name in medians if name.startswith("scikit-learn")],
        "skorch": ["skorch"],
        "Keras": [name for name in medians if name.startswith("Keras")],
    }
    found = {kind: [medians[name] for name in names if name in medians] for kind, names in kinds.items()}
    return {kind: min(values) / medians[ours] if values else None for kind, values in found.items()}


def measured_peaks(threads: int, dtypes: list[str], repeats: int) -> dict[str, dict[str, float]]:
    """Return the GFLOP/s of multiply-adds for each dtype and each of fastmlp's numbers of threads."""
    return {
        dtype: {thread_name(count): measured_peak(count, dtype, repeats) for count in sorted({1, threads})}
        for dtype in dtypes
    }


def measure_training(problem: Problem, contestants: dict, effort: Effort) -> dict:
    """Return the seconds of an epoch of each, the ratios, and the GFLOP/s of useful arithmetic."""
    ready, left_out = prepared(problem, contestants)
    times = timed({name: contestant.epoch_seconds for name, contestant in ready.items()}, effort)
    work = problem.shape.flop_per_row * problem.rows
    rates = {name: work / summary["median"] / 1e9 for name, summary in times.items()}
    facts = {"network": problem.shape.name, "batch": problem.shape.batch, "rows": problem.rows, "dtype": problem.dtype}
    facts["left out"] = left_out
    return facts | {"operations": work, "seconds": times, "ratio": ratios(times), "GFLOP/s": rates}


def measure_prediction(rows: int, dtype: str, contestants: dict, effort: Effort) -> dict:
    """Return the seconds of a call to predict `rows` rows, and the ratios."""
    ready, left_out = prepared(Problem(PREDICTED, FIT_ROWS, dtype), contestants)
    X, _ = dataset(PREDICTED, rows, dtype)
    labels = {name: contestant.predict(X) for name, contestant in ready.items()}
    for name, found in labels.items():
        agreement = np.mean(found == labels["scikit-learn"])
        if agreement < AGREEMENT:
            raise AssertionError(f"{name} predicts {agreement:.1%} of the labels as scikit-learn does")
    functions = {name: partial(contestant.predict_seconds, X) for name, contestant in ready.items()}
    times = timed(functions, effort)
    return {"rows": rows, "dtype": dtype, "left out": left_out, "seconds": times, "ratio": ratios(times)}


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


def peak_growth(make: Callable[[Problem], Contestant], rows: int, dtype: str) -> int | None:
    """Return by how many bytes this process's peak grows in its first large prediction."""
    problem = Problem(PREDICTED, FIT_ROWS, dtype)
    contestant = make(problem)
    contestant.begin(make_start(problem))
    contestant.train(1)
    X = np.random.default_rng(0).standard_normal((rows, PREDICTED.features), dtype=np.float32).astype(dtype, copy=False)
    contestant.predict(X[:FIT_ROWS])
    before = peak_bytes()
    contestant.predict(X)
    return None if before is None else peak_bytes() - before


def measure_memory(contestants: dict, rows: int, dtype: str) -> dict[str, int | None]:
    """Return the growth of each, in a fresh process."""
    found = {}
    for name, make in contestants.items():
        if getattr(make, "func", make) is not Remote:  # the same but for its products
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                found[name] = process.submit(peak_growth, make, rows, dtype).result()
    return found


def with_goal(value: float | None, goal: float | None, digits: int) -> str:
    """Return a number, and the goal in brackets where there is one."""
    text = "" if value is None else f"{value:.{digits}f}"
    return text if goal is None else f"{text} ({goal:g})"


def names_of(results: list[dict]) -> list[str]:
    """Return all who were timed."""
    return list(dict.fromkeys(name for result in results for name in result["seconds"]))


def spreads(result: dict, names: list[str]) -> list[str]:
    """Return the milliseconds of each; nothing of who was left out."""
    return [format_spread(result["seconds"][name], unit=1e3) if name in result["seconds"] else "" for name in names]


def format_training(results: list[dict], peaks: dict[str, float]) -> str:
    """Return two tables: times, and what they say; `peaks` are GFLOP/s for each of fastmlp's numbers of threads."""
    names = names_of(results)
    times, comparison = [], []
    for result in results:
        network = [result["network"], f"{result['batch']:,}"]
        times.append([*network, f"{result['rows']:,}", *spreads(result, names)])
        goals = GOALS.get(result["network"], (None,) * 5) if result["dtype"] == "float32" else GOALS_FLOAT64
        parts = [100 * result["GFLOP/s"][name] / peak for name, peak in peaks.items()]
        limit = result["operations"] / (1e9 * list(peaks.values())[-1])
        comparison.append(
            [*network, format_number(1e3 * limit)]
            + [with_goal(ratio, goal, 2) for ratio, goal in zip_longest(result["ratio"].values(), goals[:4])]
            + [with_goal(part, None, 0) for part in parts[:-1]]
            + [with_goal(parts[-1], goals[4], 0)]
        )
    header = ["network", "batch"]
    threads = [name.removeprefix("fastmlp, ") for name in peaks]
    return "\n\n".join(
        [
            format_table([*header, "rows", *(f"{name}, ms" for name in names)], times),
            format_table(
                [*header, "at the peak, ms", *results[0]["ratio"], *(f"% of peak, {count}" for count in threads)],
                comparison,
            ),
        ]
    )


def format_prediction(results: list[dict], growth: dict[str, int | None]) -> str:
    """Return two tables: milliseconds a call, and the ratios; the memory below."""
    names = names_of(results)
    times = [[f"{result['rows']:,}", *spreads(result, names)] for result in results]
    comparison = []
    for result in results:
        goals = GOALS_PREDICTION.get(result["rows"], (None,) * 5)
        pairs = zip_longest(result["ratio"].values(), goals[:4])
        comparison.append([f"{result['rows']:,}", *(with_goal(ratio, goal, 2) for ratio, goal in pairs)])
    memory = "This system does not tell a process's peak memory."
    if None not in growth.values():
        sizes = ", ".join(f"{name} {format_number(size / MEGABYTE)} MiB" for name, size in growth.items())
        rows = results[-1]["rows"]
        memory = f"Growth of peak memory in the first predict of {rows:,} rows, each in a fresh process: {sizes}."
    return "\n\n".join(
        [
            format_table(["rows", *(f"{name}, ms" for name in names)], times),
            format_table(["rows", *results[0]["ratio"]], comparison),
            memory,
        ]
    )


NOTES = f"""\
Times are medians (quartiles) of rounds in which all take their turn. Adam (full batch: gradient descent), relu (tanh
for 100-512-512-512-10), no penalty; two classes have one output.
fastmlp and scikit-learn: an epoch is the difference of two fits with different max_iter, divided by the difference of
max_iter. PyTorch and JAX: the loop of an epoch, shuffle included. skorch and Keras: a call of their fit, over its
epochs; Keras with PyTorch, or JAX where that is not installed, or what KERAS_BACKEND says.
scikit-learn with the name of a processor: kernels that are faster here than those that OpenBLAS takes, if there are.
Ratios: time of the peer / time of fastmlp with all threads; in brackets the project's goals, for two cores of AVX-512.
% of peak: useful multiply-adds of forward, backward and gradient, two operations each, a second, of what as many
threads reach in registers, measured in this run. At the peak: what the useful multiply-adds of an epoch would take with
all threads at that rate. A peer's time over it is the highest ratio that this machine allows.
What keeps fastmlp from it, on two cores of an Intel Xeon (2.3 GHz, AVX-512, 174 GFLOP/s a core), when all products were
of whole registers:
- 64-100-10: whole registers, 112 outputs for 100 and 16 for 10, are a sixth more. Of 58 us a batch with one thread 41
  are such products, 3 Adam, 2.7 the softmax, 1.4 the gather. Of 47 with two, 8 pass lines of the caches between the
  cores (5 to 17 ns each, which no prefetch hides), 3 wait. An epoch of nine batches has 50 us of Python, 20 of them the
  shuffle.
- 20-64-64-2: of 12.3 us a batch 6.5 are products, 3.5 the update, 1 the output. Two threads would have to exchange some
  500 lines a batch, which takes as long as half of the work: one thread is faster, and taken.
- 784-100-10: gathering 200 rows of 3 KB that lie anywhere takes 38 of 570 us with one thread, at 16 GB/s; the panels of
  16 outputs another eighth.
- 50-256-256-256-2: with two threads some 10,000 lines a batch pass between the cores (counted from the layout).
- 1024-1024-1024-10: one thread comes to 85 % and more. Of 27 ms a batch with two, 2 to 6 wait for the slower core; the
  rest that is lost was not taken apart.
On two cores of an AMD EPYC (AVX2, 93 GFLOP/s a core; products alone reach 95 % of it where their operands are cached):
- 784-100-10: of 900 us a batch with one thread 750 are products, 61 the gather from the memory, 47 Adam, whose roots
  and divisions take 11 cycles a register wherever it lies.
- 20-64-64-2: a line that the other core has written takes 13 to 32 ns while the two share no third-level cache.
On two cores of an AMD EPYC (Zen 4, whose 512-bit registers pass through units of 256; 116 GFLOP/s a core):
- 64-100-10: of 75 us a batch with one thread 61 are products, 3 Adam, 3 the softmax, 2 relu, 1.4 the gather, 1.3 the
  biases, 0.5 the shuffle. Of 48 with two, some 8 pass 1,300 lines to the other core or back to be written (6 ns each,
  which no prefetch hides, and no other division of the work needs fewer), and 4 wait: it has 104 of the 200 rows.
- 20-64-64-2: of 13.6 us 8.8 are products, 2.5 the update, 0.4 the layer of one output, 0.5 biases, 0.5 relu, 0.2 the
  gather. Two threads are about as fast as one: of 13.7 us of each their 600 lines of weights, which the other has read,
  take 2.4 more in the update and 600 of outputs and errors 1 more behind relu. Such a line takes 7 to 18 ns to write
  again, one after another, and 1 to 3 to read. A prefetch for the write saves nothing of it; stores past the caches
  do, and make the next reading as much slower. Without the copy of the weights for the errors it were 4 % faster.
- 784-100-10: of 686 us 569 are products, 48 the gather, 32 Adam. Rows that lie in order, which the processor fetches
  ahead, would save 2 %.
- 50-256-256-256-2: of 2,045 us 1,898 are products, at 97 to 99.5 % of the peak, 76 the update. With two threads the
  update takes 141 of both: half of the gradients come from the other core, and the weights are written where it has
  read them.
- 1024-1024-1024-10: of 53 ms 29.4 are products forward and back and relu, 95 % of the peak, 21.6 the gradient and the
  update, which moves some 76 MB (counted) through the memory. Of 28.8 with two 0.3 wait.
- The two largest: peers come so near to the peak that some goals lie beyond it. A third of scikit-learn's 739 to 814 ms
  for the prediction of 200,000 rows would be 92 to 101 % of the peak; fastmlp comes to 86 to 90.
- Prediction of 100 rows: of 320 us with one thread 268 are products (of 104 rows, whole tiles), 17 the weights into
  panels, 35 Python. Of 200 with two, 161 are the first thread's panels and 56 rows, the rest Python: in calls that
  follow one another soon, as here, the other thread looks for the next one. It sleeps before others, which take 220 to
  330.
A core that a neighbour's thread shares does a third less of everything but the multiply-adds of the peak.
Before it is timed, each is checked to compute scikit-learn's losses from the same weights (relative {LOSS_TOLERANCE:g},
{CHECKED_EPOCHS} epochs); a peer that does not is left out."""


def main(arguments: list[str] | None = None) -> None:
    """Time training and prediction of fastmlp, scikit-learn, PyTorch and JAX, interleaved, on the same networks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=main.__doc__)
    parser.add_argument("--shape", action="append", choices=list(BY_NAME), help="train only this network")
    parser.add_argument("--dtype", action="append", choices=["float32", "float64"], help="only this (default: both)")
    parser.add_argument("--only", choices=["training", "prediction"], help="leave out the other")
    parser.add_argument("--peer", action="append", help="only peers whose name begins like this, and fastmlp")
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 7, with --quick 3)")
    parser.add_argument("--quick", action="store_true", help="few rows: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args(arguments)
    repeats = options.repeats or (3 if options.quick else 7)
    effort = Effort(repeats, 0.02, 2) if options.quick else Effort(repeats, 0.4, 2)
    dtypes = options.dtype or ["float32", "float64"]
    shapes = [BY_NAME[name] for name in options.shape or BY_NAME]
    missing = missing_peers()
    facts = machine()
    threads = facts["threads"]
    peak_repeats = 1 if options.quick else 20
    peaks = measured_peaks(threads, dtypes, peak_repeats)
    report = {"machine": facts, "repeats": repeats, "quick": options.quick, "missing": missing, "peaks": peaks}
    report |= {"training": [], "prediction": [], "peak growth": {}}
    with roster(threads, missing, options.peer) as contestants:
        for dtype in dtypes:
            if options.only != "prediction":
                for shape in shapes:
                    rows = min(shape.rows, 2 * shape.batch) if options.quick else shape.rows
                    problem = Problem(shape, rows, dtype)
                    report["training"].append(measure_training(problem, contestants, effort))
            if options.only != "training":
                for rows in PREDICTED_ROWS[: 2 if options.quick else 3]:
                    report["prediction"].append(measure_prediction(rows, dtype, contestants, effort))
                report["peak growth"][dtype] = measure_memory(contestants, rows, dtype)
    # what disturbed the first may not disturb the second
    for dtype, again in measured_peaks(threads, dtypes, peak_repeats).items():
        report["peaks"][dtype] = {name: max(peak, again[name]) for name, peak in peaks[dtype].items()}
    print(json.dumps(report, indent=2) if options.json else format_report(report))


def format_report(report: dict) -> str:
    """Return all that was measured, as text."""
    parts = [format_machine(report["machine"])]
    if report["missing"]:
        parts[0] += f"\nmissing peers (the extra `bench` installs them): {', '.join(report['missing'])}"
    parts[0] += f"\n{report['repeats']} rounds" + ", --quick: not a measurement" * report["quick"]
    for dtype, peaks in report["peaks"].items():
        found = ", ".join(
            f"{format_number(peak)} GFLOP/s with {name.removeprefix('fastmlp, ')}" for name, peak in peaks.items()
        )
        parts.append(f"{dtype}; peak: {found}")
        training = [result for result in report["training"] if result["dtype"] == dtype]
        if training:
            parts += ["An epoch of training", format_training(training, peaks)]
        prediction = [result for result in report["prediction"] if result["dtype"] == dtype]
        if prediction:
            growth = report["peak growth"][dtype]
            parts += [f"A call of predict, {PREDICTED.name}", format_prediction(prediction, growth)]
        left_out = dict.fromkeys(message for result in training + prediction for message in result["left out"])
        if left_out:
            parts.append("\n".join(["Left out:", *left_out]))
    return "\n\n".join([*parts, NOTES])


if __name__ == "__main__":
    main()
