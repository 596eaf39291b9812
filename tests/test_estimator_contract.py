"""What scikit-learn and its users expect of an estimator."""

import inspect
import io
import pickle
import pydoc
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
import sklearn.neural_network
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

import fastmlp
from fastmlp import reference
from fastmlp.cpu.threads import Pace
from fastmlp.estimators.protocol import CallbackSupportMixin

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

ESTIMATORS = [fastmlp.MLPClassifier, fastmlp.MLPRegressor]
NEW_PARAMETERS = {
    "n_threads": None,
    "dtype": None,
    "weight_init": "auto",
    "learning_rate_decay": None,
    "decay_epochs": None,
    "warmup_epochs": 0,
    "max_grad_norm": None,
    "gradient_tol": None,
    "l1_ratio": 0.0,
    "scale_alpha": True,
    "dropout": 0.0,
    "augment": None,
    "scoring": None,
    "keep_optimizer": False,
    "missing": None,
    "device": "cpu",
    "output": "numpy",
    "precision": "float32",
    "callbacks": None,
    "on_divergence": "error",
}
NEW_ATTRIBUTES = {"history_", "validation_loss_curve_"}  # not after lbfgs
NEW_ARGUMENTS = ["X_val", "y_val", "sample_weight_val"]  # of fit and partial_fit
NEW_PARAMETERS_OF = {
    "MLPClassifier": NEW_PARAMETERS | {"loss": "log_loss", "label_smoothing": 0.0, "class_weight": None},
    "MLPRegressor": NEW_PARAMETERS | {"delta": 1.0, "quantile": 0.5},
}

X, y = load_iris(return_X_y=True)


def theirs(estimator):
    return getattr(sklearn.neural_network, estimator.__name__)


@pytest.fixture(params=ESTIMATORS, ids=lambda estimator: estimator.__name__)
def estimator(request):
    return request.param


@parametrize_with_checks(
    [
        *(estimator() for estimator in ESTIMATORS),
        *(estimator(solver="sgd", n_threads=2, dtype="float64") for estimator in ESTIMATORS),
        # A penalty that keeps probabilities off 0: the check wants the logarithm of that to be -inf, ours is finite.
        *(estimator(solver="lbfgs", alpha=1.0, max_iter=50) for estimator in ESTIMATORS),
    ]
)
def test_scikit_learn_check(estimator, check):
    check(estimator)


def test_import_changes_nothing_global():
    assert fastmlp.__version__
    estimators = {"Activation", "MLPClassifier", "MLPRegressor", "Perceptron"}
    forms = {"from_sklearn", "load", "to_keras", "to_onnx", "to_sklearn", "to_torch"}
    assert set(fastmlp.__all__) == estimators | forms | {"check_gradient", "fit_many"}


same_as_in_scikit_learn_1_7 = pytest.mark.skipif(
    "sample_weight" not in inspect.signature(sklearn.neural_network.MLPClassifier.fit).parameters,
    reason="the classes of this scikit-learn have no sample_weight and no loss",
)


@same_as_in_scikit_learn_1_7
def test_parameters_defaults_and_their_order(estimator):
    ours, original = (inspect.signature(cls.__init__).parameters for cls in (estimator, theirs(estimator)))
    known = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in ours.values()]
    assert known[: len(original)] == list(original.values())
    assert {parameter.name: parameter.default for parameter in known[len(original) :]} == (
        NEW_PARAMETERS_OF[estimator.__name__]
    )
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in known[len(original) :])


@same_as_in_scikit_learn_1_7
def test_constraints_are_theirs(estimator):
    ours, original = estimator._parameter_constraints, theirs(estimator)._parameter_constraints
    assert set(ours) == set(original) | set(NEW_PARAMETERS_OF[estimator.__name__])
    for name in original.keys() - {
        "activation",
        "solver",
        "loss",
        "batch_size",
        "learning_rate",
        "shuffle",
    }:  # they allow more here
        # The order of the characters does not matter: it is that of a set of strings.
        assert [sorted(str(one)) for one in ours[name]] == [sorted(str(one)) for one in original[name]], name


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "sgd"}, {"solver": "lbfgs"}], ids=str)
def test_attributes_and_their_types(estimator, settings):
    frame = pd.DataFrame(X, columns=list("abcd"))
    settings = {"max_iter": 3, "random_state": 0, **settings}
    ours, original = (cls(**settings).fit(frame, y) for cls in (estimator, theirs(estimator)))
    public = [name for name in vars(original) if name.endswith("_")]
    new = set() if settings.get("solver") == "lbfgs" else NEW_ATTRIBUTES
    assert {name for name in vars(ours) if name.endswith("_")} == {*public, *new}
    for name in public:
        if name not in {"loss_", "best_loss_", "best_validation_score_"}:  # float against numpy.float64
            assert type(getattr(ours, name)) is type(getattr(original, name)), name
    assert ours.loss == original.loss


