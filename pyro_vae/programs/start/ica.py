"""Columns of a linear decoder: independent component analysis of the rows.

Sparse coding of natural images (Olshausen and Field 1996, https://doi.org/10.1038/381607a0) and
independent component analysis fit the same model, x = A s with sparse, independent s; without noise
and with as many sources as dimensions the second has a fast algorithm (Hyvarinen and Oja 2000,
https://doi.org/10.1016/S0893-6080(00)00026-5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pyro_vae.datasets.moments import covariance
from pyro_vae.errors import InputError, check_count
from pyro_vae.programs.start.rotation import independent_rotation

# Directions of less than this share of the largest variance are rounding: rows are float32, and
# what a low-pass cut removed comes back with some 1e-13 of it.
RANK_TOLERANCE = 1e-9
MAX_ROWS = 30_000  # that the rotation is found from, drawn at random
# Of a standard normal u: E[log cosh u], and half the inverse of the variance that log cosh u has
# beside its projection on 1, u and u^2.
_NORMAL_LOG_COSH, _SCALE = 0.374567, 79.0156


@dataclass(frozen=True)
class Sources:
    """x = centre + sum_i columns_i s_i + rest, with s_i of mean 0 and variance 1.

    Attributes:
        columns: (D, r) float64, from the most to the least worth modelling, see
            :func:`worth_modelling`; the largest entry of each is positive.
        centre: (D,) float64, mean of the rows.
        negentropy: (r,), of each source, nats.
        converged: whether the rotation had settled when the iterations ended.
    """

    columns: np.ndarray
    centre: np.ndarray
    negentropy: np.ndarray
    converged: bool


def independent_components(rows: np.ndarray, *, seed: int = 0) -> Sources:
    """All sources of rows (N, D), in the space that the rows span.

    With principal directions V (D, r) and standard deviations d, rows are whitened,
    z = V' (x - centre) / d, and the rotation W of y = W z maximises the negentropies

        J(y_i) = 79.02 ( E[log cosh y_i] - E[log cosh u] )^2,  u standard normal

    all together (Hyvarinen and Oja 2000, section 4.3), see :func:`~.rotation.independent_rotation`.
    The columns are V diag(d) W'. The order of the sources does not depend on the start where the
    rotation is unique, and neither do their signs.

    Args:
        rows: (N, D), at least two.
        seed: of the start, and of the rows that the rotation is found from, where there are more
            than 30,000.

    Raises:
        InputError: the rows are no table of numbers, or do not vary.
    """
    rows = np.asarray(rows, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2 or not np.isfinite(rows).all():
        raise InputError(f"rows must be finite numbers (N, D) with N >= 2, got {rows.shape}")
    centre, spread = covariance(rows)
    variances, directions = np.linalg.eigh(spread)
    kept = variances > RANK_TOLERANCE * max(variances[-1], 0.0)
    if not variances[-1] > 0 or not kept.any():
        raise InputError("the rows are constant: there is nothing to start from")
    deviations, directions = np.sqrt(variances[kept]), directions[:, kept]
    rng = np.random.default_rng(np.random.SeedSequence(check_count("seed", seed, 0)))
    used = rows
    if len(rows) > MAX_ROWS:
        used = rows[rng.choice(len(rows), MAX_ROWS, replace=False)]
    white = (used - centre) @ (directions / deviations)
    rotation, converged = independent_rotation(white, seed=seed)
    columns = (directions * deviations) @ rotation.T
    largest = np.take_along_axis(columns, np.abs(columns).argmax(axis=0)[None], axis=0)
    columns, rotation = columns * np.sign(largest), rotation * np.sign(largest).T
    negentropy = _negentropy(white @ rotation.T)
    return Sources(columns, centre, negentropy, converged)


def worth_modelling(sources: Sources, noise: float) -> np.ndarray:
    """(r,) nats by which a source's own unit improves log p(x) over calling it noise.

        ( e - log(1 + e) ) / 2 + J(y_i),  e = |columns_i|^2 / noise^2

    The first part is what a Gaussian unit gains along a direction of this variance, the second what
    the right shape of its density adds.
    """
    energy = np.square(sources.columns).sum(axis=0) / noise**2
    return (energy - np.log1p(energy)) / 2 + sources.negentropy


def _negentropy(sources: np.ndarray) -> np.ndarray:
    """J of the columns (N, r), nats: an expansion about the normal density (Hyvarinen and Oja 2000,
    equation 25), which gives 0.10 for a Laplace density, whose negentropy is 0.07."""
    scaled = sources / sources.std(axis=0)
    # log cosh y = |y| + log(1 + exp(-2 |y|)) - log 2, which does not overflow.
    size = np.abs(scaled)
    contrast = (size + np.log1p(np.exp(-2 * size)) - math.log(2)).mean(axis=0)
    return _SCALE * (contrast - _NORMAL_LOG_COSH) ** 2
