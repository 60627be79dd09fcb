"""MNIST, Fashion-MNIST and Omniglot: from the data folder, else by download."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pyro_vae.datasets.arrays import RawArrays, SplitArrays, split_rows
from pyro_vae.datasets.downloads import cache_folder, fetch
from pyro_vae.datasets.files import read_idx, read_npz
from pyro_vae.datasets.reading import readable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError

# Burda et al. train on 59,600 of MNIST's 60,000.
VALID = 400
IDX_FILES = {
    "train": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
OMNIGLOT_FILES = ("images_background.zip", "images_evaluation.zip")
OMNIGLOT_TRAIN_DRAWINGS = 15  # of the 20 drawings of each character
# name -> (base URL, {file: md5})
DOWNLOADS = {
    "mnist": (
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion_mnist": (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
    "omniglot": (
        "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/",
        {
            "images_background.zip": "68d2efa1b9178cc56df9314c21c6e718",
            "images_evaluation.zip": "6b91aef0f799c5bb55b94e3f2daec811",
        },
    ),
}


def load_digits(name: str, data_dir: Path | None) -> SplitArrays:
    """Grey images (N, 28, 28) uint8 with labels: ``mnist``, ``fashion_mnist`` or ``omniglot``.

    Looked for in the data folder as ``<name>.npz`` (``omniglot_small.npz`` too), as IDX or zip
    files in its subfolder ``<name>`` or ``<name>-idx`` or in the folder itself; else downloaded.

    Valid are the last 400 training images. Omniglot is sorted by character, so that its last 400
    would be characters never trained on: there, 400 at fixed random places are held out. Sets of
    fewer than 2,000 training images hold out a fifth.

    Omniglot's split is by drawing: 1-15 of each character train, 16-20 test. It is not the one of
    Burda et al. (24,345 train, 8,070 test), and likelihoods are not comparable with theirs.

    Raises:
        InputError: incomplete or damaged files, or a download that failed.
    """
    raw = (_find_local(name, data_dir) or _download(name)).check()
    rows = len(raw.train)
    held_out = min(VALID, rows // 5)
    order = np.arange(rows)
    if name == "omniglot":
        order = numpy_generator(0, "omniglot valid").permutation(rows)
    return split_rows(raw, valid=np.sort(order[rows - held_out :]))


def _find_local(name: str, data_dir: Path | None) -> RawArrays | None:
    if data_dir is None:
        return None
    for stem in (name, "omniglot_small") if name == "omniglot" else (name,):
        path = data_dir / f"{stem}.npz"
        if path.is_file():
            raw = read_npz(path)
            if raw.test is None:
                raise InputError(f"{path} must hold x_train and x_test (y_train, y_test optional)")
            return raw
    # The folder itself last: MNIST and Fashion-MNIST share their file names.
    for folder in (data_dir / name, data_dir / f"{name}-idx", data_dir):
        raw = _read_zips(folder) if name == "omniglot" else None
        raw = raw or _read_idx_folder(folder)
        if raw is not None:
            return raw
    return None


def _download(name: str) -> RawArrays:
    base, files = DOWNLOADS[name]
    folder = cache_folder(name)
    for file, md5 in files.items():
        fetch(base + file, md5, folder)
    return _read_zips(folder) if name == "omniglot" else _read_idx_folder(folder)


def _read_idx_folder(folder: Path) -> RawArrays | None:
    """The four IDX files of a folder, labels optional; None if it holds no image file."""
    found = {}
    for part, file in IDX_FILES.items():
        here = [p for p in (folder / file, folder / f"{file}.gz") if p.is_file()]
        if here:
            found[part] = here[0]
    missing = [IDX_FILES[part] for part in ("train", "test") if part not in found]
    if len(missing) == 2:
        return None
    if missing:
        raise InputError(f"{folder} lacks {missing[0]} (or {missing[0]}.gz)")
    arrays = {part: read_idx(path) for part, path in found.items()}
    return RawArrays(origin=str(folder), **arrays)


def _read_zips(folder: Path) -> RawArrays | None:
    """Omniglot's two archives of 105 x 105 drawings; None unless the folder holds both."""
    paths = [folder / file for file in OMNIGLOT_FILES]
    if not all(path.is_file() for path in paths):
        return None
    drawings = [drawing for path in paths for drawing in _read_drawings(path)]
    characters = {name: i for i, name in enumerate(dict.fromkeys(d[0] for d in drawings))}
    images = np.stack([image for _, _, image in drawings])
    labels = np.array([characters[character] for character, _, _ in drawings])
    train = np.array([number <= OMNIGLOT_TRAIN_DRAWINGS for _, number, _ in drawings])
    return RawArrays(str(folder), images[train], images[~train], labels[train], labels[~train])


def _read_drawings(path: Path) -> list[tuple[str, int, np.ndarray]]:
    """(character, number of the drawing, 28 x 28 image) of each PNG, in the order of their names.

    A member is called ``images_background/Greek/character07/0399_12.png``: drawing 12 of a
    character of an alphabet.
    """
    from zipfile import ZipFile

    from PIL import Image

    drawings = []
    with readable(path, "Omniglot archive"), ZipFile(path) as archive:
        for member in sorted(n for n in archive.namelist() if n.endswith(".png")):
            character, file = member.rsplit("/", 1)
            with archive.open(member) as png, Image.open(png) as image:
                ink = 1.0 - np.asarray(image.convert("L"), dtype=np.float64) / 255
            drawings.append((character, int(file[:-4].split("_")[1]), shrink(ink)))
        if not drawings:
            raise InputError(f"{path} holds no drawings (.png)")
    return drawings


def shrink(image: np.ndarray, size: int = 28) -> np.ndarray:
    """Reduce a square image in [0, 1] to ``size`` x ``size`` uint8 by exact area average."""
    ratio = len(image) / size
    edges = np.arange(len(image))
    starts = np.arange(size)[:, None] * ratio
    # How much of each old pixel lies inside each new one, along one axis; rows sum to one.
    overlap = np.minimum(edges + 1, starts + ratio) - np.maximum(edges, starts)
    weights = overlap.clip(min=0) / ratio
    return np.rint(255 * (weights @ image @ weights.T)).astype(np.uint8)
