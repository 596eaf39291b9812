"""Optimizers: better steps from the same gradients.

Plain gradient descent has one learning rate for all weights, and forgets each gradient at once. Optimizers remember.

=============  =========================================================================================================
solver
"sgd"          gradient descent with momentum: a step repeats a part of the last one
"adam"         [1]_ each weight has a step size of its own, from running means of its gradient; the default
"adamw"        [2]_ Adam whose weights decay apart from the gradient
"nadam"        [3]_ Adam with Nesterov's momentum
"rmsprop"      [4]_ the gradient divided by the root of a running mean of its square
"adagrad"      [5]_ the same with the sum of all squares: its steps grow ever shorter
"lbfgs"        [6]_ all rows at once; learns the curvature of the loss from past gradients
=============  =========================================================================================================

Momentum
--------
The loss is often a ravine: steep walls, a gentle floor. Gradient descent goes to and fro between the walls, and the
learning rate must be small for that. A velocity, which keeps nine tenths of itself at each step, averages the to and
fro away, and adds up what points down the floor [7]_. Nesterov's variant [8]_ takes the gradient where the velocity is
about to carry the weights.

>>> import warnings
>>> from sklearn.datasets import load_digits
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.model_selection import train_test_split
>>> from fastmlp import MLPClassifier
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 15 epochs are all there shall be
>>> X, y = load_digits(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
>>> for name, momentum, nesterov in (("none", 0, False), ("momentum", 0.9, False), ("Nesterov's", 0.9, True)):
...     model = MLPClassifier(
...         (50,),
...         solver="sgd",
...         momentum=momentum,
...         nesterovs_momentum=nesterov,
...         learning_rate_init=0.02,
...         max_iter=15,
...         random_state=0,
...     ).fit(X_train, y_train)
...     print(f"{name}: loss {model.loss_:.2f}")
none: loss 1.93
momentum: loss 0.35
Nesterov's: loss 0.35

Which of the two is used matters little here. A velocity that keeps nine tenths makes steps up to ten times as long:
what momentum gains here, a larger learning rate would gain in part. The two are tuned together.

A step size for each weight
---------------------------
Adam divides the mean gradient of a weight by the root of its mean square. So a step is about as long as the learning
rate says, whether the gradients are large or small. It bears features of unlike scales far better than "sgd"; that is
why it is the default.

>>> import numpy as np
>>> scales = 10 ** np.linspace(-2, 2, X.shape[1])  # the last pixel 10,000 times as large as the first
>>> def loss_of(solver, learning_rate):
...     model = MLPClassifier((50,), solver=solver, learning_rate_init=learning_rate, max_iter=15, random_state=0)
...     return model.fit(X_train * scales, y_train).loss_
>>> bool(loss_of("adam", 0.005) < min(loss_of("sgd", rate) for rate in (0.1, 0.01, 0.001)))
True

Better still is to scale the features; then all get there. Each has its own good learning rate: begin with 0.001 to 0.01
for Adam and its kin, but 0.05 for "adagrad", and 0.01 to 0.1 for "sgd".

>>> for solver in ("sgd", "adam", "adamw", "nadam", "rmsprop", "adagrad"):
...     learning_rate = {"sgd": 0.1, "adagrad": 0.05}.get(solver, 0.005)
...     model = MLPClassifier((50,), solver=solver, learning_rate_init=learning_rate, max_iter=15, random_state=0)
...     model = model.fit(X_train, y_train)
...     print(solver, model.loss_ < 0.25, model.score(X_test, y_test) > 0.93)
sgd True True
adam True True
adamw True True
nadam True True
rmsprop True True
adagrad True True

Penalty and decay
-----------------
`alpha` keeps weights small, against overfitting. For all solvers but "adamw" it is a penalty in the loss. Adam divides
the penalty's gradient by the same root as all else, so that weights with large gradients are hardly penalised. "adamw"
lets all weights shrink alike, by learning rate times `alpha` a step; its `alpha` is therefore another number: 0.01 to
1.

>>> sizes = []
>>> for alpha in (0.0, 1.0, 10.0):
...     model = MLPClassifier((50,), solver="adamw", alpha=alpha, learning_rate_init=0.005, max_iter=15, random_state=0)
...     sizes.append(np.linalg.norm(model.fit(X_train, y_train).coefs_[0]))
>>> bool(sizes[0] > sizes[1] > sizes[2])
True

Full batch, and L-BFGS
----------------------
`batch_size=len(X)` makes any of them a full-batch method, with one step an epoch. For that there is something better.
"lbfgs" takes all rows too, but learns from past gradients how the loss bends, and searches along its direction for a
good step: there is no learning rate to tune. Here is what sixty passes over the rows make of the loss.

>>> def after_60(**settings):
...     return MLPClassifier((50,), max_iter=60, random_state=0, **settings).fit(X_train, y_train).loss_
>>> adam = min(after_60(batch_size=len(X_train), learning_rate_init=rate) for rate in (0.001, 0.01, 0.1))
>>> bool(after_60(solver="lbfgs", alpha=0) < 0.5 * adam)
True

Take "lbfgs" for small data, up to some thousands of rows, and for smooth problems: regression, tanh. With many rows
minibatches win, for they have made hundreds of steps when "lbfgs" has made one. It has no early stopping, no
`partial_fit` and no `loss_curve_`; `max_iter` counts its iterations.

References
----------
.. [1] Kingma, D. P., Ba, J. (2014). Adam: a method for stochastic optimization. arXiv:1412.6980.
.. [2] Loshchilov, I., Hutter, F. (2017). Decoupled weight decay regularization. arXiv:1711.05101.
.. [3] Dozat, T. (2016). Incorporating Nesterov momentum into Adam. ICLR workshop.
.. [4] Tieleman, T., Hinton, G. (2012). Lecture 6.5, RMSprop. Neural networks for machine learning, Coursera.
.. [5] Duchi, J., Hazan, E., Singer, Y. (2011). Adaptive subgradient methods for online learning and stochastic
   optimization. Journal of Machine Learning Research 12, 2121-2159.
.. [6] Byrd, R. H., Lu, P., Nocedal, J., Zhu, C. (1995). A limited memory algorithm for bound constrained optimization.
   SIAM Journal on Scientific Computing 16, 1190-1208.
.. [7] Polyak, B. T. (1964). Some methods of speeding up the convergence of iteration methods. USSR Computational
   Mathematics and Mathematical Physics 4, 1-17.
.. [8] Nesterov, Y. (1983). A method for solving the convex programming problem with convergence rate O(1/k^2). Doklady
   Akademii Nauk SSSR 269, 543-547.
"""
