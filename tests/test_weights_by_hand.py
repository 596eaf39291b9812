"""Weights that a user has set: what does not fit together is an error, and no kernel reads beyond an array."""

import copy

import numpy as np
import pytest
import scipy.sparse

from fastmlp import MLPClassifier, MLPRegressor, Perceptron

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

random = np.random.default_rng(0)
X, y = random.normal(size=(30, 4)), np.arange(30) % 3
ESTIMATORS = {"classifier": MLPClassifier, "regressor": MLPRegressor}


def zeros(*shapes):
    return [np.zeros(shape) for shape in shapes]


# coefs_ and intercepts_ of a network of widths 4-3-2-1 for the regressor, 4-3-2-3 for the classifier (n)
BAD = {
    "a layer too wide": lambda n: (zeros((4, 3), (3, 5), (2, n)), zeros(3, 2, n)),
    "a layer too narrow": lambda n: (zeros((4, 3), (2, 2), (2, n)), zeros(3, 2, n)),
    "fewer inputs": lambda n: (zeros((3, 3), (3, 2), (2, n)), zeros(3, 2, n)),
    "more inputs": lambda n: (zeros((400, 3), (3, 2), (2, n)), zeros(3, 2, n)),
    "fewer biases": lambda n: (zeros((4, 3), (3, 2), (2, n)), zeros(3, 1, n)),
    "more biases": lambda n: (zeros((4, 3), (3, 2), (2, n)), zeros(3, 2, n + 1)),
    "biases in two dimensions": lambda n: (zeros((4, 3), (3, 2), (2, n)), zeros((1, 3), 2, n)),
    "weights in one dimension": lambda n: (zeros(12, (3, 2), (2, n)), zeros(3, 2, n)),
    "weights in three dimensions": lambda n: (zeros((4, 3), (3, 2, 1), (2, n)), zeros(3, 2, n)),
    "no biases of a layer": lambda n: (zeros((4, 3), (3, 2), (2, n)), zeros(3, 2)),
    "biases of no layer": lambda n: (zeros((4, 3), (3, 2), (2, n)), zeros(3, 2, n, n)),
    "more outputs": lambda n: (zeros((4, 3), (3, 2), (2, n + 1)), zeros(3, 2, n + 1)),
    "no outputs": lambda n: (zeros((4, 3), (3, 2), (2, 0)), zeros(3, 2, 0)),
    "a layer without units": lambda n: (zeros((4, 3), (3, 0), (0, n)), zeros(3, 0, n)),
    "no layers": lambda n: ([], []),
    "lists": lambda n: ([array.tolist() for array in zeros((4, 3), (3, 2), (2, n))], zeros(3, 2, n)),
    "numbers": lambda n: (zeros((), (3, 2), (2, n)), zeros(3, 2, n)),
    "None": lambda n: (None, zeros(3, 2, n)),
    "sparse": lambda n: (scipy.sparse.csr_array((4, 3)), zeros(3, 2, n)),
}
CALLS = {
    "predict": lambda model: model.predict(X),
    "predict of a row": lambda model: model.predict(X[:1].astype(np.float32)),
    "predict of sparse rows": lambda model: model.predict(scipy.sparse.csr_array(X)),
    "transform": lambda model: model.transform(X),
    "partial_fit": lambda model: model.partial_fit(X, y),
    "warm fit": lambda model: model.fit(X, y),
    "warm lbfgs": lambda model: model.set_params(solver="lbfgs").fit(X, y),
    "input_gradient": lambda model: model.input_gradient(X),
    "summary": lambda model: model.summary(),
}


@pytest.fixture(scope="module")
def fitted():
    settings = {"hidden_layer_sizes": (3, 2), "max_iter": 2, "random_state": 0, "warm_start": True}
    return {name: estimator(**settings).fit(X, y) for name, estimator in ESTIMATORS.items()}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_weights_that_do_not_fit_together(name, case, call, fitted):
    model = copy.deepcopy(fitted[name])
    model.coefs_, model.intercepts_ = BAD[case](model.n_outputs_)
    if call == "summary" and case.endswith("inputs"):  # it has no rows to compare them with
        assert CALLS[call](model).layers[0].n_inputs == len(model.coefs_[0])
        return
    with pytest.raises(ValueError, match="coefs_"):
        CALLS[call](model)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_weights_with_the_state_of_the_old_ones(name, fitted):
    model = copy.deepcopy(fitted[name]).set_params(hidden_layer_sizes=(5,))
    model._optimizer = copy.deepcopy(fitted[name]._optimizer)
    model._optimizer.state = fitted[name]._optimizer.state
    n_outputs = model.n_outputs_
    model.coefs_, model.intercepts_ = zeros((4, 5), (5, n_outputs)), zeros(5, n_outputs)
    assert np.ptp(model.predict(X)) == 0
    with pytest.raises(ValueError, match=rf"have {25 + 6 * n_outputs} numbers, but the optimizer's state is of"):
        model.partial_fit(X, y)
    assert model.fit(X, y).coefs_[0].shape == (4, 5)  # with a new state


def test_columns_of_an_indicator():
    gaps = np.where(X > 1, np.nan, X)
    model = MLPRegressor(hidden_layer_sizes=(2,), missing="indicator", max_iter=2, warm_start=True).fit(gaps, y)
    assert model.coefs_[0].shape == (8, 2)
    model.coefs_[0] = model.coefs_[0][:4]
    for call in (model.predict, model.transform, model.input_gradient, lambda X: model.fit(X, y)):
        with pytest.raises(ValueError, match="has 4 rows, but the network gets 8 numbers"):
            call(gaps)


@pytest.mark.parametrize("case", ["fewer classes", "fewer units", "more features", "list"])
def test_perceptron(case):
    model = Perceptron(max_iter=3, warm_start=True).fit(X, y)
    if case == "fewer units":
        model.coef_ = model.coef_[:2]
    elif case == "more features":
        model.coef_ = np.zeros((3, 99))
    elif case == "list":
        model.intercept_ = model.intercept_.tolist()
    else:
        model.classes_ = model.classes_[:2]
    with pytest.raises(ValueError, match="coef_ and intercept_ must have the shapes"):
        model.predict(X)
    if case != "fewer classes":
        for again in (model.fit, model.partial_fit):
            with pytest.raises(ValueError, match="coef_ and intercept_ must have the shapes"):
                again(X, y)


@pytest.mark.parametrize(
    ("attribute", "place", "value"),
    [("indices", 5, 4), ("indices", 5, -1), ("indices", 0, 2**31 - 1), ("indptr", -1, 10_000), ("indptr", 3, 2)],
)
@pytest.mark.parametrize("name", [*ESTIMATORS, "perceptron"])
def test_sparse_rows_whose_entries_lie_elsewhere(name, attribute, place, value):
    """SciPy looks at them when a matrix is made, and not when its arrays are changed."""
    good = scipy.sparse.csr_array(X)
    bad = good.copy()
    getattr(bad, attribute)[place] = value
    model = {**ESTIMATORS, "perceptron": Perceptron}[name](max_iter=2)
    classes = {} if name == "regressor" else {"classes": [0, 1, 2]}
    for call in (lambda: model.fit(bad, y), lambda: model.partial_fit(bad, y, **classes)):
        with pytest.raises(ValueError, match="of the sparse X must"):
            call()
    model.fit(good, y)
    with pytest.raises(ValueError, match="of the sparse X must"):
        model.predict(bad)
    if name != "perceptron":
        with pytest.raises(ValueError, match="of the sparse X must"):
            model.fit(good, y, X_val=bad, y_val=y)
