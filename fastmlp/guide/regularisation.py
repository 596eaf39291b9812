"""Regularisation: networks that do not learn the faults of their data by heart.

A large network can learn any rows by heart, wrong ones too. What keeps it from that is called regularisation: a penalty
on large weights, units that fall silent, an end in time, rows that are changed each time they are seen, targets that
are less than certain. All of these make the fit to the training rows worse. The question is what new rows say.

Learning by heart
-----------------
Of 600 handwritten digits, a fifth get a label that is drawn at random. The test rows keep the right ones. A network
with 7,500 weights and biases learns each single wrong label, and pays for it on new rows.

>>> import warnings
>>> import numpy as np
>>> from sklearn.datasets import load_diabetes, load_digits
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.metrics import log_loss
>>> from sklearn.model_selection import train_test_split
>>> from fastmlp import MLPClassifier, MLPRegressor
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 200 epochs are all there shall be
>>> X, y = load_digits(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=600, stratify=y, random_state=0)
>>> rng = np.random.default_rng(0)
>>> y_train = np.where(rng.random(600) < 0.2, rng.integers(0, 10, 600), y_train)
>>> epochs = {"max_iter": 200, "n_iter_no_change": 200}
>>> def train(**settings):
...     settings = {"alpha": 0, "learning_rate_init": 0.01, "random_state": 0, **epochs, **settings}
...     return MLPClassifier((100,), **settings).fit(X_train, y_train)
>>> def test_loss(model):
...     return log_loss(y_test, model.predict_proba(X_test))
>>> free = train()
>>> free.score(X_train, y_train) > 0.99, free.score(X_test, y_test) < 0.87
(True, True)

The L2 penalty
--------------
`alpha` adds the sum of the squared weights, times `alpha` / 2, to the loss: ridge regression [1]_, or weight decay.
Large weights must then be worth their cost, and a single wrong label is not. Too much of it, and nothing is learnt at
all: first overfitting, then a good fit, then underfitting.

>>> penalised = {alpha: train(alpha=alpha) for alpha in (0, 3, 300)}
>>> for alpha, model in penalised.items():
...     print(f"{alpha}: {model.score(X_train, y_train) > 0.9} {model.score(X_test, y_test) > 0.9}")
0: True False
3: False True
300: False False

As in scikit-learn, the penalty is divided by the rows of a batch: another batch size is another penalty.
`scale_alpha=False` takes it as it is.

>>> whole = train(alpha=2, batch_size=200, max_iter=5)  # 600 rows: three batches of 200
>>> same = train(alpha=2 / 200, scale_alpha=False, batch_size=200, max_iter=5)
>>> bool(np.isclose(whole.loss_, same.loss_))
True

The L1 penalty
--------------
The square of a small weight is next to nothing, so L2 makes weights small, but not zero. The absolute value pulls with
the same force all the way down, and what is not worth its cost becomes exactly 0: the lasso [2]_. `l1_ratio` is the
part of the penalty that is L1. Here 3 of 20 features say something of the target, and the penalty finds which. A
feature whose weights are all zero can be left out.

>>> Z = rng.normal(size=(2000, 20))
>>> target = np.tanh(2 * Z[:, 0]) + 2 * np.abs(Z[:, 1]) + Z[:, 2] + rng.normal(scale=0.3, size=2000)
>>> for l1_ratio in (0, 1):
...     penalty = {"alpha": 0.05, "l1_ratio": l1_ratio, "scale_alpha": False}
...     model = MLPRegressor(
...         hidden_layer_sizes=(30,),
...         learning_rate_init=0.01,
...         max_iter=100,
...         n_iter_no_change=100,
...         random_state=0,
...         **penalty,
...     ).fit(Z, target)
...     used = np.flatnonzero(np.any(model.coefs_[0] != 0, axis=1))
...     print(f"{len(used)} features are used, zero weights: {np.mean(model.coefs_[0] == 0):.1f}", end=", ")
...     print(f"R squared above 0.85: {model.score(Z, target) > 0.85}")
20 features are used, zero weights: 0.0, R squared above 0.85: True
3 features are used, zero weights: 1.0, R squared above 0.85: True
>>> print(used)
[0 1 2]

Dropout
-------
`dropout=0.5` silences half of the hidden units, drawn anew for each row and step [3]_. No unit can rely on a certain
other one to be there, so each has to be of use by itself. What the others give is doubled meanwhile, so that the next
layer gets the same in the mean. Predictions use all units.

>>> dropped = train(dropout=0.5)
>>> bool(np.all(dropped.predict_proba(X_test) == dropped.predict_proba(X_test)))  # nothing is drawn here
True

That the mean is right can be counted: the outputs of many halves of the network, and the output of the whole.

>>> hidden = dropped.transform(X_test)  # activations of the last hidden layer
>>> def output(activations):
...     return activations @ dropped.coefs_[1] + dropped.intercepts_[1]
>>> halves = [output(hidden * 2 * (rng.random(hidden.shape) < 0.5)) for _ in range(100)]
>>> one = np.abs(halves[0] - output(hidden)).mean()
>>> mean = np.abs(np.mean(halves, axis=0) - output(hidden)).mean()
>>> bool(mean < one / 5)
True

And so can the other claim: silence half of the hidden units, and only the network that was trained so bears it.

>>> def score_of_half(model):
...     activations = model.transform(X_test) * 2 * (rng.random(hidden.shape) < 0.5)
...     return np.mean(np.argmax(activations @ model.coefs_[1] + model.intercepts_[1], axis=1) == y_test)
>>> bool(score_of_half(free) < 0.6), bool(score_of_half(dropped) > 0.7)
(True, True)

`loss_curve_` is the loss with silent units. That of the whole network, on the same rows, is smaller.

>>> bool(log_loss(y_train, dropped.predict_proba(X_train)) < dropped.loss_)
True

Early stopping
--------------
What many rows have in common is learnt first, single faults later. So stop in between [4]_ (more of that in
`fastmlp.guide.training_curves`).

>>> stopped = train(early_stopping=True, validation_fraction=0.2, scoring="loss", n_iter_no_change=20)
>>> stopped.n_iter_ < 100
True

Rows that are changed each time
-------------------------------
`augment` changes the rows of each step, drawn anew each time, so that none comes twice: there is nothing to learn by
heart. {"jitter": 0.3} adds normal noise to the features, {"drop_features": 0.3} sets so many of them to 0, and
{"mixup": 1} mixes each row with another one of its batch, and its target as well [5]_: halfway between a 3 and an 8
the answer is half a 3 and half an 8.

Noise is close to an L2 penalty [6]_. For a linear network with the squared error it is one, in the mean: noise of
deviation s in a feature comes out times its weight, and adds s squared times the squared weight to the squared error.
Ridge regression with that penalty gives the weights of a network trained with noise; least squares gives others.

>>> from sklearn.linear_model import Ridge
>>> from sklearn.preprocessing import StandardScaler
>>> patients, progression = load_diabetes(return_X_y=True)
>>> patients = StandardScaler().fit_transform(patients)
>>> progression = (progression - progression.mean()) / progression.std()
>>> noisy = MLPRegressor(
...     hidden_layer_sizes=(),
...     alpha=0,
...     augment={"jitter": 0.5},
...     learning_rate="cosine",
...     learning_rate_init=0.01,
...     max_iter=300,
...     n_iter_no_change=300,
...     random_state=0,
... ).fit(patients, progression)
>>> for s in (0.5, 0):
...     ridge = Ridge(alpha=len(patients) * s**2).fit(patients, progression)  # of the sum over the rows, not the mean
...     print(s, bool(np.abs(ridge.coef_ - noisy.coefs_[0][:, 0]).max() < 0.05))
0.5 True
0 False

Label smoothing
---------------
`label_smoothing` takes a part of the target away from the label and shares it out among all classes [7]_. The
network need not be certain, and is not. But it still learns the labels by heart.

>>> smoothed = train(label_smoothing=0.2)
>>> certainty = [np.median(model.predict_proba(X_test).max(axis=1)) for model in (free, smoothed)]
>>> bool(certainty[1] < certainty[0]), smoothed.score(X_train, y_train) > 0.95
(True, True)

All together
------------
Each of the others does better on new rows than the network that was left free, by its loss and by its accuracy.

>>> for name, model in {
...     "L2": penalised[3],
...     "dropout": dropped,
...     "early stopping": stopped,
...     "jitter": train(augment={"jitter": 0.3}),
...     "drop_features": train(augment={"drop_features": 0.3}),
...     "mixup": train(augment={"mixup": 1}),
... }.items():
...     print(name, test_loss(model) < test_loss(free), model.score(X_test, y_test) > free.score(X_test, y_test))
L2 True True
dropout True True
early stopping True True
jitter True True
drop_features True True
mixup True True

Begin with `alpha` and early stopping. Several go together, and the best strength of one depends on the others: choose
it on rows apart (`fastmlp.guide.hyperparameters`). Where you can get more rows, or right labels, get those first.

References
----------
.. [1] Hoerl, A. E., Kennard, R. W. (1970). Ridge regression: biased estimation for nonorthogonal problems.
   Technometrics 12, 55-67.
.. [2] Tibshirani, R. (1996). Regression shrinkage and selection via the lasso. Journal of the Royal Statistical Society
   B 58, 267-288.
.. [3] Srivastava, N., Hinton, G. E., Krizhevsky, A., Sutskever, I., Salakhutdinov, R. (2014). Dropout: a simple way to
   prevent neural networks from overfitting. Journal of Machine Learning Research 15, 1929-1958.
.. [4] Prechelt, L. (1998). Early stopping, but when? In: Neural networks: tricks of the trade. Springer.
.. [5] Zhang, H., Cisse, M., Dauphin, Y. N., Lopez-Paz, D. (2017). mixup: beyond empirical risk minimization.
   arXiv:1710.09412.
.. [6] Bishop, C. M. (1995). Training with noise is equivalent to Tikhonov regularization. Neural Computation 7,
   108-116.
.. [7] Szegedy, C., Vanhoucke, V., Ioffe, S., Shlens, J., Wojna, Z. (2015). Rethinking the Inception architecture for
   computer vision. arXiv:1512.00567.
"""
