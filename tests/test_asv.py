"""asv's suites run, on the present commit and what is installed; a file of its own, for it takes minutes."""

import pytest

from benchmarks.common import ROOT
from benchmarks.common import run_module as run

SUITES = [
    "Fit.time_fit",
    "FitMemory.peakmem_fit",
    "PartialFit.time_partial_fit",
    "Predict.time_predict",
    "PredictMemory.track_growth",
    "Kernel.track_peak",
    "Formula.track_ratio",
    "Startup.track_import_and_first_fit",
    "SameResults.track_loss",
    "Search.time_grid",
]
# All suites as they are take a quarter of an hour.
SOME = [
    r"\.Fit\..*64-100-10', 'float32",
    r"FitMemory.*float32', 'fastmlp, all threads",
    r"PartialFit.*64-100-10', 'float32",
    r"\.Predict\.time_predict\(1, 'float32",
    r"PredictMemory.*float64', 'fastmlp, all threads",
    "Kernel.*float32",
    r"Formula.*\('gelu'",
    "Startup.*classifier.*warm",
    "SameResults",
    r"Search.*\('fastmlp'",
]


def test_asv(tmp_path):
    """`asv check` passes, and every suite runs once, on some of its parameters.

    asv keeps what it knows of the machine in the home directory.
    """
    if not (ROOT / ".git").exists():
        pytest.skip("asv needs the repository")
    run("asv", "machine", "--yes", home=tmp_path)
    run("asv", "check", "--python=same", home=tmp_path)
    chosen = [word for one in SOME for word in ("--bench", one)]
    text = run("asv", "run", "--quick", "--show-stderr", "--python=same", *chosen, home=tmp_path)
    assert "failed" not in text, text
    for suite in SUITES:
        assert suite in text
