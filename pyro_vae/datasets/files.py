"""Readers of array files: .npy, .npz and IDX. None of them can run code that a file holds."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from pyro_vae.datasets.arrays import RawArrays
from pyro_vae.datasets.reading import readable
from pyro_vae.errors import InputError

IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """Whether the name is that of an IDX file: ``*-ubyte`` or ``*.idx``, also gzipped."""
    return path.name.lower().removesuffix(".gz").endswith(("-ubyte", ".idx"))


def read_arrays(path: Path, array: str | None = None) -> RawArrays:
    """Read a .npy, .npz or IDX file; ``array`` names the one to take from an .npz.

    Raises:
        InputError: another kind of file, an ambiguous one, or one that is empty or damaged.
    """
    if path.suffix.lower() == ".npz":
        return read_npz(path, array)
    if array is not None:
        raise InputError(f"{path}:{array}: only .npz files hold named arrays")
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if is_idx(path):
        return RawArrays(str(path), read_idx(path))
    raise InputError(
        f"{path} is of no known kind; allowed: .npy, .npz, .pkl, IDX (*-ubyte or *.idx, "
        "also .gz), or a folder of images"
    )


def read_npy(path: Path) -> RawArrays:
    """Read the one array of an .npy file."""
    with readable(path, ".npy file"), open(path, "rb") as file:
        loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise InputError(f"{path} is an .npz archive under the name of an .npy file")
    return RawArrays(str(path), loaded)


def read_npz(path: Path, array: str | None = None) -> RawArrays:
    """Read the named array of an .npz file, or its only one, or ``x_train`` with ``x_test``.

    ``y_train`` and ``y_test`` become the labels of the latter.
    """
    with readable(path, ".npz file"), open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{path} is an .npy file under the name of an .npz archive")
        with archive:
            names = archive.files
            if array is not None:
                if array not in names:
                    raise InputError(f"{path} has no array {array!r}; it has {', '.join(names)}")
                return RawArrays(f"{path}:{array}", archive[array])
            if {"x_train", "x_test"} <= set(names):
                labels = (archive[y] if y in names else None for y in ("y_train", "y_test"))
                return RawArrays(str(path), archive["x_train"], archive["x_test"], *labels)
            if len(names) == 1:
                return RawArrays(str(path), archive[names[0]])
    raise InputError(
        f"{path} holds {len(names)} arrays ({', '.join(names)}): choose one as {path.name}:NAME, "
        "or name two x_train and x_test"
    )


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped if its name ends in .gz, in its native dtype.

    The format: two zero bytes, a code of the dtype, the number of axes, the length of each axis as
    a big-endian 32-bit integer, then the values in C order.

    Raises:
        InputError: wrong magic bytes, or fewer or more bytes than the header promises.
    """
    opener = gzip.open if path.suffix.lower() == ".gz" else open
    with readable(path, "IDX file"), opener(path, "rb") as file:
        content = file.read()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES:
        start = content[:4].hex() or "nothing"
        raise InputError(f"{path} is not an IDX file: it starts with {start}")
    dtype, axes = np.dtype(IDX_DTYPES[content[2]]), content[3]
    start = 4 + 4 * axes
    if len(content) < start:
        raise InputError(f"{path} is truncated: {len(content)} bytes, its header alone has {start}")
    shape = struct.unpack_from(f">{axes}I", content, 4)
    promised = start + math.prod(shape) * dtype.itemsize
    if len(content) != promised:
        state = "truncated" if len(content) < promised else "too long"
        raise InputError(f"{path} is {state}: {len(content)} bytes, its header promises {promised}")
    values = np.frombuffer(content, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
