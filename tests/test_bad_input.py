"""Bad input: the right error before anything is computed, and a fitted model as it was."""

import copy
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.neural_network
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning

import fastmlp
from fastmlp.training import device

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, y = load_iris(return_X_y=True)
NAN, INF = np.where(X > 7, np.nan, X), np.where(X > 7, np.inf, X)
NAMES = ["MLPClassifier", "MLPRegressor"]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def ours(name, **settings):
    return getattr(fastmlp, name)(**{"max_iter": 3, "random_state": 0, "hidden_layer_sizes": (5, 4), **settings})


def error_of(estimator, method, *arguments, **keywords):
    """Return the type and message of what a call raises."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy's, on the way to theirs
        with pytest.raises(Exception) as caught:  # noqa: PT011  compared by the caller
            getattr(estimator, method)(*arguments, **keywords)
    return type(caught.value), str(caught.value)


def deep_copy(estimator):
    """Return a copy of all attributes: `copy.deepcopy` leaves out the optimizer's state."""
    other = object.__new__(type(estimator))
    vars(other).update(copy.deepcopy(vars(estimator)))
    return other


def assert_unchanged(estimator, before):
    """Compare all attributes with those of a deep copy, bit for bit."""
    assert vars(estimator).keys() == vars(before).keys()
    for name in vars(before):
        compare(getattr(estimator, name), getattr(before, name), name)


def compare(value, before, name):
    assert type(value) is type(before), name
    if isinstance(value, np.ndarray):
        assert value.dtype == before.dtype
        np.testing.assert_array_equal(value, before, err_msg=name)
    elif isinstance(value, list | tuple):
        assert len(value) == len(before), name
        for one, other in zip(value, before, strict=True):
            compare(one, other, name)
    elif isinstance(value, np.random.RandomState):
        assert str(value.get_state()) == str(before.get_state())
    elif hasattr(value, "__dict__") and not isinstance(value, type):
        for key in vars(before):
            compare(getattr(value, key), getattr(before, key), f"{name}.{key}")
    else:
        np.testing.assert_equal(value, before, err_msg=name)


def raises_and_keeps(name, method, *arguments, match, error=ValueError, settings=None, changed=None, **keywords):
    """Check the error of a new estimator and of a fitted one, which must stay what it was."""
    settings = settings or {}
    with pytest.raises(error, match=match):
        getattr(ours(name, **settings, **(changed or {})), method)(*arguments, **keywords)
    fitted_raises_and_keeps(
        name, method, *arguments, match=match, error=error, settings=settings, changed=changed, **keywords
    )


def fitted_raises_and_keeps(name, method, *arguments, match, error=ValueError, settings=None, changed=None, **keywords):
    fitted = ours(name, **(settings or {})).fit(X, y)
    original, predicted = fitted.get_params(), fitted.predict(X)
    before = deep_copy(fitted.set_params(**(changed or {})))
    with pytest.raises(error, match=match):
        getattr(fitted, method)(*arguments, **keywords)
    assert_unchanged(fitted, before)
    np.testing.assert_array_equal(fitted.set_params(**original).predict(X), predicted)


# What scikit-learn raises: the same type and words.
BAD_DATA = {
    "NaN in X": (NAN, y),
    "infinity in X": (INF, y),
    "NaN in sparse X": (scipy.sparse.csr_matrix(NAN), y),
    "NaN in y": (X, np.where(X[:, 0] > 7, np.nan, y)),
    "infinity in y": (X, np.where(X[:, 0] > 7, np.inf, y)),
    "one dimension": (X[:, 0], y),
    "three dimensions": (X[:, :, np.newaxis], y),
    "no rows": (X[:0], y[:0]),
    "no features": (X[:, :0], y),
    "too few y": (X, y[:-1]),
    "no y": (X, None),
    "three dimensions of y": (X, np.zeros((len(X), 2, 2))),
    "complex X": (X * 1j, y),
    "strings as X": (np.full(X.shape, "a"), y),
    "objects as X": (np.full(X.shape, object()), y),
    "a number as X": (3.0, y),
    "a text as X": ("data.csv", y),
    "ragged X": ([[1.0, 2.0], [3.0]], [0, 1]),
}


@pytest.mark.parametrize("case", BAD_DATA)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_data_raise_as_theirs(name, case, method):
    data = BAD_DATA[case]
    keywords = {"classes": [0, 1, 2]} if method == "partial_fit" and name == "MLPClassifier" else {}
    error, message = error_of(getattr(sklearn.neural_network, name)(), method, *data, **keywords)
    new = ours(name)
    found = error_of(new, method, *data, **keywords)
    assert found[0] is error
    if not keywords:  # in its first partial_fit, theirs looks at y before it knows what to call it
        assert found[1] == message
    assert not hasattr(new, "n_features_in_")
    fitted = ours(name).fit(X, y)
    before = deep_copy(fitted)
    assert error_of(fitted, method, *data, **keywords)[0] is error
    assert_unchanged(fitted, before)


