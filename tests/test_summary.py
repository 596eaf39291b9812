"""What a fitted network consists of: the table and the diagram."""

import html
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn import config_context
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

from fastmlp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 4))
Y = X[:, 0]
LABELS = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


def fitted(cls=MLPClassifier, sizes=(5, 30), X=X, y=LABELS, **settings):
    return cls(hidden_layer_sizes=sizes, max_iter=1, random_state=0, **settings).fit(X, y)


# The table


def test_numbers():
    model = fitted(activation=["relu", "tanh"])
    summary = model.summary()
    assert [tuple(layer) for layer in summary.layers] == [
        ("hidden 1", 4, 5, "relu", 25, 200, 20),
        ("hidden 2", 5, 30, "tanh", 180, 1440, 150),
        ("output", 30, 3, "softmax", 93, 744, 90),
    ]
    assert (summary.n_parameters, summary.n_bytes, summary.n_multiply_adds) == (298, 2384, 260)
    assert summary.n_bytes == sum(array.nbytes for array in (*model.coefs_, *model.intercepts_))
    assert (summary.estimator, summary.n_features, summary.n_missing, summary.dtype) == (
        "MLPClassifier",
        4,
        0,
        "float64",
    )


def test_table():
    summary = fitted(MLPRegressor, (1234,), X.astype(np.float32), Y, loss="gamma" if Y.min() > 0 else "huber").summary()
    expected = """\
MLPRegressor: 4 features, float32
layer     weights    activation  parameters   bytes  multiply-adds a row
--------  ---------  ----------  ----------  ------  -------------------
hidden 1  4 x 1,234  relu             6,170  24,680                4,936
output    1,234 x 1  identity         1,235   4,940                1,234
--------  ---------  ----------  ----------  ------  -------------------
total                                 7,405  29,620                6,170"""
    assert str(summary) == repr(summary) == expected


def test_columns_are_aligned_for_any_network():
    def half(z):
        return z / 2

    long = fitted(sizes=(3,) * 12, activation=half).summary()
    lines = str(long).splitlines()[1:]
    assert len({len(line) for line in lines}) == 1
    rule = lines[1]
    for line in lines:
        assert all(line[place] == " " for place, mark in enumerate(rule) if mark == " "), line


def test_inputs_that_say_what_is_missing():
    with_nan = X.copy()
    with_nan[3, :2] = np.nan
    summary = fitted(X=with_nan, missing="indicator").summary()
    assert (summary.n_features, summary.n_missing, summary.layers[0].n_inputs) == (4, 2, 6)
    assert str(summary).startswith("MLPClassifier: 4 features and 2 for missing ones, float64\n")
    assert fitted(X=X[:, :1]).summary().inputs == "1 feature"


def test_several_columns_of_classes_and_own_activations():
    layers = fitted(y=np.column_stack([LABELS, LABELS > 0]), activation=math.tanh).summary().layers
    assert [layer.activation for layer in layers] == ["Activation(tanh)", "Activation(tanh)", "softmax (3 + 2)"]


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_before_the_fit(cls):
    with pytest.raises(NotFittedError, match=f"This {cls.__name__} instance is not fitted yet"):
        cls().summary()


# The diagram


def svg_of(text):
    """Return the picture in HTML, parsed as XML, in which errors are errors."""
    (found,) = re.findall(r"<svg [^>]*fastmlp.*?</svg>|<svg xmlns.*?role=\"img\".*?</svg>", text, re.DOTALL)
    return ElementTree.fromstring(found)


def part_of(text):
    """Return our part of the HTML."""
    place = text.index('<div class="fastmlp-network"')
    assert text.count("fastmlp-network") == 1
    return text[place:]


def texts(svg):
    return [element.text for element in svg.iter("{http://www.w3.org/2000/svg}text")]


def count(svg, name):
    return len(list(svg.iter(f"{{http://www.w3.org/2000/svg}}{name}")))


