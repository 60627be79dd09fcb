"""The figures of a study's cells as a table, with spreads over seeds and tests against vanilla."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from analysis.measures import seeds
from experiments.study.plan import VANILLA, Cell, Plan
from pyro_vae.storage import write_text

# Columns of the table, as a reader names them; nats per test datum.
QUANTITIES = {
    "bound": "L_k at own k",
    "log_likelihood": "log p(x)",
    "reconstruction": "reconstruction",
    "kl_z1": "KL(z1)",
    "kl_z2": "KL(z2)",
}
KHAT = "khat_above_0.7"


def figures_of_cells(folder: Path, plan: Plan) -> pd.DataFrame:
    """A row per cell of the plan; figures (means over test data, nats) are NaN until it is done."""
    rows = []
    for cell in plan.cells:
        row = {
            "model": cell.label,
            "seed": cell.seed,
            "annealed": cell.annealed,
            "objective": cell.objective,
            "num_particles": cell.num_particles,
            "epochs": plan.epochs,
            "status": _status(folder, cell),
        }
        if cell.finished(folder):
            directory = cell.directory(folder)
            summary = directory.read_summary()
            for name in QUANTITIES:
                row[name] = _number(summary["test"][name]["mean"])
                row[f"{name}_error_over_data"] = _number(summary["test"][name]["standard_error"])
            for level, units in summary["active_units"].items():
                row[f"active_{level}"] = units["active"]
            if KHAT in summary["test"]:  # where particles are enough for it
                row[KHAT] = _number(summary["test"][KHAT]["mean"])
            row["minutes_of_last_call"] = summary["run"]["training_minutes_of_this_call"]
            row["version"] = directory.read_config().facts.versions["pyro_vae"]
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=_columns(rows))


def write_study(folder: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
    """Write ``study.md`` and ``study.csv``; returns their paths."""
    table = figures_of_cells(folder, plan)
    markdown, comma = folder / "study.md", folder / "study.csv"
    write_text(comma, table.to_csv(index=False, lineterminator="\n"))
    write_text(markdown, "\n".join(_markdown(table, plan, facts)) + "\n")
    return markdown, comma


def _columns(rows: list[dict]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    return list(names | dict.fromkeys(QUANTITIES))


def _markdown(table: pd.DataFrame, plan: Plan, facts: Sequence[str]) -> list[str]:
    shared = plan.shared
    done = table[table["annealed"] & (table["status"] == "finished")]
    particles = shared["eval_particles"]
    lines = [
        f"# TDVAE and TD-IWAE on {Path(shared['dataset']).name} ({shared['preset']})",
        "",
        f"Nats per datum on {shared['test_size']} held-out data, mean ± standard deviation over "
        f"seeds; log p(x) is the lower estimate L_{particles}. {plan.epochs} epochs each.",
        "",
    ]
    if done.empty:
        lines += ["No model is finished.", ""]
    else:
        lines += [*_means(done), "", *_differences(done), ""]
    lines += [f"- {fact}" for fact in facts]
    unfinished = table[table["status"] != "finished"]
    lines += [
        f"- {row.model}, seed {row.seed}{'' if row.annealed else ', not annealed'}: {row.status}"
        for row in unfinished.itertuples()
    ]
    if not table["annealed"].all():
        lines.append("- runs without annealing are in study.csv, for their training curves only")
    shares = done[KHAT].dropna() if KHAT in done else done["seed"][:0]
    if (shares > 0).any():
        low, high = f"{shares.min():.0%}", f"{shares.max():.0%}"
        share = low if low == high else f"{low} to {high}"
        lines.append(
            f"- k-hat is above 0.7 for {share} of the data: "
            f"there more particles than {particles} would still raise log p(x)"
        )
    if not done.empty:
        versions = ", ".join(sorted(set(done["version"])))
        minutes = done["minutes_of_last_call"]
        lines.append(
            f"- the models were trained with pyro_vae {versions}, for {minutes.min():.1f} to "
            f"{minutes.max():.1f} minutes each (of the call that finished them)"
        )
    return lines


def _means(done: pd.DataFrame) -> list[str]:
    found = seeds.summary(done, list(QUANTITIES)).set_index(["model", "quantity"])
    rows = []
    for model in done["model"].unique():
        cells = [
            seeds.mean_and_spread(*found.loc[(model, name), ["mean", "sd"]], digits=2)
            for name in QUANTITIES
        ]
        rows.append([model, str(int((done["model"] == model).sum())), *cells])
    return _pipes(["model", "seeds", *QUANTITIES.values()], rows)


def _differences(done: pd.DataFrame) -> list[str]:
    models = list(done["model"].unique())
    if VANILLA not in models or len(models) == 1:
        return [f"No differences: they want {VANILLA} and another model."]
    rows = []
    for name, label in QUANTITIES.items():
        for row in seeds.paired(done, name, VANILLA).to_dict("records"):
            tested = not row["note"]
            rows.append(
                [
                    row["model"],
                    label,
                    seeds.mean_and_spread(row["difference"], row["sd"], row["n"], digits=2),
                    f"{row['low']:.2f} to {row['high']:.2f}" if tested else "-",
                    f"{row['t']:.2f} ({row['df']:g})" if tested else "-",
                    f"{row['p']:.3g}" if tested else "-",
                    f"{row['p_holm']:.3g}" if tested else row["note"],
                ]
            )
    head = ["model", "figure", f"minus {VANILLA}", "95 % interval", "t (df)", "p", "p, Holm"]
    return [
        f"Differences to {VANILLA}, paired over seeds (models of one seed share their data); "
        "two-sided t-tests, p adjusted over the models of each figure.",
        "",
        *_pipes(head, rows),
    ]


def _pipes(head: list[str], rows: list[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def _status(folder: Path, cell: Cell) -> str:
    if cell.finished(folder):
        return "finished"
    return "failed" if cell.failure(folder).is_file() else "not finished"


def _number(value: float | None) -> float:
    """Of ``summary.json``, which has null for what is not finite."""
    return math.nan if value is None else float(value)
