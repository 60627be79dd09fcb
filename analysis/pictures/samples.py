"""Pictures of samples beside data, on one grey scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analysis.pictures.image_grids import plot_image_grid

COLUMNS = 8


def plot_beside(
    axes: Sequence[Axes],
    images: Sequence[np.ndarray],
    names: Sequence[str],
    unit: str,
    scale: tuple[float, float],
) -> Sequence[Axes]:
    """Sets of images (N, H, W[, 3]), each in its own panel, all on one grey scale.

    Args:
        names: what each set is. unit: of the values, named in the title with the scale.
        scale: the values of black and of white.
    """
    low, high = scale
    for ax, part, name in zip(axes, images, names, strict=True):
        plot_image_grid(ax, (part - low) / max(high - low, 1e-300), COLUMNS)
        ax.get_images()[-1].set_clim(0.0, 1.0)
        ax.set_title(f"{name}\n{unit}, black {low:.2g}, white {high:.2g}", fontsize="medium")
    return axes
