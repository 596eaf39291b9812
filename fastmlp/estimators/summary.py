"""What a fitted network consists of, as a table and in notebooks as a diagram."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sklearn.utils.validation import check_is_fitted

from fastmlp.activation import Activation
from fastmlp.estimators.diagram import network_html


class Layer(NamedTuple):
    """A layer of weights.

    Attributes
    ----------
    name : str
        "hidden 1", "hidden 2" and so on, and "output".
    n_inputs, n_outputs : int
        The shape of its weights.
    activation : str
        The name of its function.
    n_parameters : int
        Weights and biases.
    n_bytes : int
        Their size.
    n_multiply_adds : int
        Multiplications of a weight, each with an addition, for one row.
    """

    name: str
    n_inputs: int
    n_outputs: int
    activation: str
    n_parameters: int
    n_bytes: int
    n_multiply_adds: int


@dataclass(frozen=True, repr=False)
class Summary:
    """The layers of a fitted network, and what they amount to; printed, it is a table.

    Attributes
    ----------
    estimator : str
        The name of the class.
    n_features : int
        The number of features of X.
    n_missing : int
        How many inputs the network has beside them, that say which features are missing.
    dtype : str
        Of weights and biases.
    layers : tuple of Layer
        From the first hidden layer to the output.
    """

    estimator: str
    n_features: int
    n_missing: int
    dtype: str
    layers: tuple[Layer, ...]

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases."""
        return sum(layer.n_parameters for layer in self.layers)

    @property
    def n_bytes(self) -> int:
        """Their size."""
        return sum(layer.n_bytes for layer in self.layers)

    @property
    def n_multiply_adds(self) -> int:
        """Multiplications, each with an addition, for one row."""
        return sum(layer.n_multiply_adds for layer in self.layers)

    @property
    def inputs(self) -> str:
        """What the network takes, in words."""
        words = f"{self.n_features:,} feature{'' if self.n_features == 1 else 's'}"
        return words + (f" and {self.n_missing:,} for missing ones" if self.n_missing else "")

    def __str__(self) -> str:
        head = ("layer", "weights", "activation", "parameters", "bytes", "multiply-adds a row")
        rows = [
            (layer.name, f"{layer.n_inputs:,} x {layer.n_outputs:,}", layer.activation, *_numbers(layer))
            for layer in self.layers
        ]
        table = [head, *rows, ("total", "", "", *_numbers(self))]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [_line(row, widths) for row in table]
        rule = "  ".join("-" * width for width in widths)
        return "\n".join(
            [f"{self.estimator}: {self.inputs}, {self.dtype}", lines[0], rule, *lines[1:-1], rule, lines[-1]]
        )

    __repr__ = __str__


def _numbers(layers: Layer | Summary) -> tuple[str, ...]:
    return tuple(f"{number:,}" for number in (layers.n_parameters, layers.n_bytes, layers.n_multiply_adds))


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    """Return the cells of a row side by side: words begin where their column does, numbers end where it ends."""
    words, numbers = zip(cells[:3], widths[:3], strict=True), zip(cells[3:], widths[3:], strict=True)
    return "  ".join([*(f"{cell:<{width}}" for cell, width in words), *(f"{cell:>{width}}" for cell, width in numbers)])


class Summarised:
    """What tells of its network: in words, and in notebooks beside scikit-learn's diagram."""

    def summary(self) -> Summary:
        """Return the layers of the network, their shapes, activations, parameters, bytes and operations.

        Returns
        -------
        Summary
            Printed, it is a table; its attributes are the numbers: `layers`, and in all `n_parameters`, `n_bytes` and
            `n_multiply_adds`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted: the sizes of the first and last layer are those of X and y.

        Examples
        --------
        >>> from fastmlp import MLPClassifier
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> summary = (
        ...     MLPClassifier((20, 10), solver="lbfgs", alpha=1.0, max_iter=1000, random_state=0).fit(X, y).summary()
        ... )
        >>> print(summary)
        MLPClassifier: 4 features, float64
        layer     weights  activation  parameters  bytes  multiply-adds a row
        --------  -------  ----------  ----------  -----  -------------------
        hidden 1  4 x 20   relu               100    800                   80
        hidden 2  20 x 10  relu               210  1,680                  200
        output    10 x 3   softmax             33    264                   30
        --------  -------  ----------  ----------  -----  -------------------
        total                                 343  2,744                  310
        >>> summary.n_parameters, summary.layers[0].n_outputs
        (343, 20)
        """
        check_is_fitted(self)
        network, coefs, intercepts = self._fitted_network()
        names = [*(f"hidden {number}" for number in range(1, len(coefs))), "output"]
        layers = [
            Layer(name, *coef.shape, _name(activation), coef.size + bias.size, coef.nbytes + bias.nbytes, coef.size)
            for name, activation, coef, bias in zip(names, network.activations, coefs, intercepts, strict=True)
        ]
        if network.groups:
            groups = " + ".join(map(str, network.groups))
            layers[-1] = layers[-1]._replace(activation=f"{layers[-1].activation} ({groups})")
        n_missing = network.widths[0] - self.n_features_in_
        return Summary(type(self).__name__, self.n_features_in_, n_missing, coefs[0].dtype.name, tuple(layers))

    # Jupyter asks for the second, others for the first; scikit-learn's have the diagram of all estimators, or nothing
    # with set_config(display="text").
    def _repr_html_inner(self) -> str:
        return super()._repr_html_inner() + self._diagram()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:
            bundle["text/html"] += self._diagram()
        return bundle

    def _diagram(self) -> str:
        return network_html(self.summary()) if hasattr(self, "coefs_") else ""


def _name(activation: str | Activation) -> str:
    return activation if isinstance(activation, str) else repr(activation)
