"""What the pictures share: colours of models and classes, limits, and words in a panel's place."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from pyro_vae.errors import InputError

LONG_NAME = 12  # characters that stand abreast under a panel of two models
MAX_CLASSES = 10  # more cannot be told apart by colour
PALETTE = colormaps["tab10"].colors


def colours(labels: Sequence[str]) -> dict[str, tuple[float, float, float]]:
    """A colour for each label, the same wherever the labels come in the same order."""
    return {label: PALETTE[index % len(PALETTE)] for index, label in enumerate(labels)}


def note(ax: Axes, text: str) -> Axes:
    """Words where a panel cannot be drawn."""
    ax.set_axis_off()
    words = ax.text(0.5, 0.5, text, ha="center", va="center", wrap=True, transform=ax.transAxes)
    words.set_in_layout(False)  # a long reason would leave the other panels no room
    return ax


def class_colours(count: int) -> np.ndarray:
    """One colour per class, (count, 4); InputError above ``MAX_CLASSES``."""
    if count > MAX_CLASSES:
        raise InputError(f"{count} classes cannot be told apart by colour; allowed: {MAX_CLASSES}")
    return colormaps["tab10"](np.arange(count))


def class_handles(names: Sequence[str]) -> list[Line2D]:
    """Entries of a legend that names the classes by their colours."""
    return [
        Line2D([], [], linestyle="", marker="o", color=colour, label=name)
        for name, colour in zip(names, class_colours(len(names)), strict=True)
    ]


def share_limits(axes: Sequence[Axes]) -> None:
    """Give all axes the smallest limits that hold the contents of each."""
    for get, set_ in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        low, high = zip(*(getattr(ax, get)() for ax in axes), strict=True)
        for ax in axes:
            getattr(ax, set_)(min(low), max(high))


def name_models(ax: Axes, names: Sequence[str]) -> None:
    """Models along the x-axis at 0, 1, ...; slanted where names are too long to stand abreast."""
    if len(names) > 1 and max(map(len, names)) > LONG_NAME:
        ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    else:
        ax.set_xticks(range(len(names)), names)