@pytest.mark.parametrize("case", [case for case, data in BAD_DATA.items() if data[0] is not X])
def test_bad_data_in_prediction_raise_as_theirs(name, case):
    data = BAD_DATA[case][0]
    original = getattr(sklearn.neural_network, name)(max_iter=3, random_state=0).fit(X, y)
    assert error_of(ours(name).fit(X, y), "predict", data) == error_of(original, "predict", data)


@pytest.mark.parametrize(
    "row", [[[np.nan, 1, 2, 3]], [[np.inf, 1, 2, 3]], [[1.0, 2, 3]], [[1.0] * 5], [1.0] * 4], ids=str
)
def test_bad_single_row_raises_as_theirs(name, row):
    """The short way of one row must not let anything pass."""
    original = getattr(sklearn.neural_network, name)(max_iter=3, random_state=0).fit(X, y)
    assert error_of(ours(name).fit(X, y), "predict", np.array(row)) == error_of(original, "predict", np.array(row))


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "newton"},
        {"activation": "relu6"},
        {"learning_rate": "linear"},
        {"alpha": -1.0},
        {"batch_size": 0},
        {"batch_size": "all"},
        {"max_iter": 0},
        {"max_iter": 2.5},
        {"learning_rate_init": 0.0},
        {"momentum": 1.5},
        {"beta_1": 1.0},
        {"validation_fraction": 1.0},
        {"n_iter_no_change": 0.5},
        {"tol": -1},
        {"random_state": "seed"},
        {"shuffle": "yes"},
        {"hidden_layer_sizes": 0},
        {"hidden_layer_sizes": "100"},
        {"hidden_layer_sizes": (5, 0)},
        {"hidden_layer_sizes": (5, -3)},
    ],
    ids=str,
)
def test_bad_parameters_raise_as_theirs(name, settings):
    error, message = error_of(getattr(sklearn.neural_network, name)(**settings), "fit", X, y)
    new = error_of(ours(name, **settings), "fit", X, y)
    assert new[0] is error
    if set(settings) <= {"solver", "activation", "learning_rate", "batch_size", "shuffle"}:  # more is allowed here
        assert new[1].split(" must be ")[0] == message.split(" must be ")[0]
        assert new[1].split(" Got ")[1] == message.split(" Got ")[1]
    else:
        assert sorted(new[1]) == sorted(message)  # the order of the names allowed is that of a set
    fitted = ours(name).fit(X, y).set_params(**settings)
    before = deep_copy(fitted)
    for method in ("fit", "partial_fit"):
        if hasattr(fitted, method):
            assert error_of(fitted, method, X, y)[0] in (error, TypeError)
            assert_unchanged(fitted, before)


def test_partial_fit_checks_parameters_set_after_the_fit(name):
    fitted_raises_and_keeps(name, "partial_fit", X, y, changed={"momentum": 2.0}, match="'momentum' parameter")


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"n_threads": 0}, "The 'n_threads' parameter of .* must be an int in the range .* Got 0 instead"),
        ({"n_threads": 1.5}, "The 'n_threads' parameter"),
        ({"dtype": "float16"}, "The 'dtype' parameter of .* must be a str among .* Got 'float16' instead"),
        ({"dtype": np.float32}, "The 'dtype' parameter"),
        ({"early_stopping": True, "validation_fraction": 0.001}, "The validation set is too small"),
    ],
    ids=str,
)
def test_bad_parameters_of_our_own(name, settings, match):
    raises_and_keeps(name, "fit", X, y, changed=settings, match=match)


@pytest.mark.parametrize("sizes", [(10.5,), ["a"], [(3, 4), (5, 6)], True], ids=str)
def test_hidden_layer_sizes_that_are_no_integers(name, sizes):
    raises_and_keeps(
        name,
        "fit",
        X,
        y,
        changed={"hidden_layer_sizes": sizes},
        error=TypeError,
        match="hidden_layer_sizes must be an integer",
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.where(y == 1, -1.0, 1.0), r"Negative values in data passed to `sample_weight`.* got -1.0"),
        (np.zeros(len(y)), "Sample weights must contain at least one non-zero number"),
        (0.0, "Sample weights must contain at least one non-zero number"),
        (np.full(len(y), np.nan), "Input sample_weight contains NaN"),
        (np.full(len(y), np.inf), "Input sample_weight contains infinity"),
        (np.nan, "sample_weight contains NaN"),
        (np.ones(3), r"sample_weight.shape == \(3,\), expected \(150,\)"),
        (np.ones((len(y), 2)), "Sample weights must be 1D array or scalar"),
        (["a"] * len(y), "could not convert string to float"),
    ],
)
def test_bad_weights(name, method, solver, weight, match):
    if method == "partial_fit" and solver == "lbfgs":
        return
    keywords = {"classes": [0, 1, 2]} if method == "partial_fit" and name == "MLPClassifier" else {}
    raises_and_keeps(name, method, X, y, sample_weight=weight, settings={"solver": solver}, match=match, **keywords)


