"""The BLAS has one thread while L-BFGS runs, and as many as before when the last fit is done."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from fastmlp import MLPClassifier, fit_many
from fastmlp.training.blas import one_thread

X = np.random.default_rng(0).standard_normal((60, 4))
y = (X[:, 0] > 0) + 0


def blas_threads():
    return [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]


@pytest.fixture(autouse=True)
def two_threads():
    with threadpool_limits(2, "blas"):
        if set(blas_threads()) != {2}:
            pytest.skip("this BLAS has no threads to set")
        yield


def test_one_thread_in_the_fit():
    seen = []
    model = MLPClassifier(solver="lbfgs", max_iter=3, callbacks=lambda epoch: seen.extend(blas_threads()))
    with pytest.warns(Warning, match="lbfgs failed to converge"):
        model.fit(X, y)
    assert set(seen) == {1}
    assert set(blas_threads()) == {2}


def test_as_many_as_before_when_the_last_one_is_done():
    first, second = one_thread(), one_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(blas_threads()) == {1}
    second.__exit__(None, None, None)
    assert set(blas_threads()) == {2}


def test_after_an_error_and_in_threads():
    def fail(epoch):
        raise RuntimeError

    models = [MLPClassifier(solver="lbfgs", max_iter=9, callbacks=fail) for _ in range(8)]
    assert [type(error) for error in fit_many(models, X, y)] == [RuntimeError] * 8
    assert set(blas_threads()) == {2}
