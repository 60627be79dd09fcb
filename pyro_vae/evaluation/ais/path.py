"""The path of densities from a start that can be sampled to the posterior, over Pyro programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_vae.errors import InputError, check_choice
from pyro_vae.evaluation.ais.hamiltonian import Point
from pyro_vae.rows import Data, as_arguments, count_rows
from pyro_vae.weights import traces
from pyro_vae.weights.densities import total
from pyro_vae.weights.handlers import SetValues
from pyro_vae.weights.log_weights import read
from pyro_vae.weights.preconditions import check_all_rows, innermost
from pyro_vae.weights.site import Sites

STARTS = ("guide", "prior")

# torch calls the support of these real as well.
_NOT_ON_A_LINE = (dist.Delta, dist.VonMises)

# Draws behind the spread of every unit; an error of an eighth in a length costs little.
_SPREAD_DRAWS = 32


class AnnealingPath:
    """log f_t(z) = log f_0(z) + t slope(z), for the data of one chunk.

    =======  ===================  ==================  ==================================
    start    log f_0(z)           slope(z)            log f_t(z)
    =======  ===================  ==================  ==================================
    guide    log q(z | x)         log w               (1 - t) log q(z | x) + t log p(x, z)
    prior    log p(z)             log p(x | z)        log p(z) + t log p(x | z)
    =======  ===================  ==================  ==================================

    f_0 is normalised and f_1(z) = p(x, z), whose integral is p(x). Positions (K, B, D) hold all
    latents of a datum in one row.

    Attributes:
        num_data: B. shapes: latent site -> shape of one datum's value.

    Raises:
        InputError: a latent that is not a real number with a density (the message names it).
        ValueError: what ``log_weights`` refuses, and a data plate that subsamples.
    """

    def __init__(self, model: Callable, guide: Callable, x: Data, start: str) -> None:
        self.start = check_choice("start", start, STARTS)
        self.num_data = count_rows(x)
        self._model, self._guide, self._arguments = model, guide, as_arguments(x)
        guide_spread = self._check_pair()
        start_spread = guide_spread if start == "guide" else self._draw(_SPREAD_DRAWS).std(0)
        self._start_precision, self._end_precision = start_spread**-2, guide_spread**-2

    @torch.no_grad()
    def _check_pair(self) -> Tensor:
        """Run both programs once, refuse what cannot be annealed; spread of the guide's draws."""
        with traces.particles(_SPREAD_DRAWS):
            drawn = traces.run(self._guide, self._arguments, {})
            _check_real(drawn, "guide")
            values = SetValues(traces.latent_values(drawn))
            scored = traces.run(self._model, self._arguments, {}, values)
            _check_real(scored, "model")
        terms = read(scored, drawn)
        check_all_rows(terms.log_likelihood.shape[1], self.num_data)
        if not terms.latents:
            raise InputError("the model has no latents: log p(x) is its own log-probability")
        self.shapes = {name: value.shape[2:] for name, value in terms.latents.items()}
        return self._pack(terms.latents).std(0)

    def scale(self, t: float) -> Tensor:
        """Length of every datum's units under f_t, (B, D).

        Precisions add up along a path of Gaussians; so those of the start's and the guide's own
        draws are mixed, ``1 / scale^2 = (1 - t) / s_start^2 + t / s_guide^2``.
        """
        return ((1 - t) * self._start_precision + t * self._end_precision) ** -0.5

    def draw(self, num_particles: int) -> Point:
        """Independent draws from f_0."""
        return self.at(self._draw(num_particles))

    @torch.no_grad()
    def _draw(self, num_particles: int) -> Tensor:
        # The model alone, run with its data observed, draws its latents from the prior.
        program = self._guide if self.start == "guide" else self._model
        with traces.particles(num_particles):
            sites = traces.run(program, self._arguments, {})
        return self._pack({name: sites[name].value for name in self.shapes})

    def check_latents(self, latents: Mapping[str, Tensor]) -> None:
        """InputError unless there is one value (B, ...) for every latent, and no other."""
        if set(latents) != set(self.shapes):
            raise InputError(
                f"latents are given for {', '.join(latents) or 'no site'}; the guide draws "
                f"{', '.join(self.shapes)}"
            )
        for name, value in latents.items():
            wanted = (self.num_data, *self.shapes[name])
            if value.shape != wanted:
                raise InputError(
                    f"latents[{name!r}] has shape {tuple(value.shape)} for {self.num_data} data; "
                    f"the guide draws {wanted}"
                )

    def at_latents(self, latents: Mapping[str, Tensor], num_particles: int) -> Point:
        """The point where all K chains of a datum are at the given latents, (B, ...) each."""
        return self.at(
            self._pack({n: v.expand(num_particles, *v.shape) for n, v in latents.items()})
        )

    def at(self, position: Tensor) -> Point:
        """Densities and gradients at a position (K, B, D): one run of the programs."""
        position = position.detach().requires_grad_()
        with torch.enable_grad():
            values = SetValues(self._unpack(position))
            with traces.particles(len(position)):
                scored = traces.run(self._model, self._arguments, {}, values)
                if self.start == "guide":
                    begun = traces.run(self._guide, self._arguments, {}, values)
                else:
                    begun = {name: scored[name] for name in self.shapes}
            terms = read(scored, begun)
            start = total(terms.log_guide.values())
            if self.start == "guide":
                end = terms.log_likelihood + total(terms.log_prior.values())
            else:
                end = terms.log_likelihood
            # The two share no work except under the prior, whose graph the likelihood may need.
            (start_gradient,) = torch.autograd.grad(start.sum(), position, retain_graph=True)
            (gradient,) = torch.autograd.grad(end.sum(), position)
        position, start, end = position.detach(), start.detach(), end.detach()
        if self.start == "prior":
            return Point(position, start, end, start_gradient, gradient)
        return Point(position, start, end - start, start_gradient, gradient - start_gradient)

    def _pack(self, latents: Mapping[str, Tensor]) -> Tensor:
        rows = [latents[name].reshape(*latents[name].shape[:2], -1) for name in self.shapes]
        return torch.cat(rows, -1)

    def _unpack(self, position: Tensor) -> dict[str, Tensor]:
        parts = position.split([math.prod(shape) for shape in self.shapes.values()], -1)
        return {
            name: part.reshape(*position.shape[:2], *shape)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }


def _check_real(sites: Sites, program: str) -> None:
    """Refuse latents that Hamiltonian dynamics cannot move: not all real numbers, or no density."""
    for name, site in traces.sample_sites(sites).items():
        if site.is_observed:
            continue
        base = innermost(site.fn)
        support: Any = base.support
        while hasattr(support, "base_constraint"):
            support = support.base_constraint
        if support is not constraints.real or isinstance(base, _NOT_ON_A_LINE):
            raise InputError(
                f"site {name!r} in the {program} is {type(base).__name__} with support {support}; "
                "annealing moves latents by their gradient, which wants a density on all real "
                "numbers. Use pyro_vae.evaluation.log_likelihood for other latents"
            )
