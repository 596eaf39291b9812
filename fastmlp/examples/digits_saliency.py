"""Which pixels of a handwritten digit matter to the network: saliency maps by `input_gradient`.

`input_gradient` says how a class's score changes with each pixel. A pixel that hardly varies may have any gradient, for
nothing was learnt there; so the gradient counts here times the pixel's standard deviation. What the map says is tested:
without the 12 pixels that matter most, the accuracy falls much more than without the 32 that matter least.
"""

import sys
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from fastmlp import MLPClassifier
from fastmlp.extras import import_extra


def main(picture: Any = None) -> dict[str, Any]:
    """Train, make the maps, test them; return maps and accuracies."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
    model = MLPClassifier(alpha=1, learning_rate_init=0.005, tol=1e-3, random_state=0).fit(X_train, y_train)

    spread = X_train.std(axis=0)
    saliency = np.abs(model.input_gradient(X_test) * spread).mean(axis=0)
    print("How much each pixel moves the score of the predicted digit, 9 for the most:")
    for row in np.rint(9 * saliency / saliency.max()).astype(int).reshape(8, 8):
        print("   " + " ".join(str(value) if value else "." for value in row))

    order = np.argsort(saliency)
    accuracy = {"all pixels": model.score(X_test, y_test)}
    for name, pixels in {
        "without the 12 that matter most": order[-12:],
        "without the 32 that matter least": order[:32],
    }.items():
        blank = X_test.copy()
        blank[:, pixels] = X_train[:, pixels].mean(axis=0)
        accuracy[name] = model.score(blank, y_test)
    for name, value in accuracy.items():
        print(f"accuracy, {name}: {value:.1%}")

    if picture is not None:
        rows = [X_test[y_test == digit] for digit in range(10)]
        maps = [model.input_gradient(rows[digit], output=digit).mean(axis=0) * spread for digit in range(10)]
        draw(picture, [X.mean(axis=0) for X in rows], maps)
    return {"saliency": saliency.reshape(8, 8), "accuracy": accuracy}


def draw(picture: Any, means: list, maps: list) -> None:
    """Write the mean image of each digit, and below it what speaks for it and against it, into a file."""
    figure = import_extra("matplotlib.figure", "plots", "A picture").Figure(figsize=(10, 2.6), layout="constrained")
    axes = figure.subplots(2, 10)
    limit = np.abs(maps).max()
    for digit in range(10):
        axes[0, digit].imshow(means[digit].reshape(8, 8), cmap="Greys")
        shown = axes[1, digit].imshow(maps[digit].reshape(8, 8), cmap="RdBu", vmin=-limit, vmax=limit)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("mean image")
    axes[1, 0].set_ylabel("saliency")
    figure.colorbar(shown, ax=axes, label="ink speaks\nagainst, for")
    figure.savefig(picture)


if __name__ == "__main__":
    main(*sys.argv[1:])
