"""A combination of registered parts of a self-supervised VAE, whose levels are images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

import torch

from experiments.combining.combination import LOSSES, ONE_STEP, ROWS, Outcome, attempt, small
from pyro_vae.datasets import Dataset
from pyro_vae.programs.architectures import ARCHITECTURES, architecture
from pyro_vae.programs.likelihoods import LIKELIHOODS
from pyro_vae.programs.networks import Blocks, LevelNetworks, Stack
from pyro_vae.programs.posteriors import POSTERIORS
from pyro_vae.programs.priors import PRIORS

MODEL, PRESET = "ssvae", "few channels"
SHAPE = (3, 4, 4)  # of an image
# Every transform that there is, and two of them one after the other: two latents, and three.
TRANSFORMS = (
    "downscale:2",
    "greyscale",
    "quantise:bits=3",
    "sketch",
    "edges",
    "sketch downscale:2",
)
_NARROW = Stack((4, 4))
_FEW = Blocks(growth=2, steps=1)
FEW_CHANNELS = LevelNetworks(
    encoder=_NARROW,
    top_encoder=_NARROW,
    top_decoder=_NARROW,
    seen=_NARROW,
    above=_FEW,
    joint=_FEW,
    decoder=_NARROW,
    met=_FEW,
    width=3,
    channels=2,
    side=2,
)


@dataclass(frozen=True)
class OfImages:
    """Names of the parts; what is not named is the plainest there is.

    Attributes:
        transforms: with a space between them, see :data:`TRANSFORMS`.
    """

    prior: str = "standard"
    transforms: str = "downscale:2"
    posterior: str = "locscale"
    loss: str = "elbo"
    likelihood: str = "logistic"

    @property
    def axes(self) -> Mapping[str, Sequence]:
        return AXES_OF_IMAGES

    @property
    def data(self) -> Dataset:
        """What it is trained on."""
        return _colours()

    def settings(self) -> dict[str, Any]:
        """What the command line would be given, with networks of few channels."""
        prior = "spatial:scales=1,couplings=1,width=4" if self.prior == "spatial" else None
        return {
            "model": MODEL,
            "preset": PRESET,
            "guide": "meanfield",
            "transforms": tuple(self.transforms.split()),
            **LOSSES[self.loss],
            "prior": prior or small(self.prior),
            "posterior": small(self.posterior),
            "likelihood": small(self.likelihood),
            **ONE_STEP,
        }


AXES_OF_IMAGES: dict[str, tuple] = {
    "prior": tuple(PRIORS),
    "transforms": TRANSFORMS,
    "posterior": tuple(POSTERIORS),
    "loss": tuple(LOSSES),
    "likelihood": tuple(LIKELIHOODS),
}


@contextmanager
def few_channels() -> Iterator[None]:
    """While it lasts the model has a preset of networks of few channels."""
    few = replace(architecture(MODEL), between=FEW_CHANNELS)
    with patch.dict(ARCHITECTURES[MODEL], {PRESET: few}):
        yield


def attempt_of_images(combination: OfImages) -> Outcome:
    """:func:`attempt` with networks of few channels."""
    with few_channels():
        return attempt(combination)


@cache
def _colours() -> Dataset:
    """Few images in colour."""
    width = SHAPE[0] * SHAPE[1] * SHAPE[2]
    rows = torch.rand(ROWS, width, generator=torch.Generator().manual_seed(0))
    rows = (255 * rows).round() / 255
    return Dataset("made here", rows, rows[:0], rows, SHAPE, "levels")
