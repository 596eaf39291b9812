"""Numba's cache of compiled code where it cannot be read, written or trusted: training works, with one warning at most.

What is compiled takes some seconds, so most of the tests begin with a copy of a cache that has all they need.
"""

import os
import shutil
import subprocess
import sys

import pytest

SECONDS = 300
SCRIPT = """
import sys, warnings
import numpy as np
from sklearn.exceptions import ConvergenceWarning

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    warnings.simplefilter("ignore", ConvergenceWarning)
    {before}
    from fastmlp import MLPClassifier
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    model = MLPClassifier((5,), max_iter=3, random_state=0).fit(X, X[:, 0] > 0)
    out = model.predict_proba(np.repeat(X, 1000, axis=0))
assert len(caught) <= 1, [str(warning.message) for warning in caught]
print(out.tobytes().hex()[:400])
"""


def begin(cache, before="pass", **environment):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(before=before)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(cache), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    try:
        out, error = process.communicate(timeout=SECONDS)
    finally:
        process.kill()
    assert (process.returncode, error) == (0, "")
    return out


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A cache that two processes have filled at the same time, and what they and a third one have computed."""
    cache = tmp_path_factory.mktemp("cache")
    processes = [begin(cache) for _ in range(2)]
    results = {end(process) for process in processes}
    results.add(end(begin(cache)))
    assert len(results) == 1
    assert compiled(cache)
    return cache, results.pop()


@pytest.fixture
def copy(warm, tmp_path):
    cache = tmp_path / "cache"
    shutil.copytree(warm[0], cache)
    return cache


def compiled(cache):
    return sorted(cache.rglob("*.nb[ci]"))


def contents(cache):
    return {file.relative_to(cache): file.read_bytes() for file in compiled(cache)}


def test_two_processes_compile_at_once(warm):
    cache, _ = warm
    assert {file.suffix for file in compiled(cache)} == {".nbi", ".nbc"}
    assert not list(cache.rglob("*.tmp*"))


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("spoil", ["empty", "cut", "noise", "flipped"])
def test_spoilt_files(spoil, suffix, copy, warm):
    for file in compiled(copy):
        if file.suffix == suffix:
            content = bytearray(file.read_bytes())
            if spoil == "empty":
                content = b""
            elif spoil == "cut":
                del content[len(content) // 2 :]
            elif spoil == "noise":
                content = b"no such thing" * 100
            else:
                for place in range(len(content) // 3, len(content), 1000):
                    content[place] ^= 0x55
            file.write_bytes(content)
    assert end(begin(copy)) == warm[1]


def test_all_files_spoilt_at_once(copy, warm):
    """They are replaced, so that the next process finds good ones."""
    for number, file in enumerate(compiled(copy)):
        file.write_bytes([b"", b"other", file.read_bytes()[:-7]][number % 3])
    assert end(begin(copy)) == warm[1]
    before = contents(copy)
    assert end(begin(copy)) == warm[1]
    assert contents(copy) == before


def test_files_of_others(copy, warm):
    """Code of another signature under the name of what is looked for would end the process."""
    own = contents(copy)
    for suffix in (".nbi", ".nbc"):
        files = [file for file in compiled(copy) if file.suffix == suffix and "work" not in file.name]
        for file, other in zip(files, [*files[1:], files[0]], strict=True):
            file.write_bytes(own[other.relative_to(copy)])
    assert end(begin(copy)) == warm[1]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_files_that_must_not_be_read(copy, warm):
    for file in compiled(copy):
        if "pack" in file.name:
            file.chmod(0)
    assert end(begin(copy)) == warm[1]


def test_folders_in_the_place_of_files(copy, warm):
    for file in compiled(copy):
        if "pack" in file.name:
            file.unlink()
            file.mkdir()
    assert end(begin(copy)) == warm[1]


FULL_DISK = """
    import builtins, errno
    from numba.core import caching

    class Full:
        def __init__(self, file): self.file = file
        def __enter__(self): return self
        def __exit__(self, *exception): self.file.close()
        def write(self, data):
            self.file.write(data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(path, mode):
        return Full(open(path, mode)) if "w" in mode else open(path, mode)

    caching.open = full
"""
READ_ONLY = """
    import errno, tempfile

    def read_only(*arguments, **named):
        raise OSError(errno.EROFS, "Read-only file system")

    tempfile.TemporaryFile = read_only
"""


def test_full_disk(copy, warm):
    """Nothing of what did not fit stays, and once there is room it is used."""
    for file in compiled(copy):
        if "work" not in file.name:
            file.unlink()
    before = contents(copy)
    assert end(begin(copy, FULL_DISK)) == warm[1]
    assert contents(copy) == before
    assert not list(copy.rglob("*.tmp*"))
    assert end(begin(copy)) == warm[1]
    assert len(contents(copy)) > len(before)


def test_read_only_home(tmp_path, warm):
    """There is nowhere to keep anything: it is compiled, and kept for this process alone."""
    assert end(begin(tmp_path / "cache", READ_ONLY)) == warm[1]
    assert not compiled(tmp_path)
