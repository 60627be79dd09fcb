"""Finding out what stopped being finite, and which data have no bound."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import pyro
import torch
from torch import Tensor, nn

from pyro_vae.datasets import Batches
from pyro_vae.errors import TrainingDiverged
from pyro_vae.torch_state import evaluating
from pyro_vae.training.optimisation import Number, number
from pyro_vae.training.parallel import Processes
from pyro_vae.weights.diagnostics import rows_named
from pyro_vae.weights.log_weights import log_weights


@torch.no_grad()
def first_not_finite(
    model: nn.Module, guide: nn.Module, x: Tensor, num_particles: int
) -> str | None:
    """Name of the first parameter or term of the log-weights that is not finite, or None.

    A log-probability of -inf is none of these: a particle may have weight zero.
    """
    parameter = parameter_not_finite(model, guide)
    if parameter is not None:
        return parameter
    with pyro.validation_enabled(False), evaluating(model, guide):
        weights = log_weights(model, guide, x, num_particles)
    terms = {
        **{f"log q({name})": value for name, value in weights.log_guide.items()},
        **{f"log p({name})": value for name, value in weights.log_prior.items()},
        **{f"log p({name} | z)": value for name, value in weights.log_likelihoods.items()},
    }
    for name, value in terms.items():
        if not (value < torch.inf).all():
            return name
    return None


def parameter_not_finite(model: nn.Module, guide: nn.Module) -> str | None:
    """Name of the first parameter that is not finite, or None."""
    for program in (model, guide):
        for name, parameter in program.named_parameters():
            if not torch.isfinite(parameter).all():
                return f"parameter {name!r}"
    return None


class LostRows:
    """Rows of the training data that had no bound in an epoch: it was -inf, and taught nothing."""

    def __init__(self, batches: Batches, processes: Processes) -> None:
        self._batches, self._processes = batches, processes
        self._found: list[tuple[int, Tensor]] = []

    def __bool__(self) -> bool:
        """Whether there may be such rows in this epoch."""
        return bool(self._found)

    def count(self, batch: int, lost: Tensor | None) -> Number:
        """Remember which rows of this process's part of a batch were lost; how many there are."""
        if lost is None:
            return 0
        count = number(lost.sum())
        if torch.is_tensor(count) or count:  # a device is not waited for
            self._found.append((batch, lost))
        return count

    def tell(self, epoch: int, sums: Mapping[str, float], last_good: str) -> None:
        """Warn of the rows by number, at the end of an epoch (the first one is 1).

        Raises:
            TrainingDiverged: there was no row that had a bound.
        """
        found, self._found = self._found, []
        if not sums.get("lost"):
            return
        reason = (
            "the model gives all that the guide draws there a probability of 0 (the ELBO, CIWAE "
            "and MIWAE are lost to a single such particle, or group of them). A guide that reaches "
            "the model's support helps, or more particles"
        )
        if sums["lost"] == sums["data"]:
            raise TrainingDiverged(
                f"epoch {epoch}: no row of the data has a bound: {reason}; {last_good}"
            )
        order = self._batches.order(epoch - 1).split(self._batches.batch_size)
        rows = [self._processes.share(order[batch])[lost.cpu()] for batch, lost in found]
        if rows:
            warnings.warn(
                f"epoch {epoch}: {rows_named(torch.cat(rows).sort().values.tolist())} of the "
                f"training data taught nothing, the bound is -inf: {reason}",
                RuntimeWarning,
                stacklevel=2,
            )
