"""The group of a run's settings that says what its data are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyro_vae.datasets import DATASETS, PATCH_DATASETS, Augmentation, Dataset
from pyro_vae.datasets.augment import ALLOWED
from pyro_vae.options import option

PATCH_SETTINGS = ("patch_size", "intensity", "whiten", "components", "num_train")
SIZE_SETTINGS = ("image_size", "crop")


@dataclass(frozen=True)
class DataConfig:
    """The images, and how they become rows."""

    dataset: str = option(
        "natural",
        f"{', '.join(DATASETS)}; or a .npy, .npz (file.npz:array), .mat, IDX or .pkl file, or a "
        "folder of photographs or other images (default: natural)",
        metavar="NAME|FILE",
    )
    data_dir: str | None = option(
        None, "folder of data files (default: $PYRO_VAE_DATA)", metavar="DIR", may_change=True
    )
    binarise: str | None = option(
        None,
        "static, epoch or access: when pixels of Bernoulli models are drawn (default: access)",
        metavar="HOW",
        alias="--binarize",
    )
    image_shape: tuple[int, ...] | None = option(
        None,
        "height and width (and 3 for colour) of flat rows, so that they can be drawn",
        kind=int,
        nargs="+",
        metavar="N",
    )
    image_size: int | None = option(
        None,
        "side of whole square images: the centred square of an image, reduced by area mean and "
        "rounded to whole levels; takes the images of a folder whole",
        kind=int,
        metavar="N",
    )
    crop: tuple[int, ...] | None = option(
        None,
        "top, left, height and width of what is cut out of each image before --image-size, as "
        "40 15 148 148 for the faces of CelebA",
        kind=int,
        nargs=4,
        metavar="N",
    )
    patch_size: int | None = option(
        None,
        "side of a patch, in pixels (default: 20 for photographs); cuts an array of photographs "
        "into patches too",
        kind=int,
        metavar="N",
    )
    intensity: str | None = option(
        "log", "log, grey, or raw for arrays of other numbers (default: log)", metavar="HOW"
    )
    whiten: str | None = option(
        "zca",
        "zca, pca, radial (photographs are filtered before they are cut, as by Olshausen and Field "
        "1997) or none (default: zca)",
        metavar="HOW",
    )
    components: int | None = option(
        None,
        "principal components that whitening keeps, a low-pass cut (default: 128, or 250 for "
        "--init data; after radial pi / 4 of the pixels, which the filter leaves)",
        kind=int,
        metavar="N",
    )
    num_train: int | None = option(
        None, "training patches (10000; 20000 for --init data)", kind=int, metavar="N"
    )
    augment: str | None = option(
        None,
        f"{ALLOWED}, with commas between: training images are mirrored at random and moved by up "
        "to N pixels, anew in each epoch (default: neither)",
        metavar="HOW",
    )
    data_seed: int | None = option(
        None,
        "seed of patches, splits and binarised test images (default: --seed)",
        kind=int,
        metavar="N",
    )

    @property
    def cuts_patches(self) -> bool:
        """Whether patches are cut: from photographs, and from arrays where a size is given."""
        if self.dataset in PATCH_DATASETS:
            return True
        if Path(self.dataset).expanduser().is_dir():
            return self.image_size is None and self.crop is None
        return self.patch_size is not None and self.dataset not in DATASETS

    def augmentation(self, data: Dataset) -> Augmentation | None:
        """What is done to training images; InputError where the rows are none, or too small."""
        if self.augment is None:
            return None
        shape, rows = data.channels_first or data.image_shape, tuple(data.train.shape[1:])
        # Principal components of images are no pixels to be moved.
        whole = (math.prod(shape),) == rows
        return Augmentation.read(self.augment).of(shape if whole else rows)

    def arguments(self, pixels: str, seed: int) -> dict[str, Any]:
        """What :func:`pyro_vae.load_dataset` is called with, for a likelihood of ``pixels``."""
        others = {name: getattr(self, name) for name in (*PATCH_SETTINGS, *SIZE_SETTINGS)}
        return {
            "name": self.dataset,
            "pixels": pixels,
            "binarise": self.binarise or "access",
            "data_dir": self.data_dir,
            "seed": seed if self.data_seed is None else self.data_seed,
            "image_shape": self.image_shape,
            **{name: value for name, value in others.items() if value is not None},
        }
