"""Are the strong pairs of one patch strong at others? Vas 2024, Table 5.8, with three nulls.

For a reference patch, the five pairs of greatest |r| are taken; the *ratio* of a pair is

    | mean over other patches of r  -  r at the reference patch |  /  sd over other patches of r

and Table 5.8 averages it over pairs and three references. What it would be by chance depends on how
the pair came to be looked at:

- a pair named before the reference patch was seen, which is exchangeable with the others: the ratio
  is |t| with P - 1 degrees of freedom, times sqrt(1 + 1/P); sqrt(2/pi) = 0.798 for many patches;
- a pair chosen because it is strong there, of M pairs that are all noise: the mean of the
  largest of M normal numbers, 4 and more, far above every number of Table 5.8;
- a pair chosen so, where pairs differ as they do, but none has anything to do with the patch: the
  measured values of every pair, permuted over patches (:func:`permuted`).

Choosing the pairs with one half of the draws and measuring all patches with the other takes the
errors of the draws out of the choice: pairs that have the same correlation at every patch, be it
zero or not, then give 0.798 again, and more means that the correlation belongs to the patch.
"""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from analysis.measures.correlation import NODES, over_patches, strongest
from pyro_vae.errors import InputError, check_count

NUM_PAIRS = 5
NUM_REFERENCES = 3
MIN_PATCHES = 10


def ratios(
    references: np.ndarray,
    mean: np.ndarray,
    sd: np.ndarray,
    *,
    count: int = NUM_PAIRS,
    chosen_by: np.ndarray | None = None,
) -> np.ndarray:
    """Ratios of the strongest pairs of every reference patch, (R, count).

    Args:
        references: triangles (R, M). mean, sd: (M,), over other patches.
        chosen_by: triangles (R, M) by which the pairs are chosen (other draws of the same patches);
            ``references`` themselves as in Vas 2024 where it is None.

    Raises:
        InputError: shapes that do not fit, or a pair that has no spread over patches.
    """
    chosen_by = references if chosen_by is None else chosen_by
    pairs_of_moments = {mean.shape, sd.shape}
    if references.shape != chosen_by.shape or pairs_of_moments != {references.shape[1:]}:
        raise InputError(
            f"reference triangles {references.shape}, those that choose {chosen_by.shape} and "
            f"moments {mean.shape} and {sd.shape} do not fit"
        )
    found, _ = strongest(chosen_by, count)
    if not (sd[found] > 0).all():
        raise InputError("a pair has the same correlation at all patches; it has no ratio")
    return np.abs(np.take_along_axis(references, found, 1) - mean[found]) / sd[found]


def every_ratio(
    triangles: np.ndarray, *, count: int = NUM_PAIRS, chosen_by: np.ndarray | None = None
) -> np.ndarray:
    """Ratios (P, count) with each of the patches (P, M) as the reference of all others.

    ``chosen_by`` (P, M): triangles by which the pairs are chosen, as in :func:`ratios`.
    """
    _check_patches(triangles)
    chosen_by = triangles if chosen_by is None else chosen_by
    if chosen_by.shape != triangles.shape:
        raise InputError(
            f"triangles {triangles.shape} and those that choose {chosen_by.shape} do not fit"
        )
    found, _ = strongest(chosen_by, count)
    r = np.take_along_axis(triangles, found, 1)
    mean, sd = over_patches(triangles)
    return _left_out(r - mean[found], sd[found], len(triangles))


def permuted(
    triangles: np.ndarray,
    *,
    count: int = NUM_PAIRS,
    references: int = NUM_REFERENCES,
    replicates: int = 100,
    seed: int = 0,
) -> np.ndarray:
    """Table 5.8 with every pair's values (P, M) permuted over patches: (replicates,) of its number.

    The value at the "reference patch" is, for every pair on its own, that of a random patch; the
    others are the other patches. The five pairs are chosen after this, as they are in the table.
    """
    _check_patches(triangles)
    rng = np.random.default_rng(seed)
    patches, num_pairs = triangles.shape
    mean, sd = over_patches(triangles)
    totals = np.empty(check_count("number of replicates", replicates))
    for index in range(replicates):
        drawn = rng.integers(patches, size=(references, num_pairs))
        found, r = strongest(triangles[drawn, np.arange(num_pairs)], count)
        totals[index] = _left_out(r - mean[found], sd[found], patches).mean()
    return totals


def exchangeable_ratio(patches: int) -> float:
    """Expected ratio of a normal pair that was not chosen by its strength: sqrt(2/pi) in the limit.

    E|t| sqrt(1 + 1/P) with P - 1 degrees of freedom; ``patches`` P is the number of the others.
    """
    free = check_count("number of patches", patches, 3) - 1
    mean = 2 * np.sqrt(free) / ((free - 1) * special.beta(free / 2, 0.5))
    return float(mean * np.sqrt(1 + 1 / patches))


def noise_ratio(num_pairs: int, patches: int, count: int = NUM_PAIRS) -> float:
    """Expected ratio of the strongest of M pairs that are all noise about zero, and normal."""
    rank = np.arange(1, count + 1)[:, None]
    nodes = (np.arange(NODES) + 0.5) / NODES
    tail = stats.beta.ppf(nodes, rank, num_pairs - rank + 1)
    largest = float(stats.norm.isf(tail / 2).mean())
    # The reference is independent of the others' sd, whose inverse has this expectation.
    free = check_count("number of patches", patches, 3) - 1
    inverse = np.sqrt(free / 2) * np.exp(
        special.gammaln((free - 1) / 2) - special.gammaln(free / 2)
    )
    return largest * float(inverse)


def _left_out(away: np.ndarray, sd: np.ndarray, patches: int) -> np.ndarray:
    """Ratios against the other patches, from distances to the mean over all and their sd.

    Leaving r out moves the mean by (mean - r) / (P - 1) and takes P / (P - 1) (r - mean)^2 from the
    sum of squares.
    """
    others = patches - 1
    squares = others * sd**2 - away**2 * patches / others
    if not (squares > 0).all():
        raise InputError("a pair has the same correlation at all other patches; it has no ratio")
    return np.abs(away) * patches / others / np.sqrt(squares / (others - 1))


def _check_patches(triangles: np.ndarray) -> None:
    if triangles.ndim != 2 or len(triangles) < MIN_PATCHES:
        raise InputError(
            f"consistency wants the correlations of at least {MIN_PATCHES} patches, got "
            f"{triangles.shape[0]}"
        )
