"""The same models in bare PyTorch: no Pyro, no library, one eager loop as a careful user writes it.

They are the reference of ``benchmarks/step.py``: same layers, same densities, same noise. The first
layer that merges x and z is split, heads are two layers, the fixed noise is a number.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)


def _linears(*widths: int) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))


def _hidden(layers: nn.ModuleList, h: Tensor, activation) -> Tensor:
    for layer in layers:
        h = activation(layer(h))
    return h


def _log_normal(z: Tensor, loc: Tensor | float, scale: Tensor, log_scale: Tensor) -> Tensor:
    return -(((z - loc) / scale).square() * 0.5 + log_scale).sum(-1) - z.shape[-1] * LOG_SQRT_2PI


def _log_standard_normal(z: Tensor) -> Tensor:
    return -0.5 * z.square().sum(-1) - z.shape[-1] * LOG_SQRT_2PI


def _log_laplace(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return (-torch.log(2 * scale) - (z - loc).abs() / scale).sum(-1)


def _laplace_noise(shape: tuple[int, ...]) -> Tensor:
    u = torch.empty(shape).uniform_(torch.finfo(torch.float32).eps - 1, 1)
    return u.sign() * torch.log1p(-u.abs().clamp(min=torch.finfo(torch.float32).tiny))


def _loss(log_w: Tensor) -> Tensor:
    return -(torch.logsumexp(log_w, 0) - math.log(len(log_w))).sum()


class BareBurda1(nn.Module):
    """784-200-200-50-200-200-784, tanh, Bernoulli."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = _linears(50, 200, 200)
        self.logits = nn.Linear(200, 784)
        self.loc, self.log_scale = nn.Linear(200, 50), nn.Linear(200, 50)
        self.encoder = _linears(784, 200, 200)

    def forward(self, x: Tensor, num_particles: int) -> Tensor:
        h = _hidden(self.encoder, x, torch.tanh)
        loc, log_scale = self.loc(h), self.log_scale(h)
        scale = log_scale.exp()
        z = loc + scale * torch.randn(num_particles, len(x), 50)
        logits = self.logits(_hidden(self.decoder, z, torch.tanh))
        target = x.expand_as(logits)
        log_p = -F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(-1)
        log_w = log_p + _log_standard_normal(z) - _log_normal(z, loc, scale, log_scale)
        return _loss(log_w)


class BareTD(nn.Module):
    """S0's two-level pair with a top-down guide, softplus."""

    def __init__(self, encoders: tuple, signal: tuple[int, ...]) -> None:
        super().__init__()
        a, b = encoders
        self.prior = _linears(20, *signal)
        self.prior_loc, self.prior_log_scale = (
            nn.Linear(signal[-1], 450),
            nn.Linear(signal[-1], 450),
        )
        self.decoder = nn.Linear(450, 400)
        self.loc_x, self.loc_z = nn.Linear(a[-1], 450), nn.Linear(signal[-1], 450, bias=False)
        self.log_x, self.log_z = nn.Linear(a[-1], 450), nn.Linear(signal[-1], 450, bias=False)
        self.top_loc, self.top_log_scale = nn.Linear(b[-1], 20), nn.Linear(b[-1], 20)
        self.mlp_a, self.mlp_b = _linears(400, *a), _linears(a[-1], *b)
        self.mlp_c = _linears(20, *signal)

    def forward(self, x: Tensor, num_particles: int) -> Tensor:
        shape = (num_particles, len(x))
        encoding = _hidden(self.mlp_a, x, F.softplus)
        h = _hidden(self.mlp_b, encoding, F.softplus)
        loc2, log2 = self.top_loc(h), 0.5 * self.top_log_scale(h)
        scale2 = log2.exp()
        z2 = loc2 + scale2 * torch.randn(*shape, 20)
        signal = _hidden(self.mlp_c, z2, F.softplus)
        loc1 = self.loc_x(encoding) + self.loc_z(signal)
        scale1 = torch.exp(0.5 * (self.log_x(encoding) + self.log_z(signal)))
        z1 = loc1 - scale1 * _laplace_noise((*shape, 450))
        h = _hidden(self.prior, z2, F.softplus)
        prior_scale = torch.exp(0.5 * self.prior_log_scale(h))
        log_x = (x - self.decoder(z1)).square().sum(-1) * (-0.5 / 0.4**2)
        log_x = log_x - 400 * (math.log(0.4) + LOG_SQRT_2PI)
        log_p = log_x + _log_laplace(z1, self.prior_loc(h), prior_scale) + _log_standard_normal(z2)
        log_q = _log_laplace(z1, loc1, scale1) + _log_normal(z2, loc2, scale2, log2)
        return _loss(log_p - log_q)


@torch.no_grad()
def copy_parameters_(bare: nn.Module, model: nn.Module, guide: nn.Module) -> None:
    """Give the bare twin the parameters of a pair; both list them in the same order."""
    ours = [*model.parameters(), *guide.parameters()]
    for target, source in zip(bare.parameters(), ours, strict=True):
        if target.shape != source.shape:
            raise ValueError(f"twin has {tuple(target.shape)}, pair has {tuple(source.shape)}")
        target.copy_(source)
