"""What `fastmlp train` reports, as data, as text and as a picture."""

import io
import json
import math
import warnings
from typing import Any

import numpy as np
from sklearn import metrics
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline

from fastmlp.cli.columns import CATEGORY, DATE, DROPPED, NUMBER
from fastmlp.cli.model import fitted_network
from fastmlp.cli.target import CLASSIFICATION

FEW_CLASSES = 20  # so many are shown one by one
MOST_COLUMNS = 40  # lines of text
DONE = {
    NUMBER: "standardised",
    DATE: "days since 1970-01-01, standardised",
    CATEGORY: "one column for each level",
    DROPPED: "",
    "id": "names the rows",
    "weight": "weighs the rows",
}


def of_fit(pipeline: Pipeline, seconds: float) -> dict[str, Any]:
    """Return what there is to say of a fitted network and of its training."""
    network = fitted_network(pipeline)
    widths = [network.n_features_in_, *(coef.shape[1] for coef in network.coefs_)]
    return {
        "network": {
            "widths": widths,
            "parameters": sum(array.size for array in (*network.coefs_, *network.intercepts_)),
            "activation": network.activation,
            "solver": network.solver,
            "alpha": network.alpha,
            "learning_rate_init": network.learning_rate_init,
            "batch_size": network.batch_size,
            "dtype": network.dtype,
            "device": network.device,
        },
        "epochs": network.n_iter_,
        "most_epochs": network.max_iter,
        "early_stopping": network.early_stopping,
        "seconds": seconds,
        "loss": float(network.loss_curve_[-1]),
        "loss_curve": [float(loss) for loss in network.loss_curve_],
        "validation_loss_curve": [float(loss) for loss in getattr(network, "validation_loss_curve_", None) or []],
    }


def scores(
    pipeline: Pipeline, task: str, X: Any, y: np.ndarray, weight: np.ndarray | None, train_y: np.ndarray
) -> dict[str, Any]:
    """Return the scores of rows held out, beside those of a guess that knows the targets trained on only."""
    predicted = pipeline.predict(X)
    if task != CLASSIFICATION:
        guess = np.full(len(y), train_y.mean())
        found = {"name": "R squared", "baseline_is": "the mean"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UndefinedMetricWarning)
            for key, values in (("", predicted), ("baseline_", guess)):
                found[f"{key}value"] = metrics.r2_score(y, values, sample_weight=weight)
                found[f"{key}mean_absolute_error"] = metrics.mean_absolute_error(y, values, sample_weight=weight)
                squared = metrics.mean_squared_error(y, values, sample_weight=weight)
                found[f"{key}root_mean_squared_error"] = float(np.sqrt(squared))
        return found
    labels, sizes = np.unique(train_y, return_counts=True)
    most = labels[np.argmax(sizes)]
    found = {
        "name": "accuracy",
        "baseline_is": f"always {most}",
        "value": metrics.accuracy_score(y, predicted, sample_weight=weight),
        "baseline_value": float(np.average(y == most, weights=weight)),
        "classes": [],
    }
    labels = np.unique(np.concatenate([labels, y]))
    if len(labels) <= FEW_CLASSES:
        parts = metrics.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
        names = ("precision", "recall", "f1", "rows")
        found["classes"] = [
            {"class": str(label), **dict(zip(names, map(np.generic.item, row), strict=True))}
            for label, row in zip(labels, zip(*parts, strict=True), strict=True)
        ]
    return found


def as_text(found: dict[str, Any]) -> str:
    """Return the report for a reader."""
    rows, network, target = found["rows"], found["network"], found["target"]
    lines = [f"{found['table']}: {rows['table']} rows; {found['task']} of {target['name']!r}", "", "Columns"]
    lines += _columns(found["columns"])
    if found["search"] is not None:
        lines += ["", *_search(found["search"])]
    widths = "-".join(map(str, network["widths"]))
    stopping = ", a tenth of them to know when to stop" if found["early_stopping"] else ""
    lines += [
        "",
        f"Network   {widths} ({network['parameters']:,} parameters), {network['activation']}, {network['solver']}, "
        f"batches of {network['batch_size']}, {network['dtype']}",
        f"Training  {rows['train']} rows{stopping}; {found['epochs']} epochs of at most {found['most_epochs']}, "
        f"{found['seconds']:.1f} s, loss {found['loss']:.4g}",
    ]
    lines += _scores(found["score"], rows["test"])
    notes = list(found["notes"])
    if found["epochs"] == found["most_epochs"]:
        notes.append("the training went to the last epoch: more --epochs may be better")
    if notes:
        lines += ["", "Notes", *(f"  - {note}" for note in notes)]
    lines += ["", _last_line(found)]
    return "\n".join(lines)


