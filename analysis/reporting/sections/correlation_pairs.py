"""Strong pairs of units: their filters and draws, and how constant they are; noise and signal.

Figures 5.28 to 5.30 and Table 5.8; signal against noise correlations go beyond Vas 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.measures import consistency
from analysis.measures.by_name import Named
from analysis.measures.correlation import among, pairs, signal_correlations, signal_noise
from analysis.pictures import correlation as pictures
from analysis.pictures.panels import panel
from analysis.pictures.style import colours
from analysis.probes.image_rows import as_effects
from analysis.reporting.item import Item
from analysis.reporting.sections.correlation_panels import by_run, drawn_from, panels, words
from analysis.reporting.study import Study, Subject

SHOWN_PAIRS = 3
NAME_WIDTH = 24  # letters of a line along an axis


def strongest_pairs(study: Study, sampling: str) -> Item:
    """The three strongest pairs on the example patch: filters and joint draws."""

    def draw(axes: Sequence[Axes], subject: Subject, found: Named) -> pd.DataFrame:
        fields = as_effects(subject.measured("filters").projective, subject.natural)
        first, second = pairs(len(found.units))
        rows = []
        for ax, pair, r in zip(axes, found.strongest_pairs[0], found.strongest[0], strict=False):
            both = [first[pair], second[pair]]
            units = found.units[both]
            pictures.plot_pair_samples(
                ax,
                found.example_draws[:, both],
                (f"unit {units[0]}", f"unit {units[1]}"),
                fields[units],
            )
            if ax is axes[0]:
                ax.set_ylabel(f"{fill(subject.name, NAME_WIDTH)}\n{ax.get_ylabel()}")
            mean = found.example_draws[:, both].mean(0)
            rows.append(
                {
                    "first": units[0],
                    "second": units[1],
                    "r": r,
                    "first_mean": mean[0],
                    "second_mean": mean[1],
                }
            )
        return pd.DataFrame(rows)

    figure, table = panels(study, sampling, SHOWN_PAIRS, draw, size=(3.6, 4.2))
    return Item(
        "The three strongest pairs of active units on the example patch: joint posterior draws "
        f"with the projective fields of the two units above; {drawn_from(study, sampling)}. "
        "They are strongest of all pairs, hence some of their r is luck: the nulls of the table of "
        "strongest correlations say how much.",
        figure,
        table,
    )


def consistent(study: Study, sampling: str) -> Item:
    """The ratio of Vas 2024, Table 5.8, with three nulls."""

    def row(found: Named) -> dict:
        patches, num_pairs = len(found.rows), len(found.pair_mean)
        permuted = found.permuted_ratios
        return {
            "three_references": found.reference_ratios.mean(),
            "ratio": found.every_ratios.mean(),
            "permuted": permuted.mean(),
            "permuted_sd": permuted.std(ddof=1),
            "noise": consistency.noise_ratio(num_pairs, patches - 1),
            "halves": found.half_ratios.mean(),
            "exchangeable": consistency.exchangeable_ratio(patches - 1),
            "patches": patches,
            "pairs": num_pairs,
        }

    table, missing = by_run(study, sampling, row)
    figure, ax = panel(7.5, 3.6)
    pictures.plot_consistency(ax, table, colours(study.labels))
    return Item(
        "How far the strongest correlations of a patch lie from the same pairs' mean over other "
        f"patches, in standard deviations over patches; {drawn_from(study, sampling)}. With three "
        f"reference patches as Vas 2024: {words(table, 'three_references')}. With every patch as "
        f"reference: {words(table, 'ratio')}. The choice of the strongest pairs raises it: with "
        f"patches permuted within pairs it is {words(table, 'permuted')}, and "
        f"{table.noise.mean():.2f} if all were noise. Pairs chosen by half of the draws and "
        f"measured with the other: {words(table, 'halves')}; here "
        f"{table.exchangeable.mean():.3f} means that the correlation is the same at all "
        f"patches.{missing}",
        figure,
        table,
    )


def with_signal(study: Study, sampling: str) -> Item:
    """Noise correlations against signal correlations of all pairs of active units."""

    def row(found: Named) -> dict:
        return signal_noise(*_signal(found)).to_dict("records")[0]

    def draw(axes: Sequence[Axes], subject: Subject, found: Named) -> pd.DataFrame:
        means, covariance, noise, num_draws = _signal(found)
        signal, moving = signal_correlations(means, covariance, num_draws)
        table = signal_noise(means, covariance, noise, num_draws)
        pictures.plot_signal_noise(axes[0], signal, noise[among(moving)], table.iloc[0])
        axes[0].set_title(f"{subject.name}\n{axes[0].get_title()}")
        return table

    table, missing = by_run(study, sampling, row)
    figure, _ = panels(study, sampling, 1, draw)
    return Item(
        "Correlations of posterior means over patches (signal) against posterior correlations "
        f"averaged over patches (noise), every pair of active units; "
        f"{drawn_from(study, sampling)}. "
        f"Similarity about zero: {words(table, 'similarity')}; 0 by chance, with a sd of "
        f"{words(table, 'null_sd')} where the noise correlations are given to other units with "
        f"random signs.{missing}",
        figure,
        table,
    )


def _signal(found: Named) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    return found.means, found.covariance, found.pair_average, int(found.num_draws)
