"""What threads pass to each other."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any


def complete(future: Future, task: Callable[[], Any]) -> None:
    """Let a future have what a task returns, or raises."""
    try:
        result = task()
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)