def _last_line(found: dict[str, Any]) -> str:
    if found["model"] is None:
        return "The model is not kept; --out FILE.skops writes it."
    return f"Written to {found['model']}; fastmlp predict {found['model']} TABLE uses it."


def _columns(columns: list[dict[str, Any]]) -> list[str]:
    shown = columns[:MOST_COLUMNS]
    width = max((len(column["name"]) for column in shown), default=0)
    lines = []
    for column in shown:
        done = [DONE[column["kind"]], column["note"] if column["note"] != "days since 1970-01-01" else ""]
        if column["kind"] == CATEGORY:
            done[0] += f" ({column['distinct']})"
        if column.get("missing") and column["kind"] != DROPPED:
            done.append(f"{column['missing']} missing: " + ("a level" if column["kind"] == CATEGORY else "the median"))
        lines.append(f"  {column['name']:<{width}}  {column['kind']:<8}  {'; '.join(filter(None, done))}")
    if len(columns) > len(shown):
        lines.append(f"  and {len(columns) - len(shown)} more (--json has all)")
    return lines


def _search(searched: dict[str, Any]) -> list[str]:
    best = ", ".join(f"{name} {value}" for name, value in searched["best"].items())
    values = [candidate["score"] for candidate in searched["candidates"]]
    return [
        f"Search    {len(values)} settings in {searched['folds']} folds, {searched['seconds']:.1f} s: "
        f"{searched['score']} {min(values):.4f} to {max(values):.4f}",
        f"          best: {best}",
    ]


def _scores(score: dict[str, Any] | None, n_rows: int) -> list[str]:
    if score is None:
        return ["Held out  none, so nothing is known of new rows"]
    lines = [
        f"Held out  {n_rows} rows: {score['name']} {score['value']:.4f} "
        f"({score['baseline_is']}: {score['baseline_value']:.4f})"
    ]
    if "mean_absolute_error" in score:
        for key in ("mean_absolute_error", "root_mean_squared_error"):
            name = key.replace("_", " ")
            lines.append(f"          {name} {score[key]:.4g} ({score['baseline_is']}: {score[f'baseline_{key}']:.4g})")
    elif score["classes"]:
        width = max(5, *(len(row["class"]) for row in score["classes"]))
        lines += ["", f"  {'class':<{width}}  precision  recall      f1    rows"]
        lines += [
            f"  {row['class']:<{width}}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:6.3f}  "
            f"{row['rows']:6}"
            for row in score["classes"]
        ]
    return lines


def to_json(found: dict[str, Any]) -> str:
    """Return a JSON object; null stands for numbers that JSON has not."""
    return json.dumps(_plain(found), indent=2, allow_nan=False, default=str)


def _plain(value: Any) -> Any:
    """Return what JSON has of a value."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def loss_picture(found: dict[str, Any], kind: str) -> bytes:
    """Return a picture of the loss over the epochs, in the format `kind`."""
    from matplotlib.figure import Figure  # without pyplot, which looks for a screen

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    curves = {"training": found["loss_curve"], "validation": found["validation_loss_curve"]}
    for name, losses in curves.items():
        if losses:
            axes.plot(range(1, len(losses) + 1), losses, label=name)
    axes.set(xlabel="epoch", ylabel="loss", title=f"{found['task']} of {found['target']['name']}")
    axes.legend()
    data = io.BytesIO()
    figure.savefig(data, format=kind, dpi=150)
    return data.getvalue()
