"""One Hamiltonian Monte Carlo transition, for many chains of many data at once.

The targets are the members f_t of a path of densities, ``log f_t = log f_0 + t slope``. A
:class:`Point` keeps both parts and their gradients, so that moving on to another t costs nothing.

The transition is that of Neal 2011, section 5.3.2 (https://arxiv.org/abs/1206.1901).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

# Trajectories of one fixed length can return to where they began; varied ones cannot all do so.
_STEP_JITTER = 0.2


class Point(NamedTuple):
    """Where all chains are, and the path of densities there.

    Attributes:
        position: (K, B, D), all latents of a datum in one row.
        start: (K, B), log f_0, nats.
        slope: (K, B), d log f_t / dt, nats.
        start_gradient, slope_gradient: their derivatives by the position, (K, B, D).
    """

    position: Tensor
    start: Tensor
    slope: Tensor
    start_gradient: Tensor
    slope_gradient: Tensor

    def log_density(self, t: float) -> Tensor:
        """log f_t, (K, B) nats, not normalised."""
        return self.start + t * self.slope

    def gradient(self, t: float) -> Tensor:
        """Its derivative by the position, (K, B, D)."""
        return self.start_gradient + t * self.slope_gradient

    def where(self, chosen: Tensor, other: Point) -> Point:
        """This point for the chosen chains, (K, B) booleans, and the other for the rest."""
        pairs = zip(self, other, strict=True)
        return Point(
            *(
                torch.where(chosen if a.ndim == chosen.ndim else chosen[..., None], a, b)
                for a, b in pairs
            )
        )


def transition(
    evaluate: Callable[[Tensor], Point],
    point: Point,
    t: float,
    step: Tensor,
    scale: Tensor,
    num_leapfrog: int,
) -> tuple[Point, Tensor]:
    """Move every chain once; the law f_t / Z_t stays what it is (Neal 2011, section 5.3.2).

    Fresh momenta r ~ N(0, I), ``num_leapfrog`` leapfrog steps of
    ``dz = scale r``, ``dr = scale d log f_t(z) / dz`` (a diagonal mass of 1 / scale^2), then
    Metropolis' choice. The step size of every chain is varied by up to a fifth, independently of
    where the chain is. A trajectory that ends at a NaN is rejected.

    Args:
        evaluate: the point at a position (K, B, D).
        step: (B,), step size of each datum.
        scale: (B, D), length of each unit.

    Returns:
        the new points, and the probability (K, B) with which each proposal was accepted.
    """
    jitter = 1 + _STEP_JITTER * (2 * torch.rand_like(point.start) - 1)
    length = (step * jitter)[..., None] * scale
    momentum = torch.randn_like(point.position)
    moved, end = point, momentum + 0.5 * length * point.gradient(t)
    for remaining in range(num_leapfrog - 1, -1, -1):
        moved = evaluate(moved.position + length * end)
        end = end + (length if remaining else 0.5 * length) * moved.gradient(t)
    kinetic = 0.5 * (momentum.square() - end.square()).sum(-1)
    log_ratio = moved.log_density(t) - point.log_density(t) + kinetic
    probability = log_ratio.clamp(max=0).exp().nan_to_num(nan=0.0)
    return moved.where(accepted(probability), point), probability


def accepted(probability: Tensor) -> Tensor:
    """Metropolis' choice: True with the given probability, independently."""
    return torch.rand_like(probability) < probability
