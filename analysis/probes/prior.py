"""What is asked of a prior: what its components stand for, and paths in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation import component_use
from pyro_vae.evaluation.activity import posterior_means
from pyro_vae.programs.flows import FlowDistribution
from pyro_vae.programs.models import HierarchicalVAE


@dataclass(frozen=True)
class Components:
    """The components of a mixture prior that are used most.

    Attributes:
        shares: (M,) of the codes, falling. images: (M, D), the pseudo-input of each, or E[x | z] at
            its location. samples: (M, n, D), E[x | z] at draws of it.
        pseudo_inputs: whether the images are inputs of the guide.
    """

    shares: np.ndarray
    images: np.ndarray
    samples: np.ndarray
    pseudo_inputs: bool


@torch.no_grad()
def components(
    model: HierarchicalVAE, guide: Callable, x: Tensor, most: int, samples: int, seed: int = 0
) -> Components:
    """What the most used components of a mixture prior stand for.

    Args:
        x: (N, D), whose codes count for the components. most: components at most.
        samples: draws of each.

    Raises:
        InputError: a prior that is no mixture of posteriors or of Normals.
    """
    torch.manual_seed(seed)
    shares = component_use(model, guide, x).shares
    chosen = np.argsort(-shares, kind="stable")[: check_count("components", most)]
    mixture = model.prior()
    parts = getattr(mixture, "component_distribution", None)
    loc = mixture.loc if parts is None else parts.mean
    drawn = (
        loc + mixture.scale * torch.randn(samples, *loc.shape).to(loc)
        if parts is None
        else parts.sample((samples,))
    )[:, chosen]
    images = getattr(model.prior, "pseudo_inputs", None)
    shown = mean_below(model, loc) if images is None else images
    return Components(
        shares=shares[chosen],
        images=_array(shown)[chosen],
        samples=_array(mean_below(model, drawn)).swapaxes(0, 1),
        pseudo_inputs=images is not None,
    )


@dataclass(frozen=True)
class Interpolation:
    """Images on the way from one to another, (pairs, steps, D) each, E[x | z].

    Attributes:
        in_z: on straight lines between codes. in_base: between what a flow prior maps them to;
            None where the prior is no flow.
    """

    in_z: np.ndarray
    in_base: np.ndarray | None


@torch.no_grad()
def interpolate(
    model: HierarchicalVAE, guide: Callable, x: Tensor, steps: int, seed: int = 0
) -> Interpolation:
    """E[x | zL] on straight lines from codes E[zL | x] of the first half of x to the second's.

    Levels below the top are at their means given the level above. In the base of a flow prior,
    u = f(zL), lines are straight there and come back by f^-1: where u is Normal a code between two
    likely ones is likely too (Dinh et al. 2017, section 4.5, https://arxiv.org/abs/1605.08803).

    Args:
        x: (2 P, D). steps: images on each line, ends counted.
    """
    check_count("steps", steps, minimum=2)
    torch.manual_seed(seed)
    top = model.latent_names[-1]
    first, second = posterior_means(guide, x)[top].mean.to(x).chunk(2)
    prior = model.prior()
    in_z = mean_below(model, _line(first, second, steps))
    if not isinstance(prior, FlowDistribution):
        return Interpolation(_array(in_z), None)
    to_base = prior.dist.transform
    line = to_base.inv(_line(to_base(first), to_base(second), steps))
    return Interpolation(_array(in_z), _array(mean_below(model, line)))


def mean_below(model: HierarchicalVAE, z: Tensor) -> Tensor:
    """E[x | z1, ...] at values of the top level (..., units), those between at their means.

    Raises:
        InputError: a model with more between the top level and x than latents.
    """
    if not isinstance(model, HierarchicalVAE):
        raise InputError(
            f"{type(model).__name__} draws representations below its top level: E[x | zL] has no "
            "closed form"
        )
    latents = {model.latent_names[-1]: z}
    for name, conditional in zip(
        model.latent_names[-2::-1], reversed(list(model.conditionals)), strict=True
    ):
        z = conditional(z).mean
        latents[name] = z
    return model.mean_of(latents)


def _line(first: Tensor, second: Tensor, steps: int) -> Tensor:
    """(pairs, steps, units)."""
    share = torch.linspace(0, 1, steps).to(first)[:, None]
    return first[:, None] * (1 - share) + second[:, None] * share


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
