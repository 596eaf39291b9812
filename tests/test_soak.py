"""Nothing is left behind by many fits and predictions: no memory, no thread, no handle, no object.

By default some hundred fits and some thousand predictions; FASTMLP_TRUST=full in the environment: 10,000 and 1,000,000.
"""

import json
import os
import subprocess
import sys

FULL = os.environ.get("FASTMLP_TRUST") == "full"
FITS, PREDICTIONS = (10_000, 1_000_000) if FULL else (320, 8_000)
# A first weight matrix here has 36 or 72 KB: one kept of each fit were 14 MB or more in the smaller run. What is
# resident varies by some MB without that.
MEMORY, OBJECTS = 6_000_000, 100
PROGRAM = """
import ctypes, gc, json, sys, threading, time, warnings
import numpy as np
import psutil
from scipy.sparse import csr_array
from fastmlp import Activation, MLPClassifier, MLPRegressor, fit_many
from fastmlp.cpu import engine, share

warnings.simplefilter("ignore")
random = np.random.default_rng(0)
X = random.normal(size=(160, 72))
X_of = {"float64": X, "float32": X.astype(np.float32), "csr": csr_array(np.where(X > 1, X, 0))}
y, labels = X @ random.normal(size=(72, 2)), np.array(list("abc"))[np.argmax(X[:, :3], axis=1)]
with_nan = np.where(X > 3, np.nan, X)
share.WAKE_PRODUCTS = 25_000  # so that predictions have helpers, too
teams, kept = [0], []
begin = engine.Team.__init__

def counted(team, *arguments):
    teams[0] += 1
    begin(team, *arguments)

engine.Team.__init__ = counted

def cube(z):
    return z * z * z

def settings(**more):
    return dict(hidden_layer_sizes=(128, 16), max_iter=9, n_iter_no_change=99, batch_size=40, n_threads=2) | more

def interrupt(error):
    def callback(epoch):
        if epoch.number == 3:
            raise error()
    return callback

def fails(fit, error):
    try:
        fit()
    except error:
        return
    raise AssertionError(f"no {error}")

def fits():
    '''Fit once in each way; return fitted models and how many fits it were.'''
    models = [
        MLPClassifier(**settings()).fit(X, labels),
        MLPClassifier(**settings(n_threads=1, dtype="float32")).fit(X, labels),
        MLPRegressor(**settings(n_threads=3, dtype="float32", solver="sgd")).fit(X, y),
        MLPRegressor(**settings(n_threads=3, early_stopping=True, dropout=0.2, activation="gelu")).fit(X, y),
        MLPRegressor(**settings(solver="lbfgs", dtype="float32")).fit(X, y),
        MLPClassifier(**settings(solver="lbfgs")).fit(X, labels),
        MLPClassifier(**settings(activation=Activation(cube))).fit(X, labels),
        MLPClassifier(**settings()).fit(X_of["csr"], labels),
        MLPClassifier(**settings(callbacks=interrupt(KeyboardInterrupt))).fit(X, labels),
        MLPRegressor(**settings(augment={"jitter": 0.1, "mixup": 0.2})).fit(X_of["float32"], y),
    ]
    fails(lambda: MLPClassifier(**settings()).fit(with_nan, labels), ValueError)
    fails(lambda: MLPRegressor(**settings(solver="sgd", learning_rate_init=1e300)).fit(X, y), ValueError)
    fails(lambda: MLPClassifier(**settings(callbacks=interrupt(OSError))).fit(X, labels), OSError)
    step_by_step = MLPClassifier(**settings(dtype="float32"))
    for rows in (slice(0, 80), slice(80, 160), slice(0, 160)):
        step_by_step.partial_fit(X[rows], labels[rows], classes=list("abc"))
    again = MLPRegressor(**settings(warm_start=True)).fit(X, y).fit(X, y)
    many = [MLPClassifier(**settings(random_state=i)) for i in range(4)]
    assert fit_many([*many, MLPClassifier(alpha=-1)], X, labels, n_threads=2)[:4] == [None] * 4
    return [*models, step_by_step, again, *many], 21

def predictions(models, count):
    for i in range(count):
        rows = X_of[("float64", "float32", "csr")[i % 3]]
        first = i % 160
        part = rows if i % 50 == 0 else rows[first : first + (1 if i % 5 else 12)]
        model = models[i % len(models)]
        (model.predict if i % 2 else getattr(model, "predict_proba", model.predict))(part)

def measure():
    time.sleep(2 * share.STAY_SECONDS)
    gc.collect()
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "malloc_trim"):
        ctypes.CDLL(None).malloc_trim(0)  # what is free lies scattered among what is not, and stays resident for long
    process = psutil.Process()
    return dict(
        memory=process.memory_info().rss,
        threads=process.num_threads(),
        python_threads=threading.active_count(),
        handles=process.num_handles() if hasattr(process, "num_handles") else process.num_fds(),
        objects=len(gc.get_objects()),
    )

def rounds(n_fits, n_predictions):
    fitted = predicted = 0
    while fitted < n_fits:
        models, count = fits()
        fitted += count
        wanted = n_predictions * min(fitted, n_fits) // n_fits
        predictions(models, wanted - predicted)
        predicted = wanted
        LEAK

rounds(105, 2_500)
before, teams[0] = measure(), 0
rounds(*map(int, sys.argv[1:]))
after = measure()
print(json.dumps(dict(before=before, after=after, teams=teams[0])))
"""


def soak(leak="pass", n_fits=FITS, n_predictions=PREDICTIONS):
    """Run the program; return how much more there is of each at its end than after its beginning, and of teams."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("LEAK", leak), str(n_fits), str(n_predictions)],
        # With a heap for each thread glibc would keep what is free at the end of each: megabytes, as the load has it.
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(found)
    return {name: found["after"][name] - found["before"][name] for name in found["after"]}, found["teams"]


def test_nothing_is_left_behind():
    soak(n_fits=0, n_predictions=0)  # or what the compiler leaves of its own memory would be counted
    more, teams = soak()
    assert teams > FITS // 4
    assert more["python_threads"] == more["threads"] == more["handles"] == 0
    assert more["memory"] < MEMORY
    assert more["objects"] < OBJECTS
