"""Held-out estimates from many particles: bounds, log-likelihood, KL terms, weight diagnostics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation.bits import bits_per_dim, levelled_pixels, no_bits
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
        elbo: mean of log w.
        bound: L_k, from K / k disjoint groups.
        log_likelihood: L_K, a lower estimate of log p(x).
        log_likelihood_jackknife: L_K with its first-order bias removed (``bounds.jackknife``); not
            a lower bound. NaN for K = 1.
        monte_carlo_error: standard error of ``log_likelihood`` (delta method).
        reconstruction: E_q log p(x | z).
        kl: level -> E_q[log q(z_l | ..) - log p(z_l | ..)], the expected KL of that level in a
            top-down or mean-field guide; in a bottom-up chain only their sum is a KL, and one of
            them can be negative.
        reconstructions: observed site -> E_q log p(site | ..), which add up to ``reconstruction``;
            of a self-supervised VAE the image and its representations (RE_x, RE_y of Gatopoulos
            2020). Empty where x is the only one.
        ess: effective sample size out of k, particles.
        khat: Pareto k-hat of the K weights.
        num_pixels: D of pixels that take whole levels; None of pixels that are real numbers, whose
            densities have no bits per dimension.
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
    num_pixels: int | None = None
    reconstructions: dict[str, np.ndarray] = field(default_factory=dict)

    def first(self, count: int) -> Evaluation:
        """The estimates of the first ``count`` data."""
        per_datum: dict[str, Any] = {
            name: value[:count] for name, value in vars(self).items() if np.ndim(value) == 1
        }
        by_site: dict[str, Any] = {
            name: {site: values[:count] for site, values in getattr(self, name).items()}
            for name in ("kl", "reconstructions")
        }
        return replace(self, **per_datum, **by_site)

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
    def bits_per_dim(self) -> np.ndarray:
        """-ELBO / (D ln 2): an upper bound on the bits per dimension of every datum, as most papers
        print it. InputError where pixels are real numbers."""
        return self._in_bits(self.elbo)

    @property
    def iw_bits_per_dim(self) -> np.ndarray:
        """-L_K / (D ln 2) of the datum's own K importance weights: an upper bound on average, never
        above :attr:`bits_per_dim`; ``khat`` says how far it can be trusted. InputError where pixels
        are real numbers."""
        return self._in_bits(self.log_likelihood)

    def _in_bits(self, nats: np.ndarray) -> np.ndarray:
        if self.num_pixels is None:
            raise no_bits()
        return bits_per_dim(nats, self.num_pixels)

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
        """Every estimate by name, (B,) each; all in nats, but for particles and k-hat."""
        return {
            "elbo": self.elbo,
            "bound": self.bound,
            "log_likelihood": self.log_likelihood,
            "log_likelihood_jackknife": self.log_likelihood_jackknife,
            "monte_carlo_error": self.monte_carlo_error,
            "kl_to_posterior": self.kl_to_posterior,
            "reconstruction": self.reconstruction,
            **{f"reconstruction_{name}": values for name, values in self.reconstructions.items()},
            **{f"kl_{name}": values for name, values in self.kl.items()},
            "ess": self.ess,
            "khat": self.khat,
        }

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over the data and its standard error per estimate, as ``summary.json`` holds them.

        Where pixels take whole levels, ``bits_per_dim`` and ``iw_bits_per_dim`` stand with them.
        The standard error is of data and Monte Carlo together; ``monte_carlo_error`` of the
        log-likelihood is the part that more particles would take away.
        """
        columns = self.columns()
        errors, khat = columns.pop("monte_carlo_error"), columns.pop("khat")
        if self.num_pixels is not None:
            ess = columns.pop("ess")  # what tells how far they can be trusted stays beside them
            columns["bits_per_dim"] = self.bits_per_dim
            columns["iw_bits_per_dim"] = self.iw_bits_per_dim
            columns["ess"] = ess
        if not np.isnan(khat).all():
            columns["khat_above_0.7"] = np.asarray(khat > KHAT_LIMIT, float)
            columns["khat"] = khat
        errors_of = {"log_likelihood": errors}
        if self.num_pixels is not None:
            errors_of["iw_bits_per_dim"] = np.abs(self._in_bits(errors))
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
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: K.
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
            f"num_particles = {num_particles} is fewer than the bound's {bound_particles} "
            "particles: give more, or fewer bound_particles"
        )
    columns: dict[str, list] = {}
    kl: dict[str, list] = {}
    sites: dict[str, list] = {}
    grouped = num_particles - num_particles % bound_particles
    with flushed_denormals():
        for table in weight_tables(model, guide, x, num_particles, chunk_size):
            log_w = table.log_w
            # (k, groups, B): each group of k particles gives one L_k and one effective sample size.
            groups = log_w[:grouped].unflatten(0, (-1, bound_particles)).transpose(0, 1)
            row = {
                "elbo": bounds.elbo(log_w),
                "bound": grouped_bound(log_w, bound_particles),
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
            if len(table.log_likelihoods) > 1:
                for name, values in table.log_likelihoods.items():
                    sites.setdefault(name, []).append(values.mean(0).numpy())
            on_progress(log_w.shape[1])
    return Evaluation(
        num_particles=num_particles,
        bound_particles=bound_particles,
        num_pixels=levelled_pixels(model),
        kl={name: np.concatenate(parts) for name, parts in kl.items()},
        reconstructions={name: np.concatenate(parts) for name, parts in sites.items()},
        **{name: np.concatenate(parts) for name, parts in columns.items()},
    )


def grouped_bound(log_w: Tensor, k: int) -> Tensor:
    """Mean over the K // k disjoint groups of L_k; the K mod k particles left over are unused."""
    return bounds.miwae(log_w[: len(log_w) - len(log_w) % k], k)
