"""Thinning: which particles' gradients are computed, so that the expectation stays what it was.

Most particles carry almost no weight. All K are drawn and weighted without gradients; particle k is
kept with probability ``p_k = min(1, w~_k / c)`` and its coefficient divided by ``p_k`` (Russian
roulette), so the expected gradient is that of all K. The threshold is ``c = 1 / K``, raised where
more than M particles would be kept to the ``c`` of ``sum_k min(1, w~_k / c) = M`` (Fearnhead and
Clifford 2003, https://doi.org/10.1111/1467-9868.00421, optimal resampling, which among unbiased
choices of M particles has the smallest variance). Kept are at most M per datum, so every array has
one fixed shape.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Kept(NamedTuple):
    """The chosen particles, (M, B) each.

    Attributes:
        index: into the K particles; no particle of a datum twice among the used slots.
        probability: with which that particle was kept; 1 in slots that stayed empty.
        used: 1.0, or 0.0 for empty slots (their index is arbitrary).
    """

    index: Tensor  # type: ignore[assignment]  # a tuple has a method of this name
    probability: Tensor
    used: Tensor


def default_kept(num_particles: int) -> int:
    """M for K particles: an eighth, at least 2."""
    return min(num_particles, max(2, -(-num_particles // 8)))


def keep_probabilities(weights: Tensor, num_kept: int) -> Tensor:
    """min(1, w~ / c) per particle, (K, B); their sum over particles is at most M.

    Args:
        weights: (K, B), not negative; normalised here over the particles. A datum all of whose
            weights are zero keeps none.
        num_kept: M, from 1 to K.
    """
    num_particles = len(weights)
    total = weights.sum(0)
    shares = weights / total.where(total != 0, 1.0)
    shares = shares.T.contiguous()  # (B, K): sorted and summed along rows
    ordered = shares.sort(-1, descending=True).values
    # tail[:, j]: share of all but the j largest; threshold[:, j]: c if those j are kept for sure.
    tail = ordered.flip(-1).cumsum(-1).flip(-1)[:, :num_kept]
    slots = torch.arange(num_kept, 0, -1, device=weights.device, dtype=weights.dtype)
    threshold = tail / slots
    # The right j is the first whose largest undecided share is below its threshold; the last fits
    # always, since its tail holds that share.
    first = (ordered[:, :num_kept] <= threshold).to(torch.int8).argmax(-1, keepdim=True)
    c = threshold.gather(-1, first).clamp(min=1 / num_particles)
    return (shares / c).clamp(max=1).T


def keep(weights: Tensor, num_kept: int) -> Kept:
    """Draw the kept particles by systematic sampling: one uniform number per datum.

    Particle k is kept with probability exactly :func:`keep_probabilities`, whatever happens to the
    others, and at most M are.
    """
    probability = keep_probabilities(weights.double(), num_kept)
    ends = probability.T.cumsum(-1)  # (B, K)
    start = torch.rand(len(ends), 1, device=weights.device, dtype=ends.dtype)
    marks = start + torch.arange(num_kept, device=weights.device)  # (B, M)
    index = torch.searchsorted(ends, marks)
    used = marks < ends[:, -1:]
    index = index.clamp(max=len(weights) - 1).T
    used = used.T
    chosen = torch.where(used, probability.gather(0, index), 1.0)
    return Kept(index, chosen.to(weights.dtype), used.to(weights.dtype))


def pick(values: Tensor, index: Tensor) -> Tensor:
    """values (K, B, ...) at the kept particles: (M, B, ...)."""
    index = index.reshape(index.shape + (1,) * (values.ndim - index.ndim))
    return torch.take_along_dim(values, index, 0)
