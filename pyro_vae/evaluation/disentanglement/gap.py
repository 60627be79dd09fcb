"""The mutual information gap of Chen et al. 2018: has each factor one unit of its own?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyro_vae.datasets.seeding import numpy_generator
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.disentanglement.binned import (
    corrected_information,
    pointwise_information,
    quantile_bins,
)
from pyro_vae.evaluation.disentanglement.code_arrays import check_codes, check_factors
from pyro_vae.evaluation.statistics import Mean, mean_and_error

BINS = 20


@dataclass(frozen=True)
class InformationGap:
    """MIG, the information behind it, and its null.

    Attributes:
        mig: mean over the factors of the gaps below, with its standard error over the images.
        gaps: (F,), (I of the best unit - I of the second best) / H(factor).
        shares: (U, F), I(unit; factor) / H(factor), without its bias of first order.
        units: (F, 2), the best unit of each factor and the second best.
        nulls: (shuffles,), MIG with the factors' rows shuffled: of a code that says nothing.
        largest_bias: of I before it is corrected, nats: of the factor of most values.
        bins: that each unit is cut into.
        num_images: N.
    """

    mig: Mean
    gaps: np.ndarray
    shares: np.ndarray
    units: np.ndarray
    nulls: np.ndarray
    largest_bias: float
    bins: int
    num_images: int


def information_gap(
    draws: np.ndarray,
    factors: np.ndarray,
    *,
    bins: int = BINS,
    shuffles: int = 20,
    seed: int = 0,
) -> InformationGap:
    """MIG = mean_k (I(z_j; v_k) - max_{j' != j} I(z_j'; v_k)) / H(v_k), j the best unit of v_k.

    Chen et al. 2018, equation 6 (https://arxiv.org/abs/1802.04942), with units cut at their
    quantiles into bins. 1 where every factor has a unit that tells it and that nothing else
    repeats; 0 where each factor that is known at all is known twice, or nothing is known. A missing
    factor costs 1 / F, rotated axes most of it.

    The information is that of *draws* of q(z | x), as Chen et al. define it. A unit that has
    collapsed to the prior still has posterior means that differ in their last digits, and cut at
    their quantiles these tell as much as those of any other unit: give draws, not means.

    **Bias.** Unrelated units have a plug-in I of about (bins - 1) (values - 1) / (2 N), which is
    taken off (Miller 1955). A gap is that of two order statistics, and so still above 0 for a code
    that says nothing: what it is then is ``nulls``.

    Args:
        draws: (S, N, U), S draws for each of N images, over which the information is averaged; a
            code that is no random number is one draw, (1, N, U).
        factors: (N, F), the value of each factor, whole numbers from 0.
        bins: of each unit; with more values than bins a factor cannot be told in full.
        shuffles: of the rows of ``factors``, for the null.
        seed: of these.

    Raises:
        InputError: shapes that do not fit, numbers that are not finite, fewer than two units, or
            fewer than two bins.
    """
    draws = check_codes(draws, "S, N, U")
    factors = check_factors(factors, draws.shape[1])
    check_count("bins", bins, 2)
    check_count("shuffles", shuffles)
    if draws.shape[2] < 2:
        raise InputError("the gap is between two units, and the code has one")
    sizes = factors.max(0) + 1
    entropies = np.array(
        [_entropy(column, size) for column, size in zip(factors.T, sizes, strict=True)]
    )
    binned = [quantile_bins(draw, bins) for draw in draws]
    shares = np.mean([_shares(part, factors, sizes, entropies) for part in binned], axis=0)
    units = _best_two(shares)
    of_images = np.zeros(len(factors))
    for factor, (best, second) in enumerate(units):
        for part in binned:
            point = pointwise_information(
                part[:, [best, second]], factors[:, factor], sizes[factor]
            )
            of_images = of_images + (point[:, 0] - point[:, 1]) / entropies[factor]
    error = mean_and_error(of_images / (len(binned) * len(units))).standard_error
    gaps = _gaps(shares)
    generator = numpy_generator(seed, "mig", "shuffles")
    nulls = []
    for shuffle in range(shuffles):
        shuffled = factors[generator.permutation(len(factors))]
        part = binned[shuffle % len(binned)]
        nulls.append(_gaps(_shares(part, shuffled, sizes, entropies)).mean())
    most = max(len(np.unique(column)) for column in factors.T)
    return InformationGap(
        mig=Mean(float(gaps.mean()), error),
        gaps=gaps,
        shares=shares,
        units=units,
        nulls=np.array(nulls),
        largest_bias=(bins - 1) * (most - 1) / (2 * len(factors)),
        bins=bins,
        num_images=len(factors),
    )


def _shares(
    binned: np.ndarray, factors: np.ndarray, sizes: np.ndarray, entropies: np.ndarray
) -> np.ndarray:
    """I(unit; factor) / H(factor), (U, F)."""
    found = [
        corrected_information(binned, column, size)
        for column, size in zip(factors.T, sizes, strict=True)
    ]
    return np.stack(found, 1) / entropies


def _entropy(column: np.ndarray, size: int) -> float:
    """H(v) as the information of v about itself, so that both are without the same bias."""
    return float(corrected_information(column[:, None], column, size)[0])


def _best_two(shares: np.ndarray) -> np.ndarray:
    """(F, 2) units."""
    return np.argsort(-shares, axis=0, kind="stable")[:2].T


def _gaps(shares: np.ndarray) -> np.ndarray:
    best = np.take_along_axis(shares, _best_two(shares).T, 0)
    return best[0] - best[1]
