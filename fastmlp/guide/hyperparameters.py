"""Hyperparameters: which to tune, on a grid, at random, and on subsets.

Training finds the weights. What it does not find are the hyperparameters: they say how large the network is and how it
is trained. One tries some values, and compares the networks on rows that they were not trained on.

Which
-----
In this order, as a rule [1]_:

1. `learning_rate_init`: the one to tune if you tune only one. Tenfold steps first.
2. `hidden_layer_sizes`: one layer of 50 to 200 units first; rather too large, with a penalty.
3. `alpha`, and with it the number of epochs, or `early_stopping`: against overfitting.
4. `batch_size`: for speed more than for quality; the learning rate goes with it.
5. `activation`, `solver` and the rest, when all that is settled.

Learning rate and `alpha` are numbers whose size matters: try 0.001, 0.01, 0.1, not 0.1, 0.2, 0.3.

Data, pipeline, test rows
-------------------------
The test rows are put aside before the search, for a search that has seen them is a part of the training. The scaler is
a part of what is tried, so it belongs into a pipeline (`fastmlp.guide.data_preparation`). The name of a step and two
underscores lead to its parameters.

>>> import warnings
>>> import numpy as np
>>> from sklearn.datasets import load_breast_cancer
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, train_test_split, validation_curve
>>> from sklearn.pipeline import Pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> from fastmlp import MLPClassifier
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are all there shall be
>>> X, y = load_breast_cancer(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
>>> network = MLPClassifier((10,), max_iter=30, random_state=0)
>>> pipeline = Pipeline([("scale", StandardScaler()), ("network", network)])

One at a time: the validation curve
-----------------------------------
How do the scores change with one hyperparameter? Each value is tried in a cross-validation: in three folds, each is the
validation part once.

>>> rates = [1e-6, 1e-4, 1e-2, 1e2]
>>> training, validation = validation_curve(
...     pipeline, X_train, y_train, param_name="network__learning_rate_init", param_range=rates, cv=3
... )
>>> validation.shape  # values x folds
(4, 3)
>>> print(rates[validation.mean(axis=1).argmax()])
0.01

At the small rates both scores are bad, for nothing has been learnt in 30 epochs. The best value should not lie at the
end of the range; if it does, try further values there. `ValidationCurveDisplay` draws it (with matplotlib).

All combinations: the grid
--------------------------
Hyperparameters depend on each other, so try combinations. `GridSearchCV` tries all of them, and in the end trains the
best on all training rows.

>>> grid = {"network__learning_rate_init": [1e-5, 1e-2], "network__hidden_layer_sizes": [(5,), (20,)]}
>>> search = GridSearchCV(pipeline, grid, cv=3).fit(X_train, y_train)
>>> len(search.cv_results_["params"])
4
>>> search.best_params_["network__learning_rate_init"]
0.01
>>> search.score(X_test, y_test) > 0.9
True

Compare the differences with the scatter between folds, `cv_results_["std_test_score"]`: what lies within is luck.
Among equals take the smaller network. And `best_score_` is too good, as the best of many is always lucky too; the
score of the test rows is honest.

At random
---------
A grid of four hyperparameters with five values each has 625 points, and tries only five values of the one that
matters. Random points try a new value of each, every time [2]_. Draw learning rate and `alpha` on a logarithmic scale.
And you may stop when you like.

>>> from scipy.stats import loguniform
>>> space = {"network__learning_rate_init": loguniform(1e-5, 1), "network__alpha": loguniform(1e-5, 10)}
>>> search = RandomizedSearchCV(pipeline, space, n_iter=8, cv=3, random_state=0).fit(X_train, y_train)
>>> len(np.unique(search.cv_results_["param_network__learning_rate_init"].astype(float)))
8
>>> search.score(X_test, y_test) > 0.9
True

On subsets: successive halving
------------------------------
Most combinations are bad, and that shows soon. So try many on a small subset of the rows, keep the best third, try
these on three times as many rows, and so on [3]_. The last ones get the most rows, and all together cost little more
than a few full fits.

>>> from sklearn.experimental import enable_halving_search_cv  # it is still called experimental  # noqa: F401
>>> from sklearn.model_selection import HalvingRandomSearchCV
>>> halving = {"n_candidates": 9, "factor": 3, "cv": 3, "random_state": 0}
>>> search = HalvingRandomSearchCV(pipeline, space, resource="n_samples", min_resources=40, **halving)
>>> search = search.fit(X_train, y_train)
>>> for candidates, rows in zip(search.n_candidates_, search.n_resources_):
...     print(f"{candidates} combinations on {rows} rows")
9 combinations on 40 rows
3 combinations on 120 rows
1 combinations on 360 rows
>>> search.score(X_test, y_test) > 0.9
True

The resource may be the number of epochs instead: all rows, but few epochs first. It is the better choice where small
subsets mislead, as they do for the size of the network: few rows favour small ones.

>>> search = HalvingRandomSearchCV(
...     pipeline, space, resource="network__max_iter", min_resources=5, max_resources=45, **halving
... ).fit(X_train, y_train)
>>> print(search.n_resources_)
[5, 15, 45]
>>> search.score(X_test, y_test) > 0.9
True

Few epochs favour large learning rates, and few rows large penalties. So let the last round be like the training you
want in the end.

Time
----
`fastmlp.model_selection` has the same searches, with the same results: there the fits share one copy of the rows and
all cores, and the scaler is fitted once for each fold in place of once for each candidate.

>>> from fastmlp import model_selection
>>> faster = model_selection.HalvingRandomSearchCV(
...     pipeline, space, resource="network__max_iter", min_resources=5, max_resources=45, **halving
... ).fit(X_train, y_train)
>>> bool((faster.cv_results_["mean_test_score"] == search.cv_results_["mean_test_score"]).all())
True

With scikit-learn's own classes, `n_jobs=-1` runs the fits side by side in processes. Another hyperparameter compiles
nothing: a network of another shape starts at once.

References
----------
.. [1] Bengio, Y. (2012). Practical recommendations for gradient-based training of deep architectures. arXiv:1206.5533.
.. [2] Bergstra, J., Bengio, Y. (2012). Random search for hyper-parameter optimization. Journal of Machine Learning
   Research 13, 281-305.
.. [3] Jamieson, K., Talwalkar, A. (2016). Non-stochastic best arm identification and hyperparameter optimization.
   AISTATS.
"""
