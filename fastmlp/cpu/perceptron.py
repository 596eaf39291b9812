"""Rosenblatt's perceptrons: an epoch of learning, row by row, and their preactivations.

Both take the same product, so that a row is decided in prediction as in training, also where rounding decides.
"""

import math

from numba import types
from numba.extending import overload

from fastmlp.cpu.compile import OPTIONS, entry
from fastmlp.cpu.lanes import horizontal_sum, load, load_first, repeat, store, store_first, width


def _dense_product(coef, X, unit, row):
    lanes, columns = width(coef), X.shape[1]
    weight, x = unit * columns, row * columns
    whole = columns // lanes * lanes
    total = repeat(coef, 0.0)
    for column in range(0, whole, lanes):
        total = total + load(coef, weight + column) * load(X, x + column)
    if whole < columns:
        rest = columns - whole
        total = total + load_first(coef, weight + whole, rest) * load_first(X, x + whole, rest)
    return horizontal_sum(total)


def _sparse_product(coef, X, unit, row):
    data, indices, indptr = X
    total = coef.dtype.type(0)
    for place in range(indptr[row], indptr[row + 1]):
        total += coef[unit, indices[place]] * data[place]
    return total


def _add_dense(coef, X, unit, row, factor):
    lanes, columns = width(coef), X.shape[1]
    weight, x = unit * columns, row * columns
    whole = columns // lanes * lanes
    for column in range(0, whole, lanes):
        store(coef, weight + column, load(coef, weight + column) + load(X, x + column) * factor)
    if whole < columns:
        rest = columns - whole
        total = load_first(coef, weight + whole, rest) + load_first(X, x + whole, rest) * factor
        store_first(coef, weight + whole, total, rest)


def _add_sparse(coef, X, unit, row, factor):
    data, indices, indptr = X
    for place in range(indptr[row], indptr[row + 1]):
        coef[unit, indices[place]] += data[place] * factor


def product(coef, X, unit, row):
    """Return coef[unit] @ X[row]."""


def add(coef, X, unit, row, factor):
    """coef[unit] += factor * X[row]."""


@overload(product, jit_options=OPTIONS)
def _product(coef, X, unit, row):
    return _sparse_product if isinstance(X, types.BaseTuple) else _dense_product


@overload(add, jit_options=OPTIONS)
def _add(coef, X, unit, row, factor):
    return _add_sparse if isinstance(X, types.BaseTuple) else _add_dense


@entry
def run_epoch(coef, intercept, mistakes, X, targets, order, units):
    """coef (units, features), intercept (units,) learn from the rows X[order]; mistakes (units,) += how often.

    X: (rows, features), or CSR as (data, indices, indptr). targets (rows,): the unit that shall fire. units: those that
    learn. Returns False, at once, where a preactivation is not finite, and so before any weight could become so.
    """
    for i in range(order.size):
        row = order[i]
        for j in range(units.size):
            unit = units[j]
            preactivation = product(coef, X, unit, row) + intercept[unit]
            if not math.isfinite(preactivation):
                return False
            error = int(targets[row] == unit) - int(preactivation > 0)
            if error != 0:
                add(coef, X, unit, row, error)
                intercept[unit] += error
                mistakes[unit] += 1
    return True


@entry
def preactivations(out, coef, intercept, X):
    """out (rows, units) <- X @ coef.T + intercept; X as in `run_epoch`."""
    for row in range(out.shape[0]):
        for unit in range(out.shape[1]):
            out[row, unit] = product(coef, X, unit, row) + intercept[unit]
