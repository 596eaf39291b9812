"""Suites for asv, see asv.conf.json. What Numba compiles is compiled in `setup`, in the process that is timed.

`setup_cache` would not do: asv calls it in another process.
"""

import tempfile

from benchmarks import formulas, search, startup
from benchmarks.contestants import Estimator, Problem, fit_quietly
from benchmarks.kernels import KERNELS, make_peak, rate
from benchmarks.peers import FIT_ROWS, peak_bytes
from benchmarks.shapes import BY_NAME, DIGITS, PREDICTED, SHAPES, SPARSE, dataset

DTYPES = ["float32", "float64"]
PEERS = {
    "fastmlp, 1 thread": {"peer": "fastmlp", "n_threads": 1},
    "fastmlp, all threads": {"peer": "fastmlp"},
    "scikit-learn": {"peer": "scikit-learn"},
}
MEGABYTE = 2**20
STORED_EPOCHS = 20
STORED_LOSSES = {"float32": 0.288165579003328, "float64": 0.28816540974966454}  # scikit-learn: 0.28816540974966326


class Fitted:
    """A mixin: an estimator of the network, dtype and peer that the parameters name, warmed up."""

    param_names = ("network", "dtype", "peer")
    timeout = 300

    def setup(self, network, dtype, peer):
        shape = BY_NAME[network]
        self.estimator = Estimator(Problem(shape, self.rows(shape), dtype), **PEERS[peer])
        warm = Estimator(Problem(shape, min(shape.rows, 2 * shape.batch), dtype), **PEERS[peer])
        warm.begin()
        warm.train(1)
        self.estimator.model = warm.model

    def rows(self, shape):
        return shape.rows


class TwoEpochs(Fitted):
    """A mixin: an estimator that has not been fitted."""

    def setup(self, network, dtype, peer):
        super().setup(network, dtype, peer)
        self.model = self.estimator.make(2)

    def fit(self):
        fit_quietly(self.model, self.estimator.X, self.estimator.y)


class Fit(TwoEpochs):
    """Two epochs."""

    params = ([shape.name for shape in (*SHAPES[:5], SPARSE)], DTYPES, list(PEERS))

    def time_fit(self, network, dtype, peer):
        self.fit()


class FitMemory(TwoEpochs):
    """The most memory that a process holds that makes the data and trains two epochs."""

    params = ([PREDICTED.name], DTYPES, list(PEERS))

    def peakmem_fit(self, network, dtype, peer):
        self.fit()


class PartialFit(Fitted):
    """One call of partial_fit, of one batch: what a call costs beside its step."""

    params = ([shape.name for shape in (SHAPES[0], SHAPES[3], SHAPES[4])], DTYPES, list(PEERS))

    def rows(self, shape):
        return shape.batch

    def time_partial_fit(self, network, dtype, peer):
        self.estimator.train(1)


class Predict(Fitted):
    """One call of predict."""

    params = ([1, 100, 10_000], DTYPES, list(PEERS))
    param_names = ("rows", "dtype", "peer")

    def setup(self, rows, dtype, peer):
        super().setup(PREDICTED.name, dtype, peer)
        self.X, _ = dataset(PREDICTED, rows, dtype)
        self.estimator.predict(self.X)

    def rows(self, shape):
        return FIT_ROWS

    def time_predict(self, rows, dtype, peer):
        self.estimator.predict(self.X)


class PredictMemory(Fitted):
    """By how much a process's peak grows in a prediction."""

    params = ([200_000], DTYPES, list(PEERS))
    param_names = ("rows", "dtype", "peer")
    unit = "MiB"

    def setup(self, rows, dtype, peer):
        super().setup(PREDICTED.name, dtype, peer)
        self.X, _ = dataset(PREDICTED, rows, dtype)
        self.estimator.predict(self.X[:FIT_ROWS])

    def rows(self, shape):
        return FIT_ROWS

    def track_growth(self, rows, dtype, peer):
        before = peak_bytes()
        if before is None:
            raise NotImplementedError("this system does not tell a process's peak memory")
        self.estimator.predict(self.X)
        return (peak_bytes() - before) / MEGABYTE


class Kernel:
    """The innermost kernels, one thread, on data in the first-level cache."""

    params = (list(KERNELS), DTYPES)
    param_names = ("kernel", "dtype")
    unit = "% of the processor's multiply-adds"

    def track_peak(self, kernel, dtype):
        # Measured right after each other: the clock of a processor changes with its load.
        return 100 * rate(KERNELS[kernel], dtype) / rate(make_peak, dtype)


class Search:
    """A grid of eight candidates on five folds of the digits, ten epochs each, by either GridSearchCV."""

    params = (["fastmlp", "scikit-learn of fastmlp"],)
    param_names = ("search",)
    timeout = 300

    def setup(self, kind):
        self.X, self.y, grid = search.problem(quick=False)
        grid = {**grid, "alpha": grid["alpha"][:2], "learning_rate_init": grid["learning_rate_init"][:2]}
        del grid["hidden_layer_sizes"]
        self.search = search.searches(200, 10, grid, [kind])[kind]
        self.time_grid(kind)

    def time_grid(self, kind):
        search.quietly(lambda: self.search.fit(self.X, self.y))


class Formula:
    """An epoch with each activation, loss and solver, in the time that relu, log-loss and Adam take; float32."""

    params = (list(formulas.CASES),)
    param_names = ("formula",)
    unit = "times relu, log-loss and Adam"
    timeout = 300

    def track_ratio(self, formula):
        return formulas.measure([formula], repeats=3, rows=8 * formulas.BATCH)[formula]["ratio"]


class Startup:
    """Import and first fit in a fresh process, after scikit-learn and Numba have been imported."""

    params = (["classifier, float32", "regressor, float64"], ["empty cache", "warm cache"])
    param_names = ("fit", "cache")
    unit = "s"
    timeout = 300

    def setup(self, fit, cache):
        self.directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        if cache == "warm cache":
            self.start(fit)

    def teardown(self, fit, cache):
        self.directory.cleanup()

    def start(self, fit):
        case = startup.CASES[fit]
        _, seconds = startup.run(startup.BASE.format(**case) + startup.FIT.format(**case), self.directory.name)
        return seconds

    def track_import_and_first_fit(self, fit, cache):
        return sum(self.start(fit))


class SameResults:
    """The loss of a fit on the digits, less the loss that was stored, in parts of it: a change of results shows.

    Below 1e-9, or 1e-4 in float32, it is rounding, which differs between instruction sets.
    """

    params = DTYPES
    param_names = ("dtype",)
    unit = "relative difference"

    def setup(self, dtype):
        self.estimator = Estimator(Problem(DIGITS, DIGITS.rows, dtype), peer="fastmlp")

    def track_loss(self, dtype):
        model = fit_quietly(self.estimator.make(STORED_EPOCHS), self.estimator.X, self.estimator.y)
        return abs(model.loss_ / STORED_LOSSES[dtype] - 1)
