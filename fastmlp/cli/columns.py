"""What the columns of a table are: numbers, dates, categories, or nothing to learn from.

It is decided when a model is trained, and kept with it; `convert` makes the same of any other table.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fastmlp.cli.arguments import closest
from fastmlp.cli.errors import BadInput
from fastmlp.cli.files import pd

NUMBER, DATE, CATEGORY, DROPPED = "number", "date", "category", "dropped"
MANY_LEVELS = 10  # text with more levels than that, in more than half of its rows another one, names the rows
MANY_ROWS = 50  # of so many rows, integers without a gap number the rows
LARGEST = 1e100  # the square of a larger number may be infinite
NOT_VALUES = ("bytes", "mixed", "complex", "timedelta", "timedelta64", "interval", "period", "time", "unknown-array")
EPOCH, DAY = "1970-01-01", 86_400_000_000_000  # nanoseconds


class Column(NamedTuple):
    """What is known of a column and what was decided.

    Attributes
    ----------
    name : str
        Its name.
    kind : {"number", "date", "category", "dropped"}
        What it is taken for.
    missing : int
        Rows without a value; infinite and huge numbers are none.
    distinct : int
        How many values there are.
    note : str
        Why it was dropped, or what else there is to say.
    """

    name: str
    kind: str
    missing: int
    distinct: int
    note: str


def as_numbers(values: pd.Series, decimal: str = ".") -> tuple[np.ndarray, np.ndarray]:
    """Return numbers in float64, NaN where there are none, and where something is that is no number."""
    if decimal != "." and not pd.api.types.is_numeric_dtype(values):
        values = values.map(lambda value: value.replace(decimal, ".") if isinstance(value, str) else value)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    return np.where(np.abs(numbers) > LARGEST, np.nan, numbers), np.isnan(numbers) & values.notna().to_numpy()


def as_dates(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return days since 1970-01-01 UTC, NaN where there are none, and where a value is that is no date of ISO 8601."""
    moments = pd.to_datetime(values, format="ISO8601", errors="coerce", utc=True)
    days = (moments - pd.Timestamp(EPOCH, tz="UTC")) / pd.Timedelta(days=1)
    days = days.to_numpy(dtype=np.float64, na_value=np.nan)
    return days, np.isnan(days) & values.notna().to_numpy()


def as_text(values: pd.Series) -> np.ndarray:
    """Return an array of objects: text, and NaN where there is none; alike for one value of CSV and of Parquet."""
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")  # integers that became fractions because some are missing
    text = values.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    text = text.replace({"true": "True", "TRUE": "True", "false": "False", "FALSE": "False"})
    return text.where(values.notna(), np.nan).to_numpy(dtype=object)


def _looks_like_dates(values: pd.Series) -> bool:
    if pd.api.types.is_datetime64_any_dtype(values) or pd.api.types.infer_dtype(values, skipna=True) == "date":
        return True
    text = values.dropna().astype(str)
    return bool(text.str.match(r"\s*\d{4}-\d{2}-\d{2}").all()) and not as_dates(values)[1].any()


def _kind(values: pd.Series, decimal: str) -> tuple[str, str]:
    """Return the kind of a column that has values, and a note."""
    inferred = pd.api.types.infer_dtype(values, skipna=True)
    if inferred in NOT_VALUES:
        return DROPPED, f"values of this type are not supported ({inferred})"
    if inferred == "boolean":
        return CATEGORY, ""
    if _looks_like_dates(values):
        return DATE, "days since 1970-01-01"
    if isinstance(values.dtype, pd.CategoricalDtype):
        return CATEGORY, ""
    bad = as_numbers(values, decimal)[1]
    if not bad.any():
        return NUMBER, ""
    present = values.notna().to_numpy()
    if bad.sum() < present.sum() / 2:
        row = int(np.argmax(bad))
        return CATEGORY, f"numbers, but text in {bad.sum()} rows, first {values.iloc[row]!r} in row {row + 1}"
    if decimal == "." and not as_numbers(values, ",")[1].any():
        return CATEGORY, "looks like numbers with a decimal comma: see --decimal"
    return CATEGORY, ""


def describe(values: pd.Series, name: str, decimal: str, keep: bool, category: bool) -> Column:
    """Decide what a column is."""
    kind, note = (CATEGORY, "") if category else _kind(values, decimal)
    if kind == DROPPED:
        return Column(name, kind, int(values.isna().sum()), 0, note)
    made, _ = _as_kind(values, kind, decimal)
    present = pd.notna(made)
    missing, distinct = int((~present).sum()), len(pd.unique(made[present]))
    infinite = missing - int(values.isna().sum())
    if infinite > 0:
        note = f"{infinite} infinite or beyond {LARGEST:g}, taken for missing"
    reason = ""
    if distinct == 0:
        reason = "no values"
    elif keep:
        pass
    elif distinct == 1 and missing == 0:
        reason = "one value only"
    elif kind == CATEGORY and not category and distinct > max(MANY_LEVELS, present.sum() / 2):
        reason = f"{distinct} different values in {present.sum()} rows, like names" + (f" ({note})" if note else "")
    elif kind == NUMBER and _counts_rows(made, distinct):
        reason = "numbers the rows"
    return Column(name, DROPPED if reason else kind, missing, distinct, reason or note)


def _counts_rows(numbers: np.ndarray, distinct: int) -> bool:
    rows = len(numbers)
    return rows >= MANY_ROWS and distinct == rows and bool((numbers % 1 == 0).all()) and np.ptp(numbers) == rows - 1


def _as_kind(values: pd.Series, kind: str, decimal: str) -> tuple[np.ndarray, np.ndarray]:
    if kind == NUMBER:
        return as_numbers(values, decimal)
    if kind == DATE:
        return as_dates(values)
    return as_text(values), np.zeros(len(values), dtype=bool)


def decide(
    frame: pd.DataFrame, names: Sequence[str], decimal: str, keep: Collection[str], categories: Collection[str]
) -> list[Column]:
    """Decide for each of the named columns what it is.

    Raises
    ------
    BadInput
        If all are dropped.
    """
    columns = [describe(frame[name], name, decimal, name in keep, name in categories) for name in names]
    if all(column.kind == DROPPED for column in columns):
        reasons = "; ".join(f"{column.name!r}: {column.note}" for column in columns[:10]) or "there are none"
        raise BadInput(f"no column is left to learn from ({reasons}); --keep NAME keeps one")
    return columns


def convert(frame: pd.DataFrame, kinds: Mapping[str, str], decimal: str) -> pd.DataFrame:
    """Return the columns that a model learns from: float64 for numbers and dates, objects for categories.

    Raises
    ------
    BadInput
        If one is not there, or has values that are not of its kind.
    """
    missing = [name for name in kinds if name not in frame.columns]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise BadInput(f"the table has no column {missing[0]!r}{more}; {closest(missing[0], frame.columns)}")
    made = {}
    for name, kind in kinds.items():
        made[name], bad = _as_kind(frame[name], kind, decimal)
        if bad.any():
            row = int(np.argmax(bad))
            raise BadInput(
                f"column {name!r} must have {kind}s, as in training, but not in {bad.sum()} rows: first "
                f"{frame[name].iloc[row]!r} in row {row + 1}"
            )
    return pd.DataFrame(made)
