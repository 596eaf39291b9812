"""The examples: each runs, and what it says is true."""

import ast
import importlib
import inspect
import pkgutil
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from fastmlp import examples

NAMES = [module.name for module in pkgutil.iter_modules(examples.__path__)]
LISTED = re.findall(r"^`(\w+)`\n    \S", examples.__doc__, re.MULTILINE)


@pytest.fixture(params=NAMES)
def example(request):
    return importlib.import_module(f"fastmlp.examples.{request.param}")


def draws(example):
    return "picture" in inspect.signature(example.main).parameters


def check_first_fit(found):
    assert found["difference"] < 1e-10
    assert found["accuracy"] == found["accuracy_scikit_learn"] > 0.95


def check_tabular(found):
    scores = found["scores"]
    assert scores["mean price"] < 0.05 < 0.8 < scores["linear"] < 0.9 < scores["network"] < 1
    assert found["best_epoch"] < found["epochs"] < 200


def check_regularisation(found):
    training = {name: one["training"] for name, one in found.items()}
    loss = {name: one["test_loss"] for name, one in found.items()}
    assert training["no penalty"] > 0.98 > training["alpha = 1"] > 0.87 > training["alpha = 10"]
    assert loss["alpha = 1"] < loss["dropout 0.5"] < loss["no penalty"]
    assert loss["alpha = 1"] < 0.8 * loss["alpha = 10"]


def check_learning_curve(found):
    gap = found["training_scores"] - found["test_scores"]
    assert gap[0] > 0.1 > 0.02 > abs(gap[-1])
    training, validation, least = found["losses"]["too free"]
    assert validation > 3 * least > 3 * training
    assert min(found["losses"]["too small"]) > 0.3
    assert found["losses"]["right"][1] < 0.25


def check_search(found):
    assert found["grid"]["n_fits"] == 27
    assert found["halving"]["n_fits"] == 3 * (27 + 9 + 3)
    assert found["halving"]["best"]["network__max_iter"] == 27
    assert min(one["accuracy"] for one in found.values()) > 0.93


def check_quantiles(found):
    assert 0.85 < found["coverage"] < 0.95
    assert all(abs(part - quantile) < 0.05 for quantile, part in found["below"].items())
    assert found["width"]["right"] > 2 * found["width"]["left"]


def check_digits_saliency(found):
    saliency, accuracy = found["saliency"], list(found["accuracy"].values())
    assert saliency.shape == (8, 8)
    assert saliency[:, 0].max() < 0.1 * saliency.max()  # the margin is always white
    assert accuracy[0] - 0.04 < accuracy[2] <= accuracy[0]
    assert accuracy[1] < accuracy[2] - 0.1


def check_approximation(found):
    assert all(error <= tolerance for (_, tolerance), (_, error) in found.items())
    for name in {name for name, _ in found}:
        assert found[name, 0.01][0] == pytest.approx(10 * found[name, 0.1][0], rel=0.1)


def check_own_activation(found):
    relu, snake = found["errors"]["relu"], found["errors"]["snake"]
    assert snake["inside"] < 0.03 < relu["inside"]
    assert snake["outside"] < 0.2 < 0.5 < relu["outside"]
    assert found["gradient_error"] < 1e-6


def check_gradient_check(found):
    wrong = found.pop("bump, a wrong one")
    assert len(found) == 5
    assert max(found.values()) < 1e-6 < 0.1 < wrong


def check_larger_than_memory(found):
    assert found["same"]
    assert found["accuracy"] > 0.95
    assert found["peak"] < found["peak_of_copy"] / 2


def check_dask_cluster(found):
    assert min(found["accuracy"].values()) > 0.95
    assert found["same_predictions"]


def check_gpu(found):
    assert found["device"] == "the CPU"
    assert found["losses"].keys() == {"cpu", "auto"}
    assert found["losses"]["auto"] == found["losses"]["cpu"]


