"""The one place that chooses the engine; everything else asks here."""

import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

import numpy as np
from scipy.sparse import issparse, spmatrix

from fastmlp.activation import Activation
from fastmlp.cpu.engine import Engine
from fastmlp.cpu.forward import forward as _forward
from fastmlp.cpu.program import FULL_PROGRAM, code_of
from fastmlp.cpu.saliency import hidden_layer as _hidden_layer
from fastmlp.cpu.saliency import input_gradient as _input_gradient
from fastmlp.network import Network
from fastmlp.training.blocks import StoredRows

_here = threading.local()  # `lockstep`: what trains the networks of this thread

CPU, CUDA, AUTO = DEVICES = ("cpu", "cuda", "auto")
MOST_IN_STEP = 1024  # fits at once on a GPU, each of which has a thread of this process
PRECISIONS = ("float32", "tf32", "bfloat16")  # of the products of large layers on a GPU
# Multiply-adds of a prediction, from which on `AUTO` sends the rows to a GPU: fewer are done before they are there.
WORK_WORTH_A_GPU = 1 << 33


def check_gpu() -> None:
    """Check that there is a GPU to compute on.

    Raises
    ------
    ImportError
        If what drives it is not installed.
    RuntimeError
        If there is none.
    """
    if find_spec("numba_cuda") is None:
        raise ImportError(
            "device='cuda' needs the extra 'cuda', which is not installed: pip install 'fastmlp[cuda]'; or take "
            "device='cpu'."
        )
    if not import_module("fastmlp.cuda.compiler").available():
        raise RuntimeError(
            "device='cuda' needs an NVIDIA GPU and its driver, and none was found (nvidia-smi shows what there is): "
            "take device='cpu', or device='auto', which uses a GPU where there is one."
        )


def has_gpu() -> bool:
    """Return whether there is a GPU to compute on."""
    try:
        check_gpu()
    except (ImportError, RuntimeError):
        return False
    return True


def device_of_training(
    device: str, activations: Sequence[str | Activation], change: Callable | None, dtype: np.dtype
) -> str:
    """Return where to train: "cpu" or "cuda"; compile users' own activations, so that what is wrong with them is said.

    Parameters
    ----------
    device : {"cpu", "cuda", "auto"}
        What the user asks for; "auto" is a GPU where there is one, and no function of the user's own.
    activations : sequence of str or Activation
        Of the hidden layers.
    change : callable or None
        A user's own change of rows.
    dtype : numpy.dtype
        Of all arithmetic.

    Raises
    ------
    ImportError, RuntimeError
        As `check_gpu`, if a GPU is asked for.
    ValueError
        If an activation cannot be compiled or differentiated, or a GPU is asked for and there are functions of the
        user's own.
    """
    own = next((one.function for one in activations if isinstance(one, Activation)), change)
    if device == CUDA:
        check_gpu()
        if own is not None:
            raise ValueError(
                f"device='cuda' has no functions of your own, as activation or augment, got {own!r}: take "
                "device='cpu', or names."
            )
        return CUDA
    if device == AUTO and own is None and has_gpu():
        return CUDA
    for activation in activations:
        code_of(FULL_PROGRAM, activation, dtype)
    return CPU


def _device_of_prediction(device: str, network: Network, X: object) -> str:
    """Return where to predict: on the CPU where there is no GPU, too, for a model that was trained on one."""
    if is_rows_on_gpu(X):
        return CUDA
    if device == CPU or any(isinstance(activation, Activation) for activation in network.activations):
        return CPU
    if device == AUTO and X.shape[0] * network.n_parameters < WORK_WORTH_A_GPU:
        return CPU
    return CUDA if has_gpu() else CPU


def is_rows_on_gpu(X: object) -> bool:
    """Return whether validated rows are on a GPU: none of the host's, but `fastmlp.cuda.rows.DeviceRows`."""
    return not isinstance(X, np.ndarray | StoredRows) and not issparse(X)


def on_gpu(name: str) -> Callable:
    """Return a function of `fastmlp.cuda.rows`, which is imported only where there is a GPU to compute on."""
    return getattr(import_module("fastmlp.cuda.rows"), name)


def _cuda(name: str) -> Callable:
    function, lockstep = getattr(import_module("fastmlp.cuda.predict"), name), getattr(_here, "lockstep", None)
    if lockstep is None:
        return function
    return lambda *arguments, **named: lockstep.ask(lambda: function(*arguments, **named))


def make_engine(
    network: Network, dtype: np.dtype, n_threads: int | None, device: str = CPU, precision: str = PRECISIONS[0]
) -> object:
    """Return an engine that trains `network` in `dtype` on "cpu" or "cuda".

    On the CPU it takes `n_threads` threads, or all that numba allows if that is None; `precision` is for a GPU.
    """
    if device == CUDA and getattr(_here, "lockstep", None) is not None:
        return _here.lockstep.engine(network, dtype, precision)
    if device == CUDA:
        return import_module("fastmlp.cuda.engine").Engine(network, dtype, precision=precision)
    return Engine(network, dtype, n_threads)


def trains_on_gpu(device: str) -> bool:
    """Return whether a fit for a device trains on a GPU, if it has no functions of the user's own."""
    return device == CUDA or (device == AUTO and has_gpu())


def fit_in_step(fits: Sequence[Callable[[], None]]) -> None:
    """Call functions that each fit one estimator on a GPU; MOST_IN_STEP of the networks at once where that is possible.

    Parameters
    ----------
    fits : sequence of callable
        They must not raise.
    """
    for first in range(0, len(fits), MOST_IN_STEP):
        _fit_at_once(fits[first : first + MOST_IN_STEP])


def _fit_at_once(fits: Sequence[Callable[[], None]]) -> None:
    lockstep = import_module("fastmlp.cuda.lockstep").Lockstep(len(fits))

    def run(fit: Callable[[], None]) -> None:
        _here.lockstep = lockstep
        try:
            fit()
        finally:
            lockstep.leave()

    threads = [threading.Thread(target=run, args=(fit,), daemon=True) for fit in fits]
    for thread in threads:
        thread.start()
    lockstep.run()
    for thread in threads:
        thread.join()


def forward(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    n_threads: int | None,
    raw: bool = False,
    device: str = CPU,
    stays: bool = False,
) -> np.ndarray:
    """Return the output layer's activations, or its preactivations if `raw`, of shape (n_samples, n_outputs).

    If it `stays`, as an array on the GPU where X is.
    """
    if device != CPU and _device_of_prediction(device, network, X) == CUDA:
        return _cuda("forward")(network, coefs, intercepts, X, raw=raw, stays=stays)
    return _forward(network, coefs, intercepts, X, n_threads, raw)


def hidden_layer(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    n_threads: int | None,
    device: str = CPU,
    stays: bool = False,
) -> np.ndarray:
    """Return the activations of the last hidden layer, of shape (n_samples, units); `stays` as in `forward`."""
    if _device_of_prediction(device, network, X) == CUDA:
        return _cuda("hidden_layer")(network, coefs, intercepts, X, stays=stays)
    return _hidden_layer(network, coefs, intercepts, X, n_threads)


def input_gradient(
    network: Network,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    X: np.ndarray | spmatrix,
    errors: np.ndarray,
    n_threads: int | None,
    device: str = CPU,
) -> np.ndarray:
    """Return the derivative of each row's sum of errors times preactivations of the output by the row's inputs."""
    if _device_of_prediction(device, network, X) == CUDA:
        return _cuda("input_gradient")(network, coefs, intercepts, X, errors)
    return _input_gradient(network, coefs, intercepts, X, errors, n_threads)
