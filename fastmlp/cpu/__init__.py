"""The CPU engine: kernels compiled by `numba.njit`."""

from fastmlp.cpu.engine import Engine
from fastmlp.cpu.target import INSTRUCTION_SET
from fastmlp.cpu.threads import resolve_threads

__all__ = ["Engine", "describe"]


def describe() -> dict[str, object]:
    """Return what the engine runs on: instruction set, lanes of float32, and threads."""
    return {
        "instruction set": INSTRUCTION_SET.name,
        "lanes": INSTRUCTION_SET.register_bytes // 4,
        "threads": resolve_threads(None),
    }
