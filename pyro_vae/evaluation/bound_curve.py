"""The curve of L_k against k: how much a bound gains from more particles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.estimates import grouped_bound
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.rows import Data, as_data
from pyro_vae.torch_state import flushed_denormals
from pyro_vae.weights.passes import CHUNK_SIZE, weight_tables


@dataclass(frozen=True)
class BoundCurve:
    """L_k against k, from one table of K weights per datum; nats.

    Attributes:
        particles: the numbers k, rising.
        values: (len(particles), B), L_k of each datum.
    """

    particles: tuple[int, ...]
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """Mean over the data of each L_k."""
        return self.values.mean(1)

    @property
    def standard_error(self) -> np.ndarray:
        """Its standard error, data and Monte Carlo together. Neighbours share data and noise."""
        return np.array([mean_and_error(row).standard_error for row in self.values])


def bound_curve(
    model: Callable,
    guide: Callable,
    x: Data,
    num_particles: int = 5_000,
    particles: Sequence[int] | None = None,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> BoundCurve:
    """The curve of L_k for k up to K: how much a bound gains from more particles.

    Each L_k is the mean over the K // k disjoint groups of k particles (``bounds.miwae``), so that
    E[L_k] rises with k from the ELBO to L_K, towards log p(x) (Burda et al. 2016,
    https://arxiv.org/abs/1509.00519). Memory does not grow with B.

    Args:
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: K.
        particles: the numbers k; by default 1, 2, 5, 10, 20, 50, ... and K. InputError where one
            is not within 1 .. K.
    """
    x = as_data(x, model, guide)
    check_count("num_particles", num_particles)
    if particles is None:
        steps = (
            digit * 10**power for power in range(len(str(num_particles))) for digit in (1, 2, 5)
        )
        particles = [k for k in steps if k < num_particles] + [num_particles]
    if not len(particles):
        raise InputError("particles must name at least one number k of particles")
    for k in particles:
        if check_count("each of particles", k) > num_particles:
            raise InputError(f"particles holds {k}, but there are {num_particles} per datum")
    particles = sorted({int(k) for k in particles})
    with flushed_denormals():
        columns = [
            torch.stack([grouped_bound(table.log_w, k) for k in particles])
            for table in weight_tables(model, guide, x, num_particles, chunk_size)
        ]
    return BoundCurve(tuple(particles), torch.cat(columns, 1).numpy())
