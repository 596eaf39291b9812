"""What the benchmarks share: timing, tables, and the machine they ran on."""

import datetime
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import sklearn  # noqa: F401 -- its BLAS is loaded before it is asked for
from threadpoolctl import ThreadpoolController

import fastmlp
from fastmlp.cli.demo import PAUSE, processor_name
from fastmlp.cpu import describe

ROOT = Path(__file__).parent.parent


def seconds(function: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interleave(functions: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Call all in turn, `repeats` rounds, so that a change of the machine's load meets all; return their results.

    A pause keeps the threads that a BLAS leaves waiting off the next one's cores.
    """
    results = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            time.sleep(PAUSE)
            results[name].append(function())
    return results


def summarise(values: list[float]) -> dict[str, float]:
    """Return the median and both quartiles."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def format_number(value: float) -> str:
    """Return three significant digits, never as a power of ten."""
    decimals = max(0, 2 - int(np.floor(np.log10(abs(value))))) if value else 0
    return f"{value:,.{decimals}f}"


def format_spread(summary: dict[str, float], unit: float = 1.0) -> str:
    """Return "median (low to high)" in the unit."""
    median, low, high = (format_number(summary[key] * unit) for key in ("median", "low", "high"))
    return f"{median} ({low} to {high})"


def format_table(header: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown, columns aligned."""
    lines = [list(header), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )


def blas_kernel() -> str:
    """Return the BLAS behind NumPy's products, which scikit-learn's networks use, and which processor's kernels run."""
    found = ThreadpoolController().select(user_api="blas").info()
    found = [library for library in found if "scipy.libs" not in library["filepath"]] or found
    return ", ".join(
        f"{library['internal_api']} {library['version']} {library.get('architecture', '')}".strip() for library in found
    )


def installed_version(package: str) -> str | None:
    """Return a package's version, without importing it; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def machine() -> dict[str, object]:
    """Return what ran where, and when."""
    host = describe()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {"fastmlp": fastmlp.__version__} | {name: installed_version(name) for name in PACKAGES},
        "instruction set": host["instruction set"],
        "threads": host["threads"],
        "threading layer": "Python threads, kernels without the GIL",
        "blas": blas_kernel(),
        "environment": {name: value for name, value in sorted(os.environ.items()) if name.startswith(SETTINGS)},
    }


PACKAGES = ("numba", "llvmlite", "numba-cuda", "scikit-learn", "numpy", "scipy", "torch", "jax", "skorch", "keras")
SETTINGS = ("OPENBLAS_", "OMP_", "MKL_", "NUMBA_", "GOTO_", "CUDA_", "XLA_", "JAX_", "TORCH_", "KERAS_")


def format_machine(facts: dict[str, object]) -> str:
    """Return what `machine` found, one line a subject."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items() if number)
    lines = [
        facts["date"],
        f"{facts['processor']}, {facts['cores']} cores, {facts['system']}",
        f"Python {facts['python']}, {versions}",
        f"fastmlp: {facts['instruction set']}, {facts['threads']} threads at most ({facts['threading layer']})",
        f"scikit-learn: {facts['blas']}",
    ]
    if facts["environment"]:
        lines.append("set: " + " ".join(f"{name}={value}" for name, value in facts["environment"].items()))
    return "\n".join(lines)


def run_module(*command: str, home: str | None = None) -> str:
    """Run `python -m` with these words in the repository, with another home directory if given; return its output."""
    environment = os.environ | ({} if home is None else {"HOME": str(home), "USERPROFILE": str(home)})
    answer = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        raise RuntimeError(answer.stdout + answer.stderr)
    return answer.stdout
