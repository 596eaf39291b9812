"""Networks from and to scikit-learn, and to PyTorch and Keras, where these are installed."""

import copy
import os
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
import sklearn.linear_model
import sklearn.neural_network
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastmlp
from fastmlp import from_sklearn, to_keras, to_sklearn, to_torch
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.losses import LOSSES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # of Keras with PyTorch
]

X, kind = load_iris(return_X_y=True)
X = StandardScaler().fit_transform(X)
HAS_POISSON = "loss" in sklearn.neural_network.MLPRegressor().get_params()
SETTINGS = {
    "hidden_layer_sizes": (7, 5),
    "max_iter": 4,
    "batch_size": 32,
    "learning_rate_init": 0.01,
    "random_state": 3,
}
TARGETS = {
    "binary": ("MLPClassifier", np.where(kind == 1, "yes", "no"), {}),
    "multiclass": ("MLPClassifier", kind, {}),
    "multilabel": ("MLPClassifier", np.column_stack([kind > 0, kind > 1, X[:, 0] > 0]).astype(int), {}),
    "squared_error": ("MLPRegressor", X[:, 0] * X[:, 1], {}),
    "multioutput": ("MLPRegressor", np.column_stack([X[:, 0] * X[:, 1], X[:, 2]]), {}),
    "poisson": ("MLPRegressor", np.floor(np.exp(X[:, 0])), {"loss": "poisson"}),
}


def problem(target):
    """Return (class name, y, parameters)."""
    if target == "poisson" and not HAS_POISSON:
        pytest.skip("this scikit-learn has no Poisson loss")
    return TARGETS[target]


def assert_same(one, other, rtol=1e-9):
    """Compare what two estimators learnt and predict."""
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"):
        value, expected = vars(one).get(name), vars(other).get(name)
        assert (value is None) == (expected is None), name
        if value is not None:
            np.testing.assert_allclose(value, expected, rtol=rtol, err_msg=name)
    for name in ("coefs_", "intercepts_"):
        for value, expected in zip(getattr(one, name), getattr(other, name), strict=True):
            assert value.dtype == expected.dtype
            np.testing.assert_allclose(value, expected, rtol=rtol, atol=1e-12)
    for method in ("predict", "predict_proba"):
        if hasattr(one, method):
            predicted, expected = getattr(one, method)(X), getattr(other, method)(X)
            assert predicted.dtype == expected.dtype
            if predicted.dtype.kind == "f":
                np.testing.assert_allclose(predicted, expected, rtol=1e-7)
            else:
                np.testing.assert_array_equal(predicted, expected)


def go_on(make, y):
    """Train what `make` returns further, in each way that there is; return the estimators.

    They are made, for copies of ours leave the optimizer's state out.
    """
    partial = make()
    for _ in range(3):
        partial.partial_fit(X, y)
    return partial, make().set_params(warm_start=True).fit(X, y)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"solver": "sgd", "activation": "tanh"},
        {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False, "activation": "logistic"},
        {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1, "tol": 1.0, "activation": "identity"},
    ],
    ids=str,
)
def test_trainings_go_on_as_scikit_learns_do(target, settings):
    name, y, more = problem(target)
    theirs = getattr(sklearn.neural_network, name)(**SETTINGS, **settings, **more).fit(X, y)
    ours = from_sklearn(theirs)
    assert type(ours) is getattr(fastmlp, name)
    assert_same(ours, theirs, rtol=0)
    back = to_sklearn(ours)
    assert type(back) is type(theirs)
    assert back.get_params() == theirs.get_params()
    assert_same(back, theirs, rtol=0)
    expected = go_on(lambda: copy.deepcopy(theirs), y)
    for make in (lambda: from_sklearn(theirs), lambda: to_sklearn(ours)):
        for further, wanted in zip(go_on(make, y), expected, strict=True):
            assert len(further.loss_curve_) > len(theirs.loss_curve_)
            assert_same(further, wanted)
            assert further._optimizer.learning_rate == pytest.approx(wanted._optimizer.learning_rate)
    assert_same(ours, theirs, rtol=0)  # nothing is shared


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "settings", [{}, {"solver": "sgd", "learning_rate": "adaptive", "n_iter_no_change": 1}], ids=str
)
def test_scikit_learns_estimator_goes_on_where_ours_was(target, settings):
    name, y, more = problem(target)
    ours = getattr(fastmlp, name)(**SETTINGS, **settings, **more).fit(X, y)
    assert_same(to_sklearn(ours), ours, rtol=0)
    expected = go_on(lambda: clone(ours).fit(X, y), y)
    for further, wanted in zip(go_on(lambda: to_sklearn(ours), y), expected, strict=True):
        assert_same(further, wanted)


