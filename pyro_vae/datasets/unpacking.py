"""How much a packed file may unpack to, so that a small one cannot fill the memory."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import IO, Protocol
from zipfile import ZipFile

from pyro_vae.datasets.reading import printable
from pyro_vae.errors import InputError

# Deflate packs bytes that are all alike a thousandfold, sprites in black and white a hundredfold.
FREE = 2**30
FOLD = 250
# Of one picture: above the largest sensors there are, below what fills a small machine's memory.
MAX_PIXELS = 200_000_000
AT_ONCE = 2**20

MAT_COMPRESSED = 15  # of the first level of a MATLAB file of version 5: packed by zlib
MAT_HEADER = 128


def most_bytes(packed: int) -> int:
    """What a file of ``packed`` bytes may unpack to, in bytes: 1 GiB, or 250 times its own size."""
    return max(FREE, FOLD * packed)


def check_unpacked(path: Path, promised: int) -> None:
    """InputError where a file promises more than :func:`most_bytes` of its size."""
    most = most_bytes(path.stat().st_size)
    if promised > most:
        raise _too_large(path, f"{promised:,}", most)


def check_zip(path: Path, archive: ZipFile) -> None:
    """As :func:`check_unpacked`, of all members together; no member gives more than it promises."""
    check_unpacked(path, sum(member.file_size for member in archive.infolist()))


def check_pixels(path: Path, height: int, width: int) -> None:
    """InputError where a picture has more than ``MAX_PIXELS``, before they are decoded."""
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{printable(path)} has {height} x {width} pixels; at most {MAX_PIXELS:,} are read: "
            "cut or reduce it first"
        )


def check_mat(path: Path) -> None:
    """As :func:`check_unpacked`, of a MATLAB file of version 5, whose packed arrays are counted.

    Its headers cannot be believed: they stand inside what is packed.
    """
    most = most_bytes(path.stat().st_size)
    with open(path, "rb") as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(MAT_HEADER)[-2:])
        while order is not None and len(tag := file.read(8)) == 8:
            kind, size = struct.unpack(f"{order}2I", tag)
            if kind != MAT_COMPRESSED:
                file.seek(size, io.SEEK_CUR)
                continue
            most -= _unpacked(file, size, most)
            if most < 0:
                raise _too_large(path, "more", most_bytes(path.stat().st_size))


def _unpacked(file: IO[bytes], size: int, most: int) -> int:
    """How many bytes the next ``size`` ones unpack to; counting ends above ``most``."""
    unpack, found = zlib.decompressobj(), 0
    while size > 0 and found <= most and not unpack.eof:
        part = file.read(min(size, AT_ONCE))
        if not part:
            break
        size -= len(part)
        while part and found <= most:
            found += len(unpack.decompress(part, AT_ONCE))
            part = unpack.unconsumed_tail
    file.seek(size, io.SEEK_CUR)
    return found


class Stream(Protocol):
    """As much of a file as unpacking wants of one."""

    def read(self, size: int, /) -> bytes: ...


class Bounded(io.RawIOBase):
    """A stream that unpacks ``path``, and ends in an InputError above what that may unpack to.

    Args:
        stream: it is read from its start, and closed by whoever opened it.
        most: bytes; by default :func:`most_bytes` of the file.
    """

    def __init__(self, stream: Stream, path: Path, most: int | None = None) -> None:
        self._stream, self._path = stream, path
        self._most = self._left = most_bytes(path.stat().st_size) if most is None else most

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else min(size, self._left + 1)
        found = self._stream.read(wanted)
        self._left -= len(found)
        if self._left < 0:
            raise _too_large(self._path, "more", self._most)
        return found


def _too_large(path: Path, found: str, most: int) -> InputError:
    return InputError(
        f"{printable(path)} unpacks to {found} bytes, of {path.stat().st_size:,} on the disk; at "
        f"most {most:,} are taken. Unpack it by hand if you trust it"
    )
