"""Encoders and decoders of images: stacks of convolutions between an image and its latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.networks.convolutions import (
    Down,
    GatedConv,
    Up,
    WeightNormConv,
    start_,
    with_own_layout,
)
from pyro_vae.programs.networks.dense_blocks import DenseBlock
from pyro_vae.programs.networks.folding import Folded, Maps
from pyro_vae.programs.networks.gated import GatedDense
from pyro_vae.programs.networks.mlp import ACTIVATIONS, MergedLinear

STARTING_ROWS = 128  # what convolutions start from: enough for means over their places


@dataclass(frozen=True)
class Stack:
    """Layers of one network of images, named from the image's own side downward.

    Attributes:
        widths: channels of a first convolution and after each change of the side; empty for the
            channels that blocks make, doubled where the side is halved and halved where it is
            doubled, without a first convolution (Gatopoulos 2020).
        steps: convolutions of 3x3 at every side, or steps of a DenseNet block.
        growth: channels that a step of a block adds; doubled and halved as channels are where
            ``widths`` is empty. 0 for plain convolutions.
        gated: convolutions outside of blocks, and the linear layer that spreads a latent over
            maps, are gated instead of being followed by the activation; that to the planes of an
            image has neither.
    """

    widths: tuple[int, ...] = ()
    steps: int = 0
    growth: int = 0
    gated: bool = False

    def __post_init__(self) -> None:
        for width in self.widths:
            check_count("a width of a network of images", width)
        if not self.widths and not (self.growth and self.steps):
            raise InputError("a network of images without widths wants blocks: growth and steps")


@dataclass(frozen=True)
class ImageLayers:
    """What the networks between images and z1 are made of.

    Attributes:
        encoder, decoder: their layers.
        halvings: how often the side is halved between an image and z1.
        channels: of z1 at every place of the smallest map, whose location and scale are read by
            convolutions of 1x1; None for a z1 without places, read and written by linear layers.
    """

    encoder: Stack
    decoder: Stack
    halvings: int = 2
    channels: int | None = None

    def __post_init__(self) -> None:
        check_count("halvings", self.halvings, 0)
        if self.channels is not None:
            check_count("channels of z1", self.channels)
        for what in ("encoder", "decoder"):
            widths = getattr(self, what).widths
            if widths and len(widths) != self.halvings + 1:
                raise InputError(
                    f"{self.halvings} halvings want {self.halvings + 1} widths of the {what}, got "
                    f"{len(widths)}"
                )

    def places(self, image: Maps) -> tuple[int, int]:
        """Height and width of the smallest map of an image.

        Raises:
            InputError: a side that cannot be halved so often.
        """
        factor = 2**self.halvings
        for side in image.places:
            if side % factor:
                raise InputError(
                    f"images of side {side} cannot be halved {self.halvings} times; allowed: "
                    f"multiples of {factor}"
                )
        return image.shape[1] // factor, image.shape[2] // factor

    def latent(self, image: Maps, units: int | None = None, name: str = "z1") -> int:
        """The units of z1, as ``Maps`` where they have places.

        Args:
            units: asked for; None for :attr:`channels` at every place.
            name: for the error.

        Raises:
            InputError: units that are no whole number of maps.
        """
        height, width = self.places(image)
        if self.channels is None:
            assert units is not None  # the preset has them
            return units
        if units is None:
            return Maps((self.channels, height, width))
        if units % (height * width):
            raise InputError(
                f"{units} units of {name} do not fit maps of {height} x {width} places; allowed: "
                f"multiples of {height * width}"
            )
        return Maps((units // (height * width), height, width))


def check_images(width: int) -> Maps:
    """The width of a row that is an image; InputError where it is none."""
    if isinstance(width, Maps):
        return width
    raise InputError(
        f"convolutions want images, and rows of {width} numbers are none; give their shape "
        "(--image-shape 28 28), or take a model without convolutions"
    )


class ImageEncoder(Folded):
    """Rows of images (..., C H W) -> features (..., F), flat maps of the smallest side.

    A first convolution, then at every side the stack's convolutions or its block, with a
    convolution of stride 2 between two sides. ``out_features`` is F, as ``Maps``.

    Args:
        image: width of a row.
        layers: with the encoder's stack.

    Raises:
        InputError: a side that cannot be halved so often.
    """

    def __init__(self, image: Maps, layers: ImageLayers, activation: str = "elu") -> None:
        places = layers.places(image)
        stack = layers.encoder
        modules: list[nn.Module] = []
        channels, growth = image.shape[0], stack.growth
        if stack.widths:
            modules += _convolution(stack, activation, channels, stack.widths[0])
            channels = stack.widths[0]
        for level in range(layers.halvings + 1):
            modules += _at_one_side(stack, channels, growth, activation)
            channels += stack.steps * growth
            if level < layers.halvings:
                below = stack.widths[level + 1] if stack.widths else 2 * channels
                modules += _convolution(stack, activation, channels, below, Down)
                channels, growth = below, growth if stack.widths else 2 * growth
        super().__init__(nn.Sequential(*modules), image.shape)
        self.out_features = Maps((channels, *places))

    def initialise_(self, rows: Tensor) -> None:
        """Start from training rows (N, D): see :func:`convolutions.start_`."""
        start_(self, some_rows(rows).to(next(self.parameters())))


class ChannelsFirst(nn.Module):
    """Maps laid out channel by channel, as rows are: cheaper than to lay out more planes after."""

    def forward(self, x: Tensor) -> Tensor:
        return with_own_layout(x).contiguous()


class ImageDecoder(nn.Module):
    """z1 (..., F) -> planes (..., P H W): P numbers for every place of an image, planes first.

    The encoder's mirror: at every side but the image's own the stack's convolutions or its block,
    a transposed convolution between two sides, and a convolution of 3x3 to the P planes.

    Args:
        latent: units of z1; where they are no ``Maps``, a linear layer spreads them over the
            smallest side.
        planes: P.
        image: width of a row.
        layers: with the decoder's stack.

    Raises:
        InputError: a side that cannot be halved so often, or a stack that has no width for a z1
            without places.
    """

    def __init__(
        self, latent: int, planes: int, image: Maps, layers: ImageLayers, activation: str = "elu"
    ) -> None:
        super().__init__()
        places, stack = layers.places(image), layers.decoder
        self.spread = None
        modules: list[nn.Module] = []
        if isinstance(latent, Maps):
            smallest, channels = latent, latent.shape[0]
            if stack.widths:
                modules += _convolution(stack, activation, channels, stack.widths[-1])
                channels = stack.widths[-1]
        else:
            if not stack.widths:
                raise InputError("a decoder without widths wants a z1 with places")
            channels = stack.widths[-1]
            smallest = Maps((channels, *places))
            self.spread = (GatedDense if stack.gated else MergedLinear)(latent, smallest)
            modules += [] if stack.gated else [ACTIVATIONS[activation]()]
        growth = stack.growth
        for level in range(layers.halvings, 0, -1):
            modules += _at_one_side(stack, channels, growth, activation)
            channels += stack.steps * growth
            above = stack.widths[level - 1] if stack.widths else channels // 2
            modules += _convolution(stack, activation, channels, above, Up)
            channels, growth = above, growth if stack.widths else growth // 2
        few = planes < channels  # they are laid out after, and the last convolution gains from it
        modules += [nn.Identity() if few else ChannelsFirst(), WeightNormConv(channels, planes)]
        self.net = Folded(nn.Sequential(*modules), smallest.shape)
        self.in_features = latent
        self.out_features = Maps((planes, *image.places))

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z if self.spread is None else self.spread(z))

    def initialise_(self, rows: Tensor) -> None:
        """Start from as many draws of N(0, I) as there are rows (N, D), up to some.

        That is what q(z1 | x) gives over the data before training, or nearly so: the heads that
        read an encoder give small numbers then.
        """
        weight = next(self.parameters())
        start_(self, torch.randn(len(some_rows(rows)), self.in_features).to(weight))


def some_rows(rows: Tensor, number: int = STARTING_ROWS) -> Tensor:
    """Up to ``number`` of the rows, from all over them: they may be sorted."""
    return rows[:: max(1, len(rows) // number)][:number]


def _at_one_side(stack: Stack, channels: int, growth: int, activation: str) -> list[nn.Module]:
    """The stack's convolutions, which keep the channels, or its block."""
    if growth:
        return [DenseBlock(channels, growth, stack.steps, activation)]
    steps = [_convolution(stack, activation, channels, channels) for _ in range(stack.steps)]
    return [layer for step in steps for layer in step]


def _convolution(
    stack: Stack,
    activation: str,
    below: int,
    above: int,
    kind: type[WeightNormConv] = WeightNormConv,
) -> list[nn.Module]:
    """From so many channels to so many, gated or followed by the activation."""
    if stack.gated:
        return [GatedConv(below, above, kind)]
    return [kind(below, above), ACTIVATIONS[activation]()]
