"""Pictures of one run's training against the epoch, and of its bound against particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.measures.by_name import Named


def plot_bounds(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """ELBO and L_k on held-out data against the epoch; nats per datum."""
    table = Named(metrics)
    ax.plot(table.epoch, table.elbo, marker=".", label="ELBO")
    ax.plot(table.epoch, table.bound, marker=".", label=f"$L_{{{_particles(table)}}}$")
    _zoom_on_end(ax, [*table.elbo, *table.bound])
    return _finish(ax, "bounds on held-out data", "nats")


def plot_kl(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """KL of every level on held-out data against the epoch, with beta where it is annealed."""
    table = Named(metrics)
    for name in sorted(name for name in metrics if name.startswith("kl_")):
        ax.plot(table.epoch, metrics[name], marker=".", label=f"KL of {name[3:]}")
    ax.set_yscale("symlog", linthresh=1.0)
    for name in metrics:
        if name.startswith("beta_"):
            right = ax.twinx()
            right.plot(table.epoch, metrics[name], "k:", linewidth=1)
            right.set_ylabel(f"beta of {name[5:]} (dotted)")
            right.set_ylim(0, 1.05)
    _finish(ax, "KL per level", "nats").legend(loc="center right")
    return ax


def plot_reconstruction(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """E log p(x | z) on held-out data against the epoch."""
    table = Named(metrics)
    ax.plot(table.epoch, table.reconstruction, marker=".", label="E log p(x | z)")
    _zoom_on_end(ax, table.reconstruction)
    return _finish(ax, "reconstruction", "nats")


def plot_effective_sample_size(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """Mean effective sample size of the k weights per datum against the epoch."""
    table = Named(metrics)
    ax.plot(table.epoch, table.ess, marker=".", label=f"of {_particles(table)} particles")
    ax.set_ylim(0, 1.15 * max(table.ess))
    return _finish(ax, "effective sample size", "particles")


def plot_bound_curve(
    ax: Axes, particles: Sequence[int], mean: np.ndarray, standard_error: np.ndarray
) -> Axes:
    """L_k against k with standard errors over data (``evaluation.bound_curve``); nats per datum."""
    ax.errorbar(particles, mean, yerr=standard_error, marker=".", capsize=2)
    ax.set_xscale("log")
    ax.set_title("importance-weighted bound (bars: standard error over data)")
    ax.set_xlabel("particles k")
    ax.set_ylabel("$L_k$, nats")
    ax.grid(alpha=0.3)
    return ax


def mark_start(
    ax: Axes,
    metrics: Mapping[str, Sequence[float]],
    columns: Sequence[str],
    init: str,
    loc: str = "best",
) -> Axes:
    """Ring what a run started from on a panel of this module; one column also gets a dotted line.

    A start that is off the axis is told of in words.

    Args:
        columns: of ``metrics``, whose entries at epoch 0 are marked. init: what the run started
            from. loc: of the legend.
    """
    table = Named(metrics)
    if not len(table.epoch) or table.epoch[0] != 0:
        return ax
    low, high = ax.get_ylim()
    starts = np.array([metrics[name][0] for name in columns], dtype=float)
    shown = starts[(starts >= low) & (starts <= high)]
    words = "".join(f", {value:.0f} (off the axis)" for value in starts if not low <= value <= high)
    style = {"linestyle": "", "marker": "o", "markersize": 10, "markerfacecolor": "none"}
    ax.plot([0] * len(shown), shown, color="k", label=f"start ({init}){words}", **style)
    if len(columns) == len(shown) == 1:
        ax.axhline(shown[0], color="k", linewidth=0.8, linestyle=":", label="the same level")
    ax.legend(loc=loc)
    return ax


def _particles(table: Named) -> str:
    """The particles behind bound and ESS; a resumed run may have changed their number."""
    numbers = dict.fromkeys(int(number) for number in table.num_particles)
    return ", ".join(map(str, numbers))


def _zoom_on_end(ax: Axes, values: Sequence[float]) -> None:
    """Let a very low start run off the axis, so that the later course can be read."""
    finite = np.array([value for value in values if np.isfinite(value)])
    if len(finite) < 4:
        return
    low, high = np.quantile(finite, 0.25), finite.max()
    margin = 0.25 * max(high - low, 1e-3)
    if finite.min() < low - 4 * margin:
        ax.set_ylim(low - 3 * margin, high + margin)


def _finish(ax: Axes, title: str, unit: str) -> Axes:
    ax.set_title(title)
    ax.set_xlabel("epoch")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_ylabel(unit)
    ax.legend()
    ax.grid(alpha=0.3)
    return ax
