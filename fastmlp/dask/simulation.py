"""What a round costs on 8 to 1,024 workers: a simulation, from what is measured on one machine.

`python -m fastmlp.dask.simulation` measures, on the machine it runs on, a worker's gradient, its local step, the sum of
two gradients, the optimizer's update, the processor time of Dask's scheduler (and its client) for a task, and a round
trip; then it plays a round through, message by message, and prints the table. Nobody has run this on so many workers.

The model: a machine sends and receives one message at a time, each way, at `bandwidth`, after `latency`. The scheduler
hands out tasks one after another. What a round needs goes from the client by the scheduler to one worker, and from
there to the others: each fetches it from one of those, drawn at random, that had it when its task was handed out.
Workers compute equally fast. Sums are made in a tree of `FAN_IN`; the last one goes by the scheduler to the client,
which takes the optimizer's step. Each worker has as many rows of a step, `rows`, however many workers there are.

Printed on 2026-11-25, Dask 2026.8.0, Python 3.11.7, on a virtual machine with two cores that others used at the same
time, which makes the measured times longer; the bytes do not depend on it:

```
784-512-512-10, float32, Adam, 256 rows a worker and step
measured: parameters 2.68 MB; ms: gradient 26.04, local step 29.62,
sum of two 0.09, update 3.10, scheduler a task 1.191, round trip 7.5
assumed: 10 Gbit/s, latency 50 us

| workers | sync_every | MB a step, all | MB a step, a worker | ms a round | ms a step | computing, % |
| ------- | ---------- | -------------- | ------------------- | ---------- | --------- | ------------ |
| 8       | 1          | 48.219         | 6.0274              | 66.8       | 66.85     | 39.0         |
| 8       | 16         | 9.041          | 1.1301              | 567.5      | 35.47     | 83.5         |
| 8       | 256        | 0.565          | 0.0706              | 7677.4     | 29.99     | 98.8         |
| 16      | 1          | 91.080         | 5.6925              | 84.7       | 84.69     | 30.7         |
| 16      | 16         | 17.078         | 1.0673              | 621.0      | 38.81     | 76.3         |
| 16      | 256        | 1.067          | 0.0667              | 7730.9     | 30.20     | 98.1         |
| 32      | 1          | 176.802        | 5.5251              | 106.0      | 106.02    | 24.6         |
| 32      | 16         | 33.150         | 1.0360              | 646.8      | 40.42     | 73.3         |
| 32      | 256        | 2.072          | 0.0647              | 7756.7     | 30.30     | 97.8         |
| 64      | 1          | 348.247        | 5.4414              | 144.3      | 144.30    | 18.0         |
| 64      | 16         | 65.296         | 1.0203              | 724.7      | 45.29     | 65.4         |
| 64      | 256        | 4.081          | 0.0638              | 7834.6     | 30.60     | 96.8         |
| 128     | 1          | 691.137        | 5.3995              | 220.8      | 220.85    | 11.8         |
| 128     | 16         | 129.588        | 1.0124              | 762.7      | 47.67     | 62.2         |
| 128     | 256        | 8.099          | 0.0633              | 7872.6     | 30.75     | 96.3         |
| 256     | 1          | 1376.916       | 5.3786              | 383.1      | 383.11    | 6.8          |
| 256     | 16         | 258.172        | 1.0085              | 917.2      | 57.32     | 51.7         |
| 256     | 256        | 16.136         | 0.0630              | 8027.1     | 31.36     | 94.5         |
| 512     | 1          | 2748.473       | 5.3681              | 706.5      | 706.47    | 3.7          |
| 512     | 16         | 515.339        | 1.0065              | 1228.7     | 76.79     | 38.6         |
| 512     | 256        | 32.209         | 0.0629              | 8338.7     | 32.57     | 90.9         |
| 1,024   | 1          | 5491.589       | 5.3629              | 1361.0     | 1361.03   | 1.9          |
| 1,024   | 16         | 1029.673       | 1.0055              | 1838.9     | 114.93    | 25.8         |
| 1,024   | 256        | 64.355         | 0.0628              | 8948.8     | 34.96     | 84.7         |
```
"""

import argparse
import logging
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from distributed import Client, LocalCluster

from fastmlp import reference
from fastmlp.dask.engine import FAN_IN
from fastmlp.dask.work import Job, Shard, Share, Sums, add, gradient_of, same, steps_of
from fastmlp.estimators.validation import Rows
from fastmlp.network import Network
from fastmlp.training.optimizers import Adam, LearningRate

