"""asv's suites run, on the present commit and what is installed; a file of its own, for it takes minutes."""

import pytest

from benchmarks.common import ROOT
from benchmarks.common import run_module as run


def test_asv(tmp_path):
    """`asv check` passes, and every suite runs once; asv keeps what it knows of the machine in the home directory."""
    if not (ROOT / ".git").exists():
        pytest.skip("asv needs the repository")
    run("asv", "machine", "--yes", home=tmp_path)
    run("asv", "check", "--python=same", home=tmp_path)
    text = run("asv", "run", "--quick", "--show-stderr", "--python=same", home=tmp_path)
    assert "failed" not in text, text
    suites = [
        "Fit.time_fit",
        "Predict.time_predict",
        "Kernel.track_peak",
        "Formula.track_ratio",
        "SameResults.track_loss",
        "Search.time_grid",
    ]
    for suite in suites:
        assert suite in text
