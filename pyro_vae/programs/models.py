"""Generative programs p(x, z1, ..., zL)."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
from torch import Tensor, nn

from pyro_vae.errors import check_data


class Generative(nn.Module):
    """What this library's generative programs have in common.

    Latents are z1 (next to the data) to zL (top), ``conditionals`` those of z1..z_{L-1}; called
    with ``x=None`` a program draws ``num_data`` images.
    """

    reads_numbers = True  # integers given as data are pixels or counts, not labels
    prior: nn.Module
    conditionals: nn.ModuleList
    likelihood: nn.Module

    @property
    def num_levels(self) -> int:
        return len(self.conditionals) + 1

    @property
    def recordable(self) -> bool:
        """Whether a record of its tensor operations tells all that it does."""
        return True

    @property
    def num_pixels(self) -> int:
        """D, the width of a row of data."""
        return self.likelihood.features

    @property
    def latent_names(self) -> tuple[str, ...]:
        """z1, ..., zL."""
        return tuple(f"z{level}" for level in range(1, self.num_levels + 1))

    @property
    def latent_sizes(self) -> tuple[int, ...]:
        """Number of units of z1, ..., zL."""
        return (*(part.features for part in self.conditionals), self.prior.features)


class HierarchicalVAE(Generative):
    """p(x, z1..zL) = p(zL) prod_l p(z_l | z_{l+1}) p(x | z1), any number of levels.

    Two levels are eq. 3.2 of Vas 2024; the ladder goes back to Rezende et al. 2014
    (https://arxiv.org/abs/1401.4082).

    Args:
        prior: module that returns p(zL) when called.
        conditionals: modules for p(z1 | z2), ..., p(z_{L-1} | zL), from the data upward; empty for
            one level.
        likelihood: module for p(x | z1); its ``features`` is the number of pixels D.

    Sites: ``x`` and ``z1`` (next to the data) to ``zL`` (top), all inside one plate ``data``.

    Called with ``x`` of shape (B, D) it scores the data. Called with ``x=None`` it draws
    ``num_data`` images from the model. Raises InputError where x has another shape.
    """

    def __init__(self, prior: nn.Module, conditionals: Sequence[nn.Module], likelihood: nn.Module):
        super().__init__()
        self.prior = prior
        self.conditionals = nn.ModuleList(conditionals)
        self.likelihood = likelihood

    def decode(self, z1: Tensor) -> Tensor:
        """E[x | z1]: z1 (..., D_1) -> (..., D), in the units of the data."""
        return self.likelihood(z1).mean

    def forward(self, x: Tensor | None = None, num_data: int = 1) -> Tensor:
        if x is not None:
            check_data(x, self.likelihood.features)
            num_data = len(x)
        with pyro.plate("data", num_data, dim=-1):
            z = pyro.sample(f"z{self.num_levels}", self.prior())
            for level in range(self.num_levels - 1, 0, -1):
                z = pyro.sample(f"z{level}", self.conditionals[level - 1](z))
            return pyro.sample("x", self.likelihood(z), obs=x)
