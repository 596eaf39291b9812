"""scikit-learn's searches over hyperparameters, with the fits of our estimators done as one program.

The classes are scikit-learn's own: they draw the candidates, split, score, collect and refit. They hand the fits to
joblib, and here joblib hands them to threads of one process: over one copy of the rows, the longest fits first, each on
its share of the cores. What precedes the estimator in a `Pipeline` is fitted once for each of its settings and folds.
"""

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase
from sklearn import model_selection
from sklearn.base import BaseEstimator
from sklearn.model_selection import _search_successive_halving as halving
from sklearn.pipeline import Pipeline

from fastmlp.cpu.threads import resolve_threads
from fastmlp.estimators.base import BaseMLP
from fastmlp.estimators.shared import Part, SharedRows, rows_of
from fastmlp.futures import complete
from fastmlp.many import cost_of
from fastmlp.training.device import fit_in_step, trains_on_gpu
from fastmlp.workers import Workers

__all__ = ["GridSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV", "RandomizedSearchCV"]

PROGRESS_EVERY = 2.0  # seconds between two lines


class _TrainingRows:
    """X as scikit-learn's `_fit_and_score` takes it, but without a copy of the rows to train on."""

    def __init__(self, shared: SharedRows, train: np.ndarray):
        self.shared, self.train, self.shape = shared, train, shared.X.shape

    def __getitem__(self, key: tuple) -> Any:
        rows, _ = key
        return self.shared.part(rows) if rows is self.train else rows_of(self.shared.X, rows)


class _Prefixes:
    """What the steps before a pipeline's estimator have made of the folds: fitted steps and transformed rows.

    It is kept until the last task of the fold is done.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._made: dict[tuple, Future] = {}
        self._pending: Counter[int] = Counter()  # tasks of a fold
        self._all_there = False

    def get(self, key: tuple, make: Callable[[], tuple]) -> tuple:
        """Return what was made for the key, which begins with the fold, or make it; who comes meanwhile waits."""
        with self._lock:
            mine = key not in self._made
            known = self._made.setdefault(key, Future())
        if mine:
            try:
                known.set_result(make())
            except BaseException as error:
                with self._lock:
                    del self._made[key]
                known.set_exception(error)
        return known.result()

    def begin(self, fold: int) -> None:
        """Count a task of a fold."""
        with self._lock:
            self._pending[fold] += 1

    def end(self, fold: int) -> None:
        """Count a task of a fold that is done."""
        with self._lock:
            self._pending[fold] -= 1
            self._forget()

    def all_there(self) -> None:
        """Take note that no more tasks will come."""
        with self._lock:
            self._all_there = True
            self._forget()

    def _forget(self):
        if self._all_there:
            self._made = {key: made for key, made in self._made.items() if self._pending[key[0]] > 0}


class _Memory:
    """The `memory` of a pipeline for its fit on one fold: gives a step that was fitted for the same before."""

    def __init__(self, prefixes: _Prefixes, fold: int):
        self._prefixes, self._fold = prefixes, fold

    def cache(self, function: Callable, **settings: Any) -> Callable:
        """Return scikit-learn's `_fit_transform_one` such that it looks here first."""
        key = (self._fold,)  # of the rows that the next step gets: the fold, and all steps before

        def fit_transform(transformer: BaseEstimator, *arguments: Any, **named: Any) -> tuple:
            nonlocal key
            try:
                step = joblib.hash(transformer)
            except Exception:  # it cannot be pickled
                step = object()
            key = (*key, step)
            return self._prefixes.get(key, lambda: function(transformer, *arguments, **named))

        return fit_transform


class _Progress:
    """Prints how many of the fits are done."""

    def __init__(self, shown: bool):
        self._shown, self._lock = shown, threading.Lock()
        self._total = self._done = 0
        self._start = self._printed = time.perf_counter()

    def add(self, future: Future, count: int) -> None:
        """Count fits that are to be done."""
        self._total += count
        if self._shown:
            future.add_done_callback(lambda future: self._note(count))

    def _note(self, count: int) -> None:
        with self._lock:
            self._done += count
            now = time.perf_counter()
            if now - self._printed < PROGRESS_EVERY:
                return
            self._printed = now
            left = (now - self._start) * (self._total - self._done) / self._done
            print(f"{self._done} of {self._total} fits done, some {timedelta(seconds=round(left))} left", flush=True)


