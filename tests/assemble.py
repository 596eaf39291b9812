"""Compile kernels to PTX and assemble them, without a GPU: run as a script, it prints what became of them as JSON."""

import json
import re
import sys
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numba.cuda.dispatcher
import numpy as np
from numba import types
from numba.cuda import compiler

PRECISIONS = ("float32", "tf32", "bfloat16")
ARCHITECTURES = [(8, 0), (9, 0), (10, 0)]


def compiled(function, signature):
    """Return a function of an architecture that gives a kernel's PTX for it; what Numba does is done once for all."""
    # a kernel that calls another function asks the driver for the GPU that is there
    device = SimpleNamespace(compute_capability=ARCHITECTURES[0])
    numba.cuda.dispatcher.get_current_device = lambda: device
    options = {"debug": None, "lineinfo": False, "fastmath": False, "opt": None, "abi_info": None}
    options |= {"device": False, "abi": "numba", "forceinline": False, "lto": False, "launch_bounds": None}
    options["launch_bounds"] = function.targetoptions.get("launch_bounds")
    library, _ = compiler._compile_pyfunc_with_fixup(function.py_func, signature, cc=ARCHITECTURES[0], **options)
    return lambda architecture: library.get_asm_str(cc=architecture)


def assembled(ptx, architecture):
    """Return what the assembler says of a kernel: registers, bytes of spills and of shared memory.

    saved: what functions that the kernel calls store of its registers as they begin and load as they end; that is what
    it is taken for where they load what they store, but for two numbers, for spills in a loop are loaded there.
    """
    from cuda.bindings import nvjitlink

    major, minor = architecture
    options = [f"-arch=sm_{major}{minor}", "-verbose", "-Xptxas=-v"]
    linker = nvjitlink.create(len(options), options)
    code = ptx.encode()
    nvjitlink.add_data(linker, nvjitlink.InputType.PTX, code, len(code), "kernel")
    # of a grid whose threads wait for each other: a part of CUDA's runtime
    for library in sorted(Path(sys.prefix).rglob("libcudadevrt.a"))[:1] if "cudaCGSynchronize" in ptx else []:
        nvjitlink.add_file(linker, nvjitlink.InputType.LIBRARY, str(library))
    nvjitlink.complete(linker)
    log = bytearray(nvjitlink.get_info_log_size(linker))
    nvjitlink.get_info_log(linker, log)
    text = log.decode()
    spills = re.findall(r"Function properties for (\S+)\n.*?(\d+) bytes spill stores, (\d+) bytes spill loads", text)
    entries = set(re.findall(r"entry function '(\S+)'", text))
    saved = [
        int(stores) for name, stores, loads in spills if name not in entries and abs(int(stores) - int(loads)) <= 8
    ]
    return {
        "registers": max(map(int, re.findall(r"sed (\d+) registers", text))),
        "spills": sum(int(stores) for _, stores, _ in spills) - sum(saved),
        "saved": sum(saved),
        "shared": max(map(int, re.findall(r"(\d+) bytes smem", text)), default=0),
    }


def train_arguments(numbers):
    """Return the types of the arguments of training."""
    integers, doubles = types.int64[::1], types.float64[::1]
    return numbers, numbers, integers, numbers, integers, numbers, numbers, integers, doubles, doubles


def large_kernels():
    """Give the name, function and types of the training kernels for large layers."""
    from fastmlp.cuda import launch, step
    from fastmlp.cuda.program import program_of
    from fastmlp.network import Network

    tiles = [("float64 by fma small", launch.SMALL_FMA_TILE)]
    for size, tile, fma in (
        ("small", launch.SMALL_TILE, launch.SMALL_FMA_TILE),
        ("large", launch.LARGE_TILE, launch.LARGE_FMA_TILE),
    ):
        tiles.append((f"float32 by fma {size}", fma))
        tiles += [
            (f"float32 by {name} {size}", tile._replace(arithmetic=name)) for name in ("float32", "tf32", "bfloat16")
        ]
    for size, activation in (("classic", "relu"), ("full", "gelu")):
        program = program_of(Network((1, 1, 1), (activation, "identity"), "squared_error"))
        for name, tile in tiles:
            dtype = name.split()[0]
            train = step.make_train(program, np.dtype(dtype), "large", tile)
            yield f"train large {size} {name} tile", train, train_arguments(getattr(types, dtype)[::1])


def kernels():
    """Give the name, function and types of all kernels."""
    from fastmlp.cuda import rows, step
    from fastmlp.cuda.program import program_of
    from fastmlp.network import Network

    integers, doubles, integer = types.int64[::1], types.float64[::1], types.int64
    for size, name, dtypes in (("classic", "relu", ["float32"]), ("full", "gelu", ["float32", "float64"])):
        program = program_of(Network((1, 1, 1), (name, "identity"), "squared_error"))
        for dtype in dtypes:
            numbers = getattr(types, dtype)[::1]
            for kind in ("shared", "block", "grid") if size == "full" else ("grid",):
                train = step.make_train(program, np.dtype(dtype), kind)
                yield f"train {kind} {size} {dtype}", train, train_arguments(numbers)
            arguments = (numbers, numbers, numbers, integers, numbers, integers, integers)
            predict = step.make_predict(program, np.dtype(dtype))
            yield f"predict {size} {dtype}", predict, (*arguments, integer, integer)
            if size == "classic":
                continue
            yield f"input_gradient {size} {dtype}", step.make_input_gradient(program), (*arguments, numbers, integer)
            arguments = (doubles, numbers, integers, numbers, numbers, integer, integer, integer, types.float64)
            yield f"sum_losses {size} {dtype}", step.make_sum_losses(program), arguments
            yield f"find_not_finite {size} {dtype}", step.find_not_finite, (types.int32[::1], numbers, integer)
    singles, doubles = types.float32[::1], types.float64[::1]
    yield "copy_rows", rows.copy_rows, (singles, types.Array(types.float64, 2, "A"), integer)
    yield "copy_rows of bool", rows.copy_rows, (doubles, types.Array(types.boolean, 2, "C"), integer)
    yield "take_rows", rows.take_rows, (singles, singles, integers, integer)
    yield "find_nan_and_infinity", rows.find_nan_and_infinity, (types.int32[::1], singles)


def main():
    """Print a record of each kernel whose name has one of the words given, or of all but those for large layers."""
    records = []
    chosen = kernels() if len(sys.argv) == 1 else chain(kernels(), large_kernels())
    for name, function, signature in chosen:
        if len(sys.argv) == 1 or any(word in name for word in sys.argv[1:]):
            ptx_for = compiled(function, signature)
            for architecture in ARCHITECTURES:
                ptx = ptx_for(architecture)
                record = {"name": name, "architecture": "sm_{}{}".format(*architecture)}
                record["loads"] = len(re.findall(r"ld\.(?:global|shared)?\.?v[24]\.[fb](?:32|64)", ptx))
                record["shared loads"] = len(re.findall(r"ld\.shared\.v[24]", ptx))
                record["tensor"] = len(re.findall(r"mma\.sync", ptx))
                record["local"] = len(re.findall(r"\b(?:ld|st)\.local", ptx))
                records.append(record | assembled(ptx, architecture))
    print(json.dumps(records))


if __name__ == "__main__":
    main()
