"""How far importance weights can be trusted, per datum: effective sample size and Pareto k-hat."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyro_vae.weights.bounds import normalised_weights

KHAT_LIMIT = 0.7  # above it, estimates from these weights are unreliable (Vehtari et al. 2024)
MIN_PARTICLES_FOR_KHAT = 25  # the tail, min(K / 5, 3 sqrt(K)), must hold at least five weights

# Weights that differ by less have no tail to fit, only rounding errors.
_SAME_WEIGHT_NATS = 1e-6


def effective_sample_size(log_w: Tensor) -> Tensor:
    """1 / sum_k w~_k^2 along the first axis: between 1 and K."""
    return 1.0 / normalised_weights(log_w).square().sum(0)


def log_mean_standard_error(log_w: Tensor) -> Tensor:
    """Standard error of log mean_k w_k per datum by the delta method, nats; NaN for K = 1.

    ``sd(w) / (mean(w) sqrt(K))``, written through the effective sample size so that nothing
    overflows: sqrt((K / ESS - 1) / (K - 1)).
    """
    num_particles = len(log_w)
    if num_particles == 1:
        return torch.full_like(log_w[0], float("nan"))
    excess = num_particles / effective_sample_size(log_w) - 1.0
    return (excess.clamp(min=0) / (num_particles - 1)).sqrt()


def khat_warning(khat: np.ndarray) -> str | None:
    """What k-hat above 0.7 means for the figures of these data, (B,); None where none is above."""
    share = np.mean(khat > KHAT_LIMIT)
    if share == 0:
        return None
    return (
        f"for {share:.0%} of the test data k-hat is above {KHAT_LIMIT}; their log-likelihood "
        "and KL to the posterior are lower estimates that more particles would still raise, "
        "and their Monte Carlo error is larger than it says"
    )


def pareto_khat(log_w: Tensor) -> np.ndarray:
    """Shape of the upper tail of each datum's weights, (K, B) -> (B,), by ``arviz.psislw``.

    Above 0.7 the log-likelihood estimate and resampled draws are unreliable. NaN for fewer than
    25 particles or weights that are NaN. Weights that are all equal have no tail: 0.
    """
    import arviz

    table = log_w.detach().double().cpu().numpy()
    if len(table) < MIN_PARTICLES_FOR_KHAT:
        return np.full(table.shape[1], np.nan)
    khat = np.zeros(table.shape[1])
    spread = np.ptp(table, axis=0)
    khat[np.isnan(spread)] = np.nan  # NaN among the weights, or none above zero
    varied = spread > _SAME_WEIGHT_NATS
    if varied.any():
        with np.errstate(over="ignore", invalid="ignore"):  # very heavy tails overflow on the way
            _, shapes = arviz.psislw(np.ascontiguousarray(table[:, varied].T))
        khat[varied] = np.atleast_1d(shapes)
    return khat
