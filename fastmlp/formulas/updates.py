"""One step of an optimizer for one parameter. To add one, write it and enter it in `UPDATES`."""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.formulas.elementary import constant, fast_root, formula, square_root, where_positive


class Update(NamedTuple):
    """The formulas of an optimizer with `n_slots` moments for each parameter.

    `step(parameter, gradient, first, second, constants)` gives the new (parameter, first, second).
    `begin(constants, t)` gives the constants of step t (counted from 1) from the hyperparameters.
    """

    step: Callable
    begin: Callable
    n_slots: int


@formula
def sgd_begin(hyperparameters, t):
    """Return the hyperparameters (learning rate, momentum, 1 for Nesterov's, unused): no step differs."""
    return hyperparameters


@formula
def sgd(parameter, gradient, velocity, unused, constants):
    """Return the step of gradient descent with momentum, Nesterov's (1983) in the form of Sutskever et al. (2013)."""
    learning_rate, momentum, nesterov, _ = constants
    descent = gradient * constant(gradient, learning_rate)
    velocity = velocity * constant(gradient, momentum) - descent
    ahead = velocity * constant(gradient, momentum) - descent
    return parameter + where_positive(constant(gradient, nesterov), ahead, velocity), velocity, unused


@formula
def adam_begin(hyperparameters, t):
    """Return the learning rate of step t, which corrects the bias of both moments, and the three constants."""
    learning_rate, beta_1, beta_2, epsilon = hyperparameters
    return learning_rate * square_root(1.0 - beta_2**t) / (1.0 - beta_1**t), beta_1, beta_2, epsilon


@formula
def adam(parameter, gradient, first, second, constants):
    """Return the step of Adam, Kingma and Ba (2014), algorithm 1 in the form of the end of its section 2."""
    learning_rate, beta_1, beta_2, epsilon = constants
    first = first * constant(gradient, beta_1) + gradient * constant(gradient, 1.0 - beta_1)
    second = second * constant(gradient, beta_2) + (gradient * gradient) * constant(gradient, 1.0 - beta_2)
    move = first * constant(gradient, learning_rate) / (fast_root(second) + constant(gradient, epsilon))
    return parameter - move, first, second


UPDATES = {"sgd": Update(sgd, sgd_begin, 1), "adam": Update(adam, adam_begin, 2)}
