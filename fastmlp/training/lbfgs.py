"""The L-BFGS solver: SciPy's optimizer on the engine's loss and gradient over all rows."""

import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from fastmlp.network import flatten, unflatten
from fastmlp.training.blas import one_thread
from fastmlp.training.callbacks import Epoch, call
from fastmlp.training.stochastic import ADVICE, NOT_FINITE, Parameters


def minimise(
    engine: object,
    parameters: Parameters,
    alpha: float,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: bool | int,
    dtype: np.dtype,
    callbacks: Sequence[Callable[[Epoch], object]] = (),
    fitted: Callable[[Parameters, float, int], object] | None = None,
    start: float = 0.0,
) -> tuple[Parameters, float, int]:
    """Minimise the loss with L-BFGS-B, Byrd et al. (1995).

    Ctrl-C ends it with a warning and keeps the last iterate.

    Parameters
    ----------
    engine : Engine
        Of float64, loaded with the training rows: the line search needs the digits.
    parameters : tuple of (coefs, intercepts)
        Where to start.
    alpha : float
        The L2 penalty.
    max_iter, max_fun : int
        The most iterations, and evaluations of the loss.
    tol : float
        Ends when no component of the gradient is larger.
    verbose : bool or int
        Whether to print the loss of each iteration.
    dtype : numpy.dtype
        Of the parameters returned.
    callbacks : sequence of callable, default=()
        Called with an `Epoch` for each iteration; the training ends if one returns True.
    fitted : callable or None, default=None
        Gives `Epoch.fitted_estimator` what it returns, for parameters, loss and number of iterations.
    start : float, default=0.0
        When the fit began, as `time.perf_counter` counts.

    Returns
    -------
    parameters : tuple of (coefs, intercepts)
    loss : float
    n_iter : int

    Raises
    ------
    ValueError
        If the parameters found are not finite in `dtype`.
    """

    def at(point: np.ndarray) -> Parameters:
        with np.errstate(over="ignore"):
            return unflatten(point.astype(dtype), engine.network.widths)

    def tell(iterates: _Iterates) -> bool:
        numbers = {"loss": iterates.loss, "seconds": time.perf_counter() - start}
        snapshot = None
        if fitted is not None:
            snapshot = lambda: fitted(at(iterates.point), iterates.loss, iterates.n_iter)  # noqa: E731
        return call(callbacks, iterates.n_iter, numbers, None, snapshot)

    iterates = _Iterates(engine, alpha, flatten(*parameters).astype(np.float64), verbose, tell if callbacks else None)
    try:
        with one_thread():
            result = minimize(
                iterates.loss_and_gradient,
                iterates.point,
                method="L-BFGS-B",
                jac=True,
                callback=iterates.record,
                options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
            )
    except (KeyboardInterrupt, _Ended) as end:
        if isinstance(end, KeyboardInterrupt):
            message = f"Training interrupted by user after {iterates.n_iter} iterations, of at most {max_iter}."
            warnings.warn(message, stacklevel=2)
        point, loss, n_iter = iterates.point, iterates.loss, iterates.n_iter
    else:
        point, loss, n_iter = result.x, float(result.fun), min(result.nit, max_iter)
        if result.status != 0:
            _warn_not_converged(result, n_iter, max_iter)
    coefs, intercepts = at(point)
    if not all(np.isfinite(array).all() for array in (*coefs, *intercepts)):
        raise ValueError(f"{NOT_FINITE} It happened after {n_iter} iterations. {ADVICE}")
    return (coefs, intercepts), loss, n_iter


class _Ended(Exception):
    """A callback has ended the training."""


class _Iterates:
    """The last accepted point, so that an interrupted run has something to return."""

    def __init__(
        self,
        engine: object,
        alpha: float,
        start: np.ndarray,
        verbose: bool | int,
        tell: Callable[["_Iterates"], bool] | None,
    ) -> None:
        self.engine, self.alpha, self.verbose, self.tell = engine, alpha, verbose, tell
        self.point, self.loss, self.n_iter = start, np.inf, 0
        self.evaluated = np.inf

    def loss_and_gradient(self, point: np.ndarray) -> tuple[float, np.ndarray]:
        self.evaluated, gradient = self.engine.loss_and_gradient(point, self.alpha)
        return self.evaluated, gradient

    def record(self, point: np.ndarray) -> None:
        self.point, self.loss = point.copy(), self.evaluated  # the line search ends at the point it evaluated last
        self.n_iter += 1
        if self.verbose:
            print(f"Iteration {self.n_iter}, loss = {self.loss:.8f}")
        if self.tell is not None and self.tell(self):
            raise _Ended


def _warn_not_converged(result: object, n_iter: int, max_iter: int) -> None:
    message = f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n{result.message}\n"
    if n_iter == max_iter:
        message += f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
    message += "\nFeatures of similar scale help too, for example those of sklearn.preprocessing.StandardScaler."
    warnings.warn(message, ConvergenceWarning, stacklevel=3)
