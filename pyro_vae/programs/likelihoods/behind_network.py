"""A likelihood whose inputs pass a network that is not its own first."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn


class BehindNetwork(nn.Module):
    """p(x | z1, ..., zn) = p(x | h), h = network(z1, ..., zn).

    For networks of other kinds than likelihoods make themselves, and for decoders that read several
    levels.

    Args:
        network: with ``out_features``. likelihood: of as many inputs.
    """

    def __init__(self, network: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.network, self.inner = network, likelihood

    @property
    def features(self) -> int:
        """D, the width of a row."""
        return self.inner.features

    @property
    def pixels(self) -> str:
        """The pixel space that it is a likelihood for."""
        return self.inner.pixels

    def forward(self, *z: Tensor) -> dist.TorchDistribution:
        return self.inner(self.network(*z))
