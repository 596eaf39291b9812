"""A user's own activation, as data."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, repr=False)
class Activation:
    """A function of the preactivation, in place of a name in `activation` of an estimator.

    Two are equal if their functions are the same objects. It pickles where these do: functions of a module do.

    Parameters
    ----------
    function : callable
        A Python function of one number, or one that `numba.njit` has compiled. It may use numbers and functions outside
        of it, arithmetic, comparisons, `if`, loops, and functions of `math` and `numpy`. Numba compiles it at its first
        use, and anew after any change. Without `if` and the like (but with `numpy.where`, `max`, `abs`) it is computed
        in vector registers, which is much faster.
    derivative : callable or None, default=None
        Its derivative, a function of the preactivation too. None: `function` is differentiated, exactly; where a
        maximum, minimum or absolute value has no derivative, that of the middle is taken.

    Raises
    ------
    TypeError
        If one of them is not callable.

    Examples
    --------
    >>> import math
    >>> from fastmlp import Activation, MLPRegressor
    >>> def snake(z):
    ...     return z + math.sin(z) ** 2
    >>> Activation(snake)
    Activation(snake)
    >>> X = [[0.1 * i] for i in range(60)]
    >>> y = [math.sin(2 * x) for (x,) in X]
    >>> model = MLPRegressor(activation=snake, solver="lbfgs", tol=1e-3, max_iter=1000, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.99
    True
    """

    function: Callable
    derivative: Callable | None = None

    def __post_init__(self) -> None:
        for name in ("function", "derivative"):
            value = getattr(self, name)
            if not callable(value) and (name == "function" or value is not None):
                allowed = "a function" if name == "function" else "a function or None"
                raise TypeError(f"{name} of an Activation must be {allowed} of one number, got {value!r}.")

    def __repr__(self) -> str:
        parts = [name_of(self.function)]
        if self.derivative is not None:
            parts.append(f"derivative={name_of(self.derivative)}")
        return f"Activation({', '.join(parts)})"


def name_of(function: Callable) -> str:
    """Return a function's name, or how it is printed where it has none."""
    return getattr(function, "__name__", None) or repr(function)
