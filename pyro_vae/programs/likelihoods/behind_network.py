"""Likelihoods around another one; that whose inputs pass a network first."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn


class AroundLikelihood(nn.Module):
    """A likelihood of the same rows as ``inner``, which it calls."""

    inner: Any

    @property
    def features(self) -> int:
        """D, the width of a row."""
        return self.inner.features

    @property
    def pixels(self) -> str:
        """The pixel space that it is a likelihood for."""
        return self.inner.pixels


class BehindNetwork(AroundLikelihood):
    """p(x | z1, ..., zn) = p(x | h), h = network(z1, ..., zn).

    For networks of other kinds than likelihoods make themselves, and for decoders that read several
    levels.

    Args:
        network: with ``out_features``.
        likelihood: of as many inputs.
    """

    def __init__(self, network: nn.Module, likelihood: nn.Module) -> None:
        super().__init__()
        self.network, self.inner = network, likelihood

    def forward(self, *z: Tensor) -> dist.TorchDistribution:
        return self.inner(self.network(*z))
