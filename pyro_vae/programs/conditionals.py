"""Modules that map tensors to a distribution: the parts of models and guides.

Every conditional takes tensors of shape (..., F) and returns a Pyro distribution whose batch shape
is ``(...)`` and whose event is the last axis, so that its log-probability is one number (nats) per
particle and datum.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro.distributions as dist
from torch import Tensor, nn

from pyro_vae.errors import check_choice
from pyro_vae.programs.networks import ImageLayers, has_gates, make_network, merged

FAMILIES = {"normal": dist.Normal, "laplace": dist.Laplace}
LOG_SCALES = (-10.0, 10.0)  # behind gated layers: scales from 4.5e-5 to 22,000


class LocScale(nn.Module):
    """p(z | h) or q(z | h): independent Normal or Laplace units, parameters from networks.

    ``loc = A h' + a`` and ``scale = exp(gain (B h' + b))`` with ``h' = MLP(h)``; without hidden
    layers the two heads read (and merge) the inputs themselves. Between maps of one height and
    width the heads are convolutions of 1x1 (``networks.merged``).

    Behind gated layers log-scales are clamped to [-10, 10], inside of which that changes nothing:
    such layers grow with the square of what another level draws, and the exponential of it would
    now and then be a scale of 0 or infinity, and weights no numbers. Elsewhere nothing is clamped,
    so that a datum beyond all densities is told and not hidden.

    Args:
        in_features: width of the input, or widths of several inputs that the first layer merges.
        hidden: widths of the hidden layers, or the layers of an encoder of images.
        features: number of units D; ``Maps`` where they have places.
        family: "normal" (scale is the standard deviation) or "laplace" (scale is b; Var = 2 b^2).
        gain: 0.5 reads the head as a log-variance, scale = sqrt(exp(s)) for both families, as
            the authors of Vas 2024 run it; 1.0 reads it as a log-scale (Arnal et al. 2021,
            appendix D).
        network: kind of the hidden layers, of ``networks.NETWORKS``.

    Two heads equal one head split in two, without the copies that the split costs.
    """

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int] | ImageLayers,
        features: int,
        *,
        family: str = "normal",
        activation: str = "softplus",
        gain: float = 0.5,
        network: str = "mlp",
    ) -> None:
        super().__init__()
        self.family = FAMILIES[check_choice("family", family, FAMILIES)]
        self.gain = gain
        self.in_features = in_features
        self.features = features
        self.trunk = make_network(in_features, hidden, activation, network) if hidden else None
        self.gated = self.trunk is not None and has_gates(self.trunk)
        width: Any = in_features if self.trunk is None else self.trunk.out_features
        self.loc = merged(width, features)
        self.log_scale = merged(width, features)

    def forward(self, *inputs: Tensor) -> dist.TorchDistribution:
        return self.units(*self.read(*inputs))

    def read(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the heads read: the last hidden layer, or the inputs themselves."""
        return inputs if self.trunk is None else (self.trunk(*inputs),)

    def units(self, *read: Tensor) -> dist.TorchDistribution:
        """The units at the location and scale that the heads give."""
        log_scale = self.gain * self.log_scale(*read)
        if self.gated:
            log_scale = log_scale.clamp(*LOG_SCALES)
        return self.family(self.loc(*read), log_scale.exp()).to_event(1)
