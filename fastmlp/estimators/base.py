"""What both estimators share: parameters, and a fit from validated data to attributes."""

import copy
import functools
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context, is_regressor
from sklearn.utils import Tags, check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastmlp.activation import Activation
from fastmlp.estimators.combinations import check_combinations, check_full_batch, check_precision
from fastmlp.estimators.gpu import OUTPUTS, to_host
from fastmlp.estimators.history import attributes_of, forget_history, history_of
from fastmlp.estimators.inputs import (
    MISSING,
    as_rows,
    augmentation_of,
    callbacks_of,
    check_continues,
    check_entries,
    check_state,
    dropout_rates,
    finite,
    hidden_activations,
    hidden_widths,
    learn_missing,
    replace_missing,
    unchanged_on_error,
    validated_weight,
)
from fastmlp.estimators.prediction import Predictor
from fastmlp.estimators.protocol import OF_A_FIT, CallbackSupportMixin, FitTask, fit_task, with_callbacks
from fastmlp.estimators.resume import (
    Begun,
    Call,
    beginning,
    check_same_rows,
    end_fit,
    put_back,
    unfinished_fit,
)
from fastmlp.estimators.shared import validate_part
from fastmlp.estimators.state import plain_state, state_of
from fastmlp.estimators.storable import Storable
from fastmlp.estimators.summary import Summarised
from fastmlp.estimators.validation import Rows, Validation, check_validation, split, validated_rows
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.schedules import SCHEDULES
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Network, widths_of
from fastmlp.training import device
from fastmlp.training.bar import Bar
from fastmlp.training.blocks import ReadingEngine, StoredRows, blocks_of
from fastmlp.training.initialisation import INITIALISATIONS, draw_parameters
from fastmlp.training.lbfgs import minimise
from fastmlp.training.optimizers import SGD, Adam, LearningRate
from fastmlp.training.stochastic import History, Schedule, clipped_batch_size, train
from fastmlp.training.warm_state import copy_of, with_state_of, without_state

STOCHASTIC_SOLVERS = tuple(UPDATES)
ActivationLike = str | Callable | Activation


class BaseMLP(Storable, Summarised, CallbackSupportMixin, Predictor, BaseEstimator, ABC):
    """A multi-layer perceptron without its targets."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), callable, Activation, "array-like"],
        "solver": [StrOptions({"lbfgs", *UPDATES})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto", "full"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *SCHEDULES}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean", StrOptions({"blocks"})],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "dtype": [StrOptions({"float32", "float64"}), None],
        "weight_init": [StrOptions({"auto", *INITIALISATIONS})],
        "learning_rate_decay": [Interval(Real, 0, 1, closed="right"), None],
        "decay_epochs": [Interval(Real, 0, None, closed="neither"), None],
        "warmup_epochs": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "gradient_tol": [Interval(Real, 0, None, closed="left"), None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "scale_alpha": ["boolean"],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "augment": [dict, callable, None],
        "scoring": [str, callable, list, tuple, dict, None],
        "keep_optimizer": ["boolean"],
        "missing": [StrOptions({*MISSING} - {None}), None],
        "device": [StrOptions({*device.DEVICES})],
        "output": [StrOptions({*OUTPUTS})],
        "precision": [StrOptions({*device.PRECISIONS})],
        "callbacks": [callable, list, tuple, None],
        "on_divergence": [StrOptions({"error", "retry"})],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: ActivationLike | Sequence[ActivationLike] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto", "full"] = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool | Literal["blocks"] = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        n_threads: int | None = None,
        dtype: str | None = None,
        weight_init: str = "auto",
        learning_rate_decay: float | None = None,
        decay_epochs: float | None = None,
        warmup_epochs: float = 0,
        max_grad_norm: float | None = None,
        gradient_tol: float | None = None,
        l1_ratio: float = 0.0,
        scale_alpha: bool = True,
        dropout: float | Sequence[float] = 0.0,
        augment: dict[str, float | Callable] | Callable | None = None,
        scoring: Any = None,
        keep_optimizer: bool = False,
        missing: Literal["zero", "indicator"] | None = None,
        device: Literal["cpu", "cuda", "auto"] = "cpu",
        output: Literal["numpy", "input"] = "numpy",
        precision: Literal["float32", "tf32", "bfloat16"] = "float32",
        callbacks: Callable | Sequence[Callable] | None = None,
        on_divergence: Literal["error", "retry"] = "error",
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_threads = n_threads
        self.dtype = dtype
        self.weight_init = weight_init
        self.learning_rate_decay = learning_rate_decay
        self.decay_epochs = decay_epochs
        self.warmup_epochs = warmup_epochs
        self.max_grad_norm = max_grad_norm
        self.gradient_tol = gradient_tol
        self.l1_ratio = l1_ratio
        self.scale_alpha = scale_alpha
        self.dropout = dropout
        self.augment = augment
        self.scoring = scoring
        self.keep_optimizer = keep_optimizer
        self.missing = missing
        self.device = device
        self.output = output
        self.precision = precision
        self.callbacks = callbacks
        self.on_divergence = on_divergence

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        """Return the parameters' names, which scikit-learn reads from the signature at each call: a millisecond."""
        return super()._get_param_names()

    @abstractmethod
    def _encode(self, y: Any, dtype: np.dtype, partial: bool, continues: bool) -> tuple[np.ndarray, int]:
        """Return validated y as an engine takes it, and the number of outputs; assign what decoding needs."""

    @abstractmethod
    def _encode_known(self, y: Any, dtype: np.dtype) -> np.ndarray:
        """Return y of validation rows as an engine takes it; the rows trained on have been encoded."""

    @abstractmethod
    def _n_known_outputs(self) -> int:
        """Return the number of outputs that y of the last fit needs."""

    @abstractmethod
    def _output(self) -> tuple:
        """Return the output activation of the network, and what it has from `loss` on."""

    @abstractmethod
    def _score_output(self, y: np.ndarray, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the validation score of finite outputs, for y as passed and as encoded."""

    @abstractmethod
    def _stratify(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the labels whose shares the held-out part of early stopping keeps, if any."""

    def _weight_of_classes(self, y: Any) -> np.ndarray | None:
        """Return a factor of each row's weight that its labels decide, if any."""
        return None

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    # Here and not around partial_fit, where scikit-learn leaves out the check of parameters set after the first fit.
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: Sequence, partial: bool = False, **encoding: Any
    ) -> "BaseMLP":
        """Fit; validation: (X_val, y_val, sample_weight_val)."""
        start = time.perf_counter()
        task = None if partial else fit_task(self, X, y, sample_weight)
        with unchanged_on_error(self):
            check_validation(self, *validation)
            continues = hasattr(self, "coefs_") and (self.warm_start or partial)
            random_state = check_random_state(self.random_state)
            unfinished = None if partial else unfinished_fit(self, continues)
            if unfinished is not None:
                random_state = put_back(random_state, unfinished._begun["generator"])
            generator = beginning(random_state) if self.callbacks else None
            network, parameters, rows = self._prepare(X, y, sample_weight, random_state, partial, continues, **encoding)
            if unfinished is not None:
                check_same_rows(unfinished, network, rows.X.dtype, rows.count)
                parameters = unfinished._parameters(rows.X.dtype)
            begun = None if partial or continues or generator is None else Begun(generator=generator, n_rows=rows.count)
            held_out = None if validation[0] is None else validated_rows(self, *validation, rows)
            with self._listeners(task, rows.count, partial) as listeners:
                call = Call(start, partial, continues, unfinished, begun, listeners)
                if self.solver in STOCHASTIC_SOLVERS:
                    learnt = self._fit_stochastic(network, parameters, rows, held_out, random_state, call)
                else:
                    learnt = self._fit_lbfgs(network, parameters, rows, call)
            self._assign(network, learnt)
            if task is not None:
                task.end()
            if not partial:
                end_fit(self)
        return self

    @contextmanager
    def _listeners(self, task: FitTask | None, n_rows: int, partial: bool) -> Iterator[tuple[Callable, ...]]:
        """Give all that is called after each epoch: a user's functions, scikit-learn's callbacks, and the bar."""
        listeners = callbacks_of(self.callbacks) + (() if task is None else (task,))
        if partial or self.verbose < 2:
            yield listeners
        else:
            with Bar(self.max_iter, n_rows) as bar:
                yield (*listeners, bar)

    def _as_fitted(self, network: Network, learnt: dict[str, Any]) -> "BaseMLP":
        """Return a copy of the estimator, fitted with what is learnt so far."""
        other = copy.copy(self)
        for name in OF_A_FIT:
            vars(other).pop(name, None)
        other._assign(network, learnt)
        return other

    def _assign(self, network: Network, learnt: dict[str, Any]) -> None:
        """Assign the attributes of a fitted estimator."""
        vars(self).pop("_begun", None)
        vars(self).update(
            learnt,
            n_outputs_=network.widths[-1],
            n_layers_=len(network.widths),
            out_activation_=network.activations[-1],
        )

    def _prepare(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        random_state: np.random.RandomState,
        partial: bool,
        continues: bool,
        **encoding: Any,
    ) -> tuple[Network, tuple[list[np.ndarray], list[np.ndarray]], Rows]:
        """Return what a fit begins with: network, parameters and validated rows."""
        check_combinations(self)
        before = widths_of(self.coefs_, self.intercepts_) if continues else ()
        hidden = hidden_widths(self.hidden_layer_sizes)
        activations = hidden_activations(self.activation, len(hidden))
        dropout = dropout_rates(self.dropout, len(hidden))
        change = augmentation_of(self.augment).function
        with np.errstate(
            over="ignore", invalid="ignore"
        ):  # what is too large for float32 becomes infinite, and an error
            X, y, index = validate_part(
                self,
                X,
                y,
                accept_sparse="csr",
                multi_output=True,
                y_numeric=is_regressor(self),
                dtype=self._dtypes(continues),
                order="C",
                ensure_all_finite=finite(self.missing),
                reset=not continues,
            )
        if issparse(X) and self.augment:
            raise ValueError(
                f"augment={self.augment} needs dense X, got a sparse matrix: take X.toarray(), or augment=None."
            )
        check_entries(X)
        learn_missing(self, X, continues)
        X = replace_missing(self, X)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets, n_outputs = self._encode(y, X.dtype, partial, continues, **encoding)
        sample_weight = to_host(self, sample_weight, "sample_weight")
        weight = validated_weight(sample_weight, self._weight_of_classes(y), y, X.dtype)
        widths = (X.shape[1], *hidden, n_outputs)
        if continues:
            check_continues(before, widths, self.hidden_layer_sizes)
        activation, *loss = self._output()
        scale_alpha = self.scale_alpha or self.solver == "adamw"  # whose decay is none of the loss
        network = Network(widths, (*activations, activation), *loss, scale_alpha=scale_alpha, dropout=dropout)
        dtype = np.dtype(np.float64) if self.solver == "lbfgs" else X.dtype
        check_precision(self, dtype)
        where = device.CUDA if device.is_rows_on_gpu(X) else self._device_for(X)
        device.device_of_training(where, activations, change, dtype)  # what is wrong is said before any work
        if continues:
            parameters = self._parameters(X.dtype)
        else:
            parameters = draw_parameters(
                widths, activations or [self.activation], random_state, X.dtype, self.weight_init
            )
        return network, parameters, Rows(X, y, targets, weight, index)

    def _fit_stochastic(
        self,
        network: Network,
        parameters: tuple[list[np.ndarray], list[np.ndarray]],
        rows: Rows,
        held_out: Rows | None,
        random_state: np.random.RandomState,
        call: Call,
    ) -> dict[str, Any]:
        """Train with a stochastic solver and return the attributes learnt."""
        history = self._history(call, rows.X.dtype)
        if self.early_stopping and held_out is None:
            # In partial fits: by an int the same rows in each call, the first one has drawn weights as well; and a part
            # of the data may not have two rows of a class.
            stratify = None if call.partial else self._stratify(rows.targets)
            draws = check_random_state(self.random_state) if call.partial else random_state
            rows, held_out = split(rows, self.validation_fraction, stratify, draws, self.shuffle == "blocks")
        validation = None if held_out is None else Validation(self, network, held_out)
        n_rows, dtype = rows.count, rows.X.dtype
        schedule = self._schedule(n_rows, call.partial)
        if self.shuffle == "blocks":
            schedule = replace(schedule, blocks=blocks_of(rows.X, rows.places, n_rows, schedule.batch_size))
        optimizer = self._make_optimizer(call)
        augmentation = augmentation_of(self.augment)
        with self._make_engine(network, dtype, self._device_for(rows.X)) as engine:
            trained = engine
            if isinstance(rows.X, StoredRows):
                data = (rows.X, rows.targets, rows.weight, rows.index)
                trained = ReadingEngine(engine, *data, schedule.blocks, schedule.batch_size, augmentation)
            else:
                engine.load(rows.X, rows.targets, rows.weight, augmentation, rows.index)
            if network.dropout or self.augment:
                engine.seed = int(random_state.randint(np.iinfo(np.int32).max))
            engine.set_parameters(*parameters)
            if optimizer.state is None:
                engine.set_state(np.zeros((optimizer.n_slots, network.n_parameters), dtype))
            else:
                check_state(optimizer.state, network.n_parameters)
                engine.set_state(optimizer.state.astype(dtype, copy=False))
            validate = None if validation is None else functools.partial(validation.measure, engine)
            return self._learn(network, trained, optimizer, history, schedule, random_state, n_rows, validate, call)

    def _schedule(self, n_rows: int, partial: bool) -> Schedule:
        """Return how long to train on so many rows."""
        batch_size = clipped_batch_size(self.batch_size, n_rows)
        check_full_batch(self.gradient_tol, batch_size, n_rows)
        return Schedule(
            batch_size,
            self.alpha,
            self.max_iter,
            self.shuffle,
            self.tol,
            self.n_iter_no_change,
            self.verbose if partial or self.verbose < 2 else False,
            self.gradient_tol,
            single_epoch=partial,
            retries=self.on_divergence == "retry",
        )

    def _learn(
        self,
        network: Network,
        engine: Any,
        optimizer: SGD | Adam,
        history: History,
        schedule: Schedule,
        random_state: np.random.RandomState,
        n_rows: int,
        validate: Callable | None,
        call: Call,
    ) -> dict[str, Any]:
        """Train in epochs on an engine that has all it needs, and return the attributes learnt."""

        def learnt(
            parameters: tuple[list[np.ndarray], list[np.ndarray]], n_iter: int, optimizer: SGD | Adam, history: History
        ) -> dict[str, Any]:
            coefs, intercepts = parameters
            return {
                "coefs_": coefs,
                "intercepts_": intercepts,
                "n_iter_": n_iter,
                "_optimizer": optimizer,
                **attributes_of(history, self.scoring),
            }

        def fitted(n_iter: int) -> BaseMLP:
            until_now = copy_of(optimizer)
            until_now.state = engine.get_state()
            so_far = learnt(engine.get_parameters(), n_iter, until_now, copy.deepcopy(history))
            return self._as_fitted(network, so_far if call.begun is None else so_far | {"_begun": call.begun})

        parameters, n_iter = train(
            engine,
            optimizer,
            history,
            schedule,
            random_state,
            n_rows,
            validate,
            self.early_stopping,
            call.listeners,
            fitted,
            0 if call.unfinished is None else call.unfinished.n_iter_,
        )
        return learnt(parameters, n_iter, optimizer, history)

    def _fit_lbfgs(
        self,
        network: Network,
        parameters: tuple[list[np.ndarray], list[np.ndarray]],
        rows: Rows,
        call: Call,
    ) -> dict[str, Any]:
        """Train with L-BFGS, always in float64, and return the attributes learnt."""
        n_samples_seen = getattr(self, "t_", 0) if call.continues else 0

        def learnt(parameters: tuple[list[np.ndarray], list[np.ndarray]], loss: float, n_iter: int) -> dict[str, Any]:
            coefs, intercepts = parameters
            return {
                "coefs_": coefs,
                "intercepts_": intercepts,
                "n_iter_": n_iter,
                "t_": n_samples_seen,
                "loss_": loss,
            }

        if not call.continues:
            forget_history(self)
        with self._make_engine(network, np.dtype(np.float64)) as engine:
            weight = None if rows.weight is None else rows.weight.astype(np.float64)
            engine.load(as_rows(rows.X, np.float64), rows.targets.astype(np.float64), weight, index=rows.index)
            return learnt(
                *minimise(
                    engine,
                    parameters,
                    self.alpha,
                    self.max_iter,
                    self.max_fun,
                    self.tol,
                    self.verbose if self.verbose < 2 else False,
                    rows.X.dtype,
                    call.listeners,
                    lambda *so_far: self._as_fitted(network, learnt(*so_far)),
                    call.start,
                )
            )

    def _device_for(self, X: Any) -> str:
        return device.CPU if isinstance(X, StoredRows) else self.device

    def _make_engine(self, network: Network, dtype: np.dtype, where: str | None = None) -> Any:
        change = augmentation_of(self.augment).function
        where = device.device_of_training(where or self.device, network.activations[:-1], change, dtype)
        precision = self.precision if dtype == np.float32 else device.PRECISIONS[0]
        return device.make_engine(network, dtype, self.n_threads, device=where, precision=precision)

    def _history(self, call: Call, dtype: np.dtype) -> History:
        """Return a new history, or a copy of that which goes on."""
        if call.unfinished is not None:
            seconds = call.unfinished.history_["seconds"][-1]
            return history_of(call.unfinished, call.start - seconds, dtype)
        return history_of(self, call.start, dtype) if call.continues else History(start=call.start)

    def _make_optimizer(self, call: Call) -> SGD | Adam:
        """Return a new optimizer, or a copy of that of the last fit if it may go on and is of the same kind."""
        if call.unfinished is not None:
            return copy_of(call.unfinished._optimizer)
        last = getattr(self, "_optimizer", None)
        if last is not None and last.name != self.solver:
            last = None
        if call.partial and last is not None:
            return copy_of(last)
        schedule = self.learning_rate
        if self.solver != "sgd" and schedule in ("invscaling", "adaptive"):  # which scikit-learn's Adam ignores
            schedule = "constant"
        rate = LearningRate(
            self.learning_rate_init,
            schedule,
            self.power_t,
            self.learning_rate_decay or 1.0,
            self.decay_epochs or self.max_iter,
            self.warmup_epochs,
        )
        max_norm = self.max_grad_norm or (0.0 if self.gradient_tol is None else np.inf)
        bounds = {"max_norm": float(max_norm), "l1_ratio": float(self.l1_ratio)}
        if self.solver == "sgd":
            new = SGD(rate, self.momentum, self.nesterovs_momentum, **bounds)
        else:
            new = Adam(rate, self.beta_1, self.beta_2, self.epsilon, self.solver, **bounds)
        return with_state_of(new, last) if call.continues and self.keep_optimizer and last is not None else new

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        kept = self.keep_optimizer or "_begun" in state
        if not kept and state.get("_optimizer") is not None:
            state = {**state, "_optimizer": without_state(self._optimizer)}
        return plain_state(state)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state_of(state))

    def _dtypes(self, continues: bool) -> type | Sequence[type]:
        """Return what X is converted to: the first of them unless it has one of them already."""
        if self.dtype is not None:
            return np.dtype(self.dtype).type
        if continues:
            return np.float32 if self.coefs_[0].dtype == np.float32 else np.float64
        return (np.float64, np.float32)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"] if self.dtype is None else [self.dtype]
        tags.input_tags.allow_nan = self.missing is not None
        return tags
