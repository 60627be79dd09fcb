"""Pickles of NumPy arrays, read without running anything that a pickle may hold.

The published natural and texture patches (whitened, standardised rows of 400) come as pickles of a
dict. ``pickle.load`` calls any function a file names. The reader here knows the handful of names by
which NumPy writes arrays, dtypes and scalars, answers each with a checked stand-in of its own, and
refuses every other one. Not even NumPy's own functions are handed out: a forged dtype state can
make them take plain bytes for addresses of objects.
"""

from __future__ import annotations

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from pyro_vae.datasets.raw_arrays import RawArrays
from pyro_vae.datasets.reading import readable
from pyro_vae.errors import InputError

PATCH_KEYS = ("train_images", "train_labels", "test_images", "test_labels")


FIRST_PLACES = 256  # of the memo, which cost nothing
# Booleans, integers, floats, complex numbers, bytes and text; no objects and no records.
PLAIN_DTYPE = re.compile(r"[biufcSU][0-9]+")


class _Dtype:
    """Stand-in for ``numpy.dtype``: a plain kind; of the pickled state, the byte order only."""

    __slots__ = ("_dtype",)

    def __init__(self, kind: str, align: bool = False, copy: bool = False) -> None:
        if not PLAIN_DTYPE.fullmatch(kind):
            raise ValueError(f"dtype {kind!r} is not one of plain numbers or text")
        self._dtype = np.dtype(kind)

    def __setstate__(self, state: tuple) -> None:
        self._dtype = self._dtype.newbyteorder(state[1])

    def array(self, content: bytes, shape: tuple[int, ...], order: Any) -> np.ndarray:
        return np.frombuffer(content, self._dtype).reshape(shape, order=order).copy(order)


class _Array(np.ndarray):
    """Stand-in for an array that is created empty and gets its content as state."""

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, content = state
        if isinstance(content, str):  # bytes written by Python 2
            content = content.encode("latin1")
        filled = dtype.array(content, shape, "F" if fortran else "C")
        super().__setstate__((1, filled.shape, filled.dtype, fortran, filled.tobytes("A")))


class _Call:
    """A function behind a wall: a pickle can call it, but finds no attribute to change on it."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(name)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


def _reconstruct(subtype: Any, shape: Any, kind: Any) -> np.ndarray:
    return _Array((0,), np.uint8)


def _scalar(dtype: _Dtype, content: bytes) -> np.generic:
    return dtype.array(content, (1,), "C")[0]


def _from_buffer(content, dtype: _Dtype, shape, order: str, axis_order=None) -> np.ndarray:
    if order == "K":  # C order, then the axes put back in their places
        return dtype.array(content, shape, "C").transpose(axis_order)
    return dtype.array(content, shape, order)


def _encode_latin1(text: str, encoding: str) -> bytes:
    # How protocol 2 writes bytes. Other codecs are not needed, and some unpack archives.
    if encoding != "latin1":
        raise ValueError(f"bytes in encoding {encoding!r}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    # How protocol 2 writes no bytes at all: a call of `bytes`, here without arguments only.
    return b""


ALLOWED = {
    ("numpy", "ndarray"): None,  # only ever an argument of _reconstruct
    ("numpy", "dtype"): _Call(_Dtype),
    ("_codecs", "encode"): _Call(_encode_latin1),
    ("__builtin__", "bytes"): _Call(_empty_bytes),
}
for _core in ("numpy.core", "numpy._core"):  # as NumPy 1 and NumPy 2 call it
    ALLOWED[f"{_core}.multiarray", "_reconstruct"] = _Call(_reconstruct)
    ALLOWED[f"{_core}.multiarray", "scalar"] = _Call(_scalar)
    ALLOWED[f"{_core}.numeric", "_frombuffer"] = _Call(_from_buffer)


class _ArrayUnpickler(pickle.Unpickler):
    def __init__(self, file: IO[bytes], origin: str) -> None:
        # latin1, for the byte strings of files written by Python 2.
        super().__init__(file, encoding="latin1")
        self._origin = origin

    def find_class(self, module: str, name: str) -> Any:
        try:
            return ALLOWED[module, name]
        except KeyError:
            raise InputError(
                f"{self._origin} names {module}.{name}, which no pickle of NumPy arrays needs; "
                "it was not run"
            ) from None


def load_array_pickle(path: Path) -> Any:
    """Unpickle containers, numbers, text and NumPy arrays; nothing in the file can run.

    Raises:
        InputError: the file is damaged or empty, or names anything else.
    """
    with readable(path, "pickle of NumPy arrays"), open(path, "rb") as file:
        return read_array_pickle(file, str(path))


def read_array_pickle(file: IO[bytes], origin: str) -> Any:
    """As :func:`load_array_pickle`, of an open file, which ``origin`` names in the errors."""
    with readable(origin, "pickle of NumPy arrays"):
        start = file.tell()
        _check_memo(file)
        file.seek(start)
        return _ArrayUnpickler(file, origin).load()


def _check_memo(file: IO[bytes]) -> None:
    """ValueError where a place in the memo is beyond all that the file has put there so far.

    Python makes room for every place up to the one that is named: nine bytes can ask for 34 GB.
    """
    most = 0
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
            most += 1
            if argument is not None and argument > most + FIRST_PLACES:
                raise ValueError(f"place {argument} of the memo, where {most} are used")


def _as_array(content: Any, most: int) -> np.ndarray:
    """An array, or nested lists as one; ValueError where lists that hold each other are endless.

    Args:
        most: numbers in it: a file has a byte at least for each, unless it names them repeatedly.
    """
    waiting, left = [content], most
    while waiting:
        one = waiting.pop()
        if isinstance(one, (list, tuple)):
            left -= len(one)
            if left < 0:
                raise ValueError(f"lists of more than the {most} numbers that it has room for")
            waiting += one
    return np.asarray(content)


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
        room = path.stat().st_size
        arrays = {key: _as_array(content[key], room) for key in PATCH_KEYS}
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
