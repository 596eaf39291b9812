"""The engines the tests run on."""

import numpy as np
import pytest

from fastmlp import reference
from fastmlp.training import device


def pytest_addoption(parser):
    parser.addoption("--engine", choices=["default", "reference"], default="default", help="trains the estimators")


def use_reference(monkeypatch):
    """Put the plain NumPy engine in the place of the one that `fastmlp` chose."""
    monkeypatch.setattr(device, "make_engine", reference.Engine)
    monkeypatch.setattr(device, "forward", reference.forward)


@pytest.fixture(autouse=True)
def chosen_engine(request, monkeypatch):
    if request.config.getoption("--engine") == "reference":
        use_reference(monkeypatch)


@pytest.fixture(params=["default", "reference"])
def each_engine(request, monkeypatch):
    """Run a test once on the engine that `fastmlp` chose, and once on the reference."""
    if request.param == "reference":
        use_reference(monkeypatch)


@pytest.fixture
def global_random_seed():
    """Stand in for the fixture of scikit-learn's own suite."""
    return 42


@pytest.fixture
def random():
    return np.random.default_rng(0)
