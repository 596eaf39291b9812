"""One step of an optimizer for one parameter. To add one, write it and enter it in `UPDATES`."""

from collections.abc import Callable
from typing import NamedTuple

from fastmlp.formulas.elementary import constant, exponential, fast_root, formula, square_root, where_positive


class Update(NamedTuple):
    """The formulas of an optimizer with `n_slots` moments for each parameter.

    `step(parameter, gradient, first, second, constants)` gives the new (parameter, first, second).
    `begin(hyperparameters, t)` gives the six constants of step t (counted from 1) from the four hyperparameters.
    `rate(first, second, constants)` gives how far a gradient of 1 moves a parameter; `absorb(first, move, constants)`
    gives the first moment after a further move, where that belongs into it. A proximal step uses both.
    `decoupled`: the penalty is no part of the gradient; instead weights decay by alpha times the fifth constant.
    """

    step: Callable
    begin: Callable
    n_slots: int
    rate: Callable
    absorb: Callable | None = None
    decoupled: bool = False


@formula
def sgd_begin(hyperparameters, t):
    """Return the hyperparameters (learning rate, momentum, 1 for Nesterov's, unused): no step differs."""
    learning_rate, momentum, nesterov, unused = hyperparameters
    return learning_rate, momentum, nesterov, unused, learning_rate, 1.0 + momentum * nesterov


@formula
def sgd(parameter, gradient, velocity, unused, constants):
    """Return the step of gradient descent with momentum, Nesterov's (1983) in the form of Sutskever et al. (2013)."""
    learning_rate, momentum, nesterov, _, _, _ = constants
    descent = gradient * constant(gradient, learning_rate)
    velocity = velocity * constant(gradient, momentum) - descent
    ahead = velocity * constant(gradient, momentum) - descent
    return parameter + where_positive(constant(gradient, nesterov), ahead, velocity), velocity, unused


@formula
def sgd_rate(velocity, unused, constants):
    """Return how far a gradient of 1 moves a parameter at once."""
    return constant(velocity, constants[0] * constants[5])


@formula
def sgd_absorb(velocity, move, constants):
    """Return the velocity as if the move had been a part of the gradient's step."""
    return velocity + move * constant(move, 1.0 / constants[5])


@formula
def whole_power(base, n):
    """Return base**n for a whole n >= 0: `**` is the C library's, whose last bits differ from one to another."""
    result = 1.0
    while n > 0:
        if n & 1:
            result *= base
        base *= base
        n >>= 1
    return result


@formula
def adam_begin(hyperparameters, t):
    """Return the learning rate of step t, which corrects the bias of both moments, the constants, and the decay's."""
    learning_rate, beta_1, beta_2, epsilon = hyperparameters
    root = square_root(1.0 - whole_power(beta_2, t))
    corrected = learning_rate * root / (1.0 - whole_power(beta_1, t))
    return corrected, beta_1, beta_2, epsilon, learning_rate, learning_rate * root


@formula
def adam(parameter, gradient, first, second, constants):
    """Return the step of Adam, Kingma and Ba (2014), algorithm 1 in the form of the end of its section 2."""
    learning_rate, beta_1, beta_2, epsilon, _, _ = constants
    first = first * constant(gradient, beta_1) + gradient * constant(gradient, 1.0 - beta_1)
    second = second * constant(gradient, beta_2) + (gradient * gradient) * constant(gradient, 1.0 - beta_2)
    move = first * constant(gradient, learning_rate) / (fast_root(second) + constant(gradient, epsilon))
    return parameter - move, first, second


@formula
def adam_rate(first, second, constants):
    """Return the learning rate over the root of the second moment, both corrected for their bias."""
    return constant(second, constants[5]) / (fast_root(second) + constant(second, constants[3]))


# Dozat's schedule takes the momentum from beta_1 / 2 to beta_1, by powers 0.004 i of 0.96; here is that one's logarithm
NADAM_DECAY = 0.004 * -0.040821994520255166


