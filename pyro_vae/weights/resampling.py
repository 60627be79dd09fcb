"""Draws from q_EW, the distribution that importance weighting trains: resampling per datum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyro_vae.errors import check_positive
from pyro_vae.rows import Data, as_data, count_rows, pieces
from pyro_vae.torch_state import evaluating
from pyro_vae.weights.diagnostics import rows_named
from pyro_vae.weights.log_weights import log_weights
from pyro_vae.weights.passes import checked_once, passes
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
    """Sampling-importance-resampling per datum: draws from q_EW(z1..zL | x).

    Each draw takes its own ``num_particles`` proposals from the guide and picks one with
    probability w~_k (Vas 2024, Algorithm 2; Cremer et al. 2017, https://arxiv.org/abs/1704.02916);
    sharing one set of proposals between draws would repeat atoms and fake correlations. One
    particle returns the guide itself; many, the posterior.

    Where all proposals of a draw have weight zero, the draw is the guide's, with ``log_weight``
    -inf; its datum is warned of by its row.

    Args:
        x: (B, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_particles: proposals k per draw.
        num_draws: draws per datum.
        chunk_size: proposals times data run at once (memory; the draws' law does not depend on it).

    Returns:
        :class:`Draws` with leading shape (num_draws, B).
    """
    x = as_data(x, model, guide)
    check_positive("num_particles", num_particles)
    check_positive("num_draws", num_draws)
    columns, checks = [], checked_once()
    for rows, _ in passes(x, num_particles, chunk_size):
        per_run = max(1, chunk_size // (num_particles * count_rows(rows)))
        runs = []
        for size in pieces(num_draws, per_run):
            with next(checks):
                runs.append(_resample(model, guide, rows, num_particles, size))
        columns.append(_concatenate(runs, dim=0))
    draws = _concatenate(columns, dim=1)
    if num_particles > 1:
        _warn_of_zero_weights(draws.log_weight.isneginf(), num_particles)
    return draws


def _warn_of_zero_weights(lost: Tensor, num_particles: int) -> None:
    """Names the rows of lost draws, (num_draws, B)."""
    rows = lost.any(0).nonzero().flatten().tolist()
    if rows:
        share = lost[:, rows].double().mean().item()
        warnings.warn(
            f"all {num_particles} proposals behind {share:.0%} of the draws of {rows_named(rows)} "
            "have weight zero; these draws are the guide's, not resampled. More particles help, or "
            "a guide that reaches the model's support",
            RuntimeWarning,
            stacklevel=3,
        )


def grouped(log_w: Tensor, num_particles: int) -> Tensor:
    """Log-weights (R k, B) in groups of k neighbours, (R, k, B); even where a group is all zero."""
    groups = log_w.unflatten(0, (-1, num_particles))
    return groups.masked_fill(groups.amax(1, keepdim=True).isneginf(), 0.0)


def choose(groups: Tensor) -> Tensor:
    """One particle of each group, by weight: (R, k, B) log-weights -> (R, B) places in 0 .. k-1."""
    return torch.distributions.Categorical(logits=groups.transpose(1, 2)).sample()


def _resample(model: Callable, guide: Callable, x: Data, num_particles: int, draws: int) -> Draws:
    with evaluating(model, guide):
        terms = log_weights(model, guide, x, num_particles * draws)
    check_all_rows(terms.log_w.shape[1], count_rows(x))
    chosen = choose(grouped(terms.log_w, num_particles))  # (draws, B)
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