@same_as_in_scikit_learn_1_7
def test_methods_and_their_parameters(estimator):
    for name, original in inspect.getmembers(theirs(estimator), callable):
        if not name.startswith("_"):
            ours = list(inspect.signature(getattr(estimator, name)).parameters)
            new = NEW_ARGUMENTS if name in ("fit", "partial_fit") else []
            if name in ("set_fit_request", "set_partial_fit_request"):  # theirs are sorted
                assert set(ours) == {*inspect.signature(original).parameters, *NEW_ARGUMENTS}, name
            else:
                assert ours == [*inspect.signature(original).parameters, *new], name


def test_tags_are_theirs_and_those_of_a_transformer(estimator):
    ours = get_tags(estimator())
    assert ours.transformer_tags.preserves_dtype == ["float64", "float32"]
    assert get_tags(estimator(dtype="float32")).transformer_tags.preserves_dtype == ["float32"]
    ours.transformer_tags = None
    expected = get_tags(theirs(estimator)())
    if estimator is fastmlp.MLPClassifier:
        expected.target_tags.multi_output = True  # several columns of classes
    assert ours == expected


def test_public_methods_are_theirs_and_some_of_ours(estimator):
    ours, original = ({name for name in dir(cls) if not name.startswith("_")} for cls in (estimator, theirs(estimator)))
    more = {"transform", "fit_transform", "get_feature_names_out", "set_output", "input_gradient"}
    more |= {"save", "summary"}
    if estimator is fastmlp.MLPClassifier:
        more.add("decision_function")  # with the loss "hinge" only
    more |= {name for name in vars(CallbackSupportMixin) if not name.startswith("_")}  # none before scikit-learn 1.9
    if parse_version(sklearn.__version__) < parse_version("1.7"):  # there is nothing to request from theirs
        more |= {"set_fit_request", "set_partial_fit_request"} - original
    assert ours - original == more


def test_every_parameter_and_attribute_is_documented(estimator):
    text = pydoc.render_doc(estimator, renderer=pydoc.plaintext)
    fitted = estimator(max_iter=1).fit(X, y)
    names = list(estimator().get_params()) + [name for name in vars(fitted) if name.endswith("_")]
    assert [name for name in names if f"{name} : " not in text] == []
    assert "%" not in estimator.__doc__


def test_clone_keeps_parameters(estimator):
    original = estimator(hidden_layer_sizes=(7, 5), alpha=0.5, n_threads=2, dtype="float32")
    assert clone(original).get_params() == original.get_params()
    assert repr(clone(original)) == repr(original)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("copy", ["pickle", "joblib"])
def test_training_goes_on_after_a_pickle(estimator, solver, copy):
    settings = {"solver": solver, "random_state": 0, "batch_size": 20, "max_iter": 5}
    original = estimator(**settings, keep_optimizer=True).fit(X, y)
    if copy == "pickle":
        other = pickle.loads(pickle.dumps(original))
    else:
        buffer = io.BytesIO()
        joblib.dump(original, buffer)
        buffer.seek(0)
        other = joblib.load(buffer)
    np.testing.assert_array_equal(original.predict(X), other.predict(X))
    original.partial_fit(X, y)
    other.partial_fit(X, y)
    for ours, loaded in zip(original.coefs_, other.coefs_, strict=True):
        np.testing.assert_array_equal(ours, loaded)
    assert original.loss_curve_ == other.loss_curve_


