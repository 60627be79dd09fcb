"""Bernoulli pixels: the likelihood of binary images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.errors import InputError
from pyro_vae.options import Setting
from pyro_vae.programs.likelihoods.level_rows import image_of
from pyro_vae.programs.networks import MLP, MergedLinear


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


class Bernoulli(nn.Module):
    """p(x | z) = independent Bernoulli pixels with logits from a network.

    As in Kingma and Welling 2014 (https://arxiv.org/abs/1312.6114, appendix C.1).
    """

    pixels = "binary"
    settings: ClassVar[dict[str, Setting]] = {}

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        features: int,
        *,
        activation: str = "tanh",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
    ) -> None:
        super().__init__()
        self.features = features
        self.trunk = MLP(in_features, hidden, activation)
        self.logits: Any
        if decoder is None:
            self.logits = MergedLinear(self.trunk.out_features, features)
        else:
            self.logits = decoder(image_of(features, image_shape)[0])

    def initialise_(self, rows: Tensor) -> None:
        """Start from the training rows (N, D): the output bias from the mean of their pixels.

        A decoder of images has no bias per pixel, and starts on its own.
        """
        if isinstance(self.logits, MergedLinear):
            self.set_output_mean_(rows.mean(0))

    def set_output_mean_(self, mean: Tensor) -> None:
        """Set the output bias to logit(clip(mean, 0.001, 0.999)); mean of training pixels, (D,)."""
        if mean.shape != (self.features,):
            raise InputError(f"pixel mean has shape {tuple(mean.shape)}, not ({self.features},)")
        with torch.no_grad():
            self.logits.parts[0].bias.copy_(torch.logit(mean.clamp(1e-3, 1 - 1e-3)))

    def forward(self, *z: Tensor) -> dist.TorchDistribution:
        return BernoulliPixels(self.logits(self.trunk(*z)))
