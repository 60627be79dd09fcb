"""One trained seed of a study's cell: what differs in it, and its row of ``study.csv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.measures import seeds
from experiments.campaign.cell import Place
from experiments.campaign.plan import Plan
from experiments.study.study_models import written
from pyro_vae.runs import Summary
from pyro_vae.runs.summary import Start

# Columns of the table, as a reader names them; nats per test datum.
QUANTITIES = {
    "bound": "L_k at own k",
    "log_likelihood": "log p(x)",
    "reconstruction": "reconstruction",
    "kl_z1": "KL(z1)",
    "kl_z2": "KL(z2)",
}
KHAT = "khat_above_0.7"
# Of a trained pair, and after ``START`` of the pair before its first step.
FILTERS, ABOVE_GAP = "localised_filters", "z1_above_gap"
START = "start_"
# Columns of study.csv even where no run has a value.
ALWAYS = (*QUANTITIES, FILTERS, ABOVE_GAP, f"{START}{FILTERS}", f"{START}{ABOVE_GAP}")


@dataclass(frozen=True)
class Trained:
    """One seed of a cell.

    Attributes:
        init, lr: what it started from, and Adam's learning rate; None where stages have their own.
        summary: of its run, or None until it is finished. version: of pyro_vae, which trained it.
    """

    place: Place
    epochs: int
    init: str
    lr: float | None
    summary: Summary | None
    version: str | None

    @property
    def annealed(self) -> bool:
        return "annealing" not in self.place.cell.settings

    @property
    def twin(self) -> bool:
        """Whether it is the twin from random weights."""
        return "init" in self.place.cell.settings

    @property
    def swept(self) -> bool:
        """Whether its learning rate is another one than the study's."""
        return "lr" in self.place.cell.settings

    @property
    def main(self) -> bool:
        """Whether it belongs to the main tables: nothing but model and seed was chosen for it."""
        return not self.place.cell.settings

    @property
    def name(self) -> str:
        """Model and seed, and what else differs, in words."""
        differs = [
            *([] if self.annealed else ["not annealed"]),
            *(["from random weights"] if self.twin else []),
            *([f"learning rate {written(self.lr)}"] if self.swept else []),
        ]
        return ", ".join([self.place.cell.label, f"seed {self.place.seed}", *differs])

    @property
    def khat_share(self) -> float | None:
        """Share of the data whose k-hat is above the limit; None where particles are too few."""
        return self.summary.estimate(KHAT).mean if KHAT in self.summary.test else None

    @property
    def minutes(self) -> float:
        """Of training, in the call that finished it."""
        return self.summary.run.training_minutes_of_this_call

    def columns(self) -> dict[str, Any]:
        """Of ``study.csv``: means over test data, nats; absent until it is done."""
        cell = self.place.cell
        row = {
            "model": cell.label,
            "seed": self.place.seed,
            "annealed": self.annealed,
            "init": self.init,
            "lr": self.lr,
            "objective": cell.objective,
            "num_particles": cell.num_particles,
            "epochs": self.epochs,
            "status": self.place.status,
        }
        if self.summary is None:
            return row
        for name in QUANTITIES:
            found = self.summary.estimate(name)
            row |= {name: found.mean, f"{name}_error_over_data": found.standard_error}
        row |= {"elbo": self.summary.estimate("elbo").mean, **_learned(self.summary)}
        if self.khat_share is not None:
            row[KHAT] = self.khat_share
        gain, start = self.summary.elbo_gain, self.summary.start
        if gain is not None:
            row |= {"elbo_gain": gain.mean, "elbo_gain_error_over_data": gain.standard_error}
        if start is not None and start.test:
            row |= {f"{START}{name}": start.estimate(name).mean for name in ("elbo", "bound")}
            row |= {f"{START}{name}": value for name, value in _learned(start).items()}
        return row | {"minutes_of_last_call": self.minutes, "version": self.version}


def _learned(judged: Summary | Start) -> dict[str, int]:
    """Active units and localised filters; what was not counted, or has no clear gap, is absent."""
    row = {f"active_{level}": units.active for level, units in judged.active_units.items()}
    gap = judged.active_units["z1"].above_gap
    row |= {} if gap is None else {ABOVE_GAP: gap}
    return row | ({} if judged.filters is None else {FILTERS: judged.filters.localised})


def read_trained(plan: Plan, place: Place) -> Trained:
    """What is known of one seed of a cell."""
    summary, version = place.read_summary(), None
    if summary is not None:
        version = place.directory.read_config().facts.versions.get("pyro_vae")
    chosen = {**plan.shared, **place.cell.settings}
    return Trained(
        place,
        place.cell.epochs(plan.epochs),
        init=chosen.get("init"),
        lr=chosen.get("lr"),
        summary=summary,
        version=version,
    )


def over_seeds(rows: Sequence[dict[str, Any]], name: str, digits: int) -> str:
    """Mean ± standard deviation of a column, with the number of rows that have it if not all."""
    numbers = np.array([row[name] for row in rows if name in row], dtype=float)
    mean, sd, _ = seeds.spread(numbers)
    count = len(numbers) if 0 < len(numbers) < len(rows) else None
    return seeds.mean_and_spread(mean, sd, count, digits=digits)


def pipes(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
