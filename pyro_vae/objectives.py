"""What training minimises: importance-weighted losses that follow Pyro's ``ELBO`` convention.

``IWAE(num_particles=50)(model, guide)`` is a module; called with the model's arguments it returns
minus the bound, summed over the data plate (nats), differentiable by any torch optimiser. The same
objects work with ``pyro.infer.SVI``. A bound is one choice and its gradient estimator another; how
many particles the gradient is computed for (``thin``) is a third.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import pyro.infer
import torch
from torch import Tensor, nn

from pyro_vae import bounds, estimators, thinning
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.estimators import Live
from pyro_vae.log_weights import LogWeights, run_pair


class Loss(NamedTuple):
    """Minus the bound, summed over the data, and how many of the particles it differentiates."""

    value: Tensor
    kept_share: float | Tensor


class ImportanceWeightedELBO(pyro.infer.ELBO):
    """Base of this library's losses: a bound of the (K, B) log-weights, summed over the data.

    Works for any model and guide with one data plate at dim -1 and reparameterised latents; others
    get a ValueError that names the site (see :mod:`pyro_vae.log_weights`). A subsampled or scaled
    data plate multiplies each datum's finished bound, never its weights. Sites scaled alike in
    model and guide (``annealing.anneal``) are annealed inside the weights.

    Args:
        num_particles: K.
        thin: None, or the number M of particles per datum whose gradient is computed. All K are
            drawn and weighed; which M are differentiated is random, with the same expected
            gradient (:mod:`pyro_vae.thinning`). The value of the loss is not changed. Wants
            location-scale latents (Normal, Laplace, ...).
    """

    estimator = staticmethod(estimators.pathwise)
    analytic = False  # whether KL terms are in closed form

    def __init__(self, num_particles: int = 1, *, thin: int | None = None) -> None:
        check_count("num_particles", num_particles)
        if thin is not None and check_count("thin", thin) > num_particles:
            raise InputError(f"thin must be at most num_particles = {num_particles}, got {thin}")
        super().__init__(num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True)
        self.thin = thin

    def bound(self, log_w: Tensor) -> Tensor:
        """(K, B) log-weights -> (B,) nats."""
        raise NotImplementedError

    def _get_trace(self, model, guide, args, kwargs):
        raise NotImplementedError("traces are run by pyro_vae.traces")

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """Minus the bound, summed over the data plate: a scalar that carries the gradient."""
        return self.estimate(model, guide, args, kwargs).value

    def estimate(self, model: Callable, guide: Callable, args: tuple, kwargs: Mapping) -> Loss:
        """:meth:`differentiable_loss` with the share of particles that it differentiates."""
        if self.thin is not None:
            return self._thinned(model, guide, args, kwargs, self.thin)
        live = self.estimator(model, guide, args, kwargs, self.num_particles)
        log_w = live.log_w
        bound = self.bound(log_w)
        if live.gate is not None:
            weights = self.derivative(log_w)[1]
            bound = live.complete(bound, weights, weights)
        return Loss(-sum_over_data(bound, live.terms), 1.0)

    def derivative(self, log_w: Tensor) -> tuple[Tensor, Tensor]:
        """The bound (B,) and its derivative by each log-weight (K, B); for IWAE the weights w~."""
        with torch.enable_grad():
            leaf = log_w.detach().requires_grad_()
            bound = self.bound(leaf)
            (derivative,) = torch.autograd.grad(bound.sum(), leaf)
        return bound.detach(), derivative

    def surrogate(self, live: Live, coefficients: Tensor, weights: Tensor) -> Tensor:
        """(B,) whose gradient is the estimator's for some of the particles, given their derivative.

        Args:
            live: the particles, M of them. coefficients, weights: see ``Live.complete``, (M, B).
        """
        return live.complete((coefficients * live.log_w).sum(0), coefficients, weights)

    def _thinned(
        self, model: Callable, guide: Callable, args: tuple, kwargs: Mapping, num_kept: int
    ) -> Loss:
        with torch.no_grad():
            terms = run_pair(model, guide, args, kwargs, self.num_particles, reparameterised=True)
            bound, derivative = self.derivative(terms.annealed_log_w)
            kept = thinning.keep(derivative.abs(), num_kept)
            weights = thinning.pick(derivative, kept.index)
            coefficients = kept.used * weights / kept.probability
            latents = {
                name: thinning.pick(value, kept.index) for name, value in terms.latents.items()
            }
        live = self.estimator(model, guide, args, kwargs, num_kept, latents)
        surrogate = self.surrogate(live, coefficients, weights)
        bound = bound + surrogate - surrogate.detach()
        return Loss(-sum_over_data(bound, live.terms), kept.used.sum(0).mean() / self.num_particles)

    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Value of the loss without gradients (``pyro.infer.SVI.evaluate_loss``)."""
        with torch.no_grad():
            terms = run_pair(model, guide, args, kwargs, self.num_particles, analytic=self.analytic)
            return -sum_over_data(self.bound(terms.annealed_log_w), terms).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Value of the loss; adds its gradients to the parameters (``pyro.infer.SVI.step``)."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


class IWAE(ImportanceWeightedELBO):
    """Minus L_K = log mean_k w_k per datum (S0, eq. 4.2), with the plain pathwise gradient.

    The gradient is sum_k w~_k grad log w_k with normalised weights w~ (S0, eq. 2.3 and 2.4).
    ``num_particles=1`` is the ELBO.
    """

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.iwae(log_w)


