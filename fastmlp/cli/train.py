"""Train a network on a table, and say how good it is on rows held out."""

import argparse
import math
import sys
import time
import warnings
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import Pipeline

from fastmlp.cli.arguments import names_of, positive, widths
from fastmlp.cli.errors import BadInput, CommandError
from fastmlp.extras import import_extra
from fastmlp.model_selection import RandomizedSearchCV
from fastmlp.training.device import DEVICES, check_gpu

CANDIDATES, FOLDS = 16, 3  # of --search
PICTURES = (".png", ".svg", ".pdf")
MODELS = (".skops",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    columns = {"action": "append", "default": [], "metavar": "COLUMNS"}
    add("table", type=Path, metavar="TABLE", help=".csv, .tsv (also with .gz) or .parquet, with names of columns")
    add("--target", required=True, metavar="COLUMN", help="the column to learn")
    add("--out", type=Path, metavar="FILE.skops", help="write the model (default: only report)")
    add("--force", action="store_true", help="replace files that are there already")
    add("--task", choices=["auto", "classification", "regression"], default="auto", help="default: by the target")
    add("--search", action="store_true", help=f"try {CANDIDATES} settings by cross-validation first")
    add("--hidden", type=widths, metavar="WIDTHS", help="units of the hidden layers (default: 100,50)")
    add("--epochs", type=positive, default=200, help="passes over the rows, at most (default: %(default)s)")
    add("--test-size", type=_share, default=0.2, metavar="SHARE", help="of rows held out (default: %(default)s)")
    add("--drop", **columns, help="columns not to learn from, with commas between them")
    add("--keep", **columns, help="columns to learn from that would be dropped, such as row numbers")
    add("--categories", **columns, help="columns of numbers that are categories, such as codes")
    add("--id", metavar="COLUMN", help="names the rows: not learnt from, and copied to predictions")
    add("--weight", metavar="COLUMN", help="weights of the rows")
    add("--decimal", choices=[".", ","], default=".", metavar="SIGN", help="of numbers in CSV: . or , (default: .)")
    add("--seed", type=_seed, default=0, help="of all random numbers (default: %(default)s)")
    add("--threads", type=positive, help="most threads (default: all cores)")
    add("--device", choices=DEVICES, default="cpu", help="where to train (default: %(default)s)")
    add("--loss-picture", type=Path, metavar="FILE", help=f"draw loss over epochs: {', '.join(PICTURES)}")
    add("--json", action="store_true", help="print the report as one JSON object")
    add("--quiet", action="store_true", help="print no report")


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 1, got {text}")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"must be at least 0 and less than 2**32, got {text}")
    return value


def run(options: argparse.Namespace) -> int:
    """Train, report, and write what is asked for."""
    for module in ("pandas", "pyarrow", "skops.io", *(["matplotlib"] if options.loss_picture else [])):
        import_extra(module, "cli", "fastmlp train")
    from fastmlp.cli import files, model, report  # here, for the other subcommands need no extra

    files.check_output(options.out, MODELS, options.force)
    files.check_output(options.loss_picture, PICTURES, options.force)
    if options.device == "cuda":
        try:
            check_gpu()
        except RuntimeError as error:
            raise CommandError(str(error)) from error
    pipeline, description, found = train(options)
    if options.out is not None:
        files.write(options.out, model.to_bytes(pipeline, description))
    if options.loss_picture is not None:
        files.write(options.loss_picture, report.loss_picture(found, options.loss_picture.suffix[1:].lower()))
    if options.json:
        print(report.to_json(found))
    elif not options.quiet:
        print(report.as_text(found))
    return 0


def train(options: argparse.Namespace) -> tuple[Pipeline, dict[str, Any], dict[str, Any]]:
    """Return the fitted model, its description for `model.to_bytes`, and the report."""
    from fastmlp.cli import columns, files, model, report, target

    frame = files.read_table(options.table)
    names = list(frame.columns)
    name, *_ = names_of([options.target], "--target", names)
    special = {
        option: names_of([value], option, names)[0]
        for option, value in (("--id", options.id), ("--weight", options.weight))
        if value is not None
    }
    drop = names_of(options.drop, "--drop", names)
    keep, categories = names_of(options.keep, "--keep", names), names_of(options.categories, "--categories", names)
    if name in (*drop, *special.values()):
        raise BadInput(f"{name!r} is the target, and cannot be dropped, an id or a weight")

    notes = []
    aim = target.analyse(frame[name], options.task, options.decimal)
    if not aim.present.all():
        notes.append(f"{(~aim.present).sum()} rows without a value of the target left out")
    frame = frame[aim.present]
    weight = _weight(frame, special.get("--weight"), options.decimal)
    features = [column for column in names if column not in (name, *drop, *special.values())]
    decided = columns.decide(frame, features, options.decimal, keep, categories)
    kinds = {column.name: column.kind for column in decided if column.kind != columns.DROPPED}
    X = columns.convert(frame, kinds, options.decimal)
    train_rows, test_rows, note = target.split(aim.y, aim.task, options.test_size, options.seed)
    notes += [note] if note else []

    settings = {
        "hidden_layer_sizes": options.hidden or (100, 50),
        "max_iter": options.epochs,
        "random_state": options.seed,
        "n_threads": options.threads,
        "device": options.device,
    }
    y = aim.y[train_rows]
    pipeline = model.build(kinds, aim.task, y, settings)
    data = (X.iloc[train_rows], y, None if weight is None else weight[train_rows])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the report says it
        try:
            searched = search(pipeline, aim.task, *data, options) if options.search else None
            if searched is not None:
                pipeline.set_params(**searched["best"])
            start = time.perf_counter()
            pipeline = fit(pipeline, aim.task, *data, shows_progress(options))
            seconds = time.perf_counter() - start
        except ValueError as error:  # it diverged, as with a learning rate that is too large
            raise CommandError(f"the training failed: {error}") from error

    found = {
        "table": str(options.table),
        "rows": {"table": len(aim.present), "used": len(aim.y), "train": len(train_rows), "test": len(test_rows)},
        "target": {"name": name, "kind": aim.kind},
        "task": aim.task,
        "columns": [column._asdict() for column in decided]
        + [{"name": one, "kind": "dropped", "note": "--drop"} for one in drop]
        + [{"name": one, "kind": option[2:], "note": ""} for option, one in special.items()],
        "search": None if searched is None else {**searched, "best": _short(searched["best"])},
        **report.of_fit(pipeline, seconds),
        "score": None,
        "notes": notes,
        "model": None if options.out is None else str(options.out),
        "versions": model.versions(),
    }
    if len(test_rows):
        held_out = (X.iloc[test_rows], aim.y[test_rows], None if weight is None else weight[test_rows])
        found["score"] = report.scores(pipeline, aim.task, *held_out, train_y=y)
    description = {
        "task": aim.task,
        "target": name,
        "target_kind": aim.kind,
        "columns": kinds,
        "ignored": [column for column in names if column not in kinds],
        "id": special.get("--id"),
        "decimal": options.decimal,
    }
    return pipeline, description, found


def _weight(frame: Any, name: str | None, decimal: str) -> np.ndarray | None:
    from fastmlp.cli.columns import as_numbers

    if name is None:
        return None
    weight, _ = as_numbers(frame[name], decimal)
    if not (weight >= 0).all() or not weight.any():
        raise BadInput(f"--weight: all values of {name!r} must be numbers, not negative and not all 0")
    return weight


def shows_progress(options: argparse.Namespace) -> bool:
    """Return whether somebody looks on."""
    return sys.stderr.isatty() and not (options.json or options.quiet)


def search(
    pipeline: Pipeline, task: str, X: Any, y: np.ndarray, weight: np.ndarray | None, options: argparse.Namespace
) -> dict[str, Any]:
    """Try settings of the network by cross-validation; return the best and all scores."""
    from fastmlp.cli.model import SPACE
    from fastmlp.cli.target import CLASSIFICATION

    space = {name: values for name, values in SPACE.items() if not (options.hidden and "hidden" in name)}
    if task == CLASSIFICATION:
        few = np.unique(y, return_counts=True)[1].min() < FOLDS
        scoring = "accuracy"
    else:
        few, scoring = True, "r2"
        y = (y - y.mean()) / y.std()  # as the model will have it; R squared is the same
    folds = (KFold if few else StratifiedKFold)(FOLDS, shuffle=True, random_state=options.seed)
    shown = shows_progress(options)
    searched = RandomizedSearchCV(
        pipeline,
        space,
        n_iter=min(CANDIDATES, math.prod(map(len, space.values()))),
        scoring=scoring,
        n_jobs=options.threads,
        cv=folds,
        refit=False,
        random_state=options.seed,
        verbose=int(shown),
    )
    start = time.perf_counter()
    with redirect_stdout(sys.stderr):  # for what it prints is no part of the report
        searched.fit(X, y, **_weights(weight))
    results = searched.cv_results_
    return {
        "score": scoring,
        "folds": FOLDS,
        "best": searched.best_params_,
        "candidates": [
            {**_short(parameters), "score": float(score), "deviation": float(deviation)}
            for parameters, score, deviation in zip(
                results["params"], results["mean_test_score"], results["std_test_score"], strict=True
            )
        ],
        "seconds": time.perf_counter() - start,
    }


def _short(parameters: dict[str, Any]) -> dict[str, Any]:
    """Return parameters of the pipeline by the names that they have in our estimators."""
    return {name.removeprefix("network__"): value for name, value in parameters.items()}


def _weights(weight: np.ndarray | None) -> dict[str, np.ndarray]:
    return {} if weight is None else {"network__sample_weight": weight}


def fit(pipeline: Pipeline, task: str, X: Any, y: np.ndarray, weight: np.ndarray | None, shown: bool) -> Pipeline:
    """Return the model fitted; with a scaled target if it has numbers."""
    from fastmlp.cli import model
    from fastmlp.cli.target import REGRESSION

    def show(epoch: Any) -> None:
        print(f"\r  epoch {epoch.number}  loss {epoch.loss:.4f} ", end="", file=sys.stderr, flush=True)

    pipeline.set_params(network__callbacks=show if shown else None)
    if task == REGRESSION:
        pipeline = model.with_scaled_target(pipeline)
    try:
        pipeline.fit(X, y, **_weights(weight))
    finally:
        if shown:
            print(file=sys.stderr)
    for network in {id(one): one for one in (model.fitted_network(pipeline), _template(pipeline))}.values():
        network.set_params(callbacks=None, n_threads=None)  # of this run, not of the model
    return pipeline


def _template(pipeline: Pipeline) -> Any:
    return getattr(pipeline[-1], "regressor", pipeline[-1])
