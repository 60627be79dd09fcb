"""CIFAR-10 (Krizhevsky 2009, "Learning multiple layers of features from tiny images")."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vae.datasets.arrays import SplitArrays, split_rows
from pyro_vae.datasets.downloads import cache_folder, fetch
from pyro_vae.datasets.files import read_npz
from pyro_vae.datasets.raw_arrays import RawArrays
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.safe_pickle import read_array_pickle
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.shapes import channels_first
from pyro_vae.datasets.unpacking import Bounded
from pyro_vae.errors import InputError

ARCHIVE = "cifar-10-python.tar.gz"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
FOLDER = "cifar-10-batches-py"  # in the archive, and where it is unpacked
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
STEMS = ("cifar10", "cifar-10", "CIFAR10")
LABELS = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
SHAPE = (3, 32, 32)
WHOLE = 50_000  # training images of the original
VALID_SHARE = 0.15
# MD5 of training images (N, 32, 32, 3) that are known not to be the original ones.
LOSSY = {
    "76e984b2abf8b7a71bc0d8710fbf6ebc": "were stored as JPEG (quality 75, chroma of half the "
    "resolution), so their pixels are not the original ones",
}


def load_cifar10(data_dir: Path | None) -> SplitArrays:
    """Colour images (N, 3, 32, 32) uint8 with labels and the names of the ten classes.

    Looked for in the data folder as ``cifar10.npz`` (``x_train``, ``x_test``, ``y_train``,
    ``y_test``; images (N, 32, 32, 3) or (N, 3, 32, 32)), as the published archive
    ``cifar-10-python.tar.gz`` or its unpacked folder, itself or in a subfolder ``cifar10``; else
    the archive is downloaded. Its pickles are read without running what they may hold, and nothing
    is unpacked to disk.

    The test set is the published one. Valid is 15 % of the training images at fixed random places
    (7,500 of 50,000), whatever the seed.

    Raises:
        InputError: damaged or incomplete files, or a download that failed.
    """
    raw = (_find_local(data_dir) or _read_archive(fetch(URL, f"sha256:{SHA256}", _cache()))).check()
    _check_images(raw)
    rows = len(raw.train)
    order = numpy_generator(0, "cifar10 valid").permutation(rows)
    arrays = split_rows(raw, valid=np.sort(order[: round(VALID_SHARE * rows)]))
    return replace(
        arrays.channels_first(),
        label_names=() if arrays.labels is None else LABELS,
        caveat=_caveat(raw),
    )


def _cache() -> Path:
    return cache_folder("cifar10")


def _find_local(data_dir: Path | None) -> RawArrays | None:
    if data_dir is None:
        return None
    for stem in STEMS:
        path = data_dir / f"{stem}.npz"
        if path.is_file():
            raw = read_npz(path)
            if raw.test is None:
                raise InputError(f"{path} must hold x_train and x_test (y_train, y_test optional)")
            return raw
    for folder in (data_dir, *(data_dir / stem for stem in STEMS)):
        if (folder / ARCHIVE).is_file():
            return _read_archive(folder / ARCHIVE)
        if (folder / FOLDER).is_dir():
            return _read_folder(folder / FOLDER)
    return None


def _read_archive(path: Path) -> RawArrays:
    """The batches of the archive in one pass; no name in it becomes a path here."""
    found = {}
    with (
        readable(path, "CIFAR-10 archive"),
        gzip.open(path) as packed,
        tarfile.open(fileobj=Bounded(packed, path), mode="r|") as archive,
    ):
        for member in archive:
            folder, _, name = member.name.rpartition("/")
            if folder == FOLDER and name in BATCHES and member.isreg():
                content = archive.extractfile(member)
                assert content is not None  # of a regular file
                found[name] = content.read()
    return _read_batches(printable(path), found)


def _read_folder(folder: Path) -> RawArrays:
    files = [folder / name for name in BATCHES]
    return _read_batches(printable(folder), {f.name: f.read_bytes() for f in files if f.is_file()})


def _read_batches(origin: str, found: Mapping[str, bytes]) -> RawArrays:
    """The five training batches and the test batch, pickles of (N, 3072) with labels each."""
    images, labels = [], []
    for name in BATCHES:
        if name not in found:
            raise InputError(f"{origin} lacks {FOLDER}/{name}")
        content = read_array_pickle(io.BytesIO(found[name]), f"{origin}: {name}")
        table = content if isinstance(content, dict) else {}
        data: Any = table.get("data")
        known: Any = table.get("labels")
        fits = isinstance(data, np.ndarray) and isinstance(known, list)
        fits = fits and all(isinstance(label, int) for label in known)
        if not fits or data.dtype != np.uint8 or data.shape != (len(known), 3 * 32 * 32):
            raise InputError(
                f"{origin}: {name} is no batch of CIFAR-10: a dict of data (N, 3072) uint8 and "
                "N labels is needed"
            )
        images.append(data.reshape(-1, *SHAPE))
        labels.append(np.asarray(known))
    return RawArrays(
        origin,
        np.concatenate(images[:-1]),
        images[-1],
        np.concatenate(labels[:-1]),
        labels[-1],
    )


def _check_images(raw: RawArrays) -> None:
    for images in (part for part in (raw.train, raw.test) if part is not None):
        if images.dtype != np.uint8 or channels_first(images).shape[1:] != SHAPE:
            raise InputError(
                f"{raw.origin}: images of CIFAR-10 are uint8 (N, 32, 32, 3) or (N, 3, 32, 32), got "
                f"{images.dtype} {images.shape}"
            )
    for labels in (raw.train_labels, raw.test_labels):
        if labels is not None and not np.isin(labels, np.arange(len(LABELS))).all():
            raise InputError(f"{raw.origin}: labels of CIFAR-10 are 0 .. 9")


def _caveat(raw: RawArrays) -> str | None:
    """What keeps numbers on these images from being compared with published ones."""
    found = []
    if len(raw.train) < WHOLE:
        found.append(f"are {len(raw.train):,} of the {WHOLE:,} for training")
    last = np.ascontiguousarray(np.moveaxis(channels_first(raw.train), 1, -1))
    digest = hashlib.md5(last.data, usedforsecurity=False).hexdigest()
    if digest in LOSSY:
        found.append(LOSSY[digest])
    if not found:
        return None
    return (
        f"the images of {Path(raw.origin).name} {' and '.join(found)}: likelihoods and bits per "
        "dimension are not comparable with published ones"
    )
