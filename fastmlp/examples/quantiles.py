"""Intervals around a prediction: networks for quantiles.

The loss "quantile" trains a network for the value below which a part of the targets lies. Two of them make an interval,
which is honest if it holds as many new targets as it should: that is counted. Here the targets scatter more on the
right, and the interval is wider there, of which a mean and its standard deviation know nothing.
"""

import sys
from typing import Any

import numpy as np

from fastmlp import MLPRegressor
from fastmlp.extras import import_extra

QUANTILES = (0.05, 0.5, 0.95)


def main(picture: Any = None) -> dict[str, Any]:
    """Train a network for each quantile; return how many test targets lie below each, and the widths."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, (4000, 1))
    y = np.sin(2 * x[:, 0]) + rng.normal(size=4000) * (0.1 + 0.2 * x[:, 0])
    x_train, y_train, x_test, y_test = x[:2000], y[:2000], x[2000:], y[2000:]

    models = {
        quantile: MLPRegressor(
            loss="quantile",
            quantile=quantile,
            hidden_layer_sizes=(30, 30),
            activation="tanh",
            learning_rate_init=0.01,
            learning_rate="adaptive",
            alpha=0.01,
            max_iter=500,
            random_state=0,
        ).fit(x_train, y_train)
        for quantile in QUANTILES
    }
    below = {quantile: float(np.mean(y_test <= model.predict(x_test))) for quantile, model in models.items()}
    for quantile, part in below.items():
        print(f"quantile {quantile:<4}: {part:.1%} of {len(y_test)} new targets are below")

    low, _, high = (model.predict(x_test) for model in models.values())
    coverage = float(np.mean((low <= y_test) & (y_test <= high)))
    print(f"The interval that shall hold 90 % of the targets holds {coverage:.1%}.")
    left, right = x_test[:, 0] < 1, x_test[:, 0] > 2
    width = {"left": float((high - low)[left].mean()), "right": float((high - low)[right].mean())}
    print(f"It is {width['left']:.2f} wide on the left and {width['right']:.2f} on the right.")
    if picture is not None:
        draw(picture, models, x_test, y_test)
    return {"below": below, "coverage": coverage, "width": width}


def draw(picture: Any, models: dict[float, MLPRegressor], x: np.ndarray, y: np.ndarray) -> None:
    """Write targets, median and interval into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(7, 4), layout="constrained")
    ax = figure.subplots()
    points = np.linspace(0, 3, 300)
    low, middle, high = (model.predict(points[:, np.newaxis]) for model in models.values())
    ax.scatter(x, y, s=4, color="0.6", label="new targets")
    ax.fill_between(points, low, high, alpha=0.3, label="from quantile 0.05 to 0.95")
    ax.plot(points, middle, label="median")
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