def test_weights_in_read_only_memory(estimator, tmp_path):
    original = estimator(random_state=0, max_iter=3, keep_optimizer=True).fit(X, y)
    joblib.dump(original, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    np.testing.assert_array_equal(mapped.predict(X), original.predict(X))
    np.testing.assert_array_equal(mapped.partial_fit(X, y).predict(X), original.partial_fit(X, y).predict(X))


def test_feature_names(estimator):
    frame = pd.DataFrame(X, columns=list("abcd"))
    fitted = estimator(max_iter=3, random_state=0).fit(frame, y)
    assert list(fitted.feature_names_in_) == list("abcd")
    fitted.predict(frame)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        fitted.predict(X)
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame.rename(columns={"a": "z"}))
    fitted.fit(X, y)
    assert not hasattr(fitted, "feature_names_in_")


def test_not_fitted(estimator):
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        estimator().predict(X)


def test_metadata_routing(estimator):
    weight = np.linspace(0.1, 2, len(y))
    with config_context(enable_metadata_routing=True):
        routed = (
            estimator(max_iter=3, random_state=0)
            .set_fit_request(sample_weight=True)
            .set_score_request(sample_weight=True)
        )
        pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), routed)
        pipeline.fit(X, y, sample_weight=weight)
        # before 1.8 a pipeline did not know that the score of its last step takes weights
        scored = pipeline if parse_version(sklearn.__version__) >= parse_version("1.8") else routed
        cross_validate(scored, X, y, params={"sample_weight": weight}, error_score="raise", cv=2)
    alone = estimator(max_iter=3, random_state=0).fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    np.testing.assert_array_equal(pipeline[-1].coefs_[0], alone.coefs_[0])