CHECKS = {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}


def test_runs_and_is_right(example, monkeypatch, capsys, tmp_path):
    name = example.__name__.rpartition(".")[2]
    if name == "gpu":
        without_gpu(monkeypatch)  # the simulator would take hours
    picture = tmp_path / "picture.png"
    found = example.main(picture) if draws(example) else example.main()
    output = capsys.readouterr()
    assert output.out.count("\n") >= 3
    assert output.err == ""
    assert isinstance(found, dict)
    if name in CHECKS:
        CHECKS[name](found)
    if draws(example):
        assert picture.read_bytes().startswith(b"\x89PNG")
        shades = imread(picture)[:, :, :3]
        assert min(shades.shape[:2]) > 200
        assert 0.005 < np.mean(np.ptp(shades, axis=2) > 0.1) < 0.95  # coloured
    else:
        assert list(tmp_path.iterdir()) == []


def test_checks_are_of_examples():
    assert set(CHECKS) <= set(NAMES)


def test_draws_nothing_if_not_asked(capsys, monkeypatch, tmp_path):
    from fastmlp.examples import approximation

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(approximation, "draw", None)
    approximation.main()
    assert list(tmp_path.iterdir()) == []


def test_takes_a_picture_as_argument_of_the_program(capsys, monkeypatch, tmp_path):
    picture = tmp_path / "picture.svg"
    monkeypatch.setattr(sys, "argv", ["approximation", str(picture)])
    monkeypatch.delitem(sys.modules, "fastmlp.examples.approximation", raising=False)  # runpy warns if it is there
    runpy.run_module("fastmlp.examples.approximation", run_name="__main__")
    assert "<svg" in picture.read_text(encoding="utf-8")


def test_says_which_extra_draws(capsys, monkeypatch, tmp_path):
    from fastmlp.examples import approximation

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"A picture needs the extra 'plots'.*pip install 'fastmlp\[plots\]'"):
        approximation.main(tmp_path / "picture.png")


def without_gpu(monkeypatch):
    from fastmlp.training import device

    def check_gpu():
        raise RuntimeError("device='cuda' needs an NVIDIA GPU and its driver, and none was found.")

    monkeypatch.setattr(device, "check_gpu", check_gpu)


@pytest.mark.gpu
def test_gpu(capsys):
    from fastmlp.examples import gpu

    pytest.importorskip("numba_cuda", reason="the extra `cuda` is not installed")
    found = gpu.main(n_rows=10, hidden_layer_sizes=(2,), max_iter=1)
    assert found["device"] == "the GPU"
    assert found["losses"]["auto"] == found["losses"]["cuda"]
    np.testing.assert_allclose(found["losses"]["cuda"], found["losses"]["cpu"], rtol=1e-4)


def test_keeps_the_contract(example):
    """What `main` and the first line are for the command `fastmlp example`, and for who reads the list."""
    first = example.__doc__.partition("\n")[0]
    assert first.endswith(".")
    parameters = inspect.signature(example.main).parameters.values()
    assert all(one.default is not inspect.Parameter.empty for one in parameters)
    last = ast.parse(Path(example.__file__).read_text(encoding="utf-8")).body[-1]
    assert ast.unparse(last).startswith("if __name__ == '__main__':\n    main(")
    assert len(Path(example.__file__).read_text(encoding="utf-8").splitlines()) <= 100


def test_every_example_is_listed():
    assert sorted(LISTED) == NAMES


def test_none_needs_an_extra_to_be_imported_nor_comes_with_the_package():
    names = ", ".join(f"fastmlp.examples.{name}" for name in NAMES)
    code = (
        "import sys, fastmlp; assert not any(name.startswith('fastmlp.examples') for name in sys.modules)\n"
        "for name in ('matplotlib', 'pandas', 'dask', 'distributed', 'numba_cuda'): sys.modules[name] = None\n"
        f"import {names}"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
