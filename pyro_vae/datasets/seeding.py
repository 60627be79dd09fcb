"""Random streams that are pure functions of a seed and a key, and never the global generator."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import torch

from pyro_vae.errors import check_count


def numpy_generator(seed: int, *key: str | int) -> np.random.Generator:
    """NumPy generator for the stream ``key`` (e.g. ``("patches", "train", 3)``) of ``seed``."""
    return np.random.default_rng(_seed_sequence(seed, key))


def torch_generator(seed: int, *key: str | int) -> torch.Generator:
    """CPU generator for the stream ``key`` (e.g. ``("order", epoch)``) of ``seed``."""
    state = _seed_sequence(seed, key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def _seed_sequence(seed: int, key: tuple[str | int, ...]) -> np.random.SeedSequence:
    # The key goes into `spawn_key`, which NumPy keeps apart from the seed: a list [seed, *key]
    # would let a long seed run into the key. crc32, because Python's hash of a str is salted.
    words = tuple(crc32(k.encode()) if isinstance(k, str) else int(k) for k in key)
    return np.random.SeedSequence(check_count("seed", seed, minimum=0), spawn_key=words)
