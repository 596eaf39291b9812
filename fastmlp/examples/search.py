"""Hyperparameters by a search: all of a grid, and at random on more and more epochs (successive halving).

The searches are scikit-learn's, with the same results; those of `fastmlp.model_selection` run their fits side by side
on one copy of the rows, and fit the scaler of the pipeline once for each fold.
"""

import time
import warnings
from typing import Any

from scipy.stats import loguniform
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp import MLPClassifier
from fastmlp.model_selection import GridSearchCV, HalvingRandomSearchCV


def main() -> dict[str, Any]:
    """Run both searches; return what they found."""
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    pipeline = Pipeline([("scale", StandardScaler()), ("network", MLPClassifier((30,), max_iter=27, random_state=0))])

    grid = {"network__learning_rate_init": [1e-4, 1e-3, 1e-2], "network__alpha": [0.1, 1, 10]}
    space = {"network__learning_rate_init": loguniform(1e-5, 1), "network__alpha": loguniform(1e-3, 100)}
    epochs = {"resource": "network__max_iter", "min_resources": 3, "max_resources": 27, "factor": 3}
    searches = {
        "grid": GridSearchCV(pipeline, grid, cv=3),
        "halving": HalvingRandomSearchCV(pipeline, space, n_candidates=27, cv=3, random_state=0, **epochs),
    }
    found = {}
    for name, search in searches.items():
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are all there shall be
            search.fit(X_train, y_train)
        seconds, n_fits = time.perf_counter() - start, 3 * len(search.cv_results_["params"])
        best = ", ".join(f"{key.partition('__')[2]}={value:.2g}" for key, value in search.best_params_.items())
        print(f"{name}: {n_fits} fits in {seconds:.1f} s. Best: {best}")
        print(
            f"  accuracy in cross-validation {search.best_score_:.1%}, on test rows {search.score(X_test, y_test):.1%}"
        )
        found[name] = {"n_fits": n_fits, "best": search.best_params_, "accuracy": search.score(X_test, y_test)}
    for candidates, n_epochs in zip(search.n_candidates_, search.n_resources_, strict=True):
        print(f"  halving tried {candidates:2d} combinations for {n_epochs} epochs")
    return found


if __name__ == "__main__":
    main()
