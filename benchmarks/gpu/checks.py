"""The engine on the GPU against the plain NumPy engine, before anything is timed."""

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import sparse

from benchmarks.common import ROOT, format_table
from benchmarks.gpu.contestants import precisions
from fastmlp import reference
from fastmlp.cuda import launch, predict
from fastmlp.cuda.engine import Engine
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Network, flatten

sys.path.append(str(ROOT / "tests"))  # where networks, rows and trainings are made that engines are compared on
problems = importlib.import_module("problems")

TINY = np.finfo(np.float32).tiny
# The largest difference from the reference's: in float64 of a number, in parts of the largest of its array; in less
# precise types of the norm of an array, in parts of it.
ALLOWED = {"float64": 1e-9, "float32": 1e-3, "tf32": 1e-2, "bfloat16": 5e-2}


class Check(NamedTuple):
    """What was compared, and what came out: passed where the difference is at most what is allowed."""

    subject: str
    name: str
    kernel: str
    precision: str
    difference: float
    allowed: float
    error: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is a number, and small enough."""
        return self.difference <= self.allowed


def difference_of_norms(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> float:
    """Return the largest norm of a difference of arrays, in parts of the norm of theirs; NaN if a number is NaN.

    For float32: where a gradient is next to nothing, Adam and its kin make a whole step of its rounding.
    """
    parts = [
        np.linalg.norm(np.subtract(mine, other, dtype=np.float64)) / max(np.linalg.norm(other), TINY)
        for mine, other in zip(ours, theirs, strict=True)
        if np.size(other)
    ]
    return float(np.max(parts))


def largest_difference(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...]) -> float:
    """Return the largest difference of two numbers, in parts of the largest number of theirs; NaN if one is NaN."""
    parts = [
        np.abs(np.subtract(mine, other, dtype=np.float64)).max() / max(np.abs(other).max(), TINY)
        for mine, other in zip(ours, theirs, strict=True)
        if np.size(other)
    ]
    return float(np.max(parts))


def attempt(
    subject: str, name: str, kernel: str, precision: str, allowed: float, compare: Callable[[], float]
) -> Check:
    """Return what a comparison gives; what it raises is a failed check."""
    print(f"{subject}: {name}, {kernel}, {precision}", file=sys.stderr)
    try:
        return Check(subject, name, kernel, precision, compare(), allowed)
    except Exception as error:
        return Check(subject, name, kernel, precision, np.nan, allowed, f"{type(error).__name__}: {error}")


class Training(NamedTuple):
    """A training that is compared: the network, and the settings of `problems.run`."""

    subject: str
    name: str
    network: Network
    settings: dict
    rows: int


def trainings(large: bool) -> Iterator[Training]:
    """Give all trainings; large: of sizes for a GPU, not for the simulator."""
    widths, rows, batch = ((37, 45, 30, 10), 300, 64) if large else ((5, 6, 4, 3), 9, 4)
    make = partial(problems.make_network, widths)
    plain = make("log_loss")
    once = {"batch": batch, "epochs": 1}
    for name in ACTIVATIONS:
        yield Training("activations", name, make("log_loss", name), once, rows)
    for name in (*problems.OUTPUTS, *problems.FURTHER_OUTPUTS):
        yield Training("losses", name, make(name), once, rows)
    for name in UPDATES:
        yield Training("updates", name, plain, {"batch": batch, "update": name}, rows)
        if name != "adamw":  # whose decay is apart from the loss
            yield Training("updates", f"{name}, L1", plain, {"batch": batch, "update": name, "l1_ratio": 0.6}, rows)
    rates = np.linspace(0.05, 0.0, -(-rows // batch))
    options = {
        "norm bounded": {"max_norm": 0.05},
        "norm computed": {"max_norm": np.inf},
        "norm bounded, adamw": {"max_norm": 0.05, "update": "adamw", "alpha": 3.0},
        "a rate a step": {"rates": rates},
        "no weights": {"weighted": False},
        "CSR rows": {"csr": True},
    }
    for name, settings in options.items():
        yield Training("options", name, plain, {"batch": batch, **settings}, rows)
    dropout = replace(plain, dropout=(0.3, 0.5))
    yield Training("options", "dropout", dropout, {"batch": batch}, rows)
    yield Training("options", "penalty not scaled", replace(plain, scale_alpha=False), {"batch": batch}, rows)
    if large:
        for csr in (False, True):
            settings = {"batch": 9_000, "csr": csr, "augment": {} if csr else {"mixup": 0.4}}
            name = "blocks of rows" + ", CSR" * csr
            yield Training("options", name, replace(make("soft_log_loss"), dropout=(0.4, 0.0)), settings, 10_000)
    for change in ({"jitter": 0.1}, {"drop_features": 0.4}, {"mixup": 0.4}):
        settings = {"batch": batch, "augment": change}
        yield Training("augmentation", *change, make("soft_log_loss"), settings, rows)


def train(training: Training, dtype: str, kind: Callable) -> tuple[np.ndarray, ...]:
    """Return losses, parameters and state after a training with an engine."""
    problem = problems.make_problem(training.network, training.rows, np.dtype(dtype))
    return problems.run(kind, training.network, problem, np.dtype(dtype), **training.settings)


def on_gpu(**settings: object) -> Callable:
    """Return what makes an engine on the GPU."""
    return lambda network, dtype, n_threads: Engine(network, dtype, **settings)


def compare_training(training: Training, dtype: str, ours: Callable) -> float:
    """Return by how much a training differs from the reference's."""
    difference = largest_difference if dtype == "float64" else difference_of_norms
    return difference(train(training, dtype, ours), train(training, dtype, reference.Engine))


