"""ELBOs whose KL term is weighted, held at a capacity, or left free up to some nats.

What they maximise is in general no bound on log p(x): each says where it is one. The bounds that
training reports are computed apart from them, without any of this.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_positive
from pyro_vae.objectives.base import ImportanceWeightedELBO
from pyro_vae.objectives.estimators import Live
from pyro_vae.objectives.weighted import ELBO
from pyro_vae.weights.log_weights import LogWeights


class BetaELBO(ELBO):
    """Minus E log p(x | z) - sum_l beta_l KL_l per datum: the beta-VAE.

    The ``L_alpha = (1 - alpha) E log p(x | z) + alpha ELBO`` of Arnal et al. 2021, section 2.3, is
    beta = alpha. A lower bound on log p(x) for one common beta >= 1; below 1 it is none, and beta =
    0 is a plain autoencoder. With betas per level it is one where all are >= 1 and every level's
    term is a KL, which in a bottom-up chain it is not.

    Args:
        beta: one factor for all levels, or level -> factor (1 for levels that are not named). The
            betas of ``annealing.anneal`` multiply it: a warm-up.
    """

    estimators = ("pathwise", "analytic", "stl")

    def __init__(
        self,
        beta: float | Mapping[str, float] = 1.0,
        num_particles: int = 1,
        *,
        estimator: str = "pathwise",
    ) -> None:
        super().__init__(num_particles, estimator=estimator)
        values = beta.values() if isinstance(beta, Mapping) else [beta]
        if not all(math.isfinite(value) and value >= 0 for value in values):
            raise InputError(f"beta must be finite and >= 0, got {beta}")
        self.beta = beta

    def prepare(self, terms: LogWeights) -> LogWeights:
        if isinstance(self.beta, Mapping) and (unknown := set(self.beta) - set(terms.levels)):
            raise InputError(
                f"beta is given for {', '.join(sorted(unknown))}; the model's levels: "
                f"{', '.join(terms.levels)}"
            )
        betas = {
            name: (self.beta.get(name, 1.0) if isinstance(self.beta, Mapping) else self.beta)
            * terms.betas.get(name, 1.0)
            for name in terms.levels
        }
        return replace(terms, betas=betas)


class _BatchKL(ImportanceWeightedELBO):
    """Objectives of the batch's mean KL: the value of a datum depends on the others."""

    estimators = ("pathwise", "analytic")
    can_thin = False
    per_datum = False
    in_particle_chunks = False

    def bound(self, log_w: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} is no function of the log-weights alone")

    def value(self, live: Live) -> Tensor:
        terms = live.terms
        value = terms.log_likelihood.mean(0) - self.penalty(terms)
        infinite = [ratio.detach().isinf().any(0) for ratio in terms.log_ratios.values()]
        return value.masked_fill(torch.stack(infinite).any(0), -torch.inf) if infinite else value

    def penalty(self, terms: LogWeights) -> Tensor:
        """What is taken from each datum's E log p(x | z), nats, a scalar."""
        raise NotImplementedError


class CapacityELBO(_BatchKL):
    """Minus E log p(x | z) - gamma |KL - C| per datum, with KL the mean over the batch.

    Capacity-controlled beta-VAE (Burgess et al. 2018, https://arxiv.org/abs/1804.03599): KL is held
    at C nats, which grows in the course of training. KL is the sum over levels, each times its
    annealing beta. Not a bound.

    Args:
        capacity: C in nats, a number or a schedule over the share of training done, such as
            ``LinearWarmUp(0, 25, 0.5)``. Whoever trains without ``pyro_vae.fit`` calls
            :meth:`at` with that share.
        gamma: weight of the deviation.
    """

    def __init__(
        self,
        capacity: float | Callable[[float], float],
        gamma: float = 1.0,
        num_particles: int = 1,
        *,
        estimator: str = "pathwise",
    ) -> None:
        super().__init__(num_particles, estimator=estimator)
        self.gamma = check_positive("gamma", gamma)
        self._schedule = capacity if callable(capacity) else None
        self.capacity = capacity(0.0) if callable(capacity) else capacity
        if not 0 <= self.capacity < math.inf:
            raise InputError(f"capacity must be finite and >= 0 nats, got {self.capacity}")

    @property
    def scheduled(self) -> bool:
        return self._schedule is not None

    def at(self, progress: float) -> None:
        if self._schedule is not None:
            self.capacity = self._schedule(progress)

    def penalty(self, terms: LogWeights) -> Tensor:
        kl = sum(
            terms.betas.get(name, 1.0) * _mean(ratio) for name, ratio in terms.log_ratios.items()
        )
        return self.gamma * torch.as_tensor(kl - self.capacity).abs()


class FreeBitsELBO(_BatchKL):
    """Minus E log p(x | z) - sum_g max(lambda, KL_g) per datum, KL_g the mean over the batch.

    Free bits (Kingma et al. 2016, appendix C.8, https://arxiv.org/abs/1606.04934): a group whose KL
    is below lambda has no KL gradient, so nothing pushes it to collapse. Each group is multiplied
    by its level's annealing beta. At most the ELBO, so a lower bound on log p(x) on average over
    the batch, where nothing is annealed.

    Args:
        free_bits: lambda, nats per group.
        groups: "level", "unit" (of every level, which must factorise over units), or a number:
            every level's units in that many groups of neighbours, whose sizes differ by at most 1.
    """

    def __init__(
        self,
        free_bits: float,
        groups: str | int = "level",
        num_particles: int = 1,
        *,
        estimator: str = "pathwise",
    ) -> None:
        super().__init__(num_particles, estimator=estimator)
        if not 0 <= free_bits < math.inf:
            raise InputError(f"free_bits must be finite and >= 0 nats, got {free_bits}")
        if groups not in ("level", "unit") and not (isinstance(groups, int) and groups >= 1):
            raise InputError(f"groups must be level, unit or a number >= 1, got {groups!r}")
        self.free_bits, self.groups = free_bits, groups
        self.per_unit = groups != "level"

    def penalty(self, terms: LogWeights) -> Tensor:
        total: float | Tensor = 0.0
        for name, kl in self._kl(terms).items():
            total = total + terms.betas.get(name, 1.0) * kl.clamp(min=self.free_bits).sum()
        return torch.as_tensor(total)

    def _kl(self, terms: LogWeights) -> dict[str, Tensor]:
        """Level -> mean KL of each group, nats."""
        if self.groups == "level":
            return {name: _mean(ratio).reshape(1) for name, ratio in terms.log_ratios.items()}
        units = {name: _mean(ratio) for name, ratio in terms.unit_log_ratios.items()}
        if not isinstance(self.groups, int):
            return units
        for name, kl in units.items():
            if len(kl) < self.groups:
                raise InputError(f"level {name!r} has {len(kl)} units, fewer than {self.groups}")
        return {
            name: torch.stack([group.sum() for group in kl.tensor_split(self.groups)])
            for name, kl in units.items()
        }


def _mean(ratio: Tensor) -> Tensor:
    """Mean over particles and data, of each unit if there are units: (K, B, ...) -> (...).

    Data that a particle outside of the prior's support leaves infinite are left out.
    """
    lost = ratio.detach().isinf().any(0)
    lost = lost.reshape(len(lost), -1).any(1)
    shape = (-1,) + (1,) * (ratio.ndim - 2)
    known = (~lost).sum().clamp(min=1)
    return ratio.masked_fill(lost.reshape(shape), 0.0).mean((0, 1)) * (len(lost) / known)
