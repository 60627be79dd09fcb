"""Fewer levels: the high bits of every pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.options import Setting
from pyro_vae.programs.representations.representation import Representation

BITS = 8  # of a stored pixel


class Quantise(Representation):
    """The ``bits`` high bits of every pixel: the middle of the bucket that its level falls in.

    A bucket holds 2^(8 - bits) levels, from 2^(8 - bits) b on; y is its first level plus half its
    size, so that y looks like x. Quantising twice changes nothing more.

    Raises:
        InputError: bits below 1 or above 7.
    """

    settings: ClassVar = {"bits": Setting(4, "high bits that are kept", kind=int)}

    def __init__(self, shape: Sequence[int], bits: int = 4) -> None:
        super().__init__(shape)
        self.bits = check_count("bits", bits)
        if self.bits >= BITS:
            raise InputError(f"quantise keeps 1 to {BITS - 1} bits of {BITS}, got {bits}")
        self.size = 2 ** (BITS - self.bits)

    def first_level(self, levels: Tensor) -> Tensor:
        """The first level of the bucket that each level falls in."""
        return torch.floor(levels / self.size) * self.size

    def levels(self, images: Tensor) -> Tensor:
        return self.first_level(images) + self.size // 2
