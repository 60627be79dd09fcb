"""Networks between images, latents and parameters: one kind a file, and their registry.

A network is a module ``made(in_features, hidden, activation)`` with ``in_features`` and
``out_features``; inputs may differ in leading axes, (B, F) for data and (K, B, F) for particles.

Networks of images are made from :class:`ImageLayers` and read and give rows too: what folds the
leading axes is :class:`Folded`, so that no convolution sees the axis of particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro_vae.programs.networks.convolutions import (
    Down,
    GatedConv,
    Up,
    WeightNormConv,
    has_convolutions,
    start_,
    with_own_layout,
)
from pyro_vae.programs.networks.dense_blocks import ChannelAttention, DenseBlock
from pyro_vae.programs.networks.elu import ELU
from pyro_vae.programs.networks.folding import Folded, Maps, MergedConv, Shape, merged, no_images
from pyro_vae.programs.networks.gated import GatedDense, GatedMLP, has_gates
from pyro_vae.programs.networks.image_layers import (
    ImageDecoder,
    ImageEncoder,
    ImageLayers,
    Stack,
    check_images,
    some_rows,
)
from pyro_vae.programs.networks.joint import JointNetwork
from pyro_vae.programs.networks.level_networks import (
    Blocks,
    LevelNetworks,
    Met,
    Resized,
    before_image,
    between_latents,
)
from pyro_vae.programs.networks.masked import MaskedConv, PixelNetwork
from pyro_vae.programs.networks.mlp import ACTIVATIONS, MLP, MergedLinear, glorot_, he_
from pyro_vae.programs.networks.place_by_place import place_by_place

NETWORKS: dict[str, Any] = {"mlp": MLP, "gated": GatedMLP}


def make_network(
    in_features: Any,
    hidden: Sequence[int] | ImageLayers,
    activation: str = "softplus",
    kind: str = "mlp",
) -> Any:
    """The network with these hidden layers: of ``NETWORKS``, or an encoder of images.

    Args:
        in_features: width of the input, ``Maps`` for images, or widths of several inputs.
        hidden: widths, or the layers of a network of images.
        kind: which of ``NETWORKS``, for widths.

    Raises:
        InputError: layers of images for rows that are none.
    """
    if not isinstance(hidden, ImageLayers):
        return NETWORKS[kind](in_features, hidden, activation)
    return ImageEncoder(check_images(in_features), hidden, activation)


__all__ = [
    "ACTIVATIONS",
    "ELU",
    "MLP",
    "NETWORKS",
    "Blocks",
    "ChannelAttention",
    "DenseBlock",
    "Down",
    "Folded",
    "GatedConv",
    "GatedDense",
    "GatedMLP",
    "ImageDecoder",
    "ImageEncoder",
    "ImageLayers",
    "JointNetwork",
    "LevelNetworks",
    "Maps",
    "MaskedConv",
    "MergedConv",
    "MergedLinear",
    "Met",
    "PixelNetwork",
    "Resized",
    "Shape",
    "Stack",
    "Up",
    "WeightNormConv",
    "before_image",
    "between_latents",
    "check_images",
    "glorot_",
    "has_convolutions",
    "has_gates",
    "he_",
    "make_network",
    "merged",
    "no_images",
    "place_by_place",
    "some_rows",
    "start_",
    "with_own_layout",
]
