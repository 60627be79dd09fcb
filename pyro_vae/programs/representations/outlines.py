"""Drawings of an image: a pencil sketch, and its edges."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_vae.errors import check_positive
from pyro_vae.options import Setting
from pyro_vae.programs.representations.representation import (
    WHITE,
    Representation,
    check_channels,
    half_up,
    luma,
)


class Sketch(Representation):
    """A pencil drawing by dodging and burning the grey image with its own blur.

    With grey g and its Gaussian blur m (standard deviation ``sigma`` pixels, edges repeated), the
    dodge blend of g with the blurred inverse 255 - m is d = min(255, 255 g / m), and the burn blend
    y = max(0, 255 - 255 (255 - d) / m); where m is 0 the paper is white. An image of one grey is
    white all over. Lines appear where a pixel is darker than what lies around it.

    Gatopoulos 2020, section 7.3.1 (in words; it cites the domain transform of Gastal and Oliveira
    2011, https://doi.org/10.1145/2010324.1964964, which is another operator).
    """

    settings: ClassVar = {"sigma": Setting(2.0, "standard deviation of the blur, in pixels")}

    def __init__(self, shape: Sequence[int], sigma: float = 2.0) -> None:
        super().__init__(shape)
        check_channels("sketch", self.shape_in)
        self.sigma = check_positive("sigma", sigma)
        self.shape_out = (1, *self.shape_in[1:])
        reach = max(1, math.ceil(3 * self.sigma))
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / self.sigma) ** 2)
        self.taps: Tensor
        self.register_buffer("taps", taps / taps.sum(), persistent=False)

    def levels(self, images: Tensor) -> Tensor:
        grey = luma(images)
        blur = self._blurred(grey)
        safe = blur.clamp(min=1e-3)
        dodged = torch.where(blur > 0, (WHITE * grey / safe).clamp(max=WHITE), WHITE)
        burned = WHITE - WHITE * (WHITE - dodged) / safe
        return half_up(torch.where(blur > 0, burned, WHITE))

    def _blurred(self, grey: Tensor) -> Tensor:
        taps = self.taps.to(grey.dtype)
        reach = len(taps) // 2
        padded = F.pad(grey, (reach, reach, reach, reach), mode="replicate")
        return F.conv2d(F.conv2d(padded, taps[None, None, None]), taps[None, None, :, None])


class Edges(Representation):
    """Strength of edges: the norm of the two Sobel derivatives of the grey image, over 4.

    A step of 255 levels along an axis is 255; stronger values, of steep corners, are cut off there.
    Rounded to the nearest level (halves upward); edges of the image are repeated.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        check_channels("edges", self.shape_in)
        self.shape_out = (1, *self.shape_in[1:])
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])
        self.sobel: Tensor
        self.register_buffer("sobel", torch.stack([across, across.T])[:, None], persistent=False)

    def levels(self, images: Tensor) -> Tensor:
        padded = F.pad(luma(images), (1, 1, 1, 1), mode="replicate")
        slopes = F.conv2d(padded, self.sobel.to(images.dtype))
        return half_up(slopes.square().sum(1, keepdim=True).sqrt() / 4)
