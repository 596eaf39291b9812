"""A fit in a file, after each epoch, for another one to go on."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from fastmlp.activation import name_of
from fastmlp.files import replace_file
from fastmlp.network import Network

# parameters that may differ in the fit that goes on: what it runs on, and for how long
FREE = ("client", "timeout", "checkpoint", "n_threads", "verbose", "max_iter", "random_state", "callbacks")


def description(estimator: BaseEstimator, network: Network, dtype: np.dtype, n_rows: int) -> dict[str, str]:
    """Return what has to be the same in a fit that goes on, in words."""
    parameters = estimator.get_params(deep=False)
    words = {
        name: name_of(value) if callable(value) else repr(value)
        for name, value in parameters.items()
        if name not in FREE
    }
    more = {"class": type(estimator).__name__, "widths": network.widths, "arithmetic": dtype.name, "rows": n_rows}
    return (
        words
        | {name: str(value) for name, value in more.items()}
        | {"classes": repr(getattr(estimator, "classes_", None))}
    )


def save(path: str | os.PathLike, described: dict[str, str], content: dict[str, Any]) -> None:
    """Write a checkpoint; a file that is there is replaced by a whole one."""
    replace_file(path, pickle.dumps((described, content)))


def load(path: str | os.PathLike, described: dict[str, str]) -> dict[str, Any] | None:
    """Return the content of a checkpoint, None if there is none.

    The file is a pickle: whoever can write it can run code here.

    Raises
    ------
    ValueError
        If it is that of another fit, or none.
    """
    path = Path(path)
    if not path.exists():
        return None
    try:
        before, content = pickle.loads(path.read_bytes())
    except Exception as error:  # what is no pickle raises anything
        raise ValueError(f"checkpoint={str(path)!r} is not a checkpoint of a fit: {error}") from error
    for name, value in described.items():
        if before.get(name) != value:
            raise ValueError(
                f"checkpoint={str(path)!r} is of another fit, with {name}={before.get(name)}, here it is {value}: take "
                "another file, or remove it to begin anew."
            )
    return content


def remove(path: str | os.PathLike) -> None:
    """Remove a checkpoint whose fit has ended."""
    Path(path).unlink(missing_ok=True)
