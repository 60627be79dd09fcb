"""Pairs of convolutions in bare PyTorch: torch's layers in torch's layout, one eager loss.

They are the reference of ``benchmarks/image_step.py``: the same weights, densities and noise as the
library's pair, with ``torch.nn.Conv2d`` and torch's weight normalisation, and the likelihoods as
their formulas say them. What the library does about layouts and products is not in here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from pyro_vae.programs.likelihoods import LogisticMixture
from pyro_vae.programs.networks import (
    ELU,
    ChannelAttention,
    DenseBlock,
    Folded,
    ImageDecoder,
    WeightNormConv,
)
from pyro_vae.programs.networks.dense_blocks import DenseStep
from pyro_vae.programs.networks.image_layers import ChannelsFirst

HALF, TOP = 127.5, 255


class BarePair(nn.Module):
    """``pair(x) -> loss``, minus the bound summed over the data, with the weights of another pair.

    Args:
        model, guide: of the model ``image``. shape: (C, H, W) of its images.
    """

    def __init__(self, model: nn.Module, guide: nn.Module, shape: tuple[int, int, int]) -> None:
        super().__init__()
        (head,) = guide.conditionals
        self.shape, self.gain = shape, head.gain
        self.encoder = bare(guide.encoders[0].net)
        self.loc, self.log_scale = (_head(part.parts[0]) for part in (head.loc, head.log_scale))
        self.decoder = _decoder(model.likelihood.planes)
        self.components = None
        if isinstance(model.likelihood, LogisticMixture):
            self.components = model.likelihood.components

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *self.shape)
        h = self.encoder(images)
        q = Normal(self.loc(h), torch.exp(self.gain * self.log_scale(h)), validate_args=False)
        z = q.rsample()
        planes, levels = self.decoder(z), TOP * images
        if self.components is None:
            log_p = log_logistic(levels, *planes.chunk(2, 1))
        else:
            log_p = log_mixture(levels, planes, self.components)
        prior = Normal(0.0, 1.0, validate_args=False)
        rate = q.log_prob(z) - prior.log_prob(z)
        return -(log_p.flatten(1).sum(1) - rate.flatten(1).sum(1)).sum()


def log_logistic(levels: Tensor, loc: Tensor, log_scale: Tensor) -> Tensor:
    """log P of every level; locations on [-1, 1], scales of 127.5 levels, tails in the end bins."""
    per_level = torch.exp(-log_scale.clamp(-7, 7)) / HALF
    lower = (levels - 0.5 - HALF - HALF * loc) * per_level
    upper = lower + per_level
    inside = torch.log(-torch.expm1(-per_level))
    not_black, not_white = levels > 0, levels < TOP
    return (
        inside * (not_black & not_white)
        - F.softplus(lower, threshold=40) * not_black
        - F.softplus(-upper, threshold=40) * not_white
    )


def log_mixture(levels: Tensor, planes: Tensor, components: int) -> Tensor:
    """log P of every place (N, H, W): mixtures, for colours coupled as by Salimans et al. 2017."""
    channels = levels.shape[1]
    coupled = channels == 3
    logits, rest = planes[:, :components], planes[:, components:]
    parts = rest.unflatten(1, (2 + coupled, components, channels)).unbind(1)
    loc, log_scale = parts[:2]
    if coupled:
        a, b, c = parts[2].tanh().unbind(2)
        red, green, _ = (levels[:, None] / HALF - 1).unbind(2)
        loc = loc + torch.stack((torch.zeros_like(a), a * red, b * red + c * green), 2)
    log_p = log_logistic(levels[:, None], loc, log_scale).sum(2)
    return (log_p + logits.log_softmax(1)).logsumexp(1)


class BareStep(nn.Module):
    """[x, f(x)], channels put together."""

    def __init__(self, new: nn.Module) -> None:
        super().__init__()
        self.new = new

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.new(x)], 1)


class BareAttention(nn.Module):
    """x times a factor per channel, from the channels' means."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.factor = nn.Sequential(*layers, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(x.mean((2, 3), keepdim=True))


def bare(layer: nn.Module) -> nn.Module:
    """A layer of the library's networks as torch has it."""
    match layer:
        case WeightNormConv():
            return layer.conv
        case ChannelAttention():
            return BareAttention(layer.squeeze.conv, bare(layer.activation), layer.excite.conv)
        case DenseStep():
            return BareStep(bare(layer.new))
        case ELU():
            return nn.ELU()
        case ChannelsFirst():
            return nn.Identity()
        case DenseBlock() | nn.Sequential():
            return nn.Sequential(*map(bare, layer))
    return layer


def _head(layer: nn.Module) -> nn.Module:
    """Of maps (N, C, H, W)."""
    return layer.net if isinstance(layer, Folded) else nn.Sequential(nn.Flatten(), layer)


def _decoder(decoder: ImageDecoder) -> nn.Module:
    layers = bare(decoder.net.net)
    if decoder.spread is None:
        return layers
    maps = nn.Unflatten(1, decoder.net.in_features.shape)
    return nn.Sequential(decoder.spread.parts[0], maps, *layers)
