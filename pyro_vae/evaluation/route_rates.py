"""What a route costs in bits, and how near it comes to the image: rate against distortion.

Gatopoulos 2020 (sections 7.2 and 7.3.3) counts the real numbers that a route keeps. A real number
has no size in bits. Bits-back coding (Hinton and van Camp 1993; Townsend et al. 2019,
https://arxiv.org/abs/1901.04866) has one for the draw of a posterior: a latent costs
log q(z | .) - log p(z | .), since the bits that chose it among its posterior come back, and a
representation -log p(y | .).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from pyro import poutine
from torch import Tensor

from pyro_vae.datasets.pixel_space import pixel_space
from pyro_vae.errors import InputError
from pyro_vae.evaluation.routes import check_names
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.programs.guides import Guide
from pyro_vae.programs.models import Generative
from pyro_vae.torch_state import evaluating, own_generators
from pyro_vae.weights import traces
from pyro_vae.weights.densities import log_prob
from pyro_vae.weights.log_weights import guide_sites


@dataclass(frozen=True)
class RouteRate:
    """Rate and distortion of a route, means over images.

    Attributes:
        name: in the words of the paper, where it has one. keep, given: as ``reconstruct`` has them.
        numbers: real numbers and pixels that the paper counts: what is kept, and the lowest given
            representation.
        num_pixels: D of the image.
        bits: that the route costs by bits-back coding.
        nats: -E log p(x | what the receiver has): nats that still tell x exactly.
        psnr: 10 log10(255^2 / mean square of x - E[x | what the receiver has]), decibel; None where
            the likelihood has no closed mean.
    """

    name: str
    keep: tuple[str, ...]
    given: tuple[str, ...]
    numbers: int
    num_pixels: int
    bits: Mean
    nats: Mean
    psnr: Mean | None

    @property
    def share(self) -> float:
        """The paper's measure: numbers that are kept per number of the image."""
        return self.numbers / self.num_pixels

    def entries(self) -> dict[str, Any]:
        """As JSON has them."""
        means = {name: getattr(self, name) for name in ("bits", "nats", "psnr")}
        told = {name: None if one is None else one.as_dict() for name, one in means.items()}
        return vars(self) | {"share": self.share, "lossless_bits": self.lossless_bits} | told

    @property
    def lossless_bits(self) -> float:
        """The route's bits and those that then tell x exactly."""
        return self.bits.mean + self.nats.mean / math.log(2)

    def row(self) -> dict[str, str | float]:
        """Of a table: names, means and the error of the bits; ``psnr`` is NaN where it is None."""
        return {
            "route": self.name,
            "keep": " ".join(self.keep),
            "given": " ".join(self.given),
            "bits": self.bits.mean,
            "bits_error": self.bits.standard_error,
            "numbers": self.numbers,
            "share": self.share,
            "psnr": math.nan if self.psnr is None else self.psnr.mean,
            "nats": self.nats.mean,
            "lossless_bits": self.lossless_bits,
        }


def usual_routes(model: Generative) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    """Name, keep and given of the paper's routes, for any number of levels.

    RS1, RS2, ... keep the highest, the two highest, ... latents; "from y_k" gives a representation
    (super-resolution, colouring); "CR" gives y1 and keeps z1. Of a model without representations
    "RS", which keeps every latent.
    """
    latents = model.latent_names[::-1]
    if not model.representation_names:
        return [("RS", latents, ())]
    routes: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = [
        (f"RS{n}", latents[:n], ()) for n in range(1, len(latents) + 1)
    ]
    routes += [(f"from {name}", (), (name,)) for name in reversed(model.representation_names)]
    return [*routes, ("CR", ("z1",), ("y1",))]


