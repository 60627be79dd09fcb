"""The estimates of a study as a table, with spreads over seeds and tests against vanilla."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.measures import seeds
from experiments.campaign.cell import Place
from experiments.campaign.plan import Plan
from experiments.study.study_models import VANILLA
from pyro_vae.runs import Summary
from pyro_vae.storage import write_text
from pyro_vae.weights.diagnostics import KHAT_LIMIT

# Columns of the table, as a reader names them; nats per test datum.
QUANTITIES = {
    "bound": "L_k at own k",
    "log_likelihood": "log p(x)",
    "reconstruction": "reconstruction",
    "kl_z1": "KL(z1)",
    "kl_z2": "KL(z2)",
}
KHAT = "khat_above_0.7"


@dataclass(frozen=True)
class Trained:
    """One seed of a cell.

    Attributes:
        summary: of its run, or None until it is finished. version: of pyro_vae, which trained it.
    """

    place: Place
    epochs: int
    summary: Summary | None
    version: str | None

    @property
    def annealed(self) -> bool:
        return "annealing" not in self.place.cell.settings

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
        for level, units in self.summary.active_units.items():
            row[f"active_{level}"] = units.active
        if self.khat_share is not None:
            row[KHAT] = self.khat_share
        return row | {"minutes_of_last_call": self.minutes, "version": self.version}


def read_trained(plan: Plan, place: Place) -> Trained:
    """What is known of one seed of a cell."""
    summary, version = place.read_summary(), None
    if summary is not None:
        version = place.directory.read_config().facts.versions.get("pyro_vae")
    return Trained(place, place.cell.epochs(plan.epochs), summary, version)


def write_study(
    folder: Path, plan: Plan, places: Sequence[Place], facts: Sequence[str]
) -> tuple[Path, Path]:
    """Write ``study.md`` and ``study.csv``; returns their paths."""
    found = [read_trained(plan, place) for place in places]
    rows = [one.columns() for one in found]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pd.DataFrame(rows).reindex(columns=list(names | dict.fromkeys(QUANTITIES)))
    markdown, comma = folder / "study.md", folder / "study.csv"
    write_text(comma, table.to_csv(index=False, lineterminator="\n"))
    write_text(markdown, "\n".join(_markdown(found, plan, facts)) + "\n")
    return markdown, comma


def _markdown(found: Sequence[Trained], plan: Plan, facts: Sequence[str]) -> list[str]:
    get = plan.shared.get
    done = [one for one in found if one.annealed and one.summary is not None]
    lines = [
        f"# TDVAE and TD-IWAE on {Path(get('dataset')).name} ({get('preset')})",
        "",
        f"Nats per datum on {get('test_size')} held-out data, mean ± standard deviation over "
        f"seeds; log p(x) is the lower estimate L_{get('eval_particles')}. {plan.epochs} epochs "
        "each.",
        "",
    ]
    if done:
        table = pd.DataFrame([one.columns() for one in done])
        lines += [*_means(table), "", *_differences(table), ""]
    else:
        lines += ["No model is finished.", ""]
    lines += [f"- {fact}" for fact in facts]
    lines += [_unfinished(one) for one in found if one.summary is None]
    if not all(one.annealed for one in found):
        lines.append("- runs without annealing are in study.csv, for their training curves only")
    shares = [one.khat_share for one in done if one.khat_share is not None]
    if any(share > 0 for share in shares):
        low, high = f"{min(shares):.0%}", f"{max(shares):.0%}"
        share = low if low == high else f"{low} to {high}"
        lines.append(
            f"- k-hat is above {KHAT_LIMIT} for {share} of the data: "
            f"there more particles than {get('eval_particles')} would still raise log p(x)"
        )
    if done:
        versions = ", ".join(sorted({one.version for one in done}))
        minutes = [one.minutes for one in done]
        lines.append(
            f"- the models were trained with pyro_vae {versions}, for {min(minutes):.1f} to "
            f"{max(minutes):.1f} minutes each (of the call that finished them)"
        )
    return lines


def _unfinished(one: Trained) -> str:
    place = one.place
    return (
        f"- {place.cell.label}, seed {place.seed}{'' if one.annealed else ', not annealed'}: "
        f"{place.status}"
    )


def _means(table: pd.DataFrame) -> list[str]:
    counts = table.model.value_counts()
    rows: dict[str, list[str]] = {
        model: [model, str(counts.get(model))] for model in table.model.unique()
    }
    for found in seeds.summary(table, list(QUANTITIES)).itertuples():
        rows.get(found.model).append(seeds.mean_and_spread(found.mean, found.sd, digits=2))
    return _pipes(["model", "seeds", *QUANTITIES.values()], rows.values())


def _differences(table: pd.DataFrame) -> list[str]:
    models = list(table.model.unique())
    if VANILLA not in models or len(models) == 1:
        return [f"No differences: they want {VANILLA} and another model."]
    rows = []
    for name, label in QUANTITIES.items():
        for row in seeds.paired(table, name, VANILLA).itertuples():
            spread = seeds.mean_and_spread(row.difference, row.sd, row.n, digits=2)
            test = ["-", "-", "-", row.note]
            if not row.note:
                test = [
                    f"{row.low:.2f} to {row.high:.2f}",
                    f"{row.t:.2f} ({row.df:g})",
                    f"{row.p:.3g}",
                    f"{row.p_holm:.3g}",
                ]
            rows.append([row.model, label, spread, *test])
    head = ["model", "estimate", f"minus {VANILLA}", "95 % interval", "t (df)", "p", "p, Holm"]
    return [
        f"Differences to {VANILLA}, paired over seeds (models of one seed share their data); "
        "two-sided t-tests, p adjusted over the models of each estimate.",
        "",
        *_pipes(head, rows),
    ]


def _pipes(head: Sequence[str], rows) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
