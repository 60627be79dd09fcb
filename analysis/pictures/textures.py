"""Pictures of z2: textures along its units, and the families of filters whose scale they change."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.image_grids import plot_rows, shades, side_by_side

GAP = 3  # pixels between blocks of patches, and beside families


def plot_textures(
    ax: Axes, images: np.ndarray, unit_names: Sequence[str], values: np.ndarray
) -> Axes:
    """Blocks of patches: a row for each unit, a column for each value.

    Args:
        images: (R, C, S, H, W[, 3]), shares of full intensity in [0, 1]. unit_names: of the R rows.
        values: (C,), prior standard deviations.
    """
    side = math.ceil(math.sqrt(images.shape[2]))
    edge = ((0, GAP), (0, GAP)) + ((0, 0),) * (images.ndim - 5)
    blocks = [
        [np.pad(side_by_side(block, side), edge, constant_values=1.0) for block in row]
        for row in images
    ]
    plot_rows(
        ax, np.array(blocks), unit_names, [f"{value:+g} sd" if value else "0" for value in values]
    )
    return ax


def plot_families(
    ax: Axes,
    families: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]],
    unit_names: Sequence[str],
    group_names: Sequence[str],
) -> Axes:
    """Filters of z1 in a row for each unit of z2, in named groups, the factor of each above it.

    Args:
        families: for each unit and group the filters (n, H, W[, 3]), each on its own symmetric grey
            scale, and the factors (n,) by which their units' standard deviation changes.
        unit_names: of the rows. group_names: of the groups, above them.
    """
    height, width = families[0][0][0].shape[1:3]
    headroom, step = max(5, height // 3), width + GAP
    sizes = [max(len(row[place][0]) for row in families) for place in range(len(group_names))]
    lefts = [sum(sizes[:place]) * step + place * width // 2 for place in range(len(sizes))]
    sheet = np.ones((len(families) * (height + headroom), lefts[-1] + sizes[-1] * step - GAP, 3))
    for row, groups in enumerate(families):
        top = row * (height + headroom) + headroom
        for first, (filters, factors) in zip(lefts, groups, strict=True):
            for column, (image, factor) in enumerate(zip(filters, factors, strict=True)):
                left = first + column * step
                grey = shades(image, np.abs(image).max())
                cell = grey if grey.ndim == 3 else grey[..., None]
                sheet[top : top + height, left : left + width] = cell
                ax.text(
                    left + (width - 1) / 2,
                    top - 1,
                    f"× {factor:.2g}" if factor >= 1 else f"÷ {1 / factor:.2g}",
                    ha="center",
                    va="bottom",
                    fontsize="small",
                )
    ax.imshow(sheet, interpolation="nearest")
    centres = np.arange(len(families)) * (height + headroom) + headroom + (height - 1) / 2
    ax.set_yticks(centres, unit_names)
    middles = [
        left + (size * step - GAP - 1) / 2 for left, size in zip(lefts, sizes, strict=True) if size
    ]
    names = [name for name, size in zip(group_names, sizes, strict=True) if size]
    ax.set_xticks(middles, names)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax
