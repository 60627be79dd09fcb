"""Image files and folders as arrays of the images that a trained run's preprocessing takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyro_vae.datasets.image_files import read_grey, read_levels
from pyro_vae.datasets.patch_preprocessing import PatchPreprocessing, RadialPreprocessing
from pyro_vae.datasets.photographs import SUFFIXES, image_files
from pyro_vae.datasets.preprocessing import ArrayPreprocessing, Preprocessing
from pyro_vae.datasets.reading import printable
from pyro_vae.datasets.shapes import tiles
from pyro_vae.errors import InputError


def holds_images(path: Path) -> bool:
    """Whether a path is a folder, or a file of a picture by its name."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def read_new_images(path: Path, preprocessing: Preprocessing) -> np.ndarray:
    """The images of a file, or of a folder and below in the order of their paths.

    A run on patches gets photographs as grey levels, each cut into patches (:func:`shapes.tiles`);
    where it filters photographs before they are cut, it gets them whole. Any other run gets whole
    images in 8-bit levels, cut and reduced as its own were.

    Returns:
        for ``preprocessing.rows``: (N, H, W), or (N, 3, H, W) of a run on colour images.

    Raises:
        InputError: no image, one that cannot be read or is too small, whole images of several
            sizes, or a run on numbers that are no grey levels; the file is named.
    """
    files = image_files(path) if path.is_dir() else [path]
    if not files:
        raise InputError(
            f"{printable(path)} holds no images; read are {', '.join(SUFFIXES)} in it and below"
        )
    if not isinstance(preprocessing, PatchPreprocessing):
        return _stacked(path, [_whole(file, preprocessing) for file in files])
    if preprocessing.intensity == "raw":
        raise InputError(
            f"the run takes numbers as they are, and {printable(path)} holds grey levels: give an "
            "array"
        )
    photographs = {file: read_grey(file) for file in files}
    if isinstance(preprocessing, RadialPreprocessing):
        return _stacked(path, list(photographs.values()))
    size = preprocessing.image_shape[0]
    for file, grey in photographs.items():
        if min(grey.shape) < size:
            raise InputError(
                f"{printable(file)}: {grey.shape[0]} x {grey.shape[1]} pixels are smaller than a "
                f"patch of {size} x {size}"
            )
    return np.concatenate([tiles(grey, size) for grey in photographs.values()])


def _whole(file: Path, preprocessing: Preprocessing) -> np.ndarray:
    image = read_levels(file)
    if isinstance(preprocessing, ArrayPreprocessing) and preprocessing.sizing is not None:
        image = preprocessing.sizing.applied(printable(file), image)
    colour = len(preprocessing.image_shape) == 3
    return np.stack([image] * 3) if colour and image.ndim == 2 else image


def _stacked(path: Path, images: list[np.ndarray]) -> np.ndarray:
    shapes = sorted({image.shape for image in images})
    if len(shapes) > 1:
        raise InputError(
            f"{printable(path)} holds images of several shapes, as {shapes[0]} and {shapes[-1]}: "
            "give those of one shape at a time"
        )
    return np.stack(images)
