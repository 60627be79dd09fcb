"""The finished table as Markdown, and as CSV, from the results that there are."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from experiments.campaign.cell import Cell, Place
from experiments.campaign.plan import Plan
from experiments.replication.records import csv_of
from experiments.replication.results import (
    PRUNING_IMAGES,
    PRUNING_PARTICLES,
    Result,
    read_result,
)
from experiments.replication.table_rows import Row, Table
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.storage import write_text
from pyro_vae.training.recipes import Recipe, named_recipe
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


@dataclass(frozen=True)
class Rebuilt:
    """A table with the results of its cells.

    Attributes:
        results: name of a cell -> its seeds, each with what was found or None; the reference, too.
        recipe_name, epochs, test_size, particles, seeds: of the plan.
    """

    table: Table
    rows: Sequence[Row]
    results: Mapping[str, Sequence[tuple[Place, Result | None]]]
    recipe_name: str
    epochs: int
    test_size: int
    particles: int
    seeds: int

    @property
    def recipe(self) -> Recipe:
        return named_recipe(self.recipe_name)

    @property
    def share(self) -> float:
        """Of the published epochs."""
        return self.epochs / self.recipe.epochs

    def of(self, cell: Cell) -> Sequence[tuple[Place, Result | None]]:
        return self.results.get(cell.name, ())

    def finished(self, cell: Cell) -> list[Result]:
        return [result for _, result in self.of(cell) if result is not None]


def write_table(folder: Path, runs: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
    """Write ``table.md`` and ``table.csv``.

    Args:
        folder: of the results. runs: of the run directories. facts: lines on how they were made.
    """
    table = plan.selection.of
    results = {
        cell.name: [
            (place, read_result(place))
            for place in (Place(runs, cell, seed) for seed in cell.seeds(plan.seeds))
        ]
        for cell in (*plan.cells, table.reference)
    }
    shared = plan.shared
    rebuilt = Rebuilt(
        table=table,
        rows=plan.selection.rows,
        results=results,
        recipe_name=shared.get("recipe"),
        epochs=plan.epochs,
        test_size=shared.get("test_size"),
        particles=shared.get("eval_particles"),
        seeds=plan.seeds,
    )
    lines = [f"# {table.title}", "", *(f"- {fact}" for fact in [*_recipe(rebuilt), *facts])]
    lines += ["", _pipes(COLUMNS), "|" + "---|" * len(COLUMNS)]
    lines += [_line(rebuilt, row) for row in rebuilt.rows]
    lines += ["", *_reading(rebuilt)]
    markdown, comma = folder / "table.md", folder / "table.csv"
    write_text(markdown, "\n".join(lines) + "\n")
    write_text(comma, csv_of(rebuilt, plan.selection.table, plan.version))
    return markdown, comma


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _recipe(rebuilt: Rebuilt) -> list[str]:
    recipe, table, epochs = rebuilt.recipe, rebuilt.table, rebuilt.epochs
    ends = recipe.lr_schedule(epochs).ends
    lengths = [
        f"{(end - start) * epochs:.1f}" for start, end in zip((0.0, *ends), ends, strict=False)
    ]
    rates = ", ".join(f"{rate:.2g}" for rate in recipe.stages)
    return [
        f"recipe `{rebuilt.recipe_name}`: batch {recipe.batch_size}, learning rates {rates} in "
        f"eight stages, Adam eps {recipe.optimiser.eps:g}, beta1 {recipe.optimiser.betas[0]:g}, "
        f"{recipe.optimiser.gradient} of the batch's gradients; binarised: "
        f"{table.binarise.get(rebuilt.recipe_name)}",
        f"**{epochs} of the recipe's {recipe.epochs} epochs ({100 * rebuilt.share:.2g} %)**: "
        "every stage at its published learning rate, of "
        f"{', '.join(lengths)} epochs (published: 3^i); all cells alike. Differences from the "
        "published numbers are mostly this.",
        f"published numbers: {table.sources.get(rebuilt.recipe_name)}",
        f"likelihoods: {rebuilt.particles} particles, the first {rebuilt.test_size} test images, "
        f"nats; {rebuilt.seeds} seed{'s' if rebuilt.seeds > 1 else ''}",
    ]


def _line(rebuilt: Rebuilt, row: Row) -> str:
    cell, published = row.cell, row.published.get(rebuilt.recipe_name)
    found = rebuilt.finished(cell)
    known = ["", "", "", ""]
    if published is not None:
        kl = "" if published.kl is None else f"{published.kl:.2f}"
        known = [f"{published.nll:.2f}", published.active, published.pca or "", kl]
    label = [str(cell.levels), str(cell.num_particles), cell.label]
    if not found:
        state = ", ".join(sorted({place.status for place, _ in rebuilt.of(cell)}))
        return _pipes(
            [*label, known[0], state, "", "", known[1], "", "", known[2], "", known[3], ""]
        )
    seeds = "" if len(found) == rebuilt.seeds else f" ({len(found)} of {rebuilt.seeds} seeds)"
    difference = ""
    if published is not None:
        mean = statistics.fmean(result.nll for result in found)
        difference = f"{mean - published.nll:+.2f}"
    return _pipes(
        [
            *label,
            known[0],
            _spread([result.nll for result in found]) + seeds,
            difference,
            _paired(rebuilt, cell),
            known[1],
            _units(found, "burda"),
            _units(found, "test"),
            known[2],
            _units(found, "pca"),
            known[3],
            _spread([result.kl_to_posterior for result in found]),
        ]
    )


def _spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds; the value alone for one seed."""
    mean = f"{statistics.fmean(values):.2f}"
    return mean if len(values) == 1 else f"{mean} (sd {statistics.stdev(values):.2f})"


