"""Suites for asv, see asv.conf.json. Compiled in setup, which asv calls in the process that it times."""

from benchmarks.common import SHAPES, dataset, fit_quietly, make_model

BY_NAME = {shape.name: shape for shape in SHAPES}


class Fit:
    """Two epochs, beside scikit-learn's."""

    params = (list(BY_NAME), ["float32", "float64"], ["fastmlp", "scikit-learn"])
    param_names = ("network", "dtype", "peer")
    timeout = 300

    def setup(self, network, dtype, peer):
        shape = BY_NAME[network]
        self.X, self.y = dataset(shape, dtype=dtype)
        self.model = make_model(peer, shape, 2)
        fit_quietly(make_model(peer, shape, 1), self.X[: shape.batch], self.y[: shape.batch])

    def time_fit(self, network, dtype, peer):
        fit_quietly(self.model, self.X, self.y)


class Predict:
    """One call of predict, beside scikit-learn's."""

    params = (list(BY_NAME), [1, 100, 10_000], ["fastmlp", "scikit-learn"])
    param_names = ("network", "rows", "peer")

    def setup(self, network, rows, peer):
        shape = BY_NAME[network]
        self.model = fit_quietly(make_model(peer, shape, 1), *dataset(shape, 1_000))
        self.X, _ = dataset(shape, rows)
        self.model.predict(self.X)

    def time_predict(self, network, rows, peer):
        self.model.predict(self.X)
