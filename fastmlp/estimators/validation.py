"""Rows that are not trained on: held out or passed by the user, and what is measured on them after each epoch."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.metrics import get_scorer, get_scorer_names
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d

from fastmlp.estimators.gpu import is_on_gpu, to_host, with_numpy_output
from fastmlp.estimators.inputs import check_entries, finite, replace_missing, validated_weight
from fastmlp.estimators.stored import validate_table
from fastmlp.network import Network
from fastmlp.training.blocks import StoredRows
from fastmlp.training.validation import Measured


class Rows(NamedTuple):
    """Validated rows: X and y as scikit-learn returns them, targets and weight (or None) as an engine takes them.

    With `index`, they are those rows of X, in its order; y, targets and weight have no others. `places` are theirs
    among the rows that were passed to `fit`, if they are a part of these.
    """

    X: Any
    y: Any
    targets: np.ndarray
    weight: np.ndarray | None
    index: np.ndarray | None = None
    places: np.ndarray | None = None

    @property
    def count(self) -> int:
        """How many they are."""
        return self.targets.shape[0]

    def take(self, places: np.ndarray) -> "Rows":
        """Return some of the rows, of the same X."""
        weight = None if self.weight is None else self.weight[places]
        index = places if self.index is None else self.index[places]
        return Rows(self.X, self.y[places], self.targets[places], weight, index, places)

    def copy(self) -> "Rows":
        """Return the rows with an X that has no others."""
        return self if self.index is None else self._replace(X=self.X[self.index], index=None)


def check_validation(estimator: BaseEstimator, X_val: Any, y_val: Any, sample_weight_val: Any) -> None:
    """Check that what is passed and what the parameters say of validation fit together.

    Raises
    ------
    ValueError
        If they do not.
    """
    named_scorers(estimator.scoring)
    if X_val is not None and y_val is None:
        raise ValueError("X_val is provided, but y_val was not provided.")
    if y_val is not None and X_val is None:
        raise ValueError("y_val is provided, but X_val was not provided.")
    if sample_weight_val is not None and X_val is None:
        raise ValueError("sample_weight_val is provided, but X_val and y_val were not provided.")
    epochs = estimator.solver != "lbfgs"
    if X_val is not None and not epochs:
        raise ValueError(
            "X_val and y_val are provided, but solver='lbfgs' has no epochs after which to measure them: take another "
            "solver, or leave them out."
        )
    scoring = estimator.scoring
    if scoring is not None and not epochs:
        raise ValueError(f"scoring={scoring!r} needs a solver that trains in epochs, got solver='lbfgs'.")
    if scoring is not None and X_val is None and not estimator.early_stopping:
        raise ValueError(
            f"scoring={scoring!r} needs rows to score, but early_stopping=False and X_val was not provided: pass X_val "
            "and y_val, or set early_stopping=True."
        )


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Put the names of the arguments before the message of an error."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{what}: {error}") from error


def _columns(y: Any) -> int:
    return 1 if y.ndim == 1 else y.shape[1]


def known_rows(estimator: BaseEstimator, X: Any, y: Any, dtype: np.dtype, whole: bool = True) -> tuple[Any, Any]:
    """Return X and y of further rows, checked like those trained on; `whole` as for `validate_table`.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the estimator.
    """
    # what is too large for float32 becomes infinite, and an error
    with np.errstate(over="ignore", invalid="ignore"):
        X, y = validate_table(
            estimator,
            X,
            y,
            to_train=False,
            whole=whole,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=is_regressor(estimator),
            dtype=dtype,
            order="C",
            ensure_all_finite=finite(estimator.missing),
            reset=False,
        )
    check_entries(X)
    return replace_missing(estimator, X), y


def validated_rows(estimator: BaseEstimator, X_val: Any, y_val: Any, sample_weight_val: Any, training: Rows) -> Rows:
    """Return the validation rows a user passed, checked like those trained on, and sparse if those are.

    Raises
    ------
    TypeError, ValueError
        If they do not fit the estimator.
    """
    dtype, sparse = training.X.dtype, issparse(training.X)
    if sparse and is_on_gpu(X_val):
        raise ValueError("X_val is on a GPU, and X is a sparse matrix: copy X_val to the host, or pass X.toarray().")
    with _naming("X_val, y_val"):
        X, y = known_rows(estimator, X_val, y_val, dtype, whole=sparse)
        if _columns(y) != _columns(training.y):
            raise ValueError(f"y_val has {_columns(y)} columns, y has {_columns(training.y)}.")
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = estimator._encode_known(y, dtype)
    if is_regressor(estimator) and estimator.scoring is None and X.shape[0] < 2:
        raise ValueError(
            "X_val has one row, but the R squared of scoring=None needs two: pass more rows, or set scoring='loss'."
        )
    with _naming("sample_weight_val"):
        weight = validated_weight(to_host(estimator, sample_weight_val, "sample_weight_val"), None, y, dtype)
    if issparse(X) != sparse and not is_on_gpu(training.X):  # an engine takes one kind
        X = csr_array(X) if sparse else X.toarray(order="C")
    return Rows(X, y, targets, weight)


def split(
    rows: Rows,
    fraction: float,
    stratify: np.ndarray | None,
    random_state: np.random.RandomState,
    in_blocks: bool = False,
) -> tuple[Rows, Rows]:
    """Return the rows to train on and a fraction of them that is held out; of blocks, the former stay as they lie.

    Raises
    ------
    ValueError
        If they are too few, or have no weight.
    """
    training, held_out = train_test_split(
        np.arange(rows.count), random_state=random_state, test_size=fraction, stratify=stratify
    )
    if in_blocks:
        training.sort()
    if held_out.size < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset, or pass "
            "X_val and y_val."
        )
    if rows.weight is not None and not (rows.weight[training].any() and rows.weight[held_out].any()):
        raise ValueError(
            "early_stopping=True: the rows held out, or all others, have only zero sample weights. "
            "Leave rows without weight out."
        )
    return rows.take(training), rows.take(held_out).copy()


ALLOWED = "None, 'loss', a name of sklearn.metrics.get_scorer, a callable, or a list, tuple or dict of the last three"


def first_scoring(scoring: Any) -> Any:
    """Return the score that decides early stopping, as the parameter `scoring` says it."""
    if isinstance(scoring, list | tuple | dict) and len(scoring) > 0:
        return next(iter(scoring.values() if isinstance(scoring, dict) else scoring))
    return scoring


def named_scorers(scoring: Any) -> dict[str, Callable | str | None]:
    """Return a scorer for each name: a callable, "loss", or None for the estimator's own score, of the name None.

    Raises
    ------
    ValueError
        If one is not a scorer, or two have one name.
    """
    if scoring is None:
        return {None: None}
    if isinstance(scoring, Mapping):
        pairs = list(scoring.items())
    else:
        pairs = [(_name(one), one) for one in (scoring if isinstance(scoring, list | tuple) else [scoring])]
    names = [name for name, _ in pairs]
    if not pairs:
        raise ValueError(f"scoring={scoring!r} has no score in it; allowed is {ALLOWED}.")
    for name, one in pairs:
        if not isinstance(name, str):
            raise ValueError(f"scoring={scoring!r}: names must be str, got {name!r}.")
        if names.count(name) > 1:
            raise ValueError(f"scoring={scoring!r} has two scores of the name {name!r}: give names by a dict.")
        if name == "loss" and one != "loss":
            raise ValueError(f"scoring={scoring!r}: the name 'loss' is that of the validation loss, take another.")
        if not (callable(one) or (isinstance(one, str) and one in {"loss", *get_scorer_names()})):
            raise ValueError(f"scoring={scoring!r} has {one!r} in it; allowed is {ALLOWED}.")
    return {name: get_scorer(one) if isinstance(one, str) and one != "loss" else one for name, one in pairs}


def _name(scorer: Any) -> Any:
    """Return the name of a scorer that has none by a dict: a callable's is that of its function."""
    if isinstance(scorer, str):
        return scorer
    function = getattr(scorer, "_score_func", scorer)  # of what make_scorer returns
    return getattr(function, "__name__", type(scorer).__name__)


