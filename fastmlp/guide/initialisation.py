"""Initial weights: random, and of the right size.

Training begins somewhere. Where that is decides whether it gets anywhere, and in deep networks more than anything else.

Why at random
-------------
Let all weights of a layer be the same. Then all its units compute the same, get the same gradient, and stay the same
for ever: a layer of twenty units is one unit, twenty times. Random weights break the symmetry.

>>> import warnings
>>> import numpy as np
>>> from sklearn.datasets import load_digits
>>> from sklearn.exceptions import ConvergenceWarning
>>> from fastmlp import MLPClassifier
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # the epochs given are all there shall be
>>> X, y = load_digits(return_X_y=True)
>>> X = X / 16
>>> model = MLPClassifier((20,), "tanh", max_iter=1, warm_start=True, random_state=0).fit(X, y)
>>> model.coefs_ = [np.full_like(weight, 0.1) for weight in model.coefs_]
>>> model.intercepts_ = [np.zeros_like(bias) for bias in model.intercepts_]
>>> model = model.set_params(max_iter=20).fit(X, y)  # goes on from these, by warm_start
>>> first = model.coefs_[0]  # a column for each unit
>>> bool(np.abs(first - 0.1).max() > 0.01), np.allclose(first, first[:, :1])
(True, True)

The weights have changed, and every unit is still the copy of the first.

How large
---------
The sum of n products has n times the variance of one of them. If weights are too large, signals grow from layer to
layer, and sigmoids saturate; if too small, they fade away. In between, a signal keeps its size: the variance of a
weight must be about 1 / inputs. The gradient comes back through the same weights, and wants 1 / outputs.

======================================  ============================  ==================================================
`weight_init`                           variance of a weight          for
"glorot_uniform", "glorot_normal"       2 / (inputs + outputs) [1]_   tanh, softsign, logistic
"he_uniform", "he_normal"               2 / inputs [2]_               relu and its kin, which let half of a signal pass
"lecun_uniform", "lecun_normal"         1 / inputs [3]_               selu
"orthogonal"                            1 / the larger of both [4]_   deep networks; no direction grows or fades
"auto"                                  as scikit-learn draws them    the default; lecun_normal for selu
======================================  ============================  ==================================================

Let a signal go through 30 layers of 100 relu units each. A step that is too small to change anything shows the initial
weights.

>>> Z = np.random.default_rng(0).normal(size=(500, 100))
>>> def initial(weight_init, n_layers=30):
...     model = MLPClassifier(
...         (100,) * n_layers, weight_init=weight_init, solver="sgd", learning_rate_init=1e-300, random_state=0
...     )
...     return model.partial_fit(Z, Z[:, 0] > 0, classes=[False, True])
>>> for weight_init in ("he_normal", "glorot_normal"):
...     model, signal = initial(weight_init), Z
...     for weight, bias in zip(model.coefs_[:-1], model.intercepts_):
...         signal = np.maximum(signal @ weight + bias, 0)
...     print(weight_init, bool(0.1 < signal.std() < 10), bool(signal.std() < 0.001))
he_normal True False
glorot_normal False True

relu cuts one half of each signal off, so with weights for tanh its square is halved in each layer: 30 layers leave one
part in 2**30. He's weights have twice the variance for that. With one or two hidden layers this matters little.

The columns of orthogonal weights are at right angles and of length 1: the matrix turns a signal and does not stretch
it.

>>> weight = initial("orthogonal", n_layers=1).coefs_[0]
>>> np.allclose(weight.T @ weight, np.eye(100))
True

What it is good for
-------------------
A network of 20 hidden layers learns the digits from he_normal. From weights a tenth of that size it learns nothing: no
signal arrives.

>>> def accuracy(scale):
...     model = MLPClassifier((50,) * 20, weight_init="he_normal", max_iter=1, warm_start=True, random_state=0).fit(
...         X, y
...     )
...     model.coefs_ = [scale * weight for weight in model.coefs_]
...     return model.set_params(max_iter=20).fit(X, y).score(X, y)
>>> accuracy(1) > 0.8, accuracy(0.1) < 0.3
(True, True)

Another seed, another network
-----------------------------
The loss has many minima, and the initial weights decide which one is found. Most are about as good. In small networks
some are bad: two hidden units can solve XOR, but do not always. Try some seeds, and compare them on rows held out for
that.

>>> corners, exclusive = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
>>> scores = [
...     MLPClassifier((2,), "tanh", learning_rate_init=0.1, max_iter=500, tol=1e-3, random_state=seed)
...     .fit(corners, exclusive)
...     .score(corners, exclusive)
...     for seed in range(10)
... ]
>>> max(scores), min(scores) < 1
(1.0, True)

An int as `random_state` makes a fit repeatable: the same weights, bit for bit, for any number of threads.

>>> one, other = (MLPClassifier((10,), tol=0.1, random_state=7, n_threads=n).fit(X, y) for n in (1, 2))
>>> all(np.array_equal(a, b) for a, b in zip(one.coefs_, other.coefs_))
True

Weights from an earlier fit
---------------------------
With `warm_start=True`, `fit` goes on from the weights of the last one: for more epochs, new rows, or another solver.

>>> model = MLPClassifier((10,), tol=0.05, warm_start=True, random_state=0).fit(X, y)
>>> before = model.loss_
>>> bool(model.set_params(tol=0.01).fit(X, y).loss_ < before)
True

References
----------
.. [1] Glorot, X., Bengio, Y. (2010). Understanding the difficulty of training deep feedforward neural networks.
   AISTATS.
.. [2] He, K., Zhang, X., Ren, S., Sun, J. (2015). Delving deep into rectifiers. arXiv:1502.01852.
.. [3] LeCun, Y., Bottou, L., Orr, G., Mueller, K.-R. (1998). Efficient backprop. In: Neural networks: tricks of the
   trade. Springer.
.. [4] Saxe, A., McClelland, J., Ganguli, S. (2013). Exact solutions to the nonlinear dynamics of learning in deep
   linear neural networks. arXiv:1312.6120.
"""
