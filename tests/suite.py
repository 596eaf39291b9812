"""The tests of the kernels in another process, for which Numba compiles otherwise than here."""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
PROGRAM = """
import sys
import pytest
from fastmlp.cpu.target import INSTRUCTION_SET
print(INSTRUCTION_SET.name, flush=True)
sys.exit(pytest.main(sys.argv[1:]))
"""


def run_kernel_tests(cache, *files, part="not cache", **environment):
    """Run tests/test_cpu.py and other files, or a part as pytest's -k says it; return the instruction set.

    They begin with an empty cache, and go without tests/conftest.py, which first compiles what many processes will
    need; the tests of the cache, which compile in more processes, need not be repeated.
    """
    options = ["-q", "-x", "-k", part, "--noconftest", "-p", "no:cacheprovider", "-o", "addopts=--strict-config"]
    paths = f"{HERE}{os.pathsep}{HERE.parent}"
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *options, "tests/test_cpu.py", *files],
        env=measured({**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": str(cache), **environment}),
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]  # 5 where no test is selected
    name, *_, summary = result.stdout.splitlines()
    print(environment, name, summary)
    return name


def measured(environment):
    """Return an environment in which the lines that a process runs are measured if those here are."""
    if "coverage" not in sys.modules or sys.modules["coverage"].Coverage.current() is None:
        return environment
    return {**environment, "COVERAGE_PROCESS_START": str(HERE.parent / "pyproject.toml")}
