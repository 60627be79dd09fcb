"""Gradient estimators: the log-weights of a pair, made live in the way each estimator wants.

==========  ====================================================================================
pathwise    sum_k c_k d log w_k, all paths open (S0, eq. 2.3)
doubly      the guide's score terms replaced by a second reparameterisation (Tucker et al. 2019)
==========  ====================================================================================

with coefficients ``c_k`` that are the derivative of a bound by log w_k (for IWAE the normalised
weights), of all particles or of those that thinning kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from pyro_vae import traces
from pyro_vae.log_weights import LogWeights, read, run_pair
from pyro_vae.preconditions import check_reparameterised


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
            log_w.register_hook(lambda weight: weight.where(weight.abs() >= least, 0.0))
        return log_w

    def complete(self, bound: Tensor, coefficients: Tensor, weights: Tensor) -> Tensor:
        """``bound`` (B,) with the estimator's rest: gate closed, scores of annealed levels.

        Args:
            coefficients: (K, B), d bound / d log w, divided by the chance of being kept.
            weights: (K, B), d bound / d log w itself, which the gate multiplies once more.
        """
        if self.gate is not None:
            self.gate.weights = weights.detach()
        for name, log_q in self.log_q.items():
            score = (1 - self.terms.betas[name]) * (coefficients.detach() * log_q).sum(0)
            bound = bound + score - score.detach()  # a gradient and no value
        return bound


def pathwise(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None = None,
    *,
    analytic: bool = False,
) -> Live:
    """The log-weights with every path open; ``analytic`` puts KL terms in closed form."""
    return Live(
        run_pair(
            model, guide, args, kwargs, num_particles,
            reparameterised=True, analytic=analytic, redraw=redraw,
        )
    )  # fmt: skip


def doubly(
    model: Callable,
    guide: Callable,
    args: tuple,
    kwargs: Mapping,
    num_particles: int,
    redraw: Mapping[str, Tensor] | None = None,
) -> Live:
    """The log-weights for doubly reparameterised gradients, right in a hierarchy.

    Both programs are replayed on the drawn latents passed through one gate, the guide without the
    direct dependence of its density on its parameters. So d log_w / d theta is live in the model,
    and d log_w / d phi exists only along the samples, where the gate multiplies it by weights set
    after the forward pass. The gate stands between the guide's draws and both densities: a path
    z2 -> q(z1 | x, z2) -> z1 crosses it once, as every path must, and the path
    z2 -> log q(z1 | x, z2) stays open.
    """
    gate = GradientGate()

    def replay(program: Callable, values: Mapping[str, Tensor]):
        return traces.run(program, args, kwargs, traces.SetValues(values))

    with traces.particles(num_particles):
        drawn = traces.draw(guide, args, kwargs, redraw)
        check_reparameterised(traces.sample_sites(drawn))
        values = traces.latent_values(drawn)
        gated = {name: gate(value) for name, value in values.items()}
        still = {name: value.detach() for name, value in values.items()}
        scored = replay(model, gated)
        if isinstance(guide, nn.Module):
            terms = read(scored, replay(traces.WithoutParameters(guide), gated))
            direct = None
        else:
            # Parameters that a function keeps are out of reach. Its direct gradient, that at still
            # latents, is taken away instead; this costs a second pass with gradients.
            terms = read(scored, replay(guide, gated))
            direct = _log_probs(replay(guide, still))
            log_guide = {
                name: log_q - (direct[name] - direct[name].detach())
                for name, log_q in terms.log_guide.items()
            }
            terms = replace(terms, log_guide=log_guide)
        if terms.annealed and direct is None:
            direct = _log_probs(replay(guide, still))
    return Live(terms, gate, {name: direct[name] for name in terms.annealed})


def _log_probs(sites) -> dict[str, Tensor]:
    return {name: traces.log_prob(site) for name, site in traces.sample_sites(sites).items()}
