"""Train on handwritten digits and say how long it took, beside scikit-learn."""

import argparse
import platform
import sys
import time
import warnings

import numba
import numpy as np
import sklearn
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as ScikitLearnMLPClassifier

from fastmlp import MLPClassifier, __version__
from fastmlp.cli.arguments import positive
from fastmlp.cli.info import processor_name
from fastmlp.cpu import describe

REPEATS = 3
PAUSE = 0.2  # seconds: the threads of a BLAS go on for a while after its last product


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return scikit-learn's handwritten digits as X_train, X_test, y_train, y_test; pixels in [0, 1], float32."""
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    return tuple(train_test_split(X, y, test_size=0.25, stratify=y, random_state=0))


def train_with_progress(model: MLPClassifier, data: tuple[np.ndarray, ...], epochs: int) -> float:
    """Train epoch by epoch, show the loss and the test accuracy of each; return the seconds of the first epoch."""
    X_train, X_test, y_train, y_test = data
    classes = np.unique(y_train)
    # A terminal shows one line that changes, a file a line for every tenth of the epochs.
    terminal = sys.stdout.isatty()
    first_seconds = 0.0
    for epoch in range(1, epochs + 1):
        start = time.perf_counter()
        model.partial_fit(X_train, y_train, classes=classes)
        if epoch == 1:
            first_seconds = time.perf_counter() - start
        if terminal or epoch == 1 or epoch * 10 // epochs > (epoch - 1) * 10 // epochs:
            accuracy = model.score(X_test, y_test)
            text = f"  epoch {epoch:>{len(str(epochs))}}/{epochs}  loss {model.loss_:.4f}  test accuracy {accuracy:.1%}"
            print(f"\r{text}" if terminal else text, end="" if terminal and epoch < epochs else "\n", flush=True)
    return first_seconds


def time_fits(models: dict[str, BaseEstimator], data: tuple[np.ndarray, ...]) -> dict[str, float]:
    """Fit each model in turn, REPEATS times; return the median seconds of each."""
    X_train, _, y_train, _ = data
    seconds = {name: [] for name in models}
    for _ in range(REPEATS):
        for name, model in models.items():
            time.sleep(PAUSE)
            start = time.perf_counter()
            model.fit(X_train, y_train)
            seconds[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in seconds.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--epochs", type=positive, default=100, help="passes over the training data (default: %(default)s)"
    )
    parser.add_argument("--threads", type=positive, help="threads of fastmlp (default: all that Numba may use)")
    parser.add_argument("--no-sklearn", action="store_true", help="leave scikit-learn's estimator out")


def run(options: argparse.Namespace) -> int:
    """Train on the handwritten digits; print progress, test accuracy and time, beside scikit-learn's."""
    host = describe()
    threads = host["threads"] if options.threads is None else options.threads
    print(
        f"fastmlp {__version__}, scikit-learn {sklearn.__version__}, numba {numba.__version__}, NumPy {np.__version__}"
    )
    print(f"Python {platform.python_version()} on {platform.system()}, {processor_name()}")
    print(f"fastmlp computes on the CPU: {host['instruction set']}, {threads} thread{'s' * (threads > 1)}")

    data = digits()
    n_train, n_features = data[0].shape
    # No early end, so that both train for the same number of epochs.
    settings = {"max_iter": options.epochs, "n_iter_no_change": options.epochs, "tol": 0.0}
    # From a number partial_fit would draw the same shuffle at every call; a generator goes on to others.
    generator = np.random.RandomState(0)
    model = MLPClassifier(**settings, random_state=generator, n_threads=options.threads)
    print(f"\nTraining {n_features}-100-10 on {n_train} handwritten digits, float32, Adam, batches of 200:")
    first_seconds = train_with_progress(model, data, options.epochs)
    print(f"  the first epoch took {first_seconds:.2f} s: it compiles the engine, or loads it from Numba's cache")

    models = {"fastmlp": MLPClassifier(**settings, random_state=0, n_threads=options.threads)}
    if not options.no_sklearn:
        models["scikit-learn"] = ScikitLearnMLPClassifier(**settings, random_state=0)
    print(f"\nWhole fits of {options.epochs} epochs, silent and compiled, the median of {REPEATS}:")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs given are all there shall be
        seconds = time_fits(models, data)
    for name, fitted in models.items():
        accuracy = fitted.score(data[1], data[3])
        print(f"  {name:<12}  {seconds[name]:8.3f} s  loss {fitted.loss_:.4f}  test accuracy {accuracy:.1%}")
    if not options.no_sklearn:
        print(f"  fastmlp is {seconds['scikit-learn'] / seconds['fastmlp']:.1f} times as fast.")
    return 0
