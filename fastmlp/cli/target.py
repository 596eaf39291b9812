"""The column that is learnt: whether it is classes or numbers, and which rows are held out."""

from typing import NamedTuple

import numpy as np
from sklearn.model_selection import train_test_split

from fastmlp.cli.columns import as_numbers, as_text
from fastmlp.cli.errors import BadInput
from fastmlp.cli.files import pd

CLASSIFICATION, REGRESSION = TASKS = ("classification", "regression")
FEW_CLASSES = 20  # so many different integers may be classes, if there are ROWS_OF_CLASS rows of each on average
ROWS_OF_CLASS = 5
FEWEST_ROWS = 10


class Target(NamedTuple):
    """What is learnt.

    Attributes
    ----------
    task : {"classification", "regression"}
        What kind of model it needs.
    kind : {"text", "integer", "number"}
        What its values are.
    y : ndarray
        The values of the rows that have one.
    present : ndarray of bool of shape (n_rows,)
        Which rows have one.
    """

    task: str
    kind: str
    y: np.ndarray
    present: np.ndarray


def values_of(column: pd.Series, kind: str, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a target of a known kind where it has some, and where that is.

    Raises
    ------
    BadInput
        If there is text in numbers.
    """
    if kind == "text":
        text = as_text(column)
        present = pd.notna(text)
        return text[present], present
    numbers, bad = as_numbers(column, decimal)
    if bad.any():
        row = int(np.argmax(bad))
        raise BadInput(
            f"the target {column.name!r} must have numbers, but not in {bad.sum()} rows: first "
            f"{column.iloc[row]!r} in row {row + 1}"
        )
    present = ~np.isnan(numbers)
    return numbers[present].astype(np.int64) if kind == "integer" else numbers[present], present


def analyse(column: pd.Series, task: str, decimal: str) -> Target:
    """Decide what a target is.

    Parameters
    ----------
    column : Series
        As it was read.
    task : {"classification", "regression", "auto"}
        What the user asks for. "auto" is classification for text, bools, two different values, and integers of which
        there are few.
    decimal : {".", ","}
        Of numbers.

    Returns
    -------
    Target

    Raises
    ------
    BadInput
        If it does not fit the task, or there is nothing to learn.
    """
    numbers, bad = as_numbers(column, decimal)
    is_text = bad.any() or pd.api.types.is_bool_dtype(column) or isinstance(column.dtype, pd.CategoricalDtype)
    present = numbers[~np.isnan(numbers)]
    distinct = len(np.unique(present))
    integers = not is_text and bool((present % 1 == 0).all()) and np.abs(present).max(initial=0) < 2**53
    if task == "auto":
        few = integers and distinct <= min(FEW_CLASSES, len(present) / ROWS_OF_CLASS)
        task = CLASSIFICATION if is_text or few or distinct == 2 else REGRESSION
    if task == CLASSIFICATION:
        kind = "integer" if integers else "text"
    else:
        kind = "number"
    y, present = values_of(column, kind, decimal)
    name, distinct = column.name, len(pd.unique(y))
    if len(y) < FEWEST_ROWS:
        raise BadInput(f"{len(y)} rows have a value of the target {name!r}; at least {FEWEST_ROWS} are needed")
    if distinct == 1:
        raise BadInput(f"the target {name!r} has one value only, {y[0]!r}: there is nothing to learn")
    if task == CLASSIFICATION and distinct > len(y) / 2:
        raise BadInput(
            f"the target {name!r} has {distinct} different values in {len(y)} rows: no classes can be learnt from that"
            + ("" if is_text else "; numbers are learnt with --task regression")
        )
    return Target(task, kind, y, present)


def split(y: np.ndarray, task: str, test_size: float, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Return which rows are trained on, which are held out, and a note.

    The shares of the classes are kept. Rows that are alone in their class are trained on.

    Raises
    ------
    BadInput
        If fewer than two rows would be held out, or rows of fewer than two classes be trained on.
    """
    rows = np.arange(len(y))
    if test_size == 0:
        return rows, rows[:0], ""
    count = round(test_size * len(y))
    error = BadInput(f"--test-size {test_size}: of {len(y)} rows that would hold out {count}, and leave too few")
    if count < 2:
        raise BadInput(f"--test-size {test_size}: of {len(y)} rows that would hold out {count}; 2 are needed")
    if count > len(y) - 2:
        raise error
    if task == REGRESSION:
        return *train_test_split(rows, test_size=count, random_state=seed), ""
    _, classes, sizes = np.unique(y, return_inverse=True, return_counts=True)
    alone = sizes[classes] == 1
    divided, n_classes = rows[~alone], int((sizes > 1).sum())
    if count > len(divided) - 2:
        raise error
    stratify = count >= n_classes and len(divided) - count >= n_classes
    labels = classes[divided] if stratify else None
    train, test = train_test_split(divided, test_size=count, random_state=seed, stratify=labels)
    note = "" if stratify else f"{count} held-out rows are too few to keep the shares of {n_classes} classes"
    if alone.any():
        note = f"{alone.sum()} classes have one row each, which is trained on" + (f"; {note}" if note else "")
    train = np.concatenate([train, rows[alone]])
    if len(np.unique(classes[train])) < 2:
        raise error
    return train, test, note
