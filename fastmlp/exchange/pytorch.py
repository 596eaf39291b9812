"""A fitted network as a `torch.nn.Sequential`."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastmlp.estimators.base import BaseMLP
from fastmlp.exchange.layers import Layers, layers_of
from fastmlp.extras import import_extra

if TYPE_CHECKING:
    import torch


def to_torch(estimator: BaseMLP, output: str | None = None) -> "torch.nn.Sequential":
    """Return a fitted network as one of PyTorch, with weights of its own.

    It is a `torch.nn.Sequential` of Linear layers, each hidden one with its activation behind it and, where the
    estimator has one, a Dropout, in the precision of the weights and in eval mode. After `.train()`, training can go
    on there. Needs the extra `torch`.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        A fitted estimator. An activation that is a Python function of your own cannot come along.
    output : {"probability", "logits"} or None, default=None
        What comes out, always in two dimensions. "probability": what `predict_proba` gives, a column for each of
        `classes_` (for several columns of labels, the columns of all of them side by side). "logits": the output
        layer's sums without its activation, for losses such as `torch.nn.CrossEntropyLoss`; one column where there are
        two classes, for `torch.nn.BCEWithLogitsLoss`. None: the probabilities, or, where there are none, what
        `predict` of a regressor or `decision_function` gives.

    Returns
    -------
    torch.nn.Sequential
        With `missing` in the estimator, the first layer replaces NaN as it does.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError
        If the estimator is none of fastmlp's networks, or has an activation without a name.
    ValueError
        If it has no such output.

    Examples
    --------
    >>> import fastmlp
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = fastmlp.MLPClassifier((5,), "tanh", solver="lbfgs", max_iter=1000, random_state=0).fit(X, y)
    >>> fastmlp.to_torch(model)  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=4, out_features=5, bias=True)
      (1): Tanh()
      (2): Linear(in_features=5, out_features=3, bias=True)
      (3): Softmax(dim=1)
    )
    """
    torch = import_extra("torch", "torch", "to_torch")
    layers = layers_of(estimator, output, "to_torch")
    modules = [] if layers.missing is None else [_function(zero_for_nan, features=layers.indicated.tolist())]
    rates = (*layers.dropout, 0.0)
    for coef, intercept, name, rate in zip(layers.coefs, layers.intercepts, layers.activations, rates, strict=True):
        dtype = getattr(torch, coef.dtype.name)
        linear = torch.nn.utils.skip_init(torch.nn.Linear, *coef.shape, dtype=dtype)  # draws no numbers
        linear.weight.data = torch.tensor(coef.T, dtype=dtype).contiguous()
        linear.bias.data = torch.tensor(intercept, dtype=dtype)
        modules.append(linear)
        if name != "identity":
            modules.append(_grouped(layers) if name == "softmax" else MODULES[name](torch.nn))
        if rate > 0:
            modules.append(torch.nn.Dropout(rate))
    if layers.both_classes:
        modules.append(_function(both_classes))
    return torch.nn.Sequential(*modules).eval()


def arctan(z: "torch.Tensor") -> "torch.Tensor":
    """Return the arctangent."""
    return z.atan()


def exp(z: "torch.Tensor") -> "torch.Tensor":
    """Return the exponential function."""
    return z.exp()


def softmax_of_groups(z: "torch.Tensor", groups: Sequence[int]) -> "torch.Tensor":
    """Return a softmax of each group of columns."""
    import torch

    return torch.cat([part.softmax(1) for part in z.split(groups, 1)], 1)


def both_classes(p: "torch.Tensor") -> "torch.Tensor":
    """Return the probabilities of two classes, given that of the second."""
    import torch

    return torch.cat([1 - p, p], 1)


def zero_for_nan(X: "torch.Tensor", features: Sequence[int]) -> "torch.Tensor":
    """Return X with 0 for NaN, then a column for each of some features that is 1 where it is NaN."""
    import torch

    missing = X.isnan()
    filled = X.masked_fill(missing, 0)
    return torch.cat([filled, missing[:, features].to(X.dtype)], 1) if features else filled


MODULES: dict[str, Callable[[Any], Any]] = {  # of torch.nn, with the constants of `formulas.activations`
    "logistic": lambda nn: nn.Sigmoid(),
    "tanh": lambda nn: nn.Tanh(),
    "relu": lambda nn: nn.ReLU(),
    "leaky_relu": lambda nn: nn.LeakyReLU(0.01),
    "elu": lambda nn: nn.ELU(),
    "selu": lambda nn: nn.SELU(),
    "softplus": lambda nn: nn.Softplus(threshold=40),  # beyond 20, the default, float64 is not yet the identity
    "softsign": lambda nn: nn.Softsign(),
    "hard_tanh": lambda nn: nn.Hardtanh(),
    "arctan": lambda nn: _function(arctan),
    "gelu": lambda nn: nn.GELU(),
    "silu": lambda nn: nn.SiLU(),
    "mish": lambda nn: nn.Mish(),
    "exp": lambda nn: _function(exp),
}


def _grouped(layers: Layers) -> "torch.nn.Module":
    import torch

    return _function(softmax_of_groups, groups=list(layers.groups)) if layers.groups else torch.nn.Softmax(1)


def _function(function: Callable, **settings: Any) -> "torch.nn.Module":
    return _function_class()(function, **settings)


@functools.cache
def _function_class() -> type:
    import torch

    class Function(torch.nn.Module):
        """A function that `torch.nn` has no layer for."""

        def __init__(self, function: Callable, **settings: Any) -> None:
            super().__init__()
            self.function, self.settings = function, settings

        def forward(self, X: "torch.Tensor") -> "torch.Tensor":
            """Return function(X)."""
            return self.function(X, **self.settings)

        def extra_repr(self) -> str:
            return ", ".join([self.function.__name__, *(f"{name}={value}" for name, value in self.settings.items())])

    Function.__qualname__ = "Function"
    return Function


def __getattr__(name: str) -> type:
    """Return the class of a module: it is made where PyTorch is there, and pickle looks for it by its name."""
    if name == "Function":
        return _function_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
