"""Units of z2 and z1: posterior moments, densities and activity (Vas 2024, Figures 5.6-18)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from analysis.measures.seeds import mean_and_sd, words
from analysis.measures.units import (
    densities,
    field_gap,
    prior_distance,
    unit_moments,
)
from analysis.pictures.units import (
    plot_activity_gap,
    plot_by_activity,
    plot_densities,
    plot_unit_moments,
)
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_runs import drawn, tables
from analysis.reporting.study import Study, Subject
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD
from pyro_vae.evaluation.activity_gap import activity_gap
from pyro_vae.programs.priors import StandardPrior

TITLE = "Units: posterior moments and activity"
MOMENTS = "moments_natural"
POSTERIORS = {"q": MOMENTS, "q_EW": "moments_natural_ew"}
PRIORS = {"Normal": stats.norm(), "Laplace": stats.laplace()}


def entries(study: Study) -> list[Entry]:
    """Moments of z2 and z1 and densities of z2, under q and q_EW; active units of both."""
    found = []
    for level, figures in (("z2", "Figures 5.6 to 5.10"), ("z1", "Figures 5.14 to 5.18")):
        for posterior in POSTERIORS:
            found.append(
                Entry(
                    _name(f"{level}-moments", posterior),
                    f"Vas 2024, {figures}" if posterior == "q" else BEYOND,
                    lambda at=level, p=posterior: _moments(study, at, p),
                )
            )
            if level == "z2":
                found.append(
                    Entry(
                        _name("z2-densities", posterior),
                        "Vas 2024, Figure 5.11" if posterior == "q" else BEYOND,
                        lambda p=posterior: _densities(study, p),
                    )
                )
    for level in ("z2", "z1"):
        found.append(
            Entry(
                f"{level}-active-units",
                "Vas 2024, section 5.3" if level == "z2" else "Vas 2024, section 5.4",
                lambda at=level: _active(study, at),
            )
        )
    return found


def _name(stem: str, posterior: str) -> str:
    return stem if posterior == "q" else f"{stem}-ew"


def _moments(study: Study, level: str, posterior: str) -> Item:
    """Means and sds of the units, and scale by activity (sd for q_EW, and where q has no scale)."""

    rows = []  # of every model

    def draw(axes: Sequence[Axes], subject: Subject) -> pd.DataFrame:
        moments = subject.measured(POSTERIORS[posterior])
        table = unit_moments(moments, level)
        rows.append(len(moments[f"{level}_mean"]))
        plot_unit_moments(axes[0], table, subject.name, prior_sd=_prior_sd(subject, level))
        column, word = _width(table)
        plot_by_activity(axes[1], table, column, subject.name, f"posterior {word}, mean over data")
        return table

    figure, table, _ = drawn(study.examples(), draw, (5.5, 3.2), each=2)
    words = {_width(units.dropna(axis=1))[1]: None for _, units in table.groupby("model")}
    told = []
    for model, units in table.groupby("model", sort=False):
        sds = units[units.active].mean_of_sds
        shown = f", their sd {mean_and_sd(sds, 2)}" if len(sds) else ""
        told.append(f"{model}: {len(sds)} of {len(units)} active{shown}")
    return Item(
        f"Posterior mean and standard deviation of each unit of {level} under {posterior} over "
        f"{max(rows)} natural test rows (left: average ± sd over the data; a unit that "
        "collapsed has means without spread and the sd of its prior), and the posterior's "
        f"{' or '.join(words)} with active units in red (right); one seed per model. "
        f"{'; '.join(told)} (mean ± sd over units).",
        figure,
        table,
    )


def _width(table: pd.DataFrame) -> tuple[str, str]:
    """The column of a unit's width and a word for it: the sd where the family has no scale."""
    return ("scale", "scale") if "scale" in table else ("mean_of_sds", "sd")


