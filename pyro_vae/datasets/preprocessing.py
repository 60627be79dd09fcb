"""What turned a user's images into rows, kept so that new images can be turned into rows too.

Every dataset has one. It is saved beside a run, and needs neither the photographs nor the arrays
that the run was trained on.
"""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.batches import draw_binary
from pyro_vae.datasets.moments import chunks
from pyro_vae.datasets.pixel_space import PixelSpace, pixel_space
from pyro_vae.datasets.radial import Restoration
from pyro_vae.datasets.reading import readable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.shapes import channels_first, picture_shape, pictures
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.datasets.unpacking import check_zip
from pyro_vae.datasets.whitening import Whitening
from pyro_vae.errors import InputError
from pyro_vae.storage import write_whole

FORMAT = 1
# What preprocessing is made of, by the names under which a file holds it.
_KINDS: dict[str, type[Preprocessing]] = {}
_PARTS = {"whitening": Whitening, "restoration": Restoration, "sizing": Sizing}
_SHAPES = ("image_shape", "crop")


@dataclass(frozen=True, eq=False)
class Preprocessing(ABC):
    """A map from images (N, H, W), (N, H, W, 3) or (N, D) to rows (N, D) float32, and back.

    Attributes:
        pixels: the pixel space of the rows.
        image_shape: shape of an image, in the order in which a row holds it: (H, W), (H, W, 3) or
            (3, H, W) of colour images; (D,) of rows that are no images.
    """

    kind: ClassVar[str]

    pixels: PixelSpace
    image_shape: tuple[int, ...]

    def __init_subclass__(cls) -> None:
        _KINDS[cls.kind] = cls

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """Shape of what :meth:`shown` gives: (H, W) grey, (H, W, 3) colour, None if no images."""
        return picture_shape(self.image_shape)

    @property
    @abstractmethod
    def num_pixels(self) -> int:
        """D, the width of a row."""

    @abstractmethod
    def rows(self, images: Any) -> Tensor:
        """New images as rows (N, D) float32, as ``load_dataset`` makes them of the same images.

        Args:
            images: (N, *image_shape), or flat (N, D); an array, a tensor or a data frame.

        Raises:
            InputError: another shape, values that are not finite or on another scale than those
                of the images that the preprocessing was fitted on.
        """

    @abstractmethod
    def images(self, rows: Any) -> np.ndarray:
        """Rows (N, D) back in the user's units, (N, *image_shape) float64; nothing is cut off."""

    @abstractmethod
    def shown(self, rows: Any, *, effects: bool = False) -> np.ndarray:
        """Rows (N, D) as pictures (N, *picture_shape), or filters where ``effects`` is true.

        Grey pictures and all effects stay in the units of the rows; ``pixels.grey_limit`` says
        between which values to show them. Colour pictures are cut to [0, 1].

        Raises:
            InputError: the rows are no images.
        """

    def save(self, path: str | os.PathLike) -> None:
        """Write an ``.npz`` file, whole or not at all, that NumPy reads without pickles."""
        stream = io.BytesIO()
        np.savez(stream, format=FORMAT, kind=self.kind, **_plain(self))
        write_whole(Path(path), stream.getvalue())

    @staticmethod
    def load(path: str | os.PathLike) -> Preprocessing:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, damaged, or of another version.
        """
        path, what = Path(path), "file of preprocessing"
        with readable(path, what), open(path, "rb") as file:
            archive = np.load(file, allow_pickle=False)
            check_zip(path, archive.zip)
            content = {name: archive[name] for name in archive.files}
        found = int(content.pop("format", np.array(0)))
        if found != FORMAT:
            raise InputError(f"{path} is no preprocessing of format {FORMAT}, got {found}")
        with readable(path, what):
            return _KINDS[str(content.pop("kind"))](**_typed(content))


@dataclass(frozen=True, eq=False)
class ArrayPreprocessing(Preprocessing):
    """Arrays: ``(images - mean) / scale``, and binary pixels drawn with that as probability.

    Where colour stands first, (3, H, W), images (N, H, W, 3) are taken too. Whole levels are
    checked, and divided without rounding errors.

    Attributes:
        mean, scale: one number each, in the units of the images.
        white: the stored value of a white pixel, 255 or 1; None where values are other numbers.
        seed: of the draws.
        sizing: how images of other sizes were cut and reduced; None where they were not.
    """

    kind = "arrays"

    mean: float
    scale: float
    white: float | None = None
    seed: int = 0
    sizing: Sizing | None = None

    @property
    def num_pixels(self) -> int:
        return int(np.prod(self.image_shape))

    def rows(self, images: Any) -> Tensor:
        """As :meth:`Preprocessing.rows`; binary pixels are drawn as those of the test set are.

        A draw depends on the seed and on the place of an image among ``images``.
        """
        scaled = self.scaled(self._checked(as_array(images)))
        return self.draw(scaled, "test") if self.pixels.drawn else scaled

    def scaled(self, images: np.ndarray, origin: str = "images") -> Tensor:
        """(N, ...) numbers as (N, D) float32 rows, before anything is drawn.

        Raises:
            InputError: a level that is not whole, where ``pixels`` are; ``origin`` is named.
        """
        done, start = [], 0
        for part in chunks(images):
            values = (part - self.mean) / self.scale
            if self.pixels.whole:
                values = self.pixels.rounded(origin, values, start)
            done.append(values.astype(np.float32))
            start += len(part)
        return torch.from_numpy(np.concatenate(done).reshape(len(images), -1))

    def draw(self, probabilities: Tensor, split: str) -> Tensor:
        """Rows of 0 and 1, drawn once for a split."""
        return draw_binary(probabilities, numpy_generator(self.seed, "binarise", split))

    def images(self, rows: Any) -> np.ndarray:
        values = check_width(rows, self.num_pixels) * self.scale + self.mean
        return values.reshape(-1, *self.image_shape)

    def shown(self, rows: Any, *, effects: bool = False) -> np.ndarray:
        values = check_width(rows, self.num_pixels, None)
        if self.picture_shape is not None and len(self.picture_shape) == 3 and not effects:
            white = self.white or (self.mean + 3 * self.scale)
            values = ((values * self.scale + self.mean) / white).clip(0, 1)
        return pictures(values, self.image_shape)

    def _checked(self, images: np.ndarray) -> np.ndarray:
        if images.dtype.kind not in "buif":
            raise InputError(f"images must be numbers, got dtype {images.dtype}")
        images = self._in_order(images)
        shape = tuple(length for length in images.shape[1:] if length != 1)
        wanted = tuple(length for length in self.image_shape if length != 1)
        if images.ndim < 2 or len(images) == 0 or shape not in (wanted, (self.num_pixels,)):
            raise InputError(
                f"images must have shape (N, {', '.join(map(str, self.image_shape))}) or "
                f"(N, {self.num_pixels}) with N >= 1, got {images.shape}"
            )
        low, high = images.min(), images.max()
        if not np.isfinite([low, high]).all():
            raise InputError("images hold values that are NaN or infinite")
        self._check_scale(images.dtype, float(low), float(high))
        return images

    def _in_order(self, images: np.ndarray) -> np.ndarray:
        """Colours first where rows have them so; cut and reduced where the run's images were."""
        if images.shape[1:] == self.image_shape or images.ndim < 3:
            return images
        first = channels_first(images)
        if first.shape[1:] == self.image_shape:
            return first
        if self.sizing is not None and first.ndim == len(self.image_shape) + 1:
            if images.dtype != np.uint8:
                raise InputError(
                    f"images that are cut or reduced must be bytes (uint8), got {images.dtype}"
                )
            return self.sizing.applied("images", first)
        return images

    def _check_scale(self, dtype: np.dtype, low: float, high: float) -> None:
        if self.white is None:
            return
        trained = f"images were of 0 to {self.white:g} in training"
        if self.pixels.interval is not None and not 0 <= low <= high <= self.white:
            raise InputError(f"{trained}, got {low:g} to {high:g}")
        if self.white == 1 and not -1 <= low <= high <= 2:
            raise InputError(f"{trained}, got {low:g} to {high:g}: divide bytes by 255")
        if self.white == 255 and dtype.kind == "f" and 0 <= low < high <= 1:
            raise InputError(f"{trained}, got fractions of {low:g} to {high:g}: give bytes")


