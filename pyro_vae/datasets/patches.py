"""From photographs to whitened patches: seeded cutting, the flat-patch rule, one global scale.

Sparse coding of natural patches began with Olshausen and Field 1996
(https://doi.org/10.1038/381607a0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.datasets.arrays import MIN_HELD_OUT
from pyro_vae.datasets.dataset import SPLITS, Dataset
from pyro_vae.datasets.intensity import INTENSITY, LOG_OFFSET, intensities
from pyro_vae.datasets.pixel_space import STANDARDISED
from pyro_vae.datasets.preprocessing import PatchPreprocessing
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.whitening import Whitening, check_whitening, fit_whitening
from pyro_vae.errors import InputError, check_choice, check_count

# A patch is flat, and dropped, when its pixel standard deviation is below this fraction of the
# mean over training patches. Whitened sky is compression noise, not structure.
FLAT_FRACTION = 0.1
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
    components: int = 128
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

    def count(self, split: str) -> int:
        """Patches wanted in a split."""
        return getattr(self, f"num_{split}")


@dataclass(frozen=True, eq=False)
class PatchPipeline:
    """Preprocessing fitted on the training patches of some photographs, applied to any others.

    Attributes:
        settings: how to cut.
        min_contrast: patches with a smaller pixel standard deviation are flat, and dropped.
        whitening: the fitted whitening.
    """

    settings: PatchSettings
    min_contrast: float
    whitening: Whitening

    @classmethod
    def fit(cls, photographs: Sequence[Photograph], settings: PatchSettings) -> PatchPipeline:
        """Fit the flat-patch threshold and the whitening on training photographs."""
        every, _ = cut_split(photographs, "train", settings, min_contrast=0.0)
        min_contrast = FLAT_FRACTION * float(contrast(every).mean())
        if min_contrast == 0:
            names = ", ".join(p.name for p in photographs)
            raise InputError(f"training photographs are constant: zero variance in {names}")
        patches, _ = cut_split(photographs, "train", settings, min_contrast)
        shape = (settings.patch_size, settings.patch_size)
        whitening = fit_whitening(patches, settings.whiten, settings.components, shape)
        return cls(settings, min_contrast, whitening)

    def rows(self, photographs: Sequence[Photograph], split: str) -> tuple[Tensor, Tensor]:
        """Whitened rows (N, D) float32 of a split, and the index (N,) of each row's photograph."""
        patches, source = cut_split(photographs, split, self.settings, self.min_contrast)
        return self.whitening.transform(patches), torch.from_numpy(source)

    @property
    def preprocessing(self) -> PatchPreprocessing:
        """What is applied to every patch."""
        shape, intensity = self.whitening.image_shape, self.settings.intensity
        return PatchPreprocessing(STANDARDISED, shape, intensity, self.whitening)

    def dataset(
        self,
        name: str,
        photographs: PhotographSplits,
        *,
        origin: str,
        label_names: tuple[str, ...] = (),
    ) -> Dataset:
        """Cut all splits into a ``Dataset``.

        With ``label_names``, the label of a row is the index of its photograph in the split.
        """
        rows, labels = {}, {}
        for split in SPLITS:
            rows[split], labels[split] = self.rows(photographs.of(split), split)
        info = {
            "origin": origin,
            "photographs": {split: [p.name for p in photographs.of(split)] for split in SPLITS},
            **({"left_out": list(photographs.left_out)} if photographs.left_out else {}),
            "counts": {split: len(rows[split]) for split in SPLITS},
            "settings": asdict(self.settings),
            "log_offset": LOG_OFFSET if self.settings.intensity == "log" else None,
            "flat_fraction": FLAT_FRACTION,
            "min_contrast": self.min_contrast,
            "variance_kept": self.whitening.variance_kept,
            "scale": self.whitening.scale,
        }
        return Dataset(
            name,
            **rows,
            image_shape=self.whitening.row_shape,
            pixels=STANDARDISED,
            labels=labels if label_names else None,
            label_names=label_names,
            whitening=self.whitening,
            preprocessing=self.preprocessing,
            info=info,
        )


def tiles(photograph: np.ndarray, size: int) -> np.ndarray:
    """Cut a photograph (H, W) or (H, W, 3) into patches (N, size, size[, 3]) side by side.

    What is left over at the right and at the bottom is dropped; row by row, from the top left.

    Raises:
        InputError: the photograph is smaller than a patch, or of another shape.
    """
    photograph = np.asarray(photograph)
    check_count("size", size)
    if photograph.ndim not in (2, 3) or min(photograph.shape[:2]) < size:
        raise InputError(
            f"a photograph (H, W) or (H, W, 3) of at least {size} x {size} pixels is needed, got "
            f"shape {photograph.shape}"
        )
    down, across = (length // size for length in photograph.shape[:2])
    whole = photograph[: down * size, : across * size]
    cut = whole.reshape(down, size, across, size, *photograph.shape[2:]).swapaxes(1, 2)
    return cut.reshape(down * across, size, size, *photograph.shape[2:])


def contrast(patches: np.ndarray) -> np.ndarray:
    """Pixel standard deviation (N,) of patches (N, P), in the units of the patches."""
    return patches.std(axis=1)


def cut_split(
    photographs: Sequence[Photograph], split: str, settings: PatchSettings, min_contrast: float
) -> tuple[np.ndarray, np.ndarray]:
    """Cut the patches of a split at seeded positions, in shuffled order.

    Every photograph gives the same number of patches; where the total does not divide, the first
    ones give one more.

    Returns:
        patches (N, P) float32 in log or grey intensities, and the index (N,) int64 of the
        photograph that each was cut from.

    Raises:
        InputError: a photograph smaller than a patch, or with too few patches that are not flat.
    """
    for photo in photographs:
        height, width = photo.grey.shape
        if min(height, width) < settings.patch_size:
            raise InputError(
                f"{photo.name} ({height} x {width} pixels) is smaller than patch_size "
                f"{settings.patch_size}"
            )
    each, extra = divmod(settings.count(split), len(photographs))
    counts = [each + (index < extra) for index in range(len(photographs))]
    patches = np.concatenate(
        [
            # One stream for each photograph: what one gives does not depend on the others.
            _cut(photo, count, settings, min_contrast, split, index)
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
    split: str,
    index: int,
) -> np.ndarray:
    size = settings.patch_size
    rng = numpy_generator(settings.seed, "patches", split, index)
    windows = np.lib.stride_tricks.sliding_window_view(photo.grey, (size, size))
    kept, missing, drawn = [], count, 0
    while missing or not kept:
        if drawn > MAX_DRAWS_PER_PATCH * count:
            raise InputError(
                f"{photo.name} is too flat: {count - missing} of {count} patches found with a "
                f"pixel standard deviation of at least {min_contrast:.3g} in {drawn} draws"
            )
        top = rng.integers(windows.shape[0], size=missing)
        left = rng.integers(windows.shape[1], size=missing)
        patches = windows[top, left].reshape(missing, size * size)
        patches = intensities(patches, settings.intensity)
        drawn += missing
        patches = patches[contrast(patches) >= min_contrast]
        kept.append(patches)
        missing -= len(patches)
    return np.concatenate(kept)
