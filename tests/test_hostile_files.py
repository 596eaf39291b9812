"""Files that somebody else has written, or the disk has spoilt: an error or a model that works, whatever is in them.

Good files of `save` are mutated: their bytes, their numbers, and what their headers and JSON say. 300 mutations by
default; with FASTMLP_TRUST=full in the environment 100,000, other ones in each run.
"""

import copy
import faulthandler
import json
import os
import re
import struct
import sys
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from scipy.sparse import issparse

import fastmlp
from fastmlp import MLPClassifier, MLPRegressor, Perceptron
from fastmlp.callbacks import Checkpoint

try:
    import resource
except ImportError:  # Windows
    resource = None

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FULL = os.environ.get("FASTMLP_TRUST") == "full"
RUNS, MUTATIONS = (100, 1000) if FULL else (1, 300)
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(24, 3))
WORDS = np.array(["low", "middle", "very high"])[np.arange(24) % 3]
COLUMNS = (X > 0).astype(int)
MEMORY = 1 << 28  # bytes beyond those of the process that a load of these files of some KiB may map
SECONDS = 120  # of one example, after which it hangs


class Killed(Exception):
    pass


def kill_after(n_epochs):
    def kill(epoch):
        if epoch.number == n_epochs:
            raise Killed

    return kill


UNFINISHED = {"hidden_layer_sizes": (4,), "max_iter": 4, "random_state": 0}


def unfinished(folder):
    """A fit that ended after two of its epochs, with what another one needs to go on."""
    checkpoint = Checkpoint(folder / "unfinished", resume=True)
    with pytest.raises(Killed):
        MLPClassifier(**UNFINISHED, callbacks=[checkpoint, kill_after(2)]).fit(X, WORDS)


def settings_of(**more):
    return {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0, **more}


