"""``load_dataset``: the one door to every dataset, by name or by path."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from pyro_vae.datasets.arrays import (
    SplitArrays,
    dataset_as_is,
    dataset_from_arrays,
    split_at_random,
    split_rows,
)
from pyro_vae.datasets.batches import BINARISE
from pyro_vae.datasets.cifar import load_cifar10
from pyro_vae.datasets.cutting import PatchSettings, PhotographSplits
from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.digits import load_digits
from pyro_vae.datasets.files import read_arrays
from pyro_vae.datasets.image_folders import read_folder
from pyro_vae.datasets.patches import PatchPipeline
from pyro_vae.datasets.photographs import (
    BSDS_FILE,
    bsds_photographs,
    folder_photographs,
    natural_photographs,
    stack_photographs,
)
from pyro_vae.datasets.pixel_space import STANDARDISED, PixelSpace, pixel_space
from pyro_vae.datasets.raw_arrays import MIN_HELD_OUT
from pyro_vae.datasets.reading import printable
from pyro_vae.datasets.safe_pickle import read_patch_pickle
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.datasets.sprites import load_sprites
from pyro_vae.datasets.textures import load_textures
from pyro_vae.datasets.whitening import default_components
from pyro_vae.errors import InputError, check_choice, check_count

PATCH_DATASETS = ("natural", "bsds", "textures")
DIGIT_DATASETS = ("mnist", "fashion_mnist", "omniglot")
IMAGE_DATASETS = (*DIGIT_DATASETS, "cifar10", "sprites")
DATASETS = PATCH_DATASETS + IMAGE_DATASETS
PATCH_SIZE = 20
DATA_DIR_VARIABLE = "PYRO_VAE_DATA"


def load_dataset(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    pixels: str = "standardised",
    binarise: str = "access",
    seed: int = 0,
    patch_size: int | None = None,
    intensity: str = "log",
    whiten: str = "zca",
    components: int | None = None,
    num_train: int = 20_000,
    num_valid: int = 1_000,
    num_test: int = 4_000,
    fitted_on: str | os.PathLike = "natural",
    image_shape: Sequence[int] | None = None,
    image_size: int | None = None,
    crop: tuple[int, int, int, int] | None = None,
) -> Dataset:
    """Load a dataset by name, or from a file or a folder of images.

    Names: ``natural`` (photographs inside the scikit-image and scikit-learn wheels), ``bsds``
    (``bsds500_gray.npz`` in the data folder), ``textures`` (five labelled families under the
    preprocessing of ``natural`` or of ``fitted_on``), ``mnist``, ``fashion_mnist``, ``omniglot``,
    ``cifar10`` (data folder, else a download with checksums), ``sprites`` (drawn here, with their
    factors).

    Paths: ``.npy``; ``.npz`` or ``.mat`` with one array, one chosen as ``FILE.npz:NAME``, or
    ``x_train`` and ``x_test`` (labels ``y_train``, ``y_test``); IDX (``*-ubyte``, ``*.idx``, also
    ``.gz``); ``.pkl``, a published patch file, used as it is; a folder of at least three images,
    itself or in folders inside it, cut into patches, or used whole where ``image_size`` or ``crop``
    is given (at least ten images; the folders inside it are their labels). Arrays without a test
    set and whole images of a folder are split 80 / 10 / 10 by a seeded permutation, at least 2 rows
    held out each; arrays with one give a seeded tenth of train to valid. The last axis of a MATLAB
    array of three or four runs over the images.

    An array of at least three photographs (N, H, W) or (N, H, W, 3) is cut into patches where
    ``patch_size`` is given, and split by photograph. Image files of any colour space are read as
    upright grey levels (``image_files.read_grey``); one that cannot be read is left out of a
    folder with a warning, and named in ``info``.

    Colour rows hold their channels one after the other, (3, H, W): of ``cifar10``, of whole images
    of a folder, of all that is cut or reduced, and of ``levels``. Other rows of an array keep its
    order, (H, W, 3) or (3, H, W).

    Args:
        name: one of ``DATASETS``, or a path.
        data_dir: the data folder; by default the environment variable PYRO_VAE_DATA, if set.
        pixels: ``"standardised"``: one mean and one scale for the whole training set, for Gaussian
            likelihoods; ``"binary"``: 0/1 drawn with the grey level (uint8 / 255, or values in
            [0, 1]) as probability, for Bernoulli likelihoods; not for patches; ``"levels"``: whole
            levels / 255 (of numbers 0..255, or of fractions in [0, 1] that are whole levels), for
            likelihoods of 8-bit images; not for patches. Colour rows are (3, H, W) then.
        binarise: ``"static"`` draws train once; ``"epoch"`` and ``"access"`` leave train as
            probabilities for ``Batches`` to draw from. Valid and test are drawn once in any case.
        seed: of patch positions, splits and binarisation; whole, not negative.
        patch_size: side of the square patches, in pixels; 20 where photographs are cut without it.
        intensity: ``"log"`` (of grey in [0, 1] plus 0.05) or ``"grey"``; ``"raw"`` takes the
            numbers of an array of photographs as they are, whatever their range.
        whiten: ``"zca"`` (rows are pixels), ``"pca"`` (rows are the kept components), ``"radial"``
            (photographs are filtered as by Olshausen and Field 1997 before patches are cut from
            them, see ``radial.py``; rows are pixels) or ``"none"``.
        components: leading principal components kept, the low-pass cut of the whitening; 128, or
            after the radial filter pi / 4 of the pixels (314 of 400), which is what it leaves.
        num_train, num_valid, num_test: patches in each split; for patch datasets only.
        fitted_on: for ``textures``: ``natural``, ``bsds`` or a folder of photographs, on whose
            training patches the preprocessing is fitted; or an array of photographs.
        image_shape: (H, W) or (H, W, 3) of flat rows (N, D), so that they can be drawn.
        image_size: side of the square images that 8-bit images are reduced to, in pixels: the
            centred square, its area mean, rounded to whole levels. None leaves their size.
        crop: (top, left, height, width), what is cut out of each image before that, in pixels.

    Returns:
        the rows and how they were made; see ``Dataset``.

    Raises:
        InputError: an unknown name or option, a missing or damaged file, data that cannot be used
            (not finite, constant, too few, out of range), or a failed download.
    """
    space = pixel_space(pixels)
    check_choice("binarise", binarise, BINARISE)
    check_count("seed", seed, minimum=0)
    folder = _data_folder(data_dir)
    name = os.fspath(name)

    sizing = Sizing(image_size, crop)
    scaled = partial(dataset_from_arrays, pixels=space, binarise=binarise, seed=seed)

    if name in IMAGE_DATASETS:
        _refuse(name, patch_size=patch_size, image_shape=image_shape)
        return scaled(name, _whole_images(name, folder).sized(sizing))

    path, array = (None, None) if name in PATCH_DATASETS else _find_path(name)
    is_file = path is not None and path.is_file()
    shown_name = printable(name if path is None or is_file else path)
    if path is not None and is_file and path.suffix.lower() in (".pkl", ".pickle"):
        _refuse(name, patch_size=patch_size, image_size=image_size, crop=crop)
        return _load_patch_pickle(shown_name, path, space, image_shape)
    if path is not None and is_file and patch_size is None:
        raw = read_arrays(path, array).shaped(image_shape).check().check_pixels(space)
        return scaled(shown_name, split_at_random(raw, seed).sized(sizing))
    if sizing.wanted and path is not None and path.is_dir():
        _refuse(name, patch_size=patch_size, image_shape=image_shape)
        images = read_folder(path, sizing)
        arrays = replace(split_at_random(images.raw, seed), colour_first=True, sizing=sizing)
        return images.told(scaled(shown_name, arrays))

    _refuse(name, image_shape=image_shape, image_size=image_size, crop=crop)
    if not space.standardised:
        hint = "; image_size takes the images of a folder whole" if path is not None else ""
        raise space.refused(f"{shown_name} holds grey patches", STANDARDISED, hint)
    size = PATCH_SIZE if patch_size is None else patch_size
    if components is None:
        components = default_components(whiten, size)
    settings = PatchSettings(
        size, intensity, whiten, components, num_train, num_valid, num_test, seed
    )
    source = os.fspath(fitted_on) if name == "textures" else name
    splits, origin, is_stack = _photographs(source, folder, settings)
    if intensity == "raw" and (not is_stack or name == "textures"):
        raise InputError("intensity='raw' is for patches cut from an array; allowed: log, grey")
    if name == "textures":
        return load_textures(settings, splits.train, source)
    pipeline = PatchPipeline.fit(splits.train, settings)
    return pipeline.dataset(shown_name, splits, origin=origin)


def _whole_images(name: str, folder: Path | None) -> SplitArrays:
    if name == "sprites":
        return load_sprites()
    return load_cifar10(folder) if name == "cifar10" else load_digits(name, folder)


def _refuse(name: str, **options: object) -> None:
    """InputError that names an option which these data have no use for."""
    for option, given in options.items():
        if given is not None:
            use = {
                "patch_size": "photographs, in a folder or in an array (N, H, W), to be cut",
                "image_shape": "arrays of flat rows that are not cut into patches",
                "image_size": "images that are used whole",
                "crop": "images that are used whole",
            }
            raise InputError(f"{option} is for {use[option]}, not for {printable(name)}")


def _photographs(
    name: str, data_dir: Path | None, settings: PatchSettings
) -> tuple[PhotographSplits, str, bool]:
    """The photographs to cut, where they come from, and whether that is an array."""
    if name == "natural":
        where = "photographs bundled with scikit-image and scikit-learn"
        return natural_photographs(), where, False
    if name == "bsds":
        return bsds_photographs(data_dir), f"BSDS500, {BSDS_FILE}", False
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        where = f"photographs in {printable(path)}"
        return folder_photographs(path, settings.seed), where, False
    file, array = _existing_file(name)
    if file is None:
        raise InputError(
            "fitted_on must be natural, bsds, a folder of photographs or an array of them, got "
            f"{printable(name)!r}"
        )
    raw = read_arrays(file, array).check_numbers()
    splits = stack_photographs(raw, settings.seed, unbounded=settings.intensity == "raw")
    return splits, f"photographs in {raw.origin}", True


def _data_folder(data_dir: str | os.PathLike | None) -> Path | None:
    source = "data_dir"
    if data_dir is None:
        source, data_dir = DATA_DIR_VARIABLE, os.environ.get(DATA_DIR_VARIABLE)
    if not data_dir:
        return None
    folder = os.path.expanduser(data_dir)
    if not os.path.isdir(folder):
        raise InputError(f"{source} names {folder}, which is not a folder")
    return Path(folder)


def _find_path(name: str) -> tuple[Path, str | None]:
    """The existing path that ``name`` is, and the array chosen after a colon."""
    folder = os.path.expanduser(name)
    if os.path.isdir(folder):
        return Path(folder), None
    file, array = _existing_file(name)
    if file is None:
        raise InputError(
            f"unknown dataset {printable(name)!r}; allowed: {', '.join(DATASETS)}, or the path of "
            "a .npy, .npz, .mat, .pkl or IDX file or of a folder of images (nothing exists at this "
            "path)"
        )
    return file, array


def _existing_file(name: str) -> tuple[Path | None, str | None]:
    """The file that a name, or what stands before its last colon, is the path of."""
    # os.path, whose answer to a name that cannot be a path at all is False; Path's is an error.
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return Path(path), None
    file, _, array = path.rpartition(":")
    return (Path(file), array) if os.path.isfile(file) else (None, None)


def _load_patch_pickle(
    name: str, path: Path, pixels: PixelSpace, image_shape: Sequence[int] | None
) -> Dataset:
    """A published patch file as it is; the last tenth of train becomes valid."""
    if not pixels.standardised:
        raise pixels.refused(f"{name} holds grey patches", STANDARDISED)
    raw = read_patch_pickle(path).shaped(image_shape).check()
    rows = len(raw.train)
    held_out = max(MIN_HELD_OUT, rows // 10)
    return dataset_as_is(name, split_rows(raw, valid=np.arange(rows - held_out, rows)))
