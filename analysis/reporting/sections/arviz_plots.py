"""The posterior of the first patch in the ArviZ data of each model: k-hat and z2."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures import posterior
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_runs import drawn, tables, without
from pyro_vae.errors import InputError
from pyro_vae.export import read_netcdf
from pyro_vae.runs import RunDirectory
from pyro_vae.weights.diagnostics import KHAT_LIMIT

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "The posterior of chosen patches, from the ArviZ data (beyond Vas 2024)"
WIDTH, HEIGHT = 4.2, 3.6  # of a panel, inches


def entries(study: Study) -> list[Entry]:
    """k-hat of every run; forest, strongest pair and density of z2 for one patch per model."""
    return [
        Entry("arviz-khat", BEYOND, partial(_khat, study)),
        Entry("arviz-forest-z2", BEYOND, partial(_forest, study)),
        Entry("arviz-pair-z2", BEYOND, partial(_pair, study)),
        Entry("arviz-density-z2", BEYOND, partial(_density, study)),
    ]


def read_posterior(subject: Subject):
    """The run's ``posterior.nc`` as ArviZ data; InputError where it cannot be read."""
    directory = RunDirectory(subject.run.path)
    if not directory.posterior.is_file():
        raise InputError(f"there is no {directory.posterior.name} in {subject.run.path.name}")
    directory.check_posterior()
    return read_netcdf(directory.posterior)


def _panels(
    study: Study, draw: Callable[[Axes, Subject], dict], height: float = HEIGHT
) -> tuple[Figure, pd.DataFrame]:
    """One panel per model; a model that cannot be drawn has the reason in its place."""
    subjects = study.examples()

    def titled(axes: Sequence[Axes], subject: Subject) -> dict:
        row = draw(axes[0], subject)
        axes[0].set_title(f"{subject.name}\n{axes[0].get_title()}", fontsize=9)
        return row

    figure, table, _ = drawn(subjects, titled, (WIDTH, height), per_row=len(subjects))
    return figure, table


def _first(idata) -> int:
    return idata.posterior.datum.values[0].item()


def _law(idata) -> str:
    return str(idata.posterior.attrs.get("distribution", "unknown"))


def _khat(study: Study) -> Item:
    figure, _ = _panels(study, _drawn_khat)

    def row(subject: Subject) -> dict:
        values = posterior.khats(read_posterior(subject)).values
        return {
            "patches": len(values),
            "median_khat": float(np.median(values)),
            "share_above_0.7": float((values > KHAT_LIMIT).mean()),
        }

    table, left_out = tables(study.subjects, row)
    return Item(
        f"Pareto k-hat of each patch's importance weights: above {KHAT_LIMIT:g} (dashed) the guide "
        "misses so much of the posterior that estimates from its weights are unreliable; a guide "
        "equal to the posterior has no tail and lies far below." + without(left_out),
        figure,
        table,
    )


def _drawn_khat(ax: Axes, subject: Subject) -> dict:
    posterior.plot_khat(ax, read_posterior(subject))
    return {}


def _forest(study: Study) -> Item:
    def draw(ax: Axes, subject: Subject) -> dict:
        idata = read_posterior(subject)
        posterior.plot_forest(ax, idata, _first(idata))
        draws = posterior.patch_draws(idata, _first(idata))
        clear = abs(draws.mean(("chain", "draw"))) > 2 * draws.std(("chain", "draw"))
        return {
            "patch": _first(idata),
            "law": _law(idata),
            "units": int(clear.size),
            "mean_beyond_2_sd": int(clear.sum()),
        }

    figure, table = _panels(study, draw, height=5.0)
    return Item(
        "Posterior of every unit of z2 for one test patch, with 94 % intervals; a unit that says "
        "nothing about this patch has the interval of its standard normal prior, -1.9 to 1.9.",
        figure,
        table,
    )


def _pair(study: Study) -> Item:
    def draw(ax: Axes, subject: Subject) -> dict:
        idata = read_posterior(subject)
        pair = posterior.strongest_pair(idata, _first(idata), seed=study.settings.seed)
        posterior.plot_pair(ax, idata, _first(idata), pair.units)
        ax.set_title(
            f"r = {pair.correlation:.2f} (largest by chance: {pair.chance:.2f})", fontsize=9
        )
        return {
            "patch": _first(idata),
            "law": _law(idata),
            "unit_1": pair.units[0],
            "unit_2": pair.units[1],
            "correlation": pair.correlation,
            "largest_by_chance": pair.chance,
        }

    figure, table = _panels(study, draw)
    return Item(
        "Joint draws of the two units of z2 that correlate most for one test patch, with the "
        "largest correlation that shuffled draws give on average; under the guide q itself units "
        "of z2 are independent, so there only chance is left.",
        figure,
        table,
    )


def _density(study: Study) -> Item:
    def draw(ax: Axes, subject: Subject) -> dict:
        idata = read_posterior(subject)
        draws = posterior.patch_draws(idata, _first(idata))
        spread = draws.std(("chain", "draw")).values
        unit = int(spread.argmin())
        posterior.plot_density(ax, idata, _first(idata), unit)
        return {
            "patch": _first(idata),
            "law": _law(idata),
            "unit": unit,
            "posterior_sd": float(spread[unit]),
            "prior_sd": 1.0,
        }

    figure, table = _panels(study, draw)
    return Item(
        "Posterior density, against the prior's, of the unit of z2 that is surest of one test "
        "patch; the unit is chosen for its narrowness, and a collapsed level would still show the "
        "prior.",
        figure,
        table,
    )
