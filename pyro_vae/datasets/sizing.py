"""Whole images cut and reduced to one size, in 8-bit levels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pyro_vae.datasets.moments import chunks
from pyro_vae.errors import InputError, check_count


@dataclass(frozen=True)
class Sizing:
    """How images become images of one size: a crop, then a centred square, then its area mean.

    Attributes:
        size: side of the square that each image is reduced to, in pixels; None leaves the size.
        crop: (top, left, height, width) of what is cut out first, in pixels; None for all. CelebA's
            faces of 218 x 178 pixels are cut by (40, 15, 148, 148) (Gatopoulos 2020, chapter 6).

    Raises:
        InputError: a size below 1, or a crop of other than four whole numbers.
    """

    size: int | None = None
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", check_count("image_size", self.size))
        if self.crop is not None:
            crop = tuple(self.crop)
            if len(crop) != 4:
                raise InputError(
                    f"crop must be four numbers, TOP LEFT HEIGHT WIDTH, got {len(crop)}: {crop}"
                )
            least = (0, 0, 1, 1)
            whole = [check_count("crop", n, minimum=m) for n, m in zip(crop, least, strict=True)]
            object.__setattr__(self, "crop", tuple(whole))

    @property
    def wanted(self) -> bool:
        """Whether anything is to be done."""
        return self.size is not None or self.crop is not None

    def applied(self, origin: str, images: np.ndarray) -> np.ndarray:
        """Whole levels 0..255 (..., H, W) cut and reduced, uint8 rounded to the nearest level.

        Args:
            origin: named in the errors.

        Raises:
            InputError: the images are smaller than the crop or than the size.
        """
        images = self._cut(origin, images)
        if self.size is not None:
            height, width = images.shape[-2:]
            side = min(height, width)
            if side < self.size:
                raise InputError(
                    f"{origin}: {height} x {width} pixels are smaller than the image size "
                    f"{self.size}; images are reduced and never enlarged"
                )
            top, left = (height - side) // 2, (width - side) // 2
            images = images[..., top : top + side, left : left + side]
            if side > self.size:
                images = area_mean(images, self.size)
        return images if images.dtype == np.uint8 else np.rint(images).astype(np.uint8)

    def _cut(self, origin: str, images: np.ndarray) -> np.ndarray:
        if self.crop is None:
            return images
        top, left, height, width = self.crop
        bottom, right = top + height, left + width
        if images.shape[-2] < bottom or images.shape[-1] < right:
            raise InputError(
                f"{origin}: {images.shape[-2]} x {images.shape[-1]} pixels are smaller than the "
                f"crop {' '.join(map(str, self.crop))} (top, left, height, width), which ends at "
                f"row {bottom} and column {right}"
            )
        return images[..., top:bottom, left:right]


def area_mean(images: np.ndarray, size: int) -> np.ndarray:
    """Squares (..., S, S) reduced to (..., size, size) by exact area mean, float64.

    A new pixel is sum_ij w_i w_j x_ij / S^2, where w_i = size x (length of old pixel i inside the
    new one) is a whole number: the sums of whole levels are exact, on every machine alike, and so
    is the level that they are rounded to.
    """
    side = images.shape[-1]
    weights = _overlaps(side, size)
    flat = images.reshape(-1, side, side)
    done = [weights @ part @ weights.T / side**2 for part in chunks(flat)]
    return np.concatenate(done).reshape(*images.shape[:-2], size, size)


@lru_cache(maxsize=8)
def _overlaps(side: int, size: int) -> np.ndarray:
    """(size, side): size times the length of each old pixel inside each new one."""
    old, new = np.arange(side) * size, np.arange(size)[:, None] * side
    overlap = np.minimum(old + size, new + side) - np.maximum(old, new)
    return overlap.clip(min=0).astype(np.float64)
