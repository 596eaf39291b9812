"""To and from other libraries: PyTorch, Keras, and scikit-learn's own networks."""

from fastmlp.exchange.keras import to_keras
from fastmlp.exchange.pytorch import to_torch
from fastmlp.exchange.scikit_learn import from_sklearn, to_sklearn

__all__ = ["from_sklearn", "to_keras", "to_sklearn", "to_torch"]