def test_the_optimizer_matters():
    theirs = sklearn.neural_network.MLPClassifier(**SETTINGS).fit(X, kind)
    ours = from_sklearn(theirs)
    forgetful = from_sklearn(theirs)
    del forgetful._optimizer
    assert ours.partial_fit(X, kind).loss_curve_[-1] == pytest.approx(theirs.partial_fit(X, kind).loss_curve_[-1])
    forgetful.partial_fit(X, kind)
    assert abs(forgetful.coefs_[0] - theirs.coefs_[0]).max() > 1e-3
    assert abs(ours.coefs_[0] - theirs.coefs_[0]).max() < 1e-9


@pytest.mark.parametrize("target", ["binary", "multiclass", "squared_error"])
def test_early_stopping_and_lbfgs(target):
    name, y, more = problem(target)
    for settings in ({"early_stopping": True}, {"solver": "lbfgs"}):
        theirs = getattr(sklearn.neural_network, name)(**SETTINGS, **settings, **more)
        if target == "binary":
            y = kind == 1  # strings need scikit-learn 1.9 here
        theirs.fit(X, y)
        ours = from_sklearn(theirs)
        assert_same(ours, theirs, rtol=0)
        assert_same(to_sklearn(ours), theirs, rtol=0)
        if "early_stopping" in settings:  # scikit-learn's warm start would overwrite the best weights of the first fit
            further = to_sklearn(ours).set_params(warm_start=True).fit(X, y)
            assert_same(further, ours.set_params(warm_start=True).fit(X, y))
            assert len(further.validation_scores_) == 8
        else:
            ours.set_params(warm_start=True, max_iter=2).fit(X, y)
            theirs.set_params(warm_start=True, max_iter=2).fit(X, y)
            np.testing.assert_allclose(ours.loss_, theirs.loss_)


def test_float32_stays():
    theirs = sklearn.neural_network.MLPClassifier(**SETTINGS).fit(X.astype(np.float32), kind)
    ours = from_sklearn(theirs)
    assert ours.predict_proba(X.astype(np.float32)).dtype == np.float32
    assert ours._optimizer.state.dtype == np.float32
    ours.partial_fit(X.astype(np.float32), kind)
    theirs.partial_fit(X.astype(np.float32), kind)
    assert ours.coefs_[0].dtype == np.float32
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-4, atol=1e-5)


def test_sparse_labels_stay_sparse():
    rows, labels = make_multilabel_classification(n_samples=60, n_features=4, n_classes=3, random_state=0)
    ours = fastmlp.MLPClassifier(**SETTINGS).fit(rows, scipy.sparse.csr_array(labels))
    theirs = to_sklearn(ours)
    again = from_sklearn(theirs)
    for one in (theirs, again):
        assert scipy.sparse.issparse(one.predict(rows))
        np.testing.assert_array_equal(one.predict(rows).toarray(), ours.predict(rows).toarray())
    again.partial_fit(rows, scipy.sparse.csr_array(labels))


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_estimators_that_are_not_fitted(name):
    state = np.random.RandomState(0)
    settings = {"hidden_layer_sizes": (3,), "activation": "tanh", "alpha": 0.5, "n_iter_no_change": np.inf}
    theirs = getattr(sklearn.neural_network, name)(random_state=state, **settings)
    ours = from_sklearn(theirs)
    expected = {**theirs.get_params(), "random_state": None}
    assert {key: ours.get_params()[key] for key in expected} == {**expected, "random_state": ours.random_state}
    assert isinstance(ours.random_state, np.random.RandomState)
    assert ours.random_state is not state
    back = to_sklearn(ours)
    assert type(back) is type(theirs)
    assert {**back.get_params(), "random_state": None} == expected
    with pytest.raises(NotFittedError):
        ours.predict(X)
    assert to_sklearn(fastmlp.MLPClassifier((3, 2), ["relu", "relu"])).activation == "relu"


