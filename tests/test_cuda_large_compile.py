"""The training kernels for large layers, compiled to PTX and assembled for three architectures, without a GPU."""

import json

import pytest
from test_cuda_compile import ARCHITECTURES, HERE, run_python

KERNELS = [
    "classic float32 by float32 small",
    "classic float32 by float32 large",
    "classic float32 by bfloat16 large",
    "full float64 by fma small",
]
# of a step of a tile along its depth, in both forms of a product (of the left operand as it is, and transposed): loads
# of four numbers, instructions of tensor cores, where loops are unrolled
LOADS = 2 * 2
# bytes of the kernel's own values that do not fit into its registers, outside of products, which are functions apart
SPILLS = {"sm_80": 128, "sm_90": 32, "sm_100": 0}


@pytest.fixture(scope="module")
def records():
    """Return what became of these kernels."""
    return json.loads(run_python(str(HERE / "assemble.py"), *KERNELS))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_for_large_layers_assemble(kernel, architecture, records):
    (record,) = (one for one in records if kernel in one["name"] and one["architecture"] == architecture)
    assert record["registers"] <= 255, "256 threads have no more"
    assert record["spills"] <= SPILLS[architecture], record
    assert record["shared"] <= 48 << 10, "what a block may have without being asked"
    if "fma" in kernel:
        assert record["tensor"] == 0
        assert record["shared loads"] >= LOADS, "multiply-adds take four numbers at once from shared memory"
    else:
        # of a warp's part, 64 x 32 of a large tile or 32 x 16 of a small one, in parts of 16 x 8
        parts, products = 16 if "large" in kernel else 4, 3 if "by float32" in kernel else 1
        assert record["tensor"] >= 2 * parts * products
        assert record["tensor"] % (2 * parts * products) == 0
    assert record["loads"] >= LOADS, "from memory, too"
