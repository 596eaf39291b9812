"""An activation of your own: a Python function, compiled and differentiated.

"Snake", z + sin(z)^2, was made for functions with a period [1]_: outside of the rows it was trained on, a network of
relu units goes on in straight lines, one of snakes in waves. The Python function stands in the place of a name;
`check_gradient` shows that what was made of it has the right derivative.

.. [1] Ziyin, L., Hartwig, T., Ueda, M. (2020). Neural networks fail to learn periodic functions and how to fix it.
   arXiv:2006.08195.
"""

import math
import sys
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPRegressor, check_gradient
from fastmlp.extras import import_extra

SETTINGS = {
    "weight_init": "lecun_normal",
    "alpha": 0.1,
    "batch_size": 50,
    "learning_rate": "cosine",
    "learning_rate_init": 0.01,
    "max_iter": 1000,
    "n_iter_no_change": 1000,
    "random_state": 0,
}


def snake(z: float) -> float:
    """Return what a hidden unit makes of its input."""
    return z + math.sin(z) ** 2


def wave(x: np.ndarray) -> np.ndarray:
    """Return what is to be learnt."""
    return np.sin(2 * x) + x / 3


def main(picture: Any = None) -> dict[str, Any]:
    """Train a network with each activation; return the errors inside and outside of the training rows."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-6, 6, (600, 1))
    y = wave(x[:, 0]) + rng.normal(scale=0.05, size=600)
    places = {"inside": np.linspace(-6, 6, 500), "outside": np.linspace(6, 12, 500)}

    models, errors = {}, {}
    for name, activation in {"relu": "relu", "snake": snake}.items():
        models[name] = model = MLPRegressor(hidden_layer_sizes=(50,), activation=activation, **SETTINGS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 1,000 epochs are all there shall be
            model.fit(x, y)
        errors[name] = {
            place: float(np.abs(model.predict(points[:, np.newaxis]) - wave(points)).mean())
            for place, points in places.items()
        }
        print(f"{name:<5} mean error {errors[name]['inside']:.3f} on [-6, 6], the training rows, ", end="")
        print(f"{errors[name]['outside']:.3f} on [6, 12]")

    error = check_gradient(models["snake"], x[:50], y[:50])
    print(f"Gradient of the snakes: {error:.0e} from finite differences, relative to its size.")
    if picture is not None:
        draw(picture, models, x, y)
    return {"errors": errors, "gradient_error": error}


def draw(picture: Any, models: dict[str, MLPRegressor], x: np.ndarray, y: np.ndarray) -> None:
    """Write training rows and predictions into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(8, 3.4), layout="constrained")
    ax = figure.subplots()
    points = np.linspace(-12, 12, 1000)
    ax.scatter(x, y, s=4, color="0.6", label="training rows", zorder=3)
    ax.plot(points, wave(points), "k:", label="wave")
    for name, model in models.items():
        ax.plot(points, model.predict(points[:, np.newaxis]), label=name)
    ax.set(xlabel="x", ylabel="y", ylim=(-6, 6))
    ax.legend(loc="upper center")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
