"""Likelihoods of 8-bit images: rows of fractions outside, whole levels of images inside."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae.datasets.pixel_space import OFF_LEVEL, pixel_space
from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.errors import InputError
from pyro_vae.programs.networks import MLP, MergedLinear

SPACE = pixel_space("levels")
NUM_LEVELS = 256
TOP = NUM_LEVELS - 1


class LevelFractions(constraints.Constraint):
    """Whole levels divided by the highest one: 0, 1/255, ..., 1, up to rounding."""

    is_discrete = True
    levels = NUM_LEVELS

    def check(self, value: Tensor) -> Tensor:
        exact = value * TOP
        level = exact.round()
        return ((exact - level).abs() <= OFF_LEVEL) & (level >= 0) & (level <= TOP)


class Levels(Broadcasting):
    """Rows of fractions x = v / 255, (..., D), of which v are whole levels of images (C, H, W).

    ``P(x) = P(v)``: a probability of levels, no density of fractions. Draws, mean and variance come
    back as rows of fractions, channel first.

    Args:
        base_dist: of levels 0..255, of event shape (C, H, W).

    Raises:
        InputError: with validation, values that are not whole levels / 255.
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own convention
    support = constraints.independent(LevelFractions(), 1)
    allowed = f"whole levels from 0 to {TOP}, divided by {TOP}"

    def __init__(
        self, base_dist: dist.TorchDistribution, validate_args: bool | None = None
    ) -> None:
        self.base_dist = base_dist
        width = base_dist.event_shape.numel()
        super().__init__(base_dist.batch_shape, torch.Size((width,)), validate_args)

    def expand(self, batch_shape, _instance=None):
        expanded = copy.copy(self)
        expanded.base_dist = self.base_dist.expand(batch_shape)
        expanded._batch_shape = torch.Size(batch_shape)
        return expanded

    @property
    def mean(self) -> Tensor:
        return self._rows(self.base_dist.mean) / TOP

    @property
    def variance(self) -> Tensor:
        return self._rows(self.base_dist.variance) / TOP**2

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        return self._rows(self.base_dist.sample(sample_shape)) / TOP

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        levels = (value * TOP).round()
        return self.base_dist.log_prob(
            levels.reshape(value.shape[:-1] + self.base_dist.event_shape)
        )

    def _rows(self, images: Tensor) -> Tensor:
        return images.flatten(-len(self.base_dist.event_shape))


class LevelsLikelihood(nn.Module):
    """p(x | z) of rows x = levels / 255 from planes of numbers, some for every place of the image.

    Args:
        in_features, hidden, activation: of the network, as ``MLP`` has them, whose linear head
            gives the planes.
        features: numbers of a row, D = C H W.
        planes: numbers for every place.
        decoder: makes a network of images in the place of the MLP and its head, see
            :mod:`pyro_vae.programs.likelihoods`.
        image_shape: (C, H, W); None for rows that are no images, of one channel and one line.

    Raises:
        InputError: rows that are no such images.
    """

    pixels = str(SPACE)

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        image_shape: tuple[int, int, int],
        planes: int,
        *,
        activation: str,
        decoder: Callable[[int], nn.Module] | None,
    ) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.features = math.prod(image_shape)
        self.trunk = MLP(in_features, hidden, activation)
        self.planes: nn.Module
        places = math.prod(image_shape[1:])
        if decoder is None:
            self.planes = MergedLinear(self.trunk.out_features, planes * places)
        else:
            self.planes = decoder(planes)

    def forward(self, *z: Tensor) -> Levels:
        planes = self.planes(self.trunk(*z))
        return Levels(self.of_planes(planes.unflatten(-1, (-1, *self.image_shape[1:]))))

    def of_planes(self, planes: Tensor) -> dist.TorchDistribution:
        """The distribution of levels (..., C, H, W) with these planes (..., P, H, W)."""
        raise NotImplementedError


def image_of(features: int, image_shape: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) of rows of so many numbers; one channel and one line where nobody says.

    Raises:
        InputError: rows that are no images of that shape.
    """
    if image_shape is None:
        return 1, 1, features
    if len(image_shape) != 3 or math.prod(image_shape) != features:
        raise InputError(
            f"rows of {features} numbers are no images (C, H, W) = {tuple(image_shape)}"
        )
    channels, height, width = image_shape
    return channels, height, width
