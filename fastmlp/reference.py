"""The same training and prediction in plain NumPy: the oracle of every engine's tests.

Written to be read. Rows of a batch are rows of a matrix; `activations[l]` is what layer l receives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, ndtr, ndtri, xlogy

from fastmlp.activation import Activation
from fastmlp.network import NO_AUGMENTATION, Augmentation, Network, flatten, split_groups, unflatten

if TYPE_CHECKING:
    from fastmlp.training.optimizers import Update
    from fastmlp.training.shuffle import Shuffle
    from fastmlp.training.stochastic import Stopping

SELU = (1.0507009873554805, 1.6732632423543772)  # scale and alpha, Klambauer et al. (2017)

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": expit,
    "tanh": np.tanh,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.maximum(z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "selu": lambda z: SELU[0] * np.where(z > 0, z, SELU[1] * np.expm1(np.minimum(z, 0))),
    "softplus": lambda z: np.logaddexp(0, z),
    "softsign": lambda z: z / (1 + np.abs(z)),
    "hard_tanh": lambda z: np.clip(z, -1, 1),
    "arctan": np.arctan,
    "gelu": lambda z: z * ndtr(z),
    "silu": lambda z: z * expit(z),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
    "exp": np.exp,
    "softmax": lambda z: _normalise(np.exp(z - z.max(axis=1, keepdims=True))),
}

# Derivatives as functions of the preactivation and the activation.
DERIVATIVES = {
    "identity": lambda z, a: np.ones_like(z),
    "logistic": lambda z, a: a * (1 - a),
    "tanh": lambda z, a: 1 - a**2,
    "relu": lambda z, a: (z > 0).astype(z.dtype),
    "leaky_relu": lambda z, a: np.where(z > 0, 1, 0.01).astype(z.dtype),
    "elu": lambda z, a: np.exp(np.minimum(z, 0)),
    "selu": lambda z, a: SELU[0] * np.where(z > 0, 1, SELU[1] * np.exp(np.minimum(z, 0))),
    "softplus": lambda z, a: expit(z),
    "softsign": lambda z, a: (1 + np.abs(z)) ** -2,
    "hard_tanh": lambda z, a: (np.abs(z) < 1).astype(z.dtype),
    "arctan": lambda z, a: 1 / (1 + z**2),
    "gelu": lambda z, a: ndtr(z) + z * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5,
    "silu": lambda z, a: expit(z) * (1 + z * expit(-z)),
    "mish": lambda z, a: np.tanh(np.logaddexp(0, z)) + z * expit(z) / np.cosh(np.logaddexp(0, z)) ** 2,
}


def activate(activation: str | Activation, z: np.ndarray) -> np.ndarray:
    """Return an activation of preactivations, of a user's own in float64."""
    if isinstance(activation, str):
        return ACTIVATIONS[activation](z)
    return _each(activation.function, z).astype(z.dtype)


def derivative(activation: str | Activation, z: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Return the derivative of an activation at preactivations z and activations a.

    That of a user's own, if it is not given, is by differences of fourth order in float64: right to some 1e-12, but
    within 0.002 of a kink.
    """
    if isinstance(activation, str):
        return DERIVATIVES[activation](z, a)
    if activation.derivative is not None:
        return _each(activation.derivative, z).astype(z.dtype)
    step = 1e-3
    near, far = (_each(activation.function, z + h) - _each(activation.function, z - h) for h in (step, 2 * step))
    return ((8 * near - far) / (12 * step)).astype(z.dtype)


def _each(function: Callable, z: np.ndarray) -> np.ndarray:
    return np.vectorize(function, otypes=[np.float64])(z.astype(np.float64))


class Engine:
    """A network in training.

    Parameters
    ----------
    network : Network
        Its architecture.
    dtype : numpy.dtype
        float32 or float64, for parameters and arithmetic.
    n_threads : int or None, default=1
        Not used, like `device` and `precision`; they are what an engine is made with.
    """

    def __init__(
        self,
        network: Network,
        dtype: np.dtype,
        n_threads: int | None = 1,
        device: str = "cpu",
        precision: str = "float32",
    ) -> None:
        self.network = network
        self.dtype = np.dtype(dtype)
        self.state = np.zeros((2, network.n_parameters), self.dtype)
        self.step = 0  # how many were taken, as `run_epoch` counts them
        self.seed = 0  # of the random numbers of all steps
        self.gradient_norm = 0.0  # of the last batch, before its bound

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release what the engine holds."""

    def load(
        self,
        X: np.ndarray,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        augmentation: Augmentation = NO_AUGMENTATION,
        index: np.ndarray | None = None,
    ) -> None:
        """Take the training rows, of shapes (n, n_features), (n, n_outputs or 1) and (n,); or those rows of X."""
        X = X if index is None else X[index]
        self.X, self.targets, self.sample_weight, self.augmentation = X, targets, sample_weight, augmentation

    def set_parameters(self, coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> None:
        """Copy the weights and biases in."""
        self.parameters = flatten(coefs, intercepts).astype(self.dtype)

    def get_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return fresh (coefs, intercepts)."""
        return unflatten(self.parameters, self.network.widths)

    def set_state(self, state: np.ndarray) -> None:
        """Copy in the optimizer's state, one row for each number that it keeps of a parameter."""
        self.state = np.array(state, self.dtype)

    def get_state(self) -> np.ndarray:
        """Return a copy of the optimizer's state."""
        return self.state.copy()

    def run_epoch(self, order: np.ndarray, batch_size: int, alpha: float, update: Update) -> float:
        """Take one step for each `batch_size` rows of `order`; return the mean loss of a row, each at its own step."""
        return self.run_parts([order], len(order), batch_size, alpha, update)

    def run_parts(
        self, parts: Iterable[np.ndarray], n_rows: int, batch_size: int, alpha: float, update: Update
    ) -> float:
        """Take an epoch of so many rows whose order comes in parts; between them the loaded arrays may be written to.

        All parts but the last are of whole batches.
        """
        total, number = 0.0, 0
        with np.errstate(all="ignore"):
            self.own_parts = self.augmentation.parts(self.seed, update.step + 1, -(-n_rows // batch_size))
            self.first_step = update.step + 1
            for order in parts:
                for start in range(0, len(order), batch_size):
                    rows = order[start : start + batch_size]
                    if update.rates is not None:
                        update = update._replace(constants=(float(update.rates[number]), *update.constants[1:]))
                    number += 1
                    loss = self._train_batch(rows, alpha, update, update.step + number)
                    total += loss * len(rows)
                    self.step = update.step + number
        return total / n_rows

    def run_epochs(
        self, shuffle: Shuffle, batch_size: int, alpha: float, update: Update, stopping: Stopping, most: int
    ) -> list[float]:
        """Take the next epoch of a `Shuffle` and return its loss, in a list; other engines may take `most`."""
        return [self.run_epoch(shuffle.next(), batch_size, alpha, update)]

    def _train_batch(self, rows: np.ndarray, alpha: float, update: Update, step: int) -> float:
        """Take one step, unless the rows have no weight, and return the loss before it."""
        penalty = 0.0 if update.name == "adamw" else alpha
        loss, gradient = self._loss_and_gradient(rows, penalty, update.l1_ratio, step)
        if gradient is None:
            return 0.0
        self.take_step(gradient, self._weights(rows).sum(), alpha, update, step)
        return loss

    def take_step(self, gradient: np.ndarray, weight_sum: float, alpha: float, update: Update, step: int) -> None:
        """Take step `step`, from 1, along the gradient of a batch whose weights have this sum, and set `parameters`.

        The gradient has the L2 penalty in it, but for "adamw", and not the L1 penalty.
        """
        weights = self.parameters.size - sum(self.network.widths[1:])
        if update.name == "adamw":
            self.parameters[:weights] *= 1 - update.constants[0] * alpha
        if update.max_norm > 0:
            self.gradient_norm = float(np.sqrt(np.sum(gradient**2)))
            if self.gradient_norm > update.max_norm:
                gradient = gradient * self.dtype.type(update.max_norm / self.gradient_norm)
        self._take_step(gradient, update, step)
        if update.l1_ratio > 0:
            strength = alpha * update.l1_ratio / (weight_sum if self.network.scale_alpha else 1)
            distance = (self._rate(update, step) * strength)[:weights]
            moved = self.parameters[:weights].copy()
            self.parameters[:weights] = np.maximum(moved - distance, 0) - np.maximum(-moved - distance, 0)
            if update.name == "sgd":
                self.state[0, :weights] += (self.parameters[:weights] - moved) / _ahead(update)

    def _augmented(self, rows: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return features, targets and weights of a batch as the step sees them."""
        X, targets, weight = self.X[rows], self.targets[rows], self._weights(rows)
        if self.augmentation == NO_AUGMENTATION:
            return X, targets, weight
        if self.augmentation.mixup > 0:
            own = self.dtype.type(self.own_parts[step - self.first_step])
            blocks = [np.arange(start, min(start + BLOCK_ROWS, len(rows))) for start in range(0, len(rows), BLOCK_ROWS)]
            neighbour = np.concatenate([np.roll(block, -1) for block in blocks])
            X, targets, weight = (own * values + (1 - own) * values[neighbour] for values in (X, targets, weight))
        if self.augmentation.function is not None:
            X = X.astype(self.dtype)
            uniform = uniform_numbers(self.seed, step, (1 << 32) + 2, X.shape).astype(self.dtype)
            for row, numbers in zip(X, uniform, strict=True):
                getattr(self.augmentation.function, "py_func", self.augmentation.function)(row, numbers)
        if self.augmentation.jitter > 0:
            X = X + self.augmentation.jitter * ndtri(uniform_numbers(self.seed, step, 1 << 32, X.shape))
        if self.augmentation.drop_features > 0:
            kept = uniform_numbers(self.seed, step, (1 << 32) + 1, X.shape) > self.augmentation.drop_features
            X = np.where(kept, X, 0)
        return X.astype(self.dtype), targets, weight

    def _dropout(self, layer: int, shape: tuple[int, int], step: int) -> np.ndarray:
        """Return what activations of a hidden layer are multiplied by: 0, or 1 / (1 - rate)."""
        if not any(self.network.dropout):
            return np.ones(shape, self.dtype)
        rate = round(self.network.dropout[layer] * RESOLUTION) / RESOLUTION
        kept = uniform_numbers(self.seed, step, layer, shape) > rate
        return kept.astype(self.dtype) / self.dtype.type(1 - rate)

    def _weights(self, rows: np.ndarray) -> np.ndarray:
        return np.ones(len(rows), self.dtype) if self.sample_weight is None else self.sample_weight[rows]

    def _rate(self, update: Update, step: int) -> np.ndarray:
        """Return how far a gradient of 1 moves each parameter."""
        rate, _, second = update.constants[:3]
        if update.name == "sgd":
            return np.full(self.parameters.size, rate * _ahead(update), self.dtype)
        root = 1.0 if update.name in ("rmsprop", "adagrad") else (1 - second**step) ** 0.5
        epsilon = update.constants[3] * (root if update.name == "nadam" else 1)
        return rate * root / (np.sqrt(self.state[-1]) + epsilon)

    def loss_and_gradient(
        self, flat: np.ndarray, alpha: float, rows: np.ndarray | None = None
    ) -> tuple[float, np.ndarray]:
        """Return loss and float64 gradient over rows, all or those of these indices, at parameters `flat`."""
        self.parameters = np.array(flat, self.dtype)
        with np.errstate(all="ignore"):
            loss, gradient = self._loss_and_gradient(np.arange(self.X.shape[0]) if rows is None else rows, alpha)
        return loss, gradient.astype(np.float64)

    def forward(self, X: np.ndarray) -> np.ndarray:
        """Return the output layer's activations at the present parameters."""
        return forward(self.network, *self.get_parameters(), X)

    def mean_loss(self, output: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray | None) -> float:
        """Return the mean loss of rows, without penalty, from their outputs."""
        with np.errstate(all="ignore"):
            losses = row_losses(self.network.loss, targets, output, self.network.loss_parameter)
            return float(np.average(losses, weights=sample_weight))

    def is_finite(self) -> bool:
        """Return whether all parameters are finite."""
        return bool(np.isfinite(self.parameters).all())

    def _loss_and_gradient(
        self, rows: np.ndarray, alpha: float, l1_ratio: float = 0.0, step: int = 1
    ) -> tuple[float, np.ndarray | None]:
        """Return both for a batch, its weights normalised; no gradient if they sum to zero.

        The gradient has no part of the L1 penalty, which is a step of its own.
        """
        coefs, intercepts = self.get_parameters()
        X, targets, weight = self._augmented(rows, step)
        weight_sum = weight.sum()
        if weight_sum == 0:
            return 0.0, None
        if not self.network.scale_alpha:
            alpha = alpha * weight_sum
        l1, alpha = alpha * l1_ratio, alpha * (1 - l1_ratio)
        activations, derivatives = [X], []
        for layer, name in enumerate(self.network.activations):
            preactivation = activations[layer] @ coefs[layer] + intercepts[layer]
            activation = _activate(self.network, name, preactivation)
            if layer < len(coefs) - 1:
                factor = self._dropout(layer, activation.shape, step)
                derivatives.append(derivative(name, preactivation, activation) * factor)
                activation = activation * factor
            activations.append(activation)
        output = activations[-1]
        penalty = sum(0.5 * alpha * np.sum(coef**2) + l1 * np.sum(np.abs(coef)) for coef in coefs)
        parameter = self.network.loss_parameter
        loss = (weight @ row_losses(self.network.loss, targets, output, parameter) + penalty) / weight_sum
        error = output_error(self.network.loss, targets, output, parameter) * weight[:, np.newaxis]
        for layer in reversed(range(len(coefs))):
            activation, weights = activations[layer], coefs[layer]
            coefs[layer] = (activation.T @ error + alpha * weights) / weight_sum
            intercepts[layer] = error.sum(axis=0) / weight_sum
            if layer > 0:
                error = (error @ weights.T) * derivatives[layer - 1]
        return float(loss), flatten(coefs, intercepts)

    def _take_step(self, gradient: np.ndarray, update: Update, step: int) -> None:
        if update.name == "sgd":
            learning_rate, momentum, nesterov = update.constants
            velocity = momentum * self.state[0] - learning_rate * gradient
            self.state = velocity[np.newaxis]
            self.parameters = self.parameters + (
                momentum * velocity - learning_rate * gradient if nesterov else velocity
            )
            return
        learning_rate, beta_1, beta_2, epsilon = update.constants
        if update.name in ("rmsprop", "adagrad"):
            if update.name == "rmsprop":
                square = beta_2 * self.state[0] + (1 - beta_2) * gradient**2
            else:
                square = self.state[0] + gradient**2
            self.state = square[np.newaxis]
            self.parameters = self.parameters - learning_rate * gradient / (np.sqrt(square) + epsilon)
            return
        first = beta_1 * self.state[0] + (1 - beta_1) * gradient
        second = beta_2 * self.state[1] + (1 - beta_2) * gradient**2
        self.state = np.stack([first, second])
        if update.name == "nadam":
            momenta = beta_1 * (1 - 0.5 * 0.96 ** (0.004 * np.arange(1, step + 2)))
            product = np.prod(momenta[:-1])
            first = momenta[-1] * first / (1 - product * momenta[-1]) + (1 - momenta[-2]) * gradient / (1 - product)
            second = second / (1 - beta_2**step)
        else:
            learning_rate *= (1 - beta_2**step) ** 0.5 / (1 - beta_1**step)
        self.parameters = self.parameters - learning_rate * first / (np.sqrt(second) + epsilon)


def forward(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray,
    n_threads: int | None = 1,
    raw: bool = False,
) -> np.ndarray:
    """Return the output layer's activations, or its preactivations if `raw`, of shape (n_samples, n_outputs)."""
    with np.errstate(all="ignore"):
        activation = X
        for layer, name in enumerate(network.activations):
            activation = activation @ coefs[layer] + intercepts[layer]
            if not (raw and layer == len(coefs) - 1):
                activation = _activate(network, name, activation)
    return activation


def hidden_layer(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray,
    n_threads: int | None = 1,
) -> np.ndarray:
    """Return the activations of the last hidden layer, of shape (n_samples, units)."""
    return forward(network.without_output(), coefs[:-1], intercepts[:-1], X)


def input_gradient(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray,
    errors: np.ndarray,
    n_threads: int | None = 1,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs."""
    with np.errstate(all="ignore"):
        activation, derivatives = X, []
        for name, coef, intercept in zip(network.activations[:-1], coefs[:-1], intercepts[:-1], strict=True):
            preactivation = activation @ coef + intercept
            activation = activate(name, preactivation)
            derivatives.append(derivative(name, preactivation, activation))
        for coef, slope in zip(coefs[:0:-1], derivatives[::-1], strict=True):
            errors = (errors @ coef.T) * slope
        return errors @ coefs[0].T


def row_losses(loss: str, targets: np.ndarray, output: np.ndarray, parameter: float = 0.0) -> np.ndarray:
    """Return the loss of each row, of shape (n_samples,); where scikit-learn has it, as that defines it."""
    epsilon = np.finfo(output.dtype).eps
    distance = np.abs(targets - output)
    if loss == "squared_error":  # the mean over the outputs, although the gradient is that of the sum
        return 0.5 * np.mean(distance**2, axis=1)
    if loss == "log_loss":
        probability = np.take_along_axis(output, targets.astype(np.intp), axis=1)
        return -np.log(np.clip(probability, epsilon, 1 - epsilon))[:, 0]
    if loss == "poisson":
        units = xlogy(targets, targets) - xlogy(targets, output) - targets + output
    elif loss == "gamma":
        units = np.log(output / targets) + targets / output - 1
    elif loss == "absolute_error":
        units = distance
    elif loss == "huber":
        units = np.where(distance <= parameter, distance**2 / 2, parameter * (distance - parameter / 2))
    elif loss == "quantile":
        units = np.where(targets > output, parameter, 1 - parameter) * distance
    elif loss == "hinge":
        units = np.maximum(0, 1 - (2 * targets - 1) * output)
    elif loss in ("binary_squared_error", "softmax_squared_error"):
        units = distance**2 / (2 if loss == "softmax_squared_error" else 1)
    else:
        probability = np.clip(output, epsilon, 1 - epsilon)
        units = -targets * np.log(probability)
        if loss not in ("soft_log_loss", "grouped_log_loss"):
            units -= (1 - targets) * np.log(np.clip(1 - output, epsilon, 1 - epsilon))
    return np.sum(units, axis=1)


def output_error(loss: str, targets: np.ndarray, output: np.ndarray, parameter: float = 0.0) -> np.ndarray:
    """Return the derivative of the loss of each row by the preactivations of the output, of output's shape."""
    if loss == "log_loss":
        targets = np.eye(output.shape[1], dtype=output.dtype)[targets[:, 0].astype(int)]
    residual = output - targets
    if loss == "absolute_error":
        return np.sign(residual)
    if loss == "huber":
        return np.clip(residual, -parameter, parameter)
    if loss == "quantile":
        return np.where(residual < 0, -parameter, np.where(residual > 0, 1 - parameter, 0)).astype(output.dtype)
    if loss == "gamma":
        return 1 - targets / output
    if loss == "hinge":
        signs = 2 * targets - 1
        return np.where(signs * output < 1, -signs, 0)
    if loss == "binary_squared_error":
        return 2 * residual * output * (1 - output)
    if loss == "softmax_squared_error":
        return output * (residual - np.sum(output * residual, axis=1, keepdims=True))
    return residual


RESOLUTION = 1 << 23
BLOCK_ROWS = 512  # rows are mixed with rows of their block of a batch


def uniform_numbers(seed: int, step: int, stream: int, shape: tuple[int, int]) -> np.ndarray:
    """Return the random numbers of a step, of shape (rows of the batch, units): SplitMix64, Steele et al. (2014)."""
    rows, units = (np.arange(size, dtype=np.uint64) for size in shape)
    with np.errstate(over="ignore"):  # modulo 2**64 is what is meant
        key = _bits(_bits(np.uint64(seed), np.uint64(step)), np.uint64(stream))
        numbers = _bits(key, rows[:, np.newaxis] * np.uint64(1 << 20) + units)
    return ((numbers >> np.uint64(41)) + 0.5) / RESOLUTION


def _bits(key: np.ndarray, count: np.ndarray) -> np.ndarray:
    z = key + count * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _ahead(update: Update) -> float:
    """Return what Nesterov's look ahead multiplies the present gradient by."""
    return 1 + update.constants[1] * update.constants[2]


def _activate(network: Network, name: str | Activation, preactivation: np.ndarray) -> np.ndarray:
    if name == "softmax":
        return np.hstack([ACTIVATIONS[name](part) for part in split_groups(preactivation, network.groups)])
    return activate(name, preactivation)


def _normalise(values: np.ndarray) -> np.ndarray:
    return values / values.sum(axis=1, keepdims=True)
