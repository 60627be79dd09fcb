"""Finding out what stopped being finite."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.weights.log_weights import log_weights


@torch.no_grad()
def first_not_finite(
    model: nn.Module, guide: nn.Module, x: Tensor, num_particles: int
) -> str | None:
    """Name of the first parameter or term of the log-weights that is not finite, or None."""
    for program in (model, guide):
        for name, parameter in program.named_parameters():
            if not torch.isfinite(parameter).all():
                return f"parameter {name!r}"
    with pyro.validation_enabled(False):
        weights = log_weights(model, guide, x, num_particles)
    terms = {
        **{f"log q({name})": value for name, value in weights.log_guide.items()},
        **{f"log p({name})": value for name, value in weights.log_prior.items()},
        "log p(x | z)": weights.log_likelihood,
    }
    for name, value in terms.items():
        if not torch.isfinite(value).all():
            return name
    return None
