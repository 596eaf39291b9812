"""One network in each library: the same start, the same batches, the same rule of update; no L2 penalty.

Each trains in the manner that is fastest in its library; skorch and Keras by their `fit`, which is what they are for.
Sparse rows go into PyTorch, skorch and JAX as lists of column and value, of equal length, with which they gather rows
of the first weights: faster there than products of sparse matrices. Keras takes them as they are.
"""

import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as ScikitLearnMLPClassifier
from sklearn.neural_network import MLPRegressor as ScikitLearnMLPRegressor

import fastmlp
from benchmarks.common import installed_version, seconds
from benchmarks.shapes import Shape, dataset

SEED = 0
ESTIMATORS = {
    ("fastmlp", "classification"): fastmlp.MLPClassifier,
    ("fastmlp", "regression"): fastmlp.MLPRegressor,
    ("scikit-learn", "classification"): ScikitLearnMLPClassifier,
    ("scikit-learn", "regression"): ScikitLearnMLPRegressor,
}


def make_model(peer: str, shape: Shape, max_iter: int, **parameters: object):
    """Return an estimator of "fastmlp" or "scikit-learn" that trains for max_iter epochs, whatever its loss does."""
    settings = {"solver": shape.solver, "activation": shape.activation, "momentum": 0.0, "alpha": 0.0}
    settings |= {
        "learning_rate_init": shape.learning_rate,
        "tol": 0.0,
        "n_iter_no_change": np.inf,
        "random_state": SEED,
    }
    return ESTIMATORS[peer, shape.task](
        hidden_layer_sizes=shape.hidden, batch_size=shape.batch, max_iter=max_iter, **settings | parameters
    )


def fit_quietly(model, X: np.ndarray, y: np.ndarray):
    """Fit without the warning that max_iter was reached, which is meant here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


class Problem(NamedTuple):
    """What is trained: a network on the first `rows` of its data, in `dtype`."""

    shape: Shape
    rows: int
    dtype: str

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Return X and y."""
        return dataset(self.shape, self.rows, self.dtype)


class Start(NamedTuple):
    """Weights and biases to start from; the shuffles start anew as well."""

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]


def make_start(problem: Problem) -> Start:
    """Return scikit-learn's initial weights: those after an epoch with a rate too small to change them."""
    model = fit_quietly(make_model("scikit-learn", problem.shape, 1, learning_rate_init=1e-300), *problem.data())
    return Start(model.coefs_, model.intercepts_)


class Contestant:
    """What all can do. Arrays in, arrays out."""

    def begin(self, start: Start) -> None:
        """Go back to the start, with a new optimizer."""
        raise NotImplementedError

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        """Train for so many epochs more; return their losses."""
        raise NotImplementedError

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Return the labels of rows."""
        raise NotImplementedError

    def first_losses(self, start: Start, epochs: int) -> list[float]:
        """Return the losses of the first epochs, with the batches in the order of the rows."""
        self.begin(start)
        return self.train(epochs, shuffle=False)

    def fit_seconds(self, start: Start, epochs: int) -> float:
        """Return the seconds from the start to the end of so many epochs."""

        def fit():
            self.begin(start)
            self.train(epochs)

        return seconds(fit)

    def epoch_seconds(self, epochs: int) -> float:
        """Return the mean seconds of so many epochs."""
        return seconds(partial(self.train, epochs)) / epochs

    def predict_seconds(self, X: np.ndarray, calls: int) -> float:
        """Return the mean seconds of so many calls of predict."""

        def repeat():
            for _ in range(calls):
                self.predict(X)

        return seconds(repeat) / calls


class Estimator(Contestant):
    """An estimator of fastmlp or of scikit-learn."""

    def __init__(self, problem: Problem, peer: str, **parameters: object):
        self.make = partial(make_model, peer, problem.shape, **parameters)
        self.X, self.y = problem.data()
        self.classes = {"classes": np.unique(self.y)} if problem.shape.task == "classification" else {}

    def begin(self, start: Start | None = None) -> None:
        # The seed gives the start; a generator, unlike a number, goes on from epoch to epoch.
        self.model = self.make(1, random_state=np.random.RandomState(SEED))

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        self.model.set_params(shuffle=shuffle)
        return [self.model.partial_fit(self.X, self.y, **self.classes).loss_ for _ in range(epochs)]

    def fit_seconds(self, start: Start, epochs: int) -> float:
        """Return the seconds of `fit`, which takes the way of `train` without the validation at each epoch."""
        return seconds(partial(fit_quietly, self.make(epochs), self.X, self.y))

    def epoch_seconds(self, epochs: int) -> float:
        """Return a fit of 1 + epochs less a fit of 1, over epochs: what a fit does once cancels out."""
        short, long = (
            seconds(partial(fit_quietly, self.make(max_iter), self.X, self.y)) for max_iter in (1, 1 + epochs)
        )
        return (long - short) / epochs

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.model.predict(X)


@cache
def _estimator(problem: Problem) -> Estimator:
    return Estimator(problem, "scikit-learn")


def _call(problem: Problem, method: str, *arguments: object) -> object:
    return getattr(_estimator(problem), method)(*arguments)


class Remote(Contestant):
    """scikit-learn in another process, where its BLAS runs other kernels; timed there."""

    def __init__(self, problem: Problem, process: ProcessPoolExecutor):
        self.call = lambda *arguments: process.submit(_call, problem, *arguments).result()

    def begin(self, start: Start) -> None:
        self.call("begin", start)

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        return self.call("train", epochs, shuffle)

    def fit_seconds(self, start: Start, epochs: int) -> float:
        return self.call("fit_seconds", start, epochs)

    def epoch_seconds(self, epochs: int) -> float:
        return self.call("epoch_seconds", epochs)

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.call("predict", X)

    def predict_seconds(self, X: np.ndarray, calls: int) -> float:
        return self.call("predict_seconds", X, calls)


def lists_of_entries(X: sparse.csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Return columns and values (rows, most entries of a row); a short list is filled up with zeros of column 0."""
    counts = np.diff(X.indptr)
    columns = np.zeros((X.shape[0], counts.max()), np.int32)
    values = np.zeros(columns.shape, X.dtype)
    used = np.arange(counts.max()) < counts[:, None]
    columns[used], values[used] = X.indices, X.data
    return columns, values


