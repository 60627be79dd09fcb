"""Pictures of a self-supervised VAE: rows of images by route, and rate against distortion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures.image_grids import plot_images
from analysis.pictures.panels import panels
from pyro_vae.evaluation.route_rates import RouteRate


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


def routes_page(parts: Sequence[tuple[str, Mapping[str, np.ndarray]]]) -> Figure:
    """One page of :func:`plot_rows`, a panel for each title."""
    tallest = max(len(rows) for _, rows in parts)
    figure, axes = panels(len(parts), (6.5, 0.6 * tallest + 0.4), per_row=2)
    for ax, (title, rows) in zip(axes, parts, strict=True):
        plot_rows(ax, rows, title).set_anchor("N")
    return figure


def rates_figure(rates: Sequence[RouteRate]) -> Figure:
    """Bits of every route against PSNR and against nats; beside it the paper's count of numbers."""
    figure, axes = panels(3, (4.6, 3.8))
    bits = [rate.bits.mean for rate in rates]
    errors = [rate.bits.standard_error for rate in rates]
    known = [rate for rate in rates if rate.psnr is not None]
    _points(axes[0], [rate.bits.mean for rate in known], [r.psnr.mean for r in known], known)
    axes[0].set_ylabel("PSNR of E[x | .], decibel")
    _points(axes[1], bits, [rate.nats.mean for rate in rates], rates, errors)
    axes[1].set_ylabel("nats that still tell x exactly")
    _points(axes[2], bits, [rate.share for rate in rates], rates, errors)
    axes[2].set_ylabel("share of numbers kept (the paper's count)")
    for ax in axes:
        ax.set_xlabel("bits per image, bits-back")
    return figure


def _points(
    ax: Axes,
    x: Sequence[float],
    y: Sequence[float],
    rates: Sequence[RouteRate],
    errors: Sequence[float] | None = None,
) -> None:
    ax.errorbar(x, y, xerr=errors, fmt="o")
    for place, (rate, across, up) in enumerate(zip(rates, x, y, strict=True)):
        offset = (-4, 7) if place % 2 else (-4, -14)  # neighbours would cover each other's names
        ax.annotate(rate.name, (across, up), textcoords="offset points", xytext=offset)
    ax.margins(0.25)
