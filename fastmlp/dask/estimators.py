"""The estimators on Dask."""

import copy
import dataclasses
import functools
import inspect
import os
import time
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from distributed import Client, Future
from sklearn.base import BaseEstimator, _fit_context, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp.dask import checkpoint as checkpoints
from fastmlp.dask import prediction
from fastmlp.dask.cluster import Cluster, find_client
from fastmlp.dask.engine import Engine, Placed, Rounds
from fastmlp.dask.partitions import check_collections, distribute, gather, is_collection
from fastmlp.dask.rows import Summary, make_shard, merge, summarise
from fastmlp.estimators.base import STOCHASTIC_SOLVERS, BaseMLP
from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.inputs import unchanged_on_error
from fastmlp.estimators.protocol import fit_task, with_callbacks
from fastmlp.estimators.regressor import MLPRegressor
from fastmlp.estimators.resume import Call, end_fit
from fastmlp.estimators.validation import Rows, Validation, check_validation, validated_rows
from fastmlp.network import Network

OWN = ("client", "sync_every", "synchronous_epochs", "checkpoint", "timeout")
SEEDS = np.iinfo(np.int32).max


def check_distributed(estimator: "DaskMLP", X_val: Any, partial: bool) -> None:
    """Check that the parameters make sense for rows that are on several machines.

    Raises
    ------
    ValueError
        If not. It names both sides.
    """
    name = type(estimator).__name__
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise ValueError(f"solver={estimator.solver!r} is not for {name}: take one of {sorted(STOCHASTIC_SOLVERS)}.")
    if estimator.device != "cpu":
        raise ValueError(
            f"device={estimator.device!r} is not for {name}, whose workers compute on their CPUs: take device='cpu'."
        )
    if estimator.early_stopping and X_val is None:
        raise ValueError(
            f"early_stopping=True needs X_val and y_val with {name}, which holds out no rows of the workers: pass "
            "them, or take early_stopping=False."
        )
    if estimator.shuffle == "blocks":
        raise ValueError(f"shuffle='blocks' is not for {name}, whose workers have their rows in memory: take True.")
    if estimator.augment:
        raise ValueError(f"augment={estimator.augment} is not for {name}: take augment=None.")
    local = estimator.sync_every != 1
    if estimator.gradient_tol is not None and local:
        raise ValueError(
            f"gradient_tol={estimator.gradient_tol} needs the gradient of all rows, and "
            f"sync_every={estimator.sync_every!r} computes none: take sync_every=1, or gradient_tol=None."
        )
    if estimator.checkpoint is not None and (partial or estimator.warm_start):
        what = "partial_fit" if partial else "warm_start=True"
        raise ValueError(
            f"checkpoint={estimator.checkpoint!r} is for fits that begin anew, not for {what}: take checkpoint=None."
        )


def with_parameters_of(plain: type) -> Callable[[type], type]:
    """Return a decorator that gives a class's `__init__` the signature of another's and its own parameters after it."""

    def decorate(cls: type) -> type:
        def __init__(self: Any, *args: Any, **parameters: Any) -> None:
            bound = signature.bind(self, *args, **parameters)
            bound.apply_defaults()
            values = dict(list(bound.arguments.items())[1:])
            for name in OWN:
                setattr(self, name, values.pop(name))
            plain.__init__(self, **values)

        own = inspect.signature(DaskMLP._own_parameters).parameters.values()
        theirs = inspect.signature(plain.__init__).parameters.values()
        signature = inspect.Signature([*theirs, *own])
        __init__.__signature__ = signature
        __init__.__qualname__, __init__.__module__ = f"{cls.__name__}.__init__", cls.__module__
        cls.__init__ = __init__
        cls._plain = plain
        cls._parameter_constraints = {**plain._parameter_constraints, **DaskMLP._own_constraints}
        if cls.__doc__ is not None:  # python -OO strips it
            cls.__doc__ = inspect.cleandoc(cls.__doc__).replace("%PARAMETERS%", PARAMETERS.strip())
        return cls

    return decorate


