"""What fastmlp and its peers ask of a machine: `python -m benchmarks.footprint`.

The size of a package with all that it requires, and the seconds of its import, beside NumPy's. skorch and Keras compute
with another package, which they do not require: it is counted in.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fastmlp
from benchmarks.common import (
    ROOT,
    format_machine,
    format_number,
    format_spread,
    format_table,
    installed_version,
    interleave,
    machine,
    summarise,
)
from benchmarks.contestants import keras_backend

MODULES = {"NumPy": "numpy", "fastmlp": "fastmlp", "scikit-learn": "sklearn", "PyTorch": "torch"}
MODULES |= {"skorch": "skorch", "Keras": "keras"}
FOR_GPUS = ("nvidia-", "cuda-", "triton")  # how packages begin that PyTorch requires on Linux, with a GPU and without
MEGABYTE = 1e6
IMPORT = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def packages_of(name: str) -> tuple[str, ...]:
    """Return what has to be installed for a row of the table: the package, and what it computes with."""
    return {"PyTorch": ("torch",), "skorch": ("skorch", "torch"), "Keras": ("keras", keras_backend() or "torch")}.get(
        name, (name.lower(),)
    )


def with_requirements(packages: Iterable[str]) -> tuple[set[str], set[str]]:
    """Return the packages and all that they require, here and without extras: those installed, and those missing.

    Extras that a requirement itself asks for are required.
    """
    found, missing, seen = set(), set(), set()
    left = [(canonicalize_name(package), "") for package in packages]
    while left:
        package, extra = left.pop()
        if (package, extra) in seen:
            continue
        seen.add((package, extra))
        try:
            requirements = map(Requirement, metadata.requires(package) or [])
        except metadata.PackageNotFoundError:
            missing.add(package)
            continue
        found.add(package)
        for requirement in requirements:
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                left += [(canonicalize_name(requirement.name), name) for name in ("", *requirement.extras)]
    return found, missing


def installed_bytes(package: str) -> int:
    """Return the size of a package's files, without the bytecode that Python makes of them."""
    files = {Path(file.locate()) for file in metadata.files(package) or []}
    if package == "fastmlp" and not any(file.match("fastmlp/__init__.py") for file in files):  # installed with `-e`
        files = set(Path(fastmlp.__file__).parent.rglob("*.py"))
    return sum(file.stat().st_size for file in files if "__pycache__" not in file.parts and file.is_file())


def import_seconds(name: str) -> float:
    """Return the seconds of an import in a fresh process."""
    environment = dict(os.environ)
    if name == "Keras":
        environment["KERAS_BACKEND"] = packages_of(name)[1]
    command = [sys.executable, "-c", IMPORT.format(module=MODULES[name])]
    answer = subprocess.run(command, cwd=ROOT, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return float(answer.stdout)


def measure(names: list[str], repeats: int) -> list[dict]:
    """Return what the table says of each."""
    for name in names:
        import_seconds(name)  # brings its files into memory
    imports = interleave({name: lambda name=name: import_seconds(name) for name in names}, repeats)
    results = []
    for name in names:
        packages, missing = with_requirements(packages_of(name))
        sizes = {package: installed_bytes(package) for package in sorted(packages)}
        results.append(
            {"name": name, "of": packages_of(name), "bytes": sizes, "missing": sorted(missing)}
            | {"import": summarise(imports[name])}
        )
    return results


def format_results(results: list[dict]) -> str:
    """Return a table, a line for each."""
    base = next((result["import"]["median"] for result in results if result["name"] == "NumPy"), None)
    rows = []
    for result in results:
        sizes, seconds = result["bytes"], result["import"]
        gpu = sum(size for package, size in sizes.items() if package.startswith(FOR_GPUS))
        ratio = "" if base is None else f"{seconds['median'] / base:.1f}"
        name = " with ".join([result["name"], *("PyTorch" if peer == "torch" else peer for peer in result["of"][1:])])
        total = format_number(sum(sizes.values()) / MEGABYTE)
        rows.append(
            [name, str(len(sizes)), total, format_number(gpu / MEGABYTE) if gpu else "", format_spread(seconds), ratio]
        )
    header = ["", "packages", "installed, MB", "of it for GPUs, MB", "import, s", "times NumPy's"]
    return format_table(header, rows)


def main(arguments: list[str] | None = None) -> None:
    """Show the size of fastmlp and its peers, with all that they require, and the seconds of their imports."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=main.__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="imports of each (default: %(default)s)")
    parser.add_argument("--package", action="append", choices=list(MODULES), help="only this one")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    options = parser.parse_args(arguments)
    names = [name for name in MODULES if not options.package or name in options.package]
    left_out = [name for name in names if any(installed_version(package) is None for package in packages_of(name))]
    facts = machine()
    results = measure([name for name in names if name not in left_out], options.repeats)
    if options.json:
        print(json.dumps({"machine": facts, "left out": left_out, "results": results}, indent=2))
        return
    print(format_machine(facts))
    if left_out:
        print(f"not installed (the extra `bench` installs them): {', '.join(left_out)}")
    for result in results:
        if result["missing"]:
            print(f"{result['name']}: required but not installed, and not counted: {', '.join(result['missing'])}")
    print("", format_results(results), "", sep="\n")
    print(
        "packages, installed: with all that it requires on this system, without extras; files without bytecode, 1 MB "
        "= 1,000,000 bytes.\n"
        f"of it for GPUs: packages {', '.join(name + '*' for name in FOR_GPUS)}.\n"
        f"import: in a fresh process whose start is not counted, files in memory; median (quartiles) of "
        f"{options.repeats}."
    )


if __name__ == "__main__":
    main()