class Balance(HTMLParser):
    """Checks that tags are closed in the order in which they were opened."""

    def __init__(self):
        super().__init__()
        self.open, self.names = [], set()

    def handle_starttag(self, tag, attrs):
        self.open.append(tag)
        self.names.add(tag)
        assert not [name for name, _ in attrs if name.startswith("on") or name in ("href", "src")]

    def handle_startendtag(self, tag, attrs):
        self.names.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
def test_the_diagram_comes_after_theirs_once_fitted(cls):
    model = cls(hidden_layer_sizes=(5,), max_iter=1)
    with config_context(display="diagram"):
        assert "fastmlp-network" not in model._repr_html_()
        assert "fastmlp-network" not in model._repr_mimebundle_()["text/html"]
        model.fit(X, LABELS)
        for text in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
            assert text.startswith(estimator_html_repr(model)[:100])
            assert "sk-top-container" in text[: text.index("fastmlp-network")]
            assert count(svg_of(part_of(text)), "circle") > 9
        assert model._repr_mimebundle_()["text/plain"] == repr(model)


def test_display_of_text_is_honoured():
    model = fitted()
    with config_context(display="text"):
        assert not hasattr(model, "_repr_html_")
        assert model._repr_mimebundle_() == {"text/plain": repr(model)}


def test_what_is_drawn():
    text = part_of(fitted(sizes=(5, 30), activation=["relu", "tanh"])._repr_html_())
    svg = svg_of(text)
    words = ["input", "4", "", "hidden 1", "5", "relu", "\u22ee", "hidden 2", "30", "tanh", "output", "3", "softmax"]
    assert texts(svg) == [word or None for word in words]
    assert count(svg, "circle") == 4 + 5 + 6 + 3
    lines = [path.get("d").count("M") for path in svg.iter("{http://www.w3.org/2000/svg}path")]
    assert lines == [4 * 5, 5 * 6, 6 * 3]
    assert svg[0].text == "MLPClassifier: 4 features, 298 parameters, 260 multiply-adds a row"
    width, height = float(svg.get("width")), float(svg.get("height"))
    for element in svg.iter():
        x, y = (float(element.get(name) or element.get(f"c{name}") or 1) for name in "xy")
        assert 0 < x < width
        assert 0 < y < height


@pytest.mark.parametrize("sizes", [(), (1,), (7,), (8,), (9,), (100, 100), (3,) * 20], ids=str)
def test_any_network_is_drawn(sizes):
    text = part_of(fitted(sizes=sizes)._repr_html_())
    parser = Balance()
    parser.feed(text)
    assert not parser.open
    assert parser.names == {"div", "svg", "title", "path", "circle", "text"}
    svg = svg_of(text)
    assert count(svg, "circle") == sum(size if size <= 8 else 6 for size in (4, *sizes, 3))
    assert count(svg, "path") == len(sizes) + 1
    heights = [float(circle.get("cy")) for circle in svg.iter("{http://www.w3.org/2000/svg}circle")]
    top, bottom = min(heights), max(heights)
    words = [float(text.get("y")) for text in svg.iter("{http://www.w3.org/2000/svg}text") if text.text != "\u22ee"]
    assert top > 8
    assert min(words) > bottom + 8


def test_colours_are_those_of_the_page():
    text = part_of(fitted()._repr_html_())
    colours = {value for name, value in re.findall(r'(fill|stroke|color|background)="?:?\s*([^";]+)', text)}
    assert colours == {"currentColor", "none"}


def test_names_are_escaped():
    def square(z):
        return z * z

    square.__name__ = '<script>alert("1")</script>'
    model = fitted(activation=square)
    text = part_of(model._repr_html_())
    assert "<script" not in text
    assert html.escape("Activation(<script>")[:20] in text
    renamed = type('<img src="x">', (MLPClassifier,), {})
    text = part_of(fitted(renamed)._repr_html_())
    assert "<img" not in text
    assert "&lt;img" in text


def test_pipelines_show_theirs():
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=1)).fit(X, LABELS)
    for text in (pipeline._repr_html_(), estimator_html_repr(pipeline)):
        assert "MLPClassifier" in text
        assert "fastmlp-network" not in text
    with config_context(display="text"):
        assert not hasattr(pipeline, "_repr_html_")
