"""A prior of independent units whose locations and scales are learned."""

from __future__ import annotations

from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae.errors import check_choice, check_count, check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.conditionals import FAMILIES


class LearnedPrior(nn.Module):
    """p(z) = prod_u Normal(z_u; loc_u, exp(log_scale_u)), or Laplace; batch (), event (features,).

    It starts as the standard prior. Unlike that one it can follow the aggregated posterior in
    location and scale, unit by unit, which is the least that any learned prior does (the first
    step towards the VampPrior of Tomczak and Welling 2018, https://arxiv.org/abs/1705.07120).

    Args:
        features: number of units.
        family: "normal" or "laplace".
        scale: of every unit before training.

    Raises:
        InputError: an unknown family, or a scale that is not positive.
    """

    refit_rate: ClassVar = 1e-2
    settings: ClassVar = {"scale": Setting(1.0, "scale of every unit before training")}

    def __init__(self, features: int, family: str = "normal", *, scale: float = 1.0) -> None:
        super().__init__()
        self.family = FAMILIES[check_choice("family", family, FAMILIES)]
        self.features = check_count("number of units", features)
        start = torch.full((features,), check_positive("scale", scale)).log()
        self.loc = nn.Parameter(torch.zeros(features))
        self.log_scale = nn.Parameter(start)

    def forward(self) -> dist.TorchDistribution:
        return self.family(self.loc, self.log_scale.exp()).to_event(1)
