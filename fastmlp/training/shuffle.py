"""The order in which the rows are taken, epoch after epoch."""

import itertools
import threading
from typing import NamedTuple

import numpy as np

TWISTER = "MT19937"


def generator_of(random_state: np.random.RandomState) -> np.ndarray | None:
    """Return the state of a Mersenne Twister and the place in it, uint32 of shape (625,); None of another generator."""
    state = random_state.get_state(legacy=False)
    if state["bit_generator"] != TWISTER:
        return None
    return np.append(state["state"]["key"], np.uint32(state["state"]["pos"]))


class Blocks(NamedTuple):
    """Rows that lie one after another are a block; some blocks are a group, whose rows are mixed.

    Attributes
    ----------
    edges : ndarray of int64 of shape (n_blocks + 1,)
        The first row of each block, and the number of all rows.
    together : int
        The most blocks of a group.
    """

    edges: np.ndarray
    together: int

    def group_edges(self) -> np.ndarray:
        """Return the first block of each group, and the number of all blocks: groups of nearly the same size."""
        n_blocks = len(self.edges) - 1
        n_groups = -(-n_blocks // self.together)
        return np.arange(n_groups + 1) * n_blocks // n_groups


class Shuffle:
    """Draws an order of rows for each epoch: the draws of `sklearn.utils.shuffle`, which go on from the last order.

    Or, with blocks, it draws the order of all blocks, divides them into groups, and shuffles the rows of each group.

    Parameters
    ----------
    n_rows : int
        How many rows there are.
    random_state : numpy.random.RandomState or None
        What draws. None: all epochs take the rows as they are.
    blocks : Blocks or None, default=None
        Rows that are taken one group after another. None: each row may come at any time.

    Attributes
    ----------
    order : ndarray of int64
        The order of the last epoch.
    groups : list of int
        With blocks, where in the order each group begins, and the number of all rows.
    """

    def __init__(self, n_rows: int, random_state: np.random.RandomState | None, blocks: Blocks | None = None):
        self._n_rows, self.random_state, self.blocks = n_rows, random_state, blocks
        self._repeats, self._order = False, None

    @property
    def order(self) -> np.ndarray:
        """Begin with the rows as they are; not before it is asked for, as rows on other machines order themselves.

        Not a `cached_property`: until Python 3.12 it has one lock for all, which a process that forks may leave locked.
        """
        if self._order is None:
            self._order = np.arange(self._n_rows, dtype=np.int64)
        return self._order

    def next(self) -> np.ndarray:
        """Return the order of the next epoch."""
        if self._repeats:
            self._repeats = False
        elif self.blocks is not None:
            self._draw_groups()
        elif self.random_state is not None:
            self.random_state.shuffle(self.order)
        return self.order

    def repeat(self) -> None:
        """Let the next epoch have the order of the last one."""
        self._repeats = True

    def skip(self, epochs: int) -> None:
        """Draw the orders of so many epochs that have been taken."""
        for _ in range(epochs if self.random_state is not None else 0):
            self.next()

    def _draw_groups(self):
        edges, order = self.blocks.edges, self.order
        chosen, group_edges = self.random_state.permutation(len(edges) - 1), self.blocks.group_edges()
        self.groups, last = [0], 0
        for first_block, last_block in itertools.pairwise(group_edges):
            for block in chosen[first_block:last_block]:
                first, last = last, last + edges[block + 1] - edges[block]
                order[first:last] = np.arange(edges[block], edges[block + 1])
            self.random_state.shuffle(order[self.groups[-1] : last])
            self.groups.append(int(last))

    def take_generator(self) -> np.ndarray | None:
        """Return the state of a Mersenne Twister and the place in it, uint32, for an engine that draws by itself.

        None: there is none, or threads of the user's may draw from it in the meantime, or the rows are in blocks. An
        engine gives it back by `give_generator`. Without shuffling it is empty.
        """
        if self.blocks is not None:
            return None
        if self.random_state is None:
            return np.empty(0, dtype=np.uint32)
        shared = self.random_state is np.random.mtrand._rand
        if shared and threading.current_thread() is not threading.main_thread():
            return None
        return generator_of(self.random_state)

    def give_generator(self, generator: np.ndarray) -> None:
        """Let the random state go on from where an engine stopped to draw."""
        if self.random_state is not None:
            state = self.random_state.get_state(legacy=False)
            state["state"] = {"key": generator[:-1].copy(), "pos": int(generator[-1])}
            self.random_state.set_state(state)
