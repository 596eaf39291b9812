"""Cases timed, each contestant in turn, after it has computed scikit-learn's losses from the same start."""

import sys
from functools import partial

import numpy as np

from benchmarks.common import format_number, format_spread, format_table
from benchmarks.contestants import Contestant, Estimator, Problem, Start, make_start
from benchmarks.gpu.cases import EPOCH, FIT_ROWS, PREDICTION, Case
from benchmarks.gpu.checks import Check, attempt, largest_difference
from benchmarks.gpu.contestants import roster
from benchmarks.peers import Effort, timed
from benchmarks.shapes import dataset

CHECKED_EPOCHS = 2
# The largest difference from scikit-learn's losses in float32, in parts of the largest: rounding grows with every step.
ALLOWED_LOSSES = {"float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}
ALLOWED_LABELS = 1e-3  # part of the predicted labels that rounding may change


def problem_of(case: Case) -> Problem:
    """Return what is trained: fewer rows where only the prediction is timed."""
    rows = case.shape.rows
    return Problem(case.shape, min(FIT_ROWS, rows) if case.measured == PREDICTION else rows, "float32")


def prepare(case: Case, missing: dict[str, str]) -> tuple[dict[str, Contestant], Start, list[Check]]:
    """Return those that run, the start, and by how much each differs from scikit-learn."""
    problem = problem_of(case)
    # the same weights whatever rows there are
    start = make_start(problem._replace(rows=min(problem.rows, 2 * problem.shape.batch)))
    oracle = Estimator(problem, "scikit-learn")
    losses = np.array(oracle.first_losses(start, CHECKED_EPOCHS))
    ready, checks = {}, []

    def compare_losses(name, make):
        contestant = make(problem)
        found = np.array(contestant.first_losses(start, CHECKED_EPOCHS))
        contestant.train(1)  # what shuffles is compiled, too
        ready[name] = contestant
        return largest_difference((found,), (losses,))

    for name, make in roster(case, missing).items():
        allowed, compare = ALLOWED_LOSSES[case.precision], partial(compare_losses, name, make)
        checks.append(attempt(f"losses of {case.name}", name, "own choice", case.precision, allowed, compare))
    if case.measured == PREDICTION:
        X = rows_to_predict(case)
        labels = oracle.predict(X)
        for name, contestant in ready.items():

            def compare_labels(contestant=contestant):
                return float(np.mean(contestant.predict(X) != labels))

            subject = f"labels, {case.name}"
            checks.append(attempt(subject, name, "own choice", case.precision, ALLOWED_LABELS, compare_labels))
    return ready, start, checks


def rows_to_predict(case: Case) -> np.ndarray:
    """Return the rows of a prediction."""
    return dataset(case.shape, case.predicted_rows, "float32")[0]


def seconds_of(case: Case, contestant: Contestant, start: Start):
    """Return the function of a count that gives the mean seconds of so many of what is measured."""
    if case.measured == EPOCH:
        return contestant.epoch_seconds
    if case.measured == PREDICTION:
        return partial(contestant.predict_seconds, rows_to_predict(case))
    return lambda count: sum(contestant.fit_seconds(start, case.epochs) for _ in range(count)) / count


def measure(case: Case, ready: dict[str, Contestant], start: Start, effort: Effort) -> dict:
    """Return the seconds of each, the ratios of their medians to fastmlp's, and TFLOP/s."""
    print(f"timing {case.name}", file=sys.stderr)
    times = timed({name: seconds_of(case, contestant, start) for name, contestant in ready.items()}, effort)
    ours = next((times[name]["median"] for name in times if name.startswith("fastmlp")), None)
    return {
        "case": case.name,
        "what": case.what,
        "batch": case.shape.batch,
        "rows": case.shape.rows,
        "operations": case.operations,
        "seconds": times,
        "ratio": {name: None if ours is None else summary["median"] / ours for name, summary in times.items()},
        "TFLOP/s": {name: case.operations / summary["median"] / 1e12 for name, summary in times.items()},
        "goals": case.goals,
        "most seconds": case.most_seconds,
    }


def verdict(value: float | None, goal: float, at_most: bool = False) -> str:
    """Return a goal, and whether it is reached."""
    if value is None:
        return f"{goal:g}"
    return f"{goal:g}: {'reached' if (value <= goal if at_most else value >= goal) else 'missed'}"


def format_results(results: list[dict]) -> str:
    """Return a table with a line for each contestant of each case."""
    table = []
    for result in results:
        for number, (name, summary) in enumerate(result["seconds"].items()):
            goal, ratio = "", result["ratio"][name]
            if name in result["goals"]:
                goal = verdict(ratio, result["goals"][name])
            elif number == 0 and result["most seconds"] is not None:
                goal = verdict(summary["median"], result["most seconds"], at_most=True).replace(":", " s:")
            table.append(
                [
                    *([result["case"], f"{result['batch']:,}", result["what"]] if number == 0 else [""] * 3),
                    name,
                    format_spread(summary, unit=1e3),
                    "" if ratio is None or number == 0 else f"{ratio:.2f}",
                    goal,
                    format_number(result["TFLOP/s"][name]),
                ]
            )
    header = ["case", "batch", "time of", "who", "ms", "times fastmlp's", "goal", "TFLOP/s"]
    return format_table(header, table)
