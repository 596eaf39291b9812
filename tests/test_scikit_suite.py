"""scikit-learn's own tests of its perceptrons, as installed, with our classes in the place of theirs."""

import importlib.util

import pytest

import fastmlp

SUITE = "sklearn.neural_network.tests.test_mlp"

EXCLUDED = {
    "test_gradient": "calls the private method _loss_grad_lbfgs; tests/test_reference.py checks the gradients",
    "test_mlp_partial_fit_after_fit": "early stopping in partial_fit is no error here: tests/test_warm_state.py",
}


def load_suite():
    """Execute the installed file as a module of its own, in which `sklearn.neural_network` gives our classes."""
    import sklearn.neural_network as theirs

    spec = importlib.util.find_spec(SUITE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "MLPClassifier", fastmlp.MLPClassifier)
        patch.setattr(theirs, "MLPRegressor", fastmlp.MLPRegressor)
        spec.loader.exec_module(module)
    return module


suite = load_suite()
globals().update(
    {name: test for name, test in vars(suite).items() if name.startswith("test_") and name not in EXCLUDED}
)

# Theirs let the warnings of optimizers that stop early pass in many tests.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_the_suite_runs_on_our_classes():
    assert suite.MLPClassifier is fastmlp.MLPClassifier
    assert suite.MLPRegressor is fastmlp.MLPRegressor


@pytest.mark.parametrize("name", EXCLUDED)
def test_excluded_tests_exist(name):
    assert callable(getattr(suite, name))
