"""What a model decodes latents to: E[x | z], reconstructions, samples, the plane of two units."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from analysis.probes.draws import draws_of
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.models import Generative
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.weights import simulation as library
from pyro_vae.weights import traces
from pyro_vae.weights.handlers import SetValues

NUM_SAMPLES = 100


@torch.no_grad()
def expected_x(model: Callable, latents: Mapping[str, Tensor], x: Tensor | None = None) -> Tensor:
    """E[x | z] at latents (K, N, units): (K, N, D); of a hierarchical VAE any leading shape does.

    Args:
        model: a hierarchical or self-supervised VAE, of which the latents that its decoder reads
            are wanted, or any Pyro program with a site x.
        x: (N, D), what a program of another kind is called with, and what representations that are
            not among the latents are made of.
    """
    if isinstance(model, Generative):
        seen = [] if x is None else model.represent(x)
        made = dict(zip(model.representation_names[: len(seen)], seen, strict=True))
        return model.mean_of({**made, **latents})
    number = len(next(iter(latents.values())))
    with traces.particles(number):
        site = traces.run(model, (x,), {}, SetValues(latents))["x"]
    return site.fn.mean.expand(number, *x.shape)


@torch.no_grad()
def encode_decode(model, guide, x: Tensor, num_draws: int = 1) -> np.ndarray:
    """E[x | z1] at independent draws z1 ~ q(z1 | x): (num_draws, N, D) for x (N, D)."""
    return _array(expected_x(model, draws_of(model, guide, x, num_draws), x))


@torch.no_grad()
def decode_mean(model, guide, x: Tensor, num_samples: int = NUM_SAMPLES) -> np.ndarray:
    """E[x | z1] at the posterior mean z1 = E_q[z1 | x]: (N, D) for x (N, D)."""
    means = posterior_means(guide, x, num_samples=num_samples)
    return _array(expected_x(model, {name: level.mean.to(x) for name, level in means.items()}, x))


@torch.no_grad()
def simulate(model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images from the model: E[x | z1], and a draw of p(x | z1) at the same z1, (count, D) each."""
    drawn, latents = library.simulate(model, check_count("number of samples", count))
    return _array(expected_x(model, latents)), _array(drawn)


@torch.no_grad()
def manifold(model, side: int) -> tuple[np.ndarray, np.ndarray]:
    """E[x | z1] over the plane of a two-unit latent (Arnal et al. 2021, figure 5).

    Both coordinates take the values Phi^-1((i + 1/2) / side), i = 0, ..., side - 1, so that every
    image stands for the same share of the prior.

    Returns:
        the ``side`` values, rising, and the images (side^2, D) row by row as they are drawn: unit 0
        rises from left to right, unit 1 from the bottom row to the top one.

    Raises:
        InputError: the model is not one level of two standard-normal units.
    """
    check_count("side of the grid", side)
    prior = model.prior
    if model.latent_sizes != (2,):
        sizes = ", ".join(map(str, model.latent_sizes))
        raise InputError(f"its levels have {sizes} units; a manifold wants one level of 2")
    if not (isinstance(prior, StandardPrior) and prior.family is FAMILIES["normal"]):
        raise InputError(
            f"its two units have a prior that is not standard normal ({type(prior).__name__}), so "
            "equal steps along them are no equal shares of it"
        )
    values = torch.special.ndtri((torch.arange(side).to(prior.loc) + 0.5) / side)
    down, across = torch.meshgrid(values.flip(0), values, indexing="ij")
    z = torch.stack([across, down], -1).reshape(-1, 2)
    return _array(values), _array(expected_x(model, {"z1": z}))


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
