"""The kernels under each instruction set that code for this machine can be made for.

By default a part of the tests, without FMA and the vectors of AVX, and for AVX2 where this machine has more;
FASTMLP_TRUST=full in the environment: all tests of the kernels and of the formulas, so, and for this machine.
"""

import os
import platform
import sys

import pytest
from suite import run_kernel_tests

from fastmlp.cpu import describe

FULL = os.environ.get("FASTMLP_TRUST") == "full"
HOST = describe()["instruction set"]
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="names of x86-64 processors"
)


@pytest.mark.parametrize(
    ("processor", "name"),
    [("generic", "baseline"), ("haswell", "AVX2"), (None, HOST)],
    ids=["baseline", "AVX2", "host"],
)
def test_kernels(processor, name, tmp_path):
    if not FULL and name == HOST:
        pytest.skip(f"tests/test_cpu.py itself runs here with {HOST}")
    environment = {} if processor is None else {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    if FULL:
        got = run_kernel_tests(tmp_path, "tests/test_formulas.py", **environment)
    else:
        part = "from_one_to_two_tiles or bits_for_any_number_of_rows and float32"
        got = run_kernel_tests(tmp_path, part=part, **environment)
    assert got == name