def test_feature_names_and_subclasses():
    pd = pytest.importorskip("pandas")

    class Mine(sklearn.neural_network.MLPClassifier):
        def __init__(self, own=1, **parameters):
            super().__init__(**parameters)
            self.own = own

    frame = pd.DataFrame(X, columns=list("abcd"))
    theirs = sklearn.neural_network.MLPClassifier(**SETTINGS).fit(frame, kind)
    ours = from_sklearn(theirs)
    np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
    with pytest.raises(ValueError, match="feature names should match"):
        to_sklearn(ours).predict(frame[list("dcba")])
    theirs = Mine()
    vars(theirs).update(SETTINGS)
    assert from_sklearn(theirs).hidden_layer_sizes == (7, 5)


def test_pipelines():
    theirs = make_pipeline(
        make_pipeline(StandardScaler()), make_pipeline(sklearn.neural_network.MLPClassifier(**SETTINGS))
    ).fit(X + 5, kind)
    ours = from_sklearn(theirs)
    assert isinstance(ours[1][0], fastmlp.MLPClassifier)
    assert isinstance(theirs[1][0], sklearn.neural_network.MLPClassifier)
    assert ours[0][0] is not theirs[0][0]
    np.testing.assert_allclose(ours.predict_proba(X + 5), theirs.predict_proba(X + 5), rtol=1e-7)
    np.testing.assert_allclose(to_sklearn(ours).predict_proba(X + 5), theirs.predict_proba(X + 5), rtol=1e-7)


@pytest.mark.parametrize("convert", [from_sklearn, to_sklearn])
def test_what_is_no_network(convert):
    for wrong in (StandardScaler(), make_pipeline(StandardScaler()), "MLPClassifier", sklearn.linear_model.Ridge()):
        with pytest.raises(TypeError, match=f"{convert.__name__} takes an MLPClassifier, MLPRegressor or"):
            convert(wrong)
    same = {from_sklearn: fastmlp, to_sklearn: sklearn.neural_network}[convert].MLPClassifier()
    with pytest.raises(TypeError, match="takes"):
        convert(same)


CANNOT = {  # whether fitted or not
    "activation": [{"activation": "gelu"}, {"activation": ["relu", "tanh"]}, {"activation": np.sin}],
    "missing": [{"missing": "zero"}],
    "loss='hinge'": [{"loss": "hinge"}],
}


@pytest.mark.parametrize(
    ("words", "parameters"), [(name, one) for name, some in CANNOT.items() for one in some], ids=str
)
def test_networks_that_scikit_learn_cannot_compute(words, parameters):
    ours = fastmlp.MLPClassifier(**SETTINGS, **parameters)
    for estimator in (ours, clone(ours).fit(X, kind)):
        with pytest.raises(ValueError, match=words):
            to_sklearn(estimator)


def test_several_columns_of_classes():
    ours = fastmlp.MLPClassifier(**SETTINGS).fit(X, np.column_stack([kind, kind > 1]))
    with pytest.raises(ValueError, match="several columns of classes, and y had 2"):
        to_sklearn(ours)


OTHER_TRAININGS = [
    {"solver": "adamw"},
    {"loss": "squared_error"},
    {"learning_rate": "cosine"},
    {"batch_size": "full"},
    {"shuffle": "blocks"},
    {"dropout": 0.5},
    {"dropout": [0.5, 0.0]},
    {"class_weight": "balanced"},
    {"label_smoothing": 0.1},
    {"weight_init": "he_normal"},
    {"augment": {"jitter": 0.1}},
    {"l1_ratio": 0.5},
    {"scale_alpha": False},
    {"max_grad_norm": 1.0},
    {"warmup_epochs": 1},
    {"batch_size": "full", "gradient_tol": 1e-3},
    {"early_stopping": True, "scoring": "loss"},
]


@pytest.mark.parametrize("parameters", OTHER_TRAININGS, ids=str)
def test_trainings_that_scikit_learn_has_not(parameters):
    ours = fastmlp.MLPClassifier(**{**SETTINGS, **parameters})
    name = list(parameters)[-1]
    with pytest.raises(ValueError, match="|".join(parameters)) as raised:
        to_sklearn(ours)
    assert any(repr(value) in str(raised.value) for value in parameters.values())
    ours.fit(X, kind)
    with pytest.warns(UserWarning, match=f"predicts the same, but trains otherwise: .*{name}"):
        theirs = to_sklearn(ours)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), rtol=1e-7)
    if "early_stopping" not in parameters:
        theirs.partial_fit(X, kind)
    assert clone(theirs).fit(X, kind).score(X, kind) > 0


