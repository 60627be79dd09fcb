"""Changes to a file as damage and malice make them, drawn from a seeded generator."""

from __future__ import annotations

import random
import struct

# Numbers at which readers of lengths, counts and offsets go wrong.
EDGES = (0, 1, 2, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63)
WORDS = (
    b"",
    b"\0" * 8,
    b"\xff" * 8,
    b"../",
    b"nan",
    b"-1",
    b"1e999",
    b"{",
    b"]",
    b'"',
    b"\n",
    b"NaN",
)


def changed(content: bytes, rng: random.Random) -> bytes:
    """The content after one to four changes."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if data:
            rng.choice(CHANGES)(data, rng)
    return bytes(data)


def _flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_near_the_start(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(min(len(data), 256))] = rng.randrange(256)


def _number(data: bytearray, rng: random.Random) -> None:
    kind = rng.choice(("<I", ">I", "<H", "<Q", "B"))
    packed = struct.pack(kind, rng.choice(EDGES) % 256 ** struct.calcsize(kind))
    place = rng.randrange(len(data))
    data[place : place + len(packed)] = packed


def _cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _without(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    del data[place : place + rng.randrange(1, 64)]


def _word(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    data[place:place] = rng.choice(WORDS)


def _twice(data: bytearray, rng: random.Random) -> None:
    place, length = rng.randrange(len(data)), rng.randrange(1, 64)
    data[place:place] = data[place : place + length]


CHANGES = (_flip, _flip, _flip_near_the_start, _number, _number, _cut, _without, _word, _twice)
