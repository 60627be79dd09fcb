"""Gaussian pixels of one fixed noise: the likelihood of standardised images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.errors import check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.networks import MLP, MergedLinear


class FixedNoiseNormal(dist.TorchDistribution):
    """Normal with independent units of one common, constant scale; event is the last axis.

    ``log p(x) = -|x - loc|^2 / (2 scale^2) - D log(scale sqrt(2 pi))``. The same density as
    ``Normal(loc, scale).to_event(1)`` without an array of D equal scales per particle.
    """

    arg_constraints = {"loc": constraints.real_vector}  # noqa: RUF012 - torch's own convention
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale: float, validate_args: bool | None = None) -> None:
        self.loc = loc
        self.scale = scale
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape) + self.event_shape
        return FixedNoiseNormal(self.loc.expand(shape), self.scale, self._validate_args)

    @property
    def mean(self) -> Tensor:
        return self.loc

    @property
    def variance(self) -> Tensor:
        return torch.full_like(self.loc, self.scale**2)

    def rsample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        shape = self._extended_shape(sample_shape)
        return self.loc + self.scale * torch.randn(
            shape, dtype=self.loc.dtype, device=self.loc.device
        )

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_norm = self.event_shape[0] * math.log(self.scale * math.sqrt(2 * math.pi))
        return (value - self.loc).square().sum(-1) * (-0.5 / self.scale**2) - log_norm


class FixedNoiseGaussian(nn.Module):
    """p(x | z) = Normal(mean(z), noise^2 I) with fixed noise.

    Vas 2024 has a linear mean and 0.4, as the sparse coding of Olshausen and Field 1996
    (https://doi.org/10.1038/381607a0) has a linear one.

    The squared error is divided by 2 noise^2 and summed over pixels, with the normaliser kept: a
    density in nats, not a mean squared error.
    """

    pixels = "standardised"
    settings: ClassVar = {"noise": Setting(0.4, "standard deviation of every pixel")}

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        features: int,
        *,
        noise: float = 0.4,
        activation: str = "softplus",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.noise = check_positive("noise", noise)
        self.features = features
        self.trunk = MLP(in_features, hidden, activation)
        if decoder is None:
            self.loc = MergedLinear(self.trunk.out_features, features)
        else:
            self.loc = decoder(image_shape[0])

    def forward(self, *z: Tensor) -> FixedNoiseNormal:
        return FixedNoiseNormal(self.loc(self.trunk(*z)), self.noise)
