"""The cache of compiled code where it cannot be read, written or trusted: what is called is right, one warning at most.

Each test has a function of its own, which compiles in no time; to compile it again is to do what the next process does.
"""

import errno
import importlib.util
import io
import os
import re
import subprocess
import sys
import tempfile

import pytest
from numba.core import config

import fastmlp.files
from fastmlp.cpu import cache, compile

SECONDS = 600


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "_warned", False)
    return tmp_path


@pytest.fixture
def begin(folder, monkeypatch):
    """Return a function that returns what a new process has for the same source: `entry` of two signatures, called."""
    path = folder / "source.py"
    path.write_text("def half(x):\n    return x / 2\n")
    spec = importlib.util.spec_from_file_location("source", path)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "source", module)  # code that is loaded looks for it there
    spec.loader.exec_module(module)

    def called():
        half = compile.entry(module.half)
        assert (half(3), half(5.0)) == (1.5, 2.5)
        return sum(half.stats.cache_hits.values())

    return called


def files(folder):
    return sorted(folder.rglob("*.nbc"))


def test_what_was_compiled_is_kept(begin, folder):
    assert begin() == 0
    assert len(files(folder)) == 2
    assert begin() == 2


SPOILT = {
    "empty": lambda content: b"",
    "cut": lambda content: content[: len(content) // 2],
    "noise": lambda content: b"no such thing" * 100,
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_spoilt_files(spoil, begin, folder):
    """They are replaced, so that the next process finds good ones."""
    begin()
    for file in files(folder):
        file.write_bytes(SPOILT[spoil](file.read_bytes()))
    assert begin() == 0
    assert begin() == 2


def test_code_of_another_signature(begin, folder):
    """It would end the process."""
    begin()
    one, other = files(folder)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert begin() == 0
    assert begin() == 2


def test_folders_in_the_place_of_files(begin, folder):
    begin()
    for file in files(folder):
        file.unlink()
        file.mkdir()
    with pytest.warns(RuntimeWarning, match=r"cannot be kept in .*NUMBA_CACHE_DIR names another"):
        assert begin() == 0
    assert begin() == 0  # warnings are errors here


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_must_not_be_read(begin, folder):
    begin()
    for file in files(folder):
        file.chmod(0)
    assert begin() == 0
    assert begin() == 2


class Full(io.FileIO):
    """A file on a disk that has room for ten bytes more."""

    def write(self, content):
        super().write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk(begin, folder, monkeypatch):
    """What is there stays, but is not taken for the code of a newer source."""
    begin()
    before = {file: file.read_bytes() for file in folder.rglob("*.*")}
    monkeypatch.setattr(compile, "_STAMP", "of a newer source")
    with monkeypatch.context() as disk:
        disk.setattr(fastmlp.files, "open", Full, raising=False)
        with pytest.warns(RuntimeWarning, match="No space left"):
            assert begin() == 0
        assert begin() == 0  # warnings are errors here
    assert {file: file.read_bytes() for file in folder.rglob("*.*")} == before
    assert begin() == 0
    assert begin() == 2


def test_read_only(begin, folder, monkeypatch):
    def read_only(**options):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    assert (begin(), begin()) == (0, 0)
    assert not files(folder)


SCRIPT = """
import sys, warnings
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from fastmlp import MLPClassifier, Perceptron
from fastmlp.cpu.cache import Cache

save, saved = Cache.save_overload, []
Cache.save_overload = lambda cache, *parts: (saved.append(parts), save(cache, *parts))
warnings.simplefilter("error")
warnings.simplefilter("ignore", ConvergenceWarning)
X = np.random.default_rng(0).normal(size=(60, 3))

def double(z):
    return z + z

def classifier(activation):
    return MLPClassifier((5,), activation=activation, max_iter=3, random_state=0)

for model, dtype in CASES:
    x = X.astype(dtype)
    model.fit(x, X[:, 0] > 0)
    print(getattr(model, "predict_proba", model.predict)(x).sum(axis=0))
print("saved", len(saved))
"""


def start(cases, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.replace("CASES", cases)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    """Return (what it computed, how many functions it compiled)."""
    try:
        out, error = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    return re.fullmatch(r"(.*)saved (\d+)\n", out, re.DOTALL).groups()


def test_two_processes_compile_at_once(tmp_path):
    """And a third one compiles nothing."""
    at_once = [start("[(Perceptron(), float)]", NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    (one, n_one), (other, n_other) = map(end, at_once)
    assert (int(n_one) > 0, int(n_other) > 0) == (True, True)
    assert one == other
    assert end(start("[(Perceptron(), float)]", NUMBA_CACHE_DIR=str(tmp_path))) == (one, "0")
    assert {file.suffix for file in tmp_path.rglob("*.*")} == {".nbc"}


def test_another_process_compiles_nothing():
    """Whatever the dtype, and with a function of the user; the first of these two may, if no other test has."""
    cases = "[(classifier('relu'), 'f4'), (classifier('relu'), 'f8'), (classifier(double), 'f8')]"
    first, _ = end(start(cases))
    assert end(start(cases)) == (first, "0")
