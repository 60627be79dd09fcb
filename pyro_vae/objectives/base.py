"""What all losses share: a bound of the log-weights, its gradient estimator, all particles or few.

``IWAE(num_particles=50)(model, guide)`` is a module; called with the model's arguments it returns
minus the bound, summed over the data plate (nats), differentiable by any torch optimiser. The same
objects work with ``pyro.infer.SVI``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pyro.infer
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.objectives import thinning
from pyro_vae.objectives.estimators import ESTIMATORS, Live, with_gradient_of
from pyro_vae.weights.log_weights import LogWeights, run_pair
from pyro_vae.weights.repeats import Beginning, check_same_weights


class Loss(NamedTuple):
    """Minus the bound, summed over the data that have one.

    Attributes:
        value: the sum, nats; data whose bound is -inf add nothing to it and to its gradient.
        kept_share: of the particles, those that it differentiates.
        lost: (B,), True for the data whose bound is -inf. None where Pyro's own loss does not tell.
    """

    value: Tensor
    kept_share: float | Tensor
    lost: Tensor | None = None


class Differentiated(NamedTuple):
    """A bound (B,) with what its gradient needs of every log-weight, (K, B) each.

    Attributes:
        derivative: d bound / d log w_k, for IWAE the normalised weights.
        gate_factor: see :meth:`ImportanceWeightedELBO.gate_factor`; None but for dreg.
    """

    bound: Tensor
    derivative: Tensor
    gate_factor: Tensor | None


class ImportanceWeightedELBO(pyro.infer.ELBO):
    """Base of this library's losses: a bound of the (K, B) log-weights, summed over the data.

    Works for any model and guide with one data plate at dim -1 and reparameterised latents; others
    get a ValueError that names the site (``weights.log_weights``). A subsampled or scaled
    data plate multiplies each datum's finished bound, never its weights. Sites scaled alike in
    model and guide (``annealing.anneal``) are annealed inside the weights.

    Args:
        num_particles: K.
        estimator: of the gradient, one of ``estimators`` of the class (``objectives.estimators``);
            others are refused.
        thin: None, or the number M of particles per datum whose gradient is computed. All K are
            drawn and weighted; which M are differentiated is random, with the same expected
            gradient (``objectives.thinning``). The value of the loss is not changed. Wants
            location-scale latents (Normal, Laplace, ...).
    """

    estimators: tuple[str, ...] = ("pathwise", "dreg", "stl")
    can_thin = True  # False where no particle weighs less than another
    # False for objectives of the batch's mean KL: their value for a datum depends on the others.
    per_datum = True
    in_particle_chunks = True  # False where the bound is no function of the log-weights alone
    per_unit = False  # whether the terms hold KL terms of single units

    def __init__(
        self, num_particles: int = 1, *, estimator: str = "pathwise", thin: int | None = None
    ) -> None:
        check_count("num_particles", num_particles)
        if estimator not in self.estimators:
            check_choice("estimator", estimator, ESTIMATORS)
            raise InputError(
                f"{type(self).__name__} has no right gradient by the estimator {estimator!r}; "
                f"allowed: {', '.join(self.estimators)}"
            )
        if thin is not None:
            if not self.can_thin:
                raise InputError(f"{type(self).__name__} has no weights to thin its particles by")
            if check_count("thin", thin) > num_particles:
                raise InputError(
                    f"thin must be at most num_particles = {num_particles}, got {thin}"
                )
        super().__init__(num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True)
        self.estimator = estimator
        self.thin = thin

    def bound(self, log_w: Tensor) -> Tensor:
        """(K, B) log-weights -> (B,) nats."""
        raise NotImplementedError(f"{type(self).__name__} says no bound(log_w)")

    def gate_factor(self, log_w: Tensor) -> Tensor:
        """(K, B): what DReG multiplies the gradient by that reaches a latent.

        ``1 - (d c_k / d log w_k) / c_k`` with ``c_k = d bound / d log w_k``: the share of the path
        that is left when the score term ``-c_k d log q(z_k) / d phi`` is reparameterised in its
        turn (Tucker et al. 2019, eq. 5 to 8). For IWAE it is w~_k.
        """
        raise NotImplementedError(
            f"{type(self).__name__} says no gate_factor(log_w), which the estimator 'dreg' wants"
        )

    def prepare(self, terms: LogWeights) -> LogWeights:
        """The terms as this objective weighs them."""
        return terms

    def at(self, progress: float) -> None:
        """Set whatever the objective schedules to the share of training done, in [0, 1]."""

    @property
    def scheduled(self) -> bool:
        """Whether :meth:`at` changes the objective in the course of training."""
        return False

    @property
    def analytic(self) -> bool:
        """Whether KL terms are in closed form."""
        return self.estimator == "analytic"

    @property
    def compilable(self) -> bool:
        """Whether one compiled graph can hold a step of it."""
        return not self.scheduled

    def _get_trace(self, model, guide, args, kwargs):
        raise NotImplementedError("traces are run by pyro_vae.weights.traces")

    def differentiable_loss(self, model: Callable, guide: Callable, *args, **kwargs) -> Tensor:
        """Minus the bound, summed over the data plate: a scalar that carries the gradient.

        Infinite where the bound of a datum is -inf (all its particles have weight zero, say); the
        gradient is then that of the other data.
        """
        loss = self.estimate(model, guide, args, kwargs)
        assert loss.lost is not None  # losses of Pyro's alone do not tell
        return loss.value + loss.value.new_tensor(torch.inf).where(loss.lost.any(), 0.0)

    def estimate(self, model: Callable, guide: Callable, args: tuple, kwargs: Mapping) -> Loss:
        """:meth:`differentiable_loss` with what else is known of it."""
        if self.thin is not None:
            return self._thinned(model, guide, args, kwargs, self.thin)
        live = self.live(model, guide, args, kwargs, self.num_particles)
        return loss_of(self.value(live), live.terms)

    def value(self, live: Live) -> Tensor:
        """The bound (B,) of live log-weights, with the gradient of the estimator."""
        log_w = live.log_w
        bound = self.bound(log_w)
        if live.gate is None and not live.log_q:
            return bound
        whole = self.differentiate(log_w)
        return live.complete(bound, whole.derivative, whole.gate_factor)

    def live(
        self,
        model: Callable,
        guide: Callable,
        args: tuple,
        kwargs: Mapping,
        num_particles: int,
        redraw: Mapping[str, Tensor] | None = None,
    ) -> Live:
        """Live log-weights of fresh particles, or of those in ``redraw``."""
        make = ESTIMATORS[self.estimator]
        if self.per_unit:
            make = partial(make, per_unit=True)
        live = make(model, guide, args, kwargs, num_particles, redraw)
        return replace(live, terms=self.prepare(live.terms))

    def differentiate(self, log_w: Tensor) -> Differentiated:
        """The bound at log-weights (K, B), with the numbers that its gradient is made of."""
        with torch.enable_grad():
            leaf = log_w.detach().requires_grad_()
            bound = self.bound(leaf)
            (derivative,) = torch.autograd.grad(bound.sum(), leaf)
        factor = self.gate_factor(log_w.detach()) if self.estimator == "dreg" else None
        return Differentiated(bound.detach(), derivative, factor)

    def surrogate(self, live: Live, coefficients: Tensor, gate_factor: Tensor | None) -> Tensor:
        """(B,) whose gradient is the estimator's for some of the particles, given their derivative.

        Particles of weight zero have no part in it, whatever their derivative.

        Args:
            live: the particles, M of them. coefficients, gate_factor: see ``Live.complete``.
        """
        log_w = live.log_w
        # Unlike ``where`` this keeps the layout of the gradient, and so the rounding of its sums.
        log_w = log_w.nan_to_num(nan=torch.nan, posinf=torch.inf, neginf=0.0)
        return live.complete((coefficients * log_w).sum(0), coefficients, gate_factor)

    def _thinned(
        self, model: Callable, guide: Callable, args: tuple, kwargs: Mapping, num_kept: int
    ) -> Loss:
        beginning = Beginning(model, guide)
        with torch.no_grad():
            drawn = run_pair(model, guide, args, kwargs, self.num_particles, reparameterised=True)
            terms = self.prepare(drawn)
            whole = self.differentiate(terms.annealed_log_w)
            kept = thinning.keep(whole.derivative.abs(), num_kept)

            def pick(values: Tensor) -> Tensor:
                return thinning.pick(values, kept.index)

            coefficients = kept.used * pick(whole.derivative) / kept.probability
            factor = None if whole.gate_factor is None else pick(whole.gate_factor)
            latents = {name: pick(value) for name, value in terms.latents.items()}
        live, random = beginning.redo(
            lambda redraw: self.live(model, guide, args, kwargs, num_kept, redraw),
            latents,
            self.num_particles,
        )
        first = pick(terms.annealed_log_w)
        check_same_weights(live.terms.annealed_log_w, first, beginning, random)
        surrogate = self.surrogate(live, coefficients, factor)
        bound = with_gradient_of(whole.bound, surrogate)
        return loss_of(bound, live.terms, kept.used.sum(0).mean() / self.num_particles)

    def loss(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Value of the loss without gradients (``pyro.infer.SVI.evaluate_loss``)."""
        with torch.no_grad():
            terms = run_pair(
                model,
                guide,
                args,
                kwargs,
                self.num_particles,
                analytic=self.analytic,
                per_unit=self.per_unit,
            )
            value = self.value(Live(self.prepare(terms)))
            return -sum_over_data(value, terms).item()

    def loss_and_grads(self, model: Callable, guide: Callable, *args, **kwargs) -> float:
        """Value of the loss; adds its gradients to the parameters (``pyro.infer.SVI.step``)."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        if loss.requires_grad:
            loss.backward()
        return loss.item()


def loss_of(bound: Tensor, terms: LogWeights, kept_share: float | Tensor = 1.0) -> Loss:
    """The loss of the bounds (B,) of a batch."""
    lost = bound.detach().isneginf()
    return Loss(-sum_over_data(bound.masked_fill(lost, 0.0), terms), kept_share, lost)


def sum_over_data(bound: Tensor, terms: LogWeights) -> Tensor:
    """The bounds (B,) of a batch, each times the scale of its data plate, summed."""
    return (terms.data_scale * bound).sum()
