"""Which kernel trains which network fastest, for the constants in fastmlp/cuda/launch.py."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from unittest import mock

import numpy as np

from benchmarks.common import format_number, format_table
from benchmarks.contestants import Problem, Start
from benchmarks.gpu.contestants import OnEngine
from benchmarks.peers import Effort, timed
from benchmarks.shapes import DIGITS, PREDICTED, Shape
from fastmlp.cuda import engine, launch
from fastmlp.cuda.compiler import most_shared_memory
from fastmlp.cuda.layout import Layout
from fastmlp.cuda.step import MOST_THREADS
from fastmlp.network import unflatten

WIDTHS, BATCHES = (16, 32, 64, 128, 256, 512, 1024), (8, 32, 128, 512, 2048)
FEWEST_STEPS = 8
THREADS = (32, 64, 128, 256)
PARTS_OF_BLOCKS = (0.125, 0.25, 0.5, 1.0)
ONE_BLOCK = ("shared", "block")


def trained(shape: Shape, kernel: str) -> OnEngine:
    """Return an engine with this kernel, warmed up."""
    contestant = OnEngine(Problem(shape, shape.rows, "float32"), kind=kernel)
    weights = np.random.default_rng(0).normal(scale=0.05, size=contestant.network.n_parameters)
    contestant.begin(Start(*unflatten(weights.astype("float32"), contestant.network.widths)))
    contestant.train(1)
    return contestant


def fits(shape: Shape, kernel: str) -> bool:
    """Return whether a kernel can train a network: one has all of it in a block's shared memory."""
    network = Layout(OnEngine.network_of(shape), shape.batch)
    return kernel != "shared" or 4 * network.memory_size <= most_shared_memory()


def trained_or_none(shape: Shape, kernel: str) -> OnEngine | None:
    """Return what `trained` gives; a kernel that fails is named, and left out."""
    try:
        return trained(shape, kernel) if fits(shape, kernel) else None
    except Exception as error:
        print(f"{shape.name}, batch {shape.batch}, {kernel}: {type(error).__name__}: {error}", file=sys.stderr)
        return None


def kernels_for(shape: Shape) -> dict[str, OnEngine]:
    """Return an engine with each kernel that can train a network."""
    engines = {kernel: trained_or_none(shape, kernel) for kernel in launch.KINDS}
    return {kernel: found for kernel, found in engines.items() if found is not None}


