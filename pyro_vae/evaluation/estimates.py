"""Held-out estimates from many particles: bounds, log-likelihood, KL terms, weight diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count, check_positive
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.rows import Data, as_data
from pyro_vae.torch_state import flushed_denormals
from pyro_vae.weights import bounds
from pyro_vae.weights.diagnostics import (
    KHAT_LIMIT,
    MIN_PARTICLES_FOR_KHAT,
    effective_sample_size,
    khat_warning,
    log_mean_standard_error,
    pareto_khat,
    zero_weights_warning,
)
from pyro_vae.weights.passes import CHUNK_SIZE, weight_passes, weight_tables


@dataclass(frozen=True)
class Evaluation:
    """Estimates per datum, float64 arrays of shape (B,), nats unless said otherwise.

    Attributes:
        num_particles: K, particles behind ``log_likelihood``, ``elbo`` and the terms.
        bound_particles: k of ``bound`` and ``ess``.
        elbo: mean of log w. bound: L_k, from K / k disjoint groups. log_likelihood: L_K, a lower
            estimate of log p(x). log_likelihood_jackknife: L_K with its first-order bias removed
            (``bounds.jackknife``); not a lower bound. NaN for K = 1.
        monte_carlo_error: standard error of ``log_likelihood`` (delta method).
        reconstruction: E_q log p(x | z). kl: level -> E_q[log q(z_l | ..) - log p(z_l | ..)], the
            expected KL of that level in a top-down or mean-field guide; in a bottom-up chain only
            their sum is a KL, and one of them can be negative.
        ess: effective sample size out of k, particles. khat: Pareto k-hat of the K weights.
    """

    num_particles: int
    bound_particles: int
    elbo: np.ndarray
    bound: np.ndarray
    log_likelihood: np.ndarray
    log_likelihood_jackknife: np.ndarray
    monte_carlo_error: np.ndarray
    reconstruction: np.ndarray
    kl: dict[str, np.ndarray]
    ess: np.ndarray
    khat: np.ndarray

    def first(self, count: int) -> Evaluation:
        """The estimates of the first ``count`` data."""
        per_datum = {
            name: value[:count] for name, value in vars(self).items() if np.ndim(value) == 1
        }
        return replace(
            self, **per_datum, kl={name: values[:count] for name, values in self.kl.items()}
        )

    @property
    def kl_to_posterior(self) -> np.ndarray:
        """log p^(x) - ELBO: estimate of KL(q || p(z | x)), low by what L_K misses.

        Infinite where a particle has weight zero: the posterior is 0 where the guide is not.
        """
        lost = np.isneginf(self.elbo)
        return np.where(lost, np.inf, self.log_likelihood - np.where(lost, 0.0, self.elbo))

    @property
    def rate(self) -> np.ndarray:
        """E_q[log q(z | x) - log p(z)], all levels: nats that the code of a datum costs."""
        return sum(self.kl.values(), np.zeros_like(self.elbo))

    @property
    def distortion(self) -> np.ndarray:
        """-E_q log p(x | z): nats that the code leaves to tell; rate + distortion = -ELBO."""
        return -self.reconstruction

    @property
    def warning(self) -> str | None:
        """For what share of the data k-hat is above 0.7, and what that means; None if for none.

        Also that too few particles were drawn for any k-hat, and which data have no particle of a
        weight above zero, by number of their row.
        """
        lost = zero_weights_warning(np.flatnonzero(np.isneginf(self.log_likelihood)).tolist())
        trust = khat_warning(self.khat)
        if self.num_particles < MIN_PARTICLES_FOR_KHAT:
            trust = (
                f"{self.num_particles} particles are too few for k-hat, which wants "
                f"{MIN_PARTICLES_FOR_KHAT}: nothing tells how far the log-likelihood can be trusted"
            )
        return "; ".join(filter(None, (lost, trust))) or None

    def columns(self) -> dict[str, np.ndarray]:
        """Every estimate by name, (B,) each."""
        return {
            "elbo": self.elbo,
            "bound": self.bound,
            "log_likelihood": self.log_likelihood,
            "log_likelihood_jackknife": self.log_likelihood_jackknife,
            "monte_carlo_error": self.monte_carlo_error,
            "kl_to_posterior": self.kl_to_posterior,
            "reconstruction": self.reconstruction,
            **{f"kl_{name}": values for name, values in self.kl.items()},
            "ess": self.ess,
            "khat": self.khat,
        }

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over the data and its standard error per estimate, as ``summary.json`` holds them.

        The standard error is of data and Monte Carlo together; ``monte_carlo_error`` of the
        log-likelihood is the part that more particles would take away.
        """
        columns = self.columns()
        errors, khat = columns.pop("monte_carlo_error"), columns.pop("khat")
        if not np.isnan(khat).all():
            columns["khat_above_0.7"] = np.asarray(khat > KHAT_LIMIT, float)
            columns["khat"] = khat
        errors_of = {"log_likelihood": errors}
        return {
            name: mean_and_error(values, errors_of.get(name)).as_dict()
            for name, values in columns.items()
        }


def log_likelihood(
    model: Callable,
    guide: Callable,
    x: Data,
    num_particles: int = 5_000,
    chunk_size: int = CHUNK_SIZE,
    *,
    jackknife: bool = False,
) -> Tensor:
    """L_K(x) = log mean_k w_k from K particles per datum: (B,) nats, a lower estimate of log p(x).

    Args:
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes. num_particles: K.
        chunk_size: particles times data run at once. The estimate is exact for chunks of any size.
        jackknife: remove the first-order bias (``bounds.jackknife``); no longer a lower estimate.

    Memory grows with B by the result alone, and not with K beyond a million particles, whose
    weights are summed as they are drawn; the jackknife holds all of a datum's, 8 bytes each.
    """
    x = as_data(x, model, guide)
    found = []
    with flushed_denormals():
        for runs in weight_passes(model, guide, x, num_particles, chunk_size):
            log_w = (terms.log_w for terms in runs)
            if jackknife:
                found.append(bounds.jackknife(torch.cat([*log_w])))
            else:
                found.append(bounds.streamed_iwae(log_w))
    return torch.cat(found)


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
    """All estimates of :class:`Evaluation` for data x (B, D).

    Memory grows with B by the result alone. With K it does: k-hat, the jackknife and the groups
    want all weights of a datum at once, some hundred bytes a particle.

    Reported bounds are never annealed. Raises InputError where K < k, and for data that
    :func:`pyro_vae.rows.as_data` cannot read.
    """
    x = as_data(x, model, guide)
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
                "bound": _grouped_bound(log_w, bound_particles),
                "log_likelihood": bounds.iwae(log_w),
                "log_likelihood_jackknife": bounds.jackknife(log_w),
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


@dataclass(frozen=True)
class BoundCurve:
    """L_k against k, from one table of K weights per datum; nats.

    Attributes:
        particles: the numbers k, rising. values: (len(particles), B), L_k of each datum.
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
            :func:`pyro_vae.rows.as_data` takes. num_particles: K.
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
            torch.stack([_grouped_bound(table.log_w, k) for k in particles])
            for table in weight_tables(model, guide, x, num_particles, chunk_size)
        ]
    return BoundCurve(tuple(particles), torch.cat(columns, 1).numpy())


def _grouped_bound(log_w: Tensor, k: int) -> Tensor:
    """Mean over the K // k disjoint groups of L_k; the K mod k particles left over are unused."""
    return bounds.miwae(log_w[: len(log_w) - len(log_w) % k], k)
