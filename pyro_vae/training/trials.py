"""Steps that are tried, not taken: their time, loss and gradient, before training begins."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.torch_state import own_generators
from pyro_vae.training.gradients import Gradients
from pyro_vae.weights.repeats import Beginning

ROUNDS = 5


class Trial(NamedTuple):
    """What one call of ``Gradients`` took and gave: seconds, loss, gradients in one vector."""

    seconds: float
    loss: float
    gradient: Tensor


@contextmanager
def no_step(gradients: Gradients) -> Iterator[None]:
    """What is tried in the block changes neither generators nor running statistics.

    The programs are in the mode that steps are taken in; Pyro's checks are left to the first one.
    """
    statistics_kept = Beginning(gradients.model, gradients.guide).undone()
    with own_generators(), pyro.validation_enabled(False), statistics_kept:
        yield


def trial(gradients: Gradients, x: Tensor, betas: Mapping[str, float]) -> Trial:
    """One call at x; the parameters' gradients are cleared."""
    _wait(x)
    start = time.perf_counter()
    loss = gradients(x, betas)
    _wait(x)
    seconds = time.perf_counter() - start
    parameters = list(nn.ModuleList([gradients.model, gradients.guide]).parameters())
    flat = torch.cat([p.grad.flatten() for p in parameters if p.grad is not None])
    for parameter in parameters:
        parameter.grad = None
    return Trial(seconds, loss.value.item(), flat)


def median_ratio(one: Callable[[int], Trial], other: Callable[[int], Trial]) -> float:
    """Median over rounds of the time of ``one`` over that of ``other``, taken in turns.

    Both are called with the number of the round.
    """
    return statistics.median(one(turn).seconds / other(turn).seconds for turn in range(ROUNDS))


def _wait(x: Tensor) -> None:
    if x.device.type == "cuda":
        torch.cuda.synchronize(x.device)
