"""The finished table as Markdown and CSV, from the results that there are."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.replication.cells import PRUNING_IMAGES, PRUNING_PARTICLES, Place
from experiments.replication.plan import Plan
from experiments.replication.table_rows import Cell, Row, Table
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.storage import write_text
from pyro_vae.training.recipes import named_recipe
from pyro_vae.weights.diagnostics import KHAT_LIMIT

COLUMNS = (
    "L",
    "k",
    "objective",
    "NLL published",
    "NLL",
    "difference",
    "against reference",
    "units published",
    "active (Burda)",
    "active (test)",
    "PCA published",
    "PCA-active",
    "KL(q, post.) published",
    "KL(q, post.)",
)


def write_table(
    folder: Path, table: Table, rows: Sequence[Row], plan: Plan, facts: Sequence[str]
) -> tuple[Path, Path]:
    """Write ``table.md`` and ``table.csv``; facts are lines on how they were made."""
    results = {row.cell.name: _results(folder, row.cell, plan) for row in rows}
    reference = _results(folder, table.reference, plan)
    lines = [f"# {table.title}", "", *(f"- {fact}" for fact in [*_recipe(table, plan), *facts])]
    lines += ["", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += [_line(row, results[row.cell.name], reference, plan) for row in rows]
    lines += ["", *_reading(table, results, plan)]
    markdown, comma = folder / "table.md", folder / "table.csv"
    write_text(markdown, "\n".join(lines) + "\n")
    write_text(comma, _csv(table, rows, results, plan))
    return markdown, comma


def _results(folder: Path, cell: Cell, plan: Plan) -> list[tuple[Place, dict[str, Any] | None]]:
    places = [Place(folder, cell, seed) for seed in range(plan.seeds)]
    return [(place, place.read_result()) for place in places]


def _recipe(table: Table, plan: Plan) -> list[str]:
    recipe = named_recipe(plan.recipe)
    ends = recipe.lr_schedule(plan.epochs).ends
    lengths = [
        f"{(end - start) * plan.epochs:.1f}" for start, end in zip((0.0, *ends), ends, strict=False)
    ]
    rates = ", ".join(f"{rate:.2g}" for rate in recipe.stages)
    return [
        f"recipe `{plan.recipe}`: batch {recipe.batch_size}, learning rates {rates} in eight "
        f"stages, Adam eps {recipe.optimiser.eps:g}, beta1 {recipe.optimiser.betas[0]:g}, "
        f"{recipe.optimiser.gradient} of the batch's gradients; binarised: "
        f"{table.binarise[plan.recipe]}",
        f"**{plan.epochs} of the recipe's {recipe.epochs} epochs ({100 * plan.share:.2g} %)**: "
        "every stage at its published learning rate, of "
        f"{', '.join(lengths)} epochs (published: 3^i); all cells alike. Differences from the "
        "published figures are mostly this.",
        f"published figures: {table.sources[plan.recipe]}",
        f"likelihoods: {plan.particles} particles, the first {plan.test_size} test images, nats; "
        f"{plan.seeds} seed{'s' if plan.seeds > 1 else ''}",
    ]


def _line(row: Row, results, reference, plan: Plan) -> str:
    cell, published = row.cell, row.published.get(plan.recipe)
    found = [result for _, result in results if _finished(result)]
    known = (
        ["", "", "", ""]
        if published is None
        else [
            f"{published.nll:.2f}",
            published.active,
            published.pca or "",
            "" if published.kl is None else f"{published.kl:.2f}",
        ]
    )
    label = [str(cell.levels), str(cell.num_particles), cell.label]
    if not found:
        state = _state(results)
        cells = [*label, known[0], state, "", "", known[1], "", "", known[2], "", known[3], ""]
        return "| " + " | ".join(cells) + " |"
    seeds = "" if len(found) == plan.seeds else f" ({len(found)} of {plan.seeds} seeds)"
    difference = ""
    if published is not None:
        mean = statistics.fmean(result["nll"] for result in found)
        difference = f"{mean - published.nll:+.2f}"
    cells = [
        *label,
        known[0],
        _spread([result["nll"] for result in found]) + seeds,
        difference,
        _paired(results, reference),
        known[1],
        _units(found, "burda"),
        _units(found, "test"),
        known[2],
        _units(found, "pca"),
        known[3],
        _spread([result["kl_to_posterior"] for result in found]),
    ]
    return "| " + " | ".join(cells) + " |"


def _state(results) -> str:
    states = {
        result["status"] if result else "failed" if place.failure.is_file() else "not finished"
        for place, result in results
    }
    return ", ".join(sorted(states))


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; the value alone for one seed."""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} (sd {statistics.stdev(values):.2f})"


def _units(found: Sequence[dict], definition: str) -> str:
    """Counts z1+z2, mean over seeds."""
    names = sorted(found[0]["active_units"][definition])
    means = [
        statistics.fmean(result["active_units"][definition][name] for result in found)
        for name in names
    ]
    return "+".join(f"{mean:.0f}" if len(found) == 1 else f"{mean:.1f}" for mean in means)


