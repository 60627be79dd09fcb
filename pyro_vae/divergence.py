"""Finding out what stopped being finite."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.log_weights import log_weights


@torch.no_grad()
def first_not_finite(model: nn.Module, guide: nn.Module, x: Tensor, num_particles: int) -> str:
    """Name of the first parameter or term of the log-weights that holds NaN or infinity."""
    for program in (model, guide):
        for name, parameter in program.named_parameters():
            if not torch.isfinite(parameter).all():
                return f"parameter {name!r}"
    with pyro.validation_enabled(False):
        terms = _terms(model, guide, x, num_particles)
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            return name
    return "the bound"


def _terms(model: Callable, guide: Callable, x: Tensor, num_particles: int) -> dict[str, Tensor]:
    weights = log_weights(model, guide, x, num_particles)
    return {
        **{f"log q({name})": value for name, value in weights.log_guide.items()},
        **{f"log p({name})": value for name, value in weights.log_prior.items()},
        "log p(x | z)": weights.log_likelihood,
    }
