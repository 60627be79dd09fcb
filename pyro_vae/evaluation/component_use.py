"""How many components of a mixture prior the codes of the data use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.statistics import Mean, mean_and_error
from pyro_vae.programs.models import Generative
from pyro_vae.rows import Data, as_data, count_rows
from pyro_vae.torch_state import evaluating, flushed_denormals
from pyro_vae.weights.densities import total
from pyro_vae.weights.log_weights import guide_sites
from pyro_vae.weights.passes import passes

CHUNK_SIZE = 2_000


@dataclass(frozen=True)
class ComponentUse:
    """The components of a mixture prior as the codes of N data use them.

    Attributes:
        shares: (M,), r_m = E[r_m(z)] over the data and their draws; they sum to one.
        entropy: H = -sum_m r_m log r_m, nats, with its standard error over the data (delta method).
        num_data: N.
        num_samples: draws per datum.
    """

    shares: np.ndarray
    entropy: Mean
    num_data: int
    num_samples: int

    @property
    def effective(self) -> Mean:
        """exp(H), the effective number of components: M where all are used alike, 1 where one is.

        Of N codes that each lie in one component H is low by about (M - 1) / (2 N).
        """
        number = float(np.exp(self.entropy.mean))
        return Mean(number, number * self.entropy.standard_error)

    def __str__(self) -> str:
        found = self.effective
        return (
            f"{found.mean:.1f} ± {found.standard_error:.1f} effective components of "
            f"{len(self.shares)}; the one most used has a share of {self.shares.max():.3f}"
        )


@torch.no_grad()
def component_use(
    model: Generative,
    guide: Callable,
    x: Data,
    num_samples: int = 1,
    *,
    chunk_size: int = CHUNK_SIZE,
) -> ComponentUse:
    """Shares of the components of the top prior among draws of q(zL | x), and exp of their entropy.

    With responsibilities ``r_m(z) = w_m p_m(z) / sum_j w_j p_j(z)`` that are averaged over the data
    before the entropy is taken, so that a code that lies between components counts for each.

    Args:
        model: whose ``prior`` is a mixture: it has ``responsibilities(z)``, (..., features) ->
            (..., M).
        guide: draws every latent of it.
        x: (N, D), or the tuple of the programs' arguments; anything that
            :func:`pyro_vae.rows.as_data` takes.
        num_samples: draws per datum.
        chunk_size: draws times data run at once.

    Raises:
        InputError: a prior that is no mixture.
    """
    prior: Any = getattr(model, "prior", None)
    if not hasattr(prior, "responsibilities"):
        raise InputError(
            f"{type(prior).__name__} is no mixture: it has no components whose use could be counted"
        )
    x = as_data(x, model, guide)
    check_count("num_samples", num_samples)
    top = model.latent_names[-1]
    columns: list[Tensor] = []
    with flushed_denormals(), evaluating(model, guide):
        for rows, sizes in passes(x, num_samples, chunk_size):
            parts = []
            for size in sizes:
                z = guide_sites(guide, rows, size)[top].value
                parts.append(prior.responsibilities(z).double().sum(0))
            columns.append((total(parts) / num_samples).cpu())
    of_data = torch.cat(columns).numpy()  # (N, M)
    shares = of_data.mean(0)
    logs = np.log(np.where(shares > 0, shares, 1.0))
    return ComponentUse(
        shares=shares,
        entropy=mean_and_error(-of_data @ logs),
        num_data=count_rows(x),
        num_samples=num_samples,
    )
