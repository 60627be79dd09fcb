"""A grey image of a colour one."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.programs.representations.representation import Representation, half_up, luma


class Greyscale(Representation):
    """0.299 R + 0.587 G + 0.114 B (ITU-R BT.601), rounded to the nearest level (halves upward).

    Raises:
        InputError: images that are not of three channels.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        if self.shape_in[0] != 3:
            raise InputError(f"greyscale reads colour images (3, H, W), got {self.shape_in}")
        self.shape_out = (1, *self.shape_in[1:])

    def levels(self, images: Tensor) -> Tensor:
        return half_up(luma(images))