@pytest.mark.parametrize("loss", ["huber", "gamma", "absolute_error"])
def test_losses_that_scikit_learn_has_not(loss):
    y = np.exp(X[:, 0])
    ours = fastmlp.MLPRegressor(**SETTINGS, loss=loss)
    with pytest.raises(ValueError, match=f"loss.*{loss}"):
        to_sklearn(ours)
    ours.fit(X, y)
    if loss == "gamma" and not HAS_POISSON:
        with pytest.raises(ValueError, match="loss"):
            to_sklearn(ours)
        return
    instead = "poisson" if loss == "gamma" else "squared_error"  # with the same output activation
    with pytest.warns(UserWarning, match=f"loss='{loss}' becomes '{instead}'"):
        theirs = to_sklearn(ours)
    np.testing.assert_allclose(theirs.predict(X), ours.predict(X), rtol=1e-9)
    theirs.partial_fit(X, y)


def test_parameters_of_the_engine_are_dropped():
    ours = fastmlp.MLPClassifier(**SETTINGS, n_threads=1, dtype="float32", callbacks=[], keep_optimizer=True)
    ours.fit(X, kind)
    theirs = to_sklearn(clone(ours).set_params(callbacks=print, device="cuda", output="input", precision="tf32"))
    assert theirs.get_params() == sklearn.neural_network.MLPClassifier(**SETTINGS).get_params()
    theirs = to_sklearn(ours)
    np.testing.assert_allclose(theirs.predict_proba(X), ours.predict_proba(X), rtol=1e-4)


def test_an_optimizer_without_state():
    ours = pickle.loads(pickle.dumps(fastmlp.MLPClassifier(**SETTINGS).fit(X, kind)))
    assert ours._optimizer.state is None
    theirs = to_sklearn(ours).partial_fit(X, kind)
    ours.partial_fit(X, kind)
    assert_same(theirs, ours)


def test_attributes_set_by_hand():
    ours = fastmlp.MLPRegressor(hidden_layer_sizes=(2,), activation="identity")
    ours.coefs_, ours.intercepts_ = [np.ones((4, 2)), np.ones((2, 1))], [np.zeros(2), np.ones(1)]
    ours.n_features_in_, ours.n_layers_, ours.n_outputs_, ours.out_activation_ = 4, 3, 1, "identity"
    np.testing.assert_allclose(to_sklearn(ours).predict(X), 2 * X.sum(axis=1) + 1)


@pytest.mark.parametrize("y", [kind, kind > 0, np.array(list("abc"))[kind]], ids=["numbers", "two", "strings"])
def test_perceptron(y):
    theirs = sklearn.linear_model.Perceptron(max_iter=5, shuffle=False, tol=None).fit(X, y)
    ours = from_sklearn(theirs)
    assert type(ours) is fastmlp.Perceptron
    for one in (ours, to_sklearn(ours)):
        np.testing.assert_array_equal(one.predict(X), theirs.predict(X))
        np.testing.assert_allclose(one.decision_function(X), theirs.decision_function(X), rtol=1e-9, atol=1e-12)
        assert one.partial_fit(X, y) is one
    assert (ours.n_iter_, len(ours.n_mistakes_)) == (1, 1)
    theirs.partial_fit(X, y)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_)
    assert abs(ours.coef_ - from_sklearn(theirs).coef_).max() < 1e-9
    unfitted = from_sklearn(sklearn.linear_model.Perceptron(max_iter=7, random_state=2))
    assert unfitted.get_params() == {"max_iter": 7, "random_state": 2, "shuffle": True, "warm_start": False}
    assert to_sklearn(unfitted).get_params()["max_iter"] == 7
    regular = sklearn.linear_model.Perceptron(penalty="l2")
    with pytest.raises(ValueError, match="without penalty, got penalty='l2'"):
        from_sklearn(regular)
    with pytest.warns(UserWarning, match="without penalty='l2'"):
        np.testing.assert_array_equal(from_sklearn(regular.fit(X, y)).predict(X), regular.predict(X))


def test_nothing_heavy_is_imported():
    code = "import fastmlp, sys; sys.exit(any(name in sys.modules for name in ('torch', 'keras', 'tensorflow', 'jax')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize(("convert", "module"), [(to_torch, "torch"), (to_keras, "keras")])
