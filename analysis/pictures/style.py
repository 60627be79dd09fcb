"""What the pictures share: one colour per model, and words in the place of a panel."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib import colormaps
from matplotlib.axes import Axes

PALETTE = colormaps["tab10"].colors


def colours(labels: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each label, the same wherever the labels come in the same order."""
    return {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(labels)}


def note(ax: Axes, text: str) -> Axes:
    """Words where a panel cannot be drawn."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", wrap=True, transform=ax.transAxes)
    return ax
