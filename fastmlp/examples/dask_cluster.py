"""Training on a Dask cluster: rows that stay on the workers, and weights that travel.

The cluster here is two workers in this process, so that the example starts at once; `main("tcp://scheduler:8786")`
takes another one, and what follows stays as it is. A cluster of processes, `LocalCluster(n_workers=2)`, must be started
below `if __name__ == "__main__":`, for each process imports the program. It needs the extra `dask`.
"""

import sys
import warnings
from contextlib import ExitStack
from typing import Any

from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier
from fastmlp.extras import import_extra


def main(address: str | None = None) -> dict[str, Any]:
    """Train on the cluster and on one machine; return both accuracies, and whether `to_local` predicts the same."""
    da = import_extra("dask.array", "dask", "The example dask_cluster")
    distributed = import_extra("distributed", "dask", "The example dask_cluster")
    from fastmlp.dask import DaskMLPClassifier

    with ExitStack() as stack:
        cluster = address
        if cluster is None:
            local = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
            cluster = stack.enter_context(distributed.LocalCluster(**local))
        client = stack.enter_context(distributed.Client(cluster))
        # Made on the workers, in chunks of 2,000 rows; a file would be read by them: dask.dataframe.read_parquet.
        X = da.random.default_rng(0).normal(size=(16_000, 10), chunks=(2_000, 10))
        y = (X[:, 0] * X[:, 1] + X[:, 2] > 0).astype(int)
        X, y = client.persist([X, y])  # computed once
        settings = {"hidden_layer_sizes": (30,), "learning_rate_init": 0.01, "max_iter": 8, "random_state": 0}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 8 epochs are all there shall be
            # The workers average their weights once an epoch. By default they do so at each step, as one machine would.
            model = DaskMLPClassifier(sync_every="epoch", client=client, **settings).fit(X, y)
            alone = MLPClassifier(**settings).fit(X.compute(), y.compute())
        accuracy = {
            "cluster": model.score(X, y),
            "one machine": alone.score(X.compute(), y.compute()),
        }
        print(f"{len(client.nthreads())} workers have {X.npartitions} chunks of {X.shape[0]:,} rows in all.")
        for name, value in accuracy.items():
            print(f"{name}: accuracy {value:.1%} after {model.n_iter_} epochs")

        plain = model.to_local()
        first, predictions = X[:5].compute(), model.predict(X[:5])
        print(f"Predictions are a Dask array: {predictions}")
        print(f"Computed: {predictions.compute()}; by to_local(), the network without Dask: {plain.predict(first)}")
        same = bool((plain.predict(X.compute()) == model.predict(X).compute()).all())
    return {"accuracy": accuracy, "same_predictions": same}


if __name__ == "__main__":
    main(*sys.argv[1:])