@formula
def nadam_begin(hyperparameters, t):
    """Return what the moments are multiplied by at step t, with the corrections of their bias.

    The momentum of step i is mu_i = beta_1 (1 - 0.96**(0.004 i) / 2), and the bias of the first moment is the product
    of all so far; soon that is 0 beside 1.
    """
    learning_rate, beta_1, beta_2, epsilon = hyperparameters
    product, i = 1.0, 1
    while i <= t and product > 1e-18:
        product *= beta_1 * (1.0 - 0.5 * exponential(NADAM_DECAY * i))
        i += 1
    if i <= t:
        product = 0.0
    now = beta_1 * (1.0 - 0.5 * exponential(NADAM_DECAY * t))
    following = beta_1 * (1.0 - 0.5 * exponential(NADAM_DECAY * (t + 1)))
    root = square_root(1.0 - whole_power(beta_2, t))
    of_moment = learning_rate * root * following / (1.0 - product * following)
    of_gradient = learning_rate * root * (1.0 - now) / (1.0 - product)
    return of_moment, of_gradient, beta_1, beta_2, epsilon * root, learning_rate * root


@formula
def nadam(parameter, gradient, first, second, constants):
    """Return the step of Adam with Nesterov's momentum, Dozat (2016)."""
    of_moment, of_gradient, beta_1, beta_2, epsilon, _ = constants
    first = first * constant(gradient, beta_1) + gradient * constant(gradient, 1.0 - beta_1)
    second = second * constant(gradient, beta_2) + (gradient * gradient) * constant(gradient, 1.0 - beta_2)
    move = first * constant(gradient, of_moment) + gradient * constant(gradient, of_gradient)
    return parameter - move / (fast_root(second) + constant(gradient, epsilon)), first, second


@formula
def nadam_rate(first, second, constants):
    """Return the same as for Adam."""
    return constant(second, constants[5]) / (fast_root(second) + constant(second, constants[4]))


@formula
def rmsprop_begin(hyperparameters, t):
    """Return the hyperparameters (learning rate, unused, decay, epsilon): no step differs."""
    learning_rate, unused, decay, epsilon = hyperparameters
    return learning_rate, unused, decay, epsilon, learning_rate, learning_rate


@formula
def rmsprop(parameter, gradient, square, unused, constants):
    """Return the step of RMSprop: by the root of a running mean of the squared gradient, Tieleman and Hinton (2012)."""
    learning_rate, _, decay, epsilon, _, _ = constants
    square = square * constant(gradient, decay) + (gradient * gradient) * constant(gradient, 1.0 - decay)
    move = gradient * constant(gradient, learning_rate) / (fast_root(square) + constant(gradient, epsilon))
    return parameter - move, square, unused


@formula
def rmsprop_rate(square, unused, constants):
    """Return the learning rate over the root of the mean, or sum, of squares."""
    return constant(square, constants[5]) / (fast_root(square) + constant(square, constants[3]))


@formula
def adagrad(parameter, gradient, square, unused, constants):
    """Return the step of AdaGrad: by the root of the sum of all squared gradients, Duchi, Hazan and Singer (2011)."""
    learning_rate, _, _, epsilon, _, _ = constants
    square = square + gradient * gradient
    move = gradient * constant(gradient, learning_rate) / (fast_root(square) + constant(gradient, epsilon))
    return parameter - move, square, unused


UPDATES = {
    "sgd": Update(sgd, sgd_begin, 1, sgd_rate, sgd_absorb),
    "adam": Update(adam, adam_begin, 2, adam_rate),
    "adamw": Update(adam, adam_begin, 2, adam_rate, decoupled=True),  # Loshchilov and Hutter (2017)
    "nadam": Update(nadam, nadam_begin, 2, nadam_rate),
    "rmsprop": Update(rmsprop, rmsprop_begin, 1, rmsprop_rate),
    "adagrad": Update(adagrad, rmsprop_begin, 1, rmsprop_rate),
}
CLASSIC = ("sgd", "adam")  # what scikit-learn has
