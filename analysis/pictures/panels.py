"""Figures of several panels: the one place that lays them out."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

PER_ROW = 3


def panels(
    count: int,
    size: tuple[float, float],
    *,
    per_row: int = PER_ROW,
    least: float = 0.0,
    margin: tuple[float, float] = (0.0, 0.0),
    sharey: bool = False,
    shares: Sequence[float] | None = None,
    heights: Sequence[float] | None = None,
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels row by row, and their axes.

    Args:
        size: width and height of a panel, inches. per_row: most panels in a row.
        least: width of the figure at least, inches. margin: added to its width and height.
        sharey: give the panels of a row one vertical axis.
        shares: of the columns in the whole width; by default they are equal.
        heights: of the rows, inches, in the place of that of ``size``.
    """
    columns = min(count, per_row)
    rows = -(-count // columns)
    tall = rows * size[1] if heights is None else sum(heights)
    whole = max(least, columns * size[0] + margin[0]), tall + margin[1]
    figure = Figure(figsize=whole, layout="constrained")
    ratios = {"width_ratios": shares, "height_ratios": heights}
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey, **ratios).ravel()
    for ax in axes[count:]:
        ax.remove()
    return figure, list(axes[:count])


def panel(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of one panel of that size in inches, and its axes."""
    figure, (ax,) = panels(1, (width, height))
    return figure, ax