def inputs_and_targets(problem: Problem) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """Return X, or columns and values if it is sparse, and the targets as the loss of the task takes them."""
    X, y = problem.data()
    inputs = lists_of_entries(X) if sparse.issparse(X) else (X,)
    return inputs, y if problem.shape.loss == "log_loss" else y.astype(problem.dtype)[:, None]


def torch_network(problem: Problem, device: str = "cpu"):
    """Return the module that PyTorch and skorch train; if X is sparse, it takes columns and values."""
    import torch
    from torch import nn
    from torch.nn import functional

    class ListedLinear(nn.Module):
        """A linear layer for rows that are lists of columns and values."""

        def __init__(self, inputs, outputs):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(inputs, outputs))
            self.bias = nn.Parameter(torch.empty(outputs))

        def forward(self, columns, values):
            return functional.embedding_bag(columns, self.weight, per_sample_weights=values, mode="sum") + self.bias

    class Network(nn.Module):
        def __init__(self, widths, activation, listed):
            super().__init__()
            self.first = (ListedLinear if listed else nn.Linear)(*widths[:2])
            others = [module for pair in pairwise(widths[1:]) for module in (activation(), nn.Linear(*pair))]
            self.others = nn.Sequential(*others)

        def forward(self, X, values=None):
            return self.others(self.first(X) if values is None else self.first(X, values))

    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[problem.shape.activation]
    network = Network(problem.shape.widths, activation, problem.shape.density < 1)
    return network.to(device, getattr(torch, problem.dtype))


def set_weights(network, start: Start) -> None:
    """Give a network of `torch_network` the weights and biases of a start."""
    import torch

    with torch.no_grad():
        layers = [network.first, *network.others[1::2]]
        for layer, coef, intercept in zip(layers, start.coefs, start.intercepts, strict=True):
            coef = torch.from_numpy(coef)
            layer.weight.copy_(coef.T if isinstance(layer, torch.nn.Linear) else coef)
            layer.bias.copy_(torch.from_numpy(intercept))


class Torch(Contestant):
    """PyTorch: modules, autograd and its fused optimizer; batches gathered by index; `compiled`: with torch.compile."""

    def __init__(self, problem: Problem, compiled: bool, device: str = "cpu"):
        import torch
        from torch.nn import functional

        self.torch, self.problem, self.shape, self.device = torch, problem, problem.shape, device
        inputs, y = inputs_and_targets(problem)
        *self.inputs, self.y = (torch.from_numpy(array).to(device) for array in (*inputs, y))
        self.network = torch_network(problem, device)
        criterion = {
            "log_loss": functional.cross_entropy,
            "binary_log_loss": functional.binary_cross_entropy_with_logits,
            "squared_error": lambda output, y: functional.mse_loss(output, y) / 2,
        }[self.shape.loss]
        optimizer = {
            "adam": partial(torch.optim.Adam, lr=self.shape.learning_rate, fused=True),
            "sgd": partial(torch.optim.SGD, lr=self.shape.learning_rate, fused=True),
        }[self.shape.solver]

        def loss(inputs, y, batch):
            return criterion(self.network(*(array[batch] for array in inputs)), y[batch])

        if compiled:
            torch.compiler.reset()  # it compiles a function for a few networks only, and then no more
        self.loss = torch.compile(loss, dynamic=False) if compiled else loss
        self.forward = torch.compile(self.network, dynamic=False) if compiled else self.network
        self.new_optimizer = partial(optimizer, list(self.network.parameters()))
        self.optimizer = self.new_optimizer()

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        torch, rows = self.torch, self.problem.rows
        totals = []
        for _ in range(epochs):
            order = (torch.randperm if shuffle else torch.arange)(rows, device=self.device)
            total = torch.zeros((), dtype=self.inputs[-1].dtype, device=self.device)
            for batch in order.split(self.shape.batch):
                self.optimizer.zero_grad()
                loss = self.loss(self.inputs, self.y, batch)
                loss.backward()
                self.optimizer.step()
                total += loss.detach() * len(batch)
            totals.append(total / rows)
        return [float(total) for total in totals]

    def begin(self, start: Start) -> None:
        set_weights(self.network, start)
        self.optimizer = self.new_optimizer()
        self.torch.manual_seed(SEED)

    def predict(self, X: np.ndarray) -> np.ndarray:
        with self.torch.inference_mode():
            output = self.forward(self.torch.from_numpy(X).to(self.device))
            labels = (output > 0)[:, 0] if output.shape[1] == 1 else output.argmax(1)
            return labels.cpu().numpy().astype(int)


