"""Losses: what the network is to be good at.

The loss says how bad a prediction is. Training makes its mean over the rows small, so the choice decides what the
network predicts: the mean, the median, a quantile, a probability.

=====================  =================================================================================================
`MLPRegressor`
"squared_error"        the mean of y given x; the default
"absolute_error"       its median; outliers count no more than others
"huber"                [1]_ squared up to `delta`, absolute beyond: between the two
"quantile"             [2]_ the value below which the part `quantile` of the targets lies
"poisson"              the mean of counts, always positive
"gamma"                the mean of positive amounts whose scatter grows with their size
`MLPClassifier`
"log_loss"             probabilities; the default. `label_smoothing` tempers them
"squared_error"        probabilities, where a confident error costs 1 at most, and not without bound
"hinge"                [3]_ the class only, by a margin
=====================  =================================================================================================

Outliers
--------
A tenth of the measurements have gone wrong: 10 was added to them. Which loss finds the curve behind all this?

>>> import numpy as np
>>> from fastmlp import MLPClassifier, MLPRegressor
>>> rng = np.random.default_rng(0)
>>> x = rng.uniform(-2, 2, (400, 1))
>>> truth = np.sin(2 * x[:, 0])
>>> y = truth + rng.normal(scale=0.1, size=400)
>>> y[rng.random(400) < 0.1] += 10
>>> settings = {"hidden_layer_sizes": (30,), "activation": "tanh", "learning_rate_init": 0.01, "max_iter": 500}
>>> for loss in ("squared_error", "absolute_error", "huber"):
...     model = MLPRegressor(loss, delta=0.3, random_state=0, **settings).fit(x, y)
...     print(loss, bool(np.abs(model.predict(x) - truth).mean() < 0.2))
squared_error False
absolute_error True
huber True

The square of an error of 10 is 100: the outliers pull hardest, and the curve goes up by one tenth of 10. The mean of y
is really there! If outliers are part of what you want to predict, the squared error is right; if they are faults, it
is not. `delta` is in units of y: choose it a few times as large as the good rows scatter.

Quantiles: how sure is the prediction?
--------------------------------------
Two networks, one for the quantile 0.1 and one for 0.9, make an interval that shall hold 80 % of the targets. Check
that on rows they have not seen. Here the scatter grows with x, and so does the interval.

>>> x = rng.uniform(0, 3, (4000, 1))
>>> y = np.sin(2 * x[:, 0]) + rng.normal(size=4000) * (0.1 + 0.2 * x[:, 0])
>>> low, high = (
...     MLPRegressor("quantile", quantile=quantile, random_state=0, **settings)
...     .fit(x[:2000], y[:2000])
...     .predict(x[2000:])
...     for quantile in (0.1, 0.9)
... )
>>> x_test, y_test = x[2000:, 0], y[2000:]
>>> coverage = np.mean((low <= y_test) & (y_test <= high))
>>> bool(0.7 < coverage < 0.9)
True
>>> width = high - low
>>> bool(width[x_test > 2].mean() > 2 * width[x_test < 1].mean())
True

Counts
------
Numbers of calls, of claims, of cells: 0, 1, 2 and so on. Their scatter grows with their mean. The Poisson loss knows
that, and its output is exp(z): it never predicts less than nothing.

>>> x = rng.uniform(-3, 3, (2000, 1))
>>> calls = rng.poisson(np.exp(x[:, 0]))
>>> model = MLPRegressor("poisson", random_state=0, **settings).fit(x, calls)
>>> bool(model.predict(np.linspace(-5, 3, 100)[:, np.newaxis]).min() > 0)
True
>>> print(model.out_activation_)
exp
>>> error = np.abs(np.log(model.predict(x)) - x[:, 0])  # of the logarithm of the mean, which is x
>>> bool(error.mean() < 0.2)
True

Classes: probabilities or margins
---------------------------------
The log-loss of a row is minus the logarithm of the probability that the network gives to the right class. It asks for
honest probabilities: for a class that is right seven times in ten, 0.7 costs least. The hinge loss asks for less: the
output of the right class shall be above 1, all others below -1, and what is so is left alone. It gives no
probabilities.

>>> from sklearn.datasets import load_digits
>>> from sklearn.model_selection import train_test_split
>>> X, y = load_digits(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
>>> settings = {"learning_rate_init": 0.005, "max_iter": 300, "tol": 1e-3, "random_state": 0}
>>> margin = MLPClassifier(loss="hinge", **settings).fit(X_train, y_train)
>>> hasattr(margin, "predict_proba"), margin.decision_function(X_test).shape, margin.score(X_test, y_test) > 0.95
(False, (450, 10), True)

Label smoothing
---------------
With the target 1 for the right class the log-loss is never content, for no softmax reaches 1: the weights grow and
grow, and the network is nearly certain also where it is wrong. Label smoothing [4]_ takes a little from the right
class and shares it out among all: 0.1, with ten classes, makes the target 0.91. That tempers the probabilities. (What
it does against wrong labels, beside other means: `fastmlp.guide.regularisation`.)

>>> plain = MLPClassifier(**settings).fit(X_train, y_train)
>>> smooth = MLPClassifier(label_smoothing=0.1, **settings).fit(X_train, y_train)
>>> for model in (plain, smooth):
...     print(
...         f"usual certainty {np.median(model.predict_proba(X_test).max(axis=1)):.1f}, at least 95 % right:", end=" "
...     )
...     print(model.score(X_test, y_test) > 0.95)
usual certainty 1.0, at least 95 % right: True
usual certainty 0.9, at least 95 % right: True

Rare classes
------------
One row in twenty is of the class that matters. To call hardly any row so costs little; so most of the rare ones are
missed. `class_weight="balanced"` multiplies the loss of each row, so that all classes weigh the same together. More of
the rare ones are found, and more of the others are called rare by mistake: whether that is better is for you to say, by
{class: weight}. The probabilities are then those of a world with such classes, and no longer shares of rows.

>>> rare = (rng.random(8000) < 0.05).astype(int)
>>> signs = rng.normal(size=(8000, 2)) + 1.2 * rare[:, np.newaxis]
>>> for class_weight in (None, "balanced"):
...     model = MLPClassifier((10,), class_weight=class_weight, learning_rate_init=0.01, tol=1e-3, random_state=0)
...     right = model.fit(signs[:4000], rare[:4000]).predict(signs[4000:]) == rare[4000:]
...     certainty = model.predict_proba(signs[4000:])[:, 1].mean()
...     print(f"{class_weight}: finds most: {right[rare[4000:] == 1].mean() > 0.6}", end=", ")
...     print(f"accuracy above 90 %: {right.mean() > 0.9}, mean probability below 0.1: {certainty < 0.1}")
None: finds most: False, accuracy above 90 %: True, mean probability below 0.1: True
balanced: finds most: True, accuracy above 90 %: False, mean probability below 0.1: False

The loss and the output layer
-----------------------------
Each loss brings the activation of the output layer. Where the two belong together, the error that goes back through the
network is simply prediction minus target, and a saturated output does not stop the learning.

>>> plain.out_activation_, margin.out_activation_
('softmax', 'identity')

A loss is for training. What you tell others may be another number: accuracy, R squared, money. Compare models by that,
on rows that none of them has seen.

References
----------
.. [1] Huber, P. J. (1964). Robust estimation of a location parameter. Annals of Mathematical Statistics 35, 73-101.
.. [2] Koenker, R., Bassett, G. (1978). Regression quantiles. Econometrica 46, 33-50.
.. [3] Cortes, C., Vapnik, V. (1995). Support-vector networks. Machine Learning 20, 273-297.
.. [4] Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., Wojna, Z. (2015). Rethinking the Inception architecture for
   computer vision. arXiv:1512.00567.
"""
