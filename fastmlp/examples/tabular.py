"""Columns of numbers and words, some of them missing, in a pipeline with early stopping, beside simpler models.

The rows are flats, made up: what one square metre costs depends on the district, houses of the fifties are cheaper than
older and newer ones, and of many nobody knows the year. Numbers are scaled, words become columns of 0 and 1, and
`missing="indicator"` tells the network where a number is missing. The price is scaled as well: a network learns targets
around 0 best. Data frames need pandas, which the extra `cli` brings.
"""

from typing import Any

import numpy as np
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastmlp import MLPRegressor
from fastmlp.extras import import_extra


def make_flats(n_rows: int) -> tuple[Any, Any]:
    """Return a data frame of flats, and their prices in thousands."""
    pandas = import_extra("pandas", "cli", "The example tabular")
    rng = np.random.default_rng(0)
    price_of = {"harbour": 6.0, "centre": 5.0, "hill": 4.0, "station": 2.5, "works": 2.0}  # of a square metre
    area, year = rng.uniform(20, 150, n_rows), rng.integers(1880, 2025, n_rows).astype(float)
    district, heating = rng.choice(list(price_of), n_rows), rng.choice(["gas", "oil", "heat pump"], n_rows)
    by_year = 0.7 + 0.3 * np.abs(year - 1955) / 70
    by_heating = np.where(heating == "heat pump", 1.1, 1.0)
    price = area * np.vectorize(price_of.get)(district) * by_year * by_heating * rng.normal(1, 0.05, n_rows)
    year[rng.random(n_rows) < 0.2] = np.nan
    area[rng.random(n_rows) < 0.05] = np.nan
    return pandas.DataFrame({"area": area, "year": year, "district": district, "heating": heating}), price


def main() -> dict[str, Any]:
    """Fit the three; return R squared of each on test rows."""
    flats, price = make_flats(4000)
    X_train, X_test, y_train, y_test = train_test_split(flats, price, random_state=0)

    numbers, words = ["area", "year"], ["district", "heating"]
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    filled = make_pipeline(SimpleImputer(add_indicator=True), StandardScaler())
    for_line = make_column_transformer((filled, numbers), (encoder, words))
    for_network = make_column_transformer((StandardScaler(), numbers), (encoder, words))  # NaN stays NaN
    network = MLPRegressor(
        hidden_layer_sizes=(50, 50),
        missing="indicator",
        learning_rate_init=0.002,
        early_stopping=True,
        validation_fraction=0.15,
        n_iter_no_change=20,
        random_state=0,
    )
    scores = {}
    for name, model in {
        "mean price": DummyRegressor(),
        "linear": make_pipeline(for_line, RidgeCV()),
        "network": make_pipeline(for_network, TransformedTargetRegressor(network, transformer=StandardScaler())),
    }.items():
        model.fit(X_train, y_train)
        scores[name] = model.score(X_test, y_test)
        error = np.abs(model.predict(X_test) - y_test)
        print(f"{name:<10} R squared {scores[name]:6.3f}, mean error {error.mean():5.1f} thousand")
    fitted = model[-1].regressor_
    best = int(np.argmax(fitted.validation_scores_)) + 1
    print(
        f"The network stopped after {fitted.n_iter_} epochs and went back to epoch {best}, the best for held-out rows."
    )

    known = X_test["year"].notna() & X_test["area"].notna()
    for name, rows in (("all known", known), ("something missing", ~known)):
        score = model.score(X_test[rows], y_test[rows])
        print(f"{name:<18} {rows.sum()} test rows, R squared of the network {score:.3f}")
    return {"scores": scores, "epochs": fitted.n_iter_, "best_epoch": best}


if __name__ == "__main__":
    main()
