"""Posterior draws of every level: of the guide q, or of q_EW, its importance-weighted resample."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyro_vae.rows import pieces
from pyro_vae.weights.levels import guide_levels
from pyro_vae.weights.resampling import sir

CHUNK_SIZE = 10_000
# Of proposals that are weighed: their densities go through tensors of z1 a dozen times, which takes
# a quarter less where these stay in the cache. A run of the report weighs some eight million.
WEIGHTED_CHUNK_SIZE = 2_500


@torch.no_grad()
def draws_of(
    model: Callable,
    guide: Callable,
    x: Tensor,
    number: int = 1,
    *,
    k: int = 1,
    chunk_size: int = CHUNK_SIZE,
) -> dict[str, Tensor]:
    """Independent draws of every level for every datum: site -> (number, B, units).

    Args:
        model: not run for k = 1. guide: with one data plate at dim -1. x: (B, D).
        k: proposals behind each draw: 1 is the guide itself; more are draws from q_EW, each from a
            set of its own (:func:`pyro_vae.weights.resampling.sir`).
        chunk_size: proposals times data run at once (memory); for k > 1 at most
            ``WEIGHTED_CHUNK_SIZE``.
    """
    if k > 1:
        return sir(
            model, guide, x, k, number, chunk_size=min(chunk_size, WEIGHTED_CHUNK_SIZE)
        ).latents
    passes = [
        {name: level.draws for name, level in guide_levels(guide, x, size).items()}
        for size in pieces(number, max(1, chunk_size // len(x)))
    ]
    return {name: torch.cat([found[name] for found in passes]) for name in passes[0]}
