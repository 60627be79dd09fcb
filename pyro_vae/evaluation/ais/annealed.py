"""Annealed importance sampling and its reverse: the log-likelihood of every datum, bracketed.

Chains go from a start f_0 that can be sampled to the posterior, through T small steps in t of the
path of :mod:`pyro_vae.evaluation.ais.path`, with one Hamiltonian transition after each. With

    log w = sum_i (t_i - t_{i-1}) slope(z_{i-1})

forward chains have E[w] = p(x), so log mean_k w_k is below log p(x) on average (Neal 2001,
https://arxiv.org/abs/physics/9803008). Chains that go backwards from an exact draw of the posterior
have E[1 / w] = 1 / p(x), so -log mean_k 1 / w_k is above it (bidirectional Monte Carlo: Grosse et
al. 2015, https://arxiv.org/abs/1511.02543; for decoders Wu et al. 2017,
https://arxiv.org/abs/1611.04273). Exact draws exist for data that the model itself made: the
latents they were made from.

Step sizes are learnt in a pilot run and then frozen, so both expectations hold exactly.

The defaults bracket a trained decoder of 784 Bernoulli pixels and 50 units within 0.1 nats, 20
images in half a minute of one core. Strongly correlated posteriors (td, a linear decoder of 450
units) leave 15 nats, or 1.5 with 1000 temperatures and 10 leapfrog steps: read the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError
from pyro_vae.evaluation.ais.chains import Chains, Plan, pilot, weigh
from pyro_vae.evaluation.ais.path import AnnealingPath
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.rows import Data, as_arguments, as_data, count_rows, split_rows
from pyro_vae.torch_state import evaluating, flushed_denormals
from pyro_vae.weights import bounds
from pyro_vae.weights.diagnostics import effective_sample_size, log_mean_standard_error
from pyro_vae.weights.passes import CHUNK_SIZE
from pyro_vae.weights.simulation import simulate


@dataclass(frozen=True)
class AnnealedEstimate:
    """Annealed estimates of log p(x), float64 arrays of shape (B,), nats unless said otherwise.

    Attributes:
        num_particles: K, chains per datum.
        num_temperatures: T.
        lower: log mean_k w_k, below log p(x) on average.
        lower_error: its standard error by the delta method, NaN for K = 1; not to be trusted where
            ``ess`` is near 1.
        ess: effective sample size of the K weights, chains.
        acceptance: share of proposals accepted; 0.65 is aimed at.
        acceptance_by_temperature: (T - 1,), the same per temperature, averaged over the data.
    """

    num_particles: int
    num_temperatures: int
    lower: np.ndarray
    lower_error: np.ndarray
    ess: np.ndarray
    acceptance: np.ndarray
    acceptance_by_temperature: np.ndarray

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over the data and its standard error, data and Monte Carlo together, by name."""
        errors = {"lower": self.lower_error}
        return _summary(self, ("lower", "ess", "acceptance"), errors)