def _densities(study: Study, posterior: str) -> Item:
    rows = []  # of every model

    def draw(axes: Sequence[Axes], subject: Subject) -> pd.DataFrame:
        prior = _prior(subject, "z2")
        draws = subject.measured(POSTERIORS[posterior]).z2_draw
        rows.append(len(draws))
        plot_densities(axes[0], densities(draws, prior), subject.name)
        return prior_distance(draws, prior)

    figure, table, _ = _side_by_side(study, draw)
    told = ", ".join(
        f"{mean_and_sd(units.distance)} ({model})"
        for model, units in table.groupby("model", sort=False)
    )
    return Item(
        f"Density of each unit of z2 over {max(rows)} natural test rows, one draw of {posterior} "
        "per row, against its prior (dashed); one seed per model. "
        f"Kolmogorov-Smirnov distance to the prior, mean ± sd over units: {told}; draws of the "
        f"prior itself would have about {table.chance.iloc[0]:.3f}. An active unit may match "
        "its prior here: over all data the average posterior of a perfect model is the prior.",
        figure,
        table,
    )


def _active(study: Study, level: str) -> Item:
    """Active units and their gap, for every run under q and q_EW, and by the decoder for z1."""

    def draw(axes: Sequence[Axes], subject: Subject) -> pd.DataFrame:
        table = unit_moments(subject.measured(MOMENTS), level)
        values = table.activity.to_numpy()
        plot_activity_gap(axes[0], values, activity_gap(values), subject.name)
        return table

    figure, *_ = _side_by_side(study, draw)
    table, _ = tables(
        study.subjects,
        lambda subject: [
            _active_row(subject, level, posterior, name) for posterior, name in POSTERIORS.items()
        ],
    )
    of_q = table[table.posterior == "q"]
    by_field = (
        " agreement: share of units that the norm of their projective field puts on the same side; "
        "chance_agreement: what two unrelated counts would share."
        if "agreement" in table
        else ""
    )
    return Item(
        f"Units of {level} sorted by activity Var(E[z | x]) under q, one seed per model; a unit is "
        f"active above {ACTIVITY_THRESHOLD:g}. Active of {table.units.iloc[0]}, mean ± sd over "
        f"seeds: {words(of_q, 'active', 1)}. In {int(of_q.threshold_in_gap.sum())} of "
        f"{len(of_q)} runs the threshold lies within the largest gap (gap_ratio; every list has "
        "one, so compare it with second_ratio, the next largest); near_threshold counts units "
        "within a factor of 3 of it." + by_field,
        figure,
        table,
    )


def _active_row(subject: Subject, level: str, posterior: str, name: str) -> dict:
    table = unit_moments(subject.measured(name), level)
    row = {"posterior": posterior} | vars(activity_gap(table.activity.to_numpy()))
    if level == "z1":
        # A decoder without projective fields leaves this check out.
        with contextlib.suppress(InputError):
            row |= field_gap(subject.measured("filters").projective, table.active.to_numpy())
    return row


def _side_by_side(study: Study, draw: Callable) -> tuple[Figure, pd.DataFrame, dict[str, str]]:
    """A panel of each model's example, all in one row."""
    examples = study.examples()
    return drawn(examples, draw, (4.2, 3.6), per_row=len(examples), least=6.0)


def _prior(subject: Subject, level: str):
    """The prior of one unit of the top level, the same for all; InputError where it is not that."""
    model = subject.run.model
    if level != model.latent_names[-1]:
        raise InputError(f"{level} is not the top level of the model, {model.latent_names[-1]}")
    name = model.prior.family.__name__ if isinstance(model.prior, StandardPrior) else None
    if name not in PRIORS:
        raise InputError(
            f"the prior of {level} is {type(model.prior).__name__}, which is not the same standard "
            f"{' or '.join(PRIORS)} for every unit"
        )
    return PRIORS[name]


def _prior_sd(subject: Subject, level: str) -> float | None:
    """The sd of a unit under the prior, where that is one number."""
    try:
        return float(_prior(subject, level).std())
    except InputError:
        return None
