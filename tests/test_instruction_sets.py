"""The kernels under each instruction set that code for this machine can be made for.

By default the sizes from one to two tiles and one, without FMA and the vectors of AVX; FASTMLP_TRUST=full in the
environment: all tests of the kernels and of the formulas, so, for AVX2, and for all that this machine has.
"""

import os
import platform
import sys

import pytest
from suite import run_kernel_tests

FULL = os.environ.get("FASTMLP_TRUST") == "full"
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="names of x86-64 processors"
)


@pytest.mark.parametrize(
    ("processor", "name"),
    [("generic", "baseline"), ("haswell", "AVX2"), (None, None)],
    ids=["baseline", "AVX2", "host"],
)
def test_kernels(processor, name, tmp_path):
    if not FULL and processor != "generic":
        pytest.skip("only with FASTMLP_TRUST=full; test_cpu.py itself runs here, and for another processor in part")
    environment = {} if processor is None else {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    selection = ["tests/test_formulas.py"] if FULL else ["-k", "from_one_to_two_tiles"]
    got, _ = run_kernel_tests(tmp_path, *selection, **environment)
    assert name is None or got == name
