"""Dask collections as shards: which partitions go together, and on which worker."""

from collections.abc import Sequence
from typing import Any

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
from distributed import Future, futures_of

from fastmlp.dask.cluster import Cluster
from fastmlp.dask.rows import concatenate

FRAMES = (dd.DataFrame, dd.Series)


def is_collection(values: object) -> bool:
    """Return whether it is a Dask array, data frame or series."""
    return isinstance(values, (da.Array, *FRAMES))


def gather(cluster: Cluster, name: str, values: Any) -> Any:
    """Return rows of validation on this machine."""
    if not is_collection(values):
        return values
    return cluster.results([cluster.client.compute(values)], f"gathering {name}")[0]


def check_collections(X: Any, y: Any, sample_weight: Any) -> None:
    """Check that all are Dask collections of the dimensions that they must have.

    Raises
    ------
    TypeError, ValueError
        If not.
    """
    for name, values in (("X", X), ("y", y), ("sample_weight", sample_weight)):
        if name == "sample_weight" and values is None:
            continue
        if not is_collection(values) or (name == "X" and isinstance(values, dd.Series)):
            allowed = "array or data frame" if name == "X" else "array, series or data frame"
            raise TypeError(
                f"{name} must be a Dask {allowed}, got {type(values).__module__}.{type(values).__qualname__}: see "
                "dask.array.from_array and dask.dataframe.from_pandas; for rows in memory there are the estimators "
                "without Dask."
            )
        dimensions = {"X": (2,), "y": (1, 2), "sample_weight": (1,)}[name]
        if values.ndim not in dimensions:
            raise ValueError(f"{name} must have {' or '.join(map(str, dimensions))} dimensions, got {values.ndim}.")


def partitions_of(X: Any, y: Any, sample_weight: Any) -> tuple[list, list, list | None]:
    """Return the partitions of each as delayed objects, as many of all; arrays are cut as X is.

    Raises
    ------
    ValueError
        If they cannot be: with unknown sizes, they must have been cut alike.
    """
    X = _whole_rows("X", X)
    parts = [_delayed(X)]
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        if values is None:
            parts.append(None)
            continue
        values = _whole_rows(name, values)
        if isinstance(X, da.Array) and isinstance(values, da.Array) and values.chunks[0] != X.chunks[0]:
            sizes = [sum(one.chunks[0]) for one in (X, values)]
            if not np.isnan(sizes).any():
                if sizes[0] != sizes[1]:
                    raise ValueError(f"X has {sizes[0]} rows, and {name} has {sizes[1]}: they must have the same.")
                values = values.rechunk({0: X.chunks[0]})
        parts.append(_delayed(values))
        if len(parts[-1]) != len(parts[0]):
            raise ValueError(
                f"X has {len(parts[0])} partitions, and {name} has {len(parts[-1])}, and not of all the sizes are "
                "known: call compute_chunk_sizes() of the arrays, take both from one data frame, or repartition them."
            )
    return tuple(parts)


def _whole_rows(name: str, values: Any) -> Any:
    if not isinstance(values, da.Array) or values.ndim == 1 or values.numblocks[1] == 1:
        return values
    if np.isnan(values.shape[1]):
        raise ValueError(f"{name} must have a known number of columns, got chunks {values.chunks}.")
    return values.rechunk({1: -1})


def _delayed(values: Any) -> list:
    parts = values.to_delayed()
    return list(parts.ravel()) if isinstance(parts, np.ndarray) else list(parts)


def distribute(cluster: Cluster, X: Any, y: Any, sample_weight: Any) -> list[tuple[str, Future]]:
    """Put the partitions together on workers; return (address, future of `rows.Raw`) of each shard.

    Partitions that are on workers already stay there; of others each worker gets as many, neighbours together, and
    computes them itself.
    """
    check_collections(X, y, sample_weight)
    addresses = cluster.addresses()
    parts = partitions_of(X, y, sample_weight)
    groups = []
    for address, numbers in _groups(_homes(cluster, X), addresses, len(parts[0])):
        chosen = [None if of is None else [of[number] for number in numbers] for of in parts]
        groups.append((address, cluster.compute(dask.delayed(concatenate)(numbers, *chosen), address)))
    return groups


def _groups(homes: list[str | None] | None, addresses: Sequence[str], n_parts: int) -> list[tuple[str, list[int]]]:
    if homes is not None and len(homes) == n_parts:
        by_home: dict[str, list[int]] = {}
        for number, home in enumerate(homes):
            by_home.setdefault(home, []).append(number)
        return list(by_home.items())
    n_groups = min(len(addresses), n_parts)
    edges = [i * n_parts // n_groups for i in range(n_groups + 1)]
    return [(addresses[i], list(range(edges[i], edges[i + 1]))) for i in range(n_groups)]


def _homes(cluster: Cluster, X: Any) -> list[str | None] | None:
    """Return the worker of each partition of X that was persisted, or is being computed for it; None of others."""
    futures = {str(future.key): future for future in futures_of(X)}
    keys = [str(key) for key in _flat(X.__dask_keys__())]
    if not futures or not all(key in futures for key in keys):
        return None
    chosen = [futures[key] for key in keys]
    cluster.wait(chosen, "computing the partitions that were persisted")
    homes = cluster.homes(chosen)
    return homes if all(homes) else None


def _flat(keys: Any) -> list:
    return [key for one in keys for key in _flat(one)] if isinstance(keys, list) else [keys]
