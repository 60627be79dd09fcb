"""Gaussian pixels: the likelihood of standardised images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.errors import check_choice, check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.likelihoods.level_rows import image_of
from pyro_vae.programs.networks import MLP, MergedLinear

SCALES = ("fixed", "shared", "pixel")
LEAST = 0.01  # a learned scale, where rows vary by about one


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


class Gaussian(nn.Module):
    """p(x | z) = prod_d Normal(x_d; mean_d(z), scale_d^2), a density in nats with its normaliser.

    ==========  =================================================================================
    scale       standard deviation of a pixel
    ==========  =================================================================================
    fixed       ``noise``, for good. Vas 2024 has a linear mean and 0.4, as the sparse coding of
                Olshausen and Field 1996 (https://doi.org/10.1038/381607a0) has a linear one
    shared      ``noise exp(a)``, one for all pixels, learned (as in probabilistic PCA: Tipping and
                Bishop 1999, https://doi.org/10.1111/1467-9868.00196)
    pixel       ``noise exp(a_d(z))``, one for each, from the network (Kingma and Welling 2014,
                https://arxiv.org/abs/1312.6114, appendix C.2)
    ==========  =================================================================================

    Learned scales are 0.01 at least: a pixel that is the same in all images would have no best one.

    Args:
        in_features, hidden: of the network, as ``MLP`` has them.
        features: pixels D.
        noise: the scale, or what it is near before training.
        decoder, image_shape: for a network of images, see
            :mod:`pyro_vae.programs.likelihoods`; one plane a channel, two where the scale is
            ``pixel``: means, then a.

    Raises:
        InputError: noise that is not positive, or an unknown kind of scale.
    """

    pixels = "standardised"
    settings: ClassVar = {
        "noise": Setting(0.4, "standard deviation of a pixel, where it is learned before training"),
        "scale": Setting("fixed", f"of the pixels: {', '.join(SCALES)}", kind=str),
    }

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        features: int,
        *,
        noise: float = 0.4,
        scale: str = "fixed",
        activation: str = "softplus",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.noise = check_positive("noise", noise)
        self.scale = check_choice("scale of the likelihood 'gaussian'", scale, SCALES)
        self.features = features
        self.trunk = MLP(in_features, hidden, activation)
        self.log_scale: Any = None  # of its own; else it is one of the decoder's planes, or fixed
        self.loc: nn.Module
        if decoder is not None:
            self.loc = decoder(image_of(features, image_shape)[0] * (2 if scale == "pixel" else 1))
        else:
            self.loc = MergedLinear(self.trunk.out_features, features)
            if scale == "pixel":
                self.log_scale = MergedLinear(self.trunk.out_features, features)
        if scale == "shared":
            self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, *z: Tensor) -> dist.TorchDistribution:
        h = self.trunk(*z)
        loc = self.loc(h)
        if self.scale == "fixed":
            return FixedNoiseNormal(loc, self.noise)
        if self.scale == "shared":
            raw = self.log_scale
        elif self.log_scale is None:
            loc, raw = loc.chunk(2, -1)
        else:
            raw = self.log_scale(h)
        return dist.Normal(loc, (self.noise * raw.exp()).clamp(min=LEAST)).to_event(1)


# Its name while the noise was always fixed.
FixedNoiseGaussian = Gaussian
