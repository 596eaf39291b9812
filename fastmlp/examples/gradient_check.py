"""Is the gradient right? Backpropagation against finite differences, and a wrong derivative that is found.

`check_gradient` moves each weight a little, one after another, and compares what the loss does with the gradient that
backpropagation computes. It does so for networks and data of your own, which is of use if an activation is your own.
"""

import math
from typing import Any

from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import scale

from fastmlp import Activation, MLPClassifier, MLPRegressor, check_gradient


def bump(z: float) -> float:
    """Return an activation that is 1 in the middle and 0 on both sides."""
    return math.exp(-z * z)


def slope(z: float) -> float:
    """Return its derivative."""
    return -2 * z * math.exp(-z * z)


def wrong_slope(z: float) -> float:
    """Return what someone took for its derivative."""
    return -2 * math.exp(-z * z)


def main() -> dict[str, Any]:
    """Check networks of several activations and losses; return the errors."""
    iris = load_iris(return_X_y=True)
    patients, progression = (scale(values) for values in load_diabetes(return_X_y=True))
    found = {}
    for name, model, (X, y) in (
        ("tanh, log-loss", MLPClassifier((10, 5), "tanh", random_state=0), iris),
        (
            "gelu, squared error",
            MLPRegressor("squared_error", (10, 5), "gelu", random_state=0),
            (patients, progression),
        ),
        ("softplus, Huber's loss", MLPRegressor("huber", (10, 5), "softplus", random_state=0), (patients, progression)),
        ("bump, differentiated", MLPClassifier((10, 5), bump, random_state=0), iris),
        ("bump, its derivative", MLPClassifier((10, 5), Activation(bump, slope), random_state=0), iris),
        ("bump, a wrong one", MLPClassifier((10, 5), Activation(bump, wrong_slope), random_state=0), iris),
    ):
        found[name] = check_gradient(model, X, y)
        print(f"{name:<23} relative error {found[name]:.0e}{'' if found[name] < 1e-4 else ', which is wrong'}")
    return found


if __name__ == "__main__":
    main()