def test_weights_that_are_zero_in_float32(name):
    tiny = np.full(len(y), 1e-300)
    ours(name).fit(X, y, sample_weight=tiny * 1e300)
    raises_and_keeps(
        name, "fit", X, y, sample_weight=tiny, changed={"dtype": "float32"}, match="at least one non-zero number"
    )


def test_held_out_rows_with_only_zero_weights(name):
    weight = np.zeros(len(y))
    weight[0] = 1.0
    raises_and_keeps(
        name, "fit", X, y, sample_weight=weight, changed={"early_stopping": True}, match="have only zero sample weights"
    )


def test_values_too_large_for_float32(name):
    large = X.copy()
    large[3, 1] = 1e300
    raises_and_keeps(
        name, "fit", large, y, changed={"dtype": "float32"}, match="Input X contains infinity or a value too large"
    )
    fitted_raises_and_keeps(
        name, "predict", large, settings={"dtype": "float32"}, match="Input X contains infinity or a value too large"
    )


def test_targets_too_large_for_float32():
    raises_and_keeps(
        "MLPRegressor", "fit", X, y * 1e300, changed={"dtype": "float32"}, match="y contains .* too large for"
    )


def test_negative_counts():
    raises_and_keeps(
        "MLPRegressor",
        "fit",
        X,
        y - 1,
        changed={"loss": "poisson"},
        match=r"loss='poisson' needs y >= 0, got a y of -1",
    )


def test_sparse_numbers_as_y():
    raises_and_keeps(
        "MLPRegressor", "fit", X, scipy.sparse.csr_matrix(np.c_[y, y]), error=TypeError, match="dense data is required"
    )


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize(
    ("labels", "match"),
    [(X[:, 0], "Unknown label type: continuous"), (np.c_[X[:, 0], y], "Unknown label type: continuous-multioutput")],
    ids=["numbers", "several columns"],
)
def test_labels_that_are_none(method, labels, match):
    keywords = {"classes": [0, 1, 2]} if method == "partial_fit" else {}
    raises_and_keeps("MLPClassifier", method, X, labels, match=match, **keywords)


@pytest.mark.parametrize("settings", [{"warm_start": True}, {}], ids=["fit", "partial_fit"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"hidden_layer_sizes": (5, 6)},
            r"hidden_layer_sizes=\(5, 6\) does not fit .* need hidden_layer_sizes=\(5, 4\)",
        ),
        ({"hidden_layer_sizes": 5}, r"hidden_layer_sizes=5 does not fit .* need hidden_layer_sizes=\(5, 4\)"),
    ],
    ids=str,
)
def test_other_layers_in_a_further_fit(name, settings, solver, change, match):
    if not settings and solver == "lbfgs":
        return
    method = "fit" if settings else "partial_fit"
    fitted_raises_and_keeps(name, method, X, y, settings={**settings, "solver": solver}, changed=change, match=match)


@pytest.mark.parametrize("settings", [{"warm_start": True}, {}], ids=["fit", "partial_fit"])
def test_other_data_in_a_further_fit(name, settings):
    method = "fit" if settings else "partial_fit"
    fitted_raises_and_keeps(
        name,
        method,
        X[:, :3],
        y,
        settings=settings,
        match="X has 3 features, but MLP.* is expecting 4 features as input",
    )
    if name == "MLPRegressor":
        fitted_raises_and_keeps(
            name, method, X, np.c_[y, y], settings=settings, match="y has 2 outputs, .* need y with 1"
        )
    else:
        match = "same classes as in the previous call" if settings else "`y` has classes not in `self.classes_`"
        fitted_raises_and_keeps(name, method, X, y + 1, settings=settings, match=match)
        indicator = np.eye(3, dtype=int)[y]
        fitted_raises_and_keeps(name, method, X, indicator, settings=settings, match="not fitted with multilabel input")


