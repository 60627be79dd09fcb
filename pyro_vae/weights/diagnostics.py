"""How far importance weights can be trusted, per datum: effective sample size and Pareto k-hat.

k-hat is the shape of a generalised Pareto distribution fitted to the upper tail of the weights
(Vehtari et al. 2024, https://arxiv.org/abs/1507.02646), by :mod:`pyro_vae.weights.pareto_tail`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pyro_vae.weights.bounds import normalised_weights
from pyro_vae.weights.pareto_tail import pareto_shape

KHAT_LIMIT = 0.7  # above it, estimates from these weights are unreliable (Vehtari et al. 2024)
MIN_PARTICLES_FOR_KHAT = 25  # the tail, min(K / 5, 3 sqrt(K)), must hold at least five weights

# Weights that differ by less are tied: what is left of the difference are rounding errors.
_SAME_WEIGHT_NATS = 1e-6
_UNDERFLOW_NATS = math.log(np.finfo(float).tiny)
_LEAST_TAIL = 5  # weights that a Pareto tail is fitted to, at least


def effective_sample_size(log_w: Tensor) -> Tensor:
    """1 / sum_k w~_k^2 along the first axis: between 1 and K; 0 where all weights are zero."""
    squares = normalised_weights(log_w).square().sum(0)
    return (1.0 / squares).where(squares != 0, 0.0)


def log_mean_standard_error(log_w: Tensor) -> Tensor:
    """Standard error of log mean_k w_k per datum by the delta method, nats; NaN for K = 1.

    ``sd(w) / (mean(w) sqrt(K))``, written through the effective sample size so that nothing
    overflows: sqrt((K / ESS - 1) / (K - 1)). Infinite where all weights are zero.
    """
    num_particles = len(log_w)
    if num_particles == 1:
        return torch.full_like(log_w[0], float("nan"))
    excess = num_particles / effective_sample_size(log_w) - 1.0
    return (excess.clamp(min=0) / (num_particles - 1)).sqrt()


def khat_warning(khat: np.ndarray) -> str | None:
    """What k-hat above 0.7 means for the estimates of these data, (B,), and what helps.

    None where none is above.
    """
    share = np.mean(khat > KHAT_LIMIT)
    if share == 0:
        return None
    return (
        f"for {share:.0%} of the test data k-hat is above {KHAT_LIMIT}; their log-likelihood "
        "and KL to the posterior are lower estimates that more particles would still raise, "
        "and the stated Monte Carlo error is too small. Longer training, another guide or fewer "
        "units help; bracket (evaluation.bidirectional) says how far off the estimates are"
    )


def zero_weights_warning(rows: Sequence[int]) -> str | None:
    """Names the data all of whose particles have weight zero, by row; None where there are none."""
    if not rows:
        return None
    return (
        f"all particles of {rows_named(rows)} have weight zero: the model gives what the guide "
        "draws there a probability of 0, and the log-likelihood is -inf. A guide that reaches the "
        "model's support helps, or more particles"
    )


def rows_named(rows: Sequence[int], most: int = 10) -> str:
    """ "row 3", "rows 3, 7 and 9", or the first few of many."""
    names = [str(row) for row in rows[:most]]
    if len(rows) > most:
        return f"{len(rows)} rows (the first: {', '.join(names)})"
    if len(names) == 1:
        return f"row {names[0]}"
    return f"rows {', '.join(names[:-1])} and {names[-1]}"


def pareto_khat(log_w: Tensor) -> np.ndarray:
    """Shape of the upper tail of each datum's weights, (K, B) -> (B,), as ArviZ 0.23 has it.

    The tail are the min(K / 5, 3 sqrt(K)) largest weights. Above 0.7 the log-likelihood estimate
    and resampled draws are unreliable. NaN for fewer than 25 particles or weights that are NaN;
    infinite where all weights are zero, or all but a few underflow.

    Tied weights, as a discrete latent has, are no tail, however many of them there are. Where the
    tail begins at tied weights and fewer than five exceed these, no Pareto distribution can be
    fitted, and ArviZ says infinite (0.23) or NaN (1.x). Here k-hat is then the k of the Pareto
    weights that have the effective sample size of these; 0 where none exceeds the tied ones (and
    where all weights are equal).
    """
    table = log_w.detach().double().cpu().numpy()
    num_particles, num_data = table.shape
    if num_particles < MIN_PARTICLES_FOR_KHAT:
        return np.full(num_data, np.nan)
    tail = math.ceil(min(num_particles / 5, 3 * math.sqrt(num_particles)))
    top = np.sort(np.partition(table, -tail - 1, 0)[-tail - 1 :], 0)  # NaN goes to the end
    largest = top[-1]
    khat = np.full(num_data, np.inf)  # of those whose weights are all zero
    khat[np.isnan(largest)] = np.nan
    known = np.isfinite(largest)
    cutoff = np.maximum(top[0], largest + _UNDERFLOW_NATS)
    exceed = top > cutoff + _SAME_WEIGHT_NATS
    number = exceed.sum(0)
    khat[known & (number == 0)] = 0.0
    few = known & (number > 0) & (number < _LEAST_TAIL) & (top[0] == cutoff)
    if few.any():
        share = effective_sample_size(torch.from_numpy(table[:, few])).numpy() / num_particles
        khat[few] = _khat_of_ess(share, num_particles)
    in_tail = (top > cutoff) & ~_near_ties(top, cutoff)
    for datum in np.flatnonzero(known & (number >= _LEAST_TAIL)):
        weights = np.exp(top[in_tail[:, datum], datum] - largest[datum])
        khat[datum] = pareto_shape(weights - np.exp(cutoff[datum] - largest[datum]))
    return khat


def _near_ties(top: np.ndarray, cutoff: np.ndarray) -> np.ndarray:
    """Where log-weights are tied with the first of the tail but for rounding."""
    near = (top > cutoff) & (top <= cutoff + _SAME_WEIGHT_NATS)
    return near & (near.sum(0) > 1)  # a single neighbour is none


def _khat_of_ess(share: np.ndarray, num_particles: int) -> np.ndarray:
    """k of K Pareto weights whose effective sample size is this share of K.

    The i-th largest of K weights with tail index k is about (K / i)^k.
    """
    grid = np.linspace(0, 3, 121)
    log_rank = np.log(np.arange(1, num_particles + 1))
    shares = [
        np.exp(-k * log_rank).sum() ** 2 / np.exp(-2 * k * log_rank).sum() / num_particles
        for k in grid
    ]
    return np.interp(-share, -np.array(shares), grid)
