"""The universal representation theorem: one hidden layer is enough, in principle.

The theorem [1]_, [2]_: a network with one hidden layer of enough sigmoids comes as near as one likes to any continuous
function on a bounded interval. It says that such a network exists. `fastmlp.theory.approximate` builds it.

A network that is built, not trained
------------------------------------
A sigmoid with a large weight is nearly a step. A sum of steps is a staircase, and a staircase with enough steps follows
any continuous function [3]_. Give the function, the interval and the tolerance.

>>> import numpy as np
>>> from fastmlp.theory import approximate
>>> network = approximate(np.sin, (0, 2 * np.pi), tolerance=0.05)
>>> x = np.linspace(0, 2 * np.pi, 10_001)
>>> bool(np.abs(network.predict(x[:, np.newaxis]) - np.sin(x)).max() <= 0.05)
True

It is a common `MLPRegressor`, with the weights already in it. The hidden units stand in the order of their steps; the
output weights are the heights of the steps, up where the sine rises and down where it falls.

>>> type(network).__name__, network.activation, network.n_iter_
('MLPRegressor', 'logistic', 0)
>>> heights = network.coefs_[1][:, 0]
>>> bool(np.all(heights[:5] > 0)), bool(np.all(heights[-5:] > 0)), bool(heights.min() < 0)
(True, True, True)

What it costs
-------------
A step may be 1.5 times the tolerance high. All that the function rises and falls, added up (its total variation; 4 for
one wave of the sine) has to be climbed. So the number of units is about variation / (1.5 tolerance): half the
tolerance, twice the units.

>>> for tolerance in (0.1, 0.05, 0.025):
...     n_units = len(approximate(np.sin, (0, 2 * np.pi), tolerance).coefs_[1])
...     print(tolerance, bool(abs(n_units - 4 / (1.5 * tolerance)) <= 4))
0.1 True
0.05 True
0.025 True

The function need not be smooth, but continuous it must be.

>>> network = approximate(lambda x: np.sqrt(np.abs(x)), (-1, 1), tolerance=0.1)
>>> x = np.linspace(-1, 1, 10_001)
>>> bool(np.abs(network.predict(x[:, np.newaxis]) - np.sqrt(np.abs(x))).max() <= 0.1)
True
>>> try:
...     approximate(np.sign, (-1, 1), tolerance=0.1)
... except ValueError as error:
...     print(str(error)[:27])
function must be continuous

What the theorem does not say
-----------------------------
*That training finds the weights.* It asks for a function that is known everywhere, and data are a few noisy points.

*That this many units are needed.* Steps are a poor material for a smooth curve. A trained network bends its units along
the curve: ten units come as near as a staircase of more than a hundred steps.

>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from fastmlp import MLPRegressor
>>> x = np.linspace(0, 2 * np.pi, 200)[:, np.newaxis]
>>> network = MLPRegressor(
...     hidden_layer_sizes=(10,), activation="tanh", solver="lbfgs", alpha=0, max_iter=1000, tol=1e-6, random_state=0
... )
>>> trained = make_pipeline(StandardScaler(), network).fit(x, np.sin(x[:, 0]))
>>> bool(np.abs(trained.predict(x) - np.sin(x[:, 0])).max() < 0.02)
True
>>> len(approximate(np.sin, (0, 2 * np.pi), tolerance=0.02).coefs_[1]) > 100
True

*What happens outside of the interval.* There are no data, and there is no promise. Far out, all sigmoids are flat, and
the network has forgotten that the sine goes on.

>>> far = trained.predict([[100.0], [101.0], [102.0]])
>>> bool(np.ptp(far) < 0.001)
True

*That one layer is best.* Fold the interval in the middle: a tent, from 0 up to 1 and down again. Two relu units do it.
Do it again to the result, and there are two tents; ten times, and there are 512, with 20 units in ten layers. A single
layer pays for each slope [4]_.

>>> def tent(x):
...     return 2 * np.maximum(x, 0) - 4 * np.maximum(x - 0.5, 0)  # two relu units
>>> def folded(x, times):
...     for _ in range(times):
...         x = tent(x)
...     return x
>>> for depth in (2, 4, 6):
...     n_units = len(approximate(lambda x: folded(x, depth), (0, 1), tolerance=0.2).coefs_[1])
...     print(f"{2 * depth} relu units in {depth} layers, {n_units} sigmoids in one layer")
4 relu units in 2 layers, 12 sigmoids in one layer
8 relu units in 4 layers, 48 sigmoids in one layer
12 relu units in 6 layers, 192 sigmoids in one layer

To see function, network and error: `fastmlp.theory.plot_approximation`, which needs matplotlib.

References
----------
.. [1] Cybenko, G. (1989). Approximation by superpositions of a sigmoidal function. Mathematics of Control, Signals and
   Systems 2, 303-314.
.. [2] Hornik, K., Stinchcombe, M., White, H. (1989). Multilayer feedforward networks are universal approximators.
   Neural Networks 2, 359-366.
.. [3] Nielsen, M. A. (2015). Neural networks and deep learning. Determination Press, chapter 4.
.. [4] Telgarsky, M. (2016). Benefits of depth in neural networks. COLT.
"""
