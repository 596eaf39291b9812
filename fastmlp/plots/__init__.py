"""Displays of fitted estimators and searches, in the manner of scikit-learn's; they need the extra `plots`.

Each has a class method `from_estimator`, which draws, a constructor that takes plain numbers, and `plot`, which draws
them again, on axes of your own for instance. matplotlib is imported when something is drawn.
"""

from fastmlp.plots.activations import ActivationDisplay
from fastmlp.plots.loss_curve import LossCurveDisplay
from fastmlp.plots.search import SearchDisplay
from fastmlp.plots.weights import WeightsDisplay

__all__ = ["ActivationDisplay", "LossCurveDisplay", "SearchDisplay", "WeightsDisplay"]