def test_partial_fit_and_its_classes():
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        ours("MLPClassifier").partial_fit(X, y)
    fitted_raises_and_keeps(
        "MLPClassifier", "partial_fit", X, y, classes=[0, 1], match="is not the same as on last call to partial_fit"
    )
    new = ours("MLPClassifier")
    with pytest.raises(ValueError, match="classes not in"):
        new.partial_fit(X, y, classes=[0, 1])
    assert new.partial_fit(X, y, classes=[0, 1, 2]).classes_.tolist() == [0, 1, 2]  # the failed call left no classes


def test_no_partial_fit_with_lbfgs(name):
    assert not hasattr(ours(name, solver="lbfgs"), "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'") as caught:
        ours(name, solver="lbfgs").partial_fit(X, y)
    assert "only available for stochastic optimizers" in str(caught.value.__cause__)


def test_batch_larger_than_the_data_is_clipped_with_a_warning(name):
    with pytest.warns(
        UserWarning, match="Got `batch_size` less than 1 or larger than sample size. It is going to be clipped"
    ):
        clipped = ours(name, batch_size=1000).fit(X, y)
    np.testing.assert_array_equal(clipped.coefs_[0], ours(name, batch_size=150).fit(X, y).coefs_[0])


def test_column_of_targets_warns(name):
    with pytest.warns(DataConversionWarning, match="A column-vector y was passed"):
        fitted = ours(name).fit(X, y[:, np.newaxis])
    assert fitted.predict(X).shape == y.shape


def test_one_class():
    fitted = ours("MLPClassifier").fit(X, np.full(len(X), "only"))
    assert set(fitted.predict(X)) == {"only"}


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_divergence_stops_in_its_epoch(name, solver):
    settings = {"solver": solver, "max_iter": 500, "activation": "identity", "momentum": 0.9}
    large = {"learning_rate_init": 1e200 if solver == "adam" else 1e60}
    match = "Solver produced non-finite parameter weights. The input data may .* in epoch [0-9]+. Try a smaller"
    raises_and_keeps(name, "fit", X, y, settings=settings, changed=large, match=match)


def test_divergence_with_early_stopping_keeps_the_best_epoch():
    settings = {
        "solver": "sgd",
        "activation": "identity",
        "learning_rate_init": 1.0,
        "early_stopping": True,
        "max_iter": 200,
    }
    with pytest.warns(ConvergenceWarning, match="Training stopped in epoch [0-9]+; the weights of the best") as caught:
        fitted = ours("MLPRegressor", **settings).fit(X, y)
    assert f"epoch {fitted.n_iter_};" in str(caught[-1].message)
    assert fitted.n_iter_ == len(fitted.validation_scores_) < 200
    assert np.isnan(fitted.validation_scores_[-1])
    best = int(np.nanargmax(fitted.validation_scores_)) + 1
    again = ours("MLPRegressor", **{**settings, "max_iter": best}).fit(X, y)
    np.testing.assert_array_equal(fitted.coefs_[0], again.coefs_[0])


def test_divergence_with_early_stopping_in_the_first_epoch():
    settings = {"solver": "sgd", "learning_rate_init": 1e300, "early_stopping": True}
    raises_and_keeps(
        "MLPRegressor", "fit", X * 1e10, y, changed=settings, match="in epoch 1, before any finite validation score"
    )


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_an_engine_that_fails(name, error, method, monkeypatch):
    fitted = ours(name).fit(X, y)
    before = deep_copy(fitted)

    def fail(*arguments, **more):
        raise error

    monkeypatch.setattr(device, "make_engine", fail)
    with pytest.raises(error):
        getattr(fitted, method)(X[:, :2] if method == "fit" else X, y)
    assert_unchanged(fitted, before)


def test_warnings_as_errors_leave_the_model(name):
    fitted = ours(name).fit(X, y)
    before = deep_copy(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning):
            fitted.fit(X + 1, y)
    assert_unchanged(fitted, before)


@pytest.mark.parametrize("make", [np.array, scipy.sparse.csr_matrix, scipy.sparse.csc_array, np.asfortranarray])
def test_data_are_not_written_to(name, make):
    for dtype in (np.float32, np.float64):
        passed, targets, weight = make(X.astype(dtype)), y.copy(), np.linspace(1, 2, len(y))
        arrays = [array for array in (passed, targets, weight) if isinstance(array, np.ndarray)]
        if scipy.sparse.issparse(passed):
            arrays += [passed.data, passed.indices, passed.indptr]
        copies = [array.copy() for array in arrays]
        for array in arrays:
            array.flags.writeable = False
        for solver in ("adam", "lbfgs"):
            ours(name, solver=solver).fit(passed, targets, sample_weight=weight).predict(passed)
        for array, before in zip(arrays, copies, strict=True):
            np.testing.assert_array_equal(array, before)
