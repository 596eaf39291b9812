"""Training on a Dask cluster, with the interface of `lightgbm.dask`.

`DaskMLPClassifier` and `DaskMLPRegressor` take Dask arrays and data frames. The rows stay on the workers: each worker
holds a part of them, its shard, for the whole fit. A round of the training is one task for each shard, and what they
return is added up by tasks on the workers, in a tree; the sum alone comes to the client, which holds the weights and
the optimizer's state between the rounds and sends them out for the next one.

`sync_every=1` is synchronous data-parallel gradient descent: in a step each worker computes the gradient of its share
of the batch, and the step is the one that one machine would take on the whole batch, to rounding. `sync_every=k` is
local gradient descent, Stich (2018), arXiv:1805.09767: k steps on each worker, then the mean of the weights and of the
optimizer's moments. `"epoch"` does it once an epoch. With `synchronous_epochs` the first epochs are synchronous and
only what follows is local, Lin et al. (2018), arXiv:1808.07217.

All tasks are pure functions of what they are given. What a worker held that dies is computed again on others by Dask:
its partitions from where they came from, its part of the round from the last average. The numbers are the same as
without.

How it scales to more workers than one has: `fastmlp.dask.simulation`.
"""

from fastmlp.extras import missing_extra

try:
    import dask.array
    import dask.dataframe  # noqa: F401 -- whether it is installed
    import distributed  # noqa: F401
except ImportError as error:
    raise ImportError(missing_extra("dask", "fastmlp.dask", error)) from error

from fastmlp.dask.estimators import DaskMLPClassifier, DaskMLPRegressor

__all__ = ["DaskMLPClassifier", "DaskMLPRegressor"]
