"""The latent space of a pair and what is decoded from it: arrays, and pictures of them (S3, S4).

The first half computes arrays from a model and its guide, the second draws plain arrays into the
``Axes`` that it is given. Images are rows (N, D) in the first half, (N, H, W) in the second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from torch import Tensor

from analysis import plots
from pyro_vae.errors import InputError, check_count
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, active_units, posterior_means
from pyro_vae.programs.conditionals import FAMILIES
from pyro_vae.programs.priors import StandardPrior
from pyro_vae.weights import traces
from pyro_vae.weights.log_weights import guide_sites

MAX_CLASSES = 10  # more cannot be told apart by colour
NUM_SAMPLES = 100


@dataclass(frozen=True)
class Plane:
    """Where a guide puts N images on two units of one level.

    Attributes:
        units: the two units, counted from 0 and in this order.
        points: (N, 2), E_q[z_u | x].
        activity: (2,), Var_x( E_q[z_u | x] ).
        width: (2,), the root over x of the mean posterior variance, sqrt( E_x[ Var_q(z_u | x) ] ).
        num_active, num_units: active units of the level, and all of them.
    """

    units: tuple[int, int]
    points: np.ndarray
    activity: np.ndarray
    width: np.ndarray
    num_active: int
    num_units: int


def most_active_plane(guide, x: Tensor, level: str = "z1", num_samples: int = NUM_SAMPLES) -> Plane:
    """The two most active units of a level and the posterior means of x (N, D) on them.

    The lower unit comes first, so that a level of two units keeps its axes.

    Raises:
        InputError: the guide has no such level, or fewer than two of its units are active.
    """
    means = posterior_means(guide, x, num_samples=num_samples)
    if level not in means:
        raise InputError(f"unknown level {level!r}; allowed: {', '.join(sorted(means))}")
    chosen = means[level]
    num_active = int(active_units(chosen).sum())
    if num_active < 2:
        raise InputError(
            f"{num_active} of {len(chosen.activity)} units of {level} have an activity above "
            f"{ACTIVITY_THRESHOLD:g}; a scatter wants 2"
        )
    units = sorted(chosen.activity.topk(2).indices.tolist())
    # The Monte Carlo covariance of plain means of S draws is the posterior's covariance over S.
    drawn = posterior_means(guide, x, num_samples=num_samples, method="sample")[level]
    width = (drawn.noise_covariance.diagonal() * num_samples).sqrt()
    return Plane(
        units=(units[0], units[1]),
        points=_array(chosen.mean[:, units]),
        activity=_array(chosen.activity[units]),
        width=_array(width[units]),
        num_active=num_active,
        num_units=len(chosen.activity),
    )


@torch.no_grad()
def encode_decode(model, guide, x: Tensor, num_draws: int = 1) -> np.ndarray:
    """E[x | z1] at independent draws z1 ~ q(z1 | x): (num_draws, N, D) for x (N, D)."""
    return _array(model.likelihood(guide_sites(guide, x, num_draws)["z1"]["value"]).mean)


@torch.no_grad()
def decode_mean(model, guide, x: Tensor, num_samples: int = NUM_SAMPLES) -> np.ndarray:
    """E[x | z1] at the posterior mean z1 = E_q[z1 | x]: (N, D) for x (N, D)."""
    mean = posterior_means(guide, x, num_samples=num_samples)["z1"].mean
    return _array(model.likelihood(mean.to(x)).mean)


@torch.no_grad()
def simulate(model, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images from the model: E[x | z1], and a draw of p(x | z1) at the same z1, (count, D) each."""
    site = traces.run(model, (None, check_count("number of samples", count)), {})["x"]
    return _array(site["fn"].mean), _array(site["value"])


@torch.no_grad()
def manifold(model, side: int) -> tuple[np.ndarray, np.ndarray]:
    """E[x | z1] over the plane of a two-unit latent (S4, figure 5).

    Both coordinates take the values Phi^-1((i + 1/2) / side), i = 0, ..., side - 1, so that every
    image stands for the same share of the prior.

    Returns:
        the ``side`` values, rising, and the images (side^2, D) row by row as they are drawn: unit 0
        rises from left to right, unit 1 from the bottom row to the top one.

    Raises:
        InputError: the model is not one level of two standard-normal units.
    """
    check_count("side of the grid", side)
    prior = model.prior
    if model.latent_sizes != (2,):
        sizes = ", ".join(map(str, model.latent_sizes))
        raise InputError(f"its levels have {sizes} units; a manifold wants one level of 2")
    if not (isinstance(prior, StandardPrior) and prior.family is FAMILIES["normal"]):
        raise InputError("its two units have a prior that is not standard normal")
    values = torch.special.ndtri((torch.arange(side).to(prior.loc) + 0.5) / side)
    down, across = torch.meshgrid(values.flip(0), values, indexing="ij")
    z = torch.stack([across, down], -1).reshape(-1, 2)
    return _array(values), _array(model.likelihood(z).mean)


