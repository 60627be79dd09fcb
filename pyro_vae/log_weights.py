"""The one place that runs Pyro: (model, guide, x, K) -> the terms of every log importance weight.

Every bound, gradient, diagnostic and resampler of this library is a function of the table

    log_w[k, b] = log p(x_b | z_kb) + sum_l ( log p(z_l | ...) - log q(z_l | ...) )

with ``k`` over particles and ``b`` over the data of the batch (S0, eq. 4.1). Model and guide may be
any Pyro programs with **one data plate** at ``dim=-1``; the particles are a second plate at
``dim=-2``, so whatever depends on x alone is computed once per datum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.func import functional_call

from pyro_vae.errors import check_count
from pyro_vae.preconditions import (
    check_log_prob,
    check_one_data_plate,
    check_reparameterised,
    check_same_latents,
    common_scale,
    latent_beta,
)
from pyro_vae.rows import Data, as_arguments

PARTICLE_PLATE = "particles"


@dataclass(frozen=True)
class LogWeights:
    """Terms of the log-weights, each of shape (K, B), in nats and never scaled.

    Attributes:
        log_likelihood: sum of log p(x | ...) over the observed sites.
        log_prior: latent site -> log p(z_l | ...).
        log_guide: latent site -> log q(z_l | ...).
        latents: latent site -> values, shape (K, B, ...).
        betas: latent site -> factor put on it by ``poutine.scale`` or ``annealing.anneal`` in model
            and guide alike (1 where there is none).
        data_scale: common factor of all sites, from a subsampled data plate or a scale around the
            whole programs: it multiplies each datum's finished bound, never its weights.
    """

    log_likelihood: Tensor
    log_prior: Mapping[str, Tensor]
    log_guide: Mapping[str, Tensor]
    latents: Mapping[str, Tensor]
    betas: Mapping[str, float] = field(default_factory=dict)
    data_scale: float | Tensor = 1.0

    @property
    def log_w(self) -> Tensor:
        """log p(x, z) - log q(z | x), shape (K, B): the weights that bounds are reported from."""
        return self._weigh({})

    @property
    def annealed_log_w(self) -> Tensor:
        """Log-weights with each level's term multiplied by its beta (S0, section 5.2).

        What an annealed objective trains on; not a bound where a beta differs from 1.
        """
        return self._weigh(self.betas)

    @property
    def log_ratios(self) -> dict[str, Tensor]:
        """Latent site -> log q(z_l | ...) - log p(z_l | ...); its mean is that level's KL."""
        return {name: self.log_guide[name] - self.log_prior[name] for name in self.log_prior}

    def _weigh(self, betas: Mapping[str, float]) -> Tensor:
        total = self.log_likelihood
        for name, prior in self.log_prior.items():
            term = prior - self.log_guide[name]
            beta = betas.get(name, 1.0)
            total = total + (term if isinstance(beta, float) and beta == 1.0 else beta * term)
        return total


def log_weights(model: Callable, guide: Callable, x: Data, num_particles: int = 1) -> LogWeights:
    """Draw ``num_particles`` particles per datum from the guide and weigh them.

    Args:
        model, guide: Pyro programs with one data plate at dim -1.
        x: the programs' argument, or a tuple of arguments; data along their first axis.
        num_particles: K.

    Raises:
        ValueError: K < 1, or a site breaks a precondition (the message names it): it stands outside
            the one data plate, the guide misses it or draws one that the model lacks, or it is
            scaled differently in model and guide.
    """
    return run_pair(model, guide, as_arguments(x), {}, num_particles)


def guide_sites(guide: Callable, x: Tensor, num_particles: int) -> dict[str, Mapping]:
    """Draw from the guide: site -> its ``fn`` and ``value``, with leading (K, B)."""
    with _particles(num_particles):
        return _sample_sites(poutine.trace(guide).get_trace(x))


def run_pair(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    *,
    reparameterised: bool = False,
) -> LogWeights:
    """:func:`log_weights` for any arguments; gradients flow through samples and densities.

    With ``reparameterised`` a latent whose distribution has no ``rsample`` is refused by name: it
    would get no pathwise gradient.
    """
    with _particles(num_particles):
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        if reparameterised:
            check_reparameterised(_sample_sites(guide_trace))
        model_trace = _replay(model, _latent_values(guide_trace), args, kwargs)
    return _read(model_trace, guide_trace)


class GradientGate:
    """Multiplies the gradient that reaches a latent by a weight set after the forward pass."""

    def __init__(self) -> None:
        self.weights: Tensor | None = None  # (K, B)

    def __call__(self, value: Tensor) -> Tensor:
        gated = value.view_as(value)
        if gated.requires_grad:
            gated.register_hook(self._scale)
        return gated

    def _scale(self, gradient: Tensor) -> Tensor:
        extra = gradient.ndim - self.weights.ndim
        return gradient * self.weights.reshape(self.weights.shape + (1,) * extra)