def _units(found: Sequence[Result], definition: str) -> str:
    """Counts z1+z2, mean over seeds."""
    counts = [list(result.active_units(definition).values()) for result in found]
    means = [statistics.fmean(level) for level in zip(*counts, strict=True)]
    return "+".join(f"{mean:.0f}" if len(found) == 1 else f"{mean:.1f}" for mean in means)


def _paired(rebuilt: Rebuilt, cell: Cell) -> str:
    """Log-likelihood over the reference's on the same images, with both its spreads."""
    reference = rebuilt.table.reference
    if cell.name == reference.name:
        return ""
    gains = [
        mine.log_likelihoods - theirs.log_likelihoods
        for (_, mine), (_, theirs) in zip(rebuilt.of(cell), rebuilt.of(reference), strict=False)
        if mine is not None and theirs is not None
    ]
    if not gains:
        return ""
    gain = mean_and_error(np.mean(gains, axis=0))
    text = f"{gain.mean:+.2f} +- {gain.standard_error:.2f}"
    if len(gains) > 1:
        text += f" (sd {np.std([gain.mean() for gain in gains], ddof=1):.2f})"
    return text


def _reading(rebuilt: Rebuilt) -> list[str]:
    """What the columns mean, how far the numbers can be trusted, and the table's notes."""
    table, reference = rebuilt.table, rebuilt.table.reference
    found = [result for row in rebuilt.rows for result in rebuilt.finished(row.cell)]
    lines = [
        f"NLL is minus L_{rebuilt.particles}, an upper estimate of -log p(x); difference is ours "
        "minus published. Against reference: log-likelihood over that of "
        f"{reference.label} (L = {reference.levels}, k = "
        f"{reference.num_particles}) on the same test images (positive is better), mean over "
        "seeds, +- its standard error over images; sd, here and elsewhere, is over seeds. Active "
        "units: Var_x(E[z]) > 0.01, on 500 training images with one sample of z1 for z2 (Burda et "
        "al.) and on test images with Monte Carlo means (Arnal et al.); PCA-active: principal "
        "directions of E[z] above the same threshold. KL(q, post.) is log p(x) - ELBO, a lower "
        "estimate, since log p(x) is one.",
        "",
    ]
    if found:
        shares = [result.khat_share for result in found]
        errors = [result.log_likelihood.standard_error for result in found]
        worst = max((result.pruning_cost for result in found), key=lambda cost: abs(cost.mean))
        lines += [
            f"- k-hat is above {KHAT_LIMIT} for {min(shares):.0%} to {max(shares):.0%} of the "
            "images: where it is, more particles would still lower the NLL",
            f"- standard error of an NLL over test images: {max(errors):.2f} nats at most (it is "
            "common to all rows: compare the paired differences)",
            "- removing the inactive units from prior, guide and decoder costs "
            f"{worst.mean:.3f} +- {worst.standard_error:.3f} nats in the cell where it does "
            f"most ({min(PRUNING_IMAGES, rebuilt.test_size)} images, {PRUNING_PARTICLES} "
            "particles)",
        ]
    diverged = [
        f"- {place.name} diverged: {place.read_divergence()}"
        for row in rebuilt.rows
        for place, result in rebuilt.of(row.cell)
        if result is None and place.diverged
    ]
    return lines + diverged + [f"- {note}" for note in table.notes]
