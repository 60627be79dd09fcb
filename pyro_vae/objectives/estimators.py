"""Gradient estimators: the log-weights of a pair, made live in the way each estimator wants.

==========  ====================================================================================
pathwise    sum_k c_k d log w_k, all paths open (Burda et al. 2016, eq. 13)
analytic    the same with KL(q_l || p_l) of every level in closed form (Vas 2024, section 3.2)
dreg        the guide's score terms replaced by a second reparameterisation (Tucker et al. 2019)
stl         the guide's score terms left out: sticking the landing (Roeder et al. 2017)
==========  ====================================================================================

https://arxiv.org/abs/1509.00519, https://arxiv.org/abs/1810.04152 and
https://arxiv.org/abs/1703.09194; Vas 2024 in ``docs/references.md``.

with coefficients ``c_k`` that are the derivative of a bound by log w_k (for IWAE the normalised
weights), of all particles or of those that thinning kept. All but stl are unbiased. The score terms
``-sum_k c_k d log q(z_k) / d phi`` at still z that stl leaves out have mean zero where c_k does not
depend on z: for the ELBO (and one particle), and not for importance-weighted bounds of k > 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from pyro_vae.errors import InputError
from pyro_vae.weights import traces
from pyro_vae.weights.densities import NoInverse, reads_late
from pyro_vae.weights.handlers import DrawAndSet, SetValues
from pyro_vae.weights.log_weights import LogWeights, log_guides, read, run_pair
from pyro_vae.weights.preconditions import check_reparameterised
from pyro_vae.weights.repeats import Repeat, check_cut, check_same_terms, compared
from pyro_vae.weights.site import Sites


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
        weights = self.weights
        assert weights is not None  # set by ``Live.complete``, before the backward pass
        extra = gradient.ndim - weights.ndim
        return gradient * weights.reshape(weights.shape + (1,) * extra)


@dataclass(frozen=True)
class Live:
    """Log-weights that carry gradients.

    Attributes:
        terms: of the log-weights.
        gate: on the latents, for the doubly reparameterised estimator.
        log_q: annealed level -> its live log q at still latents, for the same estimator.
    """

    terms: LogWeights
    gate: GradientGate | None = None
    log_q: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def log_w(self) -> Tensor:
        """The annealed log-weights (K, B); particles without weight get a gradient of exactly 0.

        The normalised weights of losing particles underflow, their gradients are denormal numbers,
        and matrix products on those take ten times as long. Weights below 3e-16 (in float32) are
        far below the rounding of the others; without them nothing denormal is left, in any thread.
        """
        log_w = self.terms.annealed_log_w
        if log_w.requires_grad:
            # Small enough to be lost in a sum with 1, large enough that its square (DReG) times a
            # derivative is a normal number.
            least = torch.finfo(log_w.dtype).tiny ** 0.41
            weighty = log_w.detach() > -torch.inf
            log_w.register_hook(lambda weight: weight.where((weight.abs() >= least) & weighty, 0.0))
        return log_w

    def complete(self, bound: Tensor, coefficients: Tensor, gate_factor: Tensor | None) -> Tensor:
        """``bound`` (B,) with the estimator's rest: gate closed, scores of annealed levels.

        Args:
            coefficients: (K, B), d bound / d log w, divided by the chance of being kept.
            gate_factor: (K, B), what the gate multiplies; not read without a gate.
        """
        if self.gate is not None and gate_factor is not None:
            self.gate.weights = gate_factor.detach()
        for name, log_q in self.log_q.items():
            score = (1 - self.terms.betas[name]) * (coefficients.detach() * log_q).sum(0)
            bound = with_gradient_of(bound, score)
        return bound


def with_gradient_of(value: Tensor, carrier: Tensor) -> Tensor:
    """``value`` with the gradient of ``carrier`` added to its own, but where that is infinite."""
    carrier = carrier.where(~carrier.isinf(), 0.0)
    return value + carrier - carrier.detach()


def pathwise(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None = None,
    *,
    analytic: bool = False,
    per_unit: bool = False,
) -> Live:
    """The log-weights with every path open; ``analytic`` puts KL terms in closed form."""
    return Live(
        run_pair(
            model,
            guide,
            args,
            kwargs,
            num_particles,
            reparameterised=True,
            analytic=analytic,
            per_unit=per_unit,
            redraw=redraw,
        )
    )


def doubly(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None = None,
) -> Live:
    """The log-weights for doubly reparameterised gradients, right in a hierarchy.

    :func:`sticking` with one gate on the drawn latents, which multiplies d log_w / d phi by factors
    set after the forward pass. The gate stands between the guide's draws and both densities: a path
    z2 -> q(z1 | x, z2) -> z1 crosses it once, as every path must, and the path
    z2 -> log q(z1 | x, z2) stays open.
    """
    gate = GradientGate()
    make = partial(_along_draws, estimator="dreg", gate=gate, scores=True)
    return replace(make(model, guide, args, kwargs, num_particles, redraw), gate=gate)


def sticking(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None = None,
) -> Live:
    """The log-weights without the direct dependence of log q on the guide's parameters.

    d log_w / d theta is live in the model, and d log_w / d phi exists only along the samples.
    """
    return _along_draws(model, guide, args, kwargs, num_particles, redraw, estimator="stl")


def _along_draws(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None,
    *,
    estimator: str,
    gate: Callable[[Tensor], Tensor] | None = None,
    scores: bool = False,
) -> Live:
    """Log-weights that the guide's parameters reach through the gated draws alone.

    With ``scores`` also the live log q of annealed levels at still latents.
    """
    why = f"the estimator {estimator!r} runs the guide again"
    noise_of = getattr(redraw, "noise_of", None)
    drawing = redraw is None or noise_of is not None
    as_first = partial(DrawAndSet, num_particles=noise_of) if drawing else SetValues
    guide_again = Repeat(guide, args, kwargs, as_first, why)
    with traces.particles(num_particles):
        drawn = traces.draw(guide, args, kwargs, redraw, score=compared())
        check_reparameterised(traces.sample_sites(drawn))
        values = traces.latent_values(drawn)
        gated = _aliased(drawn) if gate is None else {n: gate(v) for n, v in values.items()}
        still = {name: value.detach() for name, value in values.items()}
        scored = traces.run(model, args, kwargs, SetValues(gated))
        try:
            terms = read(scored, guide_again.run(gated, cut=_can_cut(guide)))
            needed = scores and terms.annealed
            direct = {}
            if needed or not _can_cut(guide):
                direct = log_guides(terms.log_prior, guide_again.run(still))
        except NoInverse as error:
            raise InputError(
                f"{error}. The estimator {estimator!r} scores the guide's draws a second time; "
                "use the estimator 'pathwise'"
            ) from error
    if compared():
        check_same_terms("guide", why, terms.log_guide, log_guides(terms.log_prior, drawn))
    if isinstance(guide, nn.Module):
        inputs = (*gated.values(), *args, *kwargs.values())
        check_cut("guide", guide, terms.log_guide.values(), inputs)
    else:
        log_guide = {name: q - _silent(direct[name]) for name, q in terms.log_guide.items()}
        terms = replace(terms, log_guide=log_guide)
    return Live(terms, log_q={name: direct[name] for name in terms.annealed} if scores else {})


def split(
    model: Callable, guide: Callable, args: tuple, kwargs: Mapping, num_particles: int
) -> tuple[LogWeights, LogWeights]:
    """The log-weights twice: live in the model's parameters alone, and in the guide's alone.

    For objectives that train both on different bounds (PIWAE). The same numbers, on one set of
    draws. A parameter that model and guide share gets both gradients.
    """
    with traces.particles(num_particles):
        drawn = traces.draw(guide, args, kwargs, None)
        check_reparameterised(traces.sample_sites(drawn))
        values = traces.latent_values(drawn)
        still = {name: value.detach() for name, value in values.items()}
        moving = _aliased(drawn)
        why = "an objective of two bounds runs the model again"
        model_again = Repeat(model, args, kwargs, SetValues, why)
        for_model = read(traces.run(model, args, kwargs, SetValues(still)), drawn)
        for_guide = read(model_again.run(moving, cut=_can_cut(model)), drawn)
    if compared():
        check_same_terms("model", why, for_guide.log_likelihoods, for_model.log_likelihoods)
        check_same_terms("model", why, for_guide.log_prior, for_model.log_prior)
    if isinstance(model, nn.Module):
        terms = (*for_guide.log_likelihoods.values(), *for_guide.log_prior.values())
        check_cut("model", model, terms, (*moving.values(), *args, *kwargs.values()))
    else:
        for_guide = replace(
            for_guide,
            log_likelihoods={
                name: p - _silent(for_model.log_likelihoods[name])
                for name, p in for_guide.log_likelihoods.items()
            },
            log_prior={
                name: p - _silent(for_model.log_prior[name])
                for name, p in for_guide.log_prior.items()
            },
        )
    still_guide = {name: q.detach() for name, q in for_model.log_guide.items()}
    return replace(for_model, log_guide=still_guide), for_guide


def _can_cut(program: Callable) -> bool:
    """Whether the program's parameters can be cut out of the graph.

    Those that a function keeps are out of reach. Its direct gradient, that at still latents, is
    taken away instead; this costs a second pass with gradients.
    """
    return isinstance(program, nn.Module)


def _aliased(sites: Sites) -> dict[str, Tensor]:
    """The latents' values, those of flows as other objects.

    A transform knows what it has just made by its identity, and what it remembers of that is no
    function of the value: a density read from its memory has no path along the draw.
    """
    return {
        name: value.view_as(value) if reads_late(sites[name].fn) else value
        for name, value in traces.latent_values(sites).items()
    }


def _silent(tensor: Tensor) -> Tensor:
    """Zeros that carry the tensor's gradient."""
    return tensor - tensor.detach()


ESTIMATORS: dict[str, Callable[..., Live]] = {
    "pathwise": pathwise,
    "analytic": partial(pathwise, analytic=True),
    "dreg": doubly,
    "stl": sticking,
}
