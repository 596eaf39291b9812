"""The regressor."""

from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, ClassVar, Literal

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import Tags
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.base import ActivationLike, BaseMLP
from fastmlp.estimators.documentation import document
from fastmlp.estimators.gpu import like_input, to_host, with_numpy_output
from fastmlp.estimators.inputs import cast, column_number
from fastmlp.estimators.targets import dense_values
from fastmlp.formulas.losses import LOSSES

LOSS_NAMES = ("squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma")
PARAMETERS = {"huber": "delta", "quantile": "quantile"}  # of losses that have one
POSITIVE = ("poisson", "gamma")


@document("sklearn.neural_network.MLPRegressor")
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron that predicts numbers: a dense network trained by backpropagation [1]_.

    It has the parameters, attributes and methods of `sklearn.neural_network.MLPRegressor`. The parameters after
    `max_fun` are its own, and so are more choices of the others.

    Parameters
    ----------
    loss : {"squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma"}, default="squared_error"
        What is minimised: half of the squared error; half of the Poisson deviance of counts, y >= 0; the absolute
        error, for the median; half of the squared error up to `delta`, beyond it `delta` times the absolute error less
        delta / 2; the quantile's loss, for the part `quantile` of the targets to lie below; half of the gamma deviance
        of y > 0. The output layer is exponential for "poisson" and "gamma". The loss of a row is the sum over its
        outputs, for "squared_error" their mean, as in scikit-learn.
    %PARAMETERS%
    delta : float, default=1.0
        Where the loss "huber" turns from squared to absolute error, > 0, in units of y.
    quantile : float, default=0.5
        The quantile of the loss "quantile", in (0, 1).

    Attributes
    ----------
    %ATTRIBUTES%

    See Also
    --------
    MLPClassifier : The same for labels.

    Notes
    -----
    %DIFFERENCES%
    - With the solver "lbfgs" there is no `partial_fit` (AttributeError); scikit-learn's fits with all its iterations.
    - A negative y with the Poisson loss is a ValueError.

    The score of the held-out rows of early stopping is the coefficient of determination, R squared.

    References
    ----------
    %REFERENCES%

    Examples
    --------
    >>> from fastmlp import MLPRegressor
    >>> from sklearn.datasets import make_regression
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> regressor = MLPRegressor(max_iter=2000, tol=0.1, random_state=1).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.95)
    True
    >>> regressor.predict(X[:2]).shape
    (2,)
    """

    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(LOSS_NAMES))],
        "delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither")],
    }

    def __init__(
        self,
        loss: str = "squared_error",
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
        delta: float = 1.0,
        quantile: float = 0.5,
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
        self.loss, self.delta, self.quantile = loss, delta, quantile
        super().__init__(
            hidden_layer_sizes,
            activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            n_threads=n_threads,
            dtype=dtype,
            weight_init=weight_init,
            learning_rate_decay=learning_rate_decay,
            decay_epochs=decay_epochs,
            warmup_epochs=warmup_epochs,
            max_grad_norm=max_grad_norm,
            gradient_tol=gradient_tol,
            l1_ratio=l1_ratio,
            scale_alpha=scale_alpha,
            dropout=dropout,
            augment=augment,
            scoring=scoring,
            keep_optimizer=keep_optimizer,
            missing=missing,
            device=device,
            output=output,
            precision=precision,
            callbacks=callbacks,
            on_divergence=on_divergence,
        )

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPRegressor":
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features. Sparse input other than CSR is converted to it once. For rows beyond the memory see `shuffle`.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features) or None, default=None
            Validation rows. With early_stopping=True they decide when to stop, and no rows of X are held out; else they
            are only followed, in `validation_loss_curve_` and `history_`. In a `Pipeline` they can be transformed as X
            is: `Pipeline(..., transform_input=["X_val"])`.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), or None, default=None
            Their targets.
        sample_weight_val : array-like of shape (n_val,) or None, default=None
            Their weights, >= 0. None: all 1.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            If a parameter or the data are not what they must be, or the training diverges. The estimator is then
            unchanged.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    @available_if(lambda self: self._check_solver())
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "MLPRegressor":
        """Train for one epoch on these rows, going on from the present weights and the optimizer's state.

        Not with the solver "lbfgs". With early_stopping=True each call holds out `validation_fraction` of its rows, or
        takes `X_val`, and scores them after its epoch. The weights of the best call so far are remembered. When
        `n_iter_no_change` calls one after another have not improved the best score by `tol`, the last of them sets
        `coefs_` and `intercepts_` back to those weights, with a ConvergenceWarning; the next call goes on from there,
        with a new state of the optimizer and a new count (with learning_rate="adaptive" the learning rate is divided
        by 5 instead, as in `fit`, until it is at most 1e-6). The rows held out are drawn without regard to classes. The
        scores of calls are comparable only as far as their rows are: pass the same `X_val` to each call, or, where all
        get the same X, an int as `random_state`, by which they hold out the same rows. After `fit`, scores and best
        weights go on from that.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows, >= 0. None: all 1.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features) or None, default=None
            Validation rows. With early_stopping=True they decide when to stop, and no rows of X are held out; else they
            are only followed, in `validation_loss_curve_` and `history_`. In a `Pipeline` they can be transformed as X
            is: `Pipeline(..., transform_input=["X_val"])`.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), or None, default=None
            Their targets.
        sample_weight_val : array-like of shape (n_val,) or None, default=None
            Their weights, >= 0. None: all 1.

        Returns
        -------
        MLPRegressor
            The estimator itself.

        Raises
        ------
        ValueError
            As in `fit`. The estimator is then unchanged.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val), partial=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the outputs of the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            The predicted numbers; one dimension if there is one output.
        """
        output = self._forward(X, stays=True)
        return like_input(self, X, output.ravel() if output.shape[1] == 1 else output)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R squared, the part of the variance of y that is explained: 1 at best, 0 for the mean of y.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            The targets; of several, the mean over the columns is returned.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            The weights of the rows. None: all 1.

        Returns
        -------
        float
        """
        y, sample_weight = to_host(self, y, "y"), to_host(self, sample_weight, "sample_weight")
        return super(MLPRegressor, with_numpy_output(self)).score(X, y, sample_weight)

    def input_gradient(self, X: Any, output: int | None = None) -> np.ndarray:
        """Return the gradient of the prediction with respect to the features: which of them move it, and how far [1]_.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.
        output : int or None, default=None
            The column of `predict` whose gradient it is, from 0. None if there is only one.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            In the dtype of a prediction. At a kink, as "relu" has one at 0, it is the slope that training uses.

        Raises
        ------
        ValueError
            If `output` is not one of the columns, or None and there are several.

        References
        ----------
        .. [1] Simonyan, K., Vedaldi, A., Zisserman, A. (2013). Deep inside convolutional networks: visualising image
           classification models and saliency maps. arXiv:1312.6034.

        Examples
        --------
        >>> from fastmlp import MLPRegressor
        >>> X = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
        >>> line = MLPRegressor(hidden_layer_sizes=(), solver="lbfgs", alpha=0.0, random_state=0)
        >>> line.fit(X, [0, 1, 2, 3]).input_gradient([[5.0, 5.0]]).round(3)
        array([[1., 2.]])
        """
        check_is_fitted(self)
        column = column_number(output, self.n_outputs_, "an output of the network")

        def choose(predict: Callable[[], np.ndarray]) -> tuple[int, Any]:
            # the exponential function is its own derivative
            return column, predict()[:, column] if self.out_activation_ == "exp" else 1.0

        return self._input_gradient(X, choose)

    def _encode(self, y: Any, dtype: np.dtype, partial: bool, continues: bool) -> tuple[np.ndarray, int]:
        values = dense_values(y)
        if self.loss == "poisson" and (values < 0).any():
            raise ValueError(f"loss='poisson' needs y >= 0, got a y of {values.min()}.")
        if self.loss == "gamma" and (values <= 0).any():
            raise ValueError(f"loss='gamma' needs y > 0, got a y of {values.min()}.")
        targets = cast(values, dtype, "y")
        return targets, targets.shape[1]

    def _encode_known(self, y: Any, dtype: np.dtype) -> np.ndarray:
        return self._encode(y, dtype, partial=False, continues=True)[0]

    def _n_known_outputs(self) -> int:
        return self.n_outputs_

    def _output(self) -> tuple[str, str, float]:
        parameter = float(getattr(self, PARAMETERS[self.loss])) if self.loss in PARAMETERS else 0.0
        return LOSSES[self.loss].output_activation, self.loss, parameter

    def _score_output(self, y: np.ndarray, targets: np.ndarray, output: np.ndarray, weight: np.ndarray | None) -> float:
        return r2_score(y, output, sample_weight=weight)

    def _stratify(self, targets: np.ndarray) -> np.ndarray | None:
        return None

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self.loss in POSITIVE
        return tags
