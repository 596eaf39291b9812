"""The universal representation theorem: networks built for a function, and how many neurons a tolerance takes.

`approximate` builds a network with one hidden layer of sigmoids, without any training, that is nowhere further from the
function than the tolerance. A function that goes up and down by V in all takes about V / (1.5 tolerance) neurons: twice
as many for half the tolerance, however steep it is.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.extras import import_extra
from fastmlp.theory import approximate, plot_approximation

FUNCTIONS = {  # with the interval, and by how much the function goes up and down there
    "sin(x)": (np.sin, (0, 2 * np.pi), 4),
    "|x|": (np.abs, (-1, 1), 2),
    "tanh(50 x), nearly a step": (lambda x: np.tanh(50 * x), (-1, 1), 2),
}


def main(picture: Any = None) -> dict[str, Any]:
    """Build networks for each function and tolerance; return neurons and largest error of each."""
    found = {}
    for name, (function, (low, high), variation) in FUNCTIONS.items():
        print(f"{name} on [{low:.4g}, {high:.4g}]")
        x = np.linspace(low, high, 20_011)
        for tolerance in (0.3, 0.1, 0.01):
            network = approximate(function, (low, high), tolerance)
            error = float(np.abs(network.predict(x[:, np.newaxis]) - function(x)).max())
            neurons = len(network.coefs_[1])
            found[name, tolerance] = neurons, error
            about = variation / 1.5 / tolerance
            print(f"  tolerance {tolerance:<4} {neurons:3d} neurons (about {about:5.1f}), error at most {error:.5f}")
    if picture is not None:
        draw(picture, FUNCTIONS, 0.1)
    return found


def draw(picture: Any, functions: dict[str, tuple[Callable, tuple, float]], tolerance: float) -> None:
    """Write each function, its network and the error into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(13, 4))
    figure.subplots_adjust(left=0.07, right=0.99, top=0.92, bottom=0.13, wspace=0.27)
    axes, places = figure.subplots(1, 3), ("lower left", "upper center", "lower right")
    for ax, place, (name, (function, interval, _)) in zip(axes, places, functions.items(), strict=True):
        plot_approximation(approximate(function, interval, tolerance), function, interval, ax=ax)
        ax.set_title(name)
        ax.legend(loc=place, fontsize="small")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
