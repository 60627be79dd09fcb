"""Networks of images on rows with any leading axes: none of them sees the axis of particles."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from pyro_vae.errors import InputError

Shape = tuple[int, int, int]  # of an image: channels C, height H, width W


class Folded(nn.Module):
    """A network of images (N, C, H, W) that reads rows (..., C H W) and gives rows (..., F).

    All leading axes are folded into N and unfolded again, so the network is run once over
    whatever it is given: an encoding of the data (B, C H W) is computed once per datum, latents
    (K, B, C H W) once per particle. Rows hold images channel first. What comes out in lower
    precision (autocast) returns to the precision of the rows.

    Args:
        net: (N, C, H, W) -> (N, ...). shape: (C, H, W).

    Raises:
        InputError: rows of another width.
    """

    def __init__(self, net: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.net = net
        self.shape = tuple(shape)
        self.in_features = math.prod(shape)

    def forward(self, rows: Tensor) -> Tensor:
        if rows.shape[-1] != self.in_features:
            wanted = " x ".join(map(str, self.shape))
            raise InputError(
                f"rows of {rows.shape[-1]} numbers are no images of {wanted} = {self.in_features}"
            )
        output = self.net(rows.reshape(-1, *self.shape))
        return output.reshape(*rows.shape[:-1], math.prod(output.shape[1:])).to(rows.dtype)


class MergedConv(nn.Module):
    """A convolution of several images, or of images and vectors, without concatenating them.

    ``W * [h_1, ..., h_n] + b = W_1 * h_1 + ... + W_n * h_n + b``, rows in and out; a vector h_i is
    read by a linear map to every place of the output. The inputs broadcast against each other, as
    those of ``MergedLinear`` do: a map of the data (B, C_1 H W) is convolved once per datum even
    where it meets a latent (K, B, C_2 H W). Initialised as torch's convolution of the concatenation
    would be.

    Args:
        inputs: of each input the shape (C_i, H, W), all of one height and width, or the width of a
            vector; at least one shape.
        out_channels: of the output (..., ``out_channels`` H W).
        kernel_size: odd; 1 merges place by place.
    """

    def __init__(
        self, inputs: Sequence[Shape | int], out_channels: int, kernel_size: int = 1
    ) -> None:
        super().__init__()
        places = {shape[1:] for shape in inputs if not isinstance(shape, int)}
        if len(places) != 1:
            raise InputError(
                "a merged convolution wants images of one height and width, got "
                f"{', '.join(map(str, inputs))}"
            )
        ((height, width),) = places
        self.in_features = tuple(one if isinstance(one, int) else math.prod(one) for one in inputs)
        self.out_features = out_channels * height * width
        first = next(index for index, one in enumerate(inputs) if not isinstance(one, int))
        self.parts = nn.ModuleList()
        for index, one in enumerate(inputs):
            if isinstance(one, int):
                part = nn.Linear(one, self.out_features, bias=False)
            else:
                sizes = one[0], out_channels, kernel_size
                conv = nn.Conv2d(*sizes, padding=kernel_size // 2, bias=index == first)
                part = Folded(conv, one)
            self.parts.append(part)
        fan_in = sum(one if isinstance(one, int) else one[0] * kernel_size**2 for one in inputs)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -(fan_in**-0.5), fan_in**-0.5)

    def forward(self, *inputs: Tensor) -> Tensor:
        first, *rest = (part(h) for part, h in zip(self.parts, inputs, strict=True))
        return sum(rest, first).to(inputs[0].dtype)
