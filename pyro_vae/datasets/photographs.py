"""Natural photographs: those bundled with scikit-image and scikit-learn, BSDS500, or a folder."""

from __future__ import annotations

import os
import unicodedata
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vae.datasets.cutting import Photograph, PhotographSplits
from pyro_vae.datasets.files import read_npz
from pyro_vae.datasets.image_files import read_grey
from pyro_vae.datasets.intensity import grey_levels
from pyro_vae.datasets.raw_arrays import RawArrays
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError

# Files inside the installed wheels, by package folder. Whole photographs are held out, so that
# train and test patches never share one. Their contrast after whitening differs tenfold: the most
# contrasted one (china) trains, and the splits are chosen so that valid (a man outdoors) and test
# (a portrait, a cat) have about the same variance, a little above half of that of train.
NATURAL = {
    "train": (
        "sklearn/datasets/images/china.jpg",
        "sklearn/datasets/images/flower.jpg",
        "skimage/data/coffee.png",
        "skimage/data/motorcycle_left.png",
        "skimage/data/rocket.jpg",
    ),
    "valid": ("skimage/data/camera.png",),
    "test": ("skimage/data/astronaut.png", "skimage/data/chelsea.png"),
}
BSDS_FILE = "bsds500_gray.npz"
BSDS_VALID = 20
SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".pgm", ".ppm")
MIN_PHOTOGRAPHS = 3


def natural_photographs() -> PhotographSplits:
    """The bundled photographs of each split; never touches the network."""
    read: dict[str, Any] = {
        split: [read_bundled(file) for file in files] for split, files in NATURAL.items()
    }
    return PhotographSplits(**read)


def bsds_photographs(data_dir: Path | None) -> PhotographSplits:
    """BSDS500 (Arbelaez et al. 2011, https://doi.org/10.1109/TPAMI.2010.161).

    Of its photographs 180 train, 20 are watched, 100 test.

    Raises:
        InputError: the file is not in the data folder, or is damaged.
    """
    path = None if data_dir is None else data_dir / BSDS_FILE
    if path is None or not path.is_file():
        looked = "no data folder is set" if path is None else f"looked for it in {data_dir}"
        raise InputError(
            f"dataset 'bsds' needs the file {BSDS_FILE}: {looked}; "
            "PYRO_VAE_DATA or --data-dir sets the folder"
        )
    images = {}
    for part in ("train", "test"):
        stack = read_npz(path, f"x_{part}").train
        if stack.ndim != 3 or stack.dtype != np.uint8 or len(stack) == 0:
            raise InputError(
                f"{path}: x_{part} must be uint8 photographs (N, H, W), "
                f"got {stack.dtype} {stack.shape}"
            )
        images[part] = [
            Photograph(f"{part}/{index}", grey.astype(np.float32) / 255)
            for index, grey in enumerate(stack)
        ]
    train, valid = images["train"][:-BSDS_VALID], images["train"][-BSDS_VALID:]
    if not train:
        raise InputError(f"{path}: x_train needs more than {BSDS_VALID} photographs")
    return PhotographSplits(train, valid, images["test"])


def folder_photographs(folder: Path, seed: int) -> PhotographSplits:
    """The images in a folder and in the folders inside it, split by photograph at a seeded order.

    Names that begin with a dot are passed over (a Mac leaves ``._photo.jpg`` beside ``photo.jpg``).
    A file that cannot be read is left out, with a warning that names it.

    Raises:
        InputError: fewer than three images that can be read.
    """
    photographs, left_out = [], []
    for file in image_files(folder):
        try:
            photographs.append(read_photograph(file, file.relative_to(folder)))
        except InputError as error:
            left_out.append((printable(file.relative_to(folder)), str(error)))
    if len(photographs) < MIN_PHOTOGRAPHS:
        reason = f" ({len(left_out)} cannot be read: {left_out[0][1]})" if left_out else ""
        raise InputError(
            f"{printable(folder)} holds {len(photographs)} images, at least {MIN_PHOTOGRAPHS} are "
            f"needed (one each for train, valid, test){reason}; read are {', '.join(SUFFIXES)} in "
            "the folder and below"
        )
    for _, reason in left_out:
        warnings.warn(f"left out: {reason}", stacklevel=2)
    return split_photographs(photographs, seed, left_out=tuple(name for name, _ in left_out))


