"""Active units: latent units whose posterior mean moves with the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.log_weights import guide_sites

ACTIVITY_THRESHOLD = 0.01  # Burda et al. 2015


@dataclass(frozen=True)
class PosteriorMeans:
    """Monte Carlo means of one level over a data set.

    Attributes:
        mean: (N, D), E_q[z | x] estimated from S draws.
        variance_of_mean: (N, D), the estimated Monte Carlo variance of ``mean``.
    """

    mean: Tensor
    variance_of_mean: Tensor

    @property
    def activity(self) -> Tensor:
        """A_u = Var_x( E_q[z_u | x] ), (D,), with the Monte Carlo variance of the means removed.

        Without the correction the estimate is too large by E_x[Var_q(z_u)] / S, as large as the
        usual threshold itself for a unit-variance posterior and S = 100.
        """
        spread = self.mean.var(0, unbiased=True)
        return spread - self.variance_of_mean.mean(0)


@torch.no_grad()
def posterior_means(
    guide: Callable,
    x: Tensor,
    *,
    num_samples: int = 100,
    method: str = "conditional",
    chunk_size: int = 10_000,
) -> dict[str, PosteriorMeans]:
    """Posterior means of every level under the guide.

    Args:
        guide: Pyro program with one data plate at dim -1. x: (N, D_x).
        num_samples: draws S per datum.
        method: "conditional" averages each level's conditional mean over the draws of its parents
            (exact for a level without latent parents); "sample" averages the draws themselves.
        chunk_size: draws times data run at once.
    """
    if num_samples < 2:
        raise InputError(f"num_samples must be at least 2, got {num_samples}")
    if method not in ("conditional", "sample"):
        raise InputError(f"unknown method {method!r}; allowed: conditional, sample")
    parts: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for rows in x.split(max(1, chunk_size // num_samples)):
        for name, site in guide_sites(guide, rows, num_samples).items():
            values = site["fn"].mean if method == "conditional" else site["value"]
            values = values.double().expand(num_samples, len(rows), -1)
            parts.setdefault(name, []).append((values.mean(0), values.var(0) / num_samples))
    return {
        name: PosteriorMeans(*(torch.cat(column) for column in zip(*pieces, strict=True)))
        for name, pieces in parts.items()
    }


def active_units(means: PosteriorMeans, threshold: float = ACTIVITY_THRESHOLD) -> np.ndarray:
    """Which units have activity above the threshold, (D,) booleans."""
    return (means.activity > threshold).cpu().numpy()


def pca_active_units(means: PosteriorMeans, threshold: float = ACTIVITY_THRESHOLD) -> int:
    """Number of principal directions of the posterior means with variance above the threshold.

    Unlike the count of active units it does not change when the latent space is rotated (S4). The
    mean Monte Carlo variance is removed from the diagonal of the covariance.
    """
    covariance = torch.cov(means.mean.T).reshape(means.mean.shape[1], -1)
    covariance = covariance - torch.diag(means.variance_of_mean.mean(0))
    return int((torch.linalg.eigvalsh(covariance) > threshold).sum())
