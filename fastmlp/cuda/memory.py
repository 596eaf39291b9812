"""What fits into the GPU's memory, and what is said where something does not."""

import functools
from collections.abc import Callable

from fastmlp.cuda.compiler import free_memory, is_out_of_memory

SHARE = 0.9  # of the free memory, for data; what code, stacks of threads and other processes take is in the rest
ADVICE = "Take a smaller batch_size, smaller hidden_layer_sizes, or dtype='float32'"


def usable_memory() -> float:
    """Return how many bytes there are for data."""
    return SHARE * free_memory()


def check_fits(needed: int, what: str, held: int = 0) -> None:
    """Check that there are so many bytes for data, of which `held` are taken already.

    Raises
    ------
    MemoryError
        If not. It says how many are needed and free, and what to change.
    """
    free = usable_memory() + held
    if needed > free:
        raise MemoryError(f"The GPU is too small: {what} need {needed:,} bytes, {free:,.0f} are free. {ADVICE}.")


def explain(method: Callable) -> Callable:
    """Return a function that turns the driver's error that no memory is left into one that says what to do."""

    @functools.wraps(method)
    def explained(*arguments, **keywords):
        try:
            return method(*arguments, **keywords)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryError(f"The GPU has no memory left, {free_memory():,} bytes are free; {ADVICE}.") from error

    return explained
