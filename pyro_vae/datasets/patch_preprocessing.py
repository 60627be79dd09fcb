"""Preprocessing of photographs: patches whitened one by one, or cut from filtered photographs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.intensity import grey_levels, grey_of_intensities, intensities
from pyro_vae.datasets.preprocessing import Preprocessing, as_array, check_width
from pyro_vae.datasets.radial import Restoration, radially_filtered, without_margin
from pyro_vae.datasets.shapes import tiles
from pyro_vae.datasets.whitening import Whitening
from pyro_vae.errors import InputError


@dataclass(frozen=True, eq=False)
class PatchPreprocessing(Preprocessing):
    """Patches of photographs: grey levels, their intensities, whitening.

    Attributes:
        intensity: ``"log"``, ``"grey"`` or ``"raw"``, see ``intensity.intensities``.
        whitening: fitted on training patches.
    """

    kind = "patches"

    intensity: str
    whitening: Whitening

    @property
    def num_pixels(self) -> int:
        return int(np.prod(self.whitening.row_shape))

    def rows(self, images: Any) -> Tensor:
        """As :meth:`Preprocessing.rows`, of patches (N, H, W) or (N, H, W, 3), or (N, H * W).

        Photographs larger than the patches are refused: :func:`shapes.tiles` cuts them.
        """
        images = as_array(images)
        height, width = self.image_shape
        if images.ndim == 2 and images.shape[1] == height * width:
            images = images.reshape(-1, height, width)
        images, colour = _grey_or_colour("patches", images, (height, width))
        size = images.shape[1:3]
        if size != (height, width):
            hint = ""
            if size[0] >= height and size[1] >= width:
                hint = (
                    "; pyro_vae.datasets.tiles(photograph, "
                    f"{height}) cuts a photograph into patches"
                )
            raise InputError(
                f"patches must be of {height} x {width} pixels, got {size[0]} x {size[1]}{hint}"
            )
        values = self._intensities(images, colour)
        return self.whitening.transform(values.reshape(len(images), -1))

    def _intensities(self, images: np.ndarray, colour: bool) -> np.ndarray:
        grey = grey_levels(
            "images",
            images,
            colour=colour,
            unbounded=self.intensity == "raw",
            otherwise="; divide them by their white, or cut them off (np.clip(images, 0, 1))",
        )
        values = intensities(grey, self.intensity)
        if not np.isfinite(values).all():
            raise InputError("images hold values that are NaN or infinite")
        return values

    def images(self, rows: Any) -> np.ndarray:
        """Grey levels (N, H, W) as far as the kept components hold them."""
        values = self.whitening.inverse(check_width(rows, self.num_pixels)).numpy()
        grey = grey_of_intensities(values, self.intensity)
        return grey.reshape(-1, *self.image_shape)

    def shown(self, rows: Any, *, effects: bool = False) -> np.ndarray:
        values = check_width(rows, self.num_pixels, None)
        return self.whitening.filters(torch.as_tensor(values.T)).numpy()


@dataclass(frozen=True, eq=False)
class RadialPreprocessing(PatchPreprocessing):
    """Photographs: grey levels, their intensities, the radial filter, patches, one scale.

    See ``radial.py`` for the filter. A patch alone cannot be filtered, since the filter's response
    at its pixels depends on what lies around them: :meth:`rows` takes photographs, and patches
    with their surroundings, of at least ``margin`` pixels on each side, as small ones. Those are
    mirrored at their borders, which is an approximation: the fewer surroundings, the poorer.

    Attributes:
        restoration: the way back from filtered patches to intensities.
        cutoff: f0 of the filter, in cycles per pixel.
        margin: pixels at each border that no patch is cut from.
    """

    kind = "radial"

    restoration: Restoration
    cutoff: float
    margin: int

    def filtered(self, photographs: Any) -> np.ndarray:
        """Photographs (N, H, W) or (N, H, W, 3) under the filter, (N, H, W) float32.

        ``whitening.transform`` makes rows of patches that are cut from them, at any place that
        lies ``margin`` pixels from the borders.

        Raises:
            InputError: patches instead of photographs, or values that are no grey levels.
        """
        height, width = self.image_shape
        images = as_array(photographs)
        least = height + 2 * self.margin, width + 2 * self.margin
        wanted = (
            f"photographs of at least {least[0]} x {least[1]} pixels are needed, which are "
            f"filtered before patches of {height} x {width} are cut from them: no patch tells what "
            "lies around it"
        )
        if images.ndim == 2 and images.shape[1] == height * width:
            raise InputError(f"{wanted}; got rows of {images.shape[1]} pixels")
        images, colour = _grey_or_colour("photographs", images, least)
        if images.shape[1] < least[0] or images.shape[2] < least[1]:
            raise InputError(f"{wanted}; got {images.shape[1]} x {images.shape[2]}")
        # One by one, as load_dataset does: the same bits for any number of photographs.
        return np.stack(
            [radially_filtered(self._intensities(x, colour), self.cutoff) for x in images]
        )

    def rows(self, images: Any) -> Tensor:
        """Photographs (N, H, W) or (N, H, W, 3) as rows (M, D) of the patches cut from them.

        Patches lie side by side inside the margin, from the top left, row by row, photograph by
        photograph; they are those of ``tiles(photograph[m:-m, m:-m], size)`` with m the margin.
        ``load_dataset`` makes the same rows of patches at the same places.

        Raises:
            InputError: as :meth:`filtered`.
        """
        cut = [
            tiles(without_margin(image, self.margin), self.image_shape[0])
            for image in self.filtered(images)
        ]
        patches = np.concatenate(cut)
        return self.whitening.transform(patches.reshape(len(patches), -1))

    def images(self, rows: Any) -> np.ndarray:
        """Grey levels (N, H, W) of patches, as far as rows tell: see :class:`Restoration`.

        What the filter took out, mean luminance above all, comes out at its mean over training
        patches or near it. Noise of rows is blown up where the gain is small: means of a model
        (``Run.sample(mean=True)``) make better pictures than its draws.
        """
        filtered = self.whitening.inverse(check_width(rows, self.num_pixels))
        grey = grey_of_intensities(self.restoration(filtered).numpy(), self.intensity)
        return grey.reshape(-1, *self.image_shape)


def _grey_or_colour(
    what: str, images: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, bool]:
    """Images (N, H, W) or (N, H, W, 3), and whether they are the latter; InputError if neither."""
    if images.ndim == 4 and images.shape[3] == 1:
        images = images[..., 0]
    colour = images.ndim == 4 and images.shape[3] == 3
    if not (images.ndim == 3 or colour) or len(images) == 0:
        height, width = size
        flat = f" or (N, {height * width})" if what == "patches" else ""
        raise InputError(
            f"{what} must have shape (N, {height}, {width}){',' if flat else ' or'} "
            f"(N, {height}, {width}, 3){flat} with N >= 1, got {images.shape}"
        )
    return images, colour