MODELS = {
    "words": lambda: MLPClassifier(**settings_of(class_weight={"low": 2.0, "middle": 1, "very high": 3})).fit(X, WORDS),
    "float32": lambda: MLPClassifier(**settings_of(activation=["tanh"])).fit(X.astype("float32"), COLUMNS[:, 0]),
    "columns": lambda: MLPClassifier(**settings_of()).fit(X, COLUMNS),
    "outputs": lambda: MLPClassifier(**settings_of()).fit(X, np.column_stack([WORDS.astype(object), COLUMNS[:, 0]])),
    "number": lambda: MLPRegressor(**settings_of(keep_optimizer=True, learning_rate="cosine")).fit(X, X[:, 0]),
    "best": lambda: MLPRegressor(**settings_of(early_stopping=True, keep_optimizer=True, solver="sgd")).partial_fit(
        X, X[:, :2]
    ),
    "missing": lambda: MLPRegressor(**settings_of(missing="indicator")).fit(
        np.where(X > 1, np.nan, X), np.exp(X[:, 0])
    ),
    "perceptron": lambda: Perceptron(max_iter=2).fit(X, WORDS),
}
NAMES = (*MODELS, "unfinished")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The bytes of good files, by their names, and a place to write others to."""
    folder = tmp_path_factory.mktemp("files")
    for name, fit in MODELS.items():
        fit().save(folder / name)
    unfinished(folder)
    for name in NAMES:
        exercise(folder / name)  # imports and compiles what it takes
    return {name: (folder / name).read_bytes() for name in NAMES}, folder / "mutated"


# What is mutated

HOSTILE = [  # values of JSON; a string that begins with \1 becomes as many brackets
    *(None, True, False, 0, 1, -1, 2, 3, 5, 624, 625, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)),
    *(10**19, 10**30, 10**400, 0.0, -0.0, 0.5, 1e-300, 5e-324, 1e308, -1e308, "\1100", "\1900", "\1100000"),
    *("", "x", "nan", "auto", "full", "os.system", "__class__", "low", "\0", "\ud800", "\N{GREEK SMALL LETTER DELTA}"),
    *("sgd", "lbfgs", "adam", "relu", "softmax", "logistic", "identity", "exp", "hinge", "float32", "dense", "sparse"),
    *("F32", "F64", "F16", "BF16", "I64", "I8", "U8", "U32", "U64", "BOOL", "F8_E4M3", "C64", "x" * 10_000),
    *([], {}, [[]], [0], [1], [2**63], [2**32, 2**32], [0, 2**62], [-1], [3, 4], [4, 3], [0, 96], ["low", "low"]),
    *({"tensor": "coefs_.0"}, {"tensor": "intercepts_.0"}, {"tensor": "nowhere"}, {"tensor": 0}, {"tensor": None}),
    *({"tuple": []}, {"tuple": [1, 2]}, {"dict": []}, {"dict": [[1, 2], [1, 3]]}, {"dict": [[{"tuple": []}, 1]]}),
    *({"float": "nan"}, {"float": "inf"}, {"float": "-inf"}, {"float": "1" * 5000}, {"objects": []}),
    *({"objects": ["a", "b", "c"]}, {"text": ["a"], "width": 10**9}, {"text": [], "width": 2**63}),
    *({"text": [], "width": 10**9}, {"text": ["a", "b", "c"], "width": 1}, {"text": ["a\0", "b", "c"], "width": 2}),
    {"dtype": "F64", "shape": [2**40, 2**40], "data_offsets": [0, 0]},
    {"dtype": "F64", "shape": [0, 2**60], "data_offsets": [0, 0]},
]
NUMBERS = [np.inf, -np.inf, np.nan, 1e308, 5e-324, -1e308, -1.0, 0.0]
NEW_KEYS = ["more", "coefs_", "_begun", "_optimizer", "indicator_"]


def split(file):
    """Return (header with its JSON parsed, data) of a file."""
    (length,) = struct.unpack("<Q", file[:8])
    header = json.loads(file[8 : 8 + length])
    for key in ("parameters", "attributes"):
        header["__metadata__"][key] = json.loads(header["__metadata__"][key])
    return header, file[8 + length :]


def as_text(value):
    """Return JSON with what Python cannot hold: deep nesting, and keys that are there twice, which end with \1."""
    text = re.sub(r'"\\u0001(\d+)"', lambda match: "[" * int(match[1]) + "]" * int(match[1]), json.dumps(value))
    return text.replace("\\u0001", "")


def joined(header, data):
    metadata = header.get("__metadata__")
    if isinstance(metadata, dict):
        inner = {key: as_text(one) for key, one in metadata.items() if key.startswith(("parameters", "attributes"))}
        header = {**header, "__metadata__": {**metadata, **inner}}
    text = as_text(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def places_in(tree):
    """Return (container, key) of everything in a tree of JSON."""
    found = []
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        found.append((tree, key))
        if isinstance(value, dict | list):
            found.extend(places_in(value))
    return found


def mutate_structure(draw, file):
    """Change what the header and its JSON say."""
    header, data = split(file)
    for _ in range(draw(st.integers(1, 3))):
        tensors = {name: one for name, one in header.items() if name != "__metadata__"}
        places = places_in(draw(st.sampled_from([header, tensors])))  # which are the smaller part
        if not places:
            break
        (tree, key), (other, there) = (places[draw(st.integers(0, len(places) - 1))] for _ in range(2))
        how = draw(
            st.sampled_from(
                ["hostile", "hostile", "number", "delete", "other", "twice", "rename", "more", "swap", "reverse"]
            )
        )
        value = copy.deepcopy(draw(st.sampled_from(HOSTILE)) if how == "hostile" else other[there])
        if how == "number":
            old = tree[key] if isinstance(tree[key], int | float) else 0
            tree[key] = old + draw(st.sampled_from([1, -1, 8, -8, 0.5, 2**40]))
        elif how == "delete":
            del tree[key]
        elif how == "swap":  # two of a kind, so that no tensor is left over
            alike = [(tree, key) for tree, key in places if type(tree[key]) is type(value)]
            tree, key = alike[draw(st.integers(0, len(alike) - 1))]
            other[there], tree[key] = copy.deepcopy(tree[key]), value
        elif how == "reverse":
            lists = [(tree, key) for tree, key in places if isinstance(tree[key], list)]
            if lists:
                tree, key = lists[draw(st.integers(0, len(lists) - 1))]
                tree[key].reverse()
        elif how in ("hostile", "other") or isinstance(tree, list):
            tree[key] = value
        elif how == "twice":
            tree[f"{key}\1"] = value
        elif how == "rename":
            tree[f"{there}"] = tree.pop(key)
        else:
            tree[draw(st.sampled_from(NEW_KEYS))] = value
    return joined(header, mutate_bytes(draw, data) if draw(st.integers(0, 9)) == 0 else data)


def mutate_bytes(draw, file):
    file = bytearray(file)
    for _ in range(draw(st.integers(1, 3))):
        place, there = draw(st.integers(0, len(file))), draw(st.integers(0, len(file)))
        size = draw(st.sampled_from([1, 2, 8, 100]))
        how = draw(st.sampled_from(["bytes", "bit", "cut", "end", "insert", "delete", "copy", "length"]))
        if how == "bytes":
            file[place : place + size] = draw(st.binary(min_size=1, max_size=8))
        elif how == "bit" and place < len(file):
            file[place] ^= 1 << draw(st.integers(0, 7))
        elif how == "cut":
            del file[place:]
        elif how == "end":
            file += bytes(size)
        elif how == "insert":
            file[place:place] = draw(st.binary(min_size=1, max_size=8))
        elif how == "delete":
            del file[place : place + size]
        elif how == "copy":
            file[place : place + size] = file[there : there + size]
        elif how == "length":
            lengths = [0, 1, len(file), len(file) - 8, 2**31, 2**63, 2**64 - 1]
            file[:8] = struct.pack("<Q", draw(st.sampled_from(lengths)) % 2**64)
    return bytes(file)


def mutate_numbers(draw, file):
    """Change numbers in the tensors."""
    (length,) = struct.unpack("<Q", file[:8])
    head, data = file[: 8 + length], bytearray(file[8 + length :])
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data) // 8 - 1)) * 8
        number = draw(st.sampled_from([*NUMBERS, -1, 2**63 - 1]))
        with np.errstate(over="ignore"):
            both = np.array([number] * 2, np.float32).tobytes()
        number = np.array(number).tobytes()  # of a float64 or int64
        data[place : place + 8] = draw(st.sampled_from([number, both]))
    return head + bytes(data)


MUTATE = [mutate_bytes, mutate_numbers, mutate_structure, mutate_structure]

# What must not happen

# of sys.addaudithook: what imports, runs or reaches for something
CODE = {"import", "exec", "compile", "pickle.find_class", "marshal.loads", "ctypes.dlopen", "socket.connect"}
CODE |= {"os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.remove", "os.rename", "subprocess.Popen"}
watched = None


def notice(name, arguments):
    if watched is not None and name in CODE:
        watched.append((name, arguments))


@contextmanager
def no_code_runs():
    global watched
    watched = []
    try:
        yield
        found = watched
    finally:
        watched = None
    assert not found


@contextmanager
def little_memory():
    """Let the process map no more than MEMORY; what needs more is a MemoryError, which no test expects."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