@torch.no_grad()
def route_rate(
    model: Generative,
    guide: Guide,
    x: Tensor,
    keep: Sequence[str] = (),
    given: Sequence[str] = (),
    *,
    name: str | None = None,
) -> RouteRate:
    """Bits-back rate and distortion of one route, from one draw for every image.

    ``bits = sum_kept (log q(z | .) - log p(z | .)) - sum_given log p(y | .)``, over log 2, where
    every density is at what the receiver has. Sites that are neither kept nor given are drawn from
    the model by noise that both share, at no cost: of RS2 the divergence of z1 is from
    p(z1 | y, z2) at such a drawn y, and so above the KL of the ELBO, which has y = d(x). What
    stands above a given representation goes with it: higher representations are functions of it,
    and their latents are drawn from q(. | y), which the receiver knows too; that is bits-back
    coding of y, at its own -ELBO. So CR costs all of the ELBO but log p(x | y1, z1).

    Args:
        x: (B, D).
        keep: latents.
        given: representations.
        name: of the route.

    Raises:
        InputError: a kept name that is no latent, a given one that is no representation, or some
            of the latents of a model without representations.
    """
    check_names("kept", keep, model.latent_names, "latents")
    if not model.representation_names and set(keep) != set(model.latent_names):
        raise InputError(
            "rates of some of the latents are of models with representations, whose latents are "
            f"encoded one by one; of this one keep {', '.join(model.latent_names)}, not "
            f"{', '.join(keep) or 'none'}"
        )
    check_names("given", given, model.representation_names, "representations")
    lowest = min((int(one[1:]) for one in given), default=model.num_levels)
    latents = [one for one in model.latent_names if one in keep or int(one[1:]) > lowest]
    own = dict(zip(model.representation_names, model.represent(x), strict=True))
    sent = {one: rows for one, rows in own.items() if int(one[1:]) >= lowest}
    with evaluating(model, guide):
        coded = {one: site for one, site in guide_sites(guide, x, 1).items() if one in latents}
        values = {one: site.value[0] for one, site in coded.items()} | sent
        program = poutine.condition(model, data=values | {"x": x})
        sites = traces.run(program, (None,), {"num_data": len(x)})
        nats = x.new_zeros(len(x), dtype=torch.float64)
        for one in values:
            nats -= log_prob(sites[one])
            if one in coded:
                nats += log_prob(coded[one])[0]
        residual = -log_prob(sites["x"]).double()
    return RouteRate(
        name=name or _named(keep, given),
        keep=tuple(keep),
        given=tuple(given),
        numbers=_numbers(model, keep, lowest, own),
        num_pixels=model.num_pixels,
        bits=_mean(nats / math.log(2)),
        nats=_mean(residual),
        psnr=_psnr(model, sites["x"].fn, x),
    )


def route_rates(model: Generative, guide: Guide, x: Tensor, *, seed: int = 0) -> list[RouteRate]:
    """:func:`route_rate` of every route of :func:`usual_routes`, for the same images and seed."""
    with own_generators():
        torch.manual_seed(seed)
        return [
            route_rate(model, guide, x, keep, given, name=name)
            for name, keep, given in usual_routes(model)
        ]


def _numbers(model: Generative, keep: Sequence[str], lowest: int, own: dict[str, Tensor]) -> int:
    sizes = dict(zip(model.latent_names, model.latent_sizes, strict=True))
    kept = sum(int(sizes[one]) for one in keep if int(one[1:]) <= lowest)
    return kept + (own[f"y{lowest}"].shape[-1] if f"y{lowest}" in own else 0)


def _named(keep: Sequence[str], given: Sequence[str]) -> str:
    parts = [f"keep {', '.join(keep)}"] if keep else []
    return "; ".join([*parts, *([f"given {', '.join(given)}"] if given else [])]) or "generation"


def _psnr(model: Generative, law: torch.distributions.Distribution, x: Tensor) -> Mean | None:
    """Per image; the peak is the highest level, which rows hold as 1."""
    if pixel_space(model.likelihood.pixels).levels is None:
        return None
    try:
        error = (law.mean - x).double().square().mean(-1)
    except NotImplementedError:
        return None
    return _mean(-10 * torch.log10(error.clamp(min=1e-12)))


def _mean(values: Tensor) -> Mean:
    return mean_and_error(np.asarray(values.double().cpu()))
