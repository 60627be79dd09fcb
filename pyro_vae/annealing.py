"""Annealing of chosen levels: schedules, and the effect handler that scales model and guide alike.

S0, section 5.2: log p(z2) - log q(z2 | x) is multiplied by beta inside the weights, with beta
rising from 0.1 to 1. Scaling the model alone, or the guide alone, trains on something else: the
handler acts on whatever runs inside it, so on both. Reported bounds are computed outside of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_vae.errors import InputError

Schedule = Callable[[float], float]


class anneal(Messenger):
    """Handler that multiplies the log-probability of named latent sites by their betas.

    ``with anneal({"z2": 0.1}): loss = objective(model, guide)(x)`` works with this library's
    objectives and with Pyro's. Unlike ``poutine.scale`` it takes 0 and reaches only named sites.
    """

    def __init__(self, betas: Mapping[str, float | Tensor]) -> None:
        super().__init__()
        for name, beta in betas.items():
            # Tensors are inputs of a graph that is being traced: they have no value yet.
            if not torch.is_tensor(beta) and not 0 <= beta < float("inf"):
                raise InputError(f"beta of site {name!r} must be finite and >= 0, got {beta}")
        self.betas = dict(betas)

    def _pyro_sample(self, msg) -> None:
        beta = self.betas.get(msg["name"])
        if beta is None:
            return
        if msg["is_observed"]:
            raise ValueError(f"site {msg['name']!r} is observed; only latent sites are annealed")
        # Without another scale it is the very same object in model and guide, which spares the
        # preconditions a comparison of tensors.
        scale = msg["scale"]
        msg["scale"] = beta if isinstance(scale, float) and scale == 1.0 else scale * beta


@dataclass(frozen=True)
class LinearWarmUp:
    """beta from ``start`` to ``end``, linear over the first ``fraction`` of training, then ``end``.

    Called with the share of training that is done, in [0, 1].
    """

    start: float = 0.1
    end: float = 1.0
    fraction: float = 0.5

    def __post_init__(self) -> None:
        finite = 0 <= self.start < math.inf and 0 <= self.end < math.inf
        if not (finite and 0 <= self.fraction <= 1):
            raise InputError(
                f"annealing wants finite start, end >= 0 and a share in [0, 1], got {self.start}, "
                f"{self.end}, {self.fraction}"
            )

    def __call__(self, progress: float) -> float:
        if progress >= self.fraction:
            return self.end
        return self.start + (self.end - self.start) * progress / self.fraction


def default_annealing(num_levels: int) -> dict[str, Schedule]:
    """S0's choice: z2 from 0.1 to 1 over the first half, the other levels untouched."""
    return {"z2": LinearWarmUp()} if num_levels >= 2 else {}
