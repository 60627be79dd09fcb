"""MNIST, Fashion-MNIST and Omniglot: from the data folder, else by download."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyro_vae.datasets.arrays import SplitArrays, split_rows
from pyro_vae.datasets.downloads import cache_folder, fetch
from pyro_vae.datasets.files import read_idx, read_npz
from pyro_vae.datasets.raw_arrays import RawArrays
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.datasets.sizing import Sizing
from pyro_vae.datasets.unpacking import check_pixels, check_zip
from pyro_vae.errors import InputError

# Burda et al. train on 59,600 of MNIST's 60,000.
VALID = 400
# Published as train-images-idx3-ubyte; some archives write a dot before "idx".
IDX_FILES = {
    "train": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
# What the sets are called in data folders, those of Keras and torchvision among them.
STEMS = {
    "mnist": ("mnist", "MNIST"),
    "fashion_mnist": ("fashion_mnist", "fashion-mnist", "FashionMNIST"),
    "omniglot": ("omniglot", "omniglot_small"),
}
# MD5 of the training images as an unpacked IDX file.
UNPACKED = {
    "6bbc9ace898e44ae57da46a324031adb": "mnist",
    "f4a8712d7a061bf5bd6d2ca38dc4d50a": "fashion_mnist",
}
OMNIGLOT_FILES = ("images_background.zip", "images_evaluation.zip")
OMNIGLOT_TRAIN_DRAWINGS = 15  # of the 20 drawings of each character
SIDE = 28  # of all images, in pixels
CAVEATS = {
    "omniglot": "omniglot is split by drawing, not as by Burda et al. 2016: likelihoods are not "
    "comparable with theirs"
}
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
    files in its subfolder ``<name>`` or ``<name>-idx`` (also ``<name>/raw``, as torchvision keeps
    them, and under the sets' other spellings) or in the folder itself; else downloaded.

    Valid are the last 400 training images. Omniglot is sorted by character, so that its last 400
    would be characters never trained on: there, 400 at fixed random places are held out. Sets of
    fewer than 2,000 training images hold out a fifth.

    Omniglot's split is by drawing: 1-15 of each character train, 16-20 test. It is not the one of
    Burda et al. 2016, https://arxiv.org/abs/1509.00519 (24,345 train, 8,070 test), and likelihoods
    are not comparable with theirs.

    Raises:
        InputError: incomplete or damaged files, MNIST under the name of Fashion-MNIST or the other
            way round, or a download that failed.
    """
    raw = (_find_local(name, data_dir) or _download(name)).check()
    _check_name(name, raw)
    rows = len(raw.train)
    held_out = min(VALID, rows // 5)
    order = np.arange(rows)
    if name == "omniglot":
        order = numpy_generator(0, "omniglot valid").permutation(rows)
    arrays = split_rows(raw, valid=np.sort(order[rows - held_out :]))
    return replace(arrays, caveat=CAVEATS.get(name))


def _check_name(name: str, raw: RawArrays) -> None:
    """InputError where the training images are those of another set; the two share file names."""
    images = raw.train
    if images.dtype != np.uint8 or images.ndim != 3:
        return
    header = struct.pack(">HBB3I", 0, 0x08, 3, *images.shape)
    digest = hashlib.md5(header, usedforsecurity=False)
    digest.update(np.ascontiguousarray(images).data)
    found = UNPACKED.get(digest.hexdigest(), name)
    if found != name:
        raise InputError(
            f"{raw.origin} holds the images of {found}, not of {name}: keep them in a folder named "
            f"{found}, or ask for {found}"
        )


def _find_local(name: str, data_dir: Path | None) -> RawArrays | None:
    if data_dir is None:
        return None
    for stem in STEMS[name]:
        path = data_dir / f"{stem}.npz"
        if path.is_file():
            raw = read_npz(path)
            if raw.test is None:
                raise InputError(f"{path} must hold x_train and x_test (y_train, y_test optional)")
            return raw
    below = [data_dir / stem for stem in STEMS[name]]
    below += [data_dir / f"{name}-idx", *(folder / "raw" for folder in below)]
    # The folder itself last: MNIST and Fashion-MNIST share their file names.
    for folder in (*below, data_dir):
        found = _read_zips(folder) if name == "omniglot" else None
        found = found or _read_idx_folder(folder)
        if found is not None:
            return found
    return None


def _download(name: str) -> RawArrays:
    base, files = DOWNLOADS[name]
    folder = cache_folder(name)
    for file, md5 in files.items():
        fetch(base + file, f"md5:{md5}", folder)
    found = _read_zips(folder) if name == "omniglot" else _read_idx_folder(folder)
    assert found is not None  # the files were fetched
    return found


def _read_idx_folder(folder: Path) -> RawArrays | None:
    """The four IDX files of a folder, labels optional; None if it holds no image file."""
    found = {}
    for part, file in IDX_FILES.items():
        names = [f"{stem}{packed}" for stem in (file, _dotted(file)) for packed in ("", ".gz")]
        # Unpacked by hand, a file may lie in a folder of its own name.
        here = [p for name in names for p in (folder / name, folder / name / name) if p.is_file()]
        if here:
            found[part] = here[0]
    missing = [IDX_FILES[part] for part in ("train", "test") if part not in found]
    if len(missing) == 2:
        return None
    if missing:
        raise InputError(f"{folder} lacks {missing[0]} (or {missing[0]}.gz)")
    arrays = {part: read_idx(path) for part, path in found.items()}
    return RawArrays(origin=str(folder), **arrays)


def _dotted(file: str) -> str:
    return file.replace("-idx", ".idx")


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
        check_zip(path, archive)
        for member in sorted(n for n in archive.namelist() if n.endswith(".png")):
            character, file = member.rsplit("/", 1)
            with archive.open(member) as png, Image.open(png, formats=("PNG",)) as image:
                check_pixels(path, image.height, image.width)
                ink = 255.0 - np.asarray(image.convert("L"))
            number = int(file[:-4].split("_")[1])
            drawings.append((character, number, Sizing(SIDE).applied(printable(path), ink)))
        if not drawings:
            raise InputError(f"{path} holds no drawings (.png)")
    return drawings
