"""Priors of the top latent: modules that return a distribution when called without arguments."""

from __future__ import annotations

from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import nn

from pyro_vae.errors import check_choice, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.conditionals import FAMILIES


class StandardPrior(nn.Module):
    """Independent Normal(0, 1) or Laplace(0, 1) units; batch shape (), event shape (features,).

    The Laplace has scale b = 1 (variance 2), so "standard" means scale one for both families.
    """

    settings: ClassVar[dict[str, Setting]] = {}

    def __init__(self, features: int, family: str = "normal") -> None:
        super().__init__()
        self.family = FAMILIES[check_choice("family", family, FAMILIES)]
        self.features = check_count("number of units", features)
        # Buffers follow .to(device) and .double(); they are constants, so they are not saved.
        self.register_buffer("loc", torch.zeros(features), persistent=False)
        self.register_buffer("scale", torch.ones(features), persistent=False)

    def forward(self) -> dist.TorchDistribution:
        return self.family(self.loc, self.scale).to_event(1)
