"""What training minimises: importance-weighted losses that follow Pyro's ``ELBO`` convention.

``IWAE(num_particles=50)(model, guide)`` is a module; called with the model's arguments it returns
minus the bound, summed over the data plate (nats), differentiable by any torch optimiser. The same
objects work with ``pyro.infer.SVI``. A bound is one choice and its gradient estimator another.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pyro.infer
import torch
from torch import Tensor, nn

from pyro_vae import bounds
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.log_weights import LogWeights, run_pair, run_pair_doubly
from pyro_vae.svi import for_svi, forget


class ImportanceWeightedELBO(pyro.infer.ELBO):
    """Base of this library's losses: a bound of the (K, B) log-weights, summed over the data.

    Works for any model and guide with one data plate at dim -1 and reparameterised latents; others
    get a ValueError that names the site (see :func:`pyro_vae.log_weights`). A subsampled or scaled
    data plate multiplies each datum's finished bound, never its weights. Sites scaled alike in
    model and guide (``annealing.anneal``) are annealed inside the weights.
    """

    def __init__(self, num_particles: int = 1) -> None:
        check_count("num_particles", num_particles)
        super().__init__(num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True)

    def bound(self, log_w: Tensor) -> Tensor:
        """(K, B) log-weights -> (B,) nats."""
        raise NotImplementedError

    def _get_trace(self, model, guide, args, kwargs):
        raise NotImplementedError("traces are run by pyro_vae.log_weights")

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """Minus the bound, summed over the data plate: a scalar that carries the gradient."""
        terms = run_pair(model, guide, args, kwargs, self.num_particles, reparameterised=True)
        return -_sum_over_data(self.bound(terms.annealed_log_w), terms)

    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Value of the loss without gradients (``pyro.infer.SVI.evaluate_loss``)."""
        with torch.no_grad():
            terms = run_pair(model, guide, args, kwargs, self.num_particles)
            return -_sum_over_data(self.bound(terms.annealed_log_w), terms).item()

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

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        terms, gate, live_log_q = run_pair_doubly(model, guide, args, kwargs, self.num_particles)
        log_w = terms.annealed_log_w
        bound = self.bound(log_w)
        gate.weights = weights = bounds.normalised_weights(log_w).detach()
        for name, log_q in live_log_q.items():
            score = (1 - terms.betas[name]) * (weights * log_q).sum(0)
            bound = bound + score - score.detach()  # a gradient and no value
        return -_sum_over_data(bound, terms)


class RenyiELBO(pyro.infer.RenyiELBO):
    """Pyro's Renyi loss behind the module interface that Pyro leaves out for it.

    ``differentiable_loss`` is missing there, and its gradients start only where a ``pyro.param``
    statement was traced; so gradients are computed by Pyro's ``loss_and_grads`` on the registered
    pair (:func:`pyro_vae.for_svi`). alpha = 0 is the IWAE bound.
    """

    def __init__(self, alpha: float = 0.0, num_particles: int = 2) -> None:
        if alpha == 1 or not math.isfinite(alpha):
            raise InputError(
                f"alpha must be finite and not 1 (that is the ELBO, objective 'elbo'), got {alpha}"
            )
        super().__init__(
            alpha=alpha, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
        )


def _sum_over_data(bound: Tensor, terms: LogWeights) -> Tensor:
    return (terms.data_scale * bound).sum()


OBJECTIVES = ("iwae", "dreg", "elbo", "elbo-analytic", "renyi")
IMPORTANCE_WEIGHTED = ("iwae", "dreg", "renyi")


def make_objective(name: str, num_particles: int = 50, *, alpha: float = 0.0) -> pyro.infer.ELBO:
    """The objective that ``--objective NAME`` trains.

    ==============  =====================================================================
    iwae            :class:`IWAE`
    dreg            :class:`DReG`
    elbo            Pyro's Trace_ELBO, particles vectorised (the k-sample VAE)
    elbo-analytic   Pyro's TraceMeanField_ELBO: KL terms in closed form (S0's vanilla TDVAE)
    renyi           Pyro's RenyiELBO of order ``alpha``
    ==============  =====================================================================
    """
    check_choice("objective", name, OBJECTIVES)
    check_count("num_particles", num_particles)
    if name == "iwae":
        return IWAE(num_particles)
    if name == "dreg":
        return DReG(num_particles)
    if name == "renyi":
        return RenyiELBO(alpha, num_particles)
    pyro_loss = pyro.infer.Trace_ELBO if name == "elbo" else pyro.infer.TraceMeanField_ELBO
    return pyro_loss(num_particles, max_plate_nesting=1, vectorize_particles=True)


def check_objective_fits(objective: pyro.infer.ELBO, guide: nn.Module) -> None:
    """Refuse analytic KL terms for guides in which they are wrong (bottom-up chains), by name."""
    if isinstance(objective, pyro.infer.TraceMeanField_ELBO) and not getattr(
        guide, "analytic_kl", True
    ):
        raise InputError(
            "objective 'elbo-analytic' (TraceMeanField_ELBO) is wrong for the bottom-up guide "
            f"{type(guide).__name__}: the model's parents of a level descend from it in the guide. "
            "Use 'elbo', or a top-down or mean-field guide"
        )


def backward_function(
    objective: pyro.infer.ELBO, model: nn.Module, guide: nn.Module
) -> Callable[[Tensor], float]:
    """A function of x that adds the objective's gradients to the parameters and returns its value.

    The value is summed over the data. One interface for objectives with and without a
    differentiable loss.
    """
    check_objective_fits(objective, guide)
    if isinstance(objective, pyro.infer.RenyiELBO):
        registered = for_svi(model, guide)

        def backward_by_pyro(x: Tensor) -> float:
            try:
                return objective.loss_and_grads(*registered, x)
            finally:
                forget(*registered)  # training leaves Pyro's store as it found it

        return backward_by_pyro
    loss_module = objective(model, guide)

    def backward(x: Tensor) -> float:
        loss = loss_module(x)
        loss.backward()
        return loss.item()

    return backward
