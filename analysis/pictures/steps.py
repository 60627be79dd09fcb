"""Pictures of a self-supervised VAE: rows of images by route, and rate against distortion."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures.image_grids import plot_images
from analysis.pictures.panels import panels

AXES = {
    "share": "share of numbers kept (the paper's count)",
    "bits": "bits per image, bits-back",
    "psnr": "PSNR of E[x | .], decibel",
    "nats": "nats that still tell x exactly",
}


def plot_rows(ax: Axes, rows: Mapping[str, np.ndarray], title: str) -> Axes:
    """Named rows of as many images each, (N, H, W) or (N, H, W, 3), values from 0 to 1."""
    images = np.concatenate([*rows.values()])
    count = len(images) // len(rows)
    plot_images(ax, images, count)
    height = images.shape[1] + 1
    ax.set_axis_on()
    ax.set_xticks([])
    ax.set_yticks([height * (row + 0.5) for row in range(len(rows))], [*rows])
    ax.tick_params(length=0)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.set_title(title)
    return ax


def routes_page(parts: Sequence[tuple[str, Mapping[str, np.ndarray]]], per_row: int = 2) -> Figure:
    """One page of :func:`plot_rows`, a panel for each title, ``per_row`` side by side."""
    counts = [len(rows) for _, rows in parts]
    lines = [counts[start : start + per_row] for start in range(0, len(counts), per_row)]
    heights = [0.6 * max(line) + 0.4 for line in lines]
    figure, axes = panels(len(parts), (6.5, 0.0), per_row=per_row, heights=heights)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        plot_rows(ax, rows, title).set_anchor("N")
    return figure


def rates_figure(runs: Mapping[str, pd.DataFrame]) -> Figure:
    """Quality of every route against what it keeps: the paper's count, and bits; a colour a run.

    Left the share of numbers that is kept (Gatopoulos 2020, figure 7.7), in the middle bits by
    bits-back coding, both against PSNR; right bits against the nats that still tell x exactly.

    Args:
        runs: name -> a row for every route (:meth:`pyro_vae.evaluation.RouteRate.row`).
    """
    figure, axes = panels(3, (4.8, 3.9))
    pairs = (("share", "psnr"), ("bits", "psnr"), ("bits", "nats"))
    for ax, (across, up) in zip(axes, pairs, strict=True):
        for run, rates in runs.items():
            _points(ax, rates.route, rates[across], rates[up], run)
        ax.set_xlabel(AXES[across])
        ax.set_ylabel(AXES[up])
        ax.margins(0.25)
    if len(runs) > 1:
        axes[2].legend(fontsize="small")
    return figure


def _points(
    ax: Axes, names: Iterable[str], across: Iterable[float], up: Iterable[float], run: str
) -> None:
    (drawn,) = ax.plot(across, up, "o", label=run)
    for place, (name, *at) in enumerate(zip(names, across, up, strict=True)):
        if np.isnan(at).any():
            continue
        offset = (-4, 7) if place % 2 else (-4, -14)  # neighbours would cover each other's names
        style = {"color": drawn.get_color(), "fontsize": "small"}
        ax.annotate(name, at, textcoords="offset points", xytext=offset, **style)
