"""burda1 in pythae: ``pythae.models.IWAE`` with networks of our sizes, trained as its trainer does.

pythae's loss value is not the bound: it is the surrogate ``-sum_k w~_k log w_k`` with detached
normalised weights, averaged over the batch, whose gradient is that of the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from pythae.models import IWAE, IWAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import Tensor, nn

from benchmarks.cases import Case


def _tanh_layers(*widths: int) -> list[nn.Module]:
    return [layer for a, b in pairwise(widths) for layer in (nn.Linear(a, b), nn.Tanh())]


class Encoder(BaseEncoder):
    """784-200-200 -> location and log-variance of 50 units."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(*_tanh_layers(784, 200, 200))
        self.loc, self.log_variance = nn.Linear(200, 50), nn.Linear(200, 50)

    def forward(self, x: Tensor) -> ModelOutput:
        h = self.trunk(x)
        return ModelOutput(embedding=self.loc(h), log_covariance=self.log_variance(h))


class Decoder(BaseDecoder):
    """50-200-200-784; probabilities, which pythae's cross entropy wants."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_tanh_layers(50, 200, 200), nn.Linear(200, 784), nn.Sigmoid())

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=self.layers(z))


def build(case: Case, num_particles: int) -> IWAE:
    """pythae's model with our pair's parameters."""
    config = IWAEConfig(
        input_dim=(784,), latent_dim=50, reconstruction_loss="bce", number_samples=num_particles
    )
    decoder, encoder = Decoder(), Encoder()
    ours = [parameter for part in case.pair() for parameter in part.parameters()]
    theirs = [  # in the order of ours
        *decoder.parameters(),
        *encoder.loc.parameters(),
        *encoder.log_variance.parameters(),
        *encoder.trunk.parameters(),
    ]
    with torch.no_grad():
        for target, source in zip(theirs, ours, strict=True):
            target.copy_(source)
        for parameter in encoder.log_variance.parameters():
            parameter.mul_(2)  # our head gives a log-scale, theirs a log-variance
    return IWAE(config, encoder=encoder, decoder=decoder)


def prepare(case: Case, num_particles: int, x: Tensor) -> Callable[[], float]:
    """A step of pythae's ``BaseTrainer``, whose default is an Adam that is not fused."""
    model = build(case, num_particles).train()
    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    inputs = {"data": x}

    def step() -> float:
        output = model(inputs, epoch=1, dataset_size=len(x), uses_ddp=False)
        adam.zero_grad()
        output.loss.backward()
        adam.step()
        return output.loss.item()

    return step


def loss_at(case: Case, x: Tensor, z: Tensor) -> float:
    """pythae's loss value at given latents (K, B, 50)."""
    model = build(case, len(z))
    model._sample_gauss = lambda mu, std: (z.transpose(0, 1).contiguous(), None)
    with torch.no_grad():
        return model({"data": x}).loss.item()