class _Backend(ParallelBackendBase):
    """A backend of joblib: threads of this process that know what a search's tasks are.

    Parameters
    ----------
    shares : bool
        Whether a task trains on rows of X without a copy; it may not where others than our `fit` see the rows.
    verbose : int
        From 1 on, lines about the progress are printed.
    """

    uses_threads = True
    supports_sharedmem = True
    supports_retrieve_callback = True

    def __init__(self, shares: bool = True, verbose: int = 0):
        super().__init__(nesting_level=0)
        self._shares, self._verbose = shares, verbose
        self._shared, self._workers = None, None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at once, but two for one, which joblib would not bring here."""
        return max(2, self._n_workers(n_jobs))

    def _n_workers(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None:
            return resolve_threads(None)
        return max(1, joblib.cpu_count() + 1 + n_jobs) if n_jobs < 0 else n_jobs

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **more: Any) -> int:
        """Start the workers and return how many tasks run at once."""
        self.parallel = parallel
        self._workers = Workers(self._n_workers(n_jobs), resolve_threads(None))
        return self.effective_n_jobs(n_jobs)

    def start_call(self) -> None:
        """Begin with tasks that have nothing in common with those before."""
        self._progress, self._prefixes, self._on_gpu = _Progress(self._verbose > 0), _Prefixes(), []

    @contextmanager
    def retrieval_context(self) -> Iterator[None]:
        """Note that all tasks are there; do those that train on a GPU, which are done at once."""
        self._prefixes.all_there()
        fit_in_step(self._on_gpu)
        yield

    def submit(self, func: Callable, callback: Callable | None = None) -> Future:
        """Let a batch of tasks be done."""
        rank, prefixes, folds, on_gpu = (0, 0.0), self._prefixes, [], False
        for place, (function, arguments, named) in enumerate(func.items):
            if getattr(function, "__name__", "") == "_fit_and_score":
                fold = named["split_progress"][0]
                arguments, rank, device = self._adapted(*arguments, named["train"], fold, named["parameters"])
                on_gpu = on_gpu or trains_on_gpu(device)
                func.items[place] = (function, arguments, named)
                prefixes.begin(fold)
                folds.append(fold)
        if on_gpu:
            future = Future()
            self._on_gpu.append(functools.partial(complete, future, func))
        else:
            future = self._workers.submit(func, rank)
        self._progress.add(future, len(func.items))
        future.add_done_callback(lambda future: [prefixes.end(fold) for fold in folds])
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def _adapted(
        self, estimator: BaseEstimator, X: Any, y: Any, train: np.ndarray, fold: int, parameters: dict[str, Any]
    ) -> tuple[tuple, tuple, str]:
        """Return the arguments of a task such that it shares what others have, its rank, and where it trains."""
        shape = (len(train), getattr(X, "shape", (0, 1))[-1])
        if isinstance(estimator, Pipeline):
            if estimator.memory is None:
                estimator.set_params(memory=_Memory(self._prefixes, fold))
            name, last = estimator.steps[-1]
            start = f"{name}__"
            own = {key.removeprefix(start): value for key, value in parameters.items() if key.startswith(start)}
            # fold after fold, for what the first steps make of a fold is kept until it is done
            device = own.get("device", getattr(last, "device", "cpu"))
            return (estimator, X, y), (fold, -cost_of(last, shape, own)), device
        if self._shares and (self._shared is None or self._shared.X is not X):
            self._shared = SharedRows(X)
        shares = self._shares and isinstance(self._shared.part(train), Part)
        rows = _TrainingRows(self._shared, train) if shares else X
        device = parameters.get("device", estimator.device)
        return (estimator, rows, y), (0, -cost_of(estimator, shape, parameters)), device

    def retrieve_result_callback(self, out: Future) -> Any:
        """Return what a batch gave, or raise what it raised."""
        return out.result()

    def terminate(self) -> None:
        """End the workers, after the tasks that are running."""
        if self._workers is not None:
            self._workers.close(cancel=True)
            self._workers = None

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the workers, and start others."""
        self.terminate()
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)


class _Search:
    """Gives the fits of a search to `_Backend`, if they are of our estimators."""

    def fit(self, X: Any, y: Any = None, **params: Any) -> "_Search":
        """Search, and fit the best; as scikit-learn's class of the same name, with the same results.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        **params : dict of str -> object
            Passed to `fit` of the estimator, the scorer and the splitter, as scikit-learn routes them.

        Returns
        -------
        object
            The search itself.
        """
        last = self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator
        if not isinstance(last, BaseMLP):
            return super().fit(X, y, **params)
        pre_dispatch, self.pre_dispatch = self.pre_dispatch, "all"  # which are the longest is seen when all are there
        try:
            # scikit-learn's callbacks are shown the rows, as scores of the training rows are
            shares = not (self.return_train_score or getattr(self, "_skl_callbacks", ()))
            with joblib.parallel_config(backend=_Backend(shares, self.verbose)):
                return super().fit(X, y, **params)
        finally:
            self.pre_dispatch = pre_dispatch


class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's `GridSearchCV`, faster for our estimators; `n_jobs=None` takes all cores."""


class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """scikit-learn's `RandomizedSearchCV`, faster for our estimators; `n_jobs=None` takes all cores."""


class HalvingGridSearchCV(_Search, halving.HalvingGridSearchCV):
    """scikit-learn's `HalvingGridSearchCV`, faster for our estimators; `n_jobs=None` takes all cores."""


class HalvingRandomSearchCV(_Search, halving.HalvingRandomSearchCV):
    """scikit-learn's `HalvingRandomSearchCV`, faster for our estimators; `n_jobs=None` takes all cores."""