can_limit = resource is not None and os.path.exists("/proc/self/statm")


def load(path):
    with no_code_runs(), little_memory() if can_limit else nullcontext():
        return fastmlp.load(path)


def predictions(model):
    rows = np.resize(X, (5, model.n_features_in_))
    found = []
    for method in ("predict", "predict_proba", "decision_function"):
        if hasattr(model, method):
            result = getattr(model, method)(rows)
            found.extend(result if isinstance(result, list) else [result])
    return [one.toarray() if issparse(one) else one for one in found]


def exercise(path):
    """Load a file and use what it has; raise ValueError, of `load` alone, if it cannot be."""
    model, again = load(path), path.with_name("again")
    before = predictions(model)
    model.save(again)
    written = again.read_bytes()
    same = load(again)
    for one, other in zip(before, predictions(same), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)
    same.save(again)
    assert sorted_tensors(again.read_bytes()) == sorted_tensors(written)
    repr(model)


def sorted_tensors(file):
    """Return what does not depend on the order in which a file has its metadata."""
    header, data = split(file)
    return json.dumps(header, sort_keys=True), data


def go_on(path):
    """Go on with an unfinished fit, if this is one of these data; return after how many epochs it ended."""
    try:
        return MLPClassifier(**UNFINISHED, callbacks=Checkpoint(path, resume=True)).fit(X, WORDS).n_iter_
    except ValueError:  # as of parameters that are not finite
        return None


sys.addaudithook(notice)


@pytest.mark.parametrize("run", range(RUNS))
@settings(
    max_examples=MUTATIONS,
    deadline=None,
    database=None,
    derandomize=not FULL,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
@given(st.sampled_from(NAMES), st.sampled_from(MUTATE), st.data())
def test_mutations_of_good_files(files, run, name, mutate, data):
    good, path = files
    path.write_bytes(mutate(data.draw, good[name]))
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        load(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017 -- it may be none
        event(f"{mutate.__name__}: refused")
    else:
        event(f"{mutate.__name__}: loaded")
        exercise(path)
        if name == "unfinished":
            go_on(path)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("name", NAMES)
def test_good_files_stay_good(files, name):
    """The mutations begin with files that load, and what is taken apart is put together again."""
    good, path = files
    path.write_bytes(joined(*split(good[name])))
    exercise(path)
    if name == "unfinished":
        assert go_on(path) == 4


def test_what_is_watched_is_noticed():
    with pytest.raises(AssertionError, match="exec"), no_code_runs():
        exec("1")
    if can_limit:
        with pytest.raises(MemoryError), little_memory():
            np.empty(2 * MEMORY, np.uint8)
