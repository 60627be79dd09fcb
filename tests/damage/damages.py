"""Files that lost their end, and files in which one bit is another."""

import numpy as np

CUTS = (0.0, 0.3, 0.999)  # shares of a file that are left


def cut(content: bytes, share: float) -> bytes:
    """The first part of a file; at least its last byte is missing."""
    return content[: min(int(share * len(content)), len(content) - 1)]


def flips(content: bytes, number: int, seed: int = 0):
    """(place, the file with one bit changed there), at places drawn at random."""
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, len(content), number):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        yield int(place), bytes(changed)
