"""Photographs, and patches cut from them at seeded places, from which flat ones are left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_vae.datasets.dataset import SPLITS
from pyro_vae.datasets.intensity import INTENSITY, intensities
from pyro_vae.datasets.radial import MARGIN, radially_filtered, without_margin
from pyro_vae.datasets.raw_arrays import MIN_HELD_OUT
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.whitening import COMPONENTS, check_whitening
from pyro_vae.errors import InputError, check_choice, check_count

# Give up on a photograph after this many draws for each patch wanted.
MAX_DRAWS_PER_PATCH = 200


@dataclass(frozen=True)
class Photograph:
    """A grey image (H, W) in [0, 1], float32, with the name under which errors and info cite it."""

    name: str
    grey: np.ndarray


@dataclass(frozen=True)
class PhotographSplits:
    """The photographs that each split is cut from.

    Attributes:
        left_out: names of files that could not be read.
    """

    train: list[Photograph]
    valid: list[Photograph]
    test: list[Photograph]
    left_out: tuple[str, ...] = ()

    def of(self, split: str) -> list[Photograph]:
        """The photographs of the split of this name."""
        return getattr(self, split)


@dataclass(frozen=True)
class PatchSettings:
    """What a user chooses about patches; see ``load_dataset`` for the meaning of each.

    Raises:
        InputError: a choice that does not exist, too small a count, or more components than pixels.
    """

    patch_size: int = 20
    intensity: str = "log"
    whiten: str = "zca"
    components: int = COMPONENTS
    num_train: int = 20_000
    num_valid: int = 1_000
    num_test: int = 4_000
    seed: int = 0

    def __post_init__(self) -> None:
        check_count("patch_size", self.patch_size, minimum=2)
        check_choice("intensity", self.intensity, INTENSITY)
        check_whitening(self.whiten, self.components, self.patch_size)
        for split in SPLITS:
            check_count(f"num_{split}", self.count(split), 1 if split == "train" else MIN_HELD_OUT)
        check_count("seed", self.seed, minimum=0)

    @property
    def filtered(self) -> bool:
        """Whether whole photographs are filtered before patches are cut."""
        return self.whiten == "radial"

    @property
    def margin(self) -> int:
        """Pixels at each border of a photograph that no patch is cut from."""
        return MARGIN if self.filtered else 0

    def count(self, split: str) -> int:
        """Patches wanted in a split."""
        return getattr(self, f"num_{split}")


def contrast(patches: np.ndarray) -> np.ndarray:
    """Pixel standard deviation (N,) of patches (N, P), in the units of the patches."""
    return patches.std(axis=1)


def cut_split(
    photographs: Sequence[Photograph],
    split: str,
    settings: PatchSettings,
    min_contrast: float,
    *,
    filtered: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the patches of a split at seeded positions, in shuffled order.

    Every photograph gives the same number of patches; where the total does not divide, the first
    ones give one more.

    Args:
        filtered: False leaves out the filter that the settings may ask for: the same patches of
            the photographs as they were.

    Returns:
        patches (N, P) float32 in log or grey intensities, filtered or not, and the index (N,) int64
        of the photograph that each was cut from.

    Raises:
        InputError: a photograph smaller than a patch, or with too few patches that are not flat.
    """
    for photo in photographs:
        height, width = photo.grey.shape
        if min(height, width) < settings.patch_size + 2 * settings.margin:
            borders = f" and {settings.margin} pixels at each border, which whiten='radial' leaves"
            raise InputError(
                f"{photo.name} ({height} x {width} pixels) is smaller than patch_size "
                f"{settings.patch_size}{borders if settings.margin else ''}"
            )
    each, extra = divmod(settings.count(split), len(photographs))
    counts = [each + (index < extra) for index in range(len(photographs))]
    patches = np.concatenate(
        [
            # One stream for each photograph: what one gives does not depend on the others.
            _cut(
                photo,
                count,
                settings,
                min_contrast,
                numpy_generator(settings.seed, "patches", split, index),
                filtered=filtered and settings.filtered,
            )
            for index, (photo, count) in enumerate(zip(photographs, counts, strict=True))
        ]
    )
    source = np.repeat(np.arange(len(photographs)), counts)
    order = numpy_generator(settings.seed, "patch order", split).permutation(len(patches))
    return patches[order], source[order]


def _cut(
    photo: Photograph,
    count: int,
    settings: PatchSettings,
    min_contrast: float,
    rng: np.random.Generator,
    *,
    filtered: bool,
) -> np.ndarray:
    windows = _windows(photo.grey, settings)
    of_filtered = None
    if filtered:
        whole = radially_filtered(intensities(photo.grey, settings.intensity))
        of_filtered = _windows(whole, settings)
    kept: list[Any] = []
    missing, drawn = count, 0
    while missing or not kept:
        if drawn > MAX_DRAWS_PER_PATCH * count:
            raise InputError(
                f"{photo.name} is too flat: {count - missing} of {count} patches found with a "
                f"pixel standard deviation of at least {min_contrast:.3g} in {drawn} draws"
            )
        top = rng.integers(windows.shape[0], size=missing)
        left = rng.integers(windows.shape[1], size=missing)
        patches = intensities(windows[top, left].reshape(missing, -1), settings.intensity)
        drawn += missing
        found = contrast(patches) >= min_contrast
        if of_filtered is not None:
            patches = of_filtered[top, left].reshape(missing, -1)
        kept.append(patches[found])
        missing -= len(kept[-1])
    return np.concatenate(kept)


def _windows(image: np.ndarray, settings: PatchSettings) -> np.ndarray:
    """All patches (H', W', size, size) of an image, as a view."""
    inside = without_margin(image, settings.margin)
    size = settings.patch_size
    return np.lib.stride_tricks.sliding_window_view(inside, (size, size))