def test_without_the_library(convert, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(
        ImportError, match=rf"to_{module} needs the extra '{module}'.*pip install 'fastmlp\[{module}\]'"
    ):
        convert(fastmlp.MLPClassifier())


def torch_predictor(estimator, output):
    torch = pytest.importorskip("torch")
    network = to_torch(estimator, output)
    assert not network.training
    return network, lambda rows: network(torch.tensor(rows)).detach().numpy()


def keras_predictor(estimator, output):
    pytest.importorskip("torch")
    os.environ.setdefault("KERAS_BACKEND", "torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        keras = pytest.importorskip("keras")
    network = to_keras(estimator, output)
    return network, lambda rows: keras.ops.convert_to_numpy(network(rows))


LIBRARIES = {"torch": torch_predictor, "keras": keras_predictor}
PRECISION = {"torch": 1e-13, "keras": 3e-5}  # Keras computes in float32


@pytest.fixture(params=LIBRARIES)
def library(request):
    return request.param


def compare(library, estimator, expected, rows=X, output=None):
    """Compare the other library's numbers with ours; return its network."""
    network, predict = LIBRARIES[library](estimator, output)
    predicted, precision = predict(rows), PRECISION[library] if rows.dtype == np.float64 else 3e-5
    assert predicted.dtype == expected.dtype
    assert predicted.shape == expected.shape
    np.testing.assert_allclose(predicted, expected, rtol=precision, atol=precision)
    return network


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_each_activation(library, activation, dtype):
    rows = (X * 4).astype(dtype)  # far into both ends
    model = fastmlp.MLPRegressor("squared_error", (7, 5), activation, max_iter=1, random_state=0).fit(rows, X[:, 0])
    compare(library, model, model.predict(rows)[:, np.newaxis], rows)
    compare(library, model, model.predict(rows)[:, np.newaxis], rows, output="logits")


def classes_of_columns():
    return np.column_stack([kind, kind > 0])


@pytest.mark.parametrize(
    ("y", "settings"),
    [
        (kind, {}),
        (kind > 0, {}),
        (np.column_stack([kind > 0, kind > 1]).astype(int), {}),
        (classes_of_columns(), {}),
        (kind, {"loss": "squared_error"}),
    ],
    ids=["multiclass", "binary", "multilabel", "several columns", "squared error"],
)
def test_probabilities_and_logits(library, y, settings):
    model = fastmlp.MLPClassifier((7, 5), ["relu", "tanh"], max_iter=5, random_state=0, **settings)
    probability = model.fit(X, y).predict_proba(X)
    probability = np.hstack(probability) if isinstance(probability, list) else probability
    for output in (None, "probability"):
        compare(library, model, probability, output=output)
    compare(library, model, model._forward(X, raw=True), output="logits")


@pytest.mark.parametrize("loss", sorted(fastmlp.MLPRegressor._parameter_constraints["loss"][0].options))
def test_losses_of_numbers(library, loss):
    y = np.exp(np.column_stack([X[:, 0], X[:, 1]]))
    model = fastmlp.MLPRegressor(loss, (6,), max_iter=3, random_state=0).fit(X, y)
    compare(library, model, model.predict(X))
    raw = compare(library, model, model._forward(X, raw=True), output="logits")
    assert len(raw.layers if library == "keras" else raw) == (2 if library == "keras" else 3)
    assert LOSSES[loss].output_activation == model.out_activation_
    with pytest.raises(ValueError, match="output='probability' needs an estimator with predict_proba"):
        LIBRARIES[library](model, "probability")


def test_hinge(library):
    model = fastmlp.MLPClassifier((6,), loss="hinge", max_iter=3, random_state=0).fit(X, kind)
    compare(library, model, model.decision_function(X))
    with pytest.raises(ValueError, match="output='probability' needs"):
        LIBRARIES[library](model, "probability")


@pytest.mark.parametrize("missing", ["zero", "indicator"])
def test_missing_values(library, missing):
    rows = X.copy()
    rows[::3, 1] = rows[::4, 3] = np.nan
    model = fastmlp.MLPClassifier((6,), missing=missing, max_iter=3, random_state=0).fit(rows, kind)
    rows[5, 0] = np.nan  # which none was in fit
    compare(library, model, model.predict_proba(rows), rows)


def test_no_hidden_layer(library):
    model = fastmlp.MLPClassifier((), max_iter=3, random_state=0).fit(X, kind)
    compare(library, model, model.predict_proba(X))


def test_what_other_libraries_cannot_take(library):
    def snake(z):
        return z + np.sin(z) ** 2

    with pytest.raises(NotFittedError):
        LIBRARIES[library](fastmlp.MLPClassifier(), None)
    with pytest.raises(TypeError, match=f"to_{library} takes a fitted MLPClassifier or MLPRegressor of fastmlp"):
        LIBRARIES[library](StandardScaler(), None)
    model = fastmlp.MLPClassifier((6, 5), ["relu", snake], max_iter=1, random_state=0).fit(X, kind)
    with pytest.raises(TypeError, match=r"hidden layer 2 has Activation\(snake\)"):
        LIBRARIES[library](model, None)
    with pytest.raises(ValueError, match="output must be one of"):
        LIBRARIES[library](model, "labels")


def everything():
    """Return an estimator whose network has a layer of each kind that PyTorch and Keras have not, and NaN for it."""
    rows = X.copy()
    rows[::3, 1] = np.nan
    model = fastmlp.MLPClassifier((6, 5), ["arctan", "leaky_relu"], missing="indicator", dropout=[0.5, 0.0], max_iter=2)
    return model.fit(rows, classes_of_columns()), rows


def test_torch_module_is_one_of_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    model, rows = everything()
    before = torch.get_rng_state()
    network = to_torch(model, "probability")
    assert torch.equal(before, torch.get_rng_state())  # drew nothing
    expected = np.hstack(model.predict_proba(rows))
    torch.save(network, tmp_path / "network.pt")
    for one in (
        copy.deepcopy(network),
        pickle.loads(pickle.dumps(network)),
        torch.load(tmp_path / "network.pt", weights_only=False),
    ):
        np.testing.assert_allclose(one(torch.tensor(rows)).detach().numpy(), expected, rtol=1e-9)
    assert "Function(zero_for_nan, features=[1])" in repr(network)
    assert [type(layer).__name__ for layer in network] == [
        "Function", "Linear", "Function", "Dropout", "Linear", "LeakyReLU", "Linear", "Function"
    ]  # fmt: skip
    assert network[3].p == 0.5
    network[1].weight.data[:] = 0  # its own
    np.testing.assert_allclose(np.hstack(model.predict_proba(rows)), expected)


def test_training_goes_on_in_torch():
    torch = pytest.importorskip("torch")
    model = fastmlp.MLPClassifier((20,), dropout=0.2, max_iter=2, random_state=0).fit(X, kind)
    network = to_torch(model, "logits").train()
    torch.manual_seed(0)
    rows, labels, loss = torch.tensor(X), torch.tensor(kind), torch.nn.CrossEntropyLoss()
    assert not torch.equal(network(rows), network(rows))  # dropout
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    losses = []
    for _ in range(100):
        optimizer.zero_grad()
        value = loss(network(rows), labels)
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0] / 2


def test_keras_model_is_saved_without_fastmlp(tmp_path):
    model, rows = everything()
    network, predict = keras_predictor(model, None)
    import keras

    network.save(tmp_path / "network.keras")
    np.save(tmp_path / "rows.npy", rows)
    expected = np.hstack(model.predict_proba(rows))
    code = f"""
import sys, warnings
warnings.simplefilter("ignore")
import keras, numpy as np
network = keras.saving.load_model({str(tmp_path / "network.keras")!r})
np.save({str(tmp_path / "predicted.npy")!r}, network.predict(np.load({str(tmp_path / "rows.npy")!r}), verbose=0))
sys.exit("fastmlp" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "torch"}).returncode == 0
    np.testing.assert_allclose(np.load(tmp_path / "predicted.npy"), expected, rtol=3e-5)
    assert keras.backend.backend() == "torch"
    network.layers[1].set_weights([0 * array for array in network.layers[1].get_weights()])  # its own
    np.testing.assert_allclose(np.hstack(model.predict_proba(rows)), expected)
    assert abs(predict(rows) - expected).max() > 1e-3
    assert [layer.rate for layer in network.layers if isinstance(layer, keras.layers.Dropout)] == [0.5]


def test_training_goes_on_in_keras():
    model = fastmlp.MLPRegressor("squared_error", (20,), dropout=0.1, max_iter=2, random_state=0)
    y = load_diabetes().target[:150] / 100
    model.fit(X.astype(np.float32), y)
    network, _ = keras_predictor(model, None)
    network.compile("adam", "mse")
    losses = network.fit(X.astype(np.float32), y, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < losses[0]


def test_convergence_warnings_are_not_swallowed():
    with pytest.warns(ConvergenceWarning):
        from_sklearn(sklearn.neural_network.MLPClassifier(**SETTINGS)).fit(X, kind)
