"""Networks between images, latents and parameters: one kind a file, and their registry.

A network is a module ``made(in_features, hidden, activation)`` with ``in_features`` and
``out_features``; inputs may differ in leading axes, (B, F) for data and (K, B, F) for particles.

Networks of images are made from :class:`ImageLayers` and read and give rows too: what folds the
leading axes is :class:`Folded`, so that no convolution sees the axis of particles.
"""

from pyro_vae.programs.networks.convolutions import Down, GatedConv, Up, WeightNormConv, start_
from pyro_vae.programs.networks.dense_blocks import ChannelAttention, DenseBlock
from pyro_vae.programs.networks.folding import Folded, MergedConv, Shape
from pyro_vae.programs.networks.gated import GatedDense, GatedMLP
from pyro_vae.programs.networks.image_layers import ImageDecoder, ImageEncoder, ImageLayers, Stack
from pyro_vae.programs.networks.joint import JointNetwork
from pyro_vae.programs.networks.mlp import ACTIVATIONS, MLP, MergedLinear, glorot_, he_

NETWORKS: dict[str, type] = {"mlp": MLP, "gated": GatedMLP}

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "NETWORKS",
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
    "MergedConv",
    "MergedLinear",
    "Shape",
    "Stack",
    "Up",
    "WeightNormConv",
    "glorot_",
    "he_",
    "start_",
]
