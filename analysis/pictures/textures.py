"""Pictures of z2: textures along its units, and the families of filters whose scale they change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.image_grids import plot_rows, shades, side_by_side

GAP = 3  # pixels between blocks of patches, and beside families


def plot_textures(
    ax: Axes,
    images: np.ndarray,
    unit_names: Sequence[str],
    values: np.ndarray,
    *,
    limit: float | None = None,
) -> Axes:
    """Blocks of patches: a row for each unit, a column for each value, all on one grey scale.

    Args:
        images: (R, C, S, H, W[, 3]). unit_names: of the R rows. values: (C,), prior standard
            deviations.
        limit: of the grey scale, +-limit; None for 0 to 1.
    """
    background = 1.0 if limit is None else limit
    side = math.ceil(math.sqrt(images.shape[2]))
    edge = ((0, GAP), (0, GAP)) + ((0, 0),) * (images.ndim - 5)
    blocks = np.array(
        [
            [
                np.pad(side_by_side(block, side, background), edge, constant_values=background)
                for block in row
            ]
            for row in images
        ]
    )
    plot_rows(ax, blocks, unit_names, [f"{value:+g} sd" for value in values], limit=limit)
    return ax


def plot_families(
    ax: Axes,
    families: Sequence[tuple[np.ndarray, np.ndarray]],
    unit_names: Sequence[str],
) -> Axes:
    """Filters of z1 in a row for each unit of z2, with the factor of their scale above.

    Args:
        families: for each unit the filters (n, H, W[, 3]), each on its own grey scale, and the
            factors (n,) by which their units' standard deviation changes along it.
        unit_names: of the rows.
    """
    height, width = families[0][0].shape[1:3]
    headroom = max(5, height // 3)
    columns = max(len(filters) for filters, _ in families)
    sheet = np.ones((len(families) * (height + headroom), columns * (width + GAP), 3))
    for row, (filters, factors) in enumerate(families):
        top = row * (height + headroom) + headroom
        for column, (image, factor) in enumerate(zip(filters, factors, strict=True)):
            left = column * (width + GAP)
            grey = shades(image, np.abs(image).max())
            cell = grey if grey.ndim == 3 else grey[..., None]
            sheet[top : top + height, left : left + width] = cell
            ax.text(
                left + width / 2 - 0.5,
                top - 1,
                f"× {factor:.2g}" if factor >= 1 else f"÷ {1 / factor:.2g}",
                ha="center",
                va="bottom",
                fontsize="small",
            )
    ax.imshow(sheet, interpolation="nearest")
    centres = np.arange(len(families)) * (height + headroom) + headroom + (height - 1) / 2
    ax.set_yticks(centres, unit_names)
    ax.set_xticks([])
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
