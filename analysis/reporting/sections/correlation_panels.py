"""What the entries on correlations share: panels by model, tables by run, words for both.

A run for which something cannot be shown has the reason in its panel, or in the sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures import seeds
from analysis.measures.by_name import Named
from analysis.measures.filters import select_gabors
from analysis.probes.image_rows import as_images
from analysis.reporting.over_runs import by_model, drawn, tables, without
from analysis.reporting.study import Study, Subject

SAMPLINGS = ("ew", "q")
Draw = Callable[[Sequence[Axes], Subject, Named], pd.DataFrame]


def measured(subject: Subject, sampling: str) -> Named:
    """Correlations under q or q_EW, which are the same for a subject without weights."""
    of_guide = sampling == "q" and subject.weighted
    return subject.measured("correlations_q" if of_guide else "correlations")


def drawn_from(study: Study, sampling: str) -> str:
    """What the draws are of, and on how many patches: fewer where each draw costs k proposals."""
    chosen = study.subjects[0].settings
    if sampling == "q":
        return f"draws from q, on at most {chosen.patches} patches"
    return (
        f"draws from q_EW for models with k > 1, on at most {chosen.weighted_patches} patches, "
        f"from q for others, on at most {chosen.patches}"
    )


def panels(
    study: Study, sampling: str, columns: int, draw: Draw, *, size: tuple[float, float] = (4.4, 3.6)
) -> tuple[Figure, pd.DataFrame]:
    """One run of each model, drawn into so many axes each, and the tables that drawing returns.

    Models stand below each other where they take several axes, in rows of three else.
    """

    def draw_measured(axes: Sequence[Axes], subject: Subject) -> pd.DataFrame:
        return draw(axes, subject, measured(subject, sampling))

    figure, table, _ = drawn(study.examples(), draw_measured, size, each=columns)
    return figure, table


def by_run(study: Study, sampling: str, row: Callable[[Named], dict]) -> tuple[pd.DataFrame, str]:
    """A row for every run, and words for those that have none ("" where all have)."""
    table, left_out = tables(by_model(study), lambda subject: row(measured(subject, sampling)))
    return table, without(left_out)


def words(table: pd.DataFrame, value: str) -> str:
    """The mean of a column over seeds with its spread, model by model."""
    return seeds.words(table, value, digits=4)


def gabors(subject: Subject, found: Named) -> np.ndarray:
    """Which of the A active units are Gabor units by the rule of Vas 2024, Figure 5.24, (A,)."""
    side = min(as_images(rows_of_test(subject, found.rows[:1]), subject.natural).shape[1:])
    return select_gabors(pd.DataFrame(subject.measured("gabor")), side)[found.units]


def rows_of_test(subject: Subject, rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) of the subject's own test data."""
    return subject.natural.test[rows].cpu().numpy()
