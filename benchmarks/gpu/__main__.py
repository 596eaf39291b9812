"""Check fastmlp on an NVIDIA GPU, then time it beside its peers: `python -m benchmarks.gpu`.

Nothing is timed before the engine agrees with the plain NumPy engine, and no case before all of it compute
scikit-learn's losses from the same start.
"""

# This folder has no __init__.py: asv imports all packages that it finds beside its suites, and needs no numba-cuda.

import argparse
import json
import shutil
import subprocess
import sys

from benchmarks.common import ROOT, format_machine, installed_version, machine
from benchmarks.gpu.cases import BY_NAME
from fastmlp.training.device import check_gpu

CHECK_FAILED, NO_GPU = 1, 3  # exit codes; 2 is that of wrong arguments
DRIVER_FACTS = ("driver_version", "memory.total", "power.limit", "clocks.max.sm")  # as nvidia-smi names them
PEERS = ("torch", "jax", "jax-cuda13-plugin", "jax-cuda12-plugin")

NOTES = """\
Times are medians (quartiles) of rounds in which all take their turn, of whole epochs, fits or calls, until the results
are in the host's memory; all were warmed up. Adam, relu, no penalty, float32, without TF32 where the case does not say
so; two classes have one output.
fastmlp: an epoch is the difference of two fits by the estimator, divided by the difference of max_iter; with tf32 and
bfloat16, and PyTorch and JAX: the loop of an epoch, shuffle included. Several epochs: fastmlp's whole fit, validation
and upload of the rows included, beside the loops of PyTorch and JAX, whose rows are on the GPU. PyTorch: fused Adam;
CUDA graphs: a step captured and replayed. JAX: an epoch is one scan, compiled. One after another: 4 fits, multiplied.
Times fastmlp's: time of the peer / time of fastmlp; goal: at least so many times, or for fastmlp at most so long.
TFLOP/s: useful multiply-adds of forward, backward and gradient, two operations each."""


def card() -> dict[str, str]:
    """Return which GPU computes, and what drives it."""
    from fastmlp.cuda.compiler import SIMULATED, cuda

    if SIMULATED:
        return {"card": "none, but Numba's simulator: not a measurement"}
    device = cuda.get_current_device()
    facts = {
        "card": str(device.name),
        "compute capability": "{}.{}".format(*device.compute_capability),
        "multiprocessors": str(device.MULTIPROCESSOR_COUNT),
        "CUDA": "{}.{}".format(*cuda.runtime.get_version()),
    }
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={','.join(DRIVER_FACTS)}", "--format=csv,noheader"]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = answer.stdout.splitlines()
        if answer.returncode == 0 and lines:  # the first GPU, which is the current one where there is one
            facts |= dict(zip(DRIVER_FACTS, map(str.strip, lines[0].split(",")), strict=True))
    return facts


def sanitize() -> int:
    """Run the tests of the kernels under compute-sanitizer; return the exit code."""
    if shutil.which("compute-sanitizer") is None:
        print("compute-sanitizer, of the CUDA toolkit, is not on the PATH.")
        return NO_GPU
    failed = False
    for tool in ("memcheck", "racecheck"):
        tests = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "gpu", "tests/test_cuda.py"]
        command = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "1", *tests]
        print("+", *command, flush=True)
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        lines = (answer.stdout + answer.stderr).splitlines()
        summary = [line for line in lines if "SUMMARY" in line or " passed" in line or " failed" in line]
        print(*(lines[-40:] if answer.returncode else []), *(summary or ["no summary"]), sep="\n")
        failed = failed or answer.returncode != 0
    return CHECK_FAILED if failed else 0


def format_report(report: dict) -> str:
    """Return all that was found, as text."""
    from benchmarks.gpu.checks import Check, format_checks
    from benchmarks.gpu.measure import format_results
    from benchmarks.gpu.thresholds import format_thresholds

    facts = ", ".join(f"{name}: {value}" for name, value in report["card"].items())
    lines = [format_machine(report["machine"]), facts]
    lines += [f"missing peer: {name} {reason}" for name, reason in report["missing"].items()]
    lines += [f"left out: {name}: {reason}" for name, reason in report["left out"].items()]
    lines.append(f"{report['repeats']} rounds" + ", --quick: not a measurement" * report["quick"])
    parts = ["\n".join(lines), format_checks([Check(**check) for check in report["checks"]])]
    if report["results"]:
        parts += [format_results(report["results"]), NOTES]
    if report["thresholds"]:
        parts.append(format_thresholds(report["thresholds"]))
    return "\n\n".join(parts)


def run(options: argparse.Namespace) -> tuple[dict, bool]:
    """Check, then measure; return the report, and whether all checks passed."""
    from benchmarks.gpu import checks, contestants, measure, thresholds
    from benchmarks.peers import Effort

    quick, repeats = options.quick, options.repeats or (2 if options.quick else 7)
    effort = Effort(repeats, 0.0, 1) if quick else Effort(repeats, 0.4, 4)  # uploads do not cancel out exactly
    missing = contestants.missing_peers()
    report = {"machine": machine(), "card": card(), "missing": missing, "left out": {}, "repeats": repeats}
    report["machine"]["versions"] |= {name: installed_version(name) for name in PEERS}
    report |= {"quick": quick, "results": [], "thresholds": {}}
    found = checks.run_checks(large=not contestants.SIMULATED, quick=quick)

    may_measure = options.measure_anyway or all(check.passed for check in found)
    if may_measure and options.thresholds:
        report["thresholds"] = thresholds.measure_thresholds(quick)
    elif may_measure and not options.checks_only:
        for case in [BY_NAME[name] for name in options.case or BY_NAME]:
            reason = contestants.left_out(case)
            if reason is not None:
                report["left out"][case.name] = reason
                continue
            case = case.shrunk() if quick else case
            ready, start, compared = measure.prepare(case, missing)
            found += compared
            if ready and (options.measure_anyway or all(check.passed for check in compared)):
                report["results"].append(measure.measure(case, ready, start, effort))
    report["checks"] = [check._asdict() for check in found]
    return report, all(check.passed for check in found)


def main(arguments: list[str] | None = None) -> int:
    """Check fastmlp on an NVIDIA GPU, then time it there beside PyTorch and JAX."""
    names = "; ".join(BY_NAME)
    codes = f"Exit code: 0; {CHECK_FAILED} if a check failed; {NO_GPU} if what it needs is missing, such as a GPU."
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=main.__doc__, epilog=codes)
    parser.add_argument("--case", action="append", choices=list(BY_NAME), metavar="CASE", help=f"time only: {names}")
    parser.add_argument("--repeats", type=int, help="rounds to time (default: 7, with --quick 2)")
    parser.add_argument("--checks-only", action="store_true", help="check the engine, and time nothing")
    parser.add_argument("--measure-anyway", action="store_true", help="time also where a check failed")
    parser.add_argument("--thresholds", action="store_true", help="time each kernel over sizes, in place of the cases")
    parser.add_argument("--sanitize", action="store_true", help="run the tests under compute-sanitizer, and no more")
    parser.add_argument("--quick", action="store_true", help="tiny networks: to see that it works, not to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    options = parser.parse_args(arguments)
    try:
        check_gpu()
    except (ImportError, RuntimeError) as error:
        print(f"Nothing was checked or measured: {error}")
        return NO_GPU
    if options.sanitize:
        return sanitize()
    report, passed = run(options)
    print(json.dumps(report, indent=2) if options.json else format_report(report))
    return 0 if passed else CHECK_FAILED


if __name__ == "__main__":
    sys.exit(main())
