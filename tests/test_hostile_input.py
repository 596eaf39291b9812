"""Hostile input: a table in any disguise gives what the plain table gives, or an error, and is never written to.

A case is a table of numbers and the same table in a disguise: other strides, byte order, types, a list, a data frame,
sparse. What `fit`, `partial_fit` and predictions make of it must be, bit for bit, what they make of the plain
C-contiguous copy of float64 (or float32, where X is of that); to rounding where a sparse matrix has its entries in
another order or twice. What scikit-learn's own MLP refuses is refused, and what it takes is taken, but for what the
README's section "The same as scikit-learn, and what differs" says.

FASTMLP_TRUST=full runs 10,000 cases of them, in other processes others; otherwise always the same few.
"""

import os
import warnings

import numpy as np
import pandas as pd
import scipy.sparse
import sklearn.neural_network
from disguises import (
    LABELS,
    LETTERS,
    NO_TARGETS,
    NUMBERS,
    ONLY_OURS,
    OTHER_ORDER,
    REFUSED,
    TABLES,
    TARGETS,
    WEIGHTS,
    numbers,
)
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from sklearn.utils.validation import has_fit_parameter

import fastmlp

FULL = os.environ.get("FASTMLP_TRUST") == "full"
CASES = settings(
    max_examples=10_000 if FULL else 200,
    derandomize=not FULL,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
WEIGHTED = has_fit_parameter(sklearn.neural_network.MLPClassifier(), "sample_weight")  # from scikit-learn 1.7 on


# What is done with them


def kept(values):
    """Return what can be compared to see that values were not written to: bytes of arrays, with all that they view."""
    if isinstance(values, np.ma.MaskedArray):
        return kept(np.asarray(values)), kept(np.asarray(values.mask))
    if isinstance(values, np.ndarray):
        content = repr(values.tolist()) if values.dtype.hasobject else values.tobytes()
        below = kept(values.base) if isinstance(values.base, np.ndarray) else None
        return values.dtype.str, values.shape, values.strides, values.flags.writeable, content, below
    if scipy.sparse.issparse(values):
        return values.shape, {name: kept(part) for name, part in vars(values).items() if isinstance(part, np.ndarray)}
    if isinstance(values, pd.DataFrame):
        return [kept(values[name]) for name in values], list(values.columns)
    if isinstance(values, pd.Series):
        return values.dtype, repr(values.tolist()), repr(values.index.tolist())
    return repr(values)


def outcome(call):
    """Return what a call gives, or the error that it raises."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", RuntimeWarning)
            return call()
    except Exception as error:
        return error


def trained(model, method, X, y, weight, classes):
    """Return all that a model has learnt, and predicts for the same rows."""
    more = {} if weight is None else {"sample_weight": weight}
    if method == "partial_fit" and hasattr(model, "predict_proba"):
        more["classes"] = classes
    for _ in range(2 if method == "partial_fit" else 1):
        getattr(model, method)(X, y, **more)
    learnt = {f"coefs_[{i}]": coef for i, coef in enumerate(model.coefs_)}
    learnt |= {f"intercepts_[{i}]": bias for i, bias in enumerate(model.intercepts_)}
    return {"n_iter_": model.n_iter_, "loss_": model.loss_, **learnt, **predicted(model, X)}


def predicted(model, X):
    output = 0 if model.n_outputs_ > 1 else None
    hidden = {"transform": model.transform(X)} if len(model.coefs_) > 1 else {}
    if not hasattr(model, "predict_proba"):
        return {**hidden, "predict": model.predict(X), "input_gradient": model.input_gradient(X, output)}
    labels = model.predict(X)
    if output is None or model.out_activation_ == "softmax":
        labels, output = np.searchsorted(model.classes_, labels), None  # they are of the kind of y
    return {
        **hidden,
        "predict": labels.toarray() if scipy.sparse.issparse(labels) else labels,
        "predict_proba": model.predict_proba(X),
        "predict_log_proba": model.predict_log_proba(X),
        "input_gradient": model.input_gradient(X, output),
    }


def compare(found, expected, exact):
    """Compare the outcomes of two calls, bit for bit if they are to be exact."""
    if isinstance(found, Exception) or isinstance(expected, Exception):
        assert type(found) is type(expected), (found, expected)
        return
    assert found.keys() == expected.keys()
    single = any(np.asarray(value).dtype == np.float32 for value in found.values())
    for name in found:
        one, other = np.ascontiguousarray(found[name]), np.ascontiguousarray(expected[name])
        assert (one.dtype, one.shape) == (other.dtype, other.shape), name
        if exact:
            assert one.tobytes() == other.tobytes(), (name, one, other)
        elif name not in ("predict", "input_gradient"):  # rounding may choose another class, or side of a kink
            tolerance = 1e-3 if single else 1e-8
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance, err_msg=name)


def as_plain(X, plain):
    """Return the plain table in the place of X, which for a sparse matrix is the sparse one."""
    return scipy.sparse.csr_array(plain) if scipy.sparse.issparse(X) else plain


def check_refusal(found, theirs):
    """Check that there is an error where scikit-learn has one, of a kind that it may be."""
    assert isinstance(found, Exception) == isinstance(theirs, Exception), (found, theirs)
    if isinstance(found, Exception):
        assert isinstance(found, ValueError | TypeError | type(theirs)), found


some = st.sampled_from
tables = {
    "table": some(list(TABLES)),
    "kind": some(NUMBERS),
    "dtype_of_table": some(["f8", "f8", "f4"]),
    "seed": st.integers(0, 2**32 - 1),
    "dtype": some([None, None, None, "float32", "float64"]),
    "missing": some([None, None, None, "zero", "indicator"]),
    "n_rows": some([9, 12, 5, 3, 2, 1, 0]),
}


@CASES
@given(
    name=some(["MLPClassifier", "MLPRegressor"]),
    method=some(["fit", "partial_fit"]),
    solver=some(["adam", "sgd", "lbfgs"]),
    sizes=some([(3,), (4, 2), ()]),
    activation=some(["relu", "tanh", "logistic", "identity"]),
    n_columns=some([3, 4, 1, 17, 0]),
    target=st.one_of(st.integers(0, 1000), st.integers(-1, 1000)),
    weighted=some([None, None, *WEIGHTS]),
    **tables,
)
def test_training(
    name,
    method,
    solver,
    sizes,
    activation,
    n_columns,
    target,
    weighted,
    table,
    kind,
    dtype_of_table,
    seed,
    dtype,
    missing,
    n_rows,
):
    random = np.random.default_rng(seed)
    X, plain = TABLES[table](numbers(kind, n_rows, n_columns, dtype_of_table, random), random)
    known = LABELS if name == "MLPClassifier" else TARGETS
    known = NO_TARGETS if target % 8 == 0 else known
    target = list(known)[target % len(known)]
    base = random.permutation(np.arange(n_rows) % random.integers(1, 4))
    y, plain_y = known[target](base, random)
    weight, plain_weight = (None, None) if weighted is None else WEIGHTS[weighted](random.random(n_rows) + 0.5, random)
    note(f"X = {X!r}\ny = {y!r} ({target})\nsample_weight = {weight!r}")
    if solver == "lbfgs":
        method = "fit"
    present = np.unique(base)
    if "indicator" in target:
        classes, plain_classes = np.arange(3), np.arange(3)
    elif plain_y is not None and name == "MLPClassifier":
        plain_classes = np.unique(plain_y)
        classes = LETTERS[present] if target in ("strings", "strings as objects", "category") else plain_classes
    else:
        classes, plain_classes = [0, 1, 2], None
    parameters = {
        "hidden_layer_sizes": sizes,
        "activation": activation,
        "solver": solver,
        "max_iter": 2,
        "random_state": 0,
    }

    def ours():
        return getattr(fastmlp, name)(**parameters, dtype=dtype, missing=missing)

    before = kept(X), kept(y), kept(weight)
    found = outcome(lambda: trained(ours(), method, X, y, weight, classes))
    assert (kept(X), kept(y), kept(weight)) == before
    if weighted in REFUSED:
        assert isinstance(found, ValueError | TypeError)
    if table == "dates" or (name == "MLPRegressor" and target in ("None inside", "gaps", "dates")):
        assert isinstance(found, ValueError | TypeError)
    exact = table not in OTHER_ORDER
    if plain is not None and plain_y is not None and (weighted is None or plain_weight is not None):
        arguments = (as_plain(X, plain), plain_y, plain_weight, plain_classes)
        if exact or (kind != "huge" and weighted not in ONLY_OURS):
            compare(found, outcome(lambda: trained(ours(), method, *arguments)), exact)
    # What is huge may diverge, where theirs goes on; theirs takes None for NaN and learns from it, or begins with dates
    # and cannot predict.
    known_better = name == "MLPRegressor" and target in ("None inside", "gaps", "sparse numbers")
    known_better = known_better or table == "dates" or (table == "strings" and dtype is not None)
    if missing is None and weighted not in ONLY_OURS and kind != "huge" and not known_better:
        theirs = getattr(sklearn.neural_network, name)(**parameters)
        more = {} if weight is None else {"sample_weight": weight}
        if method == "partial_fit" and name == "MLPClassifier":
            more["classes"] = classes
        if weight is None or WEIGHTED:
            check_refusal(found, outcome(lambda: getattr(theirs, method)(X, y, **more).predict(X)))


FITTED = {}


def fitted(name, dtype, missing, dtype_of_table):
    """Return an estimator of each kind, fitted once."""
    key = (name, dtype, missing, dtype_of_table)
    if key not in FITTED:
        X = np.random.default_rng(0).normal(size=(20, 4)).astype(dtype_of_table)
        module = sklearn.neural_network if missing == "theirs" else fastmlp
        own = {} if missing == "theirs" else {"dtype": dtype, "missing": missing}
        model = getattr(module, name)(hidden_layer_sizes=(4, 3), max_iter=3, random_state=0, **own)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            FITTED[key] = model.fit(np.where(X > 1.5, np.nan, X) if own.get("missing") else X, np.arange(20) % 3)
    return FITTED[key]


@CASES
@given(name=some(["MLPClassifier", "MLPRegressor"]), n_columns=some([4, 4, 4, 4, 3, 5, 0]), **tables)
def test_prediction(name, n_columns, table, kind, dtype_of_table, seed, dtype, missing, n_rows):
    random = np.random.default_rng(seed)
    X, plain = TABLES[table](numbers(kind, n_rows, n_columns, dtype_of_table, random), random)
    note(f"X = {X!r}")
    model = fitted(name, dtype, missing, dtype_of_table)
    before = kept(X)
    found = outcome(lambda: predicted(model, X))
    assert kept(X) == before
    if plain is not None:
        compare(found, outcome(lambda: predicted(model, as_plain(X, plain))), table not in OTHER_ORDER)
    # theirs computes in long double, and has no parameter that asks for a type
    own = (kind == "huge" or table == "strings") and dtype is not None
    if missing is None and not own and table not in ("dates", "long double beyond float64"):
        theirs = fitted(name, None, "theirs", dtype_of_table)
        check_refusal(found, outcome(lambda: theirs.predict(X)))
