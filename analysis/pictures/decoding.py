"""Pictures of decoding: accuracies per model, confusions, units added, scatters, information."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.pictures.style import PALETTE, class_colours, class_handles, colours, name_models
from pyro_vae.errors import InputError

SPREAD = 0.5  # width that the points of one model take, of the distance between models
JITTER = 0.06


def plot_accuracies(ax: Axes, table: pd.DataFrame, chance: float, title: str) -> Axes:
    """Accuracy of every run by model, and the mean and standard deviation over seeds beside it.

    Args:
        table: a row per run, or per run and group: ``model``, ``accuracy`` (share), and where there
            are any ``group`` (drawn side by side, named in a legend) and ``null`` (crosses).
        chance: the dashed line.
    """
    models = list(dict.fromkeys(table.model))
    grouped = "group" in table
    groups = list(dict.fromkeys(table.group)) if grouped else [None]
    per_model = colours(models)
    for place, group in enumerate(groups):
        shift = SPREAD * ((place + 0.5) / len(groups) - 0.5)
        for position, model in enumerate(models):
            rows = table[table.model == model]
            rows = rows[rows.group == group] if grouped else rows
            values = rows.accuracy.dropna().to_numpy()
            colour = PALETTE[place % len(PALETTE)] if grouped else per_model[model]
            label = group if grouped and position == 0 else None
            _points(ax, position + shift, values, colour, label)
            if "null" in rows:
                null = rows.null.to_numpy()
                label = "shuffled labels" if place == position == 0 else None
                x = np.full(len(null), position + shift)
                ax.plot(x, null, "x", color="0.5", markersize=4, label=label)
    ax.axhline(chance, color="k", linestyle="--", linewidth=1, label=f"chance {chance:.2f}")
    name_models(ax, models)
    ax.set_xlim(-0.6, len(models) - 0.4)
    ax.set_ylim(0, 1)
    ax.set_ylabel("accuracy on test data")
    # Beside the points, which may lie anywhere between chance and one.
    ax.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1.0, 1.0))
    ax.grid(axis="y", alpha=0.3)
    ax.set_title(title)
    return ax


def plot_confusion(ax: Axes, confusion: np.ndarray, names: Sequence[str], title: str) -> Axes:
    """Confusion matrix (C, C), rows the true class, of shares that add up to one per row."""
    image = np.asarray(confusion)
    if image.shape != (len(names), len(names)):
        raise InputError(
            f"a confusion matrix of {len(names)} classes is square, got shape {image.shape}"
        )
    ax.imshow(image, cmap="Blues", vmin=0.0, vmax=1.0)
    # Beyond this many the numbers would not be legible, and the shades say it all.
    if len(names) <= 10:
        for row, column in np.ndindex(*image.shape):
            if np.isfinite(image[row, column]):
                ax.text(
                    column,
                    row,
                    f"{image[row, column]:.2f}",
                    ha="center",
                    va="center",
                    fontsize="small",
                    color="w" if image[row, column] > 0.5 else "k",
                )
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_xlabel("decoded")
    ax.set_ylabel("true")
    ax.set_title(title)
    return ax


def plot_accuracy_curve(ax: Axes, table: pd.DataFrame, chance: float, title: str) -> Axes:
    """Accuracy against the number of units: mean over seeds with its standard deviation.

    Args:
        table: a row per run and number of units: ``model``, ``seed``, ``units``, ``accuracy``.
        chance: the dashed line.
    """
    for model, colour in colours(list(dict.fromkeys(table.model))).items():
        by_units = table[table.model == model].groupby("units").accuracy
        mean, sd = by_units.mean(), by_units.std().fillna(0.0)
        ax.plot(mean.index, mean, marker=".", color=colour, label=model)
        ax.fill_between(mean.index, mean - sd, mean + sd, color=colour, alpha=0.15, linewidth=0)
    ax.axhline(chance, color="k", linestyle="--", linewidth=1, label=f"chance {chance:.2f}")
    ax.set_xlabel("number of units")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel("accuracy on test data")
    ax.set_ylim(0, 1)
    ax.legend(fontsize="small", loc="lower right")
    ax.grid(alpha=0.3)
    ax.set_title(title)
    return ax


def plot_label_scatter(
    ax: Axes,
    values: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    axis_names: Sequence[str],
    title: str,
    *,
    legend: bool = True,
) -> Axes:
    """Data on two units, (N, 2), in the colour of their label (Vas 2024, Figures 5.12 and 5.21).

    ``labels`` (N,) are indices into ``names``; InputError for more classes than colours.
    """
    _scatter(ax, values, class_colours(len(names))[labels])
    ax.set_xlabel(axis_names[0])
    ax.set_ylabel(axis_names[1])
    if legend:
        name_classes(ax, names)
    ax.grid(alpha=0.3)
    ax.set_title(title)
    return ax


def plot_plane(
    ax: Axes,
    points: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    width: np.ndarray | None = None,
) -> Axes:
    """Points (N, 2) in the colour of their class, with the class's name at its median.

    ``classes`` (N,) are indices into ``names``, of which there are at most ``MAX_CLASSES``. A cross
    in the corner extends by +-``width`` (2,) in the two directions.
    """
    shades = class_colours(len(names))
    _scatter(ax, points, shades[classes])
    outline = [patheffects.withStroke(linewidth=3, foreground="white")]
    for index, name in enumerate(names):
        members = points[classes == index]
        if len(members):
            ax.text(
                *np.median(members, axis=0),
                name,
                color=0.7 * shades[index, :3],
                weight="bold",
                ha="center",
                va="center",
                path_effects=outline,
                clip_on=True,
            )
    ax.set_aspect("equal", adjustable="box")
    ax.grid(alpha=0.3)
    if width is not None:
        _plot_width(ax, points, width)
    return ax


def _plot_width(ax: Axes, points: np.ndarray, width: np.ndarray) -> None:
    """A cross below and left of all points, where it hides none of them."""
    x, y = points.min(axis=0) - 1.5 * width
    ax.errorbar([x], [y], xerr=[width[0]], yerr=[width[1]], color="k", capsize=3, linewidth=1.5)


def name_classes(ax: Axes, names: Sequence[str]) -> None:
    """A legend of the classes by their colours."""
    ax.legend(handles=class_handles(names), fontsize="x-small", loc="upper right")


def _scatter(ax: Axes, points: np.ndarray, colours: np.ndarray) -> None:
    """Points in the rows' own order: class by class, the last one would cover the others."""
    ax.scatter(*points.T, c=colours, s=5, linewidths=0, alpha=0.7)