class Jax(Contestant):
    """JAX: an epoch is one compiled program, a scan over its batches."""

    def __init__(self, problem: Problem):
        import jax
        from jax import lax
        from jax import numpy as jnp

        jax.config.update("jax_enable_x64", True)  # allows float64; float32 stays float32
        self.problem = problem
        shape, rows, batch = problem.shape, problem.rows, problem.shape.batch
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[shape.activation]
        criterion = {
            "log_loss": lambda output, y: -jnp.take_along_axis(jax.nn.log_softmax(output), y[:, None], 1).mean(),
            "binary_log_loss": lambda output, y: (jax.nn.softplus(output) - y * output).mean(),
            "squared_error": lambda output, y: ((output - y) ** 2).mean() / 2,
        }[shape.loss]
        inputs, y = inputs_and_targets(problem)
        self.data = tuple(map(jnp.asarray, (*inputs, y.astype("int32") if shape.loss == "log_loss" else y)))

        def forward(parameters, *inputs):
            (weight, bias), *others = parameters
            if len(inputs) > 1:
                columns, values = inputs
                output = jnp.einsum("rk,rku->ru", values, weight[columns]) + bias
            else:
                output = inputs[0] @ weight + bias
            for weight, bias in others:
                output = activation(output) @ weight + bias
            return output

        def adam(parameters, gradients, moments, step):
            first, second = moments
            first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, gradients)
            second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, gradients)
            rate = (shape.learning_rate * jnp.sqrt(1 - 0.999**step) / (1 - 0.9**step)).astype(problem.dtype)
            update = partial(jax.tree.map, lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8))
            return update(parameters, first, second), (first, second)

        def descend(parameters, gradients, moments, step):
            return jax.tree.map(lambda p, g: p - shape.learning_rate * g, parameters, gradients), moments

        optimizer = {"adam": adam, "sgd": descend}[shape.solver]

        def loss(parameters, rows):
            *inputs, y = rows
            return criterion(forward(parameters, *inputs), y)

        def epoch(state, data, order):
            def step(state, batch):
                parameters, moments, count = state
                value, gradients = jax.value_and_grad(loss)(parameters, [array[batch] for array in data])
                return (*optimizer(parameters, gradients, moments, count + 1), count + 1), value

            whole = rows // batch * batch
            state, losses = lax.scan(step, state, order[:whole].reshape(-1, batch))
            total = losses.sum() * batch
            if whole < rows:  # the last batch has fewer rows
                state, last = step(state, order[whole:])
                total += last * (rows - whole)
            return state, total / rows

        self.epoch = jax.jit(epoch, donate_argnums=0)
        answer = (lambda output: output[:, 0] > 0) if shape.widths[-1] == 1 else partial(jnp.argmax, axis=1)
        self.forward = jax.jit(lambda parameters, X: answer(forward(parameters, X)))
        zeros = partial(jax.tree.map, jnp.zeros_like)
        self.new_state = lambda pairs: (jax.tree.map(jnp.array, pairs), (zeros(pairs), zeros(pairs)), 0.0)

    def new_order(self, shuffle: bool):
        """Return the rows in the order of the next epoch."""
        order = np.arange(self.problem.rows, dtype=np.int32)
        if shuffle:
            self.random.shuffle(order)
        return order

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        losses = []
        for _ in range(epochs):
            self.state, loss = self.epoch(self.state, self.data, self.new_order(shuffle))
            losses.append(loss)
        return [float(loss) for loss in losses]

    def begin(self, start: Start) -> None:
        self.random = np.random.default_rng(SEED)
        self.state = self.new_state(list(zip(start.coefs, start.intercepts, strict=True)))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.forward(self.state[0], X)).astype(int)