class DReG(IWAE):
    """The IWAE bound with the doubly reparameterised gradient (Tucker et al. 2019).

    Same value and same expected gradient as :class:`IWAE`; the guide's gradient is
    ``sum_k w~_k^2 (d log w_k / d z_k)(d z_k / d phi)``, whose signal-to-noise ratio grows with K.
    Right in a hierarchy: the derivative by z_l includes its paths through lower levels.

    Where levels are annealed, the guide's gradient gains
    ``sum_l (1 - beta_l) sum_k w~_k d log q(z_lk | ...) / d phi`` at fixed z, which keeps it
    unbiased for the annealed objective and vanishes as beta reaches 1.

    A guide that is a module must own its parameters, or keep them in Pyro's store; guides that are
    functions may keep them anywhere and cost one more pass.
    """

    estimator = staticmethod(estimators.doubly)


class ELBO(ImportanceWeightedELBO):
    """Minus mean_k log w_k per datum: the ELBO from K particles (the k-sample VAE)."""

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.elbo(log_w)


class AnalyticELBO(ELBO):
    """The ELBO with the KL of every level in closed form at the sampled parents (S0, section 3.2).

    ``E log p(x | z) - sum_l KL(q_l || p_l)``: S0's vanilla TDVAE. Where torch knows no closed form
    the level's sampled log-ratio stands in. Wrong where a level's parents in the model descend
    from it in the guide (bottom-up chains): :func:`check_objective_fits` refuses those.
    """

    estimator = staticmethod(partial(estimators.pathwise, analytic=True))
    analytic = True

    def __init__(self, num_particles: int = 1) -> None:
        super().__init__(num_particles)


class RenyiELBO(ImportanceWeightedELBO):
    """Minus the variational Renyi bound of order alpha (Li and Turner 2016; S4, section 2.3).

    ``log mean_k w_k^(1 - alpha) / (1 - alpha)`` per datum; alpha = 0 is the IWAE bound. Pyro's own
    loss of this name takes the log-mean-exp of scaled sites and has no differentiable loss.
    """

    def __init__(
        self, alpha: float = 0.0, num_particles: int = 2, *, thin: int | None = None
    ) -> None:
        if alpha == 1 or not math.isfinite(alpha):
            raise InputError(
                f"alpha must be finite and not 1 (that is the ELBO, objective 'elbo'), got {alpha}"
            )
        super().__init__(num_particles, thin=thin)
        self.alpha = alpha

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.renyi(log_w, self.alpha)


def sum_over_data(bound: Tensor, terms: LogWeights) -> Tensor:
    """The bounds (B,) of a batch, each times the scale of its data plate, summed."""
    return (terms.data_scale * bound).sum()


OBJECTIVES = ("iwae", "dreg", "elbo", "elbo-analytic", "renyi", "pyro-elbo", "pyro-renyi")
IMPORTANCE_WEIGHTED = ("iwae", "dreg", "renyi", "pyro-renyi")
CAN_THIN = ("iwae", "dreg", "renyi")


def make_objective(
    name: str, num_particles: int = 50, *, alpha: float = 0.0, thin: int | None = None
) -> pyro.infer.ELBO:
    """The objective that ``--objective NAME`` trains.

    ==============  =====================================================================
    iwae            :class:`IWAE`
    dreg            :class:`DReG`
    elbo            :class:`ELBO` (the k-sample VAE)
    elbo-analytic   :class:`AnalyticELBO` (S0's vanilla TDVAE)
    renyi           :class:`RenyiELBO` of order ``alpha``
    pyro-elbo       Pyro's own Trace_ELBO, to compare with; never compiled
    pyro-renyi      Pyro's own RenyiELBO of order ``alpha``, to compare with; never compiled
    ==============  =====================================================================

    Raises InputError for unknown names, and for ``thin`` where there are no weights to thin by.
    """
    check_choice("objective", name, OBJECTIVES)
    check_count("num_particles", num_particles)
    if thin is not None and name not in CAN_THIN:
        raise InputError(
            f"objective {name!r} cannot be thinned; those that can: {', '.join(CAN_THIN)}"
        )
    if name in ("iwae", "dreg"):
        return {"iwae": IWAE, "dreg": DReG}[name](num_particles, thin=thin)
    if name == "renyi":
        return RenyiELBO(alpha, num_particles, thin=thin)
    if name == "pyro-elbo":
        return pyro.infer.Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)
    if name == "pyro-renyi":
        return pyro.infer.RenyiELBO(
            alpha=alpha, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
        )
    return {"elbo": ELBO, "elbo-analytic": AnalyticELBO}[name](num_particles)


def check_objective_fits(objective: pyro.infer.ELBO, guide: nn.Module) -> None:
    """Refuse analytic KL terms for guides in which they are wrong (bottom-up chains), by name."""
    analytic = isinstance(objective, (AnalyticELBO, pyro.infer.TraceMeanField_ELBO))
    if analytic and not getattr(guide, "analytic_kl", True):
        raise InputError(
            f"objective 'elbo-analytic' ({type(objective).__name__}) is wrong for the bottom-up "
            f"guide {type(guide).__name__}: the model's parents of a level descend from it in the "
            "guide. Use 'elbo', or a top-down or mean-field guide"
        )
