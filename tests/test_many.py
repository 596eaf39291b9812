"""Many fits at once: each is what its own fit is."""

import pickle
import threading
import traceback

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, fit_many
from fastmlp.cpu import threads
from fastmlp.estimators.shared import SharedRows
from fastmlp.workers import Workers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((150, 6))
labels = np.array(["a", "b", "c"])[np.argmax(X[:, :3], axis=1)]
numbers = X[:, 0] * X[:, 1]
TRAIN = [np.arange(100), np.arange(50, 150), RNG.permutation(150)[:80], RNG.integers(150, size=120)]

MIX = [
    MLPClassifier((7,), max_iter=8, random_state=0),
    MLPClassifier((12, 5), solver="sgd", max_iter=12, learning_rate="adaptive", batch_size=20, random_state=1),
    MLPClassifier((30,), solver="lbfgs", max_iter=20, random_state=2),
    MLPClassifier((6,), early_stopping=True, max_iter=10, random_state=3),
    MLPClassifier((6,), activation="gelu", dropout=0.2, max_iter=6, random_state=4),
    MLPClassifier((5,), augment={"mixup": 0.3, "jitter": 0.1}, max_iter=6, random_state=5),
    MLPClassifier((5,), dtype="float32", max_iter=6, class_weight="balanced", random_state=6),
    MLPClassifier((5,), missing="indicator", max_iter=6, random_state=7),
    MLPClassifier((5,), label_smoothing=0.1, max_iter=6, random_state=8, n_threads=2),
]


def assert_same(model, expected):
    """All that is learnt is the same, but times and what they belong to."""
    assert {*vars(model)} == {*vars(expected)}
    for one, other in zip(model.coefs_ + model.intercepts_, expected.coefs_ + expected.intercepts_, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    for name in ("loss_", "n_iter_", "t_", "n_features_in_", "n_outputs_", "out_activation_", "n_layers_"):
        assert getattr(model, name) == getattr(expected, name)
    for name in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
        ours, theirs = getattr(model, name, None), getattr(expected, name, None)
        np.testing.assert_array_equal(np.array(ours, float), np.array(theirs, float))


def tables():
    with_nan = X.copy()
    with_nan[149, 2] = np.nan
    return {
        "array": X,
        "float32": X.astype("float32"),
        "integers": np.round(X * 10).astype(int),
        "fortran": np.asfortranarray(X),
        "read-only": np.frombuffer(X.tobytes()).reshape(X.shape),
        "list": X.tolist(),
        "frame": pd.DataFrame(X, columns=list("abcdef")),
        "csr": sparse.csr_array(np.where(X > 0, X, 0)),
        "csc": sparse.csc_matrix(np.where(X > 0, X, 0)),
    }


@pytest.mark.parametrize("name", list(tables()))
@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_each_is_its_own_fit(name, n_threads):
    table = tables()[name]
    models = [clone(one) for one in MIX if not (one.augment and name in ("csr", "csc"))]
    index = [TRAIN[place % len(TRAIN)] for place in range(len(models))]
    index[0] = None
    assert fit_many(models, table, labels, index, n_threads) == [None] * len(models)
    for model, own in zip(models, index, strict=True):
        rows = np.arange(150) if own is None else own
        if hasattr(table, "iloc"):
            part = table.iloc[rows]
        else:
            part = table.tocsr()[rows] if sparse.issparse(table) else np.asarray(table)[rows]
        expected = clone(model).fit(part, labels[rows])
        assert_same(model, expected)
        if name == "frame":
            np.testing.assert_array_equal(model.feature_names_in_, list("abcdef"))
        np.testing.assert_array_equal(model.predict(table), expected.predict(table))


def test_one_index_for_all_weights_and_several_outputs():
    weight = RNG.uniform(0.5, 2, 150)
    targets = np.column_stack([numbers, X[:, 2]])
    models = [
        MLPRegressor(hidden_layer_sizes=(n,), max_iter=5, random_state=n, early_stopping=n > 4) for n in (3, 4, 5)
    ]
    assert fit_many(models, X, targets, TRAIN[2].tolist(), sample_weight=weight) == [None] * 3
    for model in models:
        own = TRAIN[2]
        assert_same(model, clone(model).fit(X[own], targets[own], weight[own]))


def test_rows_are_not_copied(monkeypatch):
    seen = []
    load = fastmlp.cpu.Engine.load

    def noted(engine, rows, *arguments, **named):
        seen.append(rows)
        return load(engine, rows, *arguments, **named)

    monkeypatch.setattr(fastmlp.cpu.Engine, "load", noted)
    fit_many([clone(MIX[place]) for place in (0, 1, 3)], X, labels, TRAIN[:3])
    assert all(rows is X for rows in seen)
    seen.clear()
    whole = np.round(X * 10).astype(int)
    fit_many([clone(MIX[place]) for place in (0, 1, 3)], whole, labels, TRAIN[:3])
    assert all(rows is seen[0] for rows in seen)
    assert seen[0].dtype == np.float64


def test_what_is_wrong_in_rows_of_others_is_no_error():
    table = X.copy()
    table[149, 2] = np.nan
    models = [clone(MIX[0]), clone(MIX[0])]
    errors = fit_many(models, table, labels, [TRAIN[0], TRAIN[1]])
    assert errors[0] is None
    assert isinstance(errors[1], ValueError)
    assert "NaN" in str(errors[1])
    assert_same(models[0], clone(MIX[0]).fit(table[:100], labels[:100]))


def test_one_that_fails_stays_as_it_was_and_stops_no_other():
    fitted = MLPClassifier((4,), max_iter=3, random_state=0).fit(X, labels)
    before = pickle.dumps(fitted)
    fitted.set_params(alpha=-1)
    diverges = MLPClassifier((4,), solver="sgd", learning_rate_init=1e300, max_iter=3, random_state=0)
    models = [MLPClassifier((4,), max_iter=3, random_state=0), fitted, diverges, MLPClassifier((4,), max_iter=3)]
    errors = fit_many(models, X, labels)
    assert [type(error) for error in errors] == [type(None), errors[1].__class__, ValueError, type(None)]
    assert "alpha" in str(errors[1])
    assert "non-finite" in str(errors[2])
    assert pickle.dumps(fitted.set_params(alpha=1e-4)) == before
    assert not hasattr(diverges, "coefs_")
    assert_same(models[0], clone(models[0]).fit(X, labels))


def test_who_keeps_an_error_does_not_keep_what_the_fit_had():
    diverging = MLPRegressor((7,), solver="sgd", learning_rate_init=1e300, max_iter=9)
    (error,) = fit_many([diverging], X, numbers)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    assert len(frames) > 2
    assert not any(frame.f_locals for frame in frames[1:])


def test_one_generator_serves_its_estimators_in_turn():
    expected = [MLPClassifier((4,), max_iter=3, random_state=np.random.RandomState(0)) for _ in range(2)]
    expected[1].random_state = expected[0].random_state
    for one in expected:
        one.fit(X, labels)
    generator = np.random.RandomState(0)
    models = [MLPClassifier((4,), max_iter=3, random_state=generator) for _ in range(2)]
    other = MLPClassifier((40,), max_iter=3, random_state=0)
    assert fit_many([*models, other], X, labels, n_threads=3) == [None] * 3
    for model, one in zip(models, expected, strict=True):
        assert_same(model, one)


def test_warm_starts_go_on():
    models, expected = ([MLPClassifier((4,), max_iter=3, random_state=0, warm_start=True)] for _ in range(2))
    expected = [clone(models[0])]
    for _ in range(2):
        assert fit_many(models, X, labels, TRAIN[0]) == [None]
        expected[0].fit(X[:100], labels[:100])
    assert_same(models[0], expected[0])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([fastmlp.Perceptron()], X, labels), TypeError, "estimators must be instances of .* at 0"),
        (([MIX[0], MIX[0]], X, labels), ValueError, "twice"),
        (([MIX[0]], X, labels, [TRAIN[0], TRAIN[1]]), ValueError, "rows for 2 estimators, and there are 1"),
        (([MIX[0]], X, labels, [-1, 2]), ValueError, "from 0 to 149.*got -1"),
        (([MIX[0]], X, labels, [np.array([0, 150])]), ValueError, "from 0 to 149.*got 150"),
        (([MIX[0]], X, labels, [[0.5, 1.0]]), ValueError, "must be numbers of rows"),
        (([MIX[0]], X, labels, [[]]), ValueError, "one or more"),
        (([MIX[0]], X, labels[:-1]), ValueError, "inconsistent numbers of samples"),
        (([MIX[0]], X, labels, None, 0), ValueError, "n_threads must be an int >= 1 or None, got 0"),
    ],
)
def test_bad_input(arguments, error, message):
    with pytest.raises(error, match=message):
        fit_many(*arguments)
    assert not hasattr(MIX[0], "coefs_")