class Skorch(Contestant):
    """skorch: PyTorch's module behind scikit-learn's interface, with skorch's DataLoader and the fused optimizer.

    All else is as skorch has it, but for the validation rows (`train_split`), of which the others have none. Its page
    on performance says what would be faster for small networks: no callbacks, so no losses, and a Dataset of tensors.
    """

    def __init__(self, problem: Problem):
        import skorch
        import torch
        from torch import nn

        class HalfSquaredError(nn.MSELoss):
            def forward(self, output, y):
                return super().forward(output, y) / 2

        self.torch, shape = torch, problem.shape
        (X, *values), self.y = inputs_and_targets(problem)
        self.X = {"X": X, "values": values[0]} if values else X
        if shape.loss == "binary_log_loss":
            self.y = self.y[:, 0]
        net, criterion = {
            "log_loss": (skorch.NeuralNetClassifier, nn.CrossEntropyLoss),
            "binary_log_loss": (skorch.NeuralNetBinaryClassifier, nn.BCEWithLogitsLoss),
            "squared_error": (skorch.NeuralNetRegressor, HalfSquaredError),
        }[shape.loss]
        self.net = net(
            torch_network(problem),
            criterion=criterion,
            optimizer={"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[shape.solver],
            optimizer__fused=True,
            lr=shape.learning_rate,
            batch_size=shape.batch,
            iterator_train__shuffle=True,
            train_split=None,
            verbose=0,
        )

    def begin(self, start: Start) -> None:
        self.net.initialize()  # with a new optimizer; a module that is an instance it keeps
        set_weights(self.net.module_, start)
        self.torch.manual_seed(SEED)

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        self.net.iterator_train__shuffle = shuffle  # set_params of a net that is initialized refuses it
        self.net.partial_fit(self.X, self.y, epochs=epochs)
        return self.net.history[-epochs:, "train_loss"]

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.net.predict(X).astype(int)


def keras_backend() -> str | None:
    """Return what Keras computes with: KERAS_BACKEND, else PyTorch or JAX, which is installed; None if neither is."""
    installed = (package for package in ("torch", "jax") if installed_version(package) is not None)
    return os.environ.get("KERAS_BACKEND") or next(installed, None)


class Keras(Contestant):
    """Keras: `compile`, and `fit` with arrays; on the CPU, with what `keras_backend` says."""

    def __init__(self, problem: Problem, backend: str):
        os.environ["KERAS_BACKEND"] = backend  # Keras reads it when it is imported
        import keras

        self.keras, shape = keras, problem.shape
        keras.config.set_floatx(problem.dtype)  # to which `fit` converts all arrays
        self.batch = shape.batch
        self.X, _ = problem.data()
        _, self.y = inputs_and_targets(problem)
        loss = {
            "log_loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "binary_log_loss": keras.losses.BinaryCrossentropy(from_logits=True),
            "squared_error": keras.losses.MeanSquaredError(),
        }[shape.loss]
        optimizer = {
            "adam": partial(keras.optimizers.Adam, epsilon=1e-8),
            "sgd": keras.optimizers.SGD,
        }[shape.solver]
        with keras.device("cpu"):
            features, *hidden, outputs = shape.widths
            layers = [keras.layers.Dense(units, shape.activation) for units in hidden]
            inputs = keras.Input((features,), sparse=shape.density < 1 and backend != "torch")  # there, dense by batch
            self.model = keras.Sequential([inputs, *layers, keras.layers.Dense(outputs)])
            weight = 0.5 if shape.loss == "squared_error" else None  # scikit-learn's is half of the mean
            self.model.compile(optimizer(shape.learning_rate), loss, loss_weights=weight)
            self.model.optimizer.build(self.model.trainable_variables)
            self.new_state = [np.array(variable) for variable in self.model.optimizer.variables]

    def begin(self, start: Start) -> None:
        with self.keras.device("cpu"):
            self.model.set_weights(
                [array for pair in zip(start.coefs, start.intercepts, strict=True) for array in pair]
            )
            for variable, value in zip(self.model.optimizer.variables, self.new_state, strict=True):
                variable.assign(value)  # a new optimizer would be compiled anew
            self.keras.utils.set_random_seed(SEED)

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        with self.keras.device("cpu"):
            history = self.model.fit(self.X, self.y, batch_size=self.batch, epochs=epochs, shuffle=shuffle, verbose=0)
        return history.history["loss"]

    def predict(self, X: np.ndarray) -> np.ndarray:
        with self.keras.device("cpu"):
            output = self.model.predict(X, batch_size=self.batch, verbose=0)
        return (output[:, 0] > 0 if output.shape[1] == 1 else output.argmax(axis=1)).astype(int)
