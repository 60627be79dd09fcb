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

MATRIX, UTF_8, COMPLEX, NAME = 14, 16, 0x800, 2  # types, a flag, the part that is the name
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
        ValueError: numbers of a type that there is none of, or fewer parts than flags say.
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
    """Flags, axes, name, real and, if flags say so, imaginary part; each with type and length."""
    parts, wanted = 0, 4
    while size >= 8 and len(tag := stream.read(8)) == 8:
        first, length = struct.unpack(f"{order}2I", tag)
        size -= 8
        small = first >> 16  # the length of up to four bytes that stand in the tag itself
        kind = first & 0xFFFF if small else first
        if kind not in NUMBERS and not (parts == NAME and kind == UTF_8):
            raise ValueError(f"numbers of type {kind}, which there is none of")
        padded = 0 if small else min(-(-length // 8) * 8, size)
        content = stream.read(8) if parts == 0 and padded >= 8 else b""
        if parts == 0:
            (flags,) = struct.unpack(f"{order}I", content[:4].ljust(4, b"\0"))
            if flags & 0xFF not in NUMERIC_CLASSES:
                return
            wanted += bool(flags & COMPLEX)
        _skip(stream, padded - len(content))
        size -= padded
        parts += 1
    if parts < wanted:  # the reader would take what stands behind the array
        raise ValueError("an array ends before its numbers")


def _skip(stream: IO[bytes] | io.BufferedReader, size: int) -> None:
    while size > 0 and (part := stream.read(min(size, 2**20))):
        size -= len(part)
