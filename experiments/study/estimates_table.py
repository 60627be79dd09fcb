"""The estimates of a study as a table, with spreads over seeds and tests against vanilla."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.measures import seeds
from experiments.campaign.cell import Place
from experiments.campaign.plan import Plan
from experiments.study.starts_table import starts
from experiments.study.study_models import VANILLA
from experiments.study.sweep_table import sweep
from experiments.study.trained import ALWAYS, QUANTITIES, Trained, pipes, read_trained
from pyro_vae.storage import write_text
from pyro_vae.weights.diagnostics import KHAT_LIMIT


def write_study(
    folder: Path, plan: Plan, places: Sequence[Place], facts: Sequence[str]
) -> tuple[Path, Path]:
    """Write ``study.md`` and ``study.csv``; returns their paths."""
    found = [read_trained(plan, place) for place in places]
    rows = [one.columns() for one in found]
    names = dict.fromkeys(name for row in rows for name in row)
    table = pd.DataFrame(rows).reindex(columns=list(names | dict.fromkeys(ALWAYS)))
    markdown, comma = folder / "study.md", folder / "study.csv"
    write_text(comma, table.to_csv(index=False, lineterminator="\n"))
    write_text(markdown, "\n".join(_markdown(found, plan, facts)) + "\n")
    return markdown, comma


def _markdown(found: Sequence[Trained], plan: Plan, facts: Sequence[str]) -> list[str]:
    get = plan.shared.get
    done = [one for one in found if one.main and one.summary is not None]
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
    lines += [*starts(found), *sweep(found, plan)]
    lines += ["## How it was made", ""]
    lines += [f"- {fact}" for fact in facts]
    lines += [f"- {one.name}: {one.place.status}" for one in found if one.summary is None]
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


def _means(table: pd.DataFrame) -> list[str]:
    counts = table.model.value_counts()
    rows: dict[str, list[str]] = {
        model: [model, str(counts.get(model))] for model in table.model.unique()
    }
    for found in seeds.summary(table, list(QUANTITIES)).itertuples():
        rows.get(found.model).append(seeds.mean_and_spread(found.mean, found.sd, digits=2))
    return pipes(["model", "seeds", *QUANTITIES.values()], rows.values())


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
        *pipes(head, rows),
    ]