WORKERS = (8, 16, 32, 64, 128, 256, 512, 1024)
SLOTS = 2  # of Adam


class Figures(NamedTuple):
    """What one machine was measured to take, in seconds; and the network, in bytes per second and seconds."""

    parameters_bytes: int
    gradient: float  # of the share of a worker
    steps: float  # the same share, trained on by itself
    add: float  # of two gradients
    update: float
    task: float  # of the scheduler
    round_trip: float  # of a task that does nothing, from the client and back
    bandwidth: float
    latency: float


class Round(NamedTuple):
    """A simulated round: its seconds, the bytes over the network in all, and the most through one worker."""

    seconds: float
    bytes: int
    busiest: int


class Links:
    """When each machine can send and receive again, and what went through."""

    def __init__(self, figures: Figures, n_machines: int) -> None:
        self.figures = figures
        self.sends, self.receives = np.zeros(n_machines), np.zeros(n_machines)
        self.traffic = np.zeros(n_machines, dtype=np.int64)

    def send(self, source: int, target: int, size: int, ready: float) -> float:
        """Return when a message has arrived that can be sent from `ready` on."""
        if source == target:
            return ready
        start = max(ready, self.sends[source], self.receives[target])
        end = start + size / self.figures.bandwidth
        self.sends[source] = self.receives[target] = end
        self.traffic[[source, target]] += size
        return end + self.figures.latency