@dataclass(frozen=True)
class Bracket:
    """log p(x) of simulated data from below and above; float64 arrays of shape (B,), nats.

    Attributes:
        x, latents: the data and the exact posterior draws that the backward chains began at.
        num_particles: K, chains per datum and direction.
        num_temperatures: T.
        lower: below log p(x) on average.
        upper: above it on average.
        lower_error, upper_error: their standard errors by the delta method. All backward chains of
            a datum begin at one draw, so ``upper_error`` misses what another draw would change;
            the standard error over data in :meth:`summary` has it.
        acceptance: share of proposals accepted in both directions; 0.65 is aimed at.
        acceptance_by_temperature: (T - 1,), the same per temperature, averaged over the data.
    """

    x: Data
    latents: Mapping[str, Tensor]
    num_particles: int
    num_temperatures: int
    lower: np.ndarray
    upper: np.ndarray
    lower_error: np.ndarray
    upper_error: np.ndarray
    acceptance: np.ndarray
    acceptance_by_temperature: np.ndarray

    @property
    def gap(self) -> np.ndarray:
        """upper - lower, (B,) nats: on average at least what either of them is off by."""
        return self.upper - self.lower

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over the data and its standard error, data and Monte Carlo together, by name."""
        errors = {"lower": self.lower_error, "upper": self.upper_error}
        return _summary(self, ("lower", "upper", "gap", "acceptance"), errors)


def _summary(
    estimate: AnnealedEstimate | Bracket, names: Sequence[str], errors: Mapping[str, np.ndarray]
) -> dict[str, dict[str, float]]:
    return {
        name: mean_and_error(getattr(estimate, name), errors.get(name)).as_dict() for name in names
    }


def ais(
    model: Callable,
    guide: Callable,
    x: Data,
    *,
    num_particles: int = 16,
    num_temperatures: int = 500,
    num_leapfrog: int = 3,
    start: str = "guide",
    schedule: str | None = None,
    chunk_size: int = CHUNK_SIZE,
    on_progress: Callable[[float], None] = lambda num_data: None,
) -> AnnealedEstimate:
    """A lower estimate of log p(x) per datum by annealed importance sampling (Neal 2001).

    Args:
        model, guide: Pyro programs with one data plate; every latent a real number with a density.
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: chains K per datum.
        num_temperatures: steps T of the path; one step is plain importance sampling.
        num_leapfrog: leapfrog steps per transition.
        start: "guide": from q(z | x). "prior": from p(z); the guide then only tells how large the
            steps of each latent should be, and a bad one biases nothing.
        schedule: "linear" or "sigmoid" (``ais.chains.temperatures``); by default the first
            from the guide and the second from the prior.
        chunk_size: chains times data run at once (memory; the law does not depend on it).
        on_progress: called after each temperature with the number of data that its work amounts
            to, a fraction; they add up to B.

    Raises:
        InputError: a latent that is not a real number (the message names it), a bad argument.
        ValueError: programs that ``log_weights`` refuses, or that subsample their data.
    """
    x = as_data(x, model, guide)
    plan = Plan(num_particles, num_temperatures, num_leapfrog, start, schedule, chunk_size)
    parts = []
    with flushed_denormals(), evaluating(model, guide):
        for rows in split_rows(x, plan.rows):
            path = AnnealingPath(model, guide, rows, start)
            progress = _progress(on_progress, path.num_data)
            parts.append(weigh(path, plan, pilot(path, plan), on_step=progress))
    chains = _join(parts)
    return AnnealedEstimate(
        num_particles=num_particles,
        num_temperatures=num_temperatures,
        lower=bounds.iwae(chains.log_w).numpy(),
        lower_error=log_mean_standard_error(chains.log_w).numpy(),
        ess=effective_sample_size(chains.log_w).numpy(),
        acceptance=chains.acceptance.mean(0).numpy(),
        acceptance_by_temperature=chains.acceptance.mean(1).numpy(),
    )


def bidirectional(
    model: Callable,
    guide: Callable,
    x: Data | None = None,
    latents: Mapping[str, Tensor] | None = None,
    *,
    num_data: int = 20,
    num_particles: int = 16,
    num_temperatures: int = 500,
    num_leapfrog: int = 3,
    start: str = "guide",
    schedule: str | None = None,
    chunk_size: int = CHUNK_SIZE,
    on_progress: Callable[[float], None] = lambda num_data: None,
) -> Bracket:
    """log p(x) from below and above, for data that the model made (bidirectional Monte Carlo).

    The gap tells how good annealing is on such data, and so how far :func:`ais` can be trusted on
    others (Wu et al. 2017).

    Args:
        x, latents: data that the model made, and for every latent the very values (B, ...) they
            were made from; by default ``evaluation.simulate`` makes ``num_data`` of them. Where the
            latents are no exact draws from the posterior, the upper estimate means nothing.
        the others: see :func:`ais`; both directions share one pilot run.

    Raises:
        InputError: as :func:`ais`; x without latents or latents without x; latents of other names
            or shapes than the guide's; a model that cannot simulate.
    """
    plan = Plan(num_particles, num_temperatures, num_leapfrog, start, schedule, chunk_size)
    if (x is None) != (latents is None):
        raise InputError("give x together with the latents it was made from, or neither")
    if x is None or latents is None:
        x, latents = simulate(model, num_data)
        # What the model makes need not agree with its own representations, so both are the data.
        seen = [latents.pop(name) for name in getattr(model, "representation_names", ())]
        x = (x, *seen) if seen else x
    else:
        x = as_data(x, model, guide)
        latents = {name: _exact(name, value, model, guide) for name, value in latents.items()}
    forward, backward = [], []
    with flushed_denormals(), evaluating(model, guide):
        for rows, exact in _split(x, latents, plan.rows):
            path = AnnealingPath(model, guide, rows, start)
            path.check_latents(exact)
            progress = _progress(on_progress, path.num_data / 2)
            steps = pilot(path, plan)
            forward.append(weigh(path, plan, steps, on_step=progress))
            backward.append(weigh(path, plan, steps, exact, progress))
    below, above = _join(forward), _join(backward)
    acceptance = (below.acceptance + above.acceptance) / 2
    return Bracket(
        x=x,
        latents=latents,
        num_particles=num_particles,
        num_temperatures=num_temperatures,
        lower=bounds.iwae(below.log_w).numpy(),
        upper=-bounds.iwae(-above.log_w).numpy(),
        lower_error=log_mean_standard_error(below.log_w).numpy(),
        upper_error=log_mean_standard_error(-above.log_w).numpy(),
        acceptance=acceptance.mean(0).numpy(),
        acceptance_by_temperature=acceptance.mean(1).numpy(),
    )


def _exact(name: str, value: Any, model: Callable, guide: Callable) -> Tensor:
    what = f"latents[{name!r}]"
    return as_arguments(as_data(value, model, guide, what=what))[0]


def _split(
    x: Data, latents: Mapping[str, Tensor], size: int
) -> Iterator[tuple[Data, dict[str, Tensor]]]:
    """Rows of the data, with the latents they were made from."""
    for name, value in latents.items():
        if value.ndim == 0 or len(value) != count_rows(x):
            raise InputError(
                f"latents[{name!r}] has shape {tuple(value.shape)}; its first axis must hold the "
                f"{count_rows(x)} data"
            )
    columns = [value.split(size) for value in latents.values()]
    for rows, *parts in zip(split_rows(x, size), *columns, strict=True):
        yield rows, dict(zip(latents, parts, strict=True))


def _progress(on_progress: Callable[[float], None], num_data: float) -> Callable[[float], None]:
    return lambda share: on_progress(num_data * share)


def _join(parts: list[Chains]) -> Chains:
    """The chains of all chunks of data."""
    return Chains(
        torch.cat([part.log_w for part in parts], 1),
        torch.cat([part.acceptance for part in parts], 1),
    )
