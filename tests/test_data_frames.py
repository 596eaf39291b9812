"""Data frames of pandas and polars: the same bits as from NumPy arrays, and scikit-learn's words for what is wrong."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn.neural_network
from sklearn import config_context
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastmlp
from fastmlp.model_selection import GridSearchCV

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NAMES = list("abcd")
rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
numbers = np.arange(60) % 3
words = np.array(["lo", "mid", "hi"])[numbers]
amounts = X[:, 0] * X[:, 1]
weights = rng.uniform(0.5, 2, size=60)
SETTINGS = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}


def pandas_frame(table, names=NAMES):
    return pd.DataFrame(table, columns=names, index=range(100, 100 + len(table)))  # rows have numbers of their own


def pandas_series(values):
    return pd.Series(values, index=range(100, 100 + len(values)))


def polars_frame(table, names=NAMES):
    return pl.DataFrame({name: table[:, i] for i, name in enumerate(names)})


def polars_series(values):
    return pl.Series(values.tolist())


LIBRARIES = {"pandas": (pandas_frame, pandas_series), "polars": (polars_frame, polars_series)}


@pytest.fixture(params=LIBRARIES)
def library(request):
    return LIBRARIES[request.param]


def classifier(**settings):
    return fastmlp.MLPClassifier(**{**SETTINGS, **settings})


def regressor(**settings):
    return fastmlp.MLPRegressor(**{**SETTINGS, **settings})


def assert_same_bits(one, other):
    """Compare all numbers of two fits."""
    for name in ("coefs_", "intercepts_", "loss_curve_", "validation_scores_", "validation_loss_curve_"):
        value, expected = getattr(one, name), getattr(other, name)
        assert (value is None) == (expected is None), name
        for array, wanted in zip(value or (), expected or (), strict=True):
            np.testing.assert_array_equal(array, wanted, err_msg=name, strict=True)
    if hasattr(one, "classes_"):
        np.testing.assert_array_equal(one.classes_, other.classes_)


def assert_same_predictions(model, frame, expected, table):
    for method in ("predict", "predict_proba", "predict_log_proba", "transform", "input_gradient"):
        if hasattr(model, method):
            value, wanted = getattr(model, method)(frame), getattr(expected, method)(table)
            np.testing.assert_array_equal(value, wanted, err_msg=method, strict=True)


@pytest.mark.parametrize("settings", [{}, {"solver": "sgd"}, {"solver": "lbfgs"}, {"shuffle": "blocks"}], ids=str)
def test_classifier(library, settings):
    frame, series = library
    model = classifier(**settings).fit(frame(X), series(words), series(weights))
    expected = classifier(**settings).fit(X, words, weights)
    if "lbfgs" not in settings.values():
        assert_same_bits(model, expected)
    assert list(model.feature_names_in_) == NAMES
    assert_same_predictions(model, frame(X), expected, X)
    score = model.score(frame(X), series(words), series(weights))
    assert score == expected.score(X, words, weights)
    assert 0 < score < 1


def test_regressor(library):
    frame, series = library
    model, expected = regressor().fit(frame(X), series(amounts), series(weights)), regressor().fit(X, amounts, weights)
    assert_same_bits(model, expected)
    assert_same_predictions(model, frame(X), expected, X)
    assert model.score(frame(X), series(amounts), series(weights)) == expected.score(X, amounts, weights)
    several = np.column_stack([amounts, X[:, 2]])
    model = regressor().fit(frame(X), frame(several, ["u", "v"]))
    assert_same_bits(model, regressor().fit(X, several))
    score = regressor().fit(X, several).score(X, several)
    assert model.score(frame(X), frame(several, ["u", "v"])) == pytest.approx(score)  # of columns in other order


def test_validation_rows(library):
    frame, series = library
    part, rows = slice(0, 40), slice(40, 60)
    for settings in ({}, {"early_stopping": True}, {"early_stopping": True, "scoring": ["balanced_accuracy", "loss"]}):
        validation = {"X_val": frame(X)[rows], "y_val": series(words)[rows], "sample_weight_val": series(weights)[rows]}
        model = classifier(**settings).fit(frame(X)[part], series(words)[part], **validation)
        validation = {"X_val": X[rows], "y_val": words[rows], "sample_weight_val": weights[rows]}
        expected = classifier(**settings).fit(X[part], words[part], **validation)
        assert_same_bits(model, expected)
        histories = [{**one.history_, "seconds": None} for one in (model, expected)]
        assert histories[0] == histories[1]
    with pytest.raises(ValueError, match="X_val, y_val: The feature names should match"):
        classifier().fit(frame(X), series(words), X_val=frame(X)[NAMES[::-1]], y_val=series(words))


def test_parts(library):
    frame, series = library
    model, expected = classifier(), classifier()
    for rows in (slice(0, 30), slice(30, 60)):
        model.partial_fit(frame(X)[rows], series(words)[rows], series(weights)[rows], classes=series(words).unique())
        expected.partial_fit(X[rows], words[rows], weights[rows], classes=np.unique(words))
    assert_same_bits(model, expected)
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(frame(X)[NAMES[::-1]], series(words))


def test_names_of_features(library):
    frame, series = library
    model = classifier().fit(frame(X), series(words))
    for method in ("predict", "predict_proba", "transform", "input_gradient"):
        with pytest.raises(ValueError, match="must be in the same order as they were in fit"):
            getattr(model, method)(frame(X)[NAMES[::-1]])
        with pytest.raises(ValueError, match=r"(?s)yet now missing:.* d"):
            getattr(model, method)(frame(X)[NAMES[:3]])
    with pytest.raises(ValueError, match="feature names should match"):
        model.score(frame(X)[NAMES[::-1]], series(words))
    with pytest.warns(UserWarning, match="X does not have valid feature names, but MLPClassifier was fitted with"):
        model.predict(X)
    with pytest.warns(UserWarning, match="X has feature names, but MLPClassifier was fitted without"):
        classifier().fit(X, words).predict(frame(X))


def test_mixed_names_are_an_error():
    with pytest.raises(TypeError, match="Feature names are only supported if all input features have string names"):
        classifier().fit(pandas_frame(X, ["a", 1, "c", 2]), words)
    assert not hasattr(classifier().fit(pandas_frame(X, range(4)), words), "feature_names_in_")


@pytest.mark.parametrize("asked", ["pandas", "polars"])
def test_set_output(library, asked):
    frame, series = library
    model = classifier().fit(frame(X), series(words))
    expected = model.transform(frame(X))
    names = [f"mlpclassifier{unit}" for unit in range(5)]
    transformed = model.set_output(transform=asked).transform(frame(X))
    assert isinstance(transformed, {"pandas": pd.DataFrame, "polars": pl.DataFrame}[asked])
    assert list(transformed.columns) == names == list(model.get_feature_names_out())
    np.testing.assert_array_equal(transformed.to_numpy(), expected)
    if asked == "pandas" and frame is pandas_frame:
        assert list(transformed.index) == list(range(100, 160))
    assert isinstance(model.predict_proba(frame(X)), np.ndarray)
    with config_context(transform_output=asked):
        assert list(classifier().fit(frame(X), series(words)).transform(frame(X)).columns) == names
        pipeline = make_pipeline(StandardScaler(), classifier(), classifier()).fit(frame(X), series(words))
    assert list(pipeline[-2].feature_names_in_) == NAMES
    assert list(pipeline[-1].feature_names_in_) == names


LABELS = {
    "pandas str": pandas_series(words),
    "pandas object": pandas_series(words.astype(object)),
    "pandas string": pandas_series(words).astype("string"),
    "pandas category": pandas_series(words).astype("category"),
    "pandas category of numbers": pandas_series(numbers).astype("category"),
    "pandas frame": pd.DataFrame({"kind": words}),
    "polars str": polars_series(words),
    "polars Categorical": polars_series(words).cast(pl.Categorical),
    "polars Enum": polars_series(words).cast(pl.Enum(["lo", "mid", "hi"])),
    "polars numbers": polars_series(numbers),
    "polars bool": polars_series(numbers > 0),
    "polars frame": pl.DataFrame({"kind": words.tolist()}),
    "pandas Int64": pandas_series(numbers).astype("Int64"),
    "pandas boolean": pandas_series(numbers > 0).astype("boolean"),
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.DataConversionWarning")
def test_labels(name):
    y = LABELS[name]
    plain = {"numbers": numbers, "Int64": numbers, "bool": numbers > 0, "boolean": numbers > 0}
    plain = plain.get(name.rpartition(" ")[2], words)
    model, expected = classifier().fit(X, y), classifier().fit(X, plain)
    assert_same_bits(model, expected)
    assert model.score(X, y) == expected.score(X, plain)
    theirs = sklearn.neural_network.MLPClassifier(**SETTINGS).fit(X, y)
    np.testing.assert_array_equal(model.classes_, theirs.classes_, strict=True)
    np.testing.assert_array_equal(model.predict(X), theirs.predict(X), strict=True)


@pytest.mark.parametrize(
    "table", [np.column_stack([numbers > 0, numbers > 1]).astype(int), None], ids=["labels", "words"]
)
def test_several_columns_of_labels(library, table):
    frame, _ = library
    if table is None:
        columns = {"u": words, "v": numbers}
        table = np.column_stack([words.astype(object), numbers.astype(object)])
        y = pd.DataFrame(columns) if frame is pandas_frame else pl.DataFrame({"u": words.tolist(), "v": numbers})
    else:
        y = frame(table, ["u", "v"])
    model, expected = classifier().fit(frame(X), y), classifier().fit(X, table)
    for one, other in zip(model.coefs_, expected.coefs_, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(model.predict(frame(X)), expected.predict(X))
    assert model.score(frame(X), y) == expected.score(X, table)


@pytest.mark.parametrize("dtype", ["Float64", "Int64", "boolean", "float32", "object", "double[pyarrow]"])
def test_types_of_columns(dtype):
    if "pyarrow" in dtype:
        pytest.importorskip("pyarrow")
    table = np.where(X > 0, 1.0, 0.0) if dtype in ("Int64", "boolean") else X
    frame = pandas_frame(table).astype(dtype)
    plain = table.astype("float32" if dtype == "float32" else "float64")
    model, expected = classifier().fit(frame, words), classifier().fit(plain, words)
    assert_same_bits(model, expected)
    assert_same_predictions(model, frame, expected, plain)
    plain = table.copy()
    if dtype == "float32":
        plain[:, 2] = table[:, 2].astype("float32")
    assert_same_bits(classifier().fit(pandas_frame(table).astype({"c": dtype}), words), classifier().fit(plain, words))
    weight = pandas_series(np.round(weights)).astype("Float64" if dtype == "boolean" else dtype)
    assert_same_bits(classifier().fit(X, words, weight), classifier().fit(X, words, np.round(weights)))


def test_types_of_polars_columns():
    frame = polars_frame(X).with_columns(a=pl.Series(numbers), b=pl.Series(numbers > 0))
    table = X.copy()
    table[:, 0], table[:, 1] = numbers, numbers > 0
    assert_same_bits(classifier().fit(frame, words), classifier().fit(table, words))
    single = polars_frame(X).cast(pl.Float32)
    model = classifier().fit(single, words)
    assert model.coefs_[0].dtype == np.float64  # scikit-learn looks for types of pandas and NumPy only
    assert_same_bits(model, classifier().fit(X.astype(np.float32).astype(float), words))


def gaps():
    """Return X with gaps, and frames of it."""
    table = X.copy()
    table[::7, 1] = np.nan
    frame = pandas_frame(table)
    return table, {
        "pandas NaN": frame,
        "pandas NA": frame.astype("Float64"),
        "pandas, one column": frame.astype({"b": "Float64"}),
        "polars null": pl.from_pandas(frame),
        "polars NaN": polars_frame(table),
    }


@pytest.mark.parametrize("name", gaps()[1])
def test_missing_values(name):
    table, frame = gaps()[0], gaps()[1][name]
    for missing in ("zero", "indicator"):
        model, expected = classifier(missing=missing).fit(frame, words), classifier(missing=missing).fit(table, words)
        assert_same_bits(model, expected)
        assert_same_predictions(model, frame, expected, table)
    for do in (lambda one: one.fit(frame, words), lambda one: one.partial_fit(frame, words, classes=np.unique(words))):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            do(classifier())
    with pytest.raises(ValueError, match="Input X contains NaN"):
        classifier().fit(pandas_frame(X), words).predict(frame)


@pytest.mark.parametrize(
    ("y", "error"),
    [
        (pd.Series([pd.NA, *numbers[1:]], dtype="Int64"), "Input y contains NaN"),
        (pd.Series([None, *words[1:]]), "contains NaN"),
        (pl.Series([None, *words[1:].tolist()]), "Input y contains None"),
        (pl.Series([*words[1:].tolist(), None]), "Input y contains None"),
        (pl.DataFrame({"u": [None, *words[1:].tolist()], "v": numbers}), "Input y contains None"),
    ],
    ids=["Int64", "pandas str", "first of polars", "last of polars", "polars frame"],
)
def test_missing_labels(y, error):
    with pytest.raises(ValueError, match=error):
        classifier().fit(X, y)


@pytest.mark.parametrize("values", [[None, 1.0], [np.nan, 1.0]], ids=str)
def test_missing_targets_and_weights(library, values):
    series = {pandas_series: pd.Series, polars_series: pl.Series}[library[1]]
    y = series(values * 30)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        regressor().fit(X, y)
    with pytest.raises(ValueError, match="Input sample_weight contains NaN"):
        regressor().fit(X, amounts, y)


@pytest.mark.parametrize(
    "frame",
    [
        pandas_frame(X).assign(c=words),
        pandas_frame(X).assign(c=pd.Categorical(words)),
        polars_frame(X).with_columns(c=pl.Series(words.tolist())),
    ],
    ids=["pandas words", "pandas category", "polars words"],
)
def test_columns_that_are_no_numbers(frame):
    errors = []
    for module in (fastmlp, sklearn.neural_network):
        with pytest.raises((ValueError, TypeError)) as raised:
            module.MLPClassifier(**SETTINGS).fit(frame, words)
        errors.append(f"{type(raised.value).__name__}: {raised.value}")
    assert errors[0] == errors[1]


def test_columns_of_dates(library):
    """scikit-learn casts them where NumPy does, and otherwise says that it has no common type."""
    frame, _ = library
    dates = np.datetime64("2026-01-01", "ns") + np.arange(60) * np.timedelta64(86400 * 10**9, "ns")
    if isinstance(frame(X), pd.DataFrame):
        dated = frame(X).assign(c=dates)
    else:
        dated = frame(X).with_columns(c=pl.Series(dates))
    fitted = classifier().fit(frame(X), words)
    for call in (lambda: classifier().fit(dated, words), lambda: fitted.predict(dated)):
        with pytest.raises(TypeError, match="dates are no numbers"):
            call()


def test_many_fits(library):
    frame, series = library
    grid = {"alpha": [0.1, 10.0]}
    for estimator, names in ((classifier(), grid), (make_pipeline(StandardScaler(), classifier()), None)):
        settings = names or {f"mlpclassifier__{name}": values for name, values in grid.items()}
        search, expected = (
            GridSearchCV(estimator, settings, cv=3).fit(*data) for data in ((frame(X), series(words)), (X, words))
        )
        np.testing.assert_array_equal(search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
        assert list(search.feature_names_in_) == NAMES
        np.testing.assert_array_equal(search.predict(frame(X)), expected.predict(X))
    models, alone = [classifier(), classifier(alpha=1.0)], [classifier(), classifier(alpha=1.0)]
    rows = np.arange(0, 60, 2)
    assert fastmlp.fit_many(models, frame(X), series(words), rows, sample_weight=series(weights)) == [None, None]
    for model, expected in zip(models, alone, strict=True):
        assert_same_bits(model, expected.fit(X[rows], words[rows], weights[rows]))
        assert list(model.feature_names_in_) == NAMES


def test_perceptron_and_class_weights(library):
    frame, series = library
    one = fastmlp.Perceptron(max_iter=3).fit(frame(X), series(words))
    other = fastmlp.Perceptron(max_iter=3).fit(X, words)
    np.testing.assert_array_equal(one.coef_, other.coef_)
    assert one.score(frame(X), series(words)) == other.score(X, words)
    for weight in ({"lo": 2.0, "hi": 0.5}, "balanced"):
        model = classifier(class_weight=weight).fit(frame(X), series(words))
        assert_same_bits(model, classifier(class_weight=weight).fit(X, words))


def test_columns_of_words():
    """The pipeline of the guide; with polars, whose columns `make_column_selector` does not know, by their names."""
    table = pandas_frame(X[:, :2], ["a", "b"]).assign(word=words, size=pd.Categorical(words))
    y = pandas_series((words == "lo") ^ (X[:, 0] > 0))
    selectors = make_column_selector(dtype_include="number"), make_column_selector(dtype_exclude="number")
    probabilities = []
    for frame, columns in ((table, selectors), (pl.from_pandas(table), (["a", "b"], ["word", "size"]))):
        preparation = ColumnTransformer(
            [
                ("numbers", StandardScaler(), columns[0]),
                ("words", OneHotEncoder(handle_unknown="ignore"), columns[1]),
            ]
        )
        model = make_pipeline(preparation, classifier(max_iter=300, learning_rate_init=0.02)).fit(frame, y)
        assert model[-1].n_features_in_ == 8
        assert model.score(frame, y) > 0.9
        unknown = (
            frame.assign(word="huge") if isinstance(frame, pd.DataFrame) else frame.with_columns(word=pl.lit("huge"))
        )
        assert model.predict_proba(unknown).shape == (60, 2)
        probabilities.append(model.predict_proba(frame))
    np.testing.assert_array_equal(*probabilities)
