"""What of a model is training's: the start alone, the trained model, a twin from random weights."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis.measures.seeds import mean_and_spread, summary
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.naming import STARTS, random_twin
from analysis.reporting.over_runs import by_model, tables, without
from pyro_vae.errors import InputError
from pyro_vae.runs import RunDirectory
from pyro_vae.runs.summary import Start, Summary

if TYPE_CHECKING:
    from analysis.reporting.finished import FinishedRun
    from analysis.reporting.study import Study, Subject

TITLE = "What is the start's, and what is training's"
ALONE, TRAINED, TWIN = "the start alone", "trained", "twin from random weights"
ESTIMATES = ("elbo", "bound", "reconstruction")


def entries(study: Study) -> list[Entry]:
    """The start alone beside the trained model and its twin."""
    return [Entry("start-and-training", BEYOND, partial(_stages, study))]


def summary_of(run: FinishedRun) -> Summary:
    """What the run found of itself on its own test data; InputError where the file is damaged."""
    directory = RunDirectory(run.path)
    return Summary.of(directory.read_summary(), directory.summary)


def stages(subject: Subject, study: Study) -> pd.DataFrame:
    """A row for the start alone, for the trained run, and for its twin where the study has one.

    Returns:
        ``stage``, that of the twin with what else differs; ``elbo``, ``bound``, ``reconstruction``
        and the KL of every level with their standard errors over the run's test data
        (``<name>_error``), nats per datum; ``active_<level>`` units; ``localised`` filters, and of
        how many ``filters``, those of units above the gap of activity where it is clear;
        ``particles``, of the estimates.

    Raises:
        InputError: the run wrote down nothing of its start, and has no twin either.
    """
    own = summary_of(subject.run)
    twin = random_twin(subject.run, [one.run for one in study.subjects])
    rows = []
    if own.start is not None and own.start.test:
        start = STARTS.get(own.start.init, own.start.init)
        rows.append({"stage": f"{ALONE} ({start})"} | _row(own.start, own.start.particles))
    rows.append({"stage": TRAINED} | _row(own, own.settings.particles))
    if twin is not None:
        other = summary_of(twin.run)
        stage = f"{TWIN} ({twin.differs})" if twin.differs else TWIN
        rows.append({"stage": stage} | _row(other, other.settings.particles))
    if len(rows) == 1:
        raise InputError("it wrote down no figures of its start, and no twin of it was given")
    return pd.DataFrame(rows)


def _row(found: Start | Summary, particles: int | None) -> dict:
    levels = sorted(name for name in found.test if name.startswith("kl_z"))
    row = {}
    for name in (*ESTIMATES, *levels):
        if name in found.test:
            estimate = found.estimate(name)
            row |= {name: estimate.mean, f"{name}_error": estimate.standard_error}
    row |= _units(found)
    if found.filters is not None:
        row |= {"localised": found.filters.localised_shown, "filters": found.filters.shown}
    return row | {"particles": particles}


def _units(found: Start | Summary) -> Mapping[str, int]:
    return {f"active_{name}": level.active for name, level in sorted(found.active_units.items())}


def gains(study: Study) -> tuple[pd.DataFrame, dict[str, str]]:
    """:func:`stages` of all runs with model and seed, and name -> reason of those without."""
    return tables(by_model(study), lambda subject: stages(subject, study))


def _stages(study: Study) -> Item:
    table, left_out = gains(study)
    told = []
    for model, rows in table.groupby("model", sort=False):
        parts = [
            f"{stage} {_in_words(part, 'elbo', 1)} nats{_localised(part)}"
            for stage, part in rows.groupby("stage", sort=False)
        ]
        told.append(f"{model}: {'; '.join(parts)}")
    return Item(
        "Every run before its first step, as it is trained, and beside it its twin, "
        "where one was given: the same pair and objective from random weights, with what else of "
        "its training differs in brackets; estimates of the runs' own on "
        "their test data, whose standard errors over patches are in the columns that end in error "
        "(the start has fewer particles, which the ELBO does not feel). What the start alone has "
        f"is not training's. ELBO: {'. '.join(told)}.{without(left_out)}",
        table=table,
    )


def _in_words(rows: pd.DataFrame, name: str, digits: int) -> str:
    """Mean and spread over seeds; over patches where there is one seed."""
    found = summary(rows, name).iloc[0]
    if len(rows) > 1:
        return mean_and_spread(found["mean"], found["sd"], len(rows), digits)
    return mean_and_spread(found["mean"], float(rows[f"{name}_error"].iloc[0]), digits=digits)


def _localised(rows: pd.DataFrame) -> str:
    if "localised" not in rows or rows.localised.isna().any():
        return ""
    return f" and {rows.localised.mean():.0f} of {rows.filters.mean():.0f} filters localised"
