"""Every kernel for NVIDIA GPUs, compiled to PTX and assembled for three architectures, without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

HERE = Path(__file__).parent
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
KERNELS = ["train shared", "train block", "train grid", "predict", "input_gradient", "sum_losses", "find_not_finite"]


def run_python(*arguments, **environment):
    """Return what a process prints that has the compiler: this one has the simulator in its place."""
    result = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "NUMBA_ENABLE_CUDASIM": "0", "PYTHONPATH": str(HERE.parent), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def records():
    """Return what became of all kernels."""
    return json.loads(run_python(str(HERE / "assemble.py")))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_kernels_assemble(kernel, dtype, architecture, records):
    found = [
        record
        for record in records
        if record["name"].startswith(kernel) and dtype in record["name"] and record["architecture"] == architecture
    ]
    both = dtype == "float32" and kernel in ("train grid", "predict")
    assert len(found) == (2 if both else 1), "one for all formulas, one for scikit-learn's"
    for record in found:
        assert record["registers"] <= 255
        # 128 threads to a block: with 255 registers each, two blocks are on a multiprocessor at once
        assert record["spills"] <= (128 if dtype == "float64" else 0), record
        # what `compiler.STATIC_SHARED_MEMORY` sets aside beside parameters; in a grid, what any block may have
        assert record["shared"] <= (40 << 10 if kernel == "train grid" else 8192), record
        if kernel.startswith(("train", "predict", "input_gradient")):
            assert record["loads"] >= 8, "products load four numbers at once"
        if kernel == "train shared":
            assert record["shared loads"] >= 8, "and those of the weights come from shared memory"
        if kernel.startswith(("predict", "input_gradient")):
            assert record["local"] <= 4, "but for what a layer returns, which is compiled apart"
        elif "train" not in kernel:
            assert record["local"] == 0, "all that a thread has is in registers"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kernel", ["copy_rows", "copy_rows of bool", "take_rows", "find_nan_and_infinity"])
def test_kernels_of_rows_assemble(kernel, architecture, records):
    (record,) = [one for one in records if one["name"] == kernel and one["architecture"] == architecture]
    assert record["spills"] == record["local"] == 0


LOAD_AND_SAVE = """
import sys
from types import SimpleNamespace
import numba.cuda.codegen
import numba.cuda.dispatcher
import numpy as np
from numba import types
from numba.cuda.cudadrv import devices

device = SimpleNamespace(compute_capability=(9, 0))  # in place of a GPU
numba.cuda.dispatcher.get_current_device = lambda: device
devices.get_context = lambda *number: SimpleNamespace(device=device)
numba.cuda.codegen.runtime = SimpleNamespace(runtime=SimpleNamespace(get_version=lambda: (13, 0)))

from fastmlp.cuda.program import program_of
from fastmlp.cuda.step import make_sum_losses
from fastmlp.network import Network

for activation in ("relu", "gelu"):
    program = program_of(Network((1, 1, 1), (activation, "identity"), "squared_error"))
    for dtype in ("float32", "float64"):
        losses, numbers, integer = make_sum_losses(program), getattr(types, dtype)[::1], types.int64
        signature = (types.float64[::1], numbers, types.int64[::1], numbers, numbers, *(integer,) * 3, types.float64)
        found = losses._cache.load_overload(signature, losses.targetctx)
        print(activation, dtype, found is not None, found is not None and list(found._codelibrary._cubin_cache))
        if found is None:
            kernel = numba.cuda.dispatcher._Kernel(losses.py_func, signature, **losses.targetoptions)
            kernel._codelibrary.get_cubin(cc=(9, 0))
            losses._cache.save_overload(signature, kernel)
"""


def test_compiled_kernels_are_kept_for_the_next_process(tmp_path):
    outputs = [run_python("-c", LOAD_AND_SAVE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    for output, found in zip(outputs, ("False False", "True [(9, 0)]"), strict=True):
        assert [line.split(" ", 2)[2] for line in output.splitlines()] == [found] * 4


ALLOW = """
from types import SimpleNamespace
from fastmlp.cuda import compiler

class Function:
    handle, device = 1, SimpleNamespace(id=0)

one, other = Function(), Function()
library = lambda function: SimpleNamespace(get_cufunc=lambda: function)
compiler._compiled = lambda function, arguments: SimpleNamespace(_codelibrary=library(function))
compiler.driver = SimpleNamespace(cuKernelSetAttribute=lambda attribute, size, *rest: print(size))
for function, size in ((one, 100), (one, 200), (one, 150), (other, 150)):
    compiler.allow_shared_memory(function, size)
"""


def test_a_kernel_is_not_allowed_less_for_a_smaller_network():
    assert run_python("-c", ALLOW).split() == ["100", "200", "150"]
