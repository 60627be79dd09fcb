"""What a change of the model, such as another prior, does to the log-likelihood, pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from pyro_vae.evaluation.estimates import Evaluation, evaluate
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.rows import Data
from pyro_vae.torch_state import own_generators
from pyro_vae.weights.diagnostics import KHAT_LIMIT


@dataclass(frozen=True)
class LikelihoodChange:
    """What another prior changed, by importance sampling with the same particles; nats per datum.

    Attributes:
        elbo, log_likelihood: after less before, paired over the data.
        khat_above_before, khat_above_after: share of the data whose k-hat is above 0.7: where it is
            large, the change is one of bounds (``evaluation.bidirectional`` tells more).
        num_data, num_particles: data, and K.
    """

    elbo: Mean
    log_likelihood: Mean
    khat_above_before: float
    khat_above_after: float
    num_data: int
    num_particles: int

    @classmethod
    def of(cls, before: Evaluation, after: Evaluation) -> LikelihoodChange:
        """From the estimates of both on the same data and noise."""
        return cls(
            elbo=mean_and_error(after.elbo - before.elbo),
            log_likelihood=mean_and_error(after.log_likelihood - before.log_likelihood),
            khat_above_before=float(np.mean(before.khat > KHAT_LIMIT)),
            khat_above_after=float(np.mean(after.khat > KHAT_LIMIT)),
            num_data=len(after.elbo),
            num_particles=after.num_particles,
        )


def likelihood_change(
    before: Callable,
    after: Callable,
    guide: Callable,
    x: Data,
    num_particles: int = 1_000,
    *,
    seed: int = 0,
) -> LikelihoodChange:
    """What another prior changes of the log-likelihood: L_K of both models, the same particles.

    Args:
        before, after: two models with the latents of ``guide``, such as a model and
            ``refit_prior(...).model``.
        x: (B, D), anything that :func:`pyro_vae.rows.as_data` takes.
        num_particles: K.
        seed: of the particles; the global generators are put back.
    """
    found = []
    for model in (before, after):
        with own_generators():
            torch.manual_seed(seed)
            found.append(evaluate(model, guide, x, num_particles=num_particles, bound_particles=1))
    return LikelihoodChange.of(*found)
