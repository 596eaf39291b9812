"""Multi-layer perceptrons with scikit-learn's interface, trained by explicit loops that Numba compiles."""

from fastmlp.activation import Activation
from fastmlp.estimators import MLPClassifier, MLPRegressor, Perceptron, check_gradient
from fastmlp.exchange import from_sklearn, to_keras, to_sklearn, to_torch
from fastmlp.export import to_onnx
from fastmlp.many import fit_many
from fastmlp.storage import load

__version__ = "0.1.0"
__all__ = [
    "Activation",
    "MLPClassifier",
    "MLPRegressor",
    "Perceptron",
    "check_gradient",
    "fit_many",
    "from_sklearn",
    "load",
    "to_keras",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]
