"""Pictures of posterior correlations: matrices, histograms, the strongest pairs, their draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.measures.correlation import chance_density, correlations_of_one
from analysis.pictures.image_grids import plot_image_grid
from analysis.pictures.style import name_models
from pyro_vae.errors import InputError

NULL = {"color": "k", "linewidth": 1.0, "linestyle": ":"}
Colours = Mapping[str, Sequence[float]]


def plot_correlation_matrix(ax: Axes, matrix: np.ndarray, *, limit: float = 0.5) -> Axes:
    """Correlations (A, A) of units in colours of +-limit, no diagonal (Vas 2024, Figure 5.23)."""
    shown = np.array(matrix, float)
    if shown.ndim != 2 or shown.shape[0] != shown.shape[1]:
        raise InputError(
            f"a correlation matrix is square, got shape {shown.shape}; "
            "analysis.measures.correlation.matrix makes one of a triangle"
        )
    np.fill_diagonal(shown, np.nan)
    image = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.figure.colorbar(image, ax=ax, shrink=0.8, label="correlation")
    ax.set_xlabel("active unit")
    ax.set_ylabel("active unit")
    ax.set_title(f"{len(shown)} active units of z1")
    return ax


def plot_correlation_histogram(
    ax: Axes,
    counts: np.ndarray,
    edges: np.ndarray,
    num_draws: int,
    *,
    shuffled: np.ndarray | None = None,
    colour: Sequence[float] | str = "tab:blue",
) -> Axes:
    """Density of r, or of |r| where edges start at 0, log scale, over its density by chance.

    Args:
        counts: (bins,) on ``edges`` (bins + 1,). num_draws: n behind every correlation.
        shuffled: counts with shuffled draws, as points.
    """
    middle, width = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    density = _density(counts, width)
    ax.stairs(density, edges, fill=True, color=colour, alpha=0.5, label="draws")
    if shuffled is not None:
        ax.plot(middle, _density(shuffled, width), "k.", markersize=3, label="shuffled draws")
    folded = 2 if edges[0] >= 0 else 1
    ax.plot(middle, folded * chance_density(middle, num_draws), "k:", linewidth=1, label="chance")
    seen = np.abs(middle[counts > 0]).max() if counts.any() else 1.0
    right = min(1.0, max(1.1 * seen, 6 / np.sqrt(num_draws)))
    ax.set_xlim(0 if folded == 2 else -right, right)
    ax.set_yscale("log")
    # From a third of one pair upwards: the tails of the formula go on for hundreds of decades.
    lowest = 1 / (max(counts.sum(), 1) * width[0])
    ax.set_ylim(lowest / 3, 5 * np.nanmax(density, initial=lowest))
    ax.set_xlabel("|correlation|" if folded == 2 else "correlation")
    ax.set_ylabel("density")
    ax.legend(fontsize="small")
    return ax


def _density(counts: np.ndarray, width: np.ndarray) -> np.ndarray:
    density = counts / (max(counts.sum(), 1) * width)
    return np.where(density > 0, density, np.nan)


def plot_strongest(
    ax: Axes, table: pd.DataFrame, colours: Colours, chance: Mapping[str, np.ndarray] | None = None
) -> Axes:
    """Strongest |r| by rank, a bar per model with its spread (Vas 2024, Figures 5.26 and 5.27).

    Args:
        table: columns ``model``, ``rank`` (from 1), ``mean``, ``sd`` (NaN: no error line).
        chance: model -> expected |r| by rank with independent units, dotted; of more pairs the
            strongest are larger.
    """
    models = [model for model in colours if model in set(table.model)]
    width = 0.8 / len(models)
    for place, model in enumerate(models):
        rows = table[table.model == model].sort_values("rank")
        x = rows["rank"] + (place - (len(models) - 1) / 2) * width
        ax.bar(x, rows["mean"], width, color=colours[model], label=model)
        some = rows.sd.notna()
        ax.errorbar(x[some], rows["mean"][some], rows.sd[some], fmt="none", ecolor="k", capsize=2)
        if chance is not None:
            label = "chance" if place == 0 else None
            level = chance[model][: len(x)]
            ax.hlines(level, x - width / 2, x + width / 2, label=label, zorder=3, **NULL)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("rank of the pair")
    ax.set_ylabel("|correlation|")
    ax.legend(fontsize="small", loc="lower center", ncols=3)
    return ax


def plot_pair_samples(
    ax: Axes,
    draws: np.ndarray,
    names: tuple[str, str],
    filters: np.ndarray | None = None,
    *,
    colour: Sequence[float] | str = "tab:blue",
) -> Axes:
    """Joint draws (n, 2) of two units, with their filters (2, H, W[, 3]) above (Vas 2024, 5.28-30).

    The filters stand over the axes, the first unit's on the left, each in greys of its own.
    """
    ax.plot(*draws.T, ".", markersize=2, alpha=0.5, color=colour)
    r = correlations_of_one(draws)[0]
    ax.set_xlabel(names[0])
    ax.set_ylabel(names[1])
    if filters is None:
        ax.set_title(f"r = {r:.2f}")
        return ax
    ax.text(0.5, 1.2, f"r = {r:.2f}", ha="center", va="center", transform=ax.transAxes)
    for left, image, name in zip((0.02, 0.63), filters, names, strict=True):
        inset = ax.inset_axes((left, 1.04, 0.35, 0.35))
        plot_image_grid(inset, image[None], 1, limit=max(np.abs(image).max(), 1e-12))
        inset.set_title(name, fontsize="small", pad=2)
    return ax


def plot_signal_noise(
    ax: Axes, signal: np.ndarray, noise: np.ndarray, found: pd.Series | None = None
) -> Axes:
    """Noise against signal correlation of every pair, (M,) each; colours count pairs, log scale.

    Args:
        found: a row of ``measures.correlation.signal_noise``, written and drawn as a line.
    """
    ax.hexbin(signal, noise, gridsize=40, bins="log", mincnt=1, cmap="viridis")
    ax.axhline(0, color="0.6", linewidth=0.5)
    ax.axvline(0, color="0.6", linewidth=0.5)
    if found is not None:
        ends = np.array([signal.min(), signal.max()])
        ax.plot(ends, found.slope * ends, "r-", linewidth=1)
        ax.set_title(
            f"similarity {found.similarity:.3f}\n(null {found.null_mean:.3f} ± {found.null_sd:.3f})"
        )
    ax.set_xlabel("signal correlation")
    ax.set_ylabel("noise correlation")
    return ax


def plot_consistency(ax: Axes, table: pd.DataFrame, colours: Colours) -> Axes:
    """Ratios of Vas 2024, Table 5.8, with their nulls, one point per run.

    Args:
        table: columns ``model``, ``ratio`` (pairs chosen where they are measured), ``permuted``
            (its null), ``halves`` (chosen by other draws) and ``exchangeable`` (its null).
    """
    models = [model for model in colours if model in set(table.model)]
    shown = (("ratio", "o", -0.12), ("halves", "^", 0.12))
    for place, model in enumerate(models):
        rows = table[table.model == model]
        for column, marker, shift in shown:
            label = {"ratio": "chosen and measured on all draws", "halves": "on either half"}
            ax.plot(
                np.full(len(rows), place + shift),
                rows[column],
                marker,
                color=colours[model],
                label=label[column] if place == 0 else None,
            )
        for column, shift in (("permuted", -0.12), ("exchangeable", 0.12)):
            label = "their nulls" if place == 0 and column == "permuted" else None
            values = rows[column].mean()
            ax.hlines(values, place + shift - 0.1, place + shift + 0.1, label=label, **NULL)
    name_models(ax, models)
    ax.set_ylabel("|mean - r| / sd over patches")
    ax.set_ylim(0, None)
    ax.legend(fontsize="small")
    return ax