def run_pair_doubly(
    model: Callable, guide: Callable, args: tuple, kwargs: Mapping, num_particles: int
) -> tuple[LogWeights, GradientGate, dict[str, Tensor]]:
    """The log-weights for doubly reparameterised gradients (Tucker et al. 2019), in a hierarchy.

    Both programs are replayed on the drawn latents passed through one gate, the guide without the
    direct dependence of its density on its parameters. So d log_w / d theta is live in the model,
    and d log_w / d phi exists only along the samples, where the gate multiplies it by weights set
    after the forward pass. The gate stands between the guide's draws and both densities: a path
    z2 -> q(z1 | x, z2) -> z1 crosses it once, as every path must, and the path
    z2 -> log q(z1 | x, z2) stays open.

    Returns:
        the terms, the gate, and the live log q of each annealed level at detached latents (empty
        without annealing), which the estimator needs where betas are not 1.
    """
    gate = GradientGate()
    with _particles(num_particles):
        drawn = poutine.trace(guide).get_trace(*args, **kwargs)
        check_reparameterised(_sample_sites(drawn))
        values = _latent_values(drawn)
        gated = {name: gate(value) for name, value in values.items()}
        still = {name: value.detach() for name, value in values.items()}
        model_trace = _replay(model, gated, args, kwargs)
        if isinstance(guide, nn.Module):
            terms = _read(model_trace, _replay(_DetachedParameters(guide), gated, args, kwargs))
            direct = None
        else:
            # Parameters that a function keeps are out of reach. Its direct gradient, that at still
            # latents, is taken away instead; this costs a second pass with gradients.
            terms = _read(model_trace, _replay(guide, gated, args, kwargs))
            direct = _log_probs_of(_replay(guide, still, args, kwargs))
            terms = replace(
                terms,
                log_guide={
                    name: log_q - (direct[name] - direct[name].detach())
                    for name, log_q in terms.log_guide.items()
                },
            )
        annealed = [name for name, beta in terms.betas.items() if beta != 1.0]
        if annealed and direct is None:
            direct = _log_probs_of(_replay(guide, still, args, kwargs))
    return terms, gate, {name: direct[name] for name in annealed}


class _DetachedParameters:
    """A module run with its parameters cut out of the graph, its other inputs left live."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *args, **kwargs):
        still = {name: p.detach() for name, p in self.module.named_parameters()}
        with _DetachParamSites():
            return functional_call(self.module, still, args, kwargs)


class _DetachParamSites(poutine.messenger.Messenger):
    """Detaches what ``pyro.param`` returns, for modules that keep parameters in Pyro's store."""

    def _pyro_post_param(self, msg) -> None:
        msg["value"] = msg["value"].detach()


def _particles(num_particles: int):
    return pyro.plate(PARTICLE_PLATE, check_count("num_particles", num_particles), dim=-2)


def _replay(program: Callable, values: Mapping[str, Tensor], args: tuple, kwargs: Mapping):
    """Trace of the program with its latents set to ``values``: ``poutine.replay`` for a table."""
    with _SetValues(values):
        return poutine.trace(program).get_trace(*args, **kwargs)


class _SetValues(poutine.messenger.Messenger):
    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values

    def _pyro_sample(self, msg) -> None:
        if not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
            msg["done"] = True


def _sample_sites(trace) -> dict[str, dict]:
    """Sample sites that carry probability (a plate's subsample indices do not)."""
    return {
        name: site
        for name, site in trace.nodes.items()
        if site["type"] == "sample" and not site_is_subsample(site)
    }


def _latent_values(guide_trace) -> dict[str, Tensor]:
    """Values drawn by the guide, the indices of a subsampled plate included."""
    return {
        name: site["value"]
        for name, site in guide_trace.nodes.items()
        if site["type"] == "sample" and not site["is_observed"]
    }


def _log_prob(site: Mapping) -> Tensor:
    """log-probability with the site's mask and without any scale."""
    return scale_and_mask(site["fn"].log_prob(site["value"]), mask=site["mask"])


def _log_probs_of(trace) -> dict[str, Tensor]:
    return {name: _log_prob(site) for name, site in _sample_sites(trace).items()}


def _read(model_trace, guide_trace) -> LogWeights:
    model_sites, guide_sites = _sample_sites(model_trace), _sample_sites(guide_trace)
    observed = {name: site for name, site in model_sites.items() if site["is_observed"]}
    latent = [name for name in model_sites if name not in observed]
    if not observed:
        raise ValueError("the model observes no site; give the data with pyro.sample(..., obs=x)")
    check_same_latents(latent, guide_sites)
    log_p = _log_probs(model_sites, "model")
    log_q = _log_probs(guide_sites, "guide")
    check_one_data_plate(model_sites, guide_sites, PARTICLE_PLATE)
    data_scale = common_scale(observed)
    return LogWeights(
        log_likelihood=_sum(log_p[name] for name in observed),
        log_prior={name: log_p[name] for name in latent},
        log_guide={name: log_q[name] for name in latent},
        latents={name: guide_sites[name]["value"] for name in latent},
        betas={
            name: latent_beta(name, model_sites[name], guide_sites[name], data_scale)
            for name in latent
        },
        data_scale=data_scale,
    )


def _log_probs(sites: Mapping, program: str) -> dict[str, Tensor]:
    """Unscaled, masked log-probability of every site, checked to be (K, B)."""
    log_probs = {}
    for name, site in sites.items():
        log_probs[name] = _log_prob(site)
        check_log_prob(name, site, log_probs[name], program, PARTICLE_PLATE)
    return log_probs


def _sum(tensors) -> Tensor:
    first, *rest = tensors
    return sum(rest, first)
