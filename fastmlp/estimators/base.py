"""What both estimators share: parameters, and a fit from validated data to attributes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from copy import copy
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context, is_regressor
from sklearn.model_selection import train_test_split
from sklearn.utils import Tags, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from fastmlp.estimators.combinations import check_combinations, check_full_batch
from fastmlp.estimators.inputs import (
    as_rows,
    augmentation_of,
    check_continues,
    dropout_rates,
    hidden_activations,
    hidden_widths,
    unchanged_on_error,
    validated_for_prediction,
    validated_weight,
)
from fastmlp.formulas.activations import ACTIVATIONS
from fastmlp.formulas.schedules import SCHEDULES
from fastmlp.formulas.updates import UPDATES
from fastmlp.network import Augmentation, Network
from fastmlp.training import device
from fastmlp.training.initialisation import INITIALISATIONS, draw_parameters
from fastmlp.training.lbfgs import minimise
from fastmlp.training.optimizers import SGD, Adam, LearningRate
from fastmlp.training.stochastic import History, Schedule, clipped_batch_size, train

STOCHASTIC_SOLVERS = tuple(UPDATES)


class BaseMLP(BaseEstimator, ABC):
    """A multi-layer perceptron without its targets."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS)), "array-like"],
        "solver": [StrOptions({"lbfgs", *UPDATES})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto", "full"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive", *SCHEDULES}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
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
        "augment": [dict, None],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (100,),
        activation: str | Sequence[str] = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | Literal["auto", "full"] = "auto",
        learning_rate: str | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
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
        augment: dict[str, float] | None = None,
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

    @abstractmethod
    def _encode(self, y: Any, dtype: np.dtype, partial: bool, continues: bool) -> tuple[np.ndarray, int]:
        """Return validated y as an engine takes it, and the number of outputs; assign what decoding needs."""

    @abstractmethod
    def _output(self) -> tuple[str, str, float]:
        """Return the output activation and the loss of the network, and that loss's parameter or 0."""

    @abstractmethod
    def _score_output(self, y: np.ndarray, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        """Return the validation score of finite outputs, for y as passed and as encoded."""

    @abstractmethod
    def _stratify(self, targets: np.ndarray) -> np.ndarray | None:
        """Return the labels whose shares the held-out part of early stopping keeps, if any."""

    def _check_solver(self) -> bool:
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    # Here and not around partial_fit, where scikit-learn leaves out the check of parameters set after the first fit.
    @_fit_context(prefer_skip_nested_validation=True)
    def _fit(self, X: Any, y: Any, sample_weight: Any, partial: bool = False, **encoding: Any) -> "BaseMLP":
        with unchanged_on_error(self):
            check_combinations(self)
            hidden = hidden_widths(self.hidden_layer_sizes)
            activations = hidden_activations(self.activation, len(hidden))
            dropout, augmentation = dropout_rates(self.dropout, len(hidden)), augmentation_of(self.augment)
            if partial and self.early_stopping:
                raise ValueError("partial_fit does not support early_stopping=True")
            continues = hasattr(self, "coefs_") and (self.warm_start or partial)
            with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and an error
                X, y = validate_data(
                    self,
                    X,
                    y,
                    accept_sparse="csr",
                    multi_output=True,
                    y_numeric=is_regressor(self),
                    dtype=self._dtypes(continues),
                    order="C",
                    reset=not continues,
                )
            if issparse(X) and self.augment:
                raise ValueError(
                    f"augment={self.augment} needs dense X, got a sparse matrix: take X.toarray(), or augment=None."
                )
            weight = validated_weight(sample_weight, X, X.dtype)
            targets, n_outputs = self._encode(y, X.dtype, partial, continues, **encoding)
            widths = (X.shape[1], *hidden, n_outputs)
            if continues:
                check_continues(self._fitted_widths(), widths, self.hidden_layer_sizes)
            activation, *loss = self._output()
            scale_alpha = self.scale_alpha or self.solver == "adamw"  # whose decay is none of the loss
            network = Network(widths, (*activations, activation), *loss, scale_alpha, dropout)

            random_state = check_random_state(self.random_state)
            if continues:
                parameters = self._parameters(X.dtype)
            else:
                parameters = draw_parameters(
                    widths, activations or [self.activation], random_state, X.dtype, self.weight_init
                )
            if self.solver in STOCHASTIC_SOLVERS:
                learnt = self._fit_stochastic(
                    network, augmentation, parameters, X, y, targets, weight, random_state, partial, continues
                )
            else:
                learnt = self._fit_lbfgs(network, parameters, X, targets, weight, continues)
            vars(self).update(learnt, n_outputs_=n_outputs, n_layers_=len(widths), out_activation_=activation)
        return self

    def _fit_stochastic(
        self,
        network: Network,
        augmentation: Augmentation,
        parameters: tuple[list[np.ndarray], list[np.ndarray]],
        X: Any,
        y: Any,
        targets: np.ndarray,
        weight: np.ndarray | None,
        random_state: np.random.RandomState,
        partial: bool,
        continues: bool,
    ) -> dict[str, Any]:
        """Train with a stochastic solver and return the attributes learnt."""
        held_out = None
        if self.early_stopping:
            training, held_out = self._split(X, targets, weight, random_state)
            X_held_out, y_held_out, targets_held_out = X[held_out], y[held_out], targets[held_out]
            weight_held_out = None if weight is None else weight[held_out]
            X, targets, weight = X[training], targets[training], None if weight is None else weight[training]
        batch_size = clipped_batch_size(self.batch_size, X.shape[0])
        check_full_batch(self.gradient_tol, batch_size, X.shape[0])
        schedule = Schedule(
            batch_size,
            self.alpha,
            self.max_iter,
            self.shuffle,
            self.tol,
            self.n_iter_no_change,
            self.verbose,
            self.gradient_tol,
            single_epoch=partial,
        )
        optimizer = self._make_optimizer(continues=partial)
        history = self._history() if continues else History()
        with device.make_engine(network, X.dtype, self.n_threads) as engine:

            def score() -> float:
                output = engine.forward(X_held_out)
                if not np.isfinite(output).all():
                    return float("nan")
                with np.errstate(all="ignore"):  # the squares of finite numbers may not be finite
                    return float(self._score_output(y_held_out, targets_held_out, output, weight_held_out))

            engine.load(X, targets, weight, augmentation)
            if network.dropout or self.augment:
                engine.seed = int(random_state.randint(np.iinfo(np.int32).max))
            engine.set_parameters(*parameters)
            if optimizer.state is None:
                engine.set_state(np.zeros((optimizer.n_slots, network.n_parameters), X.dtype))
            else:
                engine.set_state(optimizer.state.astype(X.dtype, copy=False))
            (coefs, intercepts), n_iter = train(
                engine, optimizer, history, schedule, random_state, X.shape[0], score if self.early_stopping else None
            )
        return {
            "coefs_": coefs,
            "intercepts_": intercepts,
            "n_iter_": n_iter,
            "t_": history.n_samples_seen,
            "loss_": history.loss_curve[-1] if history.loss_curve else np.nan,
            "loss_curve_": history.loss_curve,
            "best_loss_": history.best_loss,
            "validation_scores_": history.validation_scores,
            "best_validation_score_": history.best_validation_score,
            "_no_improvement_count": history.no_improvement_count,
            "_optimizer": optimizer,
        }

    def _fit_lbfgs(
        self,
        network: Network,
        parameters: tuple[list[np.ndarray], list[np.ndarray]],
        X: Any,
        targets: np.ndarray,
        weight: np.ndarray | None,
        continues: bool,
    ) -> dict[str, Any]:
        """Train with L-BFGS, always in float64, and return the attributes learnt."""
        with device.make_engine(network, np.dtype(np.float64), self.n_threads) as engine:
            weight = None if weight is None else weight.astype(np.float64)
            engine.load(as_rows(X, np.float64), targets.astype(np.float64), weight)
            (coefs, intercepts), loss, n_iter = minimise(
                engine, parameters, self.alpha, self.max_iter, self.max_fun, self.tol, self.verbose, X.dtype
            )
        if not continues:  # left by an earlier fit with another solver
            stale = ("best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_")
            for name in (*stale, "_no_improvement_count", "_optimizer"):
                vars(self).pop(name, None)
        n_samples_seen = getattr(self, "t_", 0) if continues else 0
        return {"coefs_": coefs, "intercepts_": intercepts, "n_iter_": n_iter, "t_": n_samples_seen, "loss_": loss}

    def _make_optimizer(self, continues: bool) -> SGD | Adam:
        """Return a new optimizer, or a copy of that of the last fit if it may go on and is of the same kind."""
        last = getattr(self, "_optimizer", None)
        if continues and last is not None and last.name == self.solver:
            optimizer = copy(last)
            optimizer.rate = copy(last.rate)
            return optimizer
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
            return SGD(rate, self.momentum, self.nesterovs_momentum, **bounds)
        return Adam(rate, self.beta_1, self.beta_2, self.epsilon, self.solver, **bounds)

    def _history(self) -> History:
        """Return a copy of the history so far, as far as there is one: the last solver may have been lbfgs."""
        scores = getattr(self, "validation_scores_", None)
        return History(
            getattr(self, "t_", 0),
            list(getattr(self, "loss_curve_", ())),
            getattr(self, "best_loss_", np.inf),
            None if scores is None else list(scores),
            getattr(self, "best_validation_score_", None),
            getattr(self, "_no_improvement_count", 0),
        )

    def _split(
        self, X: Any, targets: np.ndarray, weight: np.ndarray | None, random_state: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows to train on and those held out."""
        training, held_out = train_test_split(
            np.arange(X.shape[0]),
            random_state=random_state,
            test_size=self.validation_fraction,
            stratify=self._stratify(targets),
        )
        if held_out.size < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        if weight is not None and not (weight[training].any() and weight[held_out].any()):
            raise ValueError(
                "early_stopping=True: the rows held out, or all others, have only zero sample weights. "
                "Leave rows without weight out."
            )
        return training, held_out

    def _dtypes(self, continues: bool) -> type | Sequence[type]:
        """Return what X is converted to: the first of them unless it has one of them already."""
        if self.dtype is not None:
            return np.dtype(self.dtype).type
        if continues:
            return np.float32 if self.coefs_[0].dtype == np.float32 else np.float64
        return (np.float64, np.float32)

    def _fitted_widths(self) -> tuple[int, ...]:
        return (self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_))

    def _parameters(self, dtype: np.dtype) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return coefs_ and intercepts_ (they may have been set by hand) as contiguous arrays of `dtype`."""
        return (
            [np.ascontiguousarray(coef, dtype) for coef in self.coefs_],
            [np.ascontiguousarray(intercept, dtype) for intercept in self.intercepts_],
        )

    def _forward(self, X: Any, raw: bool = False) -> np.ndarray:
        """Return the output activations for X, or the preactivations, of shape (n_samples, n_outputs)."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        if self.dtype not in (None, "float32", "float64") or (self.n_threads is not None and self.n_threads < 1):
            self._validate_params()  # set after the fit; the check of all parameters would take longer than a row
        X = validated_for_prediction(self, X)
        if self.dtype is not None:
            dtype = np.dtype(self.dtype)
        elif X.dtype == self.coefs_[0].dtype == np.float32:
            dtype = np.dtype(np.float32)
        else:
            dtype = np.dtype(np.float64)
        X = as_rows(X, dtype)
        activations = (*hidden_activations(self.activation, len(self.coefs_) - 1), self.out_activation_)
        network = Network(self._fitted_widths(), activations, self._output()[1])
        return device.forward(network, *self._parameters(dtype), X, self.n_threads, raw)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
