"""``load_dataset``: the one door to every dataset, by name or by path."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from pyro_vae.datasets.arrays import dataset_as_is, dataset_from_arrays, split_at_random, split_rows
from pyro_vae.datasets.batches import BINARISE
from pyro_vae.datasets.dataset import Dataset
from pyro_vae.datasets.digits import load_digits
from pyro_vae.datasets.files import read_arrays
from pyro_vae.datasets.patches import PatchPipeline, PatchSettings, Photograph
from pyro_vae.datasets.photographs import (
    BSDS_FILE,
    bsds_photographs,
    folder_photographs,
    natural_photographs,
)
from pyro_vae.datasets.pixel_space import STANDARDISED, pixel_space
from pyro_vae.datasets.safe_pickle import read_patch_pickle
from pyro_vae.datasets.textures import load_textures
from pyro_vae.errors import InputError, check_choice, check_count

PATCH_DATASETS = ("natural", "bsds", "textures")
DIGIT_DATASETS = ("mnist", "fashion_mnist", "omniglot")
DATASETS = PATCH_DATASETS + DIGIT_DATASETS
DATA_DIR_VARIABLE = "PYRO_VAE_DATA"


def load_dataset(
    name: str | os.PathLike,
    *,
    data_dir: str | os.PathLike | None = None,
    pixels: str = "standardised",
    binarise: str = "access",
    seed: int = 0,
    patch_size: int = 20,
    intensity: str = "log",
    whiten: str = "zca",
    components: int = 128,
    num_train: int = 20_000,
    num_valid: int = 1_000,
    num_test: int = 4_000,
    fitted_on: str | os.PathLike = "natural",
) -> Dataset:
    """Load a dataset by name, or from a file or a folder of images.

    Names: ``natural`` (photographs inside the scikit-image and scikit-learn wheels), ``bsds``
    (``bsds500_gray.npz`` in the data folder), ``textures`` (five labelled families under the
    preprocessing of ``natural`` or of ``fitted_on``), ``mnist``, ``fashion_mnist``, ``omniglot``
    (data folder, else a download with checksums).

    Paths: ``.npy``; ``.npz`` with one array, one chosen as ``FILE.npz:NAME``, or ``x_train`` and
    ``x_test`` (labels ``y_train``, ``y_test``); IDX (``*-ubyte``, ``*.idx``, also ``.gz``);
    ``.pkl``, a published patch file, used as it is; a folder of at least three images, cut into
    patches. Arrays without a test set are split 80 / 10 / 10 by a seeded permutation; those with
    one give a seeded tenth of train to valid.

    Args:
        name: one of ``DATASETS``, or a path.
        data_dir: the data folder; by default the environment variable PYRO_VAE_DATA, if set.
        pixels: ``"standardised"``: one mean and one scale for the whole training set, for Gaussian
            likelihoods; ``"binary"``: 0/1 drawn with the grey level (uint8 / 255, or values in
            [0, 1]) as probability, for Bernoulli likelihoods; not for patches.
        binarise: ``"static"`` draws train once; ``"epoch"`` and ``"access"`` leave train as
            probabilities for ``Batches`` to draw from. Valid and test are drawn once in any case.
        seed: of patch positions, splits and binarisation; whole, not negative.
        patch_size: side of the square patches, in pixels.
        intensity: ``"log"`` (of grey in [0, 1] plus 0.05) or ``"grey"``.
        whiten: ``"zca"`` (rows are pixels), ``"pca"`` (rows are the kept components) or ``"none"``.
        components: leading principal components kept by the whitening, its low-pass cut.
        num_train, num_valid, num_test: patches in each split; for patch datasets only.
        fitted_on: for ``textures``: ``natural``, ``bsds`` or a folder of photographs, on whose
            training patches the preprocessing is fitted.

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

    if name in DIGIT_DATASETS:
        arrays = load_digits(name, folder)
        return dataset_from_arrays(name, arrays, pixels=space, binarise=binarise, seed=seed)

    path, array = (None, None) if name in PATCH_DATASETS else _find_path(name)
    is_pickle = path is not None and path.suffix.lower() in (".pkl", ".pickle")
    if path is not None and path.is_file() and not is_pickle:
        arrays = split_at_random(read_arrays(path, array).check(), seed)
        return dataset_from_arrays(name, arrays, pixels=space, binarise=binarise, seed=seed)

    if not space.standardised:
        raise space.refused(f"{name} holds grey patches", STANDARDISED)
    if is_pickle:
        return _load_patch_pickle(name, path)
    settings = PatchSettings(
        patch_size, intensity, whiten, components, num_train, num_valid, num_test, seed
    )
    if name == "textures":
        source = os.fspath(fitted_on)
        splits, _ = _photographs(source, folder, seed)
        return load_textures(settings, splits["train"], source)
    splits, origin = _photographs(name, folder, seed)
    pipeline = PatchPipeline.fit(splits["train"], settings)
    return pipeline.dataset(name if path is None else str(path), splits, origin=origin)


def _photographs(
    name: str, data_dir: Path | None, seed: int
) -> tuple[dict[str, list[Photograph]], str]:
    """The photographs of each split of a dataset cut from some, and where they come from."""
    if name == "natural":
        return natural_photographs(), "photographs bundled with scikit-image and scikit-learn"
    if name == "bsds":
        return bsds_photographs(data_dir), f"BSDS500, {BSDS_FILE}"
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        raise InputError(
            f"fitted_on must be natural, bsds or a folder of photographs, got {name!r}"
        )
    return folder_photographs(folder, seed), f"photographs in {folder}"


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
    # os.path, whose answer to a name that cannot be a path at all is False; Path's is an error.
    path = os.path.expanduser(name)
    if os.path.exists(path):
        return Path(path), None
    file, _, array = path.rpartition(":")
    if os.path.isfile(file):
        return Path(file), array
    raise InputError(
        f"unknown dataset {name!r}; allowed: {', '.join(DATASETS)}, or the path of a .npy, .npz, "
        ".pkl or IDX file or of a folder of images (nothing exists at this path)"
    )


def _load_patch_pickle(name: str, path: Path) -> Dataset:
    """A published patch file as it is; the last tenth of train becomes valid."""
    raw = read_patch_pickle(path).check()
    rows = len(raw.train)
    return dataset_as_is(name, split_rows(raw, valid=np.arange(rows - rows // 10, rows)))
