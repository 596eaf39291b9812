"""What README.md shows runs, and its links lead somewhere."""

import re
import textwrap
from importlib.util import find_spec
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
needs_readme = pytest.mark.skipif(not TEXT, reason="there is no README.md beside the tests")


def section(title):
    """Return the text of a section of the second level."""
    return re.search(rf"^## {title}\n(.*?)^## ", TEXT, re.MULTILINE | re.DOTALL).group(1)


@needs_readme
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_recipes_run(tmp_path, monkeypatch, capsys):
    import matplotlib as mpl

    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", section("Use") + section("Recipes"), re.MULTILINE | re.DOTALL)
    assert len(blocks) > 8
    names = {}
    for block in blocks:
        if "sklearn.callback" in block and find_spec("sklearn.callback") is None:
            continue  # before 1.9
        exec(compile(textwrap.dedent(block), str(README), "exec"), names)
    mpl.pyplot.close("all")
    assert names["model"].score(names["X_test"], names["y_test"]) > 0.9
    assert 0.7 < float(re.search(r"^0\.\d+$", capsys.readouterr().out, re.MULTILINE).group()) < 1


@needs_readme
def test_links_within():
    anchors = {
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    links = re.findall(r"\]\(([^)\s]+)\)", TEXT)
    assert len(links) > 5
    for link in links:
        if link.startswith("#"):
            assert link[1:] in anchors, link
        elif not link.startswith("http"):
            assert (README.parent / link).exists(), link
