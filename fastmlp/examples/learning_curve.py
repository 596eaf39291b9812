"""Overfitting and underfitting in two curves: score against the number of rows, loss against epochs.

The first curve says what more rows would bring: as long as the score of training rows is far above that of others, they
help. The second says when a network begins to learn its rows by heart: the training loss falls on, the validation loss
rises. Where both stay high, the network is too small or the penalty too large. (The training loss is with the penalty,
the validation loss without, so that it may be the smaller one.)
"""

import sys
import warnings
from typing import Any

from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import LearningCurveDisplay, learning_curve

from fastmlp import MLPClassifier
from fastmlp.extras import import_extra

EPOCHS = {"max_iter": 300, "n_iter_no_change": 300, "random_state": 0}


def main(picture: Any = None) -> dict[str, Any]:
    """Compute both curves; return their ends."""
    X, y = make_moons(2000, noise=0.25, random_state=0)
    model = MLPClassifier((50, 50), learning_rate_init=0.01, tol=1e-3, max_iter=500, random_state=0)
    sizes, known, new = learning_curve(model, X, y, train_sizes=[0.02, 0.05, 0.1, 0.3, 1.0], cv=5)
    for size, one, other in zip(sizes, known.mean(axis=1), new.mean(axis=1), strict=True):
        print(f"trained on {size:4d} rows: {one:.1%} of these are right, {other:.1%} of others")

    networks = {
        "too small": MLPClassifier((1,), learning_rate_init=0.01, **EPOCHS),
        "too free": MLPClassifier((100, 100), learning_rate_init=0.01, alpha=0, **EPOCHS),
        "right": MLPClassifier((100, 100), learning_rate_init=0.01, alpha=1, **EPOCHS),
    }
    losses = {}
    for name, network in networks.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 300 epochs are all there shall be
            network.fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
        losses[name] = network.loss_curve_[-1], network.validation_loss_curve_[-1], min(network.validation_loss_curve_)
        training, validation, least = losses[name]
        print(f"{name:<9} training loss {training:.3f}, validation loss {validation:.3f}, at its best {least:.3f}")
    if picture is not None:
        draw(picture, (sizes, known, new), networks)
    return {"training_scores": known.mean(axis=1), "test_scores": new.mean(axis=1), "losses": losses}


def draw(picture: Any, curve: tuple, networks: dict[str, MLPClassifier]) -> None:
    """Write both curves into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sizes, known, new = curve
    display = LearningCurveDisplay(train_sizes=sizes, train_scores=known, test_scores=new, score_name="accuracy")
    display.plot(ax=left)
    left.set(xscale="log", xlabel="rows")
    for colour, (name, network) in enumerate(networks.items()):
        right.plot(network.loss_curve_, f"C{colour}--")
        right.plot(network.validation_loss_curve_, f"C{colour}", label=name)
    right.set(xlabel="epochs", ylabel="loss: training (dashed), validation", ylim=(0, 1))
    right.legend()
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
