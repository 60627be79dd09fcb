"""Posterior correlations of z1 (Vas 2024, section 5.4.1, Figures 5.22-30, Tables 5.7-8).

Vas 2024 draws from q_EW where a model was trained with k > 1 particles; the same for the guide q
alone stands beside it. Everything shown has its null: shuffled draws, and what chance gives by
formula.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.by_name import Named
from analysis.measures.correlation import (
    ABSOLUTE_EDGES,
    EDGES,
    among,
    chance_above,
    chance_mean,
    chance_strongest,
    pairs,
)
from analysis.measures.seeds import paired, summary
from analysis.pictures import correlation as pictures
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.panels import panel
from analysis.pictures.style import colours
from analysis.probes.image_rows import as_images
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_patches import one_seed, over_patches
from analysis.reporting.sections.correlation_pairs import consistent, strongest_pairs, with_signal
from analysis.reporting.sections.correlation_panels import (
    SAMPLINGS,
    by_run,
    drawn_from,
    gabors,
    measured,
    panels,
    rows_of_test,
    words,
)
from analysis.reporting.study import Study, Subject
from pyro_vae.errors import InputError

TITLE = "Posterior correlations of z1"
SOURCES = {
    "correlation-matrices": "Vas 2024, Figure 5.23",
    "correlation-gabor-units": "Vas 2024, Figure 5.25",
    "correlation-strongest-example": "Vas 2024, Figure 5.26 and Table 5.7",
    "correlation-strongest-patches": "Vas 2024, Figure 5.27",
    "correlation-pairs": "Vas 2024, Figures 5.28 to 5.30",
    "correlation-consistency": "Vas 2024, Table 5.8",
    "correlation-signal-noise": BEYOND,
}


def entries(study: Study) -> list[Entry]:
    """What Vas 2024 shows, and the same under the guide where that differs from q_EW."""
    builders = (
        _matrices,
        _gabor_units,
        _example,
        _patches,
        strongest_pairs,
        consistent,
        with_signal,
    )
    found = [
        Entry("correlation-patch", "Vas 2024, Figure 5.22", lambda: _patch(study)),
    ]
    for sampling in SAMPLINGS if any(s.weighted for s in study.subjects) else ("ew",):
        for (name, source), build in zip(SOURCES.items(), builders, strict=True):
            found.append(
                Entry(
                    name if sampling == "ew" else f"{name}-q",
                    source if sampling == "ew" else BEYOND,
                    lambda make=build, of=sampling: make(study, of),
                )
            )
    return [*found, Entry("correlation-paired", BEYOND, lambda: _paired(study, "ew"))]


def _patch(study: Study) -> Item:
    def draw(axes: Sequence[Axes], subject: Subject, found: Named) -> pd.DataFrame:
        images = as_images(rows_of_test(subject, found.rows[:1]), subject.natural)
        limit = np.abs(images).max() if images.ndim == 3 else None  # colours have their own
        plot_image_grid(axes[0], images, 1, limit=limit)
        axes[0].set_title(f"{subject.name}: test row {found.rows[0]}")
        return pd.DataFrame({"row": found.rows[:1], "pool": found.pool})

    figure, table = panels(study, "ew", 1, draw)
    return Item(
        "The example patch of the pictures below, one at random of the "
        f"{table.pool.max()} test patches of highest contrast; runs of equal seeds see the "
        "same patch.",
        figure,
        table,
    )


def _matrices(study: Study, sampling: str) -> Item:
    def draw(axes: Sequence[Axes], subject: Subject, found: Named) -> pd.DataFrame:
        pictures.plot_correlation_matrix(axes[0], found.matrix)
        axes[0].set_title(f"{subject.name}: {axes[0].get_title()}")
        n, counts = int(found.num_draws), found.example_counts
        pictures.plot_correlation_histogram(
            axes[1], counts, EDGES, n, shuffled=found.shuffled_counts
        )
        r = found.matrix[pairs(len(found.units))]
        return pd.DataFrame(
            {
                "pairs": [len(r)],
                "sd": [r.std()],
                "chance_sd": [(n - 1) ** -0.5],
                "share_above_0.1": [(np.abs(r) > 0.1).mean()],
                "chance_above_0.1": [float(chance_above(0.1, n))],
                "strongest": [np.abs(r).max()],
                "chance_strongest": chance_strongest(len(r), n, 1),
            }
        )

    figure, table = panels(study, sampling, 2, draw)
    told = ", ".join(
        f"{row.sd:.3f} ({row.model}; chance {row.chance_sd:.3f})" for row in table.itertuples()
    )
    return Item(
        "Correlations of all pairs of active units on the example patch and their density over "
        f"that of shuffled draws of all patches and of chance; {drawn_from(study, sampling)}. "
        f"Standard deviation of r: {told}.",
        figure,
        table,
    )


def _gabor_units(study: Study, sampling: str) -> Item:
    def draw(axes: Sequence[Axes], subject: Subject, found: Named) -> pd.DataFrame:
        chosen = among(gabors(subject, found))
        counts = found.pair_counts[chosen]
        if len(counts) == 0:
            raise InputError("fewer than 2 active units fit the thresholds")
        n, half = int(found.num_draws), len(EDGES) // 2
        folded = found.shuffled_counts[half:] + found.shuffled_counts[:half][::-1]
        folded = folded.reshape(len(ABSOLUTE_EDGES) - 1, -1).sum(1)
        pictures.plot_correlation_histogram(
            axes[0], counts.sum(0), ABSOLUTE_EDGES, n, shuffled=folded
        )
        axes[0].set_title(f"{subject.name}: {len(counts)} pairs")
        share = counts.sum(0) / counts.sum()
        row = {"pairs": [len(counts)], "patches": [len(found.rows)]}
        absolute = found.pair_absolute[chosen].mean()
        row |= {"mean_absolute": [absolute], "chance_mean": [chance_mean(n)]}
        for size in (0.1, 0.2):
            above = ABSOLUTE_EDGES[:-1] > size - 1e-9
            row |= {
                f"share_above_{size}": [share[above].sum()],
                f"shuffled_above_{size}": [folded[above].sum() / folded.sum()],
                f"chance_above_{size}": [float(chance_above(size, n))],
            }
        return pd.DataFrame(row)

    figure, table = panels(study, sampling, 1, draw)
    told = ", ".join(
        f"{row.mean_absolute:.3f} ({row.model}; chance {row.chance_mean:.3f})"
        for row in table.itertuples()
    )
    return Item(
        "|r| between the selected Gabor units, over pairs and patches, with shuffled draws and "
        f"chance; {drawn_from(study, sampling)}. Mean |r|: {told}.",
        figure,
        table,
    )


def _example(study: Study, sampling: str) -> Item:
    def row(found: Named) -> dict:
        r, n = np.abs(found.strongest[0]), int(found.num_draws)
        chance = chance_strongest(len(found.pair_mean), n)
        return {f"r{rank}": value for rank, value in enumerate(r[:5], 1)} | {
            "mean_of_ten": r.mean(),
            "sd_of_ten": r.std(ddof=1),
            "shuffled": np.abs(found.shuffled[0]).mean(),
            "chance": chance.mean(),
            "row": found.rows[0],
            "pairs": len(found.pair_mean),
            "draws": n,
        }

    table, missing = by_run(study, sampling, row)
    ranks = summary(table, [f"r{rank}" for rank in range(1, 6)])
    ranks = ranks.assign(rank=ranks.quantity.str[1:].astype(int))
    figure = _bars(study, ranks, table)
    return Item(
        "The strongest correlations on the example patch (lines: sd over seeds, each of which has "
        f"its own patches); {drawn_from(study, sampling)}. Mean of the ten strongest: "
        f"{words(table, 'mean_of_ten')}; of shuffled draws: {words(table, 'shuffled')}; by "
        f"chance {table.chance.mean():.3f}.{missing}",
        figure,
        table,
    )


def _patches(study: Study, sampling: str) -> Item:
    table, missing = by_run(study, sampling, _strength)
    ranks = summary(table, [f"r{rank}" for rank in range(1, 6)])
    spread = summary(table, [f"sd{rank}" for rank in range(1, 6)])
    ranks = ranks.assign(rank=ranks.quantity.str[1:].astype(int), sd=spread.get("mean").to_numpy())
    return Item(
        "The five strongest |r| of a patch, mean over patches (lines: sd over patches); "
        f"{drawn_from(study, sampling)}. Mean of the five, with its spread over seeds: "
        f"{words(table, 'mean_of_five')}; of shuffled draws: "
        f"{words(table, 'shuffled_of_five')}; by chance {table.chance_of_five.mean():.4f}."
        f"{missing}",
        _bars(study, ranks, table),
        table,
    )


def _strength(found: Named) -> dict:
    r, null = np.abs(found.strongest), np.abs(found.shuffled)
    chance = chance_strongest(len(found.pair_mean), int(found.num_draws))
    row = {"patches": len(r), "pairs": len(found.pair_mean), "draws": int(found.num_draws)}
    for name, count in (("five", 5), ("ten", 10)):
        row |= {
            f"mean_of_{name}": r[:, :count].mean(),
            f"sd_over_patches_of_{name}": r[:, :count].mean(1).std(ddof=1),
            f"shuffled_of_{name}": null[:, :count].mean(),
            f"chance_of_{name}": chance[:count].mean(),
        }
    row |= {f"r{rank}": r[:, rank - 1].mean() for rank in range(1, 6)}
    return row | {f"sd{rank}": r[:, rank - 1].std(ddof=1) for rank in range(1, 6)}


def _paired(study: Study, sampling: str) -> Item:
    if one_seed(study):
        return _paired_by_patch(study, sampling)
    table, missing = by_run(study, sampling, _strength)
    # Of more pairs the strongest are larger by chance, and models differ in active units.
    table = table.assign(excess=table.mean_of_five - table.shuffled_of_five)
    baseline = study.labels[0]
    found = paired(table, "excess", baseline)
    return Item(
        "Mean of the five strongest |r| less that of shuffled draws, which takes account of how "
        f"many pairs there are, against {baseline}, paired by seed; "
        f"{drawn_from(study, sampling)}.{missing}",
        table=found,
    )


def _paired_by_patch(study: Study, sampling: str) -> Item:
    def excess(subject: Subject) -> dict[str, np.ndarray]:
        found = measured(subject, sampling)
        r, null = (np.abs(of[:, :5]).mean(1) for of in (found.strongest, found.shuffled))
        return {"excess": r - null}

    table = over_patches(study, excess)
    if table.model.nunique() < 2:
        raise InputError("there is one model, and nothing to compare it with")
    return Item(
        "Mean of the five strongest |r| of a patch less that of its shuffled draws, over patches, "
        f"and its difference to {study.labels[0]}, patch by patch where both have one seed; "
        f"{drawn_from(study, sampling)}. "
        "With one seed of each model nothing tells how much another training would change.",
        table=table,
    )


def _bars(study: Study, ranks: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Bars of the five strongest; chance is that of each model's pairs, mean over its runs."""
    figure, ax = panel(7.5, 3.6)
    draws = int(table.draws.iloc[0])
    chance = {
        model: chance_strongest(round(pairs_of_runs.mean()), draws, 5)
        for model, pairs_of_runs in table.groupby("model").pairs
    }
    pictures.plot_strongest(ax, ranks, colours(study.labels), chance)
    return figure
