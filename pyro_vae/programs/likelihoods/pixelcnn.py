"""Autoregressive pixels: every place of the image given those before it, and z."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from tqdm import tqdm

from pyro_vae.distributions import CategoricalLevels
from pyro_vae.distributions.broadcasting import Broadcasting
from pyro_vae.errors import InputError, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.likelihoods.level_rows import (
    NUM_LEVELS,
    SPACE,
    TOP,
    LevelFractions,
    image_of,
)
from pyro_vae.programs.likelihoods.logistic import mixture_of, planes_of_mixture
from pyro_vae.programs.networks import MLP, Maps, MergedLinear, PixelNetwork, place_by_place

PATIENCE = 2.0  # seconds after which drawing shows how far it is


class PixelByPixel(Broadcasting):
    """p(x) = prod_i p(x_i | x_1, ..., x_{i-1}) over the places i of an image, in reading order.

    The density of a given image takes one pass of the network. So does a draw, each place by itself
    (``networks.place_by_place``). Mean and variance have no closed form.

    Args:
        context: (..., maps H W), what the network is told beside the image.
        network: its parameters are read when the distribution is scored.
        of_planes: numbers (..., P, h, w) of some places -> the distribution of the whole numbers of
            their channels, of event shape (C, h, w).
        image: width of a row (..., C H W).
        top: what the whole numbers are divided by in a row.
    """

    arg_constraints = {"context": constraints.real}  # noqa: RUF012 - torch's own convention

    def __init__(
        self,
        context: Tensor,
        network: PixelNetwork,
        of_planes: Callable[[Tensor], dist.TorchDistribution],
        image: Maps,
        top: int,
        validate_args: bool | None = None,
    ) -> None:
        self.context, self.network, self.of_planes = context, network, of_planes
        self.image, self.top = image, top
        super().__init__(context.shape[:-1], torch.Size((image,)), validate_args)

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """Values of one number, in words."""
        return f"whole numbers from 0 to {self.top}, divided by {self.top}"

    @constraints.dependent_property(is_discrete=True)
    def support(self):
        levels = constraints.boolean if self.top == 1 else LevelFractions()
        return constraints.independent(levels, 1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        planes = self.network(value, self.context)
        levels = (value * self.top).round().unflatten(-1, self.image.shape)
        given = self.of_planes(planes.unflatten(-1, (-1, *self.image.places)))
        return self._per_batch(given.log_prob(levels))

    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008 - torch's own default
        shape = self._extended_shape(sample_shape)
        height, width = self.image.places
        with torch.no_grad():
            context = self.context.expand(*shape[:-1], -1)
            context = context.reshape(-1, context.shape[-1] // (height * width), height, width)
            known = place_by_place(self.network, context)
            x = context.new_empty(len(context), *self.image.shape)
            places = tqdm(
                product(range(height), range(width)),
                desc="drawing pixels",
                total=height * width,
                delay=PATIENCE,
                leave=False,
                disable=None,  # quiet where nobody looks
            )
            for row, column in places:
                place = self.of_planes(known.numbers(row, column)).sample() / self.top
                known.put(row, column, self.network.seen(place))
                x[..., row, column] = place[..., 0, 0]
        return x.reshape(shape)


class PixelCNN(nn.Module):
    """p(x | z) = prod_i p(x_i | z, x before i) for binary images, Bernoulli in every place.

    Masked convolutions over the image, to which maps from z are added (Gulrajani et al. 2017,
    https://arxiv.org/abs/1611.05013). A decoder that sees the whole image may leave z unused; a
    ``window`` makes z tell what is far away (Chen et al. 2017, https://arxiv.org/abs/1611.02731).

    Args:
        in_features, hidden, activation: of the network from z to the maps, as ``MLP`` has them,
            whose linear head gives the maps; ``decoder`` in its place makes one of images.
        features: D, the width of a row.
        image_shape: (C, H, W); None for one channel and one line.
        window, layers, width: see :class:`pyro_vae.programs.networks.PixelNetwork`.

    Raises:
        InputError: sizes that cannot be used, or rows that are no such images.
    """

    pixels: ClassVar[str] = "binary"
    settings: ClassVar = {
        "window": Setting(0, "places to each side that a pixel sees; 0 for all", kind=int),
        "layers": Setting(5, "masked layers after the first", kind=int),
        "width": Setting(32, "maps of every layer", kind=int),
    }
    top = 1

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        features: int,
        *,
        activation: str = "softplus",
        decoder: Callable[[int], nn.Module] | None = None,
        image_shape: tuple[int, int, int] | None = None,
        **sizes: int,
    ) -> None:
        super().__init__()
        self.image = Maps(image_of(features, image_shape))
        self.features = features
        self.network = PixelNetwork(self.image, self.outputs, **sizes)
        self.trunk = MLP(in_features, hidden, activation)
        self.context: nn.Module
        if decoder is None:
            maps = Maps((self.network.maps, *self.image.places))
            self.context = MergedLinear(self.trunk.out_features, maps)
        else:
            self.context = decoder(self.network.maps)

    @property
    def outputs(self) -> int:
        """Numbers that the distribution of a place takes."""
        return self.image.shape[0]

    def of_planes(self, planes: Tensor) -> dist.TorchDistribution:
        """The distribution of the channels (..., C, h, w) of some places."""
        return dist.Bernoulli(logits=planes, validate_args=False).to_event(3)

    def forward(self, *z: Tensor) -> PixelByPixel:
        context = self.context(self.trunk(*z))
        return PixelByPixel(context, self.network, self.of_planes, self.image, self.top)


class PixelCNNLevels(PixelCNN):
    """p(x | z) = prod_i p(x_i | z, x before i) for 256 levels: the same network, other outputs.

    Channels of a place are drawn together, from a mixture of logistics that couples three colours
    (Salimans et al. 2017, https://arxiv.org/abs/1701.05517), or of grey images from a categorical
    distribution over the levels (van den Oord et al. 2016).

    Args:
        components: of the mixture; 0 for a categorical distribution.

    Other arguments and errors as for :class:`PixelCNN`; InputError for categorical colours.
    """

    pixels: ClassVar[str] = str(SPACE)
    settings: ClassVar = {
        **PixelCNN.settings,
        "components": Setting(
            10, "logistics of a place; 0 for a categorical distribution of grey levels", kind=int
        ),
    }
    top = TOP

    def __init__(
        self,
        in_features: int | Sequence[int],
        hidden: Sequence[int],
        features: int,
        *,
        components: int = 10,
        image_shape: tuple[int, int, int] | None = None,
        **settings: Any,
    ) -> None:
        self.components = check_count(
            "components of the likelihood 'pixelcnn-levels'", components, 0
        )
        if components == 0 and image_of(features, image_shape)[0] > 1:
            raise InputError(
                "a categorical distribution (components=0) does not couple colours; allowed: grey "
                "images, or a mixture of components >= 1"
            )
        super().__init__(in_features, hidden, features, image_shape=image_shape, **settings)

    @property
    def outputs(self) -> int:
        if self.components == 0:
            return NUM_LEVELS
        return sum(planes_of_mixture(self.components, self.image.shape[0]))

    def of_planes(self, planes: Tensor) -> dist.TorchDistribution:
        if self.components == 0:
            return CategoricalLevels(planes.unflatten(-3, (SPACE.levels, -1)))
        return mixture_of(planes, self.components, self.image.shape[0])
