"""What `benchmarks.gpu` finds wrong, and what it prints, from made-up records."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")

from benchmarks.gpu import __main__ as program
from benchmarks.gpu import cases, checks, contestants, measure, thresholds
from benchmarks.peers import Effort
from fastmlp import reference
from fastmlp.cuda import engine, launch

SPREAD = {"median": 2e-3, "low": 1e-3, "high": 3e-3}


def make_check(difference, allowed=1e-9, name="gelu", error=""):
    return checks.Check("activations", name, "block", "float64", difference, allowed, error)


class HalfTheRate(reference.Engine):
    def run_epoch(self, order, batch_size, alpha, update):
        constants = (update.constants[0] / 2, *update.constants[1:])
        return super().run_epoch(order, batch_size, alpha, update._replace(constants=constants))


class Random(reference.Engine):
    generator = np.random.default_rng(0)

    def get_state(self):
        return super().get_state() + self.generator.uniform(size=self.state.shape)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_training_fails_its_check(dtype):
    training = next(checks.trainings(large=False))
    assert checks.compare_training(training, dtype, reference.Engine) == 0
    assert checks.compare_training(training, dtype, HalfTheRate) > checks.ALLOWED[dtype]


def test_runs_of_other_bits_fail_their_check():
    training = next(checks.trainings(large=False))
    assert checks.compare_runs(training, reference.Engine) == 0
    assert checks.compare_runs(training, Random) > 0


def test_every_formula_is_checked():
    names = {training.name for training in checks.trainings(large=True)}
    for table in (checks.ACTIVATIONS, checks.UPDATES, checks.problems.OUTPUTS, checks.problems.FURTHER_OUTPUTS):
        assert set(table) <= names


def test_what_a_comparison_raises_and_nan_are_failures():
    def broken():
        raise RuntimeError("an illegal address")

    found = checks.attempt("activations", "gelu", "block", "float64", 1e-9, broken)
    assert not found.passed
    assert "FAILED activations, gelu, block, float64: RuntimeError: an illegal address" in checks.format_checks([found])
    assert not make_check(np.nan).passed
    assert np.isnan(checks.largest_difference((np.array([1.0, np.nan]),), (np.ones(2),)))


def test_checks_are_a_table_of_the_worst_of_each_subject():
    text = checks.format_checks([make_check(1e-12, name="relu"), make_check(3e-12), make_check(1e-13, name="silu")])
    lines = [list(map(str.strip, line.split("|")[1:-1])) for line in text.splitlines()]
    assert lines[2:] == [["activations", "block", "float64", "3.0e-12", "gelu", "1e-09", "3 passed"]]
    text = checks.format_checks([make_check(1e-12), make_check(0.25, name="mish")])
    assert "1 of 2 FAILED" in text
    assert text.endswith("FAILED activations, mish, block, float64: 2.500e-01, allowed 1e-09")


def made_up_result(**more):
    result = {"case": "64-100-10", "what": "an epoch", "batch": 200, "most seconds": 0.4, "goals": {"JAX": 3}}
    result["seconds"] = {"fastmlp": SPREAD, "JAX": {key: 4 * value for key, value in SPREAD.items()}}
    return result | {"ratio": {"fastmlp": 1.0, "JAX": 4.0}, "TFLOP/s": {"fastmlp": 12.0, "JAX": 3.0}} | more


def test_table_of_results():
    lines = measure.format_results([made_up_result()]).splitlines()
    cells = [list(map(str.strip, line.split("|")[1:-1])) for line in lines]
    assert cells[0] == ["case", "batch", "time of", "who", "ms", "times fastmlp's", "goal", "TFLOP/s"]
    ours = ["64-100-10", "200", "an epoch", "fastmlp", "2.00 (1.00 to 3.00)", "", "0.4 s: reached", "12.0"]
    assert cells[2:] == [ours, ["", "", "", "JAX", "8.00 (4.00 to 12.0)", "4.00", "3: reached", "3.00"]]
    text = measure.format_results([made_up_result(goals={"JAX": 5}, **{"most seconds": 1e-3})])
    assert "5: missed" in text
    assert "0.001 s: missed" in text


def test_operations_of_cases():
    small, large = cases.BY_NAME["64-100-10"], cases.BY_NAME["1024-4096-4096-10"]
    assert small.operations == 2 * (2 * 6_400 + 3 * 1_000) * 1_797
    assert cases.BY_NAME["1,024 networks 64-100-10"].operations == 1_024 * 20 * small.operations
    assert large.operations == pytest.approx(3.9e12, rel=0.1)
    assert cases.BY_NAME["predict 50-256-256-256-2"].operations == 2 * 144_128 * 200_000


def test_a_case_that_the_engine_lacks_is_left_out(monkeypatch):
    monkeypatch.setattr(contestants, "precisions", list)
    assert "precision='tf32'" in contestants.left_out(cases.BY_NAME["1024-4096-4096-10, tf32"])
    assert contestants.left_out(cases.BY_NAME["64-100-10"]) is None


@pytest.mark.parametrize("options", [[], ["--measure-anyway"]])
def test_a_failed_check_ends_it(options, monkeypatch, capsys):
    measured = []

    def prepare(case, missing):
        measured.append(case.name)
        return {}, None, []

    monkeypatch.setattr(program, "check_gpu", lambda: None)
    monkeypatch.setattr(program, "card", dict)
    monkeypatch.setattr(contestants, "missing_peers", lambda: {"jax": "is not installed"})
    monkeypatch.setattr(checks, "run_checks", lambda large, quick: [make_check(0.25)])
    monkeypatch.setattr(measure, "prepare", prepare)
    assert program.main(["--case", "64-100-10", *options]) == program.CHECK_FAILED
    assert measured == (["64-100-10"] if options else [])
    text = capsys.readouterr().out
    assert "FAILED activations, gelu, block, float64: 2.500e-01, allowed 1e-09" in text
    assert "missing peer: jax is not installed" in text


def test_a_report_is_printed_and_is_json():
    report = {"machine": program.machine(), "card": {"card": "NVIDIA H100"}, "missing": {}, "left out": {"x": "no"}}
    report |= {"repeats": 7, "quick": False, "checks": [make_check(1e-12)._asdict()], "thresholds": {}}
    text = program.format_report(json.loads(json.dumps(report | {"results": [made_up_result()]})))
    for words in ("card: NVIDIA H100", "left out: x: no", "7 rounds", "1 passed", "64-100-10", "TFLOP/s: useful"):
        assert words in text


def record(work, **seconds):
    return {"width": 8, "batch": 4, "work": work, "seconds": seconds, "chosen": "block"}


def test_threshold_is_where_the_kernels_cost_the_same():
    records = [record(10, block=1.0, grid=3.0), record(100, shared=2.0, block=4.0, grid=3.0)]
    records += [record(1_000, block=9.0, grid=3.0), record(500, block=4.0, grid=3.0)]
    assert thresholds.best_threshold(records, ("shared", "block"), ("grid",)) == 100
    assert thresholds.best_threshold(records[2:], ("shared", "block"), ("grid",)) == 0
    assert thresholds.best_threshold(records, ("grid",), ("large",)) is None
    launches = [{"network": "8-8-2", "batch": 4, "kernel": "grid", "threads": 64, "blocks": 7, "seconds": 5e-6}]
    text = thresholds.format_thresholds({"kernels": records, "launches": launches})
    assert f"shared or block costs least: 100 (WORK_OF_A_BLOCK, now {launch.WORK_OF_A_BLOCK:,})" in text
    lines = [list(map(str.strip, line.split("|")[1:-1])) for line in text.splitlines()]
    assert ["8-8-10", "4", "1,000", "9,000,000", "3,000,000", "", "grid", "block", "3.00"] in lines
    assert ["8-8-2", "4", "grid", "64", "7", "5.00"] in lines


@pytest.mark.skipif(not contestants.SIMULATED, reason="tiny sizes, for the simulator")
def test_kernels_and_launches_are_swept(monkeypatch):
    monkeypatch.setattr(thresholds, "PARTS_OF_BLOCKS", (1.0,))
    effort, shape = Effort(1, 0.0, 1), thresholds.Shape(2, (3,), 2, batch=4, rows=4)
    (found,) = thresholds.measure_kernels((4,), (1,), effort, fewest_rows=1)
    assert set(found["seconds"]) == set(launch.KINDS)
    found = thresholds.measure_launches([shape], (4,), effort)
    assert {(one["kernel"], one["threads"]) for one in found} == {(kind, 4) for kind in launch.KINDS}
    assert launch.THREADS == engine.THREADS != 4


def test_sanitize_says_what_compute_sanitizer_says(monkeypatch, capsys):
    answers = iter([(0, "== ERROR SUMMARY: 0 errors\n194 passed"), (1, "== RACECHECK SUMMARY: 2 hazards\n194 passed")])
    commands = []

    def answer(command, **options):
        commands.append(command)
        code, text = next(answers)
        return SimpleNamespace(returncode=code, stdout=text, stderr="")

    monkeypatch.setattr(program.shutil, "which", lambda name: None)
    assert program.sanitize() == program.NO_GPU
    monkeypatch.setattr(program.shutil, "which", lambda name: name)
    monkeypatch.setattr(program.subprocess, "run", answer)
    assert program.sanitize() == program.CHECK_FAILED
    assert [command[2] for command in commands] == ["memcheck", "racecheck"]
    text = capsys.readouterr().out
    assert "ERROR SUMMARY: 0 errors" in text
    assert "RACECHECK SUMMARY: 2 hazards" in text
