"""Posterior draws of z1 for single patches, and correlations of its units (Vas 2024, 5.4.1).

Draws are of the guide q, or of q_EW where a fresh set of k proposals is resampled for each draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from analysis.measures.correlation import EDGES, correlations, pairs, shuffled, strongest
from analysis.probes.draws import draws_of
from pyro_vae.datasets.cutting import contrast
from pyro_vae.errors import InputError, check_count
from pyro_vae.torch_state import flushed_denormals, own_generators

HIGH_CONTRAST = 1_000  # patches that Vas 2024 draws from
STRONGEST = 10


def highest_contrast(images: np.ndarray, count: int = HIGH_CONTRAST) -> np.ndarray:
    """Indices of the images (N, D) or (N, H, W) of greatest contrast, the greatest first: (count,).

    Contrast is the standard deviation over the pixels of an image.

    Raises:
        InputError: fewer images than ``count``.
    """
    if len(images) < check_count("number of patches", count):
        raise InputError(f"{count} patches of highest contrast were asked of {len(images)} patches")
    found = contrast(np.asarray(images).reshape(len(images), -1))
    return np.argsort(-found, kind="stable")[:count]


@torch.no_grad()
def posterior_draws(
    model: Callable,
    guide: Callable,
    x: Tensor,
    k: int = 1,
    num_draws: int = 1_000,
    *,
    seed: int = 0,
    level: str = "z1",
    chunk_size: int = 10_000,
) -> Tensor:
    """Independent draws of one level for every datum, (num_draws, B, U).

    Args:
        model, guide: Pyro programs with one data plate at dim -1; the model is not run for k = 1.
        x: (B, D).
        k: proposals behind each draw: 1 is the guide itself, more are draws from q_EW, each from a
            set of its own (Vas 2024, Algorithm 2).
        chunk_size: proposals times data run at once (memory).

    Raises:
        InputError: a count below 1, or a guide without this level.
    """
    check_count("particles", k)
    check_count("number of draws", num_draws)
    with own_generators(), flushed_denormals():
        torch.manual_seed(seed)
        drawn = draws_of(model, guide, x, num_draws, k=k, chunk_size=chunk_size)
    return _level(drawn, level)


@dataclass(frozen=True)
class PatchCorrelations:
    """Correlations of z1's units over the posterior draws of P patches, one patch at a time.

    Attributes:
        triangles: (P, M) float32, pairs in the order of ``measures.correlation.pairs``.
        means: (P, A) float32, posterior means.
        covariance: (A, A), posterior covariance averaged over patches.
        halves: (2, P, M) float32, the same from the first and the second half of the draws.
        shuffled: (P, 10), r of the strongest pairs after every unit's draws were shuffled.
        shuffled_counts: histogram on ``EDGES`` of all r after shuffling.
        first_draws: (num_draws, A) float32, the draws of the first patch.
        num_draws: n.
    """

    triangles: np.ndarray
    means: np.ndarray
    covariance: np.ndarray
    halves: np.ndarray
    shuffled: np.ndarray
    shuffled_counts: np.ndarray
    first_draws: np.ndarray
    num_draws: int


def patch_correlations(
    model: Callable,
    guide: Callable,
    x: Tensor,
    k: int = 1,
    num_draws: int = 1_000,
    *,
    units: np.ndarray,
    seed: int = 0,
    chunk_size: int = 10_000,
) -> PatchCorrelations:
    """Correlations of the given units of z1 for every row of x (P, D).

    Groups of chunk_size / (k num_draws) patches are drawn and forgotten: what stays is 12 P M
    bytes, M = A (A - 1) / 2: 300 MB for 500 patches and 317 units, 600 MB for 450.

    Args:
        model, guide, k, num_draws: as in :func:`posterior_draws`.
        units: indices (A,) of the units to correlate, the active ones.
        seed: of draws and shuffles. A patch's draws depend on the group that it is in.

    Raises:
        InputError: fewer than 5 units (ten pairs) or 40 draws; indices that z1 does not have; a
            unit that does not vary.
    """
    units = np.asarray(units)
    if len(units) < 5:
        raise InputError(
            f"{len(units)} units of z1 are active; the ten strongest of their correlations want 5"
        )
    rng = np.random.default_rng(seed)
    patches, half = len(x), num_draws // 2
    num_pairs = len(pairs(len(units))[0])
    triangles = np.empty((patches, num_pairs), np.float32)
    halves = np.empty((2, patches, num_pairs), np.float32)
    means = np.empty((patches, len(units)), np.float32)
    covariance = np.zeros((len(units), len(units)))
    null = np.empty((patches, STRONGEST), np.float32)
    counts = np.zeros(len(EDGES) - 1, np.int64)
    first = None
    for rows, drawn in _groups(model, guide, x, k, num_draws, seed, chunk_size):
        draws = _of_units(drawn, units)
        first = draws[:, 0].astype(np.float32) if first is None else first
        triangles[rows] = correlations(draws)
        halves[0, rows], halves[1, rows] = correlations(draws[:half]), correlations(draws[half:])
        means[rows] = draws.mean(0)
        covariance += _sum_of_covariances(draws)
        by_chance = correlations(shuffled(draws, rng))
        null[rows] = strongest(by_chance, STRONGEST)[1]
        counts += np.histogram(by_chance, EDGES)[0]
    return PatchCorrelations(
        triangles, means, covariance / patches, halves, null, counts, first, num_draws
    )


def _groups(
    model, guide, x: Tensor, k: int, num_draws: int, seed: int, chunk_size: int
) -> Iterator[tuple[slice, Tensor]]:
    """Small groups of patches: which rows, and their draws (num_draws, group, U)."""
    if len(x) == 0:
        raise InputError("there are no patches to draw for")
    size = max(1, chunk_size // (k * num_draws))
    for start in range(0, len(x), size):
        words = np.random.SeedSequence(seed, spawn_key=(start,)).generate_state(1, np.uint64)
        own_seed = int(words[0] >> np.uint64(1))
        rows = slice(start, min(start + size, len(x)))
        args = (model, guide, x[rows], k, num_draws)
        yield rows, posterior_draws(*args, seed=own_seed, chunk_size=chunk_size)


def _of_units(drawn: Tensor, units: np.ndarray) -> np.ndarray:
    if units.min() < 0 or units.max() >= drawn.shape[2]:
        raise InputError(f"z1 has units 0 to {drawn.shape[2] - 1}, not {units.max()}")
    return drawn[..., torch.as_tensor(units, device=drawn.device)].cpu().numpy()


def _sum_of_covariances(draws: np.ndarray) -> np.ndarray:
    away = (draws - draws.mean(0)).reshape(-1, draws.shape[2])
    return (away.T @ away).astype(float) / (len(draws) - 1)


def _level(found, level: str):
    if level not in found:
        raise InputError(f"unknown level {level!r}; allowed: {', '.join(sorted(found))}")
    return found[level]
