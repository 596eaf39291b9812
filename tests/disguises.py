"""Tables, targets and weights in any disguise: other strides, byte order, types, a list, a data frame, sparse."""

import warnings

import numpy as np
import pandas as pd
import scipy.sparse

# Tables of numbers


def numbers(kind, n_rows, n_columns, dtype, random):
    """Return a table of float64 or float32; in that, what is huge is infinite."""
    with np.errstate(all="ignore"):
        return _numbers(kind, n_rows, n_columns, random).astype(dtype)


def _numbers(kind, n_rows, n_columns, random):
    X = random.normal(size=(n_rows, n_columns))
    if kind == "integers":
        X = random.integers(0, 100, X.shape).astype(np.float64)
    elif kind == "zeros":
        X = np.where(random.random(X.shape) < 0.6, random.choice([0.0, -0.0], X.shape), X)
    elif kind == "constant":
        X[:] = random.normal()
    elif kind == "tiny":
        X *= 1e-30
    elif kind == "subnormal":
        X *= random.choice([5e-324, 1e-310, 1e-40], X.shape)
    elif kind == "large":
        X *= 1e4
    elif kind == "huge":
        X *= random.choice([1.0, 1e30, 1e38, 1e300], X.shape)
    elif kind in ("NaN", "inf") and X.size:
        X.ravel()[random.integers(X.size)] = {"NaN": np.nan, "inf": -np.inf}[kind]
    return X


NUMBERS = ["normal"] * 3 + ["integers", "zeros", "constant", "tiny", "subnormal", "large", "huge", "NaN", "inf"]


# Disguises: each returns the disguise and its numbers, in the dtype of the plain table; or None for what is no table.


def same(change):
    """Return a disguise that keeps all numbers of a table in its dtype."""
    return lambda X, random: (change(X, random), X)


def spread(X, random):
    whole = np.full((2 * X.shape[0] + 1, 3 * X.shape[1] + 2), np.nan, X.dtype)
    view = whole[1::2, 2::3]
    view[:] = X
    return view


def backwards(X, random):
    return np.ascontiguousarray(X[::-1, ::-1])[::-1, ::-1]


def frozen(X, random):
    X = X.copy()
    X.flags.writeable = False
    return X


def swapped(X, random):
    return X.astype(X.dtype.newbyteorder())


def unaligned(X, random):
    memory = np.zeros(X.nbytes + 1, np.uint8)
    view = memory[1:].view(X.dtype).reshape(X.shape)
    view[:] = X
    return view


def masked(X, random):
    return np.ma.masked_array(X, random.random(X.shape) < 0.3)  # scikit-learn takes what is below the mask


def broadcast(X, random):
    X = np.broadcast_to(X[:1], X.shape)
    return X, np.array(X)


def of_type(*dtypes, most=None):
    def disguise(X, random):
        dtype = np.dtype(dtypes[random.integers(len(dtypes))])
        limited = X if most is None else np.clip(np.nan_to_num(X), 0, most)
        with np.errstate(all="ignore"):
            X = limited.astype(dtype)
            return X, X.astype(np.float64)

    return disguise


def beyond_float64(X, random):
    wide = X.astype(np.longdouble)
    if wide.size:
        wide[0, 0] = np.finfo(np.longdouble).max
    with np.errstate(over="ignore"):
        return wide, wide.astype(np.float64)


def objects(X, random):
    X = X.astype(np.float64)
    return X.astype(object), X


def strings(X, random):
    return X.astype(np.float64).astype(str), None


def frame(X, random):
    return pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])]), X


def mixed_frame(X, random):
    X = np.nan_to_num(X.astype(np.float64), posinf=0.0, neginf=0.0).clip(-100, 100)
    X[:, ::2] = np.rint(X[:, ::2])
    columns = {str(i): column.astype(np.int16 if i % 2 == 0 else np.float64) for i, column in enumerate(X.T)}
    return pd.DataFrame(columns), X + 0.0


def frame_with_gaps(X, random):
    X = X.astype(np.float64)
    gaps = random.random(X.shape) < 0.1
    columns = pd.DataFrame(X).astype("Float64").mask(gaps)
    return columns, np.where(gaps, np.nan, X)


def words_frame(X, random):
    return pd.DataFrame(X).assign(words="a"), None


def entries(X, random, twice=False):
    """Return COO with the entries in any order."""
    rows, columns = np.nonzero((X != 0) | ~np.isfinite(X))
    values = X[rows, columns]
    if twice:
        rows, columns, values = (np.concatenate([part, part]) for part in (rows, columns, values / 2))
    order = random.permutation(len(rows))
    return scipy.sparse.coo_array((values[order], (rows[order], columns[order])), shape=X.shape)


def sparse(kind):
    return lambda X, random: (getattr(entries(X, random), f"to{kind}")(), X)


