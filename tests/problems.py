"""Networks, rows and trainings on which engines are compared."""

import numpy as np
from scipy import sparse

from fastmlp.formulas import updates
from fastmlp.formulas.losses import LOSSES, SOFTMAX_LOSSES
from fastmlp.network import Augmentation, Network, flatten, unflatten
from fastmlp.training.optimizers import Update

OUTPUTS = {"squared_error": "identity", "poisson": "exp", "binary_log_loss": "logistic", "log_loss": "softmax"}
UPDATES = {name: Update(name, (0.01, 0.9, 0.99, 1e-8), 0) for name in updates.UPDATES}
UPDATES["sgd"] = Update("sgd", (0.05, 0.9, 1.0), 0)
FURTHER_OUTPUTS = {name: loss.output_activation for name, loss in LOSSES.items() if name not in OUTPUTS}
FURTHER_OUTPUTS |= {name: "softmax" for name in SOFTMAX_LOSSES if name not in OUTPUTS}


def make_network(widths, loss="squared_error", activation="tanh"):
    output = (OUTPUTS | FURTHER_OUTPUTS)[loss]
    groups = ()
    if loss == "grouped_log_loss":
        groups = (widths[-1],) if widths[-1] < 3 else (1, 2, widths[-1] - 3)[: widths[-1] - 1]
    return Network(tuple(widths), (activation,) * (len(widths) - 2) + (output,), loss, 0.7, groups)


def make_problem(network, n_rows, dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    X = random.normal(size=(n_rows, network.widths[0]))
    shape = (n_rows, network.widths[-1])
    targets = {
        "squared_error": lambda: random.normal(size=shape),
        "poisson": lambda: random.poisson(1.0, size=shape),
        "binary_log_loss": lambda: random.integers(2, size=shape),
        "log_loss": lambda: random.integers(shape[1], size=(n_rows, 1)),
        "gamma": lambda: random.gamma(2.0, size=shape),
        "hinge": lambda: random.integers(2, size=shape),
        "binary_squared_error": lambda: random.integers(2, size=shape),
        "soft_binary_log_loss": lambda: random.uniform(size=shape),
        "soft_log_loss": lambda: random.dirichlet(np.ones(shape[1]), size=n_rows),
        "grouped_log_loss": lambda: np.hstack([random.dirichlet(np.ones(size), n_rows) for size in network.groups]),
        "softmax_squared_error": lambda: np.eye(shape[1])[random.integers(shape[1], size=n_rows)],
    }.get(network.loss, lambda: random.normal(size=shape))()
    weight = random.uniform(0.5, 2, size=n_rows)
    parameters = unflatten(random.normal(scale=0.3, size=network.n_parameters).astype(dtype), network.widths)
    return X.astype(dtype), targets.astype(dtype), weight.astype(dtype), parameters


def run(
    kind,
    network,
    problem,
    dtype,
    *,
    batch=32,
    update="adam",
    alpha=0.1,
    epochs=2,
    n_threads=1,
    weighted=True,
    csr=False,
    **more,
):
    """Return losses, flat parameters and state after some epochs; more: of the update, or augmentation."""
    augmentation = Augmentation(**more.pop("augment", {}))
    X, targets, weight, parameters = problem
    with kind(network, np.dtype(dtype), n_threads) as engine:
        engine.load(sparse.csr_array(X) if csr else X, targets, weight if weighted else None, augmentation)
        engine.seed = 5
        engine.set_parameters(*parameters)
        engine.set_state(np.zeros((updates.UPDATES[update].n_slots, network.n_parameters), dtype))
        order = np.random.default_rng(1).permutation(len(X))
        losses = []
        for epoch in range(epochs):
            step = UPDATES[update]._replace(step=epoch * -(-len(X) // batch), **more)
            losses.append(engine.run_epoch(order, batch, alpha, step))
        return np.array(losses), flatten(*engine.get_parameters()), engine.get_state()
