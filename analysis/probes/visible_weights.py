"""Hidden pixels estimated with importance weights that count the visible pixels only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from analysis.measures.occlusion import check_mask
from analysis.probes.draws import CHUNK_SIZE
from pyro_vae.errors import InputError, check_count
from pyro_vae.torch_state import flushed_denormals, own_generators
from pyro_vae.weights import traces
from pyro_vae.weights.bounds import normalised_weights
from pyro_vae.weights.diagnostics import effective_sample_size
from pyro_vae.weights.handlers import SetValues
from pyro_vae.weights.log_weights import read
from pyro_vae.weights.passes import checked_once

PARTICLES, GROUPS = 256, 4


@torch.no_grad()
def weighted_fill(
    model: Callable,
    guide: Callable,
    x: Tensor,
    hidden: NDArray[np.bool_],
    num_particles: int = PARTICLES,
    groups: int = GROUPS,
    *,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """E[x_h | x_v] by importance weights that count the visible pixels only.

        w_k = p(x_v | z_k) p(z_k) / q(z_k | x),    z_k ~ q(z | x),    sum_k w~_k E[x_h | z_k]

    p(x_v | z) is the likelihood's sum over the visible pixels. The guide reads whole rows, so x (N,
    D) should come with its hidden pixels filled in; whatever they are, the estimate tends to the
    model's own E[x_h | x_v] as the number of particles grows. The guide is sure of hidden pixels
    that it believes it sees, so weights can have heavy tails: read the effective sample size.

    Returns:
        (groups, N, H), independent estimates, and (N,), the effective sample size of one of them,
        mean over the groups.
    """
    check_count("num_particles", num_particles, minimum=2)
    check_count("groups", groups, minimum=2)
    mask = torch.as_tensor(check_mask(hidden, x.shape[1]))
    columns, sizes, checks = [], [], checked_once()
    with own_generators(), flushed_denormals():
        torch.manual_seed(seed)
        for rows in x.split(max(1, CHUNK_SIZE // num_particles)):
            found = []
            for _ in range(groups):
                with next(checks):
                    found.append(_weighted(model, guide, rows, mask, num_particles))
            columns.append(torch.stack([mean for mean, _ in found]))
            sizes.append(torch.stack([size for _, size in found]).mean(0))
    return torch.cat(columns, 1), torch.cat(sizes)


def _weighted(
    model: Callable, guide: Callable, x: Tensor, hidden: Tensor, num_particles: int
) -> tuple[Tensor, Tensor]:
    with traces.particles(num_particles):
        drawn = traces.run(guide, (x,), {})
        shown = x.masked_fill(hidden, 0.0)  # they do not count, but have to be in the support
        scored = traces.run(model, (shown,), {}, SetValues(traces.latent_values(drawn)))
    terms = read(scored, drawn)
    pixels = scored["x"].fn
    seen = _visible_log_likelihood(pixels, shown, ~hidden)
    log_w = terms.log_w - terms.log_likelihood + seen  # (K, N)
    mean = (normalised_weights(log_w)[..., None] * pixels.mean[..., hidden]).sum(0)
    return mean, effective_sample_size(log_w)


def _visible_log_likelihood(fn, x: Tensor, visible: Tensor) -> Tensor:
    """log p(x_v | z) up to a constant: (K, N)."""
    loc, scale = getattr(fn, "loc", None), getattr(fn, "scale", None)
    if hasattr(fn, "base_dist"):
        terms = fn.base_dist.log_prob(x)
    elif hasattr(fn, "logits"):
        terms = fn.logits * x - torch.nn.functional.softplus(fn.logits)
    elif isinstance(scale, float):
        terms = (x - loc).square() * (-0.5 / scale**2)
    else:
        raise InputError(
            f"the pixels of {type(fn).__name__} are not independent given z; weights of visible "
            "pixels want a likelihood that is a product over pixels"
        )
    return terms[..., visible].sum(-1)