def csr_of(coo, n_rows):
    """Return CSR with the entries of each row in the order and number they have in COO."""
    order = np.argsort(coo.row, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(coo.row, minlength=n_rows))])
    return scipy.sparse.csr_array((coo.data[order], coo.col[order], starts), shape=coo.shape)


def unsorted(X, random):
    return csr_of(entries(X, random), len(X)), X


def duplicates(X, random):
    X = np.where(np.abs(X) < 2 * np.finfo(X.dtype).smallest_normal, 0, X)  # so that halves are exact
    return csr_of(entries(X, random, twice=True), len(X)), X


def frozen_csr(X, random):
    X = X + X.dtype.type(0)
    csr = entries(X, random).tocsr()
    for array in (csr.data, csr.indices, csr.indptr):
        array.flags.writeable = False
    return csr, X


def explicit_zeros(X, random):
    coo = scipy.sparse.coo_array(np.ones_like(X)).tocsr()
    coo.data = np.ascontiguousarray(X).ravel().copy()
    return coo, X


def matrix(X, random):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asmatrix(X), None


TABLES = {
    "plain": same(lambda X, random: X.copy()),
    "Fortran": same(lambda X, random: np.asfortranarray(X)),
    "spread": same(spread),
    "backwards": same(backwards),
    "read-only": same(frozen),
    "byte-swapped": lambda X, random: (swapped(X, random), X.astype(np.float64)),  # also of float32, as theirs
    "unaligned": same(unaligned),
    "masked": same(masked),
    "broadcast": broadcast,
    "list": lambda X, random: (X.astype(np.float64).tolist(), X.astype(np.float64)),
    "tuples": lambda X, random: (tuple(map(tuple, X.astype(np.float64).tolist())), X.astype(np.float64)),
    "integers": of_type("i1", "u1", "i2", ">i2", "u4", "i4", "i8", ">u8", most=100),
    "bool": of_type("?"),
    "float16": of_type("f2", ">f2", most=60_000),
    "long double": of_type("g"),
    "long double beyond float64": beyond_float64,
    "objects": objects,
    "frame": frame,
    "mixed frame": mixed_frame,
    "frame with gaps": frame_with_gaps,
    "csr": sparse("csr"),
    "csc": sparse("csc"),
    "coo": sparse("coo"),
    "lil": sparse("lil"),
    "bsr": sparse("bsr"),
    "dia": sparse("dia"),
    "unsorted csr": unsorted,
    "duplicates": duplicates,
    "read-only csr": frozen_csr,
    "explicit zeros": explicit_zeros,
    # no tables of numbers
    "strings": strings,
    "words frame": words_frame,
    "one dimension": lambda X, random: (X.ravel(), None),
    "three dimensions": lambda X, random: (X[:, :, np.newaxis], None),
    "complex": lambda X, random: (X + 1j, None),
    "dates": lambda X, random: (np.zeros(X.shape, "M8[s]"), None),
    "None": lambda X, random: (None, None),
    "a number": lambda X, random: (3.0, None),
    "a text": lambda X, random: ("X", None),
    "ragged": lambda X, random: ([[1.0], [1.0, 2.0]], None),
    "None inside": lambda X, random: (np.where(X > 0, None, X.astype(object)), None),
    "matrix": matrix,
}
OTHER_ORDER = ("unsorted csr", "duplicates")  # whose sums are in another order


# Targets and weights: each returns the disguise and the plain array, or None for what is none.


def labels(change, plain=None):
    return lambda y, random: (change(y, random), y if plain is None else plain(y))


def indicator(y):
    return (y[:, np.newaxis] == np.arange(3)).astype(np.int64)