def image_files(folder: Path) -> list[Path]:
    """The image files in a folder and below it, in an order that no file system has a say in."""

    def key(file: Path) -> tuple[tuple[str, ...], str]:
        # Macs take accented letters apart, others do not; they come in one order everywhere.
        parts = file.relative_to(folder).parts
        return tuple(unicodedata.normalize("NFC", part) for part in parts), str(file)

    found = []
    with readable(folder, "folder"):
        for root, folders, files in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(root, name) for name in files if not name.startswith(".")]
    return sorted((f for f in found if f.suffix.lower() in SUFFIXES), key=key)


def stack_photographs(raw: RawArrays, seed: int, *, unbounded: bool = False) -> PhotographSplits:
    """The photographs of an array (N, H, W) or (N, H, W, 3), split by photograph.

    A test set that the file has is kept; a tenth of its train, at least one, is watched then. Else
    the split is that of a folder.

    Args:
        unbounded: take numbers as they are, of any range; else see ``intensity.grey_levels``.

    Raises:
        InputError: arrays of another shape, or fewer than three photographs.
    """
    train = _of_stack(raw.origin, raw.train, "" if raw.test is None else ":x_train", unbounded)
    if raw.test is None:
        if len(train) < MIN_PHOTOGRAPHS:
            raise InputError(
                f"{raw.origin} holds {len(train)} photographs, at least {MIN_PHOTOGRAPHS} are "
                "needed (one each for train, valid, test)"
            )
        return split_photographs(train, seed)
    test = _of_stack(raw.origin, raw.test, ":x_test", unbounded)
    if len(train) < 2 or not test:
        raise InputError(
            f"{raw.origin} holds {len(train)} photographs for train and {len(test)} for test; at "
            "least 2 and 1 are needed"
        )
    shuffled = _shuffled(train, seed)
    valids = max(1, len(train) // 10)
    return PhotographSplits(shuffled[valids:], shuffled[:valids], test)


def split_photographs(
    photographs: Sequence[Photograph], seed: int, left_out: tuple[str, ...] = ()
) -> PhotographSplits:
    """A fifth of the photographs (at least one) for test, a tenth (at least one) to watch."""
    shuffled = _shuffled(photographs, seed)
    tests, valids = max(1, len(shuffled) // 5), max(1, len(shuffled) // 10)
    train, valid = shuffled[tests + valids :], shuffled[tests : tests + valids]
    return PhotographSplits(train, valid, shuffled[:tests], left_out)


def _shuffled(photographs: Sequence[Photograph], seed: int) -> list[Photograph]:
    order = numpy_generator(seed, "photographs").permutation(len(photographs))
    return [photographs[index] for index in order]


def _of_stack(origin: str, stack: np.ndarray, part: str, unbounded: bool) -> list[Photograph]:
    colour = stack.ndim == 4 and stack.shape[3] == 3
    if stack.ndim == 4 and stack.shape[3] == 1:
        stack = stack[..., 0]
    if not (stack.ndim == 3 or colour):
        raise InputError(
            f"{origin}: photographs (N, H, W) or (N, H, W, 3) are needed to cut patches from, got "
            f"shape {stack.shape}"
        )
    return [
        Photograph(
            f"{Path(origin).name}{part}[{index}]",
            grey_levels(origin, image, colour=colour, unbounded=unbounded),
        )
        for index, image in enumerate(stack)
    ]


def _raise(error: OSError) -> None:
    raise error


def read_bundled(file: str) -> Photograph:
    """Read an image from inside an installed package, such as ``skimage/data/camera.png``.

    Read by its path: the packages' own loaders may download what a later release stops bundling.
    """
    package, _, inside = file.partition("/")
    found = find_spec(package)
    if found is None or found.origin is None:
        raise InputError(f"{package} is not installed, and {file} is bundled with it")
    root = Path(found.origin).parent
    if not (root / inside).is_file():
        raise InputError(f"the installed {package} does not bundle {inside}")
    return read_photograph(root / inside)


def read_photograph(path: Path, name: Path | None = None) -> Photograph:
    """Read an image file as upright grey levels in [0, 1]; see :func:`image_files.read_grey`.

    Raises:
        InputError: not one image, or one whose grey levels are not known.
    """
    return Photograph(printable(name or path.name), read_grey(path))
