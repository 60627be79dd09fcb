"""How long steps take beside each other, and how many epochs fit into a budget of minutes."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Sequence

import torch

import pyro_vae
from pyro_vae.datasets import Batches
from pyro_vae.training import Gradients
from pyro_vae.training.optimisation import GradientStep

STEPS_TIMED = 15
# Of the budget: for what no measurement beforehand knows, such as another program on the machine.
SLACK = 0.15


@contextlib.contextmanager
def on_threads(threads: int | None) -> Iterator[None]:
    """So many threads for the length of the block; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def seconds_of_steps(gradients: Gradients, step: GradientStep, batches: Batches) -> float:
    """Median time of a plain step, times the steps of an epoch; compiled ones are faster."""
    times = []
    for _, x in zip(range(STEPS_TIMED), batches.epoch(0), strict=False):
        start = time.perf_counter()
        loss = gradients(x)
        step(len(x), loss.value.item())
        times.append(time.perf_counter() - start)
    return statistics.median(times) * len(batches)


def seconds_per_datum(model, guide, test: torch.Tensor, particles: int) -> float:
    """Time of a test datum's likelihood from all particles."""
    x = test[:5]
    times = []
    for rows in (x[:1], x):  # the first one imports what k-hat wants
        start = time.perf_counter()
        pyro_vae.evaluation.evaluate(model, guide, rows, num_particles=particles, bound_particles=1)
        times.append(time.perf_counter() - start)
    return times[-1] / len(x)


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """Time until all are done, the longest first, each given to the first free of ``jobs``."""
    loads = [0.0] * jobs
    for duration in sorted(seconds, reverse=True):
        loads[loads.index(min(loads))] += duration
    return max(loads)


def most_epochs(wall_seconds: Callable[[int], float], available: float, most: int) -> int:
    """The most epochs, from 1 to ``most``, that take no longer than what is available."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wall_seconds(middle) <= available else (low, middle - 1)
    return low