LETTERS = np.array(["a", "bb", "c"])
LABELS = {
    "integers": labels(lambda y, random: y.copy()),
    "small integers": labels(lambda y, random: y.astype(np.int8)),
    "unsigned, swapped": labels(lambda y, random: y.astype(">u2")),
    "list": labels(lambda y, random: y.tolist()),
    "floats": labels(lambda y, random: y.astype(np.float32)),
    "negative zeros": labels(lambda y, random: np.where(y == 0, random.choice([0.0, -0.0], y.shape), y)),
    "spread": labels(lambda y, random: np.repeat(y, 3)[::3]),
    "backwards": labels(lambda y, random: y[::-1].copy()[::-1]),
    "read-only": labels(frozen),
    "column": labels(lambda y, random: y[:, np.newaxis]),
    "Fortran column": labels(lambda y, random: np.asfortranarray(np.c_[y, y])[:, 1:]),
    "objects": lambda y, random: (y.astype(object), None),
    "masked": labels(masked),
    "series": labels(lambda y, random: pd.Series(y, index=y + 7)),
    "nullable series": labels(lambda y, random: pd.Series(y, dtype="Int64")),
    "frame": labels(lambda y, random: pd.DataFrame({"label": y})),
    "bool": labels(lambda y, random: y > 0, lambda y: (y > 0).astype(np.int64)),
    "strings": labels(lambda y, random: LETTERS[y], lambda y: y),
    "strings as objects": labels(lambda y, random: LETTERS[y].astype(object), lambda y: y),
    "bytes": lambda y, random: (LETTERS[y].astype(bytes), None),
    "category": labels(lambda y, random: pd.Series(LETTERS[y]).astype("category"), lambda y: y),
    "indicator": labels(lambda y, random: np.asfortranarray(indicator(y)), indicator),
    "bool indicator": labels(lambda y, random: indicator(y) > 0, indicator),
    "sparse indicator": labels(lambda y, random: scipy.sparse.csr_array(indicator(y)), indicator),
    "sparse indicator, csc": labels(lambda y, random: scipy.sparse.csc_array(indicator(y)), indicator),
    "fractions": lambda y, random: (y + 0.5, None),
    "gaps": lambda y, random: (pd.Series(y, dtype="Int64").mask(y == 0), None),
    "None inside": lambda y, random: (np.where(y == 0, None, y.astype(object)), None),
}
COUNTS = [
    name for name in LABELS if "indicator" not in name and name not in ("strings", "strings as objects", "category")
]
TARGETS = {  # of a regression, beside these
    **{name: LABELS[name] for name in COUNTS},
    "objects": labels(lambda y, random: y.astype(object)),
    "numbers": lambda y, random: two_of(lambda y: np.sin(y + 1.0), y),
    "float16": lambda y, random: two_of(lambda y: (y + 0.5).astype(np.float16), y),
    "two columns": lambda y, random: two_of(lambda y: np.asfortranarray(np.c_[y, -y]) * 1.5, y),
    "large": lambda y, random: two_of(lambda y: y * 1e9, y),
    "tiny": lambda y, random: two_of(lambda y: y * 1e-310, y),
    "fractions": lambda y, random: two_of(lambda y: y + 0.5, y),
    "fractions, swapped": lambda y, random: two_of(lambda y: swapped(y + 0.5, random), y),
    "bytes": lambda y, random: (LETTERS[y].astype(bytes), None),
    "strings": lambda y, random: (LETTERS[y], None),
}
NO_TARGETS = {
    "None": lambda y, random: (None, None),
    "NaN": lambda y, random: (np.where(y == y.max(initial=0), np.nan, y), None),
    "inf": lambda y, random: (np.where(y == y.max(initial=0), -np.inf, y), None),
    "too short": lambda y, random: (y[1:], None),
    "too long": lambda y, random: (np.append(y, y), None),
    "three dimensions": lambda y, random: (np.zeros((len(y), 2, 2)), None),
    "a number": lambda y, random: (1, None),
    "complex": lambda y, random: (y + 1j, None),
    "dates": lambda y, random: (y.astype("M8[s]"), None),
    "lists": lambda y, random: ([[1]] + [[1, 2]] * (len(y) - 1), None),
    "sparse numbers": lambda y, random: (scipy.sparse.csr_array(np.c_[y + 1.5, y]), None),
}


def two_of(make, y):
    y = make(y)
    return y, np.array(y, np.float64, order="C")


WEIGHTS = {
    "ones": labels(lambda w, random: np.ones(len(w), np.int8), lambda w: np.ones(len(w))),
    "list": labels(lambda w, random: w.tolist()),
    "swapped": labels(swapped),
    "spread": labels(lambda w, random: np.repeat(w, 2)[::2]),
    "read-only": labels(frozen),
    "float32": labels(lambda w, random: w.astype(np.float32), lambda w: w.astype(np.float32).astype(np.float64)),
    "series": labels(lambda w, random: pd.Series(w)),
    "some zero": lambda w, random: two_of(lambda w: np.where(np.arange(len(w)) % 2, 0.0, w), w),
    "huge": lambda w, random: two_of(lambda w: w * 1e30, w),
    "tiny": lambda w, random: two_of(lambda w: w * 1e-30, w),
    "a number": labels(lambda w, random: 2.0, lambda w: np.full(len(w), 2.0)),
    "negative": lambda w, random: (-w, None),
    "zero": lambda w, random: (0 * w, None),
    "NaN": lambda w, random: (w * np.nan, None),
    "too short": lambda w, random: (w[1:], None),
    "columns": lambda w, random: (np.c_[w, w], None),
    "strings": lambda w, random: (["a"] * len(w), None),
}
REFUSED = ("negative", "zero", "NaN", "too short", "columns", "strings")
ONLY_OURS = ("negative", "zero", "huge", "tiny")  # that are refused, or with the penalty diverge