def as_array(images: Any) -> np.ndarray:
    """Arrays, tensors on any device, data frames and lists as an array."""
    if isinstance(images, Tensor):
        images = images.detach().cpu()
        return (images.float() if images.dtype is torch.bfloat16 else images).numpy()
    return np.asarray(images)


def check_width(rows: Any, width: int, dtype: Any = np.float64) -> np.ndarray:
    """Rows (N, ``width``) as an array, by default float64; InputError for any other shape."""
    rows = as_array(rows)
    if rows.ndim != 2 or rows.shape[1] != width:
        raise InputError(f"rows must have shape (N, {width}), got {rows.shape}")
    return rows if dtype is None else rows.astype(dtype)


def _plain(part: Preprocessing | Whitening | Restoration | Sizing) -> dict[str, Any]:
    """The fields as arrays; those of a part of it under ``PART.NAME``; None left out."""
    plain: dict[str, Any] = {}
    for entry in fields(part):
        value = getattr(part, entry.name)
        if value is None:
            continue
        if entry.name in _PARTS:
            plain |= {f"{entry.name}.{name}": array for name, array in _plain(value).items()}
        else:
            plain[entry.name] = np.asarray(value)
    return plain


def _typed(content: dict[str, np.ndarray]) -> dict[str, Any]:
    """Inverse of :func:`_plain`."""
    typed: dict[str, Any] = {}
    inner: dict[str, dict[str, np.ndarray]] = {}
    for name, array in content.items():
        part, _, inside = name.rpartition(".")
        if part:
            inner.setdefault(part, {})[inside] = array
        elif name in _SHAPES:
            typed[name] = tuple(int(length) for length in array)
        else:
            typed[name] = array.item() if array.ndim == 0 else torch.from_numpy(array)
    if "pixels" in typed:
        typed["pixels"] = pixel_space(typed["pixels"])
    return typed | {part: _PARTS[part](**_typed(arrays)) for part, arrays in inner.items()}
