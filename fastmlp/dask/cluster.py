"""The Dask client of a fit: tasks with a place, and waits that end."""

import asyncio
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import distributed
from distributed import CancelledError, Client, Future, KilledWorker

TIMEOUTS = (TimeoutError, asyncio.TimeoutError, distributed.TimeoutError)  # they are not one class in Python 3.10
LOST = (CancelledError, distributed.comm.CommClosedError, OSError)
UNKNOWN = "an unknown number of"


def find_client(client: Client | None) -> Client:
    """Return the parameter `client`, or the client that this process has.

    Raises
    ------
    TypeError
        If it is not a client.
    ValueError
        If there is none, or it is of no use here.
    """
    if client is None:
        try:
            client = distributed.default_client()
        except ValueError:
            raise ValueError(
                "client=None takes the Dask client of this process, and there is none: make one before, such as "
                "dask.distributed.Client(), or pass client=."
            ) from None
    if not isinstance(client, Client):
        raise TypeError(f"client must be a dask.distributed.Client or None, got {client!r}.")
    if client.asynchronous:
        raise ValueError(f"client={client!r} is asynchronous: take one with asynchronous=False.")
    if client.status != "running":
        raise ValueError(f"client={client!r} is not connected to a scheduler, its status is {client.status!r}.")
    return client


class Cluster:
    """Submits the tasks of a fit and waits for them; used as a context, it lets go of all of them at the end.

    Parameters
    ----------
    client : distributed.Client
        A client with a running scheduler.
    timeout : float
        The most seconds of one wait.
    advice : str, default=""
        What to do if the scheduler is lost, a sentence for the error.
    """

    def __init__(self, client: Client, timeout: float, advice: str = "") -> None:
        self.client, self.timeout, self.advice = client, timeout, advice
        self._futures: list[Future] = []  # that are waited for
        self._all: weakref.WeakSet[Future] = weakref.WeakSet()

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, *exception: object) -> None:
        if self._futures and self.client.status == "running":
            self.client.cancel(self._futures, force=True)  # of a wait that did not end
        for future in list(self._all):  # an error's traceback may hold them for long
            future.release()

    def addresses(self) -> list[str]:
        """Return the addresses of all workers.

        Raises
        ------
        ValueError
            If there are none.
        """
        try:
            workers = self.client.sync(self.client.scheduler.ncores, callback_timeout=self.timeout)
        except (*TIMEOUTS, *LOST) as error:
            raise self._scheduler_lost("asking for its workers") from error
        if not workers:
            raise ValueError(f"client={self.client!r} has no workers: add some, or wait for them (wait_for_workers).")
        return sorted(workers)

    def homes(self, futures: Sequence[Future]) -> list[str | None]:
        """Return a worker that has each result, None of what none has (any longer)."""
        keys = [future.key for future in futures]
        try:
            places = self.client.sync(self.client.scheduler.who_has, keys=keys, callback_timeout=self.timeout)
        except (*TIMEOUTS, *LOST) as error:
            raise self._scheduler_lost("asking where partitions are") from error
        return [min(places.get(key) or (), default=None) for key in keys]

    def submit(self, function: Callable, *arguments: Any, address: str | None = None) -> Future:
        """Submit a task, to a worker if an address is given and it still lives."""
        self._check_connected()
        where = {} if address is None else {"workers": [address], "allow_other_workers": True}
        future = self.client.submit(function, *arguments, pure=False, **where)
        self._all.add(future)
        return future

    def compute(self, delayed: Any, address: str) -> Future:
        """Submit a graph, all of it to one worker if it still lives."""
        self._check_connected()
        future = self.client.compute(delayed, workers=[address], allow_other_workers=True)
        self._all.add(future)
        return future

    def results(self, futures: Iterable[Future], what: str, of: Iterable[Future] = ()) -> list[Any]:
        """Return the results of tasks, in words `what`; `of`: all tasks that they need, to be given up with them.

        Raises
        ------
        TimeoutError
            If they are not there after `timeout` seconds.
        RuntimeError
            If the scheduler, or rows that cannot be computed again, were lost, or worker after worker died.
        Exception
            What a task raised.
        """
        futures = list(futures)
        self.wait(futures, what, of)
        with self._errors_of([*futures, *of], what):
            return [future.result(timeout=self.timeout) for future in futures]

    def wait(self, futures: Iterable[Future], what: str, of: Iterable[Future] = ()) -> None:
        """Wait for tasks whose results stay where they are; the rest as `results`."""
        futures = list(futures)
        end = time.monotonic() + self.timeout
        with self._errors_of([*futures, *of], what):
            # `distributed.wait` waits in the event loop of the default client: there may be none, and if it is another
            # one, its loop keeps the futures' events, so that a wait for a result that was lost afterwards fails.
            for future in futures:
                if not future.done():
                    future.exception(timeout=max(0.0, end - time.monotonic()))
            for future in futures:
                if future.status != "finished":
                    future.result(timeout=self.timeout)  # raises

    @contextmanager
    def _errors_of(self, futures: list[Future], what: str) -> Iterator[None]:
        self._futures = futures
        try:
            yield
        except TIMEOUTS as error:
            self._raise_own(error)
            raise TimeoutError(
                f"timeout={self.timeout}: {what} took longer than these seconds. The client has {self._n_workers()} "
                "workers. If they are only slow, take a larger timeout."
            ) from error
        except KilledWorker as error:
            raise RuntimeError(
                f"{what}: worker after worker died in this task, perhaps for want of memory: {error}"
            ) from error
        except LOST as error:
            self._raise_own(error)
            if self.client.status == "running" and self._n_workers() != UNKNOWN:
                raise RuntimeError(
                    f"{what}: what it needs was lost with a worker and cannot be computed again, such as data that "
                    f"were scattered from a client: {error}"
                ) from error
            raise self._scheduler_lost(what) from error
        self._futures = []

    def _check_connected(self) -> None:
        if self.client.status != "running":
            raise self._scheduler_lost("its client is not connected")

    def _raise_own(self, error: BaseException) -> None:
        """Raise an error again that is not Dask's but that of a task."""
        if any(future.status == "error" for future in self._futures):
            self._futures = []
            raise error

    def _n_workers(self) -> int | str:
        try:
            return len(self.client.sync(self.client.scheduler.ncores, callback_timeout=min(10.0, self.timeout)))
        except (*TIMEOUTS, *LOST):
            return UNKNOWN

    def _scheduler_lost(self, what: str) -> RuntimeError:
        address = getattr(self.client.scheduler, "address", None) or "an unknown address"
        return RuntimeError(f"The Dask scheduler at {address} was lost: {what}. {self.advice}".rstrip())
