"""Files: tables that come in, with columns that nobody has interpreted yet, and all that is written."""

import csv
import gzip
import io
import warnings
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fastmlp.cli.errors import BadInput, CommandError
from fastmlp.extras import import_extra
from fastmlp.files import replace_file

USER = "fastmlp train and predict"
pd = import_extra("pandas", "cli", USER)
pyarrow = import_extra("pyarrow", "cli", USER)

CSV, PARQUET = (".csv", ".csv.gz", ".tsv", ".tsv.gz"), (".parquet",)
SEPARATORS = ",;\t|"
HEAD = 1 << 16  # characters that show what a file is
MISSING = ("?",)  # as in many tables of the UCI repository; beside pandas' own: nothing, NA, NaN, null, None, ...


def has_suffix(path: Path, suffixes: Sequence[str]) -> bool:
    """Return whether a file's name ends in one of the suffixes."""
    return path.name.lower().endswith(tuple(suffixes))


def read_table(path: Path) -> pd.DataFrame:
    """Return a table: all text from CSV, with the types of the file from Parquet.

    Raises
    ------
    BadInput
        If there is none, it cannot be read, has no rows, or two columns of one name.
    """
    if not path.is_file():
        raise BadInput(f"{path}: no such file" if not path.exists() else f"{path} is not a file")
    if not has_suffix(path, (*CSV, *PARQUET)):
        raise BadInput(f"{path}: the name must end in one of {', '.join((*CSV, *PARQUET))}")
    try:
        frame = _read_parquet(path) if has_suffix(path, PARQUET) else _read_csv(path)
    except OSError as error:  # gzip's errors among them
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from error
    check_names(path, list(frame.columns))
    if len(frame) == 0:
        raise BadInput(f"{path} has a header, but no rows")
    return frame


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise BadInput if two columns have one name."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BadInput(f"{path}: more than one column is called {', '.join(map(repr, twice))}")


def _read_parquet(path: Path) -> pd.DataFrame:
    parquet = import_extra("pyarrow.parquet", "cli", USER)
    try:
        check_names(path, parquet.read_schema(path).names)
        frame = pd.read_parquet(path, engine="pyarrow")
    except pyarrow.ArrowException as error:
        raise BadInput(f"{path} is not a Parquet file: {str(error).splitlines()[0]}") from error
    if any(name is not None for name in frame.index.names):  # what pandas wrote as its index is a column to others
        frame = frame.reset_index()
    return frame.set_axis([str(name) for name in frame.columns], axis=1)


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        opened = gzip.open if has_suffix(path, [".gz"]) else open
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            head = file.read(HEAD)
        separator, names = _header(path, head)
        check_names(path, names)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            # Text, for a number in one file may be a word in the next: columns.py decides, once.
            return pd.read_csv(
                path,
                sep=separator,
                dtype=str,
                encoding="utf-8-sig",
                index_col=False,
                skipinitialspace=True,
                na_values=MISSING,
            )
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise BadInput(f"{path} is not text in UTF-8 (it has a byte 0x{byte:02x}): convert it first") from error
    except (pd.errors.ParserError, pd.errors.ParserWarning, csv.Error, EOFError, zlib.error) as error:
        text = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        if isinstance(error, pd.errors.ParserWarning):
            text = f"rows have more fields than the header, which has {len(names)}"
        raise BadInput(f"{path} is not a table in CSV: {text}") from error


def _header(path: Path, head: str) -> tuple[str, list[str]]:
    """Return the separator, which is the one that makes the most columns of the first line, and their names."""
    if not head.strip():
        raise BadInput(f"{path} is empty")
    if "\0" in head:
        raise BadInput(f"{path} is not a table in CSV: it has bytes that are zero")
    headers = {
        separator: next(filter(None, csv.reader(io.StringIO(head), delimiter=separator, skipinitialspace=True)))
        for separator in SEPARATORS
    }
    return max(headers.items(), key=lambda header: len(header[1]))


def check_output(path: Path | None, suffixes: Sequence[str], force: bool) -> None:
    """Check, before any work, that a file may be written.

    Raises
    ------
    BadInput
        If it is there already, its folder is not, or its name ends in none of the suffixes.
    """
    if path is None:
        return
    if not has_suffix(path, suffixes):
        raise BadInput(f"{path}: the name must end in one of {', '.join(suffixes)}")
    if not path.parent.is_dir():
        raise BadInput(f"{path}: there is no folder {path.parent}")
    if path.is_dir() or (path.exists() and not force):
        raise BadInput(f"{path} is a folder" if path.is_dir() else f"{path} is there already; --force replaces it")


def write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all.

    Raises
    ------
    CommandError
        If it cannot be written.
    """
    try:
        replace_file(path, data)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}") from error


def write_table(path: Path, frame: pd.DataFrame) -> None:
    """Write a table as CSV or Parquet, as the file's name ends."""
    if has_suffix(path, PARQUET):
        data = frame.to_parquet(index=False, engine="pyarrow")
    else:
        separator = "\t" if has_suffix(path, (".tsv", ".tsv.gz")) else ","
        data = frame.to_csv(index=False, sep=separator, lineterminator="\n").encode()
    write(path, gzip.compress(data) if has_suffix(path, [".gz"]) else data)
