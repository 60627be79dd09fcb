"""Modules that map tensors to a distribution: the parts of models and guides.

Every conditional takes tensors of shape (..., F) and returns a Pyro distribution whose batch shape
is ``(...)`` and whose event is the last axis, so that its log-probability is one number (nats) per
particle and datum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.errors import InputError, check_choice, check_positive
from pyro_vae.networks import MLP, MergedLinear

FAMILIES = {"normal": dist.Normal, "laplace": dist.Laplace}


class LocScale(nn.Module):
    """p(z | h) or q(z | h): independent Normal or Laplace units, parameters from networks.

    ``loc = A h' + a`` and ``scale = exp(gain (B h' + b))`` with ``h' = MLP(h)``; without hidden
    layers the two heads read (and merge) the inputs themselves.

    Args:
        in_features: width of the input, or widths of several inputs that the first layer merges.
        hidden: widths of the hidden layers.
        features: number of units D.
        family: "normal" (scale is the standard deviation) or "laplace" (scale is b; Var = 2 b^2).
        gain: 0.5 reads the head as a log-variance, scale = sqrt(exp(s)) for both families (S0 as
            its authors run it); 1.0 reads it as a log-scale (S4, appendix D).

    Two heads equal one head split in two, without the copies that the split costs.
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        features: int,
        *,
        family: str = "normal",
        activation: str = "softplus",
        gain: float = 0.5,
    ) -> None:
        super().__init__()
        self.family = FAMILIES[check_choice("family", family, FAMILIES)]
        self.gain = gain
        self.in_features = in_features
        self.features = features
        self.trunk = MLP(in_features, hidden, activation) if hidden else None
        width = hidden[-1] if hidden else in_features
        self.loc = MergedLinear(width, features)
        self.log_scale = MergedLinear(width, features)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        if self.trunk is not None:
            inputs = (self.trunk(*inputs),)
        scale = torch.exp(self.gain * self.log_scale(*inputs))
        return self.family(self.loc(*inputs), scale).to_event(1)


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


class BernoulliPixels(dist.TorchDistribution):
    """Independent Bernoulli units with logits; event is the last axis.

    ``log p(x) = <logits, x> - sum softplus(logits)``. The same density as
    ``Bernoulli(logits=logits).to_event(1)``, summed before arrays of all pixels of all particles
    are negated and copied, which took a quarter of a step of burda1 at K = 50.
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own convention
    support = constraints.independent(constraints.boolean, 1)

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape) + self.event_shape
        return BernoulliPixels(self.logits.expand(shape), self._validate_args)

    @property
    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)

    @property
    def variance(self) -> Tensor:
        return self.mean * (1 - self.mean)

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        with torch.no_grad():
            return torch.bernoulli(self.mean.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (self.logits * value).sum(-1) - F.softplus(self.logits).sum(-1)


class FixedNoiseGaussian(nn.Module):
    """p(x | z) = Normal(mean(z), noise^2 I) with fixed noise (S0: a linear mean and 0.4).

    The squared error is divided by 2 noise^2 and summed over pixels, with the normaliser kept: a
    density in nats, not a mean squared error.
    """

    pixels = "standardised"

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        features: int,
        *,
        noise: float = 0.4,
        activation: str = "softplus",
    ) -> None:
        super().__init__()
        self.noise = check_positive("noise", noise)
        self.features = features
        self.trunk = MLP(in_features, hidden, activation)
        self.loc = MergedLinear(self.trunk.out_features, features)

    def forward(self, z: Tensor) -> FixedNoiseNormal:
        return FixedNoiseNormal(self.loc(self.trunk(z)), self.noise)


class Bernoulli(nn.Module):
    """p(x | z) = independent Bernoulli pixels with logits from a network (S4, appendix A)."""

    pixels = "binary"

    def __init__(
        self, in_features: int, hidden: Sequence[int], features: int, *, activation: str = "tanh"
    ) -> None:
        super().__init__()
        self.features = features
        self.trunk = MLP(in_features, hidden, activation)
        self.logits = MergedLinear(self.trunk.out_features, features)

    def set_output_mean_(self, mean: Tensor) -> None:
        """Set the output bias to logit(clip(mean, 0.001, 0.999)); mean of training pixels, (D,)."""
        if mean.shape != (self.features,):
            raise InputError(f"pixel mean has shape {tuple(mean.shape)}, not ({self.features},)")
        with torch.no_grad():
            self.logits.parts[0].bias.copy_(torch.logit(mean.clamp(1e-3, 1 - 1e-3)))

    def forward(self, z: Tensor) -> dist.TorchDistribution:
        return BernoulliPixels(self.logits(self.trunk(z)))
