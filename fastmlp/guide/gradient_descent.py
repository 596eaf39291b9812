"""Gradient descent: stochastic, on minibatches, on all rows at once.

The gradient of the loss points to where it rises fastest. So go a small step the other way, and do it again [1]_::

    w -= learning_rate * gradient

For a network the chain rule gives the gradient, layer by layer from the output back (`fastmlp.guide.backpropagation`).

What one step gains
-------------------
For a small step the loss falls by the learning rate times the squared length of the gradient. Let us see that. One
`partial_fit` with all rows in one batch is one step; `loss_curve_` has the loss before each step; and the step itself,
divided by the learning rate, is the gradient.

>>> import numpy as np
>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import train_test_split
>>> from fastmlp import MLPClassifier
>>> X, y = load_digits(return_X_y=True)
>>> X, X_test, y, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
>>> n_rows = len(X)
>>> plain = {"solver": "sgd", "momentum": 0, "alpha": 0, "random_state": 0}  # nothing but gradient descent
>>> model = MLPClassifier((30,), "tanh", batch_size="full", learning_rate_init=0.001, **plain)
>>> weights = []
>>> for step in range(3):
...     model = model.partial_fit(X, y, classes=range(10))
...     weights.append(np.concatenate([array.ravel() for array in model.coefs_ + model.intercepts_]))
>>> gradient = (weights[0] - weights[1]) / 0.001
>>> gain = model.loss_curve_[1] - model.loss_curve_[2]
>>> bool(abs(gain / (0.001 * gradient @ gradient) - 1) < 0.01)
True

How many rows for one step?
---------------------------
*Full batch*: the gradient of all rows. The direction is exact, and the loss falls in every step if the learning rate is
small. But all rows have to be looked at before anything is learnt.

*Stochastic*: the gradient of one row, another row each time [3]_. The direction is only roughly right, but an epoch,
one pass over the data, has as many steps as there are rows. The loss jumps up and down, in the end around the minimum.

*Minibatch*: of some rows, 32 or 200, as a compromise; that is what is used most. The engine is at its best with many
rows at once.

>>> import warnings
>>> from sklearn.exceptions import ConvergenceWarning
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 10 epochs are all there shall be
>>> for batch_size in (n_rows, 32, 1):
...     model = MLPClassifier((30,), batch_size=batch_size, learning_rate_init=0.1, max_iter=10, **plain).fit(X, y)
...     falls = all(np.diff(model.loss_curve_) < 0)
...     steps = -(-n_rows // batch_size) * model.n_iter_
...     print(f"{batch_size} rows: {steps} steps, always down: {falls}, accuracy above 80 %: {model.score(X, y) > 0.8}")
1347 rows: 10 steps, always down: True, accuracy above 80 %: False
32 rows: 430 steps, always down: True, accuracy above 80 %: True
1 rows: 13470 steps, always down: False, accuracy above 80 %: True

The noise of small batches is no mere nuisance: it carries the weights out of narrow minima, and the flat ones where
they come to rest tend to be as good on new rows [4]_.

With `batch_size="auto"` a batch has 200 rows, or all if there are fewer; "full" takes all. The solver "lbfgs" always
takes all (`fastmlp.guide.optimizers`).

Until the gradient vanishes
---------------------------
At a minimum the gradient is zero. With `batch_size="full"` it is that of all rows, and `gradient_tol` ends the training
when its norm is as small as that. A network without a hidden layer is logistic regression. Its loss has one minimum
only, so gradient descent must end where scikit-learn's own solver does. (With softmax, all biases may move together.)

>>> from sklearn.datasets import load_iris
>>> from sklearn.linear_model import LogisticRegression
>>> from sklearn.preprocessing import StandardScaler
>>> flowers, kind = load_iris(return_X_y=True)
>>> flowers = StandardScaler().fit_transform(flowers)
>>> def descend(gradient_tol):
...     settings = {"batch_size": "full", "gradient_tol": gradient_tol, "learning_rate_init": 0.5, "max_iter": 10000}
...     return MLPClassifier((), solver="sgd", momentum=0, alpha=1, random_state=0, **settings).fit(flowers, kind)
>>> other = LogisticRegression(C=1, tol=1e-10, max_iter=1000).fit(flowers, kind)  # C is 1 / alpha
>>> model = descend(1e-6)
>>> bool(np.abs(model.coefs_[0] - other.coef_.T).max() < 1e-3)
True
>>> bool(np.abs(np.diff(model.intercepts_[0]) - np.diff(other.intercept_)).max() < 1e-3)
True

Close to the minimum each further digit costs about as many steps as the one before [2]_.

>>> steps = [descend(gradient_tol).n_iter_ for gradient_tol in (1e-4, 1e-5, 1e-6)]
>>> 0.8 < (steps[2] - steps[1]) / (steps[1] - steps[0]) < 1.25
True

The learning rate
-----------------
It is the first thing to tune. Too small, and nothing is learnt in time; too large, and the step goes over the valley to
the slope beyond, and higher up each time. Full batch, 50 steps:

>>> def losses(learning_rate):
...     model = MLPClassifier((30,), batch_size=n_rows, learning_rate_init=learning_rate, max_iter=50, **plain)
...     return model.fit(X, y).loss_curve_
>>> for learning_rate in (0.001, 0.3, 10):
...     curve = losses(learning_rate)
...     print(f"{learning_rate}: always down: {all(np.diff(curve) < 0)}, halved: {curve[-1] < curve[0] / 2}")
0.001: always down: True, halved: False
0.3: always down: True, halved: True
10: always down: False, halved: False

If it is far too large, the weights leave the range of numbers. The fit then ends at once with an error, which names the
epoch. Here the targets, up to 346, make the first error so large that each step throws the weights further away.

>>> from sklearn.datasets import load_diabetes
>>> from fastmlp import MLPRegressor
>>> patients, progression = load_diabetes(return_X_y=True)
>>> try:
...     model = MLPRegressor(activation="identity", solver="sgd", learning_rate_init=1.0, random_state=0)
...     model = model.fit(patients, progression)
... except ValueError as error:
...     print("Solver produced non-finite parameter weights" in str(error))
True

Scaled features and targets allow a larger learning rate (`fastmlp.guide.data_preparation`). `max_grad_norm` is a
belt for wild steps: it scales a gradient whose norm is larger down to that norm, and keeps its direction [5]_. With
a learning rate that falls when the loss no longer does, the same start comes to a good end.

>>> bounded = {"max_grad_norm": 1.0, "learning_rate": "adaptive", "max_iter": 500}
>>> model = MLPRegressor(activation="identity", solver="sgd", learning_rate_init=1.0, random_state=0, **bounded)
>>> round(model.fit(patients, progression).score(patients, progression), 2)
0.51

A learning rate that falls
--------------------------
Large steps first, to get near; small ones later, to come to rest [3]_. `learning_rate="invscaling"` lets it fall from
the first epoch on, by the number of rows seen to the power `power_t`. "adaptive" leaves it as it is while the loss
falls, and divides it by 5 when it no longer does. Both are for "sgd". With "adaptive" the training has no end of its
own accord before the learning rate is tiny, and the loss ends lower.

>>> steps = {"batch_size": 50, "learning_rate_init": 0.5, "max_iter": 1000, "n_iter_no_change": 3, "tol": 1e-3}
>>> constant, adaptive = (
...     MLPClassifier((10,), learning_rate=schedule, **steps, **plain).fit(X, y)
...     for schedule in ("constant", "adaptive")
... )
>>> bool(adaptive.loss_ < constant.loss_), adaptive.n_iter_ > constant.n_iter_
(True, True)

Other schedules, which all solvers but "lbfgs" take, follow a plan. Here are the learning rates of ten epochs from
`history_`, as parts of `learning_rate_init`. "step" divides it now and then, "exponential" a little in each step,
"cosine" lets it fall to 0 along half a wave [6]_, and "one_cycle" lets it rise first [7]_. `warmup_epochs` is such a
rise before any other schedule. A function of the number of steps taken is a schedule of your own.

>>> patients, progression = StandardScaler().fit_transform(patients), (progression - 152) / 77  # mean and deviation
>>> def line(batch_size, **schedule):
...     settings = {"batch_size": batch_size, "learning_rate_init": 0.1, "max_iter": 10, **schedule, **plain}
...     return MLPRegressor(hidden_layer_sizes=(), **settings).fit(patients, progression)
>>> schedules = {
...     "step": {"learning_rate": "step", "learning_rate_decay": 0.1, "decay_epochs": 5},
...     "exponential": {"learning_rate": "exponential", "learning_rate_decay": 0.6},
...     "cosine": {"learning_rate": "cosine"},
...     "one_cycle": {"learning_rate": "one_cycle"},
...     "warm-up": {"learning_rate": "cosine", "warmup_epochs": 3},
...     "own": {"learning_rate": lambda step: 0.1 / (1 + step / 100)},
... }
>>> for name, schedule in schedules.items():
...     rates = line("full", **schedule).history_["learning_rate"]
...     print(f"{name:11}", " ".join(f"{rate / 0.1:.2f}" for rate in rates))
step        1.00 1.00 1.00 1.00 1.00 0.10 0.10 0.10 0.10 0.10
exponential 1.00 0.60 0.36 0.22 0.13 0.08 0.05 0.03 0.02 0.01
cosine      1.00 0.98 0.90 0.79 0.65 0.50 0.35 0.21 0.10 0.02
one_cycle   0.04 0.52 1.00 0.95 0.81 0.61 0.39 0.19 0.05 0.00
warm-up     0.33 0.65 0.90 0.79 0.65 0.50 0.35 0.21 0.10 0.02
own         1.00 0.99 0.98 0.97 0.96 0.95 0.94 0.93 0.93 0.92

What it is good for: with a constant rate the noise of small batches keeps the weights at a distance from the minimum.
The least loss of a line is known. All the schedules get more than three times closer.

>>> from sklearn.linear_model import LinearRegression
>>> least = np.mean((LinearRegression().fit(patients, progression).predict(patients) - progression) ** 2)
>>> def excess(model):
...     return np.mean((model.predict(patients) - progression) ** 2) - least
>>> constant = excess(line(5))
>>> [bool(excess(line(5, **schedule)) < constant / 3) for schedule in schedules.values()]
[True, True, True, True, True, True]

The order of the rows
---------------------
Rows are shuffled before each epoch (`shuffle=True`). If they come sorted by class, a batch without it has one class
only, and each batch undoes what the last one taught.

>>> order = np.argsort(y, kind="stable")
>>> for shuffle in (False, True):
...     model = MLPClassifier((30,), batch_size=50, shuffle=shuffle, learning_rate_init=0.1, max_iter=5, **plain)
...     print(shuffle, model.fit(X[order], y[order]).score(X, y) > 0.8)
False False
True True

References
----------
.. [1] Cauchy, A. (1847). Methode generale pour la resolution des systemes d'equations simultanees. Comptes rendus 25,
   536-538.
.. [2] Nesterov, Y. (2004). Introductory lectures on convex optimization. Springer.
.. [3] Robbins, H., Monro, S. (1951). A stochastic approximation method. Annals of Mathematical Statistics 22, 400-407.
.. [4] Keskar, N. S., Mudigere, D., Nocedal, J., Smelyanskiy, M., Tang, P. T. P. (2016). On large-batch training for
   deep learning: generalization gap and sharp minima. arXiv:1609.04836.
.. [5] Pascanu, R., Mikolov, T., Bengio, Y. (2013). On the difficulty of training recurrent neural networks. ICML.
.. [6] Loshchilov, I., Hutter, F. (2016). SGDR: stochastic gradient descent with warm restarts. arXiv:1608.03983.
.. [7] Smith, L. N., Topin, N. (2017). Super-convergence: very fast training of neural networks using large learning
   rates. arXiv:1708.07120.
"""
