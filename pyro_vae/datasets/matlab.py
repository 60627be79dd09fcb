"""Arrays of MATLAB files: versions 4 to 7 through SciPy, 7.3 through h5py where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyro_vae.datasets.matlab_types import check_types
from pyro_vae.datasets.raw_arrays import RawArrays, raw_from_named
from pyro_vae.datasets.reading import printable, readable
from pyro_vae.datasets.unpacking import check_mat, check_unpacked
from pyro_vae.errors import InputError

WHOLE = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
NUMBERS = ("double", "single", "logical", *WHOLE)
HDF5_SIGNATURE = b"\x89HDF"
HDF5_START = 512  # behind the text with which MATLAB begins every file


def read_mat(path: Path, array: str | None = None) -> RawArrays:
    """Read the named array of a .mat file, or its only one, or ``x_train`` with ``x_test``.

    MATLAB counts images along the last axis: of an array of three or four axes, the last one
    becomes the first, so that the ``IMAGES`` (512, 512, 10) of Olshausen and Field 1996
    (https://doi.org/10.1038/381607a0) are ten images. Matrices are taken as rows (N, D).

    Nothing in the file is run; functions, objects, structs and cells are passed over, and so are
    arrays of version 7.3 that lie in another file.

    Raises:
        InputError: a damaged file, no such array, several of which none is chosen, one that unpacks
            to too many bytes (:mod:`unpacking`), or version 7.3 without h5py.
    """
    with readable(path, ".mat file"):
        with open(path, "rb") as file:
            start = file.read(HDF5_START + len(HDF5_SIGNATURE))
        is_hdf5 = HDF5_SIGNATURE in (start[: len(HDF5_SIGNATURE)], start[HDF5_START:])
        names, read = _open_hdf5(path) if is_hdf5 else _open_scipy(path)
        return raw_from_named(path, names, lambda name: _images_first(read(name)), array)


def _images_first(array: np.ndarray) -> np.ndarray:
    if array.ndim == 2 and 1 in array.shape:
        return array.reshape(-1, 1)  # labels, whichever way they lie
    return np.ascontiguousarray(np.moveaxis(array, -1, 0)) if array.ndim > 2 else array


def _open_scipy(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    from scipy.io import loadmat, whosmat

    check_mat(path)
    check_types(path)
    names = [name for name, _, kind in whosmat(path) if kind in NUMBERS]
    return names, lambda name: loadmat(path, variable_names=[name])[name]


def _open_hdf5(path: Path) -> tuple[list[str], Callable[[str], np.ndarray]]:
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            f"{printable(path)} is a MATLAB file of version 7.3, which h5py reads: install it, or "
            "save the file anew with '-v7'"
        ) from error

    with h5py.File(path) as file:
        names = [
            name
            for name in file
            if isinstance(file.get(name, getlink=True), h5py.HardLink)
            and isinstance(entry := file[name], h5py.Dataset)
            and not (entry.external or entry.is_virtual)
            and entry.dtype.kind in "buif"
            and _is_numbers(entry)
        ]

    def read(name: str) -> np.ndarray:
        with h5py.File(path) as file:
            check_unpacked(path, file[name].nbytes)
            return file[name][()].T  # stored with its axes in the opposite order

    return names, read


def _is_numbers(entry) -> bool:
    kind = entry.attrs.get("MATLAB_class", b"double")
    return (kind.decode() if isinstance(kind, bytes) else str(kind)) in NUMBERS
