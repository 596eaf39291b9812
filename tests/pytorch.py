"""The same training in PyTorch: an oracle of formulas, where it is installed."""

import pytest


def import_torch():
    """Return the module, or skip the test."""
    return pytest.importorskip("torch", reason="PyTorch, of the extra `bench`, is not installed")


def full_batch_losses(start, X, activation, loss, make_optimizer):
    """Return the losses of 20 steps over all rows, from the weights of a fitted estimator.

    activation: the name of a module in torch.nn; loss: of the output's preactivations; make_optimizer: of the weights
    and the biases.
    """
    torch = import_torch()
    layers = []
    for weight, bias in zip(start.coefs_, start.intercepts_, strict=True):
        layer = torch.nn.Linear(*weight.shape, dtype=torch.float64)
        layer.weight.data[:], layer.bias.data[:] = torch.from_numpy(weight.T.copy()), torch.from_numpy(bias)
        layers += [layer, getattr(torch.nn, activation)()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = make_optimizer([layer.weight for layer in layers[::2]], [layer.bias for layer in layers[::2]])
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(network(torch.from_numpy(X)))
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses
