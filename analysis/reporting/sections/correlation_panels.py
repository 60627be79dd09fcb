"""What the entries on correlations share: panels by model, tables by run, words for both.

A run for which something cannot be shown has the reason in its panel, or in the sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import as_images
from analysis.measures.filters import select_gabors
from analysis.measures.seeds import mean_and_spread, summary
from analysis.reporting.over_runs import by_model, drawn, tables, without
from analysis.reporting.study import Study, Subject

SAMPLINGS = {"ew": "draws from q_EW for models with k > 1, from q for others", "q": "draws from q"}
Arrays = dict[str, np.ndarray]
Draw = Callable[[Sequence[Axes], Subject, Arrays], pd.DataFrame]


def measured(subject: Subject, sampling: str) -> Arrays:
    """Correlations under q or q_EW, which are the same for a subject without weights."""
    of_guide = sampling == "q" and subject.weighted
    return subject.measured("correlations_q" if of_guide else "correlations")


def panels(
    study: Study, sampling: str, columns: int, draw: Draw, *, size: tuple[float, float] = (4.4, 3.6)
) -> tuple[Figure, pd.DataFrame]:
    """One run of each model, drawn into so many axes each, and the tables that drawing returns.

    Models stand below each other where they take several axes, in rows of three else.
    """
    examples = study.examples()
    across = columns if columns > 1 else min(3, len(examples))
    down = len(examples) if columns > 1 else math.ceil(len(examples) / across)
    figure = Figure(figsize=(size[0] * across, size[1] * down), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    table = drawn(
        examples,
        (axes[place : place + columns] for place in range(0, len(axes), columns)),
        lambda own, subject: draw(own, subject, measured(subject, sampling)),
    )
    for ax in axes[len(examples) * columns :]:
        ax.set_axis_off()
    return figure, table


def by_run(study: Study, sampling: str, row: Callable[[Arrays], dict]) -> tuple[pd.DataFrame, str]:
    """A row for every run, and words for those that have none ("" where all have)."""
    table, left_out = tables(by_model(study), lambda subject: row(measured(subject, sampling)))
    return table, without(left_out)


def words(table: pd.DataFrame, value: str) -> str:
    """The mean of a column over seeds with its spread, model by model."""
    found = summary(table, value)
    return ", ".join(
        f"{row.model} {mean_and_spread(row.mean, row.sd, row.n, digits=4)}"
        for row in found.itertuples(index=False)
    )


def gabors(subject: Subject, found: Arrays) -> np.ndarray:
    """Which of the A active units are Gabor units by S0's thresholds (Figure 5.24), (A,)."""
    side = min(as_images(rows_of_test(subject, found["rows"][:1]), subject.natural).shape[1:])
    return select_gabors(pd.DataFrame(subject.measured("gabor")), side)[found["units"]]


def rows_of_test(subject: Subject, rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) of the subject's own test data."""
    return subject.natural.test[rows].cpu().numpy()