def _paired(results, reference) -> str:
    """Log-likelihood over the reference's on the same images, with both its spreads."""
    gains = []
    for (place, mine), (other, theirs) in zip(results, reference, strict=False):
        if place == other or not _finished(mine) or not _finished(theirs):
            continue
        gains.append(_log_likelihoods(place) - _log_likelihoods(other))
    if not gains:
        return ""
    per_image = np.mean(gains, axis=0)
    gain = mean_and_error(per_image)
    text = f"{gain.mean:+.2f} +- {gain.standard_error:.2f}"
    if len(gains) > 1:
        text += f" (sd {np.std([gain.mean() for gain in gains], ddof=1):.2f})"
    return text


def _finished(result: dict | None) -> bool:
    return result is not None and result["status"] == "finished"


def _log_likelihoods(place: Place) -> np.ndarray:
    with np.load(place.per_datum) as columns:
        return columns["log_likelihood"]


def _reading(table: Table, results, plan: Plan) -> list[str]:
    """What the columns mean, how far the figures can be trusted, and the table's notes."""
    finished = [r for pairs in results.values() for _, r in pairs if _finished(r)]
    lines = [
        f"NLL is minus L_{plan.particles}, an upper estimate of -log p(x); difference is ours "
        "minus published. Against reference: log-likelihood over that of "
        f"{table.reference.label} (L = {table.reference.levels}, k = "
        f"{table.reference.num_particles}) on the same test images (positive is better), mean over "
        "seeds, +- its standard error over images; sd, here and elsewhere, is over seeds. Active "
        "units: Var_x(E[z]) > 0.01, on 500 training images with one sample of z1 for z2 (Burda et "
        "al.) and on test images with Monte Carlo means (Arnal et al.); PCA-active: "
        "principal directions of "
        "E[z] above the same threshold. KL(q, post.) is log p(x) - ELBO, a lower estimate, since "
        "log p(x) is one.",
        "",
    ]
    if finished:
        shares = [r["summary"]["khat_above_0.7"]["mean"] for r in finished]
        errors = [r["summary"]["log_likelihood"]["standard_error"] for r in finished]
        worst = max((r["pruning_cost"] for r in finished), key=lambda cost: abs(cost["mean"]))
        lines += [
            f"- k-hat is above {KHAT_LIMIT} for {min(shares):.0%} to {max(shares):.0%} of the "
            "images: where it is, more particles would still lower the NLL",
            f"- standard error of an NLL over test images: {max(errors):.2f} nats at most (it is "
            "common to all rows: compare the paired differences)",
            "- removing the inactive units from prior, guide and decoder costs "
            f"{worst['mean']:.3f} +- {worst['standard_error']:.3f} nats in the cell where it does "
            f"most ({min(PRUNING_IMAGES, plan.test_size)} images, {PRUNING_PARTICLES} particles)",
        ]
    diverged = [
        f"- {place.path.name} diverged: {result['message']}"
        for pairs in results.values()
        for place, result in pairs
        if result and result["status"] == "diverged"
    ]
    return lines + diverged + [f"- {note}" for note in table.notes]


def _csv(table: Table, rows: Sequence[Row], results, plan: Plan) -> str:
    """One line per cell and seed, all digits."""
    records = []
    for row in rows:
        published = row.published.get(plan.recipe)
        for place, result in results[row.cell.name]:
            record = {
                "table": plan.table,
                "recipe": plan.recipe,
                "cell": row.cell.name,
                "levels": row.cell.levels,
                "num_particles": row.cell.num_particles,
                "objective": row.cell.objective,
                "seed": place.seed,
                "status": result["status"] if result else "not finished",
                "epochs": plan.epochs_of(row.cell),
                "share_of_recipe": round(plan.share, 5),
                "test_images": plan.test_size,
                "particles": plan.particles,
                "version": plan.version,
                "nll_published": published and published.nll,
                "active_published": published and published.active,
                "pca_published": published and published.pca,
                "kl_published": published and published.kl,
            }
            if _finished(result):
                summary = result["summary"]
                record |= {
                    "nll": result["nll"],
                    "nll_standard_error": summary["log_likelihood"]["standard_error"],
                    "difference": published and result["nll"] - published.nll,
                    "elbo": summary["elbo"]["mean"],
                    "bound": summary["bound"]["mean"],
                    "kl_to_posterior": result["kl_to_posterior"],
                    "reconstruction": summary["reconstruction"]["mean"],
                    "khat_above_0.7": summary["khat_above_0.7"]["mean"],
                    "pruning_cost": result["pruning_cost"]["mean"],
                    **{
                        f"active_{definition}_{name}": count
                        for definition, counts in result["active_units"].items()
                        for name, count in sorted(counts.items())
                    },
                    "minutes": round(result["minutes"], 3),
                }
            records.append(record)
    names = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()
