"""Correlations of a patch's posterior draws: all pairs, the strongest, and what chance gives.

A *triangle* holds the correlations of the pairs u < v of A units, row by row of the upper triangle:
M = A (A - 1) / 2 numbers, in the order of :func:`pairs`.

Chance: for n independent draws of two independent units, at least one of them Gaussian, the sample
correlation has r^2 ~ Beta(1/2, (n - 2)/2), hence E[r] = 0 and Var[r] = 1 / (n - 1). The variance is
1 / (n - 1) for independent units of any law; heavy tails widen the far ends a little, which is why
shuffled draws stand beside the formula.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import special, stats

from pyro_vae.errors import InputError, check_count

MIN_DRAWS = 20  # below this a correlation's error (0.23 and more) hides any correlation
NODES = 2_000  # of the quadrature of order statistics; ten times as many change the 5th digit
EDGES = np.linspace(-1.0, 1.0, 201)  # of histograms of r
ABSOLUTE_EDGES = np.linspace(0.0, 1.0, 51)  # of histograms of |r|


def pairs(units: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs u < v of so many units, (M,) and (M,), in the order of a triangle."""
    return np.triu_indices(check_count("number of units", units, 2), 1)


def correlations(draws: np.ndarray) -> np.ndarray:
    """Pearson correlations over draws (n, B, A) of every pair of units: triangles (B, M).

    Raises:
        InputError: fewer than 20 draws or 2 units, a number that is not finite, or a unit that has
            one and the same value in all draws of a patch.
    """
    check_draws(draws)
    upper = pairs(draws.shape[2])
    triangles = np.empty((draws.shape[1], len(upper[0])), draws.dtype)
    for patch in range(draws.shape[1]):
        z = draws[:, patch] - draws[:, patch].mean(0)
        z /= np.sqrt((z**2).sum(0))
        triangles[patch] = (z.T @ z)[upper]
    return triangles.clip(-1.0, 1.0)


def correlations_of_one(draws: np.ndarray) -> np.ndarray:
    """Pearson correlations of one patch's draws (n, A), which are not checked: a triangle (M,)."""
    return np.corrcoef(draws, rowvar=False)[pairs(draws.shape[1])]


def check_draws(draws: np.ndarray) -> None:
    """InputError unless draws (n, B, A) can be correlated."""
    if draws.ndim != 3 or draws.shape[1] == 0:
        raise InputError(f"draws must have shape (draws, patches, units), got {draws.shape}")
    if len(draws) < MIN_DRAWS:
        raise InputError(f"a correlation wants at least {MIN_DRAWS} draws, got {len(draws)}")
    if draws.shape[2] < 2:
        raise InputError(f"a correlation wants at least 2 units, got {draws.shape[2]}")
    if not np.isfinite(draws).all():
        raise InputError("posterior draws must be finite; some are nan or inf")
    constant = int((draws.max(0) == draws.min(0)).sum())
    if constant:
        raise InputError(
            f"a correlation wants units that vary; {constant} of {draws[0].size} units of patches "
            "have one value in all draws"
        )


