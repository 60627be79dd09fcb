"""Five families of texture under the preprocessing of natural patches, with labels to decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro_vae.datasets.cutting import PatchSettings, Photograph, PhotographSplits
from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.patches import PatchPipeline
from pyro_vae.datasets.photographs import read_bundled
from pyro_vae.errors import InputError

# Of what scikit-image bundles, these look the same wherever one looks. Tissue (ihc) and the star
# field join the three textures proper: patches of page, coins, moon, retina and cell depend on
# the place (lines or margin, coin or background), so that a label would name a place.
FAMILIES = {
    "grass": "skimage/data/grass.png",
    "gravel": "skimage/data/gravel.png",
    "brick": "skimage/data/brick.png",
    "tissue": "skimage/data/ihc.png",
    "stars": "skimage/data/hubble_deep_field.jpg",
}
# Left and right edge of each split's band, as fractions of the width. Upright bands, because the
# bricks shrink from bottom to top: each split sees all their sizes.
BANDS = {"train": (0.0, 0.6), "valid": (0.6, 0.75), "test": (0.75, 1.0)}


def load_textures(
    settings: PatchSettings, photographs: Sequence[Photograph], fitted_on: str
) -> Dataset:
    """Equal numbers of patches of five textures, labelled, preprocessed as natural patches.

    Whitening and flat-patch threshold are fitted on the training patches of some photographs with
    the same settings and applied unchanged, so that a model of those patches can be asked about
    textures. The splits are cut from bands of each image that share no pixel.

    Args:
        photographs: those of the training set of ``fitted_on``, the dataset's name.

    Raises:
        InputError: a band is narrower than a patch, or the settings cannot be met.
    """
    bands = texture_bands()
    narrowest = min(photo.grey.shape[1] for split in BANDS for photo in bands.of(split))
    widest = narrowest - 2 * settings.margin
    if settings.patch_size > widest:
        raise InputError(
            f"patch_size must be at most {widest} for textures, whose train, valid and test "
            f"areas share no pixels, got {settings.patch_size}"
        )
    pipeline = PatchPipeline.fit(photographs, settings)
    origin = f"textures bundled with scikit-image, preprocessing fitted on {fitted_on!r}"
    return pipeline.dataset("textures", bands, origin=origin, label_names=tuple(FAMILIES))


def texture_bands() -> PhotographSplits:
    """The area of each texture, in the order of ``FAMILIES``, that each split is cut from."""
    images = [read_bundled(file) for file in FAMILIES.values()]
    cut: dict[str, Any] = {
        split: [_columns(image, left, right) for image in images]
        for split, (left, right) in BANDS.items()
    }
    return PhotographSplits(**cut)


def _columns(image: Photograph, left: float, right: float) -> Photograph:
    width = image.grey.shape[1]
    start, stop = round(left * width), round(right * width)
    return Photograph(f"{image.name}[:, {start}:{stop}]", image.grey[:, start:stop])
