"""The shape of a generalised Pareto distribution fitted to the largest of many numbers.

The fit of Zhang and Stephens 2009 (https://doi.org/10.1198/tech.2009.08017) with the prior of
Vehtari et al. 2024 (https://arxiv.org/abs/1507.02646). ArviZ 0.23 has the same one; ArviZ 1.x cuts
the tail elsewhere, and has none where a quarter of it is tied. With a fit of its own this library
says the same k-hat of the same weights whichever is installed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_QUARTILE_SHARE = 3  # the prior of theta is scaled by so many first quartiles
_PRIOR_SHAPE, _PRIOR_WORTH = 0.5, 10  # the prior of the shape, worth ten numbers of the tail
_LEAST_WEIGHT = 10 * np.finfo(float).eps


def pareto_shape(excess: NDArray[np.float64]) -> float:
    """Posterior mean of the shape k of a generalised Pareto distribution.

    With theta = -k / sigma, the profile likelihood of theta is averaged over a grid that covers its
    prior, and k = mean log(1 - theta x) at the mean of theta; the prior then draws k towards 0.5.

    Args:
        excess: (N,) by how much each of the N numbers of the tail exceeds where the tail begins:
            positive, in rising order.

    Returns:
        k; infinite where a quarter of the tail exceeds its beginning by too little for a number.
    """
    number = len(excess)
    size = 30 + int(number**0.5)
    quartile = excess[int(number / 4 + 0.5) - 1]
    with np.errstate(all="ignore"):  # the smallest of numbers have no reciprocal
        theta = 1 - np.sqrt(size / (np.arange(1, size + 1) - 0.5))
        theta = theta / (_QUARTILE_SHARE * quartile) + 1 / excess[-1]
        shape = np.log1p(-theta[:, None] * excess).mean(1)
        likelihood = number * (np.log(-theta / shape) - shape - 1)
    known = np.isfinite(likelihood)
    if not known.any():
        return np.inf
    theta, likelihood = theta[known], likelihood[known]
    weight = np.exp(likelihood - likelihood.max())
    weight /= weight.sum()
    weight[weight < _LEAST_WEIGHT] = 0.0
    centre = (theta * weight).sum() / weight.sum()
    found = np.log1p(-centre * excess).mean()
    return float((number * found + _PRIOR_WORTH * _PRIOR_SHAPE) / (number + _PRIOR_WORTH))
