"""Say what is installed, what it computes on, and where compiled code is kept."""

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastmlp import __version__
from fastmlp.cpu import describe
from fastmlp.cpu.engine import work
from fastmlp.training.device import check_gpu

REQUIRED = ("numba", "numpy", "scipy", "scikit-learn")
EXTRAS = {  # as in pyproject.toml
    "cuda": ("numba-cuda",),
    "dask": ("dask",),
    "plots": ("matplotlib",),
    "progress": ("rich",),
    "files": ("safetensors",),
    "onnx": ("onnx", "onnxruntime", "skl2onnx"),
    "optuna": ("optuna",),
    "torch": ("torch",),
    "keras": ("keras",),
    "cli": ("pandas", "pyarrow", "skops"),
}


def processor_name() -> str:
    """Return the processor's model as the operating system names it."""
    if sys.platform == "linux" and Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if sys.platform == "darwin":
        command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return answer.stdout.strip()
    return platform.processor() or platform.machine()


def installed(package: str) -> str | None:
    """Return the version of a package, or None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def cache() -> dict[str, object]:
    """Return where Numba keeps the compiled engine, what is there, and whether more may be."""
    folder = work.stats.cache_path
    if folder is None:  # Numba found no place; each process compiles anew
        return {"folder": None, "programs": 0, "bytes": 0, "writable": False}
    folder = Path(folder)
    files = [file for file in folder.glob("*.nb[ci]") if file.is_file()]
    there = next(path for path in (folder, *folder.parents) if path.exists())
    return {
        "folder": str(folder),
        "programs": sum(file.suffix == ".nbc" for file in files),
        "bytes": sum(file.stat().st_size for file in files),
        "writable": os.access(there, os.W_OK),
    }


def collect() -> dict[str, object]:
    """Return all that `fastmlp info` says."""
    try:
        check_gpu()
        gpu = {"available": True, "reason": None}
    except (ImportError, RuntimeError) as error:
        gpu = {"available": False, "reason": str(error)}
    host = describe()
    return {
        "fastmlp": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {package: installed(package) for package in REQUIRED},
        "extras": {extra: {package: installed(package) for package in packages} for extra, packages in EXTRAS.items()},
        "processor": processor_name(),
        "instruction_set": host["instruction set"],
        "threads": host["threads"],
        "gpu": gpu,
        "cache": cache(),
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(options: argparse.Namespace) -> int:
    """Print versions, processor, GPU and cache."""
    found = collect()
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    print(f"fastmlp {found['fastmlp']}, Python {found['python']}, {found['system']}")
    print(", ".join(f"{package} {number}" for package, number in found["packages"].items()))
    print("\nExtras")
    for extra, packages in found["extras"].items():
        print(f"  {extra:<9}", ", ".join(f"{name} {number or 'not installed'}" for name, number in packages.items()))
    print(f"\nProcessor  {found['processor']}: {found['instruction_set']}, {found['threads']} threads")
    print(f"GPU        {'available' if found['gpu']['available'] else 'none: ' + found['gpu']['reason']}")
    kept = found["cache"]
    if kept["folder"] is None:
        print("Cache      none: Numba has no place to write to (NUMBA_CACHE_DIR names one), each process compiles anew")
    else:
        size = f"{kept['programs']} compiled functions, {kept['bytes'] / 2**20:.1f} MiB"
        print(f"Cache      {kept['folder']}: {size}, {'' if kept['writable'] else 'not '}writable")
    return 0