def simulate(figures: Figures, n_workers: int, steps: int = 1, synchronous: bool = True, seed: int = 0) -> Round:
    """Play a round through.

    Parameters
    ----------
    figures : Figures
        What it is made of.
    n_workers : int
        How many workers there are.
    steps : int, default=1
        Of each worker; one if `synchronous`.
    synchronous : bool, default=True
        Whether gradients are exchanged; else weights with the optimizer's moments.
    seed : int, default=0
        Draws from whom a worker fetches.

    Returns
    -------
    Round
    """
    random = np.random.default_rng(seed)
    size = figures.parameters_bytes * (1 if synchronous else 1 + SLOTS)
    work = figures.gradient if synchronous else steps * figures.steps
    client, scheduler = n_workers, n_workers + 1
    links = Links(figures, n_workers + 2)
    arrived = links.send(client, scheduler, size, figures.round_trip / 2)
    arrived = links.send(scheduler, 0, size, arrived)
    free = arrived + figures.latency  # of the scheduler, which has been told
    holders, had = [0], {0: arrived}
    ready = np.zeros(n_workers)
    for worker in range(n_workers):
        free += figures.task
        if worker > 0:
            known = [holder for holder in holders if had[holder] <= free]
            had[worker] = links.send(known[random.integers(len(known))], worker, size, free)
            holders.append(worker)
        ready[worker] = had[worker] + work
    level = [(worker, ready[worker]) for worker in range(n_workers)]
    while len(level) > 1:
        level = [_sum(level[i : i + FAN_IN], figures, links, size) for i in range(0, len(level), FAN_IN)]
        free = max(free, min(at for _, at in level)) + len(level) * figures.task
        level = [(worker, max(at, free)) for worker, at in level]
    worker, at = level[0]
    at = links.send(scheduler, client, size, links.send(worker, scheduler, size, at))
    # the mean of local steps costs as the update does, a few operations a parameter
    seconds = at + figures.round_trip / 2 + figures.update
    return Round(seconds, int(links.traffic.sum() // 2), int(links.traffic[:n_workers].max()))


def _sum(group: Sequence[tuple[int, float]], figures: Figures, links: Links, size: int) -> tuple[int, float]:
    """Return who has the sum of a group, and when."""
    adder, at = group[0]
    for worker, ready in group[1:]:
        at = max(at, links.send(worker, adder, size, ready))
    return adder, at + (len(group) - 1) * figures.add * size / figures.parameters_bytes


def _seconds(
    function: Callable[[], object], repeats: int = 15, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Return the least of some times: others may use the machine, too."""
    times = []
    for _ in range(repeats):
        start = clock()
        function()
        times.append(clock() - start)
    return min(times)


def measure(widths: Sequence[int], rows: int, bandwidth: float, latency: float) -> Figures:
    """Return the figures of this machine, for a network of float32 and one thread a worker."""
    network = Network(tuple(widths), ("relu",) * (len(widths) - 2) + ("softmax",), "log_loss")
    random, dtype = np.random.default_rng(0), np.dtype(np.float32)
    X = random.normal(size=(rows, widths[0])).astype(dtype)
    targets = random.integers(widths[-1], size=(rows, 1)).astype(dtype)
    shard = Shard(network, Rows(X, None, targets, None))
    flat = random.normal(scale=0.05, size=network.n_parameters).astype(dtype)
    moments = np.zeros((SLOTS, flat.size), dtype)
    optimizer = reference.Engine(network, dtype)
    optimizer.parameters, optimizer.state = flat, moments
    update = Adam(LearningRate(0.001)).update()
    job = Job(Share(0, 1, rows, rows, rows), 0, 0, 1, 0.0, update, None, 0, 1)
    sums = Sums((flat,), 0.0, 1.0, 1)
    for task in (gradient_of, steps_of):  # compiled
        task(shard, flat, *([moments] if task is steps_of else []), job)
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
        ) as cluster,
        Client(cluster) as client,
    ):
        client.submit(same, 0).result()
        round_trip = _seconds(lambda: client.submit(same, 0, pure=False).result())
        count = 2000
        # The scheduler is in this process, and the workers are not. What the client does is in it, too.
        burst = _seconds(lambda: client.gather(client.map(same, range(count), pure=False)), 3, time.process_time)
    return Figures(
        flat.nbytes,
        _seconds(lambda: gradient_of(shard, flat, job)),
        _seconds(lambda: steps_of(shard, flat, moments, job)),
        _seconds(lambda: add(sums, sums)) / 2,  # it copies the first one
        _seconds(lambda: optimizer.take_step(flat, 1.0, 0.0, update, 1)),
        burst / count,
        round_trip,
        bandwidth,
        latency,
    )


def table(figures: Figures, workers: Sequence[int] = WORKERS, every: Sequence[int] = (1, 16, 256)) -> str:
    """Return the table that is printed, in Markdown."""
    lines = [
        "| workers | sync_every | MB a step, all | MB a step, a worker | ms a round | ms a step | computing, % |",
        "| ------- | ---------- | -------------- | ------------------- | ---------- | --------- | ------------ |",
    ]
    for n_workers in workers:
        for steps in every:
            synchronous = steps == 1
            result = simulate(figures, n_workers, steps, synchronous)
            work = figures.gradient if synchronous else steps * figures.steps
            cells = (
                f"{n_workers:,}",
                str(steps),
                f"{result.bytes / steps / 1e6:.3f}",
                f"{result.bytes / steps / n_workers / 1e6:.4f}",
                f"{result.seconds * 1e3:.1f}",
                f"{result.seconds / steps * 1e3:.2f}",
                f"{100 * work / result.seconds:.1f}",
            )
            titles = lines[0].strip("| ").split(" | ")
            padded = [cell.ljust(len(name)) for cell, name in zip(cells, titles, strict=True)]
            lines.append(f"| {' | '.join(padded)} |")
    return "\n".join(lines)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, simulate and print."""
    parser = argparse.ArgumentParser(description="What a round of fastmlp.dask costs on many workers: a simulation.")
    parser.add_argument("--widths", type=int, nargs="+", default=[784, 512, 512, 10], help="of the network's layers")
    parser.add_argument("--rows", type=int, default=256, help="of a worker in a step")
    parser.add_argument("--gigabits", type=float, default=10.0, help="a second of each machine's network")
    parser.add_argument("--latency", type=float, default=50e-6, help="of a message, in seconds")
    options = parser.parse_args(words)
    figures = measure(options.widths, options.rows, options.gigabits * 1e9 / 8, options.latency)
    print(f"{'-'.join(map(str, options.widths))}, float32, Adam, {options.rows} rows a worker and step")
    print(
        f"measured: parameters {figures.parameters_bytes / 1e6:.2f} MB; ms: gradient {figures.gradient * 1e3:.2f}, "
        f"local step {figures.steps * 1e3:.2f}, sum of two {figures.add * 1e3:.2f}, update {figures.update * 1e3:.2f}, "
        f"scheduler a task {figures.task * 1e3:.3f}, round trip {figures.round_trip * 1e3:.1f}"
    )
    print(f"assumed: {options.gigabits:g} Gbit/s, latency {options.latency * 1e6:g} us\n")
    print(table(figures))


if __name__ == "__main__":
    main()