def test_grid_search_over_a_pipeline(estimator):
    pipeline = make_pipeline(StandardScaler(), estimator(max_iter=5, random_state=0))
    prefix = estimator.__name__.lower()
    grid = {f"{prefix}__alpha": [1e-4, 1e-2], f"{prefix}__hidden_layer_sizes": [(3,), (4, 2)]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(X, y)
    assert search.best_params_.keys() == grid.keys()


@pytest.mark.parametrize("end", ["RandomState", "global"])
def test_random_state_ends_as_theirs(estimator, end):
    states = []
    for cls in (estimator, theirs(estimator)):
        random_state = np.random.RandomState(3)
        if end == "global":
            np.random.seed(3)  # noqa: NPY002
        cls(max_iter=4, early_stopping=True, random_state=random_state if end == "RandomState" else None).fit(X, y)
        states.append((random_state if end == "RandomState" else np.random).randint(1 << 30))
    assert states[0] == states[1]


def test_dtype_of_parameters_and_predictions(estimator):
    X32 = X.astype(np.float32)
    for passed, dtype, expected in [
        (X, None, "float64"),
        (X32, None, "float32"),
        (X32, "float64", "float64"),
        (X, "float32", "float32"),
        (X.astype(int), None, "float64"),
        (X.astype(np.float16), None, "float64"),
    ]:
        for solver in ("adam", "lbfgs"):
            fitted = estimator(max_iter=3, dtype=dtype, solver=solver).fit(passed, y)
            assert {array.dtype.name for array in fitted.coefs_ + fitted.intercepts_} == {expected}
            output = fitted.predict_proba(passed) if hasattr(fitted, "predict_proba") else fitted.predict(passed)
            assert output.dtype == expected
    mixed = estimator(max_iter=3).fit(X32, y)
    output = mixed.predict_proba(X) if hasattr(mixed, "predict_proba") else mixed.predict(X)
    assert output.dtype == np.float64
    assert mixed.partial_fit(X, y).coefs_[0].dtype == np.float32


def test_short_way_of_one_row_gives_the_same(estimator):
    fitted = estimator(max_iter=3, random_state=0).fit(X, y)
    row = X[:1]
    for other in (row.tolist(), np.asfortranarray(row), row.astype(">f8"), pd.DataFrame(row).to_numpy()):
        np.testing.assert_array_equal(fitted.predict(row), fitted.predict(other))


def test_user_subclass(estimator):
    class Sub(estimator):
        def __init__(self, extra=1, max_iter=2):
            super().__init__(max_iter=max_iter)
            self.extra = extra

    assert Sub(extra=3).fit(X, y).n_iter_ == 2
    assert clone(Sub(extra=3)).extra == 3


def test_ctrl_c_keeps_the_weights_so_far(estimator, monkeypatch):
    from fastmlp.training import device

    make_engine = device.make_engine

    def make_interrupted(*arguments, **device):
        engine = make_engine(*arguments, **device)
        run_epochs, calls = engine.run_epochs, []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == 4:
                raise KeyboardInterrupt
            return run_epochs(*arguments[:-1], 1)

        engine.run_epochs = interrupted
        return engine

    three = estimator(max_iter=3, random_state=0).fit(X, y)
    monkeypatch.setattr(device, "make_engine", make_interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        stopped = estimator(max_iter=10, random_state=0).fit(X, y)
    assert stopped.n_iter_ == len(stopped.loss_curve_) == 3
    assert stopped.t_ == 3 * len(y)
    np.testing.assert_array_equal(stopped.coefs_[0], three.coefs_[0])


@pytest.mark.usefixtures("each_engine")
def test_ctrl_c_within_an_epoch_counts_the_steps_taken(estimator, monkeypatch):
    """Adam's correction of the bias in the next epoch depends on the count."""
    settings = {"batch_size": 20, "shuffle": False, "random_state": 0}
    classes = {"classes": np.unique(y)} if estimator is fastmlp.MLPClassifier else {}
    two_steps = estimator(**settings).partial_fit(X[:40], y[:40], **classes)

    def interrupt_at_call(owner, name, number):
        method, calls = getattr(owner, name), []

        def interrupted(*arguments):
            calls.append(1)
            if len(calls) == number:
                raise KeyboardInterrupt
            return method(*arguments)

        monkeypatch.setattr(owner, name, interrupted)

    interrupt_at_call(reference.Engine, "_take_step", 3)
    monkeypatch.setattr(Pace, "next", lambda pace: (1, 1))  # jobs of one batch
    interrupt_at_call(Pace, "done", 2)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        stopped = estimator(**settings).fit(X, y)
    assert stopped._optimizer.step == 2
    for ours, expected in zip(stopped.coefs_, two_steps.coefs_, strict=True):
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("method", ["record_epoch", "record_loss", "record_score", "append_epoch"])
def test_ctrl_c_while_an_epoch_is_recorded(estimator, method, early_stopping, monkeypatch):
    """What is recorded of it is taken off again."""
    from fastmlp.training import stochastic

    settings = {"early_stopping": early_stopping, "warm_start": True, "random_state": 0}
    model = estimator(max_iter=2, **settings).fit(X, y)
    owner = stochastic if method == "append_epoch" else stochastic.History
    original, calls = getattr(owner, method), []

    def interrupted(*arguments):
        result = original(*arguments)
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return result

    monkeypatch.setattr(owner, method, interrupted)
    if method == ("record_loss" if early_stopping else "record_score"):
        model.set_params(max_iter=5).fit(X, y)
        assert not calls
        return
    with pytest.warns(UserWarning, match="interrupted by user after 3 epochs"):
        model.set_params(max_iter=9).fit(X, y)
    assert model.n_iter_ == 3
    lists = [model.loss_curve_, *model.history_.values()]
    lists += [model.validation_scores_, model.validation_loss_curve_] if early_stopping else []
    assert [len(values) for values in lists] == [5] * len(lists)
    monkeypatch.undo()
    assert len(model.set_params(max_iter=2).fit(X, y).loss_curve_) == 7


def test_ctrl_c_in_lbfgs(estimator, monkeypatch):
    from fastmlp.training import lbfgs

    def minimize(function, start, callback, **settings):
        callback(start - 0.01 * function(start)[1])
        raise KeyboardInterrupt

    monkeypatch.setattr(lbfgs, "minimize", minimize)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        stopped = estimator(solver="lbfgs", random_state=0).fit(X, y)
    assert stopped.n_iter_ == 1
    assert np.isfinite(stopped.loss_)
    stopped.predict(X)


def test_printed_lines_are_theirs(estimator, capsys):
    printed = []
    for cls in (estimator, theirs(estimator)):
        for settings in ({"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0}):
            cls(verbose=True, random_state=0, n_iter_no_change=2, max_iter=12, **settings).fit(X / 8, y)
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_no_warning_of_its_own(estimator):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator(max_iter=2).fit(X, y).predict(X)
