"""PIWAE: model and guide are trained on different bounds of the same particles."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from torch import Tensor

from pyro_vae.objectives import estimators
from pyro_vae.objectives.base import ImportanceWeightedELBO, Loss, loss_of
from pyro_vae.objectives.weighted import check_groups
from pyro_vae.weights import bounds


class PIWAE(ImportanceWeightedELBO):
    """The model ascends L_K, the guide the mean of L_k1 over K / k1 groups.

    Partially importance-weighted (Rainforth et al. 2018, https://arxiv.org/abs/1802.04537): a tight
    bound for the model, and one with a better signal-to-noise ratio for the guide, from one set of
    draws and one more pass through the model. The loss's value is minus L_K, a lower bound; its
    gradient is the gradient of no single function. A parameter that model and guide share gets the
    sum of both gradients.

    Args:
        num_inner: k1, which must divide K. 1 trains the guide on the ELBO, K is IWAE.
        num_particles: K.
    """

    estimators = ("pathwise",)
    can_thin = False
    in_particle_chunks = False

    def __init__(
        self, num_inner: int = 1, num_particles: int = 1, *, estimator: str = "pathwise"
    ) -> None:
        super().__init__(num_particles, estimator=estimator)
        self.num_inner = check_groups(num_inner, num_particles)

    def bound(self, log_w: Tensor) -> Tensor:
        return bounds.iwae(log_w)

    def estimate(self, model: Callable, guide: Callable, args: tuple, kwargs: Mapping) -> Loss:
        pair = estimators.split(model, guide, args, kwargs, self.num_particles)
        for_model, for_guide = (estimators.Live(self.prepare(terms)) for terms in pair)
        inner = bounds.group_bounds(for_guide.log_w, self.num_inner)
        # A group all of whose weights are zero teaches nothing; the others of its datum do.
        guide_bound = inner.where(~inner.isneginf(), 0.0).mean(0)
        bound = estimators.with_gradient_of(self.bound(for_model.log_w), guide_bound)
        return loss_of(bound, for_model.terms)