def shuffled(draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws (n, B, A) with every unit of every patch permuted over the draws on its own.

    Marginal distributions stay, dependence between units goes.
    """
    return rng.permuted(draws, axis=0)


def matrix(triangle: np.ndarray, units: int) -> np.ndarray:
    """The symmetric matrix (A, A) with ones on its diagonal of a triangle (M,)."""
    first, second = pairs(units)
    if triangle.shape != first.shape:
        raise InputError(
            f"a triangle of {units} units has shape {first.shape}, got {triangle.shape}"
        )
    full = np.eye(units, dtype=triangle.dtype)
    full[first, second] = full[second, first] = triangle
    return full


def strongest(triangles: np.ndarray, count: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of greatest |r| of every triangle (B, M): their indices and r, (B, count) each.

    |r| falls along the second axis (Vas 2024, Figures 5.26 and 5.27, Table 5.7).
    """
    if not 1 <= count <= triangles.shape[1]:
        raise InputError(
            f"the {count} strongest of {triangles.shape[1]} pairs cannot be taken; "
            "too few units are active"
        )
    size = np.abs(triangles)
    found = np.argpartition(-size, count - 1, axis=1)[:, :count]
    order = np.argsort(-np.take_along_axis(size, found, 1), axis=1, kind="stable")
    found = np.take_along_axis(found, order, 1)
    return found, np.take_along_axis(triangles, found, 1)


def chance_density(r: np.ndarray, num_draws: int) -> np.ndarray:
    """Density of the correlation of independent units at r, (1 - r^2)^((n - 4)/2) / B."""
    half = _half(num_draws)
    return (1 - np.square(r)) ** (half - 1) * np.exp(-special.betaln(0.5, half))


def chance_above(size: np.ndarray | float, num_draws: int) -> np.ndarray:
    """P(|r| > size) of independent units."""
    return stats.beta.sf(np.square(size), 0.5, _half(num_draws))


def chance_mean(num_draws: int) -> float:
    """E|r| of independent units, about sqrt(2 / pi) / sqrt(n - 1)."""
    half = _half(num_draws)
    return float(np.exp(-special.betaln(0.5, half)) / half)


def chance_strongest(num_pairs: int, num_draws: int, count: int = 10) -> np.ndarray:
    """Expected |r| of the strongest, second strongest, ... of M pairs by chance, (count,).

    The i-th largest of M independent |r| has upper-tail probability V ~ Beta(i, M - i + 1); its
    expectation is the mean of the quantile function of |r| over V. The pairs of A units share
    units, but any two of them are uncorrelated and nearly independent. For 1000 draws and several
    hundred units the mean of the ten strongest is 0.12 to 0.13.
    """
    if not 1 <= count <= num_pairs:
        raise InputError(f"the {count} strongest of {num_pairs} pairs cannot be taken")
    rank = np.arange(1, count + 1)[:, None]
    nodes = (np.arange(NODES) + 0.5) / NODES
    tail = stats.beta.ppf(nodes, rank, num_pairs - rank + 1)
    return np.sqrt(stats.beta.isf(tail, 0.5, _half(num_draws))).mean(1)


def _half(num_draws: int) -> float:
    return (check_count("number of draws", num_draws, 4) - 2) / 2


def count_absolute(triangles: np.ndarray) -> np.ndarray:
    """Histogram of every pair's |r| over patches on ``ABSOLUTE_EDGES``: (M, bins) of uint16."""
    counts = np.zeros((triangles.shape[1], len(ABSOLUTE_EDGES) - 1), np.uint16)
    every = np.arange(triangles.shape[1])
    for triangle in triangles:
        place = np.searchsorted(ABSOLUTE_EDGES, np.abs(triangle), side="right") - 1
        counts[every, place.clip(0, counts.shape[1] - 1)] += 1
    return counts


def among(chosen: np.ndarray) -> np.ndarray:
    """Which pairs (M,) have both units in the mask ``chosen`` (A,), booleans."""
    first, second = pairs(len(chosen))
    return chosen[first] & chosen[second]


def signal_noise(
    means: np.ndarray,
    noise_covariance: np.ndarray,
    noise: np.ndarray,
    num_draws: int,
    *,
    permutations: int = 200,
    seed: int = 0,
) -> pd.DataFrame:
    """Whether units whose means move together also vary together at a fixed patch: one row.

    Signal correlation of a pair: of its posterior means over patches, the Monte Carlo covariance of
    the means (that of one draw over n) removed. Noise correlation: ``noise``. Both change sign with
    a unit, and a unit's sign means nothing, so the two are compared about zero, not about their
    means. The null gives the noise correlations to other units: units are permuted, and their signs
    drawn; single pairs cannot be, since pairs that share a unit are dependent.

    Args:
        means: (P, A). noise_covariance: (A, A), posterior covariance averaged over patches.
        noise: (M,), correlations averaged over patches. num_draws: n, behind every mean.

    Returns:
        ``similarity`` sum(s t) / sqrt(sum s^2 sum t^2), ``slope`` sum(s t) / sum(s^2) of noise on
        signal, ``null_mean`` and ``null_sd`` of the similarity, ``p_value`` two-sided (never below
        1 / (permutations + 1)), and how many ``units`` and ``patches`` it comes from.

    Raises:
        InputError: shapes that do not fit, fewer than 10 patches, or 4 units whose means move.
    """
    if len(means) < 10:
        raise InputError(f"signal correlations want at least 10 patches, got {len(means)}")
    signal, moving = signal_correlations(means, noise_covariance, num_draws)
    units = int(moving.sum())
    if units < 4:
        raise InputError(
            f"the posterior means of {units} of {len(moving)} units move over patches by more than "
            "their Monte Carlo error; signal correlations want 4"
        )
    square = matrix(np.asarray(noise, float), len(moving))[np.ix_(moving, moving)]
    first, second = pairs(units)
    rng = np.random.default_rng(seed)

    def similarity(t: np.ndarray) -> float:
        return float(signal @ t / np.sqrt((signal @ signal) * (t @ t)))

    null = np.empty(check_count("number of permutations", permutations, 20))
    for index in range(permutations):
        order, sign = rng.permutation(units), rng.choice([-1.0, 1.0], units)
        relabelled = square[np.ix_(order, order)] * sign * sign[:, None]
        null[index] = similarity(relabelled[first, second])
    found = similarity(square[first, second])
    slope = float(signal @ square[first, second] / (signal @ signal))
    extreme = int((np.abs(null) >= abs(found)).sum())
    return pd.DataFrame(
        {
            "similarity": [found],
            "slope": [slope],
            "null_mean": [null.mean()],
            "null_sd": [null.std(ddof=1)],
            "p_value": [(extreme + 1) / (permutations + 1)],
            "units": [units],
            "patches": [len(means)],
        }
    )


def signal_correlations(
    means: np.ndarray, noise_covariance: np.ndarray, num_draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Correlations over patches of posterior means (P, A), without their Monte Carlo part.

    Returns:
        the triangle of the A' units whose means vary by more than their Monte Carlo error, and the
        mask (A,) of these units.
    """
    covariance = np.cov(np.asarray(means, float).T) - noise_covariance / num_draws
    moving = covariance.diagonal() > 0
    covariance = covariance[np.ix_(moving, moving)]
    sd = np.sqrt(covariance.diagonal())
    scaled = covariance / sd / sd[:, None]
    return scaled[np.triu_indices(len(sd), 1)].clip(-1.0, 1.0), moving


def over_patches(triangles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over patches of every pair of triangles (P, M), in float64."""
    mean = triangles.mean(0, dtype=float)
    squares = np.zeros_like(mean)
    for triangle in triangles:  # a float64 copy of all triangles would take twice their memory
        squares += (triangle - mean) ** 2
    return mean, np.sqrt(squares / (len(triangles) - 1))


def average(triangles: np.ndarray) -> np.ndarray:
    """Correlations averaged over patches on Fisher's scale, tanh(mean arctanh r): (M,)."""
    total = np.zeros(triangles.shape[1])
    for triangle in triangles:
        total += np.arctanh(triangle.astype(float).clip(-1 + 1e-6, 1 - 1e-6))
    return np.tanh(total / len(triangles))
