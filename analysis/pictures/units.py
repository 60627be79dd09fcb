"""Pictures of latent units: their posterior moments, their activity and their densities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD
from pyro_vae.evaluation.activity_gap import ActivityGap

ACTIVE, INACTIVE = "tab:red", "0.55"  # Vas 2024 draws active units in red
FEW_UNITS = 60  # up to here every unit has a mark and error bars of its own
LOWEST = 1e-6  # activities at or below zero are noise around none; they are drawn here


def plot_unit_moments(
    ax: Axes, table: pd.DataFrame, title: str, *, prior_sd: float | None = 1.0
) -> Axes:
    """Posterior mean and sd of every unit, aggregated over the data (Vas 2024, Figures 5.6-10).

    Marks are averages over the data, bars +-1 sd over the data. Above 60 units they become curves
    with bands, and units are sorted by the sd of their means.

    Args:
        table: of ``analysis.measures.units.unit_moments``.
        prior_sd: dashed line, where units that collapsed have their sd; None where the prior's sd
            depends on parents.
    """
    many = len(table) > FEW_UNITS
    if many:
        table = table.sort_values("sd_of_means", ascending=False)
    place = np.arange(len(table))
    for name, colour, shift in (("mean", "tab:blue", -0.15), ("sd", "tab:orange", 0.15)):
        centre = table[f"mean_of_{name}s"].to_numpy()
        spread = table[f"sd_of_{name}s"].to_numpy()
        label = f"posterior {name}"
        if many:
            ax.plot(place, centre, color=colour, linewidth=1, label=label)
            ax.fill_between(
                place, centre - spread, centre + spread, color=colour, alpha=0.25, linewidth=0
            )
        else:
            ax.errorbar(
                place + shift,
                centre,
                yerr=spread,
                fmt="o",
                color=colour,
                markersize=4,
                linewidth=1.2,
                label=label,
            )
    ax.axhline(0.0, color="k", linewidth=0.6)
    if prior_sd is not None:
        ax.axhline(prior_sd, color="k", linewidth=1, linestyle="--", label="sd of the prior")
    ax.set_xlabel("unit, sorted by sd of its means" if many else "unit")
    ax.set_ylabel("mean ± sd over the data")
    _legend_above_the_data(ax, columns=3)
    ax.set_title(title)
    return ax


def plot_activity_gap(
    ax: Axes,
    activities: np.ndarray,
    gap: ActivityGap,
    title: str,
    threshold: float = ACTIVITY_THRESHOLD,
) -> Axes:
    """Units sorted by activity, log scale, active ones in red, with threshold and largest gap.

    Args:
        activities: (U,), variance. gap: of ``pyro_vae.evaluation.activity_gap.activity_gap``.
        threshold: dotted line, the one that ``gap`` was computed with.
    """
    falling = np.sort(np.asarray(activities, float))[::-1]
    place = np.arange(1, len(falling) + 1)
    for chosen, colour, name in (
        (falling > threshold, ACTIVE, "active"),
        (falling <= threshold, INACTIVE, "inactive"),
    ):
        shown = np.maximum(falling[chosen], LOWEST)
        label = f"{name}: {chosen.sum()}"
        ax.plot(place[chosen], shown, "o", color=colour, markersize=3, label=label)
    ax.axhline(threshold, color="k", linewidth=1, linestyle=":", label=f"threshold {threshold:g}")
    if np.isfinite(gap.gap_ratio):
        ax.axhspan(
            gap.gap_low,
            gap.gap_high,
            color="tab:green",
            alpha=0.15,
            linewidth=0,
            label=f"largest gap, × {gap.gap_ratio:.3g}",
        )
    ax.set_yscale("log")
    ax.set_ylim(0.5 * LOWEST, 3.0 * max(falling.max(), threshold))
    ax.set_xlabel("unit, sorted by activity")
    ax.set_ylabel("activity Var(E[z | x])")
    ax.legend(fontsize="small", loc="lower left")
    ax.set_title(title)
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


def plot_by_activity(ax: Axes, table: pd.DataFrame, column: str, title: str, name: str) -> Axes:
    """A moment of every unit in unit order, active units in red (Vas 2024, Figures 5.14 to 5.18).

    Args:
        table: of ``unit_moments``. column: such as ``scale``, ``mean_of_sds`` or ``sd_of_means``.
        name: of the column, on the axis.
    """
    for active, colour, word in ((True, ACTIVE, "active"), (False, INACTIVE, "inactive")):
        rows = table[table.active == active]
        label = f"{word}: {len(rows)}"
        ax.plot(rows.unit, rows[column], "o", color=colour, markersize=3, label=label)
    ax.set_ylim(0, 1.1 * table[column].max())
    ax.set_xlabel("unit")
    ax.set_ylabel(name)
    _legend_above_the_data(ax, columns=2)
    ax.set_title(title)
    return ax


def plot_densities(ax: Axes, table: pd.DataFrame, title: str) -> Axes:
    """Density of every unit's aggregated posterior against the prior's (Vas 2024, Figure 5.11).

    Args:
        table: of ``analysis.measures.units.densities``: unit, value, density, prior.
    """
    label = f"{table['unit'].nunique()} units"
    for _, unit in table.groupby("unit"):
        ax.plot(unit.value, unit.density, color="tab:blue", linewidth=0.8, alpha=0.6, label=label)
        label = None
    one = table[table.unit == table.unit.iloc[0]]
    ax.plot(one.value, one.prior, color="k", linestyle="--", linewidth=1.5, label="prior")
    ax.set_ylim(bottom=0)
    ax.set_xlabel("value of the unit")
    ax.set_ylabel("density")
    ax.legend(fontsize="small")
    ax.set_title(title)
    return ax


def _legend_above_the_data(ax: Axes, columns: int) -> None:
    """A legend in a strip of its own, and units counted in whole numbers."""
    low, high = ax.get_ylim()
    ax.set_ylim(low, high + 0.15 * (high - low))
    ax.legend(fontsize="small", loc="upper center", ncols=columns)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
