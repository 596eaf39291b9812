"""The perceptron: one unit that learns from its mistakes.

Rosenblatt's perceptron [1]_ is the first network that learned from examples. It is a single unit. It weighs its inputs,
adds a bias, and fires if the sum is positive: yhat = 1 if w.x + b > 0, else 0. It looks at one row after another. If it
is right, nothing changes; if it is wrong, the row is added to the weights, or taken from them::

    w += (y - yhat) x
    b += (y - yhat)

Two classes and a line
----------------------
The points with w.x + b = 0 lie on a line (with more features, on a hyperplane). On one side of it the unit fires. So it
can learn AND and OR, for a line separates the rows that are 1 from those that are 0.

>>> from fastmlp import Perceptron
>>> X = [[0, 0], [0, 1], [1, 0], [1, 1]]
>>> conjunction = Perceptron().fit(X, [0, 0, 0, 1])
>>> conjunction.predict(X)
array([0, 0, 0, 1])
>>> disjunction = Perceptron().fit(X, [0, 1, 1, 1])
>>> disjunction.predict(X)
array([0, 1, 1, 1])

How many mistakes it made in each pass over the data (each epoch). It stops after the first epoch without one.

>>> conjunction.n_mistakes_
array([1, 3, 3, 2, 1, 0])
>>> conjunction.coef_, conjunction.intercept_
(array([[2., 1.]]), array([-2.]))

The line is 2 x1 + x2 = 2. It is a line that separates the rows, no special one: it goes through the point (1, 0), for
the perceptron is content as soon as it makes no mistake.

What one unit cannot do
-----------------------
XOR is 1 if just one of the inputs is. No line does that [2]_: w1 + b > 0 and w2 + b > 0 add up to w1 + w2 + 2 b > 0, so
w1 + w2 + b > -b >= 0, and the unit would fire for (1, 1) too. The perceptron goes on making mistakes for ever;
`max_iter` ends it, with a warning.

>>> import warnings
>>> with warnings.catch_warnings(record=True) as caught:
...     warnings.simplefilter("always")
...     exclusive = Perceptron(max_iter=100).fit(X, [0, 1, 1, 0])
>>> caught[0].category.__name__
'ConvergenceWarning'
>>> bool(exclusive.n_mistakes_.min() > 0), exclusive.score(X, [0, 1, 1, 0]) <= 0.75
(True, True)

A second layer helps. XOR is OR but not AND; so give a third perceptron the answers of the first two.

>>> import numpy as np
>>> hidden = np.column_stack([disjunction.predict(X), conjunction.predict(X)])
>>> Perceptron().fit(hidden, [0, 1, 1, 0]).predict(hidden)
array([0, 1, 1, 0])

Here we chose what the hidden units do. A multilayer perceptron finds it itself. It needs smooth activations for that
(see `fastmlp.guide.activations`): a step has no slope, so it does not tell a hidden unit in which direction to change.

>>> from fastmlp import MLPClassifier
>>> network = MLPClassifier((8,), "tanh", solver="lbfgs", random_state=0).fit(X, [0, 1, 1, 0])
>>> network.predict(X)
array([0, 1, 1, 0])

How soon it is done: the convergence theorem
--------------------------------------------
Write the bias as a weight of one more input that is always 1. Let no row (x, 1) be longer than R, and let there be a
hyperplane through 0 that separates the classes and is nowhere nearer to a row than the margin gamma. Then the
perceptron makes at most (R / gamma)**2 mistakes, in all epochs together, and is done [3]_. The bound depends neither
on the number of rows nor on that of the features, nor on the order of the rows.

The proof in three lines. Each mistake moves the weights at least gamma further along the normal of that hyperplane:
after n mistakes they are at least n gamma long. Each mistake is made on a row that points away from the weights (or at
a right angle to them), so their squared length grows by at most R**2: they are at most sqrt(n) R long. Both hold only
while n gamma <= sqrt(n) R.

Let us count. The rows are points of a grid, but none nearer to the line x1 = x2 than the margin.

>>> grid = np.argwhere(np.ones((21, 21))) - 10.0
>>> for gap in (10, 5, 2, 1):
...     difference = grid[:, 0] - grid[:, 1]
...     rows, labels = grid[abs(difference) >= gap], difference[abs(difference) >= gap] > 0
...     margin = gap / np.sqrt(2)  # the distance of a point from the line
...     longest = np.sqrt((rows**2).sum(axis=1).max() + 1)
...     mistakes = Perceptron().fit(rows, labels).n_mistakes_.sum()
...     print(f"margin {margin:.2f}: {mistakes} mistakes, at most {(longest / margin) ** 2:.1f}")
margin 7.07: 2 mistakes, at most 4.0
margin 3.54: 5 mistakes, at most 16.1
margin 1.41: 9 mistakes, at most 100.5
margin 0.71: 11 mistakes, at most 402.0

The smaller the margin, the more mistakes there may be. That is the worst case; these rows are kinder.

Real data, more classes
-----------------------
For more than two classes there is one unit for each, which learns to tell it from all others. Of the three kinds of
iris, one is separated from the others by a hyperplane, and the other two are not.

>>> from sklearn.datasets import load_iris
>>> flowers, kind = load_iris(return_X_y=True)
>>> setosa = Perceptron().fit(flowers, kind == 0)
>>> int(setosa.n_mistakes_[-1]), setosa.score(flowers, kind == 0)
(0, 1.0)

Where classes overlap, a perceptron never comes to rest, and its last weights are no better than those before. Take a
loss that says how wrong a row is, and minimise it: with no hidden layer the log-loss makes `MLPClassifier` logistic
regression, and "hinge" makes it a classifier with a margin (see `fastmlp.guide.losses`).

>>> smooth = MLPClassifier((), solver="lbfgs", max_iter=1000, random_state=0).fit(flowers, kind)
>>> smooth.score(flowers, kind) > 0.95
True

References
----------
.. [1] Rosenblatt, F. (1958). The perceptron: a probabilistic model for information storage and organization in the
   brain. Psychological Review 65, 386-408.
.. [2] Minsky, M., Papert, S. (1969). Perceptrons. MIT Press.
.. [3] Novikoff, A. B. J. (1962). On convergence proofs on perceptrons. Proceedings of the Symposium on the Mathematical
   Theory of Automata 12, 615-622.
"""
