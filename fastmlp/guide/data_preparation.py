"""Data preparation: splitting, shuffling, centring, scaling, columns of words, and leaks.

A network multiplies its inputs by weights, and all weights learn at about the same rate. So it wants inputs of about
the same size, around 0. scikit-learn's transformers do all that is needed; a pipeline keeps them in order.

Split before anything else
--------------------------
Rows that the network has learnt from say nothing about new ones. Put some aside, and look at them once, at the end.
Draw them at random: data often come sorted. The irises are sorted by kind; without shuffling, the third kind is never
seen.

>>> import numpy as np
>>> from sklearn.datasets import load_iris
>>> from sklearn.model_selection import train_test_split
>>> flowers, kind = load_iris(return_X_y=True)
>>> y_train, y_test = train_test_split(kind, test_size=1 / 3, shuffle=False)
>>> print(np.bincount(y_train, minlength=3), np.bincount(y_test, minlength=3))
[50 50  0] [ 0  0 50]

`stratify` keeps the shares of the classes, which matters most where one is rare (weights of classes:
`fastmlp.guide.losses`).

>>> y_train, y_test = train_test_split(kind, test_size=0.2, stratify=kind, random_state=0)
>>> print(np.bincount(y_train, minlength=3), np.bincount(y_test, minlength=3))
[40 40 40] [10 10 10]

Do not split at random where rows belong together: pictures of the same patient (`GroupKFold`), or a series in time,
where the test must be what comes later (`TimeSeriesSplit`). Within training, the rows are shuffled before each epoch
by default.

Why to centre and scale
-----------------------
Thirteen numbers describe a wine. Some are below 1, another is about 750.

>>> from sklearn.datasets import load_wine
>>> from sklearn.preprocessing import MaxAbsScaler, StandardScaler
>>> X, y = load_wine(return_X_y=True)
>>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
>>> means = X_train.mean(axis=0)
>>> bool(means.min() < 0.5), bool(means.max() > 500)
(True, True)

*The shape of the loss.* For a linear unit with the squared error, the curvature of the loss is that of X' X. The
learning rate must be small enough for the steepest direction; the flattest then takes about as many steps as the one
is steeper than the other. That ratio is the condition number [1]_. Subtracting the mean (centring) divides it by 30 or
so here, and dividing by the standard deviation makes it harmless.

>>> def condition(features):
...     with_bias = np.column_stack([features, np.ones(len(features))])
...     return np.linalg.cond(with_bias.T @ with_bias)
>>> for name, features in (
...     ("as it is", X_train),
...     ("centred", X_train - X_train.mean(axis=0)),
...     ("divided by the largest absolute value", MaxAbsScaler().fit_transform(X_train)),
...     ("centred, divided by the deviation", StandardScaler().fit_transform(X_train)),
... ):
...     print(f"{name}: {condition(features):.0e}")
as it is: 5e+08
centred: 1e+07
divided by the largest absolute value: 8e+03
centred, divided by the deviation: 5e+01

*Saturation.* Inputs of 1000 drive a sigmoid to its flat ends before it has learnt anything
(`fastmlp.guide.activations`). Here are the parts of the first hidden layer's activations beyond 0.99, with initial
weights.

>>> from fastmlp import MLPClassifier, MLPRegressor
>>> for features in (X_train, StandardScaler().fit_transform(X_train)):
...     model = MLPClassifier((20,), "tanh", solver="sgd", learning_rate_init=1e-300, random_state=0)
...     model = model.partial_fit(features, y_train, classes=[0, 1, 2])
...     hidden = np.tanh(features @ model.coefs_[0] + model.intercepts_[0])
...     print(f"{np.mean(np.abs(hidden) > 0.99):.2f}")
0.99
0.01

What comes of it after 30 epochs, on the test rows. The pipeline learns means and deviations from the training rows, and
applies them to the test rows.

>>> import warnings
>>> from sklearn.exceptions import ConvergenceWarning
>>> from sklearn.pipeline import make_pipeline
>>> warnings.simplefilter("ignore", ConvergenceWarning)  # 30 epochs are all there shall be
>>> settings = {"hidden_layer_sizes": (20,), "learning_rate_init": 0.01, "max_iter": 30, "random_state": 0}
>>> raw = MLPClassifier(**settings).fit(X_train, y_train)
>>> scaled = make_pipeline(StandardScaler(), MLPClassifier(**settings)).fit(X_train, y_train)
>>> raw.score(X_test, y_test) < 0.8, scaled.score(X_test, y_test) > 0.9
(True, True)

Which scaler
------------
- `StandardScaler`: mean 0, deviation 1. The first choice. "selu" needs it.
- `MaxAbsScaler`: divides by the largest absolute value, so that all is in [-1, 1] and 0 stays 0. For sparse data, which
  centring would fill, and for features with a natural zero, such as pixels.
- `RobustScaler`: by median and quartiles, if there are outliers. `QuantileTransformer`, `PowerTransformer` or a
  logarithm for features with a long tail, such as incomes.

>>> from scipy.sparse import csr_array
>>> counts = csr_array([[0, 3, 0], [2, 0, 0], [0, -6, 4]])
>>> print(MaxAbsScaler().fit_transform(counts).toarray())
[[ 0.   0.5  0. ]
 [ 1.   0.   0. ]
 [ 0.  -1.   1. ]]

The targets of a regression
---------------------------
They want scaling as well: the output begins near 0 and has to climb, and learning rate, `tol`, `alpha` and `delta` are
numbers on the scale of y. `TransformedTargetRegressor` scales them for training, and turns predictions back. (Not for
"poisson" and "gamma", which want the counts and amounts themselves.)

>>> from sklearn.compose import TransformedTargetRegressor
>>> from sklearn.datasets import load_diabetes
>>> patients, progression = load_diabetes(return_X_y=True)
>>> P_train, P_test, p_train, p_test = train_test_split(patients, progression, random_state=0)
>>> settings = {"hidden_layer_sizes": (20,), "alpha": 1, "learning_rate_init": 0.003, "tol": 1e-3, "random_state": 0}
>>> regressor = make_pipeline(StandardScaler(), MLPRegressor(max_iter=1000, **settings))
>>> both = TransformedTargetRegressor(regressor, transformer=StandardScaler()).fit(P_train, p_train)
>>> both.score(P_test, p_test) > 0.2
True
>>> bool(100 < both.predict(P_test).mean() < 200)  # in units of y again
True

After as many epochs, the same network on unscaled targets is worse than a constant: it is still on its way up.

>>> regressor = regressor.set_params(mlpregressor__max_iter=both.regressor_[-1].n_iter_).fit(P_train, p_train)
>>> regressor.score(P_test, p_test) < 0
True

Columns of words
----------------
A network takes numbers. A word becomes a column of its own with 1 where it stands, else 0 (one-hot). A
`ColumnTransformer` does to each column what it needs. Here are invented flats: area, rooms, one of 100 streets.

>>> from sklearn.compose import ColumnTransformer
>>> from sklearn.preprocessing import OneHotEncoder
>>> rng = np.random.default_rng(0)
>>> area, rooms, street = rng.uniform(20, 120, 2000), rng.integers(1, 6, 2000), rng.integers(0, 100, 2000)
>>> rent = 10 * area + 50 * rooms + 10 * street + rng.normal(scale=20, size=2000)
>>> flats = np.empty((2000, 3), object)
>>> flats[:, 0], flats[:, 1], flats[:, 2] = area, rooms, [f"street {number}" for number in street]
>>> preparation = ColumnTransformer(
...     [
...         ("numbers", StandardScaler(), [0, 1]),
...         ("words", OneHotEncoder(handle_unknown="ignore"), [2]),
...     ]
... )
>>> prepared = preparation.fit_transform(flats)
>>> prepared.shape, prepared.nnz / 2000
((2000, 102), 3.0)

The result is sparse: of 102 numbers of a row, the 3 that are not zero are kept. The network takes it so, and
multiplies no zeros. A street that was not there in training gets zeros only (`handle_unknown`), and no error.

In a pandas or polars DataFrame columns have names, to choose them by; in one of pandas, also by their type:

>>> import pandas as pd
>>> from sklearn.compose import make_column_selector
>>> frame = pd.DataFrame({"area": area, "rooms": rooms, "street": flats[:, 2]})
>>> by_type = ColumnTransformer(
...     [
...         ("numbers", StandardScaler(), make_column_selector(dtype_include="number")),
...         ("words", OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
...     ]
... )
>>> bool(abs(by_type.fit_transform(frame) - prepared).max() < 1e-12)
True
>>> print(by_type.get_feature_names_out()[[0, 1, 2, -1]])
['numbers__area' 'numbers__rooms' 'words__street_street 0'
 'words__street_street 99']

>>> network = MLPRegressor(hidden_layer_sizes=(20,), learning_rate_init=0.01, max_iter=500, tol=1e-3, random_state=0)
>>> model = TransformedTargetRegressor(make_pipeline(preparation, network), transformer=StandardScaler())
>>> F_train, F_test, r_train, r_test = train_test_split(flats, rent, random_state=0)
>>> model.fit(F_train, r_train).score(F_test, r_test) > 0.95
True
>>> model.predict([[50.0, 2, "a new street"]]).shape
(1,)

Missing values
--------------
NaN is an error, unless you say what to do with it. scikit-learn's imputers fill the gaps. `missing="zero"` takes 0 for
them, which is the mean after a `StandardScaler` (it leaves NaN as it is). That something is missing may tell more than
its value would; `missing="indicator"` gives the network a further input, 1 where the feature is missing. Here the
values say nothing, but on one side the first feature is missing more often. Without the indicator the network has to
find out what a value of exactly 0 means, which takes many epochs.

>>> side = np.arange(4000) % 2
>>> answers = rng.normal(size=(4000, 3))
>>> answers[rng.random(4000) < np.where(side, 0.6, 0.1), 0] = np.nan
>>> A_train, A_test, s_train, s_test = train_test_split(answers, side, random_state=0)
>>> zero, indicator = (
...     make_pipeline(StandardScaler(), MLPClassifier((10,), missing=missing, max_iter=20, random_state=0))
...     .fit(A_train, s_train)
...     .score(A_test, s_test)
...     for missing in ("zero", "indicator")
... )
>>> indicator > zero + 0.05
True

Leaks
-----
What is learnt from the test rows, if only a mean, leaks into the training; the test then promises too much. Scaling
before the split is such a leak: a single wild test row changes all the rows that the network trains on.

>>> wild = np.array([[1.0], [2.0], [3.0], [1000.0]])  # the last is for the test
>>> print(StandardScaler().fit_transform(wild)[:3].round(1).ravel())  # wrong: before the split
[-0.6 -0.6 -0.6]
>>> print(StandardScaler().fit_transform(wild[:3]).round(1).ravel())  # right
[-1.2  0.   1.2]

Scaling leaks little in most data. Choosing features leaks much [2]_. Below is nothing but noise: no network can be
right in more than half of the rows. Whoever chooses the 20 best of 2000 features by all rows, and tests then, sees
wonders. In a pipeline, each fold of the cross-validation chooses from its own training rows, and the truth comes out.

>>> from sklearn.feature_selection import SelectKBest
>>> from sklearn.model_selection import cross_val_score
>>> noise, coins = rng.normal(size=(60, 2000)), np.arange(60) % 2
>>> network = MLPClassifier((10,), learning_rate_init=0.01, max_iter=500, tol=1e-2, random_state=0)
>>> leaky = cross_val_score(network, SelectKBest(k=20).fit_transform(noise, coins), coins, cv=5).mean()
>>> honest = cross_val_score(make_pipeline(SelectKBest(k=20), network), noise, coins, cv=5).mean()
>>> bool(leaky > 0.8), bool(honest < 0.7)
(True, True)

So put all that learns from data into the pipeline, and split before.

References
----------
.. [1] LeCun, Y., Bottou, L., Orr, G., Mueller, K.-R. (1998). Efficient backprop. In: Neural networks: tricks of the
   trade. Springer.
.. [2] Hastie, T., Tibshirani, R., Friedman, J. (2009). The elements of statistical learning. Springer, section 7.10.2.
"""
