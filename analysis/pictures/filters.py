"""Pictures of filters: grids by class, beside their Gabor fits, counts over seeds, parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from analysis.pictures.image_grids import shades, side_by_side
from analysis.pictures.style import colours, name_models
from pyro_vae.errors import InputError
from pyro_vae.evaluation.filters.classes import CLASSES

CLASS_COLOURS = dict(zip(CLASSES, ("tab:green", "tab:purple", "0.75"), strict=True))
FRAME, GAP = 1, 1  # pixels of the filters
ORIENTATION_BINS = 12


def plot_filter_grid(
    ax: Axes,
    filters: np.ndarray,
    classes: Sequence[str],
    r2: np.ndarray,
    *,
    columns: int = 25,
    title: str = "",
) -> Axes:
    """Filters (N, H, W), each on its own symmetric grey scale, framed in the colour of its class.

    They come class by class and within a class by falling r2 (N,). The legend counts the classes.

    Raises:
        InputError: no filters, or classes and r2 that are not N.
    """
    filters, classes = np.asarray(filters, dtype=float), np.asarray(classes)
    if filters.ndim != 3 or not len(filters) or not len(filters) == len(classes) == len(r2):
        raise InputError(
            f"{len(classes)} classes and {len(r2)} values of r2 do not fit filters of shape "
            f"{filters.shape}"
        )
    ranks = np.array([CLASSES.index(name) for name in classes])
    order = np.lexsort((-np.nan_to_num(np.asarray(r2)), ranks))
    cells = [_framed(filters[unit], CLASS_COLOURS[classes[unit]]) for unit in order]
    _sheet(ax, cells, min(columns, len(cells)))
    ax.legend(
        handles=[
            Patch(color=colour, label=f"{name}: {int((classes == name).sum())}")
            for name, colour in CLASS_COLOURS.items()
        ],
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(CLASSES),
        frameon=False,
    )
    ax.set_title(title)
    return ax


def plot_fit_pairs(
    ax: Axes,
    filters: np.ndarray,
    fitted: np.ndarray,
    r2: np.ndarray,
    *,
    columns: int = 8,
    title: str = "",
) -> Axes:
    """Filters (N, H, W), left, beside their Gabor fits, right, on one scale; r2 (N,) above them.

    Raises:
        InputError: shapes that differ, or no filter.
    """
    filters, fitted = np.asarray(filters, dtype=float), np.asarray(fitted, dtype=float)
    if filters.ndim != 3 or filters.shape != fitted.shape or not 0 < len(filters) == len(r2):
        raise InputError(
            f"filters of shape {filters.shape}, fits of shape {fitted.shape} and {len(r2)} values "
            "of r2 do not fit together"
        )
    _, height, width = filters.shape
    headroom = max(4, height // 3)  # pixels above each pair, for its r2
    cells = []
    for pair in zip(filters, fitted, strict=True):
        limit = max(np.abs(pair[0]).max(), np.abs(pair[1]).max())
        both = np.concatenate([_grey(image, limit) for image in pair], axis=1)
        cells.append(np.pad(both, ((headroom, 0), (0, 3), (0, 0)), constant_values=1.0))
    columns = min(columns, len(cells))
    _sheet(ax, cells, columns)
    for place, value in enumerate(r2):
        top = place // columns * (height + headroom + GAP) + headroom - 1
        left = place % columns * (2 * width + 3 + GAP)
        ax.text(left + width, top, f"{value:.2f}", ha="center", va="bottom", fontsize="x-small")
    ax.set_title(title)
    return ax


def plot_class_counts(ax: Axes, counts: pd.DataFrame) -> Axes:
    """Units of every class per model: bars are means over seeds, points the seeds.

    Args:
        counts: a row per ``model`` and seed with the columns of
            :func:`analysis.measures.filters.class_counts`.
    """
    models = list(dict.fromkeys(counts.model))
    width = 0.8 / len(CLASSES)
    for place, name in enumerate(CLASSES):
        column = name.replace("-", "_")
        for at, model in enumerate(models):
            values = counts.loc[counts.model == model, column].to_numpy(float)
            centre = at + (place - 1) * width
            ax.bar(
                centre,
                values.mean(),
                0.9 * width,
                color=CLASS_COLOURS[name],
                label=name if at == 0 else None,
            )
            shifts = np.linspace(-0.2, 0.2, len(values)) * width if len(values) > 1 else [0.0]
            ax.plot(centre + np.asarray(shifts), values, "k.", markersize=5)
    name_models(ax, models)
    ax.set_ylabel("active units of z1")
    ax.set_title("filters by class (bars: mean over seeds, points: seeds)")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3, axis="y")
    return ax


def plot_gabor_parameters(ax: Axes, fits: pd.DataFrame) -> Axes:
    """Size across the bars against wavelength, both in pixels, of the filters of every model.

    Args:
        fits: rows of :func:`pyro_vae.evaluation.filters.gabor.fit_gabors` with a column ``model``.
    """
    shown = colours(list(dict.fromkeys(fits.model)))
    for model, rows in fits.groupby("model", sort=False):
        ax.plot(
            rows.wavelength,
            rows["size"],
            ".",
            color=shown[model],
            markersize=4,
            alpha=0.6,
            label=f"{model} ({len(rows)})",
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.axvline(2, color="k", linewidth=1, linestyle=":")
    ax.set_xlabel("wavelength, pixels (dotted: Nyquist)")
    ax.set_ylabel("size across, pixels")
    ax.set_title("localised filters: size against wavelength")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
    return ax


def plot_orientations(ax: Axes, fits: pd.DataFrame) -> Axes:
    """Share of each model's filters in 12 bins of orientation, with the even share dotted.

    Args:
        fits: rows of :func:`pyro_vae.evaluation.filters.gabor.fit_gabors` with a column ``model``.
    """
    shown = colours(list(dict.fromkeys(fits.model)))
    edges = np.linspace(0, 180, ORIENTATION_BINS + 1)
    for model, rows in fits.groupby("model", sort=False):
        found, _ = np.histogram(np.degrees(rows.orientation), edges)
        ax.stairs(found / len(rows), edges, color=shown[model], label=f"{model} ({len(rows)})")
    ax.axhline(1 / ORIENTATION_BINS, color="k", linewidth=1, linestyle=":", label="even")
    ax.set_xticks(range(0, 181, 45))
    ax.set_xlabel("direction across the bars, degrees (0: upright bars)")
    ax.set_ylabel("share of filters")
    ax.set_title("localised filters: orientation")
    ax.legend(fontsize="small")
    ax.grid(alpha=0.3)
    return ax


def _grey(image: np.ndarray, limit: float) -> np.ndarray:
    """An image on a grey scale of +-limit as (H, W, 3) in [0, 1]; zero is mid-grey."""
    return np.repeat(shades(image, limit)[..., None], 3, axis=2)


def _framed(image: np.ndarray, colour: str) -> np.ndarray:
    finite = np.nan_to_num(image)
    height, width = image.shape
    cell = np.empty((height + 2 * FRAME, width + 2 * FRAME, 3))
    cell[:] = to_rgb(colour)
    cell[FRAME:-FRAME, FRAME:-FRAME] = _grey(finite, np.abs(finite).max())
    return cell


def _sheet(ax: Axes, cells: Sequence[np.ndarray], columns: int) -> None:
    """Coloured cells of one size in rows of ``columns`` on white."""
    ax.imshow(side_by_side(cells, columns, gap=GAP), interpolation="nearest")
    ax.set_axis_off()