PARAMETERS = """
client : distributed.Client or None, default=None
    The client of the cluster to train on. None: the one that the process has at the time of a fit. A pickle and a
    copy are without.
sync_every : int or "epoch", default=1
    1: synchronous gradient descent. In each step every worker computes the gradient of its share of the batch, and the
    step is that of one machine on the whole batch, to rounding. k > 1: local gradient descent [1]_. Each worker takes k
    steps on its own shares; then weights and the optimizer's moments are averaged, weighted by rows. "epoch": once at
    the end of each epoch. With fewer exchanges, workers compute more and wait less, but after the same steps the loss
    is not that of one machine. `max_grad_norm` then bounds the gradient of a share.
synchronous_epochs : int, default=0
    So many epochs at the beginning are synchronous, whatever `sync_every` is: post-local gradient descent [2]_.
checkpoint : str, os.PathLike or None, default=None
    A file, of the client's machine, that holds the fit after each epoch. A fit that finds one of the same parameters
    and number of rows goes on from there; one that ends removes it. It is a pickle: take none from others. Not for
    `partial_fit` and warm starts.
timeout : float, default=600.0
    The most seconds to wait for one round, or for the rows to be prepared. What takes longer is a TimeoutError.
"""


class DaskMLP(BaseMLP):
    """What both estimators on Dask share; before the plain estimator in the order of classes."""

    _plain: ClassVar[type]
    _own_constraints: ClassVar[dict] = {
        "client": "no_validation",
        "sync_every": [StrOptions({"epoch"}), Interval(Integral, 1, None, closed="left")],
        "synchronous_epochs": [Interval(Integral, 0, None, closed="left")],
        "checkpoint": [str, os.PathLike, None],
        "timeout": [Interval(Real, 0, None, closed="neither")],
    }

    @staticmethod
    def _own_parameters(
        *,
        client: Client | None = None,
        sync_every: int | Literal["epoch"] = 1,
        synchronous_epochs: int = 0,
        checkpoint: str | os.PathLike | None = None,
        timeout: float = 600.0,
    ) -> None:
        """Have the parameters that an estimator on Dask has beyond the plain one's."""

    @property
    def client_(self) -> Client:
        """The client: the parameter `client`, or that of this process."""
        if not hasattr(self, "coefs_"):
            raise NotFittedError(f"This {type(self).__name__} has no client_ before the first fit.")
        return find_client(self.client)

    def to_local(self) -> BaseMLP:
        """Return the estimator without Dask, with the same parameters and all that was learnt.

        Returns
        -------
        MLPClassifier or MLPRegressor
        """
        parameters = self.get_params(deep=False)
        local = self._plain(**{name: value for name, value in parameters.items() if name not in OWN})
        vars(local).update({name: value for name, value in vars(self).items() if name not in parameters})
        return local

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "client": None}

    def __sklearn_clone__(self) -> "DaskMLP":
        new = BaseEstimator.__sklearn_clone__(copy.copy(self))  # without a client, of which there are no copies
        new.client = self.client
        return new

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "DaskMLP":
        """Train on the workers until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : dask.array.Array or dask.dataframe.DataFrame of shape (n_samples, n_features)
            The features. Sizes of chunks may be unknown, partitions may be empty, and an array's may be sparse.
        y : dask array, series or data frame of shape (n_samples,) or (n_samples, n_outputs)
            The labels or targets, cut as `X` is where sizes are unknown. Not all labels have to be in each partition.
        sample_weight : dask array or series of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        X_val : array-like or Dask collection of shape (n_val, n_features) or None, default=None
            Validation rows, as in the fit without Dask. They come to the client, which measures them.
        y_val : array-like or Dask collection of shape (n_val,) or (n_val, n_outputs), or None, default=None
            Their labels or targets.
        sample_weight_val : array-like or Dask collection of shape (n_val,) or None, default=None
            Their weights, >= 0. None: all 1.

        Returns
        -------
        DaskMLPClassifier or DaskMLPRegressor
            The estimator itself.

        Raises
        ------
        TypeError, ValueError
            If a parameter, the client or the data are not what they must be, or the training diverges. After any error
            the estimator is unchanged.
        TimeoutError
            If a wait takes more than `timeout` seconds.
        RuntimeError
            If the scheduler is lost, or rows are that cannot be computed again, or worker after worker dies.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def predict(self, X: Any) -> Any:
        """Return predictions: labels or numbers.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        dask.array.Array or ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Of a Dask collection a Dask array, not yet computed; of all else what the estimator without Dask gives.
        """
        return self._anywhere("predict", X)

    def transform(self, X: Any) -> Any:
        """Return the activations of the last hidden layer.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        dask.array.Array or ndarray of shape (n_samples, n_units)
            As `predict`.
        """
        return self._anywhere("transform", X)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the score of the estimator without Dask, the accuracy or R squared, computed on the workers.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.
        y : dask collection or array-like of shape (n_samples,) or (n_samples, n_outputs)
            The labels or targets, a Dask collection if X is one.
        sample_weight : dask collection or array-like of shape (n_samples,) or None, default=None
            The weights of the rows. None: all 1.

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if not is_collection(X):
            return self.to_local().score(X, y, sample_weight)
        check_collections(X, y, sample_weight)
        with self._cluster() as cluster:
            return prediction.score(cluster, self.to_local(), X, y, sample_weight)

    def _anywhere(self, method: str, X: Any) -> Any:
        check_is_fitted(self)
        local = self.to_local()
        return prediction.lazily(local, method, X) if is_collection(X) else getattr(local, method)(X)

    def _cluster(self) -> Cluster:
        advice = "With checkpoint= a file, a fit of the same could go on after its last epoch."
        if self.checkpoint is not None:
            advice = (
                f"checkpoint={str(self.checkpoint)!r} has the fit after its last whole epoch, if there was one: fit "
                "again, with another client, and it goes on."
            )
        return Cluster(find_client(self.client), self.timeout, advice)

    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: Sequence, partial: bool = False, **encoding: Any
    ) -> "DaskMLP":
        start = time.perf_counter()
        task = None if partial else fit_task(self, X, y, sample_weight)
        with unchanged_on_error(self):
            check_validation(self, *validation)
            check_distributed(self, validation[0], partial)
            with self._cluster() as cluster:
                continues = hasattr(self, "coefs_") and (self.warm_start or partial)
                random_state = check_random_state(self.random_state)
                raws, whole = self._summarised(cluster, X, y, sample_weight)
                network, parameters, some = self._prepare(
                    whole.X, whole.y, None, random_state, partial, continues, **encoding
                )
                shards = self._placed(cluster, raws, whole, network, some.X.dtype)
                del raws  # their rows are in the shards
                names = ("X_val", "y_val", "sample_weight_val")
                validation = [gather(cluster, *named) for named in zip(names, validation, strict=True)]
                held_out = None if validation[0] is None else validated_rows(self, *validation, some)
                with self._listeners(task, sum(shard.n_rows for shard in shards), partial) as listeners:
                    call = Call(start, partial, continues, listeners=listeners)
                    learnt = self._train(cluster, shards, network, parameters, held_out, random_state, call)
            self._assign(network, learnt)
            if task is not None:
                task.end()
            if not partial:
                end_fit(self)
        return self

    def _summarised(
        self, cluster: Cluster, X: Any, y: Any, sample_weight: Any
    ) -> tuple[list[tuple[str, Future, int]], Summary]:
        """Return (address, future of `rows.Raw`, number of rows) of each shard that has rows, and what all are."""
        raws = distribute(cluster, X, y, sample_weight)
        classifies, missing = is_classifier(self), self.missing == "indicator"
        futures = [cluster.submit(summarise, raw, classifies, missing, address=address) for address, raw in raws]
        summaries = cluster.results(futures, "computing and reading the partitions", [raw for _, raw in raws])
        pairs = [(raw, summary) for raw, summary in zip(raws, summaries, strict=True) if summary is not None]
        if not pairs:
            raise ValueError("X has no rows: all of its partitions are empty.")
        return [(*raw, summary.n_rows) for raw, summary in pairs], merge([summary for _, summary in pairs])

    def _placed(
        self,
        cluster: Cluster,
        raws: list[tuple[str, Future, int]],
        whole: Summary,
        network: Network,
        dtype: np.dtype,
    ) -> list[Placed]:
        """Return the shards, made of raw rows by workers that know what `_prepare` has learnt of all of them."""
        local = self.to_local()
        for name in ("coefs_", "intercepts_", "_optimizer", "history_", "loss_curve_", "_best_parameters"):
            vars(local).pop(name, None)  # of an earlier fit
        local.set_params(
            learning_rate="constant", scoring=None, random_state=None, callbacks=None
        )  # may be what no pickle takes
        if is_classifier(self):
            local.class_weight = balanced(self.class_weight, whole)
        shards = [
            Placed(cluster.submit(make_shard, raw, local, network, dtype, address=address), address, n_rows)
            for address, raw, n_rows in raws
        ]
        cluster.wait([shard.future for shard in shards], "checking and encoding the rows")
        return shards

    def _train(
        self,
        cluster: Cluster,
        shards: list[Placed],
        network: Network,
        parameters: tuple[list[np.ndarray], list[np.ndarray]],
        held_out: Rows | None,
        random_state: np.random.RandomState,
        call: Call,
    ) -> dict[str, Any]:
        """Train and return the attributes learnt."""
        dtype, n_rows = parameters[0][0].dtype, sum(shard.n_rows for shard in shards)
        history = self._history(call, dtype)
        schedule = self._schedule(n_rows, call.partial)
        optimizer = self._make_optimizer(call)
        if optimizer.state is None:
            optimizer.state = np.zeros((optimizer.n_slots, network.n_parameters), dtype)
        shuffle_seed, dropout_seed = (int(random_state.randint(SEEDS)) for _ in range(2))
        rounds = Rounds(
            self.sync_every,
            self.synchronous_epochs,
            shuffle_seed if self.shuffle else None,
            dropout_seed,
            self.n_threads,
        )
        n_before = 0  # epochs that the checkpoint has
        described = saved = None
        if self.checkpoint is not None:
            described = checkpoints.description(self, network, dtype, n_rows)
            saved = checkpoints.load(self.checkpoint, described)
        if saved is not None:
            parameters, history, rounds, of_optimizer, of_rate = (saved[name] for name in CHECKPOINTED)
            vars(optimizer).update(of_optimizer)
            vars(optimizer.rate).update(of_rate)
            n_before = len(history.loss_curve)
            history.start = time.perf_counter() - history.epochs["seconds"][-1]
            rounds = dataclasses.replace(rounds, n_threads=self.n_threads)
        engine = Engine(network, dtype, cluster, shards, rounds, len(history.loss_curve))
        engine.set_parameters(*parameters)
        engine.set_state(optimizer.state.astype(dtype, copy=False))

        def save() -> None:
            if len(history.loss_curve) == 0:
                return
            # numbers only: a schedule may be a function that no pickle takes
            of_optimizer = {"state": engine.get_state(), "step": optimizer.step, "last_rate": optimizer.last_rate}
            of_rate = {"base": optimizer.rate.base, "epochs": optimizer.rate.epochs}
            values = (engine.get_parameters(), history, rounds, of_optimizer, of_rate)
            checkpoints.save(self.checkpoint, described, dict(zip(CHECKPOINTED, values, strict=True)))

        if self.checkpoint is not None:
            engine.before_epoch = save
        schedule = dataclasses.replace(schedule, max_iter=max(0, self.max_iter - n_before))
        validate = None
        if held_out is not None:
            validate = functools.partial(Validation(self.to_local(), network, held_out).measure, engine)
        learnt = self._learn(network, engine, optimizer, history, schedule, random_state, n_rows, validate, call)
        if self.checkpoint is not None:
            checkpoints.remove(self.checkpoint)
        return {**learnt, "n_iter_": n_before + learnt["n_iter_"]}


CHECKPOINTED = ("parameters", "history", "rounds", "optimizer", "learning rate")


def balanced(class_weight: Any, whole: Summary) -> Any:
    """Return the parameter with a dict for "balanced", of the labels of all rows, as scikit-learn weighs them."""
    if class_weight is None or isinstance(class_weight, dict):
        return class_weight
    weights = [class_weight] * len(whole.counts) if isinstance(class_weight, str) else class_weight
    weights = [
        {label: whole.n_rows / (len(labels) * count) for label, count in zip(labels, counts, strict=True)}
        if weight == "balanced"
        else weight
        for weight, (labels, counts) in zip(weights, whole.counts, strict=True)
    ]
    return weights if len(weights) > 1 else weights[0]


@with_parameters_of(MLPClassifier)
class DaskMLPClassifier(DaskMLP, MLPClassifier):
    """`fastmlp.MLPClassifier`, trained on the workers of a Dask cluster.

    It has the parameters, attributes and methods of that class, and those of `lightgbm.dask`. All options of training
    are the same but: the solver "lbfgs", `augment`, a `device` other than "cpu", and early stopping without `X_val`,
    which are errors. The initial weights for a `random_state` are the same; the shuffles are not, as each worker
    shuffles its own rows. They depend on how the rows are divided among workers, and on nothing else.

    Parameters
    ----------
    %PARAMETERS%
    **parameters
        All parameters of `fastmlp.MLPClassifier`.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    See Also
    --------
    fastmlp.MLPClassifier : The same on one machine, with all parameters and attributes described.

    Notes
    -----
    A batch has `batch_size` rows over all workers, each takes of it as its part of all rows; where workers have not as
    many rows as each other it may have more or fewer, by less than one row a worker. A task that dies with its worker
    is computed again by another one, with the same result; a worker's rows move as a whole, so that no number depends
    on it. Rows that Dask cannot compute again, as those that were scattered from a client, are an error then.

    References
    ----------
    .. [1] Stich, S. U. (2018). Local SGD converges fast and communicates little. arXiv:1805.09767.
    .. [2] Lin, T., Stich, S. U., Patel, K. K., Jaggi, M. (2018). Don't use large mini-batches, use local SGD.
       arXiv:1808.07217.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastmlp.dask import DaskMLPClassifier
    >>> X = da.random.default_rng(0).normal(size=(1000, 5), chunks=(250, 5))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
    ...     model = DaskMLPClassifier(learning_rate_init=0.01, tol=1.0, n_iter_no_change=20, random_state=0)
    ...     accuracy = model.fit(X, y).score(X, y)
    >>> accuracy > 0.9
    True
    >>> model.to_local().predict([[1.0, 0.0, 0.0, 0.0, 0.0]])
    array([1])
    """

    @available_if(lambda self: self._check_probabilities())
    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        dask.array.Array or ndarray of shape (n_samples, n_classes), or list of them
            As `predict`; a list for several columns of labels.
        """
        return self._anywhere("predict_proba", X)

    @available_if(lambda self: self._check_probabilities())
    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of `predict_proba`.

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        dask.array.Array or ndarray of shape (n_samples, n_classes), or list of them
            As `predict_proba`.
        """
        return self._anywhere("predict_log_proba", X)

    @available_if(lambda self: self.loss == "hinge")
    def decision_function(self, X: Any) -> Any:
        """Return the outputs of the network; only with the loss "hinge".

        Parameters
        ----------
        X : dask.array.Array, dask.dataframe.DataFrame or array-like of shape (n_samples, n_features)
            The features.

        Returns
        -------
        dask.array.Array or ndarray of shape (n_samples,) or (n_samples, n_classes), or list of them
            As `predict`.
        """
        return self._anywhere("decision_function", X)


@with_parameters_of(MLPRegressor)
class DaskMLPRegressor(DaskMLP, MLPRegressor):
    """`fastmlp.MLPRegressor`, trained on the workers of a Dask cluster.

    All that `DaskMLPClassifier` says of training and of its differences is true here, too.

    Parameters
    ----------
    %PARAMETERS%
    **parameters
        All parameters of `fastmlp.MLPRegressor`.

    Attributes
    ----------
    client_ : distributed.Client
        The client that is used.

    See Also
    --------
    fastmlp.MLPRegressor : The same on one machine, with all parameters and attributes described.
    DaskMLPClassifier : The same for labels.

    References
    ----------
    .. [1] Stich, S. U. (2018). Local SGD converges fast and communicates little. arXiv:1805.09767.
    .. [2] Lin, T., Stich, S. U., Patel, K. K., Jaggi, M. (2018). Don't use large mini-batches, use local SGD.
       arXiv:1808.07217.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastmlp.dask import DaskMLPRegressor
    >>> X = da.random.default_rng(0).normal(size=(1000, 3), chunks=(250, 3))
    >>> y = X[:, 0] - X[:, 1]
    >>> with Client(processes=False, n_workers=2, threads_per_worker=1, dashboard_address=":0") as client:
    ...     model = DaskMLPRegressor(tol=1.0, n_iter_no_change=60, sync_every="epoch", random_state=0, client=client)
    ...     score = model.fit(X, y).score(X, y)
    >>> score > 0.9
    True
    >>> model.predict(X)
    dask.array<concatenate, shape=(1000,), dtype=float64, chunksize=(250,), chunktype=numpy.ndarray>
    """