def step_seconds(shape: Shape, functions: dict[str, Callable[[int], float]], effort: Effort) -> dict[str, float]:
    """Return the median seconds of a step from functions that give the seconds of an epoch."""
    steps = -(-shape.rows // shape.batch)
    return {name: summary["median"] / steps for name, summary in timed(functions, effort).items()}


def measure_kernels(
    widths: tuple[int, ...], batches: tuple[int, ...], effort: Effort, fewest_rows: int = 4_096
) -> list[dict]:
    """Return the seconds of a step of each kernel, over widths and batches."""
    records = []
    for width in widths:
        for batch in batches:
            print(f"kernels: width {width}, batch {batch}", file=sys.stderr)
            shape = Shape(width, (width,), 10, batch, max(fewest_rows, FEWEST_STEPS * batch))
            ready = kernels_for(shape)
            seconds = step_seconds(shape, {name: one.epoch_seconds for name, one in ready.items()}, effort)
            network = OnEngine.network_of(shape)
            chosen = launch.kind_of(Layout(network, batch), batch, np.dtype("float32"))
            work = batch * network.n_parameters
            if seconds:
                records.append({"width": width, "batch": batch, "work": work, "seconds": seconds, "chosen": chosen})
    return records


def best_threshold(records: list[dict], small: tuple[str, ...], large: tuple[str, ...]) -> int | None:
    """Return up to which work the better of `small` is to be taken, that all take the least time beside the best.

    None where there is nothing to choose from.
    """
    pairs = []
    for record in records:
        seconds = record["seconds"]
        sides = [[seconds[name] for name in names if name in seconds] for names in (small, large)]
        if all(sides):
            pairs.append((record["work"], np.log(min(sides[0]) / min(sides[1]))))
    if not pairs:
        return None
    # the logarithms of the ratios add up to what a threshold costs
    candidates = [0, *sorted({work for work, _ in pairs})]
    return min(candidates, key=lambda threshold: sum(cost for work, cost in pairs if work <= threshold))


@contextmanager
def launched_with(threads: int, part_of_blocks: float = 1.0) -> Iterator[None]:
    """Have engines launch with so many threads in a block, and a part of the blocks that a grid may have."""

    def fewer_blocks(*arguments):
        return max(1, int(part_of_blocks * most_blocks(*arguments)))

    most_blocks = engine.most_blocks
    with ExitStack() as stack:
        for module in (launch, engine):
            stack.enter_context(mock.patch.object(module, "THREADS", threads))
        stack.enter_context(mock.patch.object(engine, "most_blocks", fewer_blocks))
        yield


def measure_launches(shapes: list[Shape], threads: tuple[int, ...], effort: Effort) -> list[dict]:
    """Return the seconds of a step of each kernel over threads of a block, and for a grid over parts of its blocks."""
    records = []
    for shape in shapes:
        print(f"launches: {shape.name}", file=sys.stderr)
        for kernel in kernels_for(shape):
            functions, blocks = {}, {}
            for count in (count for count in threads if count <= MOST_THREADS):
                for part in PARTS_OF_BLOCKS if kernel == "grid" else (1.0,):
                    with launched_with(count, part):  # an engine keeps what it is launched with
                        contestant = trained_or_none(shape, kernel)
                    if contestant is None:
                        continue
                    functions[count, part] = contestant.epoch_seconds
                    blocks[count, part] = getattr(getattr(contestant.engine, "_shape", None), "blocks", None)
            for (count, part), seconds in step_seconds(shape, functions, effort).items():
                records.append({"network": shape.name, "batch": shape.batch, "kernel": kernel, "threads": count})
                records[-1] |= {"blocks": blocks[count, part], "seconds": seconds}
    return records


def measure_thresholds(quick: bool) -> dict[str, list[dict]]:
    """Return the records of both sweeps."""
    if quick:
        effort, shape = Effort(1, 0.0, 1), Shape(3, (4,), 2, batch=4, rows=8)
        return {
            "kernels": measure_kernels((4,), (2, 4), effort, fewest_rows=1),
            "launches": measure_launches([shape], (4, 8), effort),
        }
    effort, shapes = Effort(3, 0.1, 1), [DIGITS, PREDICTED._replace(rows=8_192)]
    return {
        "kernels": measure_kernels(WIDTHS, BATCHES, effort),
        "launches": measure_launches(shapes, THREADS, effort),
    }


def format_thresholds(report: dict[str, list[dict]]) -> str:
    """Return both sweeps as tables, and what follows for the constant."""
    records = report["kernels"]
    names = list(dict.fromkeys(name for record in records for name in record["seconds"]))
    table = []
    for record in sorted(records, key=lambda record: record["work"]):
        seconds = record["seconds"]
        cells = [format_number(1e6 * seconds[name]) if name in seconds else "" for name in names]
        best = min(seconds, key=seconds.get)
        chosen = seconds.get(record["chosen"])
        times = "" if chosen is None else f"{chosen / seconds[best]:.2f}"
        head = [f"{record['width']}-{record['width']}-10", f"{record['batch']:,}", f"{record['work']:,}"]
        table.append([*head, *cells, best, record["chosen"], times])
    header = ["network", "batch", "batch x parameters", *(f"{name}, us a step" for name in names)]
    parts = [format_table([*header, "fastest", "taken now", "times the fastest"], table)]
    others = [name for name in names if name not in ONE_BLOCK]
    pairs = [("WORK_OF_A_BLOCK", ONE_BLOCK, ("grid",))]
    pairs += [(f"from {name} to {larger}", (name,), (larger,)) for name, larger in pairwise(others)]
    for name, small, large in pairs:
        threshold = best_threshold(records, small, large)
        if threshold is not None:
            now = f", now {launch.WORK_OF_A_BLOCK:,}" if name == "WORK_OF_A_BLOCK" else ""
            what = f"Batch x parameters up to which {' or '.join(small)} costs least"
            parts.append(f"{what}: {threshold:,} ({name}{now})")
    rows = [
        [
            record["network"],
            f"{record['batch']:,}",
            record["kernel"],
            str(record["threads"]),
            str(record["blocks"] or ""),
            format_number(1e6 * record["seconds"]),
        ]
        for record in report["launches"]
    ]
    parts.append(format_table(["network", "batch", "kernel", "threads of a block", "blocks", "us a step"], rows))
    return "\n\n".join(parts)
