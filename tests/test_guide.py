"""The guide: its examples run as doctests; here is what a doctest cannot ask."""

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import LearningCurveDisplay, ValidationCurveDisplay

from fastmlp import MLPClassifier, guide

SUBJECTS = [module.name for module in pkgutil.iter_modules(guide.__path__)]
LISTED = re.findall(r"^`(\w+)`", guide.__doc__, re.MULTILINE)


@pytest.fixture(params=SUBJECTS)
def subject(request):
    return importlib.import_module(f"fastmlp.guide.{request.param}")


@pytest.fixture
def pyplot():
    matplotlib = pytest.importorskip("matplotlib", reason="scikit-learn draws with matplotlib, the extra `plots`")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


def test_every_subject_is_listed_in_the_package():
    assert sorted(LISTED) == SUBJECTS


def test_readme_lists_the_subjects_in_the_same_order():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^- `(\w+)`: ", text.partition("## Guide")[2].partition("\n## ")[0], re.MULTILINE) == LISTED


def test_has_examples(subject):
    examples = doctest.DocTestParser().get_examples(subject.__doc__)
    assert any(example.want for example in examples if doctest.SKIP not in example.options)


def test_has_text_and_no_code(subject):
    assert len(ast.parse(Path(subject.__file__).read_text(encoding="utf-8")).body) == 1


def test_sources_are_cited_and_have_a_year(subject):
    text, _, references = subject.__doc__.partition("\nReferences\n")
    sources = references.split("\n.. ")[1:]
    assert set(re.findall(r"\[\d+\](?=_)", text)) == {source.partition(" ")[0] for source in sources}
    assert [source for source in sources if not re.search(r"\((18|19|20)\d\d\)", source)] == []


def test_other_subjects_that_a_text_names_exist(subject):
    assert set(re.findall(r"`fastmlp\.guide\.(\w+)`", subject.__doc__)) <= set(SUBJECTS)


def test_is_not_imported_with_the_package():
    code = "import sys, fastmlp; sys.exit(any(name.startswith('fastmlp.guide') for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_learning_curve_is_drawn(pyplot):
    """The example of `data_and_performance` that a doctest leaves out."""
    X, y = load_digits(return_X_y=True)
    model = MLPClassifier((20,), learning_rate_init=0.01, max_iter=20, random_state=0)
    display = LearningCurveDisplay.from_estimator(
        model, X / 16, y, train_sizes=[0.1, 1.0], cv=3, shuffle=True, score_type="both", random_state=0
    )
    known, new = display.train_scores.mean(axis=1), display.test_scores.mean(axis=1)
    assert new[0] < new[1] - 0.05
    assert np.all(new < known)
    assert [line.get_xdata().tolist() for line in display.lines_] == [display.train_sizes.tolist()] * 2


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_validation_curve_is_drawn(pyplot):
    """The display that `hyperparameters` names."""
    X, y = load_digits(return_X_y=True)
    rates = [1e-6, 1e-2]
    display = ValidationCurveDisplay.from_estimator(
        MLPClassifier((20,), max_iter=10, random_state=0),
        X / 16,
        y,
        param_name="learning_rate_init",
        param_range=rates,
        cv=3,
    )
    scores = display.test_scores.mean(axis=1)
    assert scores[0] < 0.5 < 0.8 < scores[1]
    assert [line.get_xdata().tolist() for line in display.lines_] == [rates] * 2
