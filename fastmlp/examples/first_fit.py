"""A first fit: handwritten digits, with scikit-learn's class and with fastmlp's.

The import is all that changes. With the same seed both draw the same weights and shuffles, so that even the loss of
each epoch is the same, to rounding.
"""

from typing import Any

import numpy as np
from sklearn import neural_network
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastmlp


def main() -> dict[str, Any]:
    """Train both on the same rows; return the accuracies and how far the curves are apart."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
    settings = {"hidden_layer_sizes": (50,), "learning_rate_init": 0.005, "tol": 1e-3, "random_state": 0}

    theirs = neural_network.MLPClassifier(**settings).fit(X_train, y_train)
    ours = fastmlp.MLPClassifier(**settings).fit(X_train, y_train)
    for name, model in (("scikit-learn", theirs), ("fastmlp", ours)):
        print(f"{name:<12} {model.n_iter_} epochs, loss {model.loss_:.6f}, accuracy {model.score(X_test, y_test):.1%}")

    difference = float(np.abs(np.subtract(ours.loss_curve_, theirs.loss_curve_)).max())
    print(f"The two loss curves differ by {difference:.0e} at most.")

    wrong = np.flatnonzero(ours.predict(X_test) != y_test)
    probabilities = ours.predict_proba(X_test[wrong])
    print(f"{len(wrong)} of {len(y_test)} test digits are taken for another one; the first of them:")
    for label, row in zip(y_test[wrong[:3]], probabilities, strict=False):
        print(f"  a {label}, taken for a {row.argmax()} with probability {row.max():.2f}")
    return {
        "accuracy": ours.score(X_test, y_test),
        "accuracy_scikit_learn": theirs.score(X_test, y_test),
        "difference": difference,
    }


if __name__ == "__main__":
    main()
