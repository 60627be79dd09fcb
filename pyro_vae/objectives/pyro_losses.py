"""Pyro's own losses beside this library's: made by name, and made to train plain modules.

Pyro's ``RenyiELBO`` has no differentiable loss and wants its parameters in Pyro's store; the others
are differentiable. What differs is known here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.infer

from pyro_vae.objectives.base import Loss
from pyro_vae.objectives.svi import for_svi, forget


def trace_elbo(num_particles: int) -> pyro.infer.ELBO:
    """Pyro's ``Trace_ELBO`` for pairs with one data plate."""
    return pyro.infer.Trace_ELBO(num_particles, max_plate_nesting=1, vectorize_particles=True)


def renyi_elbo(alpha: float, num_particles: int) -> pyro.infer.ELBO:
    """Pyro's ``RenyiELBO`` for pairs with one data plate."""
    return pyro.infer.RenyiELBO(
        alpha=alpha, num_particles=num_particles, max_plate_nesting=1, vectorize_particles=True
    )


def differentiable(objective: pyro.infer.ELBO) -> bool:
    """Whether the objective has a ``differentiable_loss``."""
    return not isinstance(objective, pyro.infer.RenyiELBO)


def in_closed_form(objective: pyro.infer.ELBO) -> bool:
    """Whether a loss of Pyro's takes KL terms in closed form."""
    return isinstance(objective, pyro.infer.TraceMeanField_ELBO)


def add_gradients(
    objective: pyro.infer.ELBO, model: Callable, guide: Callable, args: tuple
) -> Loss:
    """Add the gradients of a loss of Pyro's to the parameters; the value is detached.

    Parameters of modules are registered in Pyro's store where the loss looks for them there, and
    taken out again: the store is left as it was found.
    """
    loss: Any = objective  # the base class of Pyro's losses does not name these methods
    if differentiable(objective):
        value = loss.differentiable_loss(model, guide, *args)
        value.backward()
        return Loss(value.detach(), 1.0)
    registered = for_svi(model, guide)
    try:
        value = loss.loss_and_grads(*registered, *args)
        return Loss(args[0].new_tensor(value), 1.0)
    finally:
        forget(*registered)
