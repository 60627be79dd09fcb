"""Readers of array files: .npy, .npz, .mat and IDX. None of them can run code that a file holds."""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy as np

from pyro_vae.datasets.matlab import read_mat
from pyro_vae.datasets.raw_arrays import RawArrays, raw_from_named
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.unpacking import Bounded, check_zip
from pyro_vae.errors import InputError

IN_PLACE_FROM = 1 << 30
IDX_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def is_idx(path: Path) -> bool:
    """Whether the name is that of an IDX file: ``*-ubyte`` or ``*.idx``, also gzipped."""
    return path.name.lower().removesuffix(".gz").endswith(("-ubyte", ".idx"))


def read_arrays(path: Path, array: str | None = None) -> RawArrays:
    """Read a .npy, .npz, .mat or IDX file; ``array`` names the one to take from an .npz or .mat.

    Raises:
        InputError: another kind of file, an ambiguous one, or one that is empty or damaged.
    """
    if path.suffix.lower() == ".npz":
        return read_npz(path, array)
    if path.suffix.lower() == ".mat":
        return read_mat(path, array)
    if array is not None:
        raise InputError(f"{printable(path)}:{array}: only .npz and .mat files hold named arrays")
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if is_idx(path):
        return RawArrays(printable(path), read_idx(path))
    raise InputError(
        f"{printable(path)} is of no known kind; allowed: .npy, .npz, .mat, .pkl, IDX (*-ubyte or "
        "*.idx, also .gz), or a folder of images"
    )


def read_npy(path: Path) -> RawArrays:
    """Read the one array of an .npy file; one of ``IN_PLACE_FROM`` bytes or more stays in it."""
    with readable(path, ".npy file"):
        if path.stat().st_size >= IN_PLACE_FROM:
            loaded = np.load(path, mmap_mode="r", allow_pickle=False)
        else:
            with open(path, "rb") as file:
                loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise InputError(f"{printable(path)} is an .npz archive under the name of an .npy file")
    return RawArrays(printable(path), loaded)


def read_npz(path: Path, array: str | None = None) -> RawArrays:
    """Read the named array of an .npz file, or its only one, or ``x_train`` with ``x_test``.

    ``y_train`` and ``y_test`` become the labels of the latter.
    """
    with readable(path, ".npz file"), open(path, "rb") as file:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise InputError(f"{printable(path)} is an .npy file under the name of an .npz archive")
        with archive:
            check_zip(path, archive.zip)

            def read(name: str) -> np.ndarray:
                found = archive[name]
                if not isinstance(found, np.ndarray):  # a member of another kind, as plain bytes
                    raise InputError(f"{printable(path)}:{name} is no array")
                return found

            return raw_from_named(path, archive.files, read, array)


def read_idx(path: Path) -> np.ndarray:
    """Read an IDX file, gzipped if its name ends in .gz, in its native dtype.

    The format: two zero bytes, a code of the dtype, the number of axes, the length of each axis as
    a big-endian 32-bit integer, then the values in C order.

    Raises:
        InputError: wrong magic bytes, fewer or more bytes than the header promises, or a gzipped
            file that unpacks to too many (:mod:`unpacking`).
    """
    with readable(path, "IDX file"):
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as packed:
                content = Bounded(packed, path).read()
        else:
            content = path.read_bytes()
    if len(content) < 4 or content[:2] != b"\0\0" or content[2] not in IDX_DTYPES:
        start = content[:4].hex() or "nothing"
        raise InputError(f"{printable(path)} is not an IDX file: it starts with {start}")
    dtype, axes = np.dtype(IDX_DTYPES[content[2]]), content[3]
    first = 4 + 4 * axes
    if len(content) < first:
        raise InputError(
            f"{printable(path)} is truncated: {len(content)} bytes, its header alone has {first}"
        )
    shape = struct.unpack_from(f">{axes}I", content, 4)
    promised = first + math.prod(shape) * dtype.itemsize
    if len(content) != promised:
        state = "truncated" if len(content) < promised else "too long"
        raise InputError(
            f"{printable(path)} is {state}: {len(content)} bytes, its header promises {promised}"
        )
    values = np.frombuffer(content, dtype, offset=first).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
