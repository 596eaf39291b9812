"""fastmlp on the GPU and its peers there: the same start, the same batches, the same rule of update.

In Numba's simulator, which is for tests, the peers compute on the CPU.
"""

import inspect
import os
from collections.abc import Callable
from functools import partial

import numpy as np

from benchmarks.common import installed_version
from benchmarks.contestants import SEED, Contestant, Estimator, Jax, Problem, Start, Torch
from benchmarks.gpu.cases import POPULATION, Case
from benchmarks.shapes import Shape
from fastmlp.cuda.compiler import SIMULATED
from fastmlp.cuda.engine import Engine
from fastmlp.network import Network
from fastmlp.training.optimizers import Update

OUTPUT_ACTIVATIONS = {"log_loss": "softmax", "binary_log_loss": "logistic", "squared_error": "identity"}
TIMED_NETWORKS = 4  # of those that are trained one after another


def precisions() -> list[str]:
    """Return the names of faster and less precise products that the engine has."""
    return ["tf32", "bfloat16"] if "precision" in inspect.signature(Engine).parameters else []


def missing_peers() -> dict[str, str]:
    """Return the peers that cannot compute on the GPU, and why."""
    # else JAX takes three quarters of the GPU's memory when it begins
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    missing = {name: "is not installed" for name in ("torch", "jax") if installed_version(name) is None}
    if not SIMULATED and "torch" not in missing:
        import torch

        if not torch.cuda.is_available():
            missing["torch"] = "finds no GPU: it needs a build for CUDA"
    if not SIMULATED and "jax" not in missing:
        import jax

        if jax.default_backend() != "gpu":
            missing["jax"] = "finds no GPU: it needs its plug-in, pip install 'jax[cuda13]'"
    return missing


