"""Training images flipped and shifted at random, each time that they are seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.shapes import image_shape as without_channel
from pyro_vae.datasets.shapes import picture_shape
from pyro_vae.errors import InputError, check_count

ALLOWED = "flip, shift=N"


@dataclass(frozen=True)
class Augmentation:
    """Flips and shifts of the images of a batch, each image by draws of its own.

    The training images of Gatopoulos 2020 (chapter 6) are flipped and moved by up to a twentieth of
    their side. A flipped image is moved afterwards; what a shift uncovers repeats the pixels of the
    edge, so that whole levels stay whole.

    Attributes:
        flip: mirror left and right with probability 1/2.
        shift: largest shift in pixels; uniform in -shift .. shift down, and across.
        image_shape: of a row, (H, W), (3, H, W) or (H, W, 3); None before the data are known.
    """

    flip: bool = False
    shift: int = 0
    image_shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        check_count("shift", self.shift, minimum=0)

    @classmethod
    def read(cls, text: str) -> Augmentation:
        """From words such as ``flip,shift=2``.

        Raises:
            InputError: an unknown word, or a shift that is no whole number of pixels above 0.
        """
        flip, shift = False, 0
        for word in (part.strip() for part in text.split(",")):
            name, _, pixels = word.partition("=")
            if word == "flip":
                flip = True
            elif name != "shift":
                raise InputError(f"unknown augmentation {word!r}; allowed: {ALLOWED}")
            elif pixels.isdecimal() and int(pixels) > 0:
                shift = int(pixels)
            else:
                raise InputError(
                    f"augmentation {word!r}: shift=N wants a whole number of pixels above 0"
                )
        return cls(flip, shift)

    def __str__(self) -> str:
        words = ["flip"] * self.flip + [f"shift={self.shift}"] * (self.shift > 0)
        return ",".join(words)

    def of(self, image_shape: tuple[int, ...]) -> Augmentation:
        """The same for rows that hold images of this shape.

        Raises:
            InputError: rows that are no images, or a shift beyond their shorter side.
        """
        shape = without_channel(tuple(image_shape))
        if picture_shape(shape) is None:
            raise InputError(
                f"augmentation {self} is for images, grey or in colour; the rows have shape "
                f"{tuple(image_shape)}"
            )
        made = replace(self, image_shape=shape)
        height, width = made._sides
        if self.shift >= min(height, width):
            raise InputError(
                f"augmentation {self} would move images of {height} x {width} pixels out of sight; "
                f"allowed: shifts of 1 to {min(height, width) - 1}"
            )
        return made

    @property
    def _shape(self) -> tuple[int, ...]:
        assert self.image_shape is not None  # the data are known
        return self.image_shape

    @property
    def num_pixels(self) -> int:
        """D, the width of the rows."""
        return math.prod(self._shape)

    def __call__(self, rows: Tensor, generator: np.random.Generator) -> Tensor:
        """Rows (B, D) flipped and shifted, each by its own draws of ``generator``.

        Drawn on the CPU, so that a seed means the same images on every device.
        """
        count, (height, width) = len(rows), self._sides
        flipped = generator.random(count) < 0.5
        moved = generator.integers(-self.shift, self.shift + 1, size=(2, count, 1))
        # The row, and the column, of the image that is shown at each place.
        down = (np.arange(height) - moved[0]).clip(0, height - 1)
        across = (np.arange(width) - moved[1]).clip(0, width - 1)
        if self.flip:
            across = np.where(flipped[:, None], width - 1 - across, across)
        places = torch.from_numpy(down[:, :, None] * width + across[:, None, :])
        places = places.reshape(count, height * width).to(rows.device, non_blocking=True)
        if self._colour_last:
            images = rows.reshape(count, height * width, 3)
            return images.gather(1, places[:, :, None].expand_as(images)).reshape(count, -1)
        images = rows.reshape(count, -1, height * width)
        return images.gather(2, places[:, None].expand_as(images)).reshape(count, -1)

    @property
    def _colour_last(self) -> bool:
        return len(self._shape) == 3 and self._shape[0] != 3

    @property
    def _sides(self) -> tuple[int, int]:
        height, width = self._shape[:2] if self._colour_last else self._shape[-2:]
        return height, width
