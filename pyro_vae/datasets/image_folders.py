"""Folders of images used whole: each cut and reduced to one size, in its own colours."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.image_files import read_levels
from pyro_vae.datasets.photographs import SUFFIXES, image_files
from pyro_vae.datasets.raw_arrays import MIN_ROWS, RawArrays
from pyro_vae.datasets.reading import printable
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.errors import InputError

AT_ONCE = 1024  # files whose decoded images wait in memory


@dataclass(frozen=True, eq=False)
class FolderImages:
    """The images of a folder.

    Attributes:
        raw: images (N, H, W), or (N, 3, H, W) in colour, uint8, in the order of their paths; the
            names of their folders as labels, where each lies in one of several folders.
        left_out: names of files that could not be read.
        greys: how many grey images were made colour ones, since others are in colour.
    """

    raw: RawArrays
    left_out: tuple[str, ...]
    greys: int

    def told(self, data: Dataset) -> Dataset:
        """The data set made of the images, whose ``info`` says what was left out and coloured."""
        found = {"left_out": list(self.left_out), "grey_images": self.greys}
        return replace(data, info=data.info | {what: told for what, told in found.items() if told})


def read_folder(folder: Path, sizing: Sizing) -> FolderImages:
    """Read the images in a folder and below as 8-bit levels of one size.

    Grey images stay grey and colour images stay in colour; where a folder holds both, the grey ones
    get three equal channels, with a warning that counts them. A file that cannot be read is left
    out, with a warning that names it.

    Raises:
        InputError: an image smaller than the crop or the size, images of several sizes where
            ``sizing`` makes them none, or too few that can be read.
    """
    images, files, left_out = list[np.ndarray](), list[Path](), list[tuple[str, str]]()
    for file, found in _decoded(image_files(folder), sizing):
        if isinstance(found, InputError):
            left_out.append((printable(file.relative_to(folder)), str(found)))
            continue
        if images and found.shape[-2:] != images[0].shape[-2:]:
            raise InputError(
                f"{printable(file)} has {_size(found)} pixels, {printable(files[0])} has "
                f"{_size(images[0])}: image_size brings images to one size"
            )
        images.append(found)
        files.append(file.relative_to(folder))
    if len(images) < MIN_ROWS:
        reason = f" ({len(left_out)} cannot be read: {left_out[0][1]})" if left_out else ""
        raise InputError(
            f"{printable(folder)} holds {len(images)} images, at least {MIN_ROWS} are needed"
            f"{reason}; read are {', '.join(SUFFIXES)} in the folder and below"
        )
    for _, reason in left_out:
        warnings.warn(f"left out: {reason}", stacklevel=2)
    greys = sum(image.ndim == 2 for image in images)
    if greys == len(images):
        greys = 0
    elif greys:
        warnings.warn(
            f"{printable(folder)} holds {greys} grey images and {len(images) - greys} in colour: "
            "the grey ones get three equal channels",
            stacklevel=2,
        )
        images = [_coloured(image) for image in images]
    raw = RawArrays(printable(folder), np.stack(images), train_labels=_labels(files))
    return FolderImages(raw, tuple(name for name, _ in left_out), greys)


def _decoded(
    files: Sequence[Path], sizing: Sizing
) -> Iterator[tuple[Path, np.ndarray | InputError]]:
    """Each file with its image, or with why it cannot be read, in order; a few threads read."""

    def read(file: Path) -> np.ndarray | InputError:
        try:
            levels = read_levels(file)
        except InputError as error:
            return error
        return sizing.applied(printable(file), levels)  # an image too small is no broken file

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), AT_ONCE):
            part = files[start : start + AT_ONCE]
            yield from zip(part, pool.map(read, part), strict=True)


def _size(image: np.ndarray) -> str:
    return " x ".join(map(str, image.shape[-2:]))


def _coloured(image: np.ndarray) -> np.ndarray:
    return np.stack([image] * 3) if image.ndim == 2 else image


def _labels(files: Sequence[Path]) -> np.ndarray | None:
    """The folder that each file lies in, where there are several and none lies beside them."""
    folders = [printable(file.parts[0]) for file in files if len(file.parts) > 1]
    return np.array(folders) if len(folders) == len(files) and len(set(folders)) > 1 else None
