"""Pictures of what models make of stimuli: filled-in patches, and responses to contours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from analysis.pictures.image_grids import plot_rows
from analysis.pictures.style import colours


def plot_errors(ax: Axes, table: pd.DataFrame, names: Mapping[str, str]) -> Axes:
    """Error of every way to fill in hidden pixels, a mark per run, log scale.

    Args:
        table: columns ``model``, ``seed``, ``method``, ``error`` and ``standard_error`` over
            patches, in squared units of the rows.
        names: method -> its name on the axis, in the order shown.
    """
    models = list(dict.fromkeys(table.model))
    shown = [name for name in names if name in set(table.method)]
    for place, model in enumerate(models):
        rows = table[(table.model == model) & table.method.isin(shown)]
        shift = 0.12 * (place - (len(models) - 1) / 2)
        ax.errorbar(
            rows.error.to_numpy(),
            [shown.index(method) + shift for method in rows.method],
            xerr=rows.standard_error.to_numpy(),
            fmt="o",
            markersize=4,
            linewidth=1,
            color=colours(models)[model],
            label=model,
        )
    ax.set_yticks(range(len(shown)), [names[name] for name in shown])
    ax.invert_yaxis()
    ax.set_xscale("log")
    ax.set_xlabel("mean squared error of hidden pixels (bars: s.e. over patches)")
    ax.set_title("inpainting of occluded patches")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
    return ax


def plot_course(
    ax: Axes, courses: Mapping[str, Sequence[NDArray]], grey: float, noisy: float | None = None
) -> Axes:
    """Error of imputation after each sweep, a line per run.

    Args:
        courses: model -> its runs' mean squared errors (sweeps,). grey: error of the filling it
            starts from. noisy: of linear interpolation under the decoder's noise.
    """
    colour = colours(list(courses))
    for model, runs in courses.items():
        for index, course in enumerate(runs):
            sweep = np.arange(1, len(course) + 1)
            label = model if index == 0 else None
            ax.plot(sweep, course, color=colour[model], linewidth=1, label=label)
    ax.axhline(grey, color="k", linestyle=":", label="filled with grey")
    if noisy is not None:
        ax.axhline(noisy, color="k", linestyle="--", label="linear, decoder's noise")
    ax.set_xlabel("sweep")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("mean squared error")
    ax.set_yscale("log")
    ax.set_title("imputation by sweeps")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
    return ax


def plot_fillings(ax: Axes, images: Mapping[str, NDArray], title: str) -> Axes:
    """Patches (n, H, W) filled in in several ways, a named row each, one symmetric grey scale."""
    stack = np.stack(list(images.values()))
    limit = float(np.quantile(np.abs(next(iter(images.values()))), 0.99))
    plot_rows(ax, stack, list(images), limit=limit)
    ax.tick_params(labelsize="small")
    ax.set_title(title)
    return ax


def plot_stimuli(ax: Axes, images: NDArray, row_names: Sequence[str], columns: Sequence[str]):
    """Stimuli (units, conditions, H, W), a row per unit and a column per condition."""
    limit = float(np.abs(images).max())
    plot_rows(ax, images, row_names, columns, limit=limit)
    ax.tick_params(labelsize="small")
    return ax


def plot_shares(ax: Axes, table: pd.DataFrame, what: str) -> Axes:
    """Shares of the response to the full grating, a mark per run, with zero and one drawn.

    Args:
        table: columns ``model``, ``share``, ``standard_error`` over units, and ``what``.
        what: the column that the vertical axis counts through, such as "condition".
    """
    models, kinds = (list(dict.fromkeys(table[name])) for name in ("model", what))
    for place, model in enumerate(models):
        rows = table[table.model == model]
        shift = 0.12 * (place - (len(models) - 1) / 2)
        ax.errorbar(
            rows.share.to_numpy(),
            [kinds.index(kind) + shift for kind in rows[what]],
            xerr=rows.standard_error.to_numpy(),
            fmt="o",
            markersize=4,
            linewidth=1,
            color=colours(models)[model],
            label=model,
        )
    ax.axvline(0.0, color="k", linewidth=0.8)
    ax.set_yticks(range(len(kinds)), kinds)
    ax.invert_yaxis()
    ax.set_xlabel("share of the response to the full grating (bars: s.e. over units)")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
    return ax
