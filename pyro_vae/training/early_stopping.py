"""Early stopping: the best weights of a run, by a bound of the validation data, and when to end."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.errors import check_count
from pyro_vae.training.parallel import Processes
from pyro_vae.training.progress import Progress, Row

WATCHED = "bound"


class EarlyStopping:
    """Keeps the weights of the best epoch, and ends training some epochs after it.

    What is watched is the column ``bound`` of the history: L_k of the validation rows at the
    number of particles that training uses, which is the ELBO where that is one. It is a bound on
    log p(x) whatever is trained, without annealing and on the same noise after every epoch. Under
    importance weighting the ELBO itself would be the wrong number to watch: L_k goes on rising
    while the guide leaves the posterior and the ELBO falls (Rainforth et al. 2018,
    https://arxiv.org/abs/1802.04537).

    Epochs that end while the beta of a level still changes can be the best but are not waited for,
    as in the code of Tomczak and Welling 2018 (https://arxiv.org/abs/1705.07120): the objective is
    another one after them. The untrained pair counts as epoch 0. A bound that is not finite is no
    better than any other.

    Args:
        patience: epochs in a row without a better bound after which training ends.
        model, guide: whose weights are kept.
    """

    def __init__(
        self, patience: int, model: nn.Module, guide: nn.Module, processes: Processes
    ) -> None:
        self.patience = check_count("patience", patience)
        self.programs = {"model": model, "guide": guide}
        self.processes = processes
        self.best: dict[str, dict[str, Tensor]] | None = None

    def look(self, state: Progress, row: Row, annealing: bool) -> None:
        """Take note of the epoch whose row this is; the first process's row decides for all.

        Args:
            annealing: whether the beta of a level is not yet what it will end at.
        """
        bound = row.get(WATCHED, math.nan)
        before = -math.inf if state.best_bound is None else state.best_bound
        (better,) = self.processes.any(self.processes.first and before < bound < math.inf)
        if better or self.best is None:
            state.best_epoch, state.waited = state.epoch, 0
            state.best_bound = self.processes.from_first(bound if better else None)
            self._keep()
        else:
            state.waited = 0 if annealing else state.waited + 1

    def over(self, state: Progress) -> bool:
        """Whether the patience is at its end."""
        return state.waited >= self.patience

    def load(self, best: Mapping[str, Any]) -> None:
        """Take up the weights that a checkpoint kept."""
        self.best = {part: dict(weights) for part, weights in best.items()}

    def restore_(self) -> None:
        """Give the programs the best weights, in place."""
        for part, weights in (self.best or {}).items():
            self.programs[part].load_state_dict(weights)

    @torch.no_grad()
    def _keep(self) -> None:
        self.best = {
            part: {name: tensor.detach().clone() for name, tensor in program.state_dict().items()}
            for part, program in self.programs.items()
        }
