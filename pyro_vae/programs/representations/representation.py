"""What all representations share: rows of images in, rows of smaller or simpler images out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError, check_count
from pyro_vae.options import Setting

WHITE = 255.0
TOLERANCE = 1e-4  # of a level; float32 rows hold levels / 255 to 2e-5


class Representation(nn.Module):
    """A deterministic transform y = d(x) of images whose pixels are whole levels 0..255.

    Called with rows (..., D), D = C H W, channel first, that hold levels / 255, it returns rows
    (..., D') that do. Since y is discrete and known given x, log q(y | x) = 0 and the entropy of
    q(y | x) is 0 (Gatopoulos 2020, section 5.2.2, property A).

    A subclass says ``shape_out`` and overrides :meth:`levels`.

    Args:
        shape: (C, H, W) of the images it reads.

    Raises:
        InputError: no shape of three whole positive numbers, or one that the transform cannot read.
    """

    settings: ClassVar[dict[str, Setting]] = {}

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape_in = _shape(shape)
        self.shape_out = self.shape_in

    def levels(self, images: Tensor) -> Tensor:
        """Levels (N, C, H, W), as floats 0..255, to whole levels (N, C', H', W')."""
        raise NotImplementedError(f"{type(self).__name__} says no levels of images")

    @property
    def features_in(self) -> int:
        return math.prod(self.shape_in)

    @property
    def features(self) -> int:
        """Numbers of a row that it returns."""
        return math.prod(self.shape_out)

    def forward(self, rows: Tensor) -> Tensor:
        if rows.shape[-1] != self.features_in:
            raise InputError(
                f"{type(self).__name__} reads rows of {self.features_in} pixels "
                f"{self.shape_in}, got {tuple(rows.shape)}"
            )
        images = torch.round(rows.reshape(-1, *self.shape_in) * WHITE)
        found = self.levels(images).reshape(*rows.shape[:-1], self.features)
        return found / WHITE


def half_up(values: Tensor) -> Tensor:
    """The nearest whole level, halves upward, within 0..255."""
    return torch.floor(values + 0.5).clamp(0, WHITE)


def luma(images: Tensor) -> Tensor:
    """Grey (N, 1, H, W) of colour (N, 3, H, W): 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    if images.shape[1] == 1:
        return images
    weights = images.new_tensor([0.299, 0.587, 0.114])
    return (images * weights[:, None, None]).sum(1, keepdim=True)


def check_channels(name: str, shape: tuple[int, int, int]) -> None:
    """InputError unless the images are grey or colour."""
    if shape[0] not in (1, 3):
        raise InputError(f"{name} reads images of 1 or 3 channels, got {shape[0]}: {shape}")


def check_representations(transforms: Sequence[nn.Module], rows: Tensor) -> None:
    """Run the transforms on the first rows (N, D), one on the result of the one before.

    Raises:
        InputError: rows or a representation that are not whole levels / 255, one of another shape
            than it said, or one that differs when it is made again; the line names it.
    """
    _check_levels("the data", rows)
    for number, transform in enumerate(transforms, start=1):
        name = f"representation y{number} ({type(transform).__name__})"
        found, again = transform(rows), transform(rows)
        wanted = (*rows.shape[:-1], transform.features)
        if not torch.is_tensor(found) or found.shape != wanted:
            got = tuple(found.shape) if torch.is_tensor(found) else type(found).__name__
            raise InputError(f"{name} said rows {wanted}, but returned {got}")
        _check_levels(name, found)
        if not torch.equal(found, again):
            changed = int((found != again).any(-1).sum())
            raise InputError(
                f"{name} gave other values for {changed} of {len(rows)} rows when it was called "
                "again; a representation must be a function of the image alone"
            )
        rows = found


def _check_levels(name: str, rows: Tensor) -> None:
    levels = rows * WHITE
    wrong = (levels - levels.round()).abs() > TOLERANCE * 10
    wrong |= (levels < -TOLERANCE) | (levels > WHITE + TOLERANCE) | ~levels.isfinite()
    if wrong.any():
        value = levels[wrong][0].item()
        raise InputError(
            f"{name} holds {int(wrong.sum())} values that are no whole levels 0..255 (over 255), "
            f"the first {value:g}; round them, or take data with levels"
        )


def _shape(shape: Sequence[int]) -> tuple[int, int, int]:
    if shape is None or len(shape) != 3:
        raise InputError(f"images have a shape (channels, height, width), got {shape!r}")
    channels, height, width = (check_count("a side of an image", int(side)) for side in shape)
    return channels, height, width
