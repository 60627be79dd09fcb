"""A run's posterior for chosen patches, from its ArviZ data, drawn into ``Axes`` that are given.

The plots of ArviZ 0.23 and 1.x are called and look differently, and those of 1.x take no axes: the
same pictures are drawn here whichever is installed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from analysis.measures.correlation import correlations_of_one, pairs
from pyro_vae.errors import InputError, check_count
from pyro_vae.export import group, group_names, per_datum
from pyro_vae.weights.diagnostics import KHAT_LIMIT

if TYPE_CHECKING:
    import xarray

    from pyro_vae.export.arviz_forms import ArvizData

MIN_DRAWS = 20  # below, a density or a correlation is not worth a picture
TEXT_SIZE = 8
INTERVAL = 0.94  # of the posterior that the thin lines of a forest hold


class Pair(NamedTuple):
    """The two units of a level whose draws correlate most, with what chance would give.

    Attributes:
        units: the two, the lower first. correlation: of their draws.
        chance: the largest absolute correlation of the level when the draws of every unit are
            shuffled on their own, mean over the shuffles.
    """

    units: tuple[int, int]
    correlation: float
    chance: float


def patch_draws(idata: ArvizData, datum: int, level: str = "z2") -> xarray.DataArray:
    """Posterior draws of one patch and level, dims (chain, draw, <level>_unit).

    Args:
        datum: label of the patch in the ``datum`` coordinate.

    Raises:
        InputError: no such level or patch; fewer than 20 draws; draws that are not finite.
    """
    posterior = group(idata, "posterior")
    if level not in posterior:
        have = ", ".join(map(str, posterior.data_vars))
        raise InputError(f"the posterior has no level {level!r}; it has {have}")
    labels = posterior.datum.values
    if datum not in labels:
        raise InputError(
            f"there is no patch {datum!r} in the posterior; it has {len(labels)}, "
            f"{labels[0]} to {labels[-1]}"
        )
    draws = posterior[level].sel(datum=datum)
    number = draws.sizes["chain"] * draws.sizes["draw"]
    if number < MIN_DRAWS:
        raise InputError(f"{number} posterior draws are too few to draw; at least {MIN_DRAWS}")
    if not np.isfinite(draws.values).all():
        raise InputError(f"draws of {level} for patch {datum} are not finite")
    return draws


def strongest_pair(
    idata: ArvizData,
    datum: int,
    level: str = "z2",
    *,
    shuffles: int = 20,
    seed: int = 0,
) -> Pair:
    """The most correlated pair of units in the draws of one patch.

    The largest of many correlations is large by chance too: ``chance`` beside it says how large.
    Units of the top level are independent under a guide that factorises, so that there any
    correlation of draws of q is chance; draws of q_EW can be correlated.

    Raises:
        InputError: as :func:`patch_draws`; a level of fewer than 2 units whose draws vary.
    """
    check_count("shuffles", shuffles)
    table = _table(patch_draws(idata, datum, level))
    moving = np.flatnonzero(table.std(axis=0) > 0)
    if len(moving) < 2:
        raise InputError(f"{len(moving)} units of {level} vary; a pair wants 2")
    table = table[:, moving].astype(float)
    size, first, second = _largest(table)
    rng = np.random.default_rng(seed)
    by_chance = [abs(_largest(rng.permuted(table, axis=0))[0]) for _ in range(shuffles)]
    units = int(moving[first]), int(moving[second])
    return Pair(units, size, float(np.mean(by_chance)))


def plot_pair(
    ax: Axes, idata: ArvizData, datum: int, units: tuple[int, int], level: str = "z2"
) -> Axes:
    """Joint draws of two units for one patch."""
    draws = _table(_units(patch_draws(idata, datum, level), units, level))
    ax.scatter(*draws.T, s=9, alpha=0.5)
    ax.set_xlabel(f"{level}, unit {units[0]}")
    ax.set_ylabel(f"{level}, unit {units[1]}")
    return _titled(ax, f"patch {datum}: draws of two units of {level}")


def plot_forest(
    ax: Axes, idata: ArvizData, datum: int, level: str = "z2", max_units: int = 30
) -> Axes:
    """Median, quartiles (thick) and 94 % interval (thin) of a level's units for one patch.

    The interval is the shortest that holds 94 % of the draws. Of more than ``max_units`` those
    whose mean lies farthest from zero are shown.
    """
    draws = _table(patch_draws(idata, datum, level))
    order = np.argsort(-np.abs(draws.mean(axis=0)), kind="stable")
    chosen = np.sort(order[: check_count("max_units", max_units)])
    draws = draws[:, chosen]
    rows = np.arange(len(chosen))
    ax.hlines(rows, *shortest_interval(draws, INTERVAL), color="C0", linewidth=1)
    ax.hlines(rows, *np.quantile(draws, (0.25, 0.75), axis=0), color="C0", linewidth=3)
    ax.plot(np.median(draws, axis=0), rows, "o", color="C0", markerfacecolor="w", markersize=4)
    ax.axvline(0.0, color="0.6", linewidth=0.8, zorder=-1)
    ax.set_yticks(rows, [f"unit {unit}" for unit in chosen])
    ax.invert_yaxis()
    ax.set_xlabel(level)
    return _titled(ax, f"patch {datum}: {level}, {100 * INTERVAL:.0f} % intervals")


def plot_density(ax: Axes, idata: ArvizData, datum: int, unit: int, level: str = "z2") -> Axes:
    """Densities of one unit's posterior for one patch, and of its prior if kept.

    They are estimated by Normal kernels of the width of Scott 1992.
    """
    shown = {"posterior": _units(patch_draws(idata, datum, level), (unit,), level)}
    if "prior" in group_names(idata) and level in group(idata, "prior"):
        shown["prior"] = _units(group(idata, "prior")[level], (unit,), level)
    for label, draws in shown.items():
        column = _table(draws)[:, 0].astype(float)
        if column.std() == 0:
            raise InputError(f"{label} draws of unit {unit} of {level} never move: no density")
        grid = np.linspace(column.min(), column.max(), 200)
        density = stats.gaussian_kde(column)(grid)
        (line,) = ax.plot(grid, density, label=label)
        ax.fill_between(grid, density, color=line.get_color(), alpha=0.1)
    ax.set_yticks([])
    ax.set_ylim(bottom=0)
    ax.legend(fontsize=TEXT_SIZE)
    return _titled(ax, f"patch {datum}: {level}, unit {unit}")


def plot_khat(ax: Axes, idata: ArvizData) -> Axes:
    """Pareto k-hat of every patch's importance weights.

    Above 0.7 the weights' tail is too heavy for their mean to be trusted at any practical number of
    particles; patches without an estimate are left out.
    """
    khat = khats(idata)
    ax.scatter(np.arange(len(khat)), khat, marker="+", color="C0")
    for level in (0, KHAT_LIMIT, 1):
        ax.axhline(level, color="0.4", linestyle="--", linewidth=0.8)
    ax.set_xlabel("patch")
    ax.set_ylabel("k-hat")
    share = float((khat > KHAT_LIMIT).mean())
    return _titled(ax, f"{share:.0%} of {len(khat)} above {KHAT_LIMIT:g}")


def khats(idata: ArvizData) -> xarray.DataArray:
    """Finite k-hat of the patches, dim (datum); InputError where there are none."""
    table = per_datum(idata)
    if "khat" not in table:
        raise InputError("the run's ArviZ data hold no k-hat (importance_diagnostics.khat)")
    values = table.khat.astype(float)
    values = values[np.isfinite(values.values)]
    if len(values) == 0:
        raise InputError("no patch has an estimate of k-hat: too few particles weighed")
    return values


def shortest_interval(
    draws: NDArray[np.floating], share: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Ends of the shortest interval that holds this share of each column, (N, U) -> (U,) each."""
    ordered = np.sort(draws, axis=0)
    inside = int(share * len(ordered))
    width = ordered[inside:] - ordered[: len(ordered) - inside]
    low = width.argmin(axis=0)
    columns = np.arange(ordered.shape[1])
    return ordered[low, columns], ordered[low + inside, columns]


def _table(draws: xarray.DataArray) -> NDArray:
    """(chain, draw, unit) -> (draws, units)."""
    return draws.values.reshape(-1, draws.shape[-1])


def _largest(table: NDArray[np.float64]) -> tuple[float, int, int]:
    """The off-diagonal correlation that is largest in size, and its two columns."""
    triangle = correlations_of_one(table)
    first, second = pairs(table.shape[1])
    best = np.abs(triangle).argmax()
    return float(triangle[best]), int(first[best]), int(second[best])


def _units(draws: xarray.DataArray, units: Sequence[int], level: str) -> xarray.DataArray:
    number = draws.shape[-1]
    for unit in units:
        if not 0 <= unit < number:
            raise InputError(f"{level} has no unit {unit}; allowed: 0 to {number - 1}")
    return draws.isel({draws.dims[-1]: list(units)})


def _titled(ax: Axes, title: str) -> Axes:
    ax.tick_params(labelsize=TEXT_SIZE)
    ax.set_title(title, fontsize=TEXT_SIZE + 2)
    return ax
