"""The order in which the rows are taken, epoch after epoch."""

import threading
from functools import cached_property

import numpy as np

TWISTER = "MT19937"


class Shuffle:
    """Draws an order of rows for each epoch: the draws of `sklearn.utils.shuffle`, which go on from the last order.

    Parameters
    ----------
    n_rows : int
        How many rows there are.
    random_state : numpy.random.RandomState or None
        What draws. None: all epochs take the rows as they are.

    Attributes
    ----------
    order : ndarray of int64
        The order of the last epoch.
    """

    def __init__(self, n_rows: int, random_state: np.random.RandomState | None):
        self._n_rows = n_rows
        self.random_state = random_state

    @cached_property
    def order(self) -> np.ndarray:
        """Begin with the rows as they are; not before it is asked for, as rows on other machines order themselves."""
        return np.arange(self._n_rows, dtype=np.int64)

    def next(self) -> np.ndarray:
        """Return the order of the next epoch."""
        if self.random_state is not None:
            self.random_state.shuffle(self.order)
        return self.order

    def take_generator(self) -> np.ndarray | None:
        """Return the state of a Mersenne Twister and the place in it, uint32, for an engine that draws by itself.

        None: there is none, or threads of the user's may draw from it in the meantime. An engine gives it back by
        `give_generator`. Without shuffling it is empty.
        """
        if self.random_state is None:
            return np.empty(0, dtype=np.uint32)
        shared = self.random_state is np.random.mtrand._rand
        if shared and threading.current_thread() is not threading.main_thread():
            return None
        state = self.random_state.get_state(legacy=False)
        if state["bit_generator"] != TWISTER:
            return None
        return np.append(state["state"]["key"], np.uint32(state["state"]["pos"]))

    def give_generator(self, generator: np.ndarray) -> None:
        """Let the random state go on from where an engine stopped to draw."""
        if self.random_state is not None:
            state = self.random_state.get_state(legacy=False)
            state["state"] = {"key": generator[:-1].copy(), "pos": int(generator[-1])}
            self.random_state.set_state(state)
