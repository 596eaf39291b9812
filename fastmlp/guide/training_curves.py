"""Following training and validation loss: overfitting, underfitting, early stopping.

A number at the end says how good a network is. The curve on the way there says why, and what to change.

The curve of the training loss
------------------------------
`loss_curve_` has the loss of each epoch: the mean over its batches, each before its step. (`verbose=True` prints it.)
Training ends when the loss has not fallen by more than `tol` for `n_iter_no_change` epochs, or after `max_iter` epochs,
with a `ConvergenceWarning`.

>>> import numpy as np
>>> from sklearn.datasets import load_digits
>>> from fastmlp import MLPClassifier
>>> X, y = load_digits(return_X_y=True)
>>> X = X / 16
>>> model = MLPClassifier((50,), tol=1e-2, max_iter=500, random_state=0).fit(X, y)
>>> len(model.loss_curve_) == model.n_iter_, bool(model.loss_ == model.loss_curve_[-1]), model.n_iter_ < 500
(True, True, True)

The learning rate in the curve
------------------------------
Too small: the curve is nearly a straight line and has hardly come down. Right: it falls steeply, and then less and
less. Too large: it jumps, starts high up, and stays above what a smaller rate reaches.

>>> import warnings
>>> from sklearn.exceptions import ConvergenceWarning
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are all there shall be
>>> curves = {
...     rate: MLPClassifier((50,), learning_rate_init=rate, max_iter=30, n_iter_no_change=30, random_state=0)
...     .fit(X, y)
...     .loss_curve_
...     for rate in (0.0001, 0.01, 1.0)
... }
>>> for rate in (0.0001, 0.01):
...     print(rate, " ".join(f"{curves[rate][epoch - 1]:.1f}" for epoch in (1, 2, 3, 5, 10, 30)))
0.0001 2.4 2.4 2.4 2.4 2.3 2.0
0.01 1.9 0.9 0.4 0.2 0.1 0.0
>>> wild = curves[1.0]
>>> bool(wild[0] > 4), bool(np.sum(np.diff(wild) > 0) >= 3), bool(min(wild) > 1)  # high up, jumps, stays above
(True, True, True)

One digit of ten, guessed, costs log(10) = 2.3. A first loss far above that is a sign of its own: of a learning rate
that is too large, or of features that are not scaled.

Train and validation loss, epoch by epoch
-----------------------------------------
The training loss says how well the network knows the rows it has seen. What counts are other rows. Pass some as `X_val`
and `y_val`: they are not trained on, only measured after each epoch. `validation_loss_curve_` has their loss, without
the penalty, and `history_` has all that is measured, with a number for each epoch.

A hundred noisy points in two overlapping classes, and a network with ten thousand weights:

>>> from sklearn.datasets import make_moons
>>> from sklearn.metrics import log_loss
>>> from sklearn.model_selection import train_test_split
>>> moons, side = make_moons(400, noise=0.3, random_state=0)
>>> X_train, X_test, y_train, y_test = train_test_split(moons, side, train_size=100, random_state=0)
>>> large = {"hidden_layer_sizes": (100, 100), "learning_rate_init": 0.01, "random_state": 0}
>>> model = MLPClassifier(alpha=0, max_iter=300, n_iter_no_change=300, **large)
>>> model = model.fit(X_train, y_train, X_val=X_test, y_val=y_test)
>>> training, test = model.loss_curve_, model.validation_loss_curve_
>>> bool(training[-1] < training[30] < training[0])
True
>>> best = int(np.argmin(test))
>>> best < 100, bool(test[-1] > 2 * test[best])
(True, True)
>>> list(model.history_)
['loss', 'validation_accuracy', 'validation_loss', 'learning_rate', 'seconds']

That is *overfitting*: the training loss goes on falling, that of other rows falls and then rises. From there on the
network learns the noise, row by row, and it is more and more certain where it is wrong.

*Underfitting* is the other end: both losses stay high, and close together. A network without a hidden layer draws a
straight line, and no line separates a ring from its middle. More epochs or rows do not help; more units do.

>>> from sklearn.datasets import make_circles
>>> points, inside = make_circles(400, noise=0.1, factor=0.4, random_state=0)
>>> for hidden in ((), (20,)):
...     model = MLPClassifier(hidden, learning_rate_init=0.03, max_iter=200, random_state=0)
...     model = model.fit(points[:200], inside[:200])
...     print(hidden, model.score(points[:200], inside[:200]) > 0.9, model.score(points[200:], inside[200:]) > 0.9)
() False False
(20,) True True

=====================  ============================  ===================================================================
training loss          loss of other rows            what to do
=====================  ============================  ===================================================================
high, falls slowly     the same                      a larger learning rate, more epochs, scaled features
high, jumps            high                          a smaller learning rate
high, flat             high, close to it             more units or layers, other features, a smaller `alpha`
low                    falls, then rises             early stopping, a larger `alpha`, fewer units, more rows
low                    low                           nothing; go and test it on the rows put aside
=====================  ============================  ===================================================================

Early stopping
--------------
Stop where the loss of unseen rows is least [1]_. `early_stopping=True` takes `X_val`, or holds out
`validation_fraction` of the training rows. It scores them after each epoch, stops when the score has not risen for
`n_iter_no_change` epochs, and goes back to the weights of the best epoch.

The score is the accuracy, or R squared. `scoring` takes another, "loss" for the loss itself, or several: `history_` has
them all, and the first one decides.

>>> stopped = MLPClassifier(
...     early_stopping=True, validation_fraction=0.3, scoring=["loss", "roc_auc"], max_iter=300, **large
... ).fit(X_train, y_train)
>>> stopped.n_iter_ < 100, len(stopped.validation_scores_) == stopped.n_iter_
(True, True)
>>> bool(stopped.best_validation_score_ == -min(stopped.validation_loss_curve_))  # scores: the larger, the better
True
>>> "validation_roc_auc" in stopped.history_
True
>>> bool(log_loss(y_test, stopped.predict_proba(X_test)) < test[-1])
True

The accuracy of few rows moves in large steps, so the loss is the better guide there. And the rows held out are lost to
training. With few rows that hurts; then note which epoch was the best, and train on all rows for so many.

>>> best_epoch = 1 + int(np.argmax(stopped.validation_scores_))
>>> best_epoch < stopped.n_iter_
True

The score of the held-out rows chose the epoch, so it is a little too good. A test needs rows of its own.

Rows that come in chunks
------------------------
`partial_fit` trains for one epoch on what it gets. So it can follow a stream, whose chunks never are in memory
together. With `early_stopping` each call is scored, here by the same rows each time. When `n_iter_no_change` calls have
not improved the score, the best weights return, with a `ConvergenceWarning`: that is the time to stop.

>>> X_val, y_val = make_moons(500, noise=0.3, random_state=1000)
>>> model = MLPClassifier((20,), learning_rate_init=0.01, early_stopping=True, scoring="loss", random_state=0)
>>> with warnings.catch_warnings(record=True) as caught:
...     warnings.simplefilter("always", ConvergenceWarning)
...     for chunk in range(1000):
...         points, sides = make_moons(100, noise=0.3, random_state=2000 + chunk)
...         model = model.partial_fit(points, sides, classes=[0, 1], X_val=X_val, y_val=y_val)
...         if caught:
...             break
>>> chunk < 999, len(model.history_["loss"]) == chunk + 1, model.score(X_val, y_val) > 0.8
(True, True, True)
>>> bool(np.isclose(log_loss(y_val, model.predict_proba(X_val)), -model.best_validation_score_))  # the best weights
True

A penalty instead
-----------------
Weight decay (`alpha`) keeps the network from bending itself to each row, however long it trains [2]_. The fit to the
training rows gets worse, the prediction of others better.

>>> decayed = MLPClassifier(alpha=3, max_iter=300, **large).fit(X_train, y_train)
>>> bool(log_loss(y_train, decayed.predict_proba(X_train)) > training[-1])
True
>>> bool(log_loss(y_test, decayed.predict_proba(X_test)) < test[-1])
True

More means against overfitting: `fastmlp.guide.regularisation`. How to choose `alpha`: `fastmlp.guide.hyperparameters`.
What more rows would bring: `fastmlp.guide.data_and_performance`.

References
----------
.. [1] Prechelt, L. (1998). Early stopping, but when? In: Neural networks: tricks of the trade. Springer.
.. [2] Krogh, A., Hertz, J. A. (1991). A simple weight decay can improve generalization. NeurIPS.
"""
