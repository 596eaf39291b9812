"""Two moons with noise: what a penalty and dropout do to the border between two classes.

The network is far too large for its 100 rows. Left free it draws a border around single points, and is sure of it; with
some penalty (`alpha`) the border is smooth, with too much a straight line. Dropout is between. Accuracy hardly tells
them apart; the loss of rows that the network has not seen does, for it minds how sure a wrong prediction is.
"""

import sys
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.inspection import DecisionBoundaryDisplay
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier
from fastmlp.extras import import_extra

SETTINGS = {
    "hidden_layer_sizes": (100, 100),
    "learning_rate_init": 0.01,
    "max_iter": 500,
    "n_iter_no_change": 500,
    "random_state": 0,
}


def main(picture: Any = None) -> dict[str, Any]:
    """Train four networks; return for each its accuracy on training rows and on others."""
    X, y = make_moons(1100, noise=0.3, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=100, stratify=y, random_state=0)

    models = {
        "no penalty": MLPClassifier(alpha=0, **SETTINGS),
        "alpha = 1": MLPClassifier(alpha=1, **SETTINGS),
        "alpha = 10": MLPClassifier(alpha=10, **SETTINGS),
        "dropout 0.5": MLPClassifier(alpha=0, dropout=0.5, **SETTINGS),
    }
    found = {}
    for name, model in models.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 500 epochs are all there shall be
            model.fit(X_train, y_train)
        known, new = model.score(X_train, y_train), model.score(X_test, y_test)
        loss = log_loss(y_test, model.predict_proba(X_test))
        print(f"{name:<11} {known:.0%} of the training rows are right, {new:.1%} of others, whose loss is {loss:.2f}")
        found[name] = {"training": known, "test": new, "test_loss": loss}
    if picture is not None:
        draw(picture, models, X_train, y_train)
    return found


def draw(picture: Any, models: dict[str, MLPClassifier], X: np.ndarray, y: np.ndarray) -> None:
    """Write the decision plane of each model, with the training rows, into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(12, 3.4), layout="constrained")
    for ax, (name, model) in zip(figure.subplots(1, len(models), sharey=True), models.items(), strict=True):
        DecisionBoundaryDisplay.from_estimator(
            model,
            X,
            ax=ax,
            response_method="predict_proba",
            class_of_interest=1,
            eps=0.3,
            cmap="RdBu",
            levels=np.linspace(0, 1, 21),
            alpha=0.5,
        )
        ax.scatter(*X.T, c=y, cmap="RdBu", edgecolor="white", linewidth=0.7, s=25)
        ax.set(title=name, xticks=[], yticks=[])
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
