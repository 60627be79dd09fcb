"""Pickles of NumPy arrays, read without running anything that a pickle may hold.

The published natural and texture patches (whitened, standardised rows of 400) come as pickles of a
dict. ``pickle.load`` calls any function a file names; the reader here resolves exactly the handful
of names by which NumPy rebuilds arrays, dtypes and scalars, and refuses every other one.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from pyro_vae.datasets.arrays import RawArrays
from pyro_vae.datasets.files import readable
from pyro_vae.errors import InputError

PATCH_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


class _Call:
    """A function behind a wall: a pickle can call it, but finds no attribute to change on it."""

    __slots__ = ("_function",)

    def __init__(self, function) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _encode_latin1(text: str, encoding: str) -> bytes:
    # How protocol 2 writes bytes. Other codecs are not needed, and some unpack archives.
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


def _allowed_globals() -> dict[tuple[str, str], Any]:
    # Asked of live objects rather than imported: the module's name differs between NumPy 1 and 2,
    # and a pickle may have been written under either.
    rebuild = np.zeros(1).__reduce__()[0]
    scalar = np.float64(0).__reduce__()[0]
    from_buffer = np.zeros(1).__reduce_ex__(5)[0]
    allowed = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("_codecs", "encode"): _Call(_encode_latin1),
    }
    for core in ("numpy.core", "numpy._core"):
        allowed[f"{core}.multiarray", "_reconstruct"] = _Call(rebuild)
        allowed[f"{core}.multiarray", "scalar"] = _Call(scalar)
        allowed[f"{core}.numeric", "_frombuffer"] = _Call(from_buffer)
    return allowed


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file, path: Path) -> None:
        # latin1, for the byte strings of files written by Python 2.
        super().__init__(file, encoding="latin1")
        self._path = path
        self._allowed = _allowed_globals()

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._allowed[module, name]
        except KeyError:
            raise InputError(
                f"{self._path} names {module}.{name}, which no pickle of NumPy arrays needs; "
                "it was not run"
            ) from None


def load_array_pickle(path: Path) -> Any:
    """Unpickle containers, numbers, text and NumPy arrays; nothing in the file can run.

    Raises:
        InputError: the file is damaged or empty, or names anything else.
    """
    with readable(path, "pickle of NumPy arrays"), open(path, "rb") as file:
        return _ArrayUnpickler(file, path).load()


def read_patch_pickle(path: Path) -> RawArrays:
    """Read a published patch file: labelled rows of train and test.

    Rows (N, D) come back as square patches (N, H, W) where D is a square number.

    Raises:
        InputError: as ``load_array_pickle``, or not a dict of the four arrays.
    """
    content = load_array_pickle(path)
    missing = [k for k in PATCH_KEYS if not isinstance(content, dict) or k not in content]
    if missing:
        raise InputError(
            f"{path} is not a patch file: a dict with {', '.join(PATCH_KEYS)} is needed, "
            f"{', '.join(missing)} missing"
        )
    with readable(path, "patch file"):
        arrays = {key: np.asarray(content[key]) for key in PATCH_KEYS}
    for key in ("train_images", "test_images"):
        if arrays[key].ndim != 2:
            raise InputError(f"{path}: {key} must be rows (N, D), got shape {arrays[key].shape}")
        side = math.isqrt(arrays[key].shape[1])
        if side**2 == arrays[key].shape[1]:
            arrays[key] = arrays[key].reshape(-1, side, side)
    return RawArrays(
        str(path),
        arrays["train_images"],
        arrays["test_images"],
        arrays["train_labels"],
        arrays["test_labels"],
    )
