"""The same program on the CPU and on a GPU, and on what there is: `device`.

Nothing else changes: `device="cuda"` trains on an NVIDIA GPU and is an error where there is none; `device="auto"` takes
a GPU if there is one. Both give the same network, to rounding. It needs the extra `cuda` (pip install 'fastmlp[cuda]').
"""

import time
import warnings
from typing import Any

import numpy as np
from sklearn.datasets import make_classification
from sklearn.exceptions import ConvergenceWarning

from fastmlp import MLPClassifier


def main(n_rows: int = 20_000, hidden_layer_sizes: tuple[int, ...] = (100, 100), max_iter: int = 5) -> dict[str, Any]:
    """Train on each device; return which one "auto" takes here, and the losses."""
    X, y = make_classification(n_rows, n_features=20, n_informative=10, random_state=0)
    X = X.astype(np.float32)  # which a GPU computes much faster than float64

    losses = {}
    for device in ("cpu", "cuda", "auto"):
        model = MLPClassifier(hidden_layer_sizes, max_iter=max_iter, random_state=0, device=device)
        start = time.perf_counter()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)  # so few epochs are all there shall be
                model.fit(X, y)
        except (ImportError, RuntimeError) as error:  # no numba-cuda, or no GPU
            print(f"{device}: {error}")
            continue
        seconds = time.perf_counter() - start
        losses[device] = model.loss_
        print(f"{device}: loss {model.loss_:.6f} after {max_iter} epochs, {seconds:.2f} s with what had to be compiled")

    where = "the GPU" if "cuda" in losses else "the CPU"
    print(f"device='auto' takes {where} here.")
    return {"device": where, "losses": losses}


if __name__ == "__main__":
    main()
