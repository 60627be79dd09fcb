"""Networks of images on rows with any leading axes: none of them sees the axis of particles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError
from pyro_vae.programs.networks.convolutions import with_own_layout
from pyro_vae.programs.networks.mlp import MergedLinear

Shape = tuple[int, int, int]  # of an image: channels C, height H, width W
AT_ONCE = 500  # images whose maps are held together where no gradient wants all of them


class Maps(int):
    """A number of units that lie on maps: C H W, which remembers its ``shape`` (C, H, W).

    Wherever a width or a number of units is wanted it is that number; parts that know what to do
    with maps (convolutions, spatial flows) ask for the shape.
    """

    shape: Shape

    def __new__(cls, shape: Shape) -> Maps:
        maps = super().__new__(cls, math.prod(shape))
        channels, height, width = shape
        maps.shape = channels, height, width
        return maps

    def __getnewargs__(self) -> tuple[Shape]:  # type: ignore[override]  # an int has a number
        return (self.shape,)

    @property
    def places(self) -> tuple[int, int]:
        """Height and width."""
        return self.shape[1:]


class Folded(nn.Module):
    """A network of images (N, C, H, W) that reads rows (..., C H W) and gives rows (..., F).

    All leading axes are folded into N and unfolded again, so the network is run once over
    whatever it is given: an encoding of the data (B, C H W) is computed once per datum, latents
    (K, B, C H W) once per particle. Rows hold images channel first. What comes out in lower
    precision (autocast) returns to the precision of the rows. Where no gradient is asked for, at
    most :data:`AT_ONCE` images are in memory with their maps.

    Args:
        net: (N, C, H, W) -> (N, ...).
        shape: (C, H, W).

    Raises:
        InputError: rows of another width.
    """

    def __init__(self, net: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.net = net
        self.in_features = Maps(shape)

    def forward(self, rows: Tensor) -> Tensor:
        if rows.shape[-1] != self.in_features:
            raise no_images(rows.shape[-1], self.in_features)
        images = rows.reshape(-1, *self.in_features.shape)
        if images.device.type == "cpu":  # a tenth of a step is saved by this layout
            images = _channels_last(images)
        if torch.is_grad_enabled() or len(images) <= AT_ONCE:
            output = self.net(images)
        else:
            output = torch.cat([self.net(part) for part in images.split(AT_ONCE)])
        if output.ndim == 4:  # gradients come back as rows do, channel first
            output = with_own_layout(output)
        return output.reshape(*rows.shape[:-1], math.prod(output.shape[1:])).to(rows.dtype)


def _channels_last(images: Tensor) -> Tensor:
    """Laid out place by place, which the layers after hand on."""
    if images.shape[1] > 1:
        return images.contiguous(memory_format=torch.channels_last)
    # Either layout of a single channel is the other one; strides tell torch which one is meant.
    return images.contiguous().flatten(1).unflatten(1, (*images.shape[2:], 1)).permute(0, 3, 1, 2)


def no_images(width: int, wanted: Maps) -> InputError:
    """The error for rows of another width than that of the images that are wanted."""
    sides = " x ".join(map(str, wanted.shape))
    return InputError(f"rows of {width} numbers are no images of {sides} = {wanted} numbers")


class MergedConv(nn.Module):
    """A convolution of several images, or of images and vectors, without concatenating them.

    ``W * [h_1, ..., h_n] + b = W_1 * h_1 + ... + W_n * h_n + b``, rows in and out; a vector h_i is
    read by a linear map to every place of the output. The inputs broadcast against each other, as
    those of ``MergedLinear`` do: maps of the data (B, C_1 H W) are convolved once per datum even
    where they meet a latent (K, B, C_2 H W). Initialised as torch's convolution of the
    concatenation would be.

    Args:
        inputs: width of each input (..., F_i): ``Maps`` of one height and width, or the plain
            number of a vector; at least one of them maps.
        out_channels: C of the output (..., C H W).
        kernel_size: odd; 1 merges place by place.

    Raises:
        InputError: no maps, or maps of several sides.
    """

    def __init__(self, inputs: Sequence[int], out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        maps = [one for one in inputs if isinstance(one, Maps)]
        if len({one.places for one in maps}) != 1:
            told = ", ".join(str(getattr(one, "shape", one)) for one in inputs)
            raise InputError(f"a merged convolution wants maps of one height and width, got {told}")
        self.in_features = tuple(inputs)
        self.out_features = Maps((out_channels, *maps[0].places))
        self.parts = nn.ModuleList()
        for one in inputs:
            if isinstance(one, Maps):
                conv = nn.Conv2d(
                    one.shape[0],
                    out_channels,
                    kernel_size,
                    padding=kernel_size // 2,
                    bias=one is maps[0],
                )
                self.parts.append(Folded(conv, one.shape))
            else:
                self.parts.append(nn.Linear(one, self.out_features, bias=False))
        fan_in = sum(
            one.shape[0] * kernel_size**2 if isinstance(one, Maps) else one for one in inputs
        )
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)

    def forward(self, *inputs: Tensor) -> Tensor:
        first, *rest = (part(h) for part, h in zip(self.parts, inputs, strict=True))
        return sum(rest, first).to(inputs[0].dtype)


def merged(in_features: int | Sequence[int], out_features: int) -> MergedLinear | MergedConv:
    """One layer from one or several inputs: place by place where maps lead to maps of their sides.

    Args:
        in_features: width of the input, or widths of several.
    """
    inputs = (in_features,) if isinstance(in_features, int) else tuple(in_features)
    if isinstance(out_features, Maps):
        places = {one.places for one in inputs if isinstance(one, Maps)}
        if places == {out_features.places}:
            return MergedConv(inputs, out_features.shape[0])
    return MergedLinear(inputs, out_features)
