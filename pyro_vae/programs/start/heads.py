"""The heads of one level of a pair, set to start at its prior or at what a start knows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.programs.conditionals import LocScale
from pyro_vae.programs.guides import BottomUpGuide, Guide, MeanFieldGuide, TopDownGuide
from pyro_vae.programs.models import HierarchicalVAE

DRAWS = 1000  # of a prior whose scale nobody tells


@dataclass(frozen=True)
class Level:
    """Units of one level before anything is known of the levels above.

    Attributes:
        scale: of a unit under its prior.
        laplace: whether units are Laplace, of variance 2 scale^2, or Normal, of variance scale^2.
    """

    scale: float
    laplace: bool

    @property
    def variance(self) -> float:
        """Of a unit under its prior."""
        return self.scale**2 * (2 if self.laplace else 1)

    def scales_of(self, variances: np.ndarray) -> np.ndarray:
        """Scales of units of this family with these variances."""
        return np.sqrt(variances / (2 if self.laplace else 1))


def level_of(model: HierarchicalVAE, level: int) -> Level:
    """Of z1, z2, ...: scale 1 where a level stands above it, and else that of the top prior.

    A prior that is made of neither Normal nor Laplace units (a mixture) counts as Normal units of
    the standard deviation that its draws have.
    """
    if level < model.num_levels:
        return Level(1.0, model.conditionals[level - 1].family is dist.Laplace)
    prior = model.prior()
    while hasattr(prior, "base_dist"):  # of single units; of a flow, which starts as its base
        prior = prior.base_dist
    if not isinstance(prior, (dist.Normal, dist.Laplace)):
        return Level(float(prior.sample((DRAWS,)).std(0).mean()), laplace=False)
    return Level(float(prior.scale.mean()), isinstance(prior, dist.Laplace))


@dataclass(frozen=True)
class Recognition:
    """How a guide reaches q(z_l | ...): a network of one input, and the heads that read it."""

    trunk: Any  # an MLP, or None
    heads: LocScale


def recognition(guide: Guide, level: int) -> Recognition:
    """Of level 1, 2, ...

    The network's input is x for level 1. Above it is the encoding below in a top-down or mean-field
    guide, whose heads read the network first and a signal from the level above second, and z below
    in a bottom-up guide.

    Raises:
        InputError: a guide of another kind.
    """
    conditional = guide.conditionals[level - 1]
    if isinstance(guide, BottomUpGuide):
        return Recognition(conditional.trunk, conditional)
    if isinstance(guide, (TopDownGuide, MeanFieldGuide)) and conditional.trunk is None:
        return Recognition(guide.encoders[level - 1], conditional)
    raise InputError(
        f"a start from the data knows no {type(guide).__name__}; allowed: top-down, bottom-up and "
        "mean-field guides as build_guide makes them"
    )


@torch.no_grad()
def set_heads_(
    conditional: LocScale,
    level: Level,
    *,
    location: Tensor | None = None,
    scales: np.ndarray | None = None,
    log_scale: Tensor | None = None,
) -> None:
    """Set location and scale of a level's first units; all others stand at their prior.

        loc = location h,  log scale = log(scales) + log_scale h

    with h the last hidden layer, or the input where there is none. A second input, the signal from
    above, is not read: the weights on it start at zero.

    Args:
        location, log_scale: (r, H); None for zero.
        scales: (r,); None for the prior's.
    """
    head: Any = conditional.loc
    like = head.parts[0].weight
    logarithms = torch.full((conditional.features,), math.log(level.scale)).to(like)
    if scales is not None:
        logarithms[: len(scales)] = torch.as_tensor(np.log(scales)).to(like)
    _set_(conditional.loc, location, torch.zeros_like(logarithms))
    gain = conditional.gain
    reads = None if log_scale is None else log_scale / gain
    _set_(conditional.log_scale, reads, logarithms / gain)


def _set_(head: Any, weight: Tensor | None, bias: Tensor) -> None:
    for part in head.parts:
        part.weight.zero_()
    if weight is not None:
        head.parts[0].weight[: len(weight)] = weight
    head.parts[0].bias.copy_(bias)
