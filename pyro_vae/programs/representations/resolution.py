"""A smaller image: the mean over squares of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.representations.representation import Representation, half_up


class Downscale(Representation):
    """Every ``by`` x ``by`` square becomes its mean, rounded to the nearest level (halves upward).

    y of Gatopoulos 2020, section 7.2 (whose code takes bilinear, and section 7.3.2 bicubic
    interpolation); for ``by=2`` bilinear interpolation at the squares' centres is this mean.

    Raises:
        InputError: sides that ``by`` does not divide; the line names those that it could be.
    """

    settings: ClassVar = {"by": Setting(2, "side of the squares that become a pixel", kind=int)}

    def __init__(self, shape: Sequence[int], by: int = 2) -> None:
        super().__init__(shape)
        self.by = check_count("by", by, minimum=2)
        channels, height, width = self.shape_in
        if height % by or width % by:
            allowed = [n for n in range(2, min(height, width) + 1) if not (height % n or width % n)]
            raise InputError(
                f"downscale:{by} wants sides that {by} divides, got {height} x {width}; allowed "
                f"here: {', '.join(map(str, allowed)) or 'none'}"
            )
        self.shape_out = (channels, height // by, width // by)

    def levels(self, images: Tensor) -> Tensor:
        return half_up(F.avg_pool2d(images, self.by))
