"""The scikit-learn face: validation, encoding, attributes. No numerics."""

from fastmlp.estimators.classifier import MLPClassifier
from fastmlp.estimators.gradient import check_gradient
from fastmlp.estimators.perceptron import Perceptron
from fastmlp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor", "Perceptron", "check_gradient"]