class OnEngine(Contestant):
    """fastmlp's engine without the estimator: what the estimators do not offer."""

    def __init__(self, problem: Problem, **settings: object):
        self.problem, self.network = problem, self.network_of(problem.shape)
        X, y = problem.data()
        self.engine = Engine(self.network, np.dtype(problem.dtype), **settings)
        self.engine.load(X, y.astype(problem.dtype)[:, None])

    @staticmethod
    def network_of(shape: Shape) -> Network:
        """Return the network as engines take it."""
        activations = (shape.activation,) * len(shape.hidden) + (OUTPUT_ACTIVATIONS[shape.loss],)
        return Network(shape.widths, activations, shape.loss)

    def begin(self, start: Start) -> None:
        self.engine.set_parameters(*start)
        self.engine.set_state(np.zeros((2, self.network.n_parameters), self.problem.dtype))
        self.random, self.step = np.random.RandomState(SEED), 0

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        rows, batch = self.problem.rows, self.problem.shape.batch
        losses = []
        for _ in range(epochs):
            order = self.random.permutation(rows) if shuffle else np.arange(rows)
            update = Update("adam", (self.problem.shape.learning_rate, 0.9, 0.999, 1e-8), self.step)
            losses.append(self.engine.run_epoch(order, batch, 0.0, update))
            self.step += -(-rows // batch)
        return losses


class TorchOnGpu(Torch):
    """PyTorch, its products in float32, in TF32, or by autocast in bfloat16."""

    def __init__(self, problem: Problem, precision: str = "float32"):
        super().__init__(problem, compiled=False, device="cpu" if SIMULATED else "cuda")
        self.products = "high" if precision == "tf32" else "highest"
        if precision == "bfloat16":
            self.loss = self.in_bfloat16(self.loss)

    def in_bfloat16(self, loss: Callable) -> Callable:
        """Return the loss by autocast; for a step only, because it keeps what it has cast of the weights."""

        def autocast_loss(*arguments):
            with self.torch.autocast(self.device, self.torch.bfloat16):
                return loss(*arguments)

        return autocast_loss

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        self.torch.set_float32_matmul_precision(self.products)  # of the whole process
        return super().train(epochs, shuffle)

    def predict(self, X: np.ndarray) -> np.ndarray:
        self.torch.set_float32_matmul_precision(self.products)
        return super().predict(X)


class TorchGraphs(TorchOnGpu):
    """PyTorch with a step captured in a CUDA graph, for each size of batch that there is, and replayed."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.optimizer = self.new_optimizer(capturable=True)
        self.total = self.torch.zeros((), dtype=self.inputs[-1].dtype, device=self.device)
        batch = problem.shape.batch
        self.steps = {size: self.capture(size) for size in {min(batch, problem.rows), problem.rows % batch} - {0}}

    def take_step(self, batch) -> None:
        self.optimizer.zero_grad()
        loss = self.loss(self.inputs, self.y, batch)
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach() * len(batch)

    def capture(self, size: int) -> tuple:
        """Return the graph of a step, and the indices that it takes for its batch."""
        cuda = self.torch.cuda
        batch = self.torch.arange(size, device=self.device)
        stream = cuda.Stream()
        stream.wait_stream(cuda.current_stream())
        with cuda.stream(stream):  # what a step does once is not captured
            for _ in range(3):
                self.take_step(batch)
        cuda.current_stream().wait_stream(stream)
        self.optimizer.zero_grad()  # the graph makes gradients of its own
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            self.take_step(batch)
        return graph, batch

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        torch, rows = self.torch, self.problem.rows
        torch.set_float32_matmul_precision(self.products)
        totals = []
        for _ in range(epochs):
            order = (torch.randperm if shuffle else torch.arange)(rows, device=self.device)
            self.total.zero_()
            for batch in order.split(self.shape.batch):
                graph, indices = self.steps[len(batch)]
                indices.copy_(batch)
                graph.replay()
            totals.append(self.total / rows)
        return [float(total) for total in totals]

    def begin(self, start: Start) -> None:
        captured = self.optimizer
        super().begin(start)
        self.optimizer = captured  # the graphs know the places of its numbers
        for state in captured.state.values():
            for numbers in state.values():
                numbers.zero_()


class JaxOnGpu(Jax):
    """JAX, its products in float32, which are in TF32 by default; rows are shuffled on the GPU."""

    def __init__(self, problem: Problem):
        import jax

        jax.config.update("jax_default_matmul_precision", "highest")
        super().__init__(problem)
        self.new_key = partial(jax.random.key, SEED)

        def next_order(key):
            key, own = jax.random.split(key)
            return key, jax.random.permutation(own, problem.rows).astype("int32")

        self.next_order = jax.jit(next_order)

    def begin(self, start: Start) -> None:
        super().begin(start)
        self.key = self.new_key()

    def new_order(self, shuffle: bool):
        if not shuffle:
            return super().new_order(shuffle)
        self.key, order = self.next_order(self.key)
        return order


class JaxPopulation(JaxOnGpu):
    """Many networks at once in JAX: the epoch under vmap, each network with an order of its own."""

    def __init__(self, problem: Problem, networks: int):
        import jax

        super().__init__(problem)
        copies = partial(jax.tree.map, lambda array: jax.numpy.repeat(jax.numpy.asarray(array)[None], networks, 0))
        new_state, new_key, epoch = self.new_state, self.new_key, jax.vmap(self.epoch, in_axes=(0, None, 0))

        def mean_epoch(state, data, order):
            state, losses = epoch(state, data, order)
            return state, losses.mean()

        self.networks = networks
        self.new_state = lambda pairs: copies(new_state(pairs))
        self.new_key = lambda: jax.random.split(new_key(), networks)
        self.next_order = jax.jit(jax.vmap(self.next_order))
        self.epoch = jax.jit(mean_epoch, donate_argnums=0)

    def new_order(self, shuffle: bool):
        return super().new_order(True) if shuffle else np.tile(super().new_order(False), (self.networks, 1))


class OneAfterAnother(Estimator):
    """Many networks on the CPU, of which some are timed."""

    def __init__(self, problem: Problem, networks: int):
        super().__init__(problem, "fastmlp")
        self.networks = networks

    def fit_seconds(self, start: Start, epochs: int) -> float:
        timed = [super(OneAfterAnother, self).fit_seconds(start, epochs) for _ in range(TIMED_NETWORKS)]
        return sum(timed) * self.networks / TIMED_NETWORKS


class Population(OnEngine):
    """Many networks at once in fastmlp, all from the same start, each with shuffles of its own."""

    def __init__(self, problem: Problem, networks: int):
        from fastmlp.cuda.population import train_population

        super().__init__(problem)
        self.networks, self.train_population = networks, train_population

    def begin(self, start: Start) -> None:
        self.start, self.random = start, np.random.default_rng(SEED)

    def train(self, epochs: int, shuffle: bool = True) -> list[float]:
        """Train from the start on: mean losses of all networks."""
        rows, (X, y) = self.problem.rows, self.problem.data()
        orders = np.tile(np.arange(rows), (self.networks, epochs, 1))
        if shuffle:
            orders = self.random.permuted(orders, axis=2)
        losses, _ = self.train_population(
            [self.network] * self.networks,
            X,
            y.astype(self.problem.dtype)[:, None],
            parameters=[self.start] * self.networks,
            orders=orders,
            batch_size=self.problem.shape.batch,
            update=Update("adam", (self.problem.shape.learning_rate, 0.9, 0.999, 1e-8), 0),
        )
        return list(np.mean(losses, axis=0))


def roster(case: Case, missing: dict[str, str]) -> dict[str, Callable[[Problem], Contestant]]:
    """Return who takes part in a case: name to a function of the problem, fastmlp first."""
    torch, jax, graphs = "torch" not in missing, "jax" not in missing, not SIMULATED
    if case.measured == POPULATION:
        makers = {"fastmlp": Population, "fastmlp, CPU, one after another": OneAfterAnother}
        makers |= {"JAX, vmap": JaxPopulation} if jax else {}
        return {name: partial(make, networks=case.networks) for name, make in makers.items()}
    if case.precision != "float32":
        makers = {f"fastmlp, {case.precision}": partial(OnEngine, precision=case.precision)}
        peer = {f"PyTorch, {case.precision}": partial(TorchOnGpu, precision=case.precision)}
        return makers | (peer if torch else {})
    makers = {"fastmlp": partial(Estimator, peer="fastmlp", device="cuda")}
    makers |= {"PyTorch": TorchOnGpu} if torch else {}
    makers |= {"PyTorch, CUDA graphs": TorchGraphs} if torch and graphs else {}
    return makers | ({"JAX": JaxOnGpu} if jax else {})


def left_out(case: Case) -> str | None:
    """Return why fastmlp cannot be timed in a case; None if it can."""
    if case.precision != "float32" and case.precision not in precisions():
        return f"the engine has no precision={case.precision!r}"
    if case.measured == POPULATION:
        try:
            from fastmlp.cuda.population import train_population
        except ImportError:
            return "there is no fastmlp.cuda.population.train_population"
        names = ("parameters", "orders", "batch_size", "update")
        try:
            inspect.signature(train_population).bind([], [], [], **dict.fromkeys(names))
        except TypeError as error:
            return f"train_population has other parameters than benchmarks.gpu.contestants.Population gives: {error}"
    return None
