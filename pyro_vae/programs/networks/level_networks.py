"""Networks of a self-supervised VAE: between an image, a simpler one of it, and latents on maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.networks.convolutions import WeightNormConv
from pyro_vae.programs.networks.dense_blocks import DenseBlock
from pyro_vae.programs.networks.folding import Folded, Maps
from pyro_vae.programs.networks.image_layers import (
    ImageDecoder,
    ImageEncoder,
    ImageLayers,
    Stack,
    check_images,
)
from pyro_vae.programs.networks.mlp import ACTIVATIONS


@dataclass(frozen=True)
class Blocks:
    """``count`` DenseNet blocks of one side, each of so many ``steps`` that add ``growth``."""

    growth: int
    steps: int
    count: int = 1


@dataclass(frozen=True)
class LevelNetworks:
    """Layers of every level, y_0 = x, k = 1..K; all latents lie on maps of about one side.

    Attributes:
        encoder: of y_{k-1} in q(z_k | y_{k-1}).
        top_encoder: of y_K in q(z_{K+1} | y_K).
        top_decoder: of z_{K+1} in p(y_K | z_{K+1}).
        seen: of y_k in p(z_k | y_k, z_{k+1}).
        above: of z_{k+1} there; both end in ``channels`` maps.
        joint: of both together.
        decoder: of z_k in p(y_{k-1} | y_k, z_k), which ends in ``width`` maps beside those of y_k,
            resized.
        met: of both together.
        width: see ``decoder``.
        channels: of a latent at every place.
        side: of the latents' maps. Images are halved while both sides are even and the smaller one
            is at least twice that.
    """

    encoder: Stack
    top_encoder: Stack
    top_decoder: Stack
    seen: Stack
    above: Blocks
    joint: Blocks
    decoder: Stack
    met: Blocks
    width: int
    channels: int
    side: int

    def layers(self, image: Maps, stack: Stack) -> ImageLayers:
        """The stack between an image and its latent, with as many halvings as that takes.

        Raises:
            InputError: an image that is large and cannot be halved even once.
        """
        halvings, (height, width) = 0, image.places
        while not (height % 2 or width % 2) and min(height, width) >= 2 * self.side:
            halvings, height, width = halvings + 1, height // 2, width // 2
        if not halvings and min(height, width) >= 2 * self.side:
            raise InputError(
                f"images of {height} x {width} cannot be halved, and their latents would be as "
                f"large; allowed: even sides, or sides below {2 * self.side}"
            )
        if stack.widths:
            widths = (*stack.widths, *stack.widths[-1:] * halvings)[: halvings + 1]
            stack = replace(stack, widths=widths)
        return ImageLayers(stack, stack, halvings, self.channels)

    def latent(self, image: Maps, units: int | None, name: str) -> Maps:
        """The units of the latent that explains this image, so many or ``channels`` a place.

        Raises:
            InputError: units that are no whole number of maps.
        """
        return check_images(self.layers(image, self.encoder).latent(image, units, name))


class Resized(Folded):
    """Rows of maps at another height and width, by bilinear interpolation of the places' centres.

    Gatopoulos 2020 (section 5.3 and his code) brings y to the side of x so.
    """

    def __init__(self, maps: Maps, places: tuple[int, int]) -> None:
        same = maps.places == tuple(places)
        net = nn.Identity() if same else nn.Upsample(places, mode="bilinear", align_corners=False)
        super().__init__(net, maps.shape)
        self.out_features = Maps((maps.shape[0], *places))


class Met(nn.Module):
    """h = f([g_1(a_1), ..., g_n(a_n)]): maps of one side, put together channel by channel.

    Inputs may differ in leading axes: what is of the data alone, (B, F), passes its own network
    once per datum, where latents (K, B, F) pass theirs once per particle.

    Args:
        parts: g_1, ..., g_n, rows to rows.
        maps: what they give.
        blocks: f.

    Raises:
        InputError: maps of several sides.
    """

    def __init__(
        self, parts: Sequence[nn.Module], maps: Sequence[Maps], blocks: Blocks, activation: str
    ) -> None:
        super().__init__()
        if len({one.places for one in maps}) != 1:
            raise InputError(f"maps of one side can meet, got {[one.shape for one in maps]}")
        self.parts = nn.ModuleList(parts)
        together = Maps((sum(one.shape[0] for one in maps), *maps[0].places))
        layers, channels = _blocks(together.shape[0], blocks, activation)
        self.joint = Folded(nn.Sequential(*layers), together.shape)
        self.out_features = Maps((channels, *together.places))

    def forward(self, *inputs: Tensor) -> Tensor:
        made = [part(one) for part, one in zip(self.parts, inputs, strict=True)]
        lead = torch.broadcast_shapes(*(one.shape[:-1] for one in made))
        return self.joint(torch.cat([one.expand(*lead, -1) for one in made], -1))


def between_latents(
    y: Maps, above: Maps, below: Maps, layers: LevelNetworks, activation: str
) -> Met:
    """What p(z_k | y_k, z_{k+1}) reads y_k and z_{k+1} with, at the places of z_k.

    Args:
        y: width of y_k. above, below: units of z_{k+1} and of z_k.
    """
    f, channels = ACTIVATIONS[activation], layers.channels
    encoder = ImageEncoder(y, layers.layers(y, layers.seen), activation)
    narrow = Folded(
        WeightNormConv(encoder.out_features.shape[0], channels, 1), encoder.out_features.shape
    )
    seen = Maps((channels, *encoder.out_features.places))
    modules, wide = _blocks(above.shape[0], layers.above, activation)
    own = Folded(nn.Sequential(*modules, WeightNormConv(wide, channels, 1), f()), above.shape)
    risen = Maps((channels, *above.places))
    parts = [
        nn.Sequential(encoder, narrow, f(), Resized(seen, below.places)),
        nn.Sequential(own, Resized(risen, below.places)),
    ]
    maps = [Maps((channels, *below.places))] * 2
    return Met(parts, maps, layers.joint, activation)


def before_image(y: Maps, z: Maps, image: Maps, layers: LevelNetworks, activation: str) -> Met:
    """What p(y_{k-1} | y_k, z_k) reads y_k and z_k with, at the places of y_{k-1}.

    Args:
        y: width of y_k.
        z: units of z_k.
        image: width of y_{k-1}.
    """
    check_count("width", layers.width)
    resized = Resized(y, image.places)
    decoder = ImageDecoder(z, layers.width, image, layers.layers(image, layers.decoder), activation)
    maps = [resized.out_features, decoder.out_features]
    return Met([resized, decoder], maps, layers.met, activation)


def _blocks(channels: int, blocks: Blocks, activation: str) -> tuple[list[nn.Module], int]:
    """The blocks, and the channels that they make."""
    made: list[nn.Module] = []
    for _ in range(blocks.count):
        block = DenseBlock(channels, blocks.growth, blocks.steps, activation)
        made.append(block)
        channels = block.out_channels
    return made, channels
