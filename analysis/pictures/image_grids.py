"""Pictures of images: grids, named rows, and the plane of a latent of two units."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.examples import evenly
from analysis.pictures.panels import panel


def plot_image_grid(
    ax: Axes, images: np.ndarray, columns: int, *, limit: float | None = None, gap: int = 1
) -> Axes:
    """Images (N, H, W), or in colour (N, H, W, 3), side by side in rows of ``columns``.

    With ``limit`` all share one symmetric scale of +-limit (0 is mid-grey); without it the scale
    runs from the smallest to the largest value, of colour images from 0 to 1.
    """
    coloured = images.ndim == 4
    if limit is not None:
        low, high = -limit, limit
    else:
        low, high = (0.0, 1.0) if coloured else (images.min(), images.max())
    if coloured:  # colours have no map from values: they are shares of full intensity themselves
        images = images.clip(0.0, 1.0) if limit is None else shades(images, limit)
        low, high = 0.0, 1.0
    sheet = side_by_side(images, columns, float(high), gap)
    ax.imshow(sheet, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()
    return ax


def grid_figure(images: np.ndarray, columns: int = 10) -> Figure:
    """A figure of images (N, H, W), or in colour (N, H, W, 3) or (N, 3, H, W), in rows.

    Grey runs from the smallest to the largest value; colours lie in [0, 1], or [0, 255] in bytes.
    """
    images = np.asarray(images, dtype=float)
    if images.ndim == 4 and images.shape[-1] != 3:
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.max() > 2:
        images = images / 255
    columns = min(columns, len(images))
    height, width = images.shape[1:3]
    rows = -(-len(images) // columns)
    figure, ax = panel(columns, max(0.5, rows * height / width))
    plot_image_grid(ax, images, columns)
    return figure


def shades(images: np.ndarray, limit: float) -> np.ndarray:
    """Values on a scale of +-limit as shares of full intensity, in [0, 1]; zero is mid-grey."""
    return 0.5 + 0.5 * np.clip(np.nan_to_num(images) / max(limit, 1e-300), -1, 1)


def side_by_side(
    cells: Sequence[np.ndarray] | np.ndarray, columns: int, background: float = 1.0, gap: int = 1
) -> np.ndarray:
    """One sheet of images of one size, (H, W) or (H, W, 3), in rows of ``columns``."""
    height, width, *colours = cells[0].shape
    rows = -(-len(cells) // columns)
    size = rows * (height + gap) - gap, columns * (width + gap) - gap
    sheet = np.full((*size, *colours), background)
    for index, cell in enumerate(cells):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = cell
    return sheet


def plot_images(ax: Axes, images: np.ndarray, columns: int, *, limit: float | None = None) -> Axes:
    """Images (N, H, W[, 3]) in rows of ``columns``: from 0 to 1, or +-``limit`` where given."""
    plot_image_grid(ax, images, columns, limit=limit)
    if limit is None:
        # Probabilities of pixels look alike in all pictures, whatever their largest one is.
        ax.get_images()[-1].set_clim(0.0, 1.0)
    return ax


def plot_rows(
    ax: Axes,
    images: np.ndarray,
    row_names: Sequence[str],
    column_names: Sequence[str] | None = None,
    *,
    limit: float | None = None,
) -> Axes:
    """Images (R, C, H, W[, 3]) in R named rows of C, with names above the columns where given."""
    columns, *shape = images.shape[1:]
    plot_images(ax, images.reshape(-1, *shape), columns, limit=limit)
    _name_cells(ax, shape[:2], row_names, column_names or ())
    ax.xaxis.tick_top()
    return ax


def plot_manifold(
    ax: Axes, images: np.ndarray, values: np.ndarray, *, limit: float | None = None, ticks: int = 5
) -> Axes:
    """Images (side^2, H, W[, 3]) of the plane of two units, about ``ticks`` coordinates named."""
    side = len(values)
    plot_images(ax, images, side, limit=limit)
    shown = set(evenly(np.arange(side), ticks).tolist())
    names = [f"{value:.2f}" if place in shown else "" for place, value in enumerate(values)]
    _name_cells(ax, images.shape[1:3], names[::-1], names)
    ax.set_xlabel("unit 0 of z1")
    ax.set_ylabel("unit 1 of z1")
    return ax


def _name_cells(
    ax: Axes, shape: tuple[int, int], row_names: Sequence[str], column_names: Sequence[str]
) -> None:
    """Names at the centres of the rows and columns of a grid of images with gaps of one pixel."""
    ax.set_axis_on()
    for axis, size, names in ((ax.yaxis, shape[0], row_names), (ax.xaxis, shape[1], column_names)):
        places = [place for place, name in enumerate(names) if name]
        centres = [place * (size + 1) + (size - 1) / 2 for place in places]
        axis.set_ticks(centres, [names[place] for place in places])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