def test_bad_rows_are_each_estimators_own_error():
    for table in (X[0], np.array([["x"] * 6] * 150, dtype=object)):
        y = labels[:6] if table.ndim == 1 else labels
        (error,) = fit_many([clone(MIX[0])], table, y)
        with pytest.raises(type(error)) as own:
            clone(MIX[0]).fit(table, y)
        assert str(error) == str(own.value)


def test_nothing_to_do():
    assert fit_many([], X, labels) == []


def test_interrupt_ends_the_threads(monkeypatch):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLPClassifier, "fit", interrupted)
    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        fit_many([MLPClassifier() for _ in range(5)], X, labels)
    assert threading.active_count() == before


def test_workers_take_the_lowest_rank_first():
    workers, begun, done = Workers(1, 1), threading.Event(), []
    first = workers.submit(begun.wait, 0)
    futures = [workers.submit(lambda rank=rank: done.append(rank), rank) for rank in (3, 1, 2)]
    begun.set()
    for future in (first, *futures):
        future.result()
    workers.close()
    assert done == [1, 2, 3]


def test_threads_are_shared_out_among_fits():
    """Within a worker an estimator's own n_threads is a bound no more than that of the worker."""
    seen = []
    workers = Workers(2, 5)
    futures = [workers.submit(lambda: seen.append((threads.resolve_threads(None), threads.resolve_threads(8))), 0)]
    for future in futures:
        future.result()
    workers.close()
    most = min(2, threads.resolve_threads(None))
    assert seen == [(most, 2)]
    assert threads.resolve_threads(8) == 8


def test_fits_in_threads_of_the_user_share_the_cores(monkeypatch):
    monkeypatch.setattr(threads, "_threads_of_process", lambda: 4)
    shares = []
    for running in range(1, 6):
        threads.fit_begins()
        shares.append(threads.fair_share(4))
        assert threads._fits == running
    for _ in range(5):
        threads.fit_ends()
    assert shares == [4, 2, 1, 1, 1]
    assert threads.fair_share(4) == 4


def test_shared_rows_are_validated_once_for_all_threads(monkeypatch):
    calls = []
    original = fastmlp.estimators.shared.check_array

    def noted(*arguments, **named):
        calls.append(named["dtype"])
        return original(*arguments, **named)

    monkeypatch.setattr(fastmlp.estimators.shared, "check_array", noted)
    fit_many([clone(one) for one in MIX if one.missing is None], X, labels, TRAIN[0], 3)
    assert len(calls) == 2  # float64 as it is, and float32
    assert SharedRows(X).part(None).shape == X.shape
