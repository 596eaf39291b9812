"""Predict the rows of a table by a model that `fastmlp train` wrote."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import metrics

from fastmlp.cli.arguments import positive
from fastmlp.cli.errors import BadInput
from fastmlp.extras import import_extra


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add("model", type=Path, metavar="MODEL.skops", help="written by fastmlp train")
    add("table", type=Path, metavar="TABLE", help=".csv, .tsv (also with .gz) or .parquet, with the same columns")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the predictions here, .csv, .tsv or .parquet (default: stdout)",
    )
    add("--force", action="store_true", help="replace a file that is there already")
    add("--proba", action="store_true", help="also the probability of each class")
    add("--threads", type=positive, help="most threads (default: all cores)")
    add("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Predict, and print or write what is asked for; notes go to stderr."""
    for module in ("pandas", "pyarrow", "skops.io"):
        import_extra(module, "cli", "fastmlp predict")
    from fastmlp.cli import files, model, report
    from fastmlp.cli.target import CLASSIFICATION

    files.check_output(options.out, (*files.CSV, *files.PARQUET), options.force)
    loaded = model.load(options.model)
    if options.proba and loaded["task"] != CLASSIFICATION:
        raise BadInput(f"--proba: {options.model} predicts numbers, which have no probabilities")
    model.fitted_network(loaded["pipeline"]).set_params(n_threads=options.threads)
    frame = files.read_table(options.table)
    predicted, found = predict(loaded, frame, options.proba)
    if options.out is not None:
        files.write_table(options.out, predicted)
        found["out"] = str(options.out)
    if options.json:
        print(report.to_json({**found, "predictions": predicted.to_dict(orient="records")}))
        return 0
    if options.out is None:
        print(predicted.to_csv(index=False, lineterminator="\n"), end="")
    notes = list(found["notes"])
    if found["score"] is not None:
        score = found["score"]
        notes.append(f"{score['name']} {score['value']:.4f} of the {score['rows']} rows that have {loaded['target']!r}")
    for note in notes:
        print(f"fastmlp predict: {note}", file=sys.stderr)
    return 0


def predict(loaded: dict[str, Any], frame: Any, proba: bool) -> tuple[Any, dict[str, Any]]:
    """Return a table of predictions, and what there is to say of it."""
    from fastmlp.cli import columns
    from fastmlp.cli.files import pd

    pipeline = loaded["pipeline"]
    X = columns.convert(frame, loaded["columns"], loaded["decimal"])
    made = {}
    if loaded["id"] in frame.columns:
        made[loaded["id"]] = frame[loaded["id"]].to_numpy()
    made["prediction"] = pipeline.predict(X)
    if proba:
        probabilities = pipeline.predict_proba(X)
        for index, label in enumerate(pipeline.classes_):
            made[f"probability_{label}"] = probabilities[:, index]
    found = {
        "rows": len(frame),
        "task": loaded["task"],
        "target": loaded["target"],
        "score": score(loaded, frame, made["prediction"]),
        "notes": notes(loaded, frame, X),
        "out": None,
    }
    return pd.DataFrame(made), found


def score(loaded: dict[str, Any], frame: Any, predicted: np.ndarray) -> dict[str, Any] | None:
    """Return the score of the rows that have a target, if there are two or more."""
    from fastmlp.cli.target import CLASSIFICATION, values_of

    if loaded["target"] not in frame.columns:
        return None
    y, present = values_of(frame[loaded["target"]], loaded["target_kind"], loaded["decimal"])
    if len(y) < 2:
        return None
    name, function = ("accuracy", metrics.accuracy_score)
    if loaded["task"] != CLASSIFICATION:
        name, function = "R squared", metrics.r2_score
    return {"name": name, "value": float(function(y, predicted[present])), "rows": len(y)}


def notes(loaded: dict[str, Any], frame: Any, X: Any) -> list[str]:
    """Return what a user may not expect."""
    from fastmlp.cli import model

    found = []
    known = {*loaded["columns"], *loaded["ignored"]}
    extra = [name for name in frame.columns if name not in known]
    if extra:
        found.append(f"columns that the model does not know are ignored: {', '.join(extra)}")
    for name, levels in _levels(loaded).items():
        new = X[name].notna() & ~X[name].isin(levels)
        if new.any():
            first = X[name][new].iloc[0]
            found.append(f"{name!r}: {new.sum()} rows have a value that was not in training, first {first!r}")
    written, here = loaded["versions"]["scikit-learn"], model.versions()["scikit-learn"]
    if written.split(".")[:2] != here.split(".")[:2]:
        found.append(f"the model was written with scikit-learn {written}, this is {here}")
    return found


def _levels(loaded: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return the levels of each column of categories that were trained on."""
    steps = loaded["pipeline"]["columns"].named_transformers_
    if "categories" not in steps:
        return {}
    names = [name for name, kind in loaded["columns"].items() if kind == "category"]
    return dict(zip(names, steps["categories"]["encode"].categories_, strict=True))
