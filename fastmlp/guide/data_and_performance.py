"""Data and performance: how much more data would help.

More rows are often the surest way to a better network, and the dearest. A learning curve says beforehand what they
would bring: train on a part of the rows, on a larger part, on all, and look where the scores go.

The learning curve
------------------
`learning_curve` trains on growing subsets, each in a cross-validation. The classes of the digits come in order, so
shuffle.

>>> import warnings
>>> import numpy as np
>>> from sklearn.datasets import load_digits
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.model_selection import learning_curve
>>> from fastmlp import MLPClassifier
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 40 epochs are all there shall be
>>> X, y = load_digits(return_X_y=True)
>>> X = X / 16
>>> model = MLPClassifier((50,), learning_rate_init=0.01, max_iter=40, random_state=0)
>>> parts = [0.05, 0.1, 0.2, 0.5, 1.0]
>>> sizes, training, test = learning_curve(model, X, y, train_sizes=parts, cv=3, shuffle=True, random_state=0)
>>> for size, known, new in zip(sizes, training.mean(axis=1), test.mean(axis=1)):
...     print(f"{size:4d} rows: {known:.0%} of these are right, {new:.0%} of others")
  59 rows: 100% of these are right, 81% of others
 119 rows: 100% of these are right, 87% of others
 239 rows: 100% of these are right, 89% of others
 599 rows: 100% of these are right, 93% of others
1198 rows: 100% of these are right, 94% of others

The rows of the training are all right, of the others more and more. The gap says that the network has room for more
data, and the lower score still rises: more digits would help.

What the next thousand rows would bring
---------------------------------------
Errors often fall as a power of the number of rows, a straight line on logarithmic scales [1]_, [2]_. Fit the line to
the first four points: it should foretell the fifth.

>>> error = 1 - test.mean(axis=1)
>>> slope, start = np.polyfit(np.log(sizes[:4]), np.log(error[:4]), 1)
>>> foretold = np.exp(start + slope * np.log(sizes[4]))
>>> bool(0.7 < foretold / error[4] < 1.3)
True
>>> bool(0.7 < 2**slope < 0.8)  # twice the rows leave about three quarters of the errors
True

Each such step costs as many rows as all before it together. And the line does not go on for ever: it ends at what
nobody can know, because rows contradict each other or labels are wrong.

When more rows do not help
--------------------------
If both scores are bad and near each other, the network is too simple. More rows show that only more clearly. A
straight line cannot separate a ring from its middle, with 10 points or 600.

>>> from sklearn.datasets import make_circles
>>> points, inside = make_circles(900, noise=0.2, factor=0.4, random_state=0)
>>> for hidden in ((), (20,)):
...     model = MLPClassifier(hidden, learning_rate_init=0.03, max_iter=100, random_state=0)
...     _, _, scores = learning_curve(model, points, inside, train_sizes=[10, 600], cv=3, shuffle=True, random_state=0)
...     print(hidden, [bool(score > 0.85) for score in scores.mean(axis=1)])
() [False, False]
(20,) [False, True]

==============  ==============  ========================================================================================
training score  test score      what would help
==============  ==============  ========================================================================================
good            much worse      more rows; until then a larger `alpha`, early stopping, fewer units
good            good            nothing; more rows bring little
bad             bad             more units or layers, better features, more epochs; no more rows
bad             worse           all of these; begin with the training (`fastmlp.guide.training_curves`)
==============  ==============  ========================================================================================

More data from the same data
----------------------------
What leaves the answer as it is makes new rows of old ones: a digit that is moved by half a pixel is still that digit
[3]_. It helps most where rows are few. The copies belong to the training rows only, after the split.

>>> from sklearn.model_selection import train_test_split
>>> X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=150, stratify=y, random_state=0)
>>> images = X_train.reshape(-1, 8, 8)
>>> moved = [(images + np.roll(images, step, axis)).reshape(-1, 64) / 2 for axis in (1, 2) for step in (-1, 1)]
>>> model = MLPClassifier((50,), learning_rate_init=0.01, max_iter=100, random_state=0)
>>> alone = model.fit(X_train, y_train).score(X_test, y_test)
>>> model.fit(np.concatenate([X_train, *moved]), np.tile(y_train, 5)).score(X_test, y_test) > alone
True

Half the memory
---------------
`X.astype("float32")` halves the memory, and often the time of training: there is room for twice the rows. Its seven
digits are enough for nearly all networks. Weights and predictions are float32 then.

>>> model.fit(X_train.astype("float32"), y_train).coefs_[0].dtype
dtype('float32')

Draw it
-------
With matplotlib (`pip install 'fastmlp[plots]'`), scikit-learn draws the curve with the scatter between folds.

>>> from sklearn.model_selection import LearningCurveDisplay
>>> display = LearningCurveDisplay.from_estimator(
...     model, X, y, train_sizes=parts, cv=3, shuffle=True, score_type="both", random_state=0
... )  # doctest: +SKIP

References
----------
.. [1] Cortes, C., Jackel, L. D., Solla, S. A., Vapnik, V., Denker, J. S. (1993). Learning curves: asymptotic values and
   rate of convergence. NeurIPS.
.. [2] Hestness, J. et al. (2017). Deep learning scaling is predictable, empirically. arXiv:1712.00409.
.. [3] Simard, P. Y., Steinkraus, D., Platt, J. C. (2003). Best practices for convolutional neural networks applied to
   visual document analysis. ICDAR.
"""
