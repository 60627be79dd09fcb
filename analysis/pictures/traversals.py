"""Pictures of traversals: a row of images for each unit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.image_grids import plot_rows


def plot_traversal(
    ax: Axes,
    images: np.ndarray,
    units: Sequence[int],
    kl: np.ndarray,
    values: Sequence[float],
    *,
    limit: float | None = None,
) -> Axes:
    """Images (n, V, H, W[, 3]) of n units along V values, each row named with its unit's KL.

    Args:
        units: of the rows. kl: (U,), nats, of all units. values: the first, the middle and the last
            are named. limit: of a symmetric scale; None for images between 0 and 1.
    """
    named = {0, len(values) // 2, len(values) - 1}
    columns = [f"{value:.3g}" if place in named else "" for place, value in enumerate(values)]
    rows = [f"unit {unit}\n{kl[unit]:.1f} nats" for unit in units]
    plot_rows(ax, images, rows, columns, limit=limit)
    ax.tick_params(labelsize="small")
    return ax
