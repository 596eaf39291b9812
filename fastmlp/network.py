"""An architecture as data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from fastmlp.activation import Activation


@dataclass(frozen=True)
class Network:
    """A dense network.

    Attributes
    ----------
    widths : tuple of int
        Numbers of features, of units in each hidden layer, and of outputs.
    activations : tuple of str or Activation
        One for each layer of weights: a name, or a user's own; the last one is the output's: "identity", "logistic",
        "softmax" or "exp".
    loss : str
        A name in `formulas.losses.LOSSES`, or of a loss of the softmax in `formulas.losses.SOFTMAX_LOSSES`.
    loss_parameter : float, default=0.0
        The number that belongs to "huber" (delta) or "quantile".
    groups : tuple of int, default=()
        How many of the outputs, one after another, share a softmax, for each softmax of "grouped_log_loss".
    scale_alpha : bool, default=True
        Whether the penalty is divided by the sum of a batch's weights, like the loss.
    dropout : tuple of float, default=()
        The rate of each hidden layer in training, in [0, 1); empty for none.
    """

    widths: tuple[int, ...]
    activations: tuple[str | Activation, ...]
    loss: str
    loss_parameter: float = 0.0
    groups: tuple[int, ...] = ()
    scale_alpha: bool = True
    dropout: tuple[float, ...] = ()

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases."""
        return sum((inputs + 1) * outputs for inputs, outputs in pairwise(self.widths))

    def without_output(self) -> "Network":
        """Return the network whose output is the last hidden layer of this one."""
        return Network(self.widths[:-1], self.activations[:-1], "squared_error")


class Augmentation(NamedTuple):
    """What is done to rows as they are gathered for a step.

    Attributes
    ----------
    jitter : float, default=0.0
        The deviation of normal noise that is added to each number.
    drop_features : float, default=0.0
        The part of the numbers that become 0, in [0, 1).
    mixup : float, default=0.0
        The parameter of the Beta distribution that says how much of a row is mixed with its neighbour in the batch;
        0.0 for no mixing.
    function : callable or None, default=None
        A user's change of a row: function(row, uniform), with a random number between 0 and 1 for each feature.
    """

    jitter: float = 0.0
    drop_features: float = 0.0
    mixup: float = 0.0
    function: Callable | None = None

    def parts(self, seed: int, first_step: int, n_steps: int) -> np.ndarray:
        """Return which part of a row stays its own in each step, of shape (n_steps,)."""
        if self.mixup == 0:
            return np.ones(n_steps)
        return np.random.default_rng([seed, first_step]).beta(self.mixup, self.mixup, n_steps)


NO_AUGMENTATION = Augmentation()


def split_groups(outputs: np.ndarray, groups: Sequence[int]) -> list[np.ndarray]:
    """Return the columns of each group; all together where there are no groups."""
    return np.split(outputs, np.cumsum(groups, dtype=np.intp)[:-1], axis=1)


def widths_of(coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Return the widths of the network whose weights and biases these are.

    Kernels trust the widths: with arrays of other shapes they would read what lies beyond.

    Raises
    ------
    ValueError
        If they are not those of one network.
    """
    try:
        inputs = coefs[0].shape[0]
        widths, fits = [inputs], inputs > 0
        for coef, bias in zip(coefs, intercepts, strict=True):
            (outputs,) = bias.shape
            fits = fits and coef.shape == (inputs, outputs) and outputs > 0
            widths.append(outputs)
            inputs = outputs
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # no arrays, or of other dimensions or number
        fits = False
    if not fits:
        raise ValueError(
            "coefs_ and intercepts_ are not the weights and biases of one network: they have the shapes "
            f"{_shapes(coefs)} and {_shapes(intercepts)}. For each layer there must be an array (inputs, outputs) and "
            "an array (outputs,), and the outputs of a layer are the inputs of the next."
        )
    return tuple(widths)


def _shapes(arrays: Sequence[np.ndarray]) -> str:
    if not isinstance(arrays, list | tuple):
        return repr(type(arrays).__name__)
    return str([getattr(array, "shape", type(array).__name__) for array in arrays])


def flatten(coefs: Sequence[np.ndarray], intercepts: Sequence[np.ndarray]) -> np.ndarray:
    """Return all weights, row by row, then all biases, in one array of shape (n_parameters,)."""
    return np.concatenate([np.ravel(array) for array in (*coefs, *intercepts)])


def views(flat: np.ndarray, widths: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return (coefs, intercepts), of shapes (inputs, outputs) and (outputs,), as views of what `flatten` returned."""
    coefs, intercepts, start = [], [], 0
    for inputs, outputs in pairwise(widths):
        coefs.append(flat[start : start + inputs * outputs].reshape(inputs, outputs))
        start += inputs * outputs
    for outputs in widths[1:]:
        intercepts.append(flat[start : start + outputs])
        start += outputs
    return coefs, intercepts


def unflatten(flat: np.ndarray, widths: Sequence[int]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return fresh (coefs, intercepts), otherwise as `views` does."""
    coefs, intercepts = views(flat, widths)
    return [weight.copy() for weight in coefs], [bias.copy() for bias in intercepts]


def scattered(size: int, index: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return an array of `size` rows, those of `index` with the values, which are alike where an index is twice."""
    whole = np.zeros((size, *values.shape[1:]), values.dtype)
    whole[index] = values
    return whole
