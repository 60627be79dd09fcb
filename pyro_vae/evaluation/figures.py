"""Held-out figures from many particles: bounds, log-likelihood, KL terms and weight diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vae import bounds
from pyro_vae.denormals import flushed_denormals
from pyro_vae.diagnostics import (
    KHAT_LIMIT,
    effective_sample_size,
    log_mean_standard_error,
    pareto_khat,
)
from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation.weight_tables import CHUNK_SIZE, weight_tables
from pyro_vae.rows import Data


@dataclass(frozen=True)
class Evaluation:
    """Figures per datum, float64 arrays of shape (B,), nats unless said otherwise.

    Attributes:
        num_particles: K, particles behind ``log_likelihood``, ``elbo`` and the terms.
        bound_particles: k of ``bound`` and ``ess``.
        elbo: mean of log w. bound: L_k, from K / k disjoint groups. log_likelihood: L_K, a lower
            estimate of log p(x).
        monte_carlo_error: standard error of ``log_likelihood`` (delta method).
        reconstruction: E_q log p(x | z). kl: level -> E_q[log q(z_l | ..) - log p(z_l | ..)], the
            expected KL of that level.
        ess: effective sample size out of k, particles. khat: Pareto k-hat of the K weights.
    """

    num_particles: int
    bound_particles: int
    elbo: np.ndarray
    bound: np.ndarray
    log_likelihood: np.ndarray
    monte_carlo_error: np.ndarray
    reconstruction: np.ndarray
    kl: dict[str, np.ndarray]
    ess: np.ndarray
    khat: np.ndarray

    def first(self, count: int) -> Evaluation:
        """The figures of the first ``count`` data."""
        per_datum = {
            name: value[:count] for name, value in vars(self).items() if np.ndim(value) == 1
        }
        return replace(
            self, **per_datum, kl={name: values[:count] for name, values in self.kl.items()}
        )

    @property
    def kl_to_posterior(self) -> np.ndarray:
        """log p^(x) - ELBO: estimate of KL(q || p(z | x)), low by what L_K misses."""
        return self.log_likelihood - self.elbo

    def columns(self) -> dict[str, np.ndarray]:
        """Every figure by name, (B,) each."""
        return {
            "elbo": self.elbo,
            "bound": self.bound,
            "log_likelihood": self.log_likelihood,
            "monte_carlo_error": self.monte_carlo_error,
            "kl_to_posterior": self.kl_to_posterior,
            "reconstruction": self.reconstruction,
            **{f"kl_{name}": values for name, values in self.kl.items()},
            "ess": self.ess,
            "khat": self.khat,
        }

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over the data and its standard error (data and Monte Carlo together) per figure."""
        columns = self.columns()
        errors, khat = columns.pop("monte_carlo_error"), columns.pop("khat")
        table = {name: _mean_and_error(values) for name, values in columns.items()}
        total = np.sqrt(np.square(errors).sum()) / len(errors)
        table["log_likelihood"]["monte_carlo_error"] = float(total)
        if not np.isnan(khat).all():
            table["khat_above_0.7"] = _mean_and_error(np.asarray(khat > KHAT_LIMIT, float))
            table["khat"] = _mean_and_error(khat)
        return table


def _mean_and_error(values: np.ndarray) -> dict[str, float]:
    known = len(values) > 1 and np.isfinite(values).all()  # an infinite k-hat has no spread
    error = values.std(ddof=1) / np.sqrt(len(values)) if known else np.nan
    return {"mean": float(values.mean()), "standard_error": float(error)}


def log_likelihood(
    model: Callable,
    guide: Callable,
    x: Data,
    num_particles: int = 5_000,
    chunk_size: int = CHUNK_SIZE,
) -> Tensor:
    """L_K(x) = log mean_k w_k from K particles per datum: (B,) nats, a lower estimate of log p(x).

    Args:
        x: (B, D), or the tuple of the programs' arguments. num_particles: K.
        chunk_size: particles times data run at once; memory does not grow with K or B beyond the
            (K, 1) column of weights. The estimate is exact for chunks of any size.
    """
    with flushed_denormals():
        tables = weight_tables(model, guide, x, num_particles, chunk_size)
        return torch.cat([bounds.iwae(table.log_w) for table in tables])


def evaluate(
    model: Callable,
    guide: Callable,
    x: Data,
    *,
    num_particles: int = 5_000,
    bound_particles: int = 50,
    chunk_size: int = CHUNK_SIZE,
    khat: bool = True,
    on_progress: Callable[[int], None] = lambda num_data: None,
) -> Evaluation:
    """All figures of :class:`Evaluation` for data x (B, D), in memory that B does not change.

    Reported bounds are never annealed. Raises InputError where K < k.
    """
    check_positive("bound_particles", bound_particles)
    if num_particles < bound_particles:
        raise InputError(
            f"num_particles = {num_particles} is fewer than the bound's {bound_particles} particles"
        )
    columns: dict[str, list] = {}
    kl: dict[str, list] = {}
    grouped = num_particles - num_particles % bound_particles
    with flushed_denormals():
        for table in weight_tables(model, guide, x, num_particles, chunk_size):
            log_w = table.log_w
            # (k, groups, B): each group of k particles gives one L_k and one effective sample size.
            groups = log_w[:grouped].unflatten(0, (-1, bound_particles)).transpose(0, 1)
            row = {
                "elbo": bounds.elbo(log_w),
                "bound": bounds.miwae(log_w[:grouped], bound_particles),
                "log_likelihood": bounds.iwae(log_w),
                "monte_carlo_error": log_mean_standard_error(log_w),
                "reconstruction": table.log_likelihood.mean(0),
                "ess": effective_sample_size(groups).mean(0),
                "khat": pareto_khat(log_w) if khat else torch.full_like(log_w[0], torch.nan),
            }
            for name, values in row.items():
                columns.setdefault(name, []).append(np.asarray(values))
            for name, ratio in table.log_ratios.items():
                kl.setdefault(name, []).append(ratio.mean(0).numpy())
            on_progress(log_w.shape[1])
    return Evaluation(
        num_particles=num_particles,
        bound_particles=bound_particles,
        kl={name: np.concatenate(parts) for name, parts in kl.items()},
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )
