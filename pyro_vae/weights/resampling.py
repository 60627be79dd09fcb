"""Draws from q_EW, the distribution that importance weighting trains: resampling per datum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.errors import check_positive
from pyro_vae.rows import Data, as_data, count_rows, split_rows
from pyro_vae.weights.diagnostics import zero_weights_warning
from pyro_vae.weights.log_weights import log_weights
from pyro_vae.weights.preconditions import check_all_rows


@dataclass(frozen=True)
class Draws:
    """Posterior draws of every level.

    Attributes:
        latents: site -> (num_draws, B, ...).
        log_weight: (num_draws, B), log w of each returned particle, nats.
    """

    latents: dict[str, Tensor]
    log_weight: Tensor


@torch.no_grad()
def sir(
    model: Callable,
    guide: Callable,
    x: Data,
    num_particles: int,
    num_draws: int = 1,
    *,
    chunk_size: int = 10_000,
) -> Draws:
    """Sampling-importance-resampling per datum: draws from q_EW(z1..zL | x) (S0, Algorithm 2).

    Each draw takes its own ``num_particles`` proposals from the guide and picks one with
    probability w~_k; sharing one set of proposals between draws would repeat atoms and fake
    correlations. One particle returns the guide itself; many, the posterior.

    A datum all of whose proposals have weight zero is warned of by its row: its draws are the
    guide's, with ``log_weight`` -inf.

    Args:
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: proposals k per draw. num_draws: draws per datum.
        chunk_size: proposals times data run at once (memory; the draws' law does not depend on it).

    Returns:
        :class:`Draws` with leading shape (num_draws, B).
    """
    x = as_data(x, model, guide)
    check_positive("num_particles", num_particles)
    check_positive("num_draws", num_draws)
    columns = []
    for rows in split_rows(x, max(1, chunk_size // num_particles)):
        per_pass = max(1, chunk_size // (num_particles * count_rows(rows)))
        passes = [
            _resample(model, guide, rows, num_particles, min(per_pass, num_draws - done))
            for done in range(0, num_draws, per_pass)
        ]
        columns.append(_concatenate(passes, dim=0))
    draws = _concatenate(columns, dim=1)
    lost = draws.log_weight.isneginf().any(0).nonzero().flatten().tolist()
    if warning := zero_weights_warning(lost):
        warnings.warn(warning, RuntimeWarning, stacklevel=2)
    return draws


def _resample(model: Callable, guide: Callable, x: Data, num_particles: int, draws: int) -> Draws:
    terms = log_weights(model, guide, x, num_particles * draws)
    check_all_rows(terms.log_w.shape[1], count_rows(x))
    groups = terms.log_w.unflatten(0, (draws, num_particles))  # (draws, k, B)
    logits = groups.masked_fill(groups.amax(1, keepdim=True).isneginf(), 0.0).transpose(1, 2)
    chosen = torch.distributions.Categorical(logits=logits).sample()  # (draws, B)
    index = chosen + num_particles * torch.arange(draws, device=chosen.device)[:, None]
    data = torch.arange(chosen.shape[1], device=chosen.device)
    return Draws(
        {name: value[index, data] for name, value in terms.latents.items()},
        terms.log_w[index, data],
    )


def _concatenate(parts: list[Draws], dim: int) -> Draws:
    return Draws(
        {name: torch.cat([part.latents[name] for part in parts], dim) for name in parts[0].latents},
        torch.cat([part.log_weight for part in parts], dim),
    )