def compare_runs(training: Training, ours: Callable) -> float:
    """Return how many numbers two runs of a training do not share, bit for bit."""
    pairs = zip(*(train(training, "float32", ours) for _ in range(2)), strict=True)
    return float(sum(np.count_nonzero(one != other) for one, other in pairs))


def compare_prediction(name: str, dtype: str, csr: bool, n_rows: int, network: Network) -> float:
    """Return by how much what the GPU makes of rows differs from what the reference makes of them."""
    X, targets, weight, parameters = problems.make_problem(network, n_rows, np.dtype(dtype))
    rows = sparse.csr_array(X) if csr else X
    if name == "mean loss":
        output = reference.forward(network, *parameters, X)
        losses = reference.row_losses(network.loss, targets, output, network.loss_parameter)
        ours = predict.mean_loss(network, output, targets, weight)
        return largest_difference((np.array(ours),), (np.average(losses, weights=weight),))
    if name == "loss and gradient":
        results = []
        for engine, data in ((Engine(network, np.dtype(dtype)), rows), (reference.Engine(network, dtype), X)):
            engine.load(data, targets, weight)
            results.append(engine.loss_and_gradient(flatten(*parameters), 0.3))
        return largest_difference(*results)
    errors = np.random.default_rng(0).normal(size=(n_rows, network.widths[-1])).astype(dtype)
    more = {"raw outputs": {"raw": True}, "input gradient": {"errors": errors}}.get(name, {})
    function = {"hidden layer": "hidden_layer", "input gradient": "input_gradient"}.get(name, "forward")
    ours = getattr(predict, function)(network, *parameters, rows, **more)
    theirs = getattr(reference, function)(network, *parameters, X, **more)
    return largest_difference((ours,), (theirs,))


def run_checks(large: bool, quick: bool = False) -> list[Check]:
    """Compare all; large: with sizes for a GPU; quick: one training of each subject, in float32."""
    found, all_trainings, dtypes = [], list(trainings(large)), ("float64", "float32")
    if quick:
        dtypes = ("float32",)
        all_trainings = list({training.subject: training for training in all_trainings}.values())
    for kernel in launch.KINDS:
        for dtype in dtypes:
            for training in all_trainings:
                compare = partial(compare_training, training, dtype, on_gpu(kind=kernel))
                found.append(attempt(training.subject, training.name, kernel, dtype, ALLOWED[dtype], compare))
        training = next(training for training in trainings(large) if training.name == "dropout")
        compare = partial(compare_runs, training, on_gpu(kind=kernel))
        found.append(attempt("two runs", "the same bits", kernel, "float32", 0.0, compare))
    large_kernel = {"kind": "large"} if "large" in launch.KINDS else {}
    widths, rows = ((64, 96, 10), 96) if large else ((9, 20, 3), 10)
    for precision in precisions():
        training = Training("precision", "tanh", problems.make_network(widths, "log_loss"), {"update": "sgd"}, rows)
        compare = partial(compare_training, training, "float32", on_gpu(precision=precision, **large_kernel))
        found.append(attempt("precision", precision, "own choice", precision, ALLOWED[precision], compare))
    n_rows, widths = (5_000, (37, 45, 30, 10)) if large else (19, (4, 5, 3, 6))
    network = problems.make_network(widths, "grouped_log_loss", "gelu")
    for dtype in dtypes:
        for csr in (False, True):
            for name in ("outputs", "raw outputs", "hidden layer", "input gradient", "mean loss", "loss and gradient"):
                compare = partial(compare_prediction, name, dtype, csr, n_rows, network)
                rows = "CSR" if csr else "dense"
                found.append(attempt(f"prediction, {rows}", name, "own choice", dtype, ALLOWED[dtype], compare))
    return found


def format_checks(checks: list[Check]) -> str:
    """Return the worst of each subject as a table, and below it each one that failed."""
    groups = {}
    for check in checks:
        groups.setdefault((check.subject, check.kernel, check.precision), []).append(check)
    table = []
    for (subject, kernel, precision), group in groups.items():
        failed = sum(not check.passed for check in group)
        worst = max(group, key=lambda check: (not check.passed, check.difference))
        verdict = f"{failed} of {len(group)} FAILED" if failed else f"{len(group)} passed"
        numbers = [f"{worst.difference:.1e}", worst.name, f"{worst.allowed:.0e}"]
        table.append([subject, kernel, precision, *numbers, verdict])
    header = ["checked", "kernel", "precision", "largest difference", "of", "allowed", ""]
    lines = [format_table(header, table)]
    for check in checks:
        if not check.passed:
            what = f"{check.subject}, {check.name}, {check.kernel}, {check.precision}"
            lines.append(f"FAILED {what}: {check.error or f'{check.difference:.3e}, allowed {check.allowed:.0e}'}")
    return "\n".join(lines)
