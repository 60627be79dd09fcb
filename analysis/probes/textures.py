"""What one unit of z2 does: textures drawn along it, and the units of z1 whose scale it changes."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.probes.decoder import expected_x
from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.simulation import simulate

VALUES = (-3.0, -1.5, 0.0, 1.5, 3.0)  # prior standard deviations
SAMPLES = 9
PRIOR_DRAWS = 2_000


@dataclass(frozen=True)
class Traversals:
    """Images along units of z2.

    Attributes:
        units: (R,), of z2. values: (C,), in standard deviations of the unit under the prior.
        images: (R, C, S, D), E[x | z1] at S draws of z1 given z2; a column of draws has the same
            noise at all values.
        log_ratio: (R, U), log of the standard deviation of each unit of z1 at the last value over
            that at the first one.
    """

    units: np.ndarray
    values: np.ndarray
    images: np.ndarray
    log_ratio: np.ndarray


@torch.no_grad()
def traverse_z2(
    model: Generative,
    units: Sequence[int],
    *,
    values: Sequence[float] = VALUES,
    num_samples: int = SAMPLES,
    seed: int = 0,
) -> Traversals:
    """Move z2 along single units, draw z1 ~ p(z1 | z2), and decode to E[x | z1] or E[x | z1, z2].

    z2 is at its prior mean but for the unit, which is ``value`` prior standard deviations from it.
    What a unit does to the scales of z1 shows in draws only: E[z1 | z2] alone may not move at all.

    Raises:
        InputError: the model has one level, or there is no unit.
    """
    check_count("num_samples", num_samples)
    if model.num_levels < 2:
        raise InputError("the model has one level: there is no z2 to move along")
    if model.representation_names:
        raise InputError(
            "z1 follows y1 as well as z2 in a self-supervised VAE: nothing moves with z2 alone"
        )
    if not len(units):
        raise InputError("no unit of z2 is active: there is none to move along")
    with own_generators():
        torch.manual_seed(seed)
        centre, sd = _prior_of_z2(model)
        places = torch.as_tensor(values, dtype=centre.dtype, device=centre.device)
        at = centre.repeat(len(units), len(places), 1)
        for row, unit in enumerate(units):
            at[row, :, unit] += places * sd[unit]
        start = model.conditionals[0](centre.expand(num_samples, -1))
        noise = (start.sample() - start.mean) / start.stddev
    along = model.conditionals[0](at)
    spread = along.stddev
    z1 = along.mean[:, :, None] + spread[:, :, None] * noise
    latents = {"z1": z1, "z2": at[:, :, None].expand(*z1.shape[:-1], -1)}
    return Traversals(
        np.asarray(units),
        np.asarray(values, dtype=float),
        expected_x(model, latents).cpu().numpy(),
        (spread[:, -1] / spread[:, 0]).log().cpu().numpy(),
    )


def _prior_of_z2(model: Generative) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of every unit under the prior.

    By draws below a third level, and of a prior that does not tell its own (flows).
    """
    if model.num_levels == 2:
        with contextlib.suppress(NotImplementedError):
            prior = model.prior()
            return prior.mean, prior.stddev
    z2 = simulate(model, PRIOR_DRAWS)[1]["z2"]
    return z2.mean(0), z2.std(0)


def family(log_ratio: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The ``count`` units of (U,) whose scale grows most, and those that shrink most; most first.

    There are fewer where fewer grow, or shrink, at all.
    """
    order = np.argsort(-log_ratio, kind="stable")
    grows, shrinks = order[:count], order[::-1][:count]
    return grows[log_ratio[grows] > 0], shrinks[log_ratio[shrinks] < 0]
