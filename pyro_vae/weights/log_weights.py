"""(model, guide, x, K) -> the terms of every log importance weight.

Every bound, gradient, diagnostic and resampler of this library is a function of the table

    log_w[k, b] = log p(x_b | z_kb) + sum_l ( log p(z_l | ...) - log q(z_l | ...) )

with ``k`` over particles and ``b`` over the data of the batch (Burda et al. 2016, eq. 8,
https://arxiv.org/abs/1509.00519; for hierarchies Vas 2024, eq. 4.1). Model and guide may be any
Pyro programs with **one data plate** at ``dim=-1``; the particles are a second plate at ``dim=-2``,
so whatever depends on x alone is computed once per datum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor

from pyro_vae.rows import Data, as_arguments, as_data
from pyro_vae.torch_state import evaluating
from pyro_vae.weights import densities, traces
from pyro_vae.weights.densities import total
from pyro_vae.weights.handlers import SetValues
from pyro_vae.weights.preconditions import (
    auxiliaries,
    check_auxiliary_scales,
    check_closed_form,
    check_density,
    check_log_prob,
    check_one_data_plate,
    check_reparameterised,
    check_same_latents,
    common_scale,
    latent_beta,
)
from pyro_vae.weights.site import Site, Sites
from pyro_vae.weights.unit_kl import closed_form, unit_kl


@dataclass(frozen=True)
class LogWeights:
    """Terms of the log-weights, each of shape (K, B), in nats and never scaled.

    A level has either its two densities, at the drawn values, or its KL in closed form.

    Attributes:
        log_likelihoods: observed site -> log p(x | ...).
        log_prior: latent site -> log p(z_l | ...).
        log_guide: latent site -> log q(z_l | ...).
        kl: latent site -> KL(q_l || p_l) at the drawn parents, in closed form.
        latents: latent site -> values, shape (K, B, ...).
        betas: latent site -> factor put on it by ``poutine.scale`` or ``annealing.anneal`` in model
            and guide alike (1 where there is none).
        unit_log_ratios: latent site -> log q - log p of every unit (K, B, units), where they were
            asked for; their sum over units is that site's entry of ``log_ratios``.
        data_scale: common factor of all sites, from a subsampled data plate or a scale around the
            whole programs: it multiplies each datum's finished bound, never its weights.
    """

    log_likelihoods: Mapping[str, Tensor]
    log_prior: Mapping[str, Tensor]
    log_guide: Mapping[str, Tensor]
    latents: Mapping[str, Tensor]
    kl: Mapping[str, Tensor] = field(default_factory=dict)
    betas: Mapping[str, float | Tensor] = field(default_factory=dict)
    data_scale: float | Tensor = 1.0
    unit_log_ratios: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def log_likelihood(self) -> Tensor:
        """Sum of log p(x | ...) over the observed sites."""
        return total(self.log_likelihoods.values())

    @property
    def levels(self) -> tuple[str, ...]:
        """The latent sites, in the model's order."""
        return tuple(dict.fromkeys((*self.latents, *self.log_prior, *self.kl)))

    @property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z | x), shape (K, B): the weights that bounds are reported from."""
        return self._weigh({})

    @property
    def annealed_log_w(self) -> Tensor:
        """Log-weights with each level's term multiplied by its beta (Vas 2024, section 5.2).

        What an annealed objective trains on; not a bound where a beta differs from 1. A beta of 0
        takes a level out of the weight, its particles of weight zero too.
        """
        return self._weigh(self.betas)

    @property
    def log_ratios(self) -> dict[str, Tensor]:
        """Latent site -> log q(z_l | ...) - log p(z_l | ...); its mean is that level's KL.

        The KL itself where it is in closed form.
        """
        return {name: self._log_ratio(name) for name in self.levels}

    @property
    def annealed(self) -> list[str]:
        """Levels whose beta is not 1, or not known to be (a tensor)."""
        return [name for name, beta in self.betas.items() if not _is_one(beta)]

    def map(self, function: Callable[[Tensor], Tensor]) -> LogWeights:
        """``function`` of every term, without latents, betas and units."""

        def mapped(terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
            return {name: function(term) for name, term in terms.items()}

        parts = (self.log_likelihoods, self.log_prior, self.log_guide)
        likelihoods, prior, guide = map(mapped, parts)
        return LogWeights(likelihoods, prior, guide, latents={}, kl=mapped(self.kl))

    def _log_ratio(self, name: str) -> Tensor:
        if name in self.kl:
            return self.kl[name]
        return self.log_guide[name] - self.log_prior[name]

    def _weigh(self, betas: Mapping[str, float | Tensor]) -> Tensor:
        total = self.log_likelihood
        for name in self.levels:
            closed = self.kl.get(name)
            term = self.log_prior[name] - self.log_guide[name] if closed is None else -closed
            total = total + _times(betas.get(name, 1.0), term)
        return total


def _times(beta: float | Tensor, term: Tensor) -> Tensor:
    """beta * term, and 0 where beta is 0: weights to the power of 0 are 1, zeros too."""
    if _is_one(beta):
        return term
    if torch.is_tensor(beta) or beta == 0:
        term = term.masked_fill(term.detach().isneginf() & (torch.as_tensor(beta) == 0), 0.0)
    return beta * term


def _is_one(beta: float | Tensor) -> bool:
    return isinstance(beta, float) and beta == 1.0


def log_weights(model: Callable, guide: Callable, x: Data, num_particles: int = 1) -> LogWeights:
    """Draw ``num_particles`` particles per datum from the guide and weigh them.

    Args:
        model, guide: Pyro programs with one data plate at dim -1.
        x: the programs' argument, or a tuple of arguments; data along their first axis, in any
            form that :func:`pyro_vae.rows.as_data` takes.
        num_particles: K.

    Raises:
        ValueError: K < 1, or a site breaks a precondition (the message names it): it stands outside
            the one data plate, the guide misses it or draws one that the model lacks, or it is
            scaled differently in model and guide.
    """
    # Programs that hold their data themselves are called with None.
    args = (None,) if x is None else as_arguments(as_data(x, model, guide))
    return run_pair(model, guide, args, {}, num_particles)


def guide_sites(guide: Callable, x: Data, num_particles: int) -> dict[str, Site]:
    """Draw from the guide, in evaluation mode: latent -> its ``fn`` and ``value``, (K, B, ...)."""
    with evaluating(guide), traces.particles(num_particles):
        sites = traces.sample_sites(traces.run(guide, as_arguments(x), {}, score=False))
    return {name: site for name, site in sites.items() if not site.is_auxiliary}


def run_pair(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    *,
    reparameterised: bool = False,
    analytic: bool = False,
    per_unit: bool = False,
    redraw: Mapping[str, Tensor] | None = None,
) -> LogWeights:
    """:func:`log_weights` for any arguments; gradients flow through samples and densities.

    Args:
        reparameterised: refuse latents without ``rsample``, which would get no pathwise gradient.
        analytic: put KL(q_l || p_l) at the sampled parents in place of log q_l - log p_l, where
            torch knows it.
        per_unit: also the log-ratios of single units.
        redraw: latents (K, B, ...) that the guide draws again, on the same noise.
    """
    with traces.particles(num_particles):
        drawn = traces.draw(guide, args, kwargs, redraw)
        if reparameterised:
            check_reparameterised(traces.sample_sites(drawn))
        scored = traces.run(model, args, kwargs, SetValues(traces.latent_values(drawn)))
    if analytic:
        check_closed_form(guide, traces.sample_sites(drawn), traces.sample_sites(scored))
    return read(scored, drawn, analytic=analytic, per_unit=per_unit)


def read(
    model_sites: Sites, guide_sites: Sites, *, analytic: bool = False, per_unit: bool = False
) -> LogWeights:
    """The terms of two recorded programs; every breach of a precondition names its site."""
    model_sites, guide_sites = traces.sample_sites(model_sites), traces.sample_sites(guide_sites)
    observed = {name: site for name, site in model_sites.items() if site.is_observed}
    latent = [name for name in model_sites if name not in observed]
    if not observed:
        swapped = any(site.is_observed for site in guide_sites.values())
        raise ValueError(
            "the model observes no site; "
            + (
                "the guide does: model and guide stand in each other's place"
                if swapped
                else "give the data with pyro.sample(..., obs=x)"
            )
        )
    auxiliary = auxiliaries(latent, guide_sites)
    check_same_latents(latent, guide_sites)
    log_prior, log_guide, kl = {}, {}, {}
    for name in latent:
        site, drawn = model_sites[name], guide_sites[name]
        check_density(name, drawn, site, auxiliary[name])
        # The density of a transformed auxiliary site is not that of the level's own distribution.
        by_form = analytic and not auxiliary[name]
        closed = closed_form(drawn.fn, site.fn) if by_form else None
        if closed is None:
            log_prior[name] = _log_prob(name, site, "model")
            log_guide[name] = _log_guide(name, guide_sites, auxiliary[name])
        else:
            kl[name] = scale_and_mask(closed, mask=drawn.mask)
            check_log_prob(name, drawn, kl[name], "guide", traces.PARTICLE_PLATE)
    log_likelihoods = {name: _log_prob(name, site, "model") for name, site in observed.items()}
    check_one_data_plate(model_sites, guide_sites, traces.PARTICLE_PLATE)
    data_scale = common_scale(observed)
    check_auxiliary_scales(auxiliary, guide_sites, data_scale)
    return LogWeights(
        log_likelihoods=log_likelihoods,
        log_prior=log_prior,
        log_guide=log_guide,
        kl=kl,
        latents={name: guide_sites[name].value for name in latent},
        betas={
            name: latent_beta(name, model_sites[name], guide_sites[name], data_scale)
            for name in latent
        },
        data_scale=data_scale,
        unit_log_ratios={
            name: unit_kl(guide_sites[name], model_sites[name], analytic=analytic)
            for name in latent
            if per_unit
        },
    )


def log_guides(latent: Iterable[str], guide_sites: Sites) -> dict[str, Tensor]:
    """Latent -> log q(z_l | ...), (K, B), of a recorded guide; auxiliary sites counted in."""
    latent = list(latent)
    sites = traces.sample_sites(guide_sites)
    auxiliary = auxiliaries(latent, sites)
    return {name: _log_guide(name, sites, auxiliary[name]) for name in latent}


def _log_guide(name: str, guide_sites: Sites, auxiliary: Sequence[str]) -> Tensor:
    first, *rest = (_log_prob(site, guide_sites[site], "guide") for site in (name, *auxiliary))
    return sum(rest, first)


def _log_prob(name: str, site: Site, program: str) -> Tensor:
    """Unscaled, masked log-probability of a site, checked to be (K, B)."""
    log_prob = densities.log_prob(site)
    check_log_prob(name, site, log_prob, program, traces.PARTICLE_PLATE)
    return log_prob