def plot_information(ax: Axes, table: pd.DataFrame, title: str) -> Axes:
    """Information of single units with the label, sorted within each run; nats.

    Args:
        table: a row per run and unit: ``model``, ``seed``, ``information``, ``null_high`` (0.95
            quantile under shuffled labels), ``label_entropy``.
    """
    for model, colour in colours(list(dict.fromkeys(table.model))).items():
        label = model
        for _, run in table[table.model == model].groupby("seed"):
            falling = np.sort(run.information.to_numpy())[::-1]
            rank = np.arange(1, len(falling) + 1)
            ax.plot(rank, falling, ".-", markersize=3, linewidth=0.8, color=colour, label=label)
            label = None
    null, entropy = table.null_high.mean(), table.label_entropy.mean()
    ax.axhline(
        null,
        color="k",
        linestyle="--",
        linewidth=1,
        label=f"0.95 of units below this under shuffled labels ({null:.3f})",
    )
    ax.set_xlabel("unit, sorted by information")
    ax.set_ylabel("mutual information with the label, nats")
    ax.legend(fontsize="small", loc="upper right")
    ax.grid(alpha=0.3)
    ax.set_title(f"{title} (label entropy {entropy:.2f})")
    return ax


def _points(
    ax: Axes, position: float, values: np.ndarray, colour: Sequence[float], label: str | None
) -> None:
    """A dot per seed, and a bar for mean and standard deviation where there are several."""
    if not len(values):
        return
    places = position - JITTER + np.linspace(-JITTER, JITTER, len(values)) / 2
    ax.plot(places, values, "o", color=colour, markersize=4, alpha=0.5, label=label)
    if len(values) > 1:
        ax.errorbar(
            [position + JITTER],
            [values.mean()],
            yerr=[values.std(ddof=1)],
            fmt="_",
            color=colour,
            capsize=4,
            markersize=12,
        )
