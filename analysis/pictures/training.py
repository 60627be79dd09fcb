"""Pictures of training and testing: courses over steps, and the finished models in numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FormatStrFormatter

from analysis.pictures.style import colours

JITTER = 0.07  # between the seeds of a model, of the distance between models
KL_TICKS = (0, 0.5, 1, 2, 5, 10, 20, 50, 100, 1_000)  # nats


def plot_kl_curves(
    ax: Axes,
    table: pd.DataFrame,
    column: str = "kl_z2",
    title: str = "",
    labels: Sequence[str] | None = None,
) -> Axes:
    """KL of a level against training steps, a line per model (Vas 2024, Figures 5.2 and 5.3); nats.

    Args:
        table: of ``analysis.measures.training.courses``: model, seed, step and ``column``.
        labels: all models that have colours; by default those of the table.

    Lines are means over seeds with bands from the smallest to the largest seed, at the steps that
    all seeds of a model have; where these are fewer than two, every seed is a line of its own. The
    scale is linear below 1 nat and logarithmic above, since annealing makes the KL shoot up first.
    """
    _plot_courses(ax, table, column, labels)
    ax.set_yscale("symlog", linthresh=1.0, subs=range(2, 10))
    ax.yaxis.set_major_locator(FixedLocator(KL_TICKS))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.set_ylim(bottom=min(0.0, _finite(table[column]).min(initial=0.0)))
    ax.set_ylabel(f"KL of {column.removeprefix('kl_')}, nats")
    ax.set_title(title)
    return ax


def plot_bound_curves(
    ax: Axes,
    table: pd.DataFrame,
    column: str,
    title: str = "",
    labels: Sequence[str] | None = None,
) -> Axes:
    """A bound against training steps, drawn as :func:`plot_kl_curves`; nats per datum.

    The start, which is far below, runs off the axis.
    """
    _plot_courses(ax, table, column, labels)
    values = _finite(table[column])
    if len(values) >= 4:
        low, high = np.quantile(values, 0.25), values.max()
        margin = 0.25 * max(high - low, 1e-3)
        ax.set_ylim(max(values.min() - margin, low - 3 * margin), high + margin)
    ax.set_ylabel("nats")
    ax.set_title(title)
    return ax


def plot_by_model(
    ax: Axes,
    table: pd.DataFrame,
    value: str,
    title: str,
    unit: str,
    labels: Sequence[str] | None = None,
) -> Axes:
    """One number of every run by model: a dot per seed, with mean and standard deviation beside.

    Args:
        table: a row per run: model, seed and ``value``; NaN is not drawn.
        unit: of the value, on the axis. labels: all models that have colours.
    """
    models, per_model = _models(table, labels)
    for place, model in enumerate(models):
        colour = per_model[model]
        values = table.loc[table.model == model, value].dropna().to_numpy(float)
        spots = place - JITTER * (1 + np.linspace(-0.5, 0.5, len(values)))
        ax.plot(spots, values, "o", color=colour, markersize=4, alpha=0.6)
        if len(values) > 1:
            ax.errorbar(
                [place + JITTER],
                [values.mean()],
                yerr=[values.std(ddof=1)],
                fmt="_",
                color=colour,
                capsize=4,
                markersize=14,
            )
    ax.set_xticks(range(len(models)), models, rotation=30, ha="right")
    ax.set_xlim(-0.6, len(models) - 0.4)
    ax.set_ylabel(unit)
    ax.set_title(title)
    ax.grid(axis="y", alpha=0.3)
    return ax


def _models(
    table: pd.DataFrame, labels: Sequence[str] | None
) -> tuple[list[str], dict[str, tuple[float, float, float]]]:
    """Models of the table, in its order, and the colours of all."""
    models = list(dict.fromkeys(table.model))
    return models, colours(models if labels is None else labels)


def _plot_courses(ax: Axes, table: pd.DataFrame, column: str, labels: Sequence[str] | None) -> None:
    models, per_model = _models(table, labels)
    for model in models:
        colour = per_model[model]
        rows = table[table.model == model]
        by_seed = rows.pivot(index="step", columns="seed", values=column)
        number = by_seed.shape[1]
        label = model if number == 1 else f"{model} ({number} seeds)"
        shared = by_seed.dropna()
        if len(shared) >= 2:
            ax.plot(shared.index, shared.mean(axis=1), color=colour, label=label)
            ax.fill_between(
                shared.index,
                shared.min(axis=1),
                shared.max(axis=1),
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
        else:
            for seed in by_seed:
                ax.plot(by_seed[seed].dropna(), color=colour, linewidth=0.8, label=label)
                label = None
    ax.set_xlabel("training steps")
    ax.grid(alpha=0.3)
    ax.legend(fontsize="small")


def _finite(values: pd.Series) -> np.ndarray:
    values = values.to_numpy(float)
    return values[np.isfinite(values)]
