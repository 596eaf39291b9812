"""What both estimators make of new rows: outputs, hidden activations, and gradients with respect to the features."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from fastmlp.estimators.gpu import OUTPUTS, like_input, stays_on_gpu
from fastmlp.estimators.inputs import (
    MISSING,
    as_rows,
    check_inputs,
    contiguous,
    hidden_activations,
    validated_for_prediction,
)
from fastmlp.estimators.stored import by_blocks, is_stored
from fastmlp.network import Network, widths_of
from fastmlp.training import device
from fastmlp.training.prediction import errors_of_outputs


class Predictor(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """The part of an estimator that takes rows through its fitted network."""

    def _fitted_widths(self) -> tuple[int, ...]:
        """Return the widths of the weights and biases, which may have been set by hand; check that they fit together.

        Raises
        ------
        ValueError
            If they do not, or have not as many outputs as y had.
        """
        widths = widths_of(self.coefs_, self.intercepts_)
        if widths[-1] != self._n_known_outputs():
            raise ValueError(f"coefs_[-1] has {widths[-1]} columns, but y has {self._n_known_outputs()} outputs.")
        return widths

    def _parameters(self, dtype: np.dtype) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return coefs_ and intercepts_ (they may have been set by hand) as contiguous arrays of `dtype`."""
        return contiguous((self.coefs_, self.intercepts_), dtype)

    def _fitted_network(self, dtype: np.dtype | None = None) -> tuple[Network, list[np.ndarray], list[np.ndarray]]:
        """Return network, weights and biases, of dtype or of that they have.

        Raises
        ------
        ValueError
            If weights and biases do not fit together.
        """
        network = self._network()
        return network, *self._parameters(self.coefs_[0].dtype if dtype is None else dtype)

    def _network(self) -> Network:
        """Return the network, when weights and biases are found to fit together."""
        widths = self._fitted_widths()
        activations = (*hidden_activations(self.activation, len(widths) - 2), self.out_activation_)
        return Network(widths, activations, *self._output()[1:])

    def _to_predict(self, X: Any) -> tuple[Network, list[np.ndarray], list[np.ndarray], Any]:
        """Return network, weights, biases and validated rows."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        if (
            self.dtype not in (None, "float32", "float64")
            or (self.n_threads is not None and self.n_threads < 1)
            or self.missing not in MISSING
            or self.device not in device.DEVICES
            or self.output not in OUTPUTS
        ):
            self._validate_params()  # set after the fit; the check of all parameters would take longer than a row
        network = self._network()
        X = validated_for_prediction(self, X)
        check_inputs(network.widths[0], X.shape[1])
        if self.dtype is not None:
            dtype = np.dtype(self.dtype)
        elif X.dtype == self.coefs_[0].dtype == np.float32:
            dtype = np.dtype(np.float32)
        else:
            dtype = np.dtype(np.float64)
        return network, *self._parameters(dtype), as_rows(X, dtype)

    def _forward(self, X: Any, raw: bool = False, stays: bool = False) -> np.ndarray:
        """Return the output activations for X, or the preactivations, of shape (n_samples, n_outputs).

        If they may `stay`, as an array on the GPU where the parameter `output` asks for one.
        """
        if is_stored(X):
            return by_blocks(lambda rows: self._forward(rows, raw), X)
        stays = stays and stays_on_gpu(self, X)
        return device.forward(*self._to_predict(X), self.n_threads, raw, device=self.device, stays=stays)

    @property
    def _n_features_out(self) -> int:
        """Of `transform`; there is none before the fit, as for all attributes of a fit."""
        return self.coefs_[-1].shape[0]

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of what `transform` gives: the name of the class in lower case, and the unit's number.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Only compared with the names in `fit`.

        Returns
        -------
        ndarray of str of shape (n_units,)
        """
        check_is_fitted(self)
        self._check_hidden_layer("get_feature_names_out")
        return super().get_feature_names_out(input_features)

    def transform(self, X: Any) -> np.ndarray:
        """Return the activations of the last hidden layer: features that were learnt from y, for another model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The features.

        Returns
        -------
        ndarray of shape (n_samples, n_units)
            Or what `set_output` asks for.

        Raises
        ------
        ValueError
            If there is no hidden layer.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.neighbors import KNeighborsClassifier
        >>> from sklearn.pipeline import make_pipeline
        >>> X, y = load_iris(return_X_y=True)
        >>> network = MLPClassifier((20, 5), solver="lbfgs", max_iter=1000, random_state=0, alpha=1.0)
        >>> network.fit(X, y).transform(X).shape
        (150, 5)
        >>> bool(make_pipeline(network, KNeighborsClassifier()).fit(X, y).score(X, y) > 0.95)
        True
        """
        hidden = by_blocks(self._last_hidden_layer, X) if is_stored(X) else self._last_hidden_layer(X)
        return like_input(self, X, hidden)

    def _last_hidden_layer(self, X: Any) -> np.ndarray:
        network, coefs, intercepts, rows = self._to_predict(X)
        self._check_hidden_layer("transform")
        stays = stays_on_gpu(self, X)
        return device.hidden_layer(network, coefs, intercepts, rows, self.n_threads, device=self.device, stays=stays)

    def _check_hidden_layer(self, method: str) -> None:
        if len(self.coefs_) == 1:
            raise ValueError(
                f"{method} is about the last hidden layer, and hidden_layer_sizes={self.hidden_layer_sizes!r} has "
                "none: give it at least one layer."
            )

    def _input_gradient(self, X: Any, choose: Callable) -> np.ndarray:
        """Return the gradient of an output; choose(predict): its column and its factor, for all rows or each."""
        if is_stored(X):
            return by_blocks(lambda rows: self._input_gradient(rows, choose), X)
        network, coefs, intercepts, rows = self._to_predict(X)
        columns, factors = choose(
            lambda: device.forward(network, coefs, intercepts, rows, self.n_threads, device=self.device)
        )
        errors = errors_of_outputs(columns, factors, (rows.shape[0], network.widths[-1]), rows.dtype)
        gradient = device.input_gradient(network, coefs, intercepts, rows, errors, self.n_threads, device=self.device)
        return like_input(self, X, gradient[:, : self.n_features_in_])  # without the inputs of an indicator