def _takes_weight(scorer: Callable) -> bool:
    try:
        return "sample_weight" in inspect.signature(getattr(scorer, "_score_func", scorer)).parameters
    except ValueError:  # a function without a signature
        return False


class Validation:
    """Measures the loss and the scores of validation rows.

    Parameters
    ----------
    estimator : BaseEstimator
        In its fit, with all attributes but what the training gives.
    network : Network
        What is trained.
    rows : Rows
        The validation rows.
    """

    def __init__(self, estimator: BaseEstimator, network: Network, rows: Rows) -> None:
        self.estimator, self.network, self.rows = estimator, network, rows
        self.default = "accuracy" if is_classifier(estimator) else "r2"
        self.scorers = named_scorers(estimator.scoring)
        y = rows.y
        self.y = y.ravel() if isinstance(y, np.ndarray) and y.ndim == 2 and y.shape[1] == 1 else y

    def measure(self, engine: Any, epoch: int, finite: bool) -> Measured:
        """Return loss and scores at an engine's present parameters.

        Where parameters or outputs are not finite no scorer is called, and all scores are NaN but minus the loss.
        """
        loss, output = float("nan"), None
        if finite:
            output = self._forward(engine)
            loss = engine.mean_loss(output, self.rows.targets, self.rows.weight)
            finite = bool(np.isfinite(output).all())
        copy = self._copy(engine) if finite and any(map(callable, self.scorers.values())) else None
        scores = {}
        for name, scorer in self.scorers.items():
            if scorer == "loss":
                scores[name] = -loss
            elif not finite:
                scores[name or self.default] = float("nan")
            elif scorer is None:
                with np.errstate(all="ignore"):  # the squares of finite numbers may not be finite
                    scores[self.default] = float(
                        self.estimator._score_output(*self.rows[1:3], output, self.rows.weight)
                    )
            else:
                scores[name] = self._call(name, scorer, copy, epoch)
        numbers = {f"validation_{name}": score for name, score in scores.items()} | {"validation_loss": loss}
        return Measured(next(iter(scores.values())), numbers)

    def _forward(self, engine: Any) -> np.ndarray:
        X = self.rows.X
        if isinstance(X, StoredRows):
            return np.concatenate([engine.forward(part) for _, part in X.parts()])
        return engine.forward(X)

    def _call(self, name: str, scorer: Callable, copy: BaseEstimator, epoch: int) -> float:
        weighted = self.rows.weight is not None and _takes_weight(scorer)
        weight = {"sample_weight": self.rows.weight} if weighted else {}
        try:
            return float(scorer(copy, self.rows.X, self.y, **weight))
        except Exception as error:
            message = f"scoring: {name!r} failed in epoch {epoch}: {error}"
            if len(error.args) > 1:  # they may be no message
                raise RuntimeError(message) from error
            error.args = (message,)
            raise

    def _copy(self, engine: Any) -> BaseEstimator:
        """Return an estimator with the present parameters, for X as it is here: an array, and no longer with NaN."""
        coefs, intercepts = engine.get_parameters()
        copy = with_numpy_output(self.estimator)
        vars(copy).update(
            coefs_=coefs,
            intercepts_=intercepts,
            n_outputs_=self.network.widths[-1],
            n_layers_=len(self.network.widths),
            out_activation_=self.network.activations[-1],
        )
        copy.n_features_in_ = self.network.widths[0]
        for name in ("feature_names_in_", "indicator_"):
            vars(copy).pop(name, None)
        return copy
