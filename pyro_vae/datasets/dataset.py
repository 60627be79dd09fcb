"""The one form in which every dataset reaches training, evaluation and plots."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch

from pyro_vae.datasets.factors import Factors
from pyro_vae.datasets.far_rows import FarRows
from pyro_vae.datasets.identity import Fingerprint, fingerprint
from pyro_vae.datasets.patch_preprocessing import PatchPreprocessing
from pyro_vae.datasets.pixel_space import PixelSpace, pixel_space
from pyro_vae.datasets.preprocessing import ArrayPreprocessing, Preprocessing
from pyro_vae.datasets.whitening import Whitening

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows of pixels in three splits, with what is needed to draw them and to cite their origin.

    Attributes:
        name: the name or path given to ``load_dataset``.
        train: (N, D) float32, what the model is fitted to; rows that stay in a file larger than
            memory are :class:`pyro_vae.datasets.far_rows.FarRows`.
        valid: held-out rows, watched during training.
        test: held-out rows, read at the end only.
        image_shape: (H, W) of grey images, (H, W, 3) or (3, H, W) of colour images in the order in
            which a row holds them; (D,) of rows that are no images, other shapes as they are.
        pixels: ``"standardised"``: one mean and one scale for the whole training set, for Gaussian
            likelihoods; ``"binary"``: 0 or 1, or a training set of probabilities that ``Batches``
            draws from, for Bernoulli likelihoods; ``"levels"``: whole levels / 255, for
            likelihoods of 8-bit images. A ``PixelSpace``, equal to its name.
        labels: split name -> (N,) int64, or None.
        label_names: the name of label 0, 1, ..., where known.
        factors: what each image was made from, where that is known (``sprites``), or None.
        whitening: the fitted whitening of patches, or None.
        preprocessing: turns new images into rows, as these were, and rows into images.
        info: what JSON can hold: origin, photographs of each split, settings, counts.
    """

    name: str
    train: torch.Tensor | FarRows
    valid: torch.Tensor
    test: torch.Tensor
    image_shape: tuple[int, ...]
    pixels: PixelSpace
    labels: dict[str, torch.Tensor] | None = None
    label_names: tuple[str, ...] = ()
    whitening: Whitening | None = None
    info: dict = field(default_factory=dict)
    preprocessing: Preprocessing = None  # type: ignore[assignment]  # None: rows as they are
    factors: Factors | None = None

    def __post_init__(self) -> None:
        # Datasets built by hand may name the pixel space, and their rows are taken as they are.
        object.__setattr__(self, "pixels", pixel_space(self.pixels))
        if self.preprocessing is None:
            object.__setattr__(self, "preprocessing", self._as_it_is())

    def _as_it_is(self) -> Preprocessing:
        if self.whitening is None:
            return ArrayPreprocessing(self.pixels, self.image_shape, 0.0, 1.0)
        shape = self.whitening.image_shape
        return PatchPreprocessing(self.pixels, shape, "grey", self.whitening)

    @property
    def description(self) -> str:
        """A line of name, rows, pixel space, photographs; a caveat of ``info`` is a second one."""
        rows = (
            f"{self.name}: {len(self.train)} train, {len(self.valid)} valid and {len(self.test)} "
            f"test rows of {self.train.shape[1]} ({self.pixels})"
        )
        photographs = self.info.get("photographs")
        if photographs is not None:
            train, valid, test = (len(photographs[split]) for split in SPLITS)
            rows += f", cut from {train}, {valid} and {test} photographs in grey"
        caveat = self.info.get("caveat")
        return rows if caveat is None else f"{rows}\nnote: {caveat}"

    @property
    def train_in_memory(self) -> torch.Tensor:
        """The training rows, or some of those that stay in their file, evenly spaced."""
        return self.train.some() if isinstance(self.train, FarRows) else self.train

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """(H, W) where rows can be drawn as grey images, (H, W, 3) as colour ones, else None."""
        return self.preprocessing.picture_shape

    @property
    def channels_first(self) -> tuple[int, int, int] | None:
        """(C, H, W) of rows that hold an image channel by channel, grey with C = 1; else None.

        None of rows that are no images, be it that whitening left other numbers than pixels, and of
        colour rows (H, W, 3) that hold the three colours of a pixel side by side.
        """
        shape = self.image_shape
        if math.prod(shape) != self.train.shape[1]:
            return None
        if len(shape) == 2:
            return (1, *shape)
        if len(shape) != 3 or shape[0] != 3 or (shape[2] == 3 and not self.pixels.whole):
            return None
        channels, height, width = shape
        return channels, height, width

    @cached_property
    def fingerprint(self) -> Fingerprint:
        """What tells whether other rows are these; computed when first asked for."""
        return fingerprint({split: getattr(self, split) for split in SPLITS})

    @property
    def checksum(self) -> str:
        """Hexadecimal SHA-256 digest of all rows, their order, shape and dtype."""
        return self.fingerprint.checksum
