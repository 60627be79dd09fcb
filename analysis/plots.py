"""Pictures of a run, each drawn into a matplotlib ``Axes`` from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes


def plot_bounds(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """ELBO and L_k on held-out data against the epoch; nats per datum."""
    ax.plot(metrics["epoch"], metrics["elbo"], marker=".", label="ELBO")
    ax.plot(metrics["epoch"], metrics["bound"], marker=".", label=f"$L_{{{_particles(metrics)}}}$")
    _zoom_on_end(ax, [*metrics["elbo"], *metrics["bound"]])
    return _finish(ax, "bounds on held-out data", "nats")


def plot_kl(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """KL of every level on held-out data against the epoch, with beta where it is annealed."""
    for name in sorted(name for name in metrics if name.startswith("kl_")):
        ax.plot(metrics["epoch"], metrics[name], marker=".", label=f"KL of {name[3:]}")
    ax.set_yscale("symlog", linthresh=1.0)
    for name in metrics:
        if name.startswith("beta_"):
            right = ax.twinx()
            right.plot(metrics["epoch"], metrics[name], "k:", linewidth=1)
            right.set_ylabel(f"beta of {name[5:]} (dotted)")
            right.set_ylim(0, 1.05)
    _finish(ax, "KL per level", "nats").legend(loc="center right")
    return ax


def plot_reconstruction(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """E log p(x | z) on held-out data against the epoch."""
    ax.plot(metrics["epoch"], metrics["reconstruction"], marker=".", label="E log p(x | z)")
    _zoom_on_end(ax, metrics["reconstruction"])
    return _finish(ax, "reconstruction", "nats")


def plot_effective_sample_size(ax: Axes, metrics: Mapping[str, Sequence[float]]) -> Axes:
    """Mean effective sample size of the k weights per datum against the epoch."""
    ax.plot(
        metrics["epoch"], metrics["ess"], marker=".", label=f"of {_particles(metrics)} particles"
    )
    ax.set_ylim(0, 1.15 * max(metrics["ess"]))
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


def plot_image_grid(
    ax: Axes, images: np.ndarray, columns: int, *, limit: float | None = None, gap: int = 1
) -> Axes:
    """Images (N, H, W) side by side in rows of ``columns``.

    With ``limit`` all share one symmetric grey scale of +-limit (0 is mid-grey); without it the
    scale runs from the smallest to the largest value.
    """
    count, height, width = images.shape
    rows = -(-count // columns)
    low, high = (-limit, limit) if limit is not None else (images.min(), images.max())
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), float(high))
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    ax.imshow(sheet, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    ax.set_axis_off()
    return ax


def plot_activity(ax: Axes, activity: np.ndarray, threshold: float, name: str) -> Axes:
    """Units sorted by activity Var_x(E_q[z]), log scale, with the threshold."""
    ordered = np.sort(activity)[::-1]
    # Activities at or below zero are noise around none; they are drawn at the axis' lower end.
    ax.semilogy(np.arange(1, len(ordered) + 1), np.maximum(ordered, 1e-6), ".", markersize=4)
    ax.axhline(threshold, color="k", linewidth=1, linestyle=":", label=f"threshold {threshold:g}")
    ax.set_title(f"{name}: {int((activity > threshold).sum())} of {len(activity)} units active")
    ax.set_xlabel("unit, sorted")
    ax.set_ylabel("activity Var(E[z])")
    ax.legend()
    return ax


def _particles(metrics: Mapping[str, Sequence[float]]) -> str:
    """The particles behind bound and ESS; a resumed run may have changed their number."""
    numbers = dict.fromkeys(int(number) for number in metrics["num_particles"])
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
    ax.set_ylabel(unit)
    ax.legend()
    ax.grid(alpha=0.3)
    return ax