def spread_rows(labels: np.ndarray | None, num_rows: int, count: int) -> np.ndarray:
    """Indices of at most ``count`` rows to show: one of every class in turn, sorted by class.

    Where there are more classes than ``count`` these are spread evenly over the classes, and
    without labels over the rows.
    """
    if labels is None:
        return _evenly(np.arange(num_rows), count)
    # The n-th row of every class comes before the (n + 1)-th of any.
    place = np.empty(num_rows, dtype=int)
    for name in np.unique(labels):
        place[labels == name] = np.arange((labels == name).sum())
    order = np.lexsort((labels, place))
    firsts = order[place[order] == 0]
    chosen = _evenly(firsts, count) if len(firsts) > count else order[:count]
    return chosen[np.argsort(labels[chosen], kind="stable")]


def _evenly(rows: np.ndarray, count: int) -> np.ndarray:
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def plot_plane(
    ax: Axes,
    points: np.ndarray,
    classes: np.ndarray,
    names: Sequence[str],
    width: np.ndarray | None = None,
) -> Axes:
    """Points (N, 2) in the colour of their class, with the class's name at its median.

    ``classes`` (N,) are indices into ``names``, of which there are at most ``MAX_CLASSES``. A cross
    in the corner extends by +-``width`` (2,) in the two directions.
    """
    colours = class_colours(len(names))
    # In the rows' own order: class by class, the last one would cover the others.
    ax.scatter(*points.T, c=colours[classes], s=5, linewidths=0, alpha=0.7)
    outline = [patheffects.withStroke(linewidth=3, foreground="white")]
    for index, name in enumerate(names):
        members = points[classes == index]
        if len(members):
            ax.text(
                *np.median(members, axis=0),
                name,
                color=0.7 * colours[index, :3],
                weight="bold",
                ha="center",
                va="center",
                path_effects=outline,
                clip_on=True,
            )
    ax.set_aspect("equal", adjustable="box")
    ax.grid(alpha=0.3)
    if width is not None:
        _plot_width(ax, points, width)
    return ax


def _plot_width(ax: Axes, points: np.ndarray, width: np.ndarray) -> None:
    """A cross below and left of all points, where it hides none of them."""
    x, y = points.min(axis=0) - 1.5 * width
    ax.errorbar([x], [y], xerr=[width[0]], yerr=[width[1]], color="k", capsize=3, linewidth=1.5)


def class_colours(count: int) -> np.ndarray:
    """One colour per class, (count, 4); InputError above ``MAX_CLASSES``."""
    if count > MAX_CLASSES:
        raise InputError(f"{count} classes cannot be told apart by colour; allowed: {MAX_CLASSES}")
    return colormaps["tab10"](np.arange(count))


def class_handles(names: Sequence[str]) -> list[Line2D]:
    """Entries of a legend for :func:`plot_plane`."""
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


def plot_images(ax: Axes, images: np.ndarray, columns: int, *, limit: float | None = None) -> Axes:
    """Images (N, H, W) in rows of ``columns``: grey from 0 to 1, or +-``limit`` where given."""
    plots.plot_image_grid(ax, images, columns, limit=limit)
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
    """Images (R, C, H, W) in R named rows of C, with names above the columns where given."""
    _, columns, height, width = images.shape
    plot_images(ax, images.reshape(-1, height, width), columns, limit=limit)
    _name_cells(ax, (height, width), row_names, column_names or ())
    ax.xaxis.tick_top()
    return ax


def plot_manifold(
    ax: Axes, images: np.ndarray, values: np.ndarray, *, limit: float | None = None, ticks: int = 5
) -> Axes:
    """Images (side^2, H, W) of :func:`manifold` with about ``ticks`` of their coordinates."""
    side = len(values)
    plot_images(ax, images, side, limit=limit)
    shown = set(_evenly(np.arange(side), ticks).tolist())
    names = [f"{value:.2f}" if place in shown else "" for place, value in enumerate(values)]
    _name_cells(ax, images.shape[1:], names[::-1], names)
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
