"""ArviZ's own plots of a run's posterior for chosen patches, drawn into ``Axes`` that are given.

ArviZ makes pyplot figures where it is given no axes; given them, it leaves pyplot alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib import MatplotlibDeprecationWarning
from matplotlib.axes import Axes
from numpy.typing import NDArray

from analysis.measures.correlation import correlations_of_one, pairs
from pyro_vae.errors import InputError, check_count
from pyro_vae.export import per_datum
from pyro_vae.weights.diagnostics import KHAT_LIMIT

if TYPE_CHECKING:
    import arviz
    import xarray

MIN_DRAWS = 20  # below, a density or a correlation is not worth a picture
TEXT_SIZE = 8


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


def patch_draws(idata: arviz.InferenceData, datum: int, level: str = "z2") -> xarray.DataArray:
    """Posterior draws of one patch and level, dims (chain, draw, <level>_unit).

    Args:
        datum: label of the patch in the ``datum`` coordinate.

    Raises:
        InputError: no such level or patch; fewer than 20 draws; draws that are not finite.
    """
    if level not in idata.posterior:
        have = ", ".join(map(str, idata.posterior.data_vars))
        raise InputError(f"the posterior has no level {level!r}; it has {have}")
    labels = idata.posterior.datum.values
    if datum not in labels:
        raise InputError(
            f"there is no patch {datum!r} in the posterior; it has {len(labels)}, "
            f"{labels[0]} to {labels[-1]}"
        )
    draws = idata.posterior[level].sel(datum=datum)
    number = draws.sizes["chain"] * draws.sizes["draw"]
    if number < MIN_DRAWS:
        raise InputError(f"{number} posterior draws are too few to draw; at least {MIN_DRAWS}")
    if not np.isfinite(draws.values).all():
        raise InputError(f"draws of {level} for patch {datum} are not finite")
    return draws


def strongest_pair(
    idata: arviz.InferenceData,
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
    ax: Axes, idata: arviz.InferenceData, datum: int, units: tuple[int, int], level: str = "z2"
) -> Axes:
    """Joint draws of two units for one patch (``arviz.plot_pair``)."""
    draws = _units(patch_draws(idata, datum, level), units, level)
    with _quiet():
        _arviz().plot_pair(
            {f"{level}, unit {unit}": _chains(draws, place) for place, unit in enumerate(units)},
            kind="scatter",
            textsize=TEXT_SIZE,
            ax=ax,
            show=False,
            scatter_kwargs={"alpha": 0.5, "s": 9, "marker": "o"},
        )
    ax.set_title(f"patch {datum}: draws of two units of {level}", fontsize=TEXT_SIZE + 2)
    return ax


def plot_forest(
    ax: Axes, idata: arviz.InferenceData, datum: int, level: str = "z2", max_units: int = 30
) -> Axes:
    """Median, quartiles and 94 % interval of a level's units for one patch (``arviz.plot_forest``).

    Of more than ``max_units`` those whose mean lies farthest from zero are shown.
    """
    draws = patch_draws(idata, datum, level)
    order = np.argsort(-np.abs(_table(draws).mean(axis=0)), kind="stable")
    chosen = np.sort(order[: check_count("max_units", max_units)])
    with _quiet():
        _arviz().plot_forest(
            {f"unit {unit}": _chains(draws, unit) for unit in chosen},
            combined=True,
            textsize=TEXT_SIZE,
            ax=ax,
            show=False,
            hdi_prob=0.94,
        )
    ax.axvline(0.0, color="0.6", linewidth=0.8, zorder=-1)
    ax.set_title(f"patch {datum}: {level}, 94 % intervals", fontsize=TEXT_SIZE + 2)
    ax.set_xlabel(level)
    return ax


def plot_density(
    ax: Axes, idata: arviz.InferenceData, datum: int, unit: int, level: str = "z2"
) -> Axes:
    """One unit's posterior for one patch, and its prior if kept (``arviz.plot_density``)."""
    name = f"{level}, unit {unit}"
    draws = _units(patch_draws(idata, datum, level), (unit,), level)
    shown = {"posterior": {name: _chains(draws, 0)}}
    if "prior" in idata.groups() and level in idata.prior:
        prior = _units(idata.prior[level], (unit,), level)
        shown["prior"] = {name: _chains(prior, 0)}
    az = _arviz()
    with _quiet():
        az.plot_density(
            [az.convert_to_inference_data(values) for values in shown.values()],
            data_labels=list(shown),
            hdi_prob=0.999,
            shade=0.1,
            textsize=TEXT_SIZE,
            ax=ax,
            show=False,
        )
    ax.set_title(f"patch {datum}: {name}", fontsize=TEXT_SIZE + 2)
    return ax


def plot_khat(ax: Axes, idata: arviz.InferenceData) -> Axes:
    """Pareto k-hat of every patch's importance weights (``arviz.plot_khat``).

    Above 0.7 the weights' tail is too heavy for their mean to be trusted at any practical number of
    particles; patches without an estimate are left out.
    """
    khat = khats(idata)
    with _quiet():
        _arviz().plot_khat(
            khat,
            show_hlines=True,
            hlines_kwargs={"hlines": [0, KHAT_LIMIT, 1]},
            textsize=TEXT_SIZE,
            ax=ax,
            show=False,
        )
    share = float((khat > KHAT_LIMIT).mean())
    ax.set_xlabel("patch")
    ax.set_title(f"{share:.0%} of {len(khat)} above {KHAT_LIMIT:g}", fontsize=TEXT_SIZE + 2)
    return ax


def khats(idata: arviz.InferenceData) -> xarray.DataArray:
    """Finite k-hat of the patches, dim (datum); InputError where there are none."""
    table = per_datum(idata)
    if "khat" not in table:
        raise InputError("the run's ArviZ data hold no k-hat (importance_diagnostics.khat)")
    values = table.khat.astype(float)
    values = values[np.isfinite(values.values)]
    if len(values) == 0:
        raise InputError("no patch has an estimate of k-hat: too few particles weighed")
    return values


def load(path: Path) -> arviz.InferenceData:
    """The InferenceData of a netCDF file."""
    return _arviz().from_netcdf(path)


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


def _chains(draws: xarray.DataArray, place: int) -> NDArray:
    """One unit as (chain, draw)."""
    return draws.values[..., place]


def _arviz():
    """ArviZ, without the notice that its first import of a day prints."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="\\s*ArviZ is undergoing a major refactor")
        import arviz
    return arviz


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings that are about ArviZ's own code, or that k-hat should come from its loo.

    k-hat here is that of each patch's weights; there is no ELPD, which is about shared parameters.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="support for (arrays|DataArrays) will be")
        warnings.simplefilter("ignore", MatplotlibDeprecationWarning)
        yield
