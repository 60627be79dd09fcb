"""The held-out columns of an epoch's row."""

from __future__ import annotations

import warnings

import numpy as np
import pyro
import torch
from torch import Tensor, nn

from pyro_vae.evaluation import evaluate
from pyro_vae.torch_state import own_generators
from pyro_vae.training.progress import Row
from pyro_vae.weights.diagnostics import zero_weights_warning

VALIDATION_SEED = 20_240_501  # every epoch is judged on the same noise


def validation_columns(
    model: nn.Module, guide: nn.Module, valid: Tensor | None, num_particles: int
) -> Row:
    """ELBO, L_k, reconstruction, KL per level and effective sample size; means, nats per datum.

    Where the model observes more than x, the reconstruction of every site as well.

    Always in float32 and without annealing. Empty without validation data, which must lie on the
    pair's device.
    """
    if valid is None:
        return {}
    with own_generators(), pyro.validation_enabled(False):
        torch.manual_seed(VALIDATION_SEED)
        found = evaluate(
            model,
            guide,
            valid,
            khat=False,
            num_particles=num_particles,
            bound_particles=num_particles,
        )
    lost = np.flatnonzero(np.isneginf(found.log_likelihood)).tolist()
    if warning := zero_weights_warning(lost):
        warnings.warn(f"validation data: {warning}", RuntimeWarning, stacklevel=2)
    summary = found.summary()
    of_sites = (f"reconstruction_{name}" for name in found.reconstructions)
    kl = (f"kl_{name}" for name in found.kl)
    names = ("elbo", "bound", "reconstruction", *of_sites, *kl, "ess")
    return {name: summary[name]["mean"] for name in names}
