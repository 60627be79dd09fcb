"""Types of the numbers in a MATLAB file of version 5, checked before SciPy's reader sees them.

SciPy's compiled reader (of 1.17 at least) looks an unknown type up beyond the end of its table, and
the process may end there. The format is that of MathWorks, MAT-File Format, chapter 1
(https://www.mathworks.com/help/pdf_doc/matlab/matfile_format.pdf).
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import IO

from pyro_vae.datasets.unpacking import MAT_COMPRESSED, MAT_HEADER

MATRIX = 14
NUMBERS = frozenset({*range(1, 8), 9, 12, 13})  # int8 to uint32, single, double, int64, uint64
NUMERIC_CLASSES = range(6, 16)  # double to uint64; the others are passed over


class Inflated(io.RawIOBase):
    """What the next ``size`` bytes of a file unpack to."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file, self._left, self._unpack = file, size, zlib.decompressobj()
        self._waiting = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while True:
            if not self._waiting and self._left:
                self._waiting = self._file.read(min(self._left, io.DEFAULT_BUFFER_SIZE))
                self._left -= len(self._waiting) or self._left
            found = self._unpack.decompress(self._waiting, len(buffer))
            self._waiting = self._unpack.unconsumed_tail
            if found or not (self._waiting or self._left):
                buffer[: len(found)] = found
                return len(found)


def check_types(path: Path) -> None:
    """Check every array of numbers of a file of version 5; others are not looked at.

    Raises:
        ValueError: numbers of a type that there is none of.
    """
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(MAT_HEADER)[-2:])
        while order is not None and len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}2I", tag)
            end = file.tell() + size
            if kind == MAT_COMPRESSED:
                packed = io.BufferedReader(Inflated(file, size))
                if len(tag := packed.read(8)) == 8:
                    kind, size = struct.unpack(f"{order}2I", tag)
                    if kind == MATRIX:
                        _check_matrix(packed, size, order)
            elif kind == MATRIX:
                _check_matrix(file, size, order)
            file.seek(end)


def _check_matrix(stream: IO[bytes] | io.BufferedReader, size: int, order: str) -> None:
    """Flags, axes, name, real and imaginary part; each with a tag of type and length."""
    part = 0
    while size >= 8 and len(tag := stream.read(8)) == 8:
        first, length = struct.unpack(f"{order}2I", tag)
        size -= 8
        small = first >> 16  # the length of up to four bytes that stand in the tag itself
        kind = first & 0xFFFF if small else first
        if kind not in NUMBERS and not (part == 2 and kind == 16):  # a name may be of UTF-8
            raise ValueError(f"numbers of type {kind}, which there is none of")
        if small:
            part += 1
            continue
        padded = min(-(-length // 8) * 8, size)
        content = stream.read(8) if part == 0 and padded >= 8 else b""
        if part == 0:
            (flags,) = struct.unpack(f"{order}I", content[:4].ljust(4, b"\0"))
            if flags & 0xFF not in NUMERIC_CLASSES:
                return
        _skip(stream, padded - len(content))
        size -= padded
        part += 1


def _skip(stream: IO[bytes] | io.BufferedReader, size: int) -> None:
    while size > 0 and (part := stream.read(min(size, 2**20))):
        size -= len(part)
