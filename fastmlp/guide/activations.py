"""Activations: saturating and not.

A unit computes a weighted sum z of its inputs, and from that its activation. Without a bend in the activation a network
of any depth is only a linear function. Which bend to take is a question of how well gradients come through it.

*Saturating* functions are flat on both sides: "logistic" (between 0 and 1), "tanh" (between -1 and 1), "softsign",
"arctan", "hard_tanh". *Non-saturating* ones grow without a bound on the right: "relu", which is max(z, 0),
"leaky_relu", "elu", "selu", "softplus", "gelu", "silu", "mish".

Saturation
----------
Learning follows the slope. That of the logistic function is largest at z = 0, one fourth, and next to nothing at 10:
such a unit is saturated. It is sure of itself, and hardly learns, right or wrong.

>>> import numpy as np
>>> z = np.array([0.0, 2.0, 5.0, 10.0])
>>> value = 1 / (1 + np.exp(-z))
>>> print(np.round(value * (1 - value), 4))
[0.25   0.105  0.0066 0.    ]

The gradient that vanishes
--------------------------
The error of the first layer comes from the last by the chain rule, and each layer between multiplies it by a slope.
With eight factors of one fourth or less, little is left [1]_. Let us measure it. A step of plain gradient descent is
minus the learning rate times the gradient; so the difference that one step makes, divided by the learning rate, shows
the gradient of each layer. (More of the chain rule: `fastmlp.guide.backpropagation`.)

>>> from sklearn.datasets import load_digits
>>> from fastmlp import MLPClassifier
>>> X, y = load_digits(return_X_y=True)
>>> X = X / 16
>>> def gradient_sizes(activation):
...     model = MLPClassifier(
...         (30,) * 8,
...         activation,
...         solver="sgd",
...         momentum=0,
...         learning_rate_init=0.1,
...         alpha=0,
...         batch_size=len(X),
...         random_state=0,
...     )
...     before = model.partial_fit(X, y, classes=range(10)).coefs_
...     after = model.partial_fit(X, y).coefs_
...     return [np.abs(new - old).mean() / 0.1 for old, new in zip(before, after)]
>>> for activation in ("logistic", "relu"):
...     sizes = gradient_sizes(activation)
...     print(f"{activation}: first layer / last layer = {sizes[0] / sizes[-1]:.0e}")
logistic: first layer / last layer = 1e-07
relu: first layer / last layer = 1e-01

The first layer of the logistic network learns ten million times slower than the last. That is to say, not at all: ten
digits, and one in ten is guessed.

>>> import warnings
>>> from sklearn.exceptions import ConvergenceWarning
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are all there shall be
>>> for activation in ("logistic", "relu"):
...     model = MLPClassifier((30,) * 8, activation, max_iter=30, random_state=0).fit(X, y)
...     print(f"{activation}: accuracy {model.score(X, y):.1f}")
logistic: accuracy 0.1
relu: accuracy 0.9

With one or two hidden layers the logistic function does well. "tanh" is the better of the two, for its slope at 0 is 1
and its mean is near 0 [2]_.

Dead units
----------
The slope of relu is 1 or 0. A unit whose z is negative for every row gets no gradient any more: it is dead. A learning
rate that is too large kills them in numbers, for one wild step is enough. "leaky_relu" [3]_ keeps a slope of 0.01 on
the left. Its units are driven there as well, but go on learning.

>>> def silent_units(model):
...     return np.sum(np.all(X @ model.coefs_[0] + model.intercepts_[0] <= 0, axis=0))
>>> for activation in ("relu", "leaky_relu"):
...     model = MLPClassifier((50,), activation, learning_rate_init=1.0, max_iter=20, random_state=0).fit(X, y)
...     print(f"{activation}: most units silent: {silent_units(model) > 25}, accuracy > 0.8: {model.score(X, y) > 0.8}")
relu: most units silent: True, accuracy > 0.8: False
leaky_relu: most units silent: True, accuracy > 0.8: True

The first cure is a smaller learning rate. With the default, 0.001, hardly any unit dies.

>>> model = MLPClassifier((50,), max_iter=20, random_state=0).fit(X, y)
>>> bool(silent_units(model) < 10)
True

Networks that normalise themselves
----------------------------------
"selu" has its two constants from one demand: if the inputs of a layer have mean 0 and variance 1, and the weights the
variance 1 / inputs ("lecun_normal"), then the outputs have mean 0 and variance 1 too [4]_. So a signal comes through
many layers as it went in. `weight_init="auto"` draws these weights for "selu" by itself. The inputs must be
standardised.

For a look at initial weights: train with a step that is too small to change them.

>>> Z = np.random.default_rng(0).normal(size=(500, 100))
>>> def selu(z):
...     return 1.0507 * np.where(z > 0, z, 1.67326 * np.expm1(np.minimum(z, 0)))
>>> def last_of_30_layers(weight_init):
...     model = MLPClassifier(
...         (100,) * 30, "selu", weight_init=weight_init, solver="sgd", learning_rate_init=1e-300, random_state=0
...     )
...     model.partial_fit(Z, Z[:, 0] > 0, classes=[False, True])
...     signal = Z
...     for weight, bias in zip(model.coefs_[:-1], model.intercepts_):
...         signal = selu(signal @ weight + bias)
...     return signal
>>> for weight_init in ("lecun_normal", "he_normal"):
...     signal = last_of_30_layers(weight_init)
...     print(f"{weight_init}: mean {signal.mean():.0f}, deviation {signal.std():.0f}")
lecun_normal: mean 0, deviation 1
he_normal: mean 5, deviation 9

Which to take
-------------
- Begin with "relu": it costs the least, and does well in most networks.
- "tanh" for small networks and smooth functions; it goes well with `solver="lbfgs"`.
- "leaky_relu" or "elu" [5]_ if many units die.
- "selu" for deep networks on standardised features.
- "gelu" [6]_, "silu" and "mish" are smooth variants of relu; try them when all else is settled.
- "identity" makes a linear network, to see what the bends are good for.

The names may differ from layer to layer.

>>> MLPClassifier((20, 10), ("relu", "tanh"), max_iter=5, random_state=0).fit(X, y).n_layers_
4

Your own
--------
A Python function of one number will do. It is compiled, and its derivative is found by exact differentiation, so that
you write the function and no more.

>>> import math
>>> from fastmlp import check_gradient
>>> def bump(z):
...     return z * math.exp(-z * z / 2)
>>> model = MLPClassifier((20, 10), (bump, "tanh"), max_iter=5, random_state=0).fit(X, y)
>>> check_gradient(model, X, y) < 1e-5
True

The output layer's activation is not yours to choose: it belongs to the loss (see `fastmlp.guide.losses`).

References
----------
.. [1] Hochreiter, S. (1991). Untersuchungen zu dynamischen neuronalen Netzen. Technische Universitaet Muenchen.
.. [2] LeCun, Y., Bottou, L., Orr, G., Mueller, K.-R. (1998). Efficient backprop. In: Neural networks: tricks of the
   trade. Springer.
.. [3] Maas, A. L., Hannun, A. Y., Ng, A. Y. (2013). Rectifier nonlinearities improve neural network acoustic models.
   ICML workshop.
.. [4] Klambauer, G., Unterthiner, T., Mayr, A., Hochreiter, S. (2017). Self-normalizing neural networks. NeurIPS.
.. [5] Clevert, D.-A., Unterthiner, T., Hochreiter, S. (2015). Fast and accurate deep network learning by exponential
   linear units. arXiv:1511.07289.
.. [6] Hendrycks, D., Gimpel, K. (2016). Gaussian error linear units. arXiv:1606.08415.
"""
