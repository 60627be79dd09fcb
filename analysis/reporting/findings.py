"""What the runs show, in some five sentences with numbers, each from an item of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.filters import class_counts
from analysis.measures.seeds import mean_and_spread, summary
from analysis.reporting.decoders import collect, groups_of
from analysis.reporting.effects import CORRELATION, Effect
from analysis.reporting.sections import filters, start, terms
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study

Finding = tuple[str, str]  # a sentence, and the name of the entry that shows it


def findings(study: Study, found: list[Effect]) -> list[Finding]:
    """The sentences that can be said of these runs; what cannot be had is said further below.

    Args:
        found: of :func:`analysis.reporting.effects.effects`.
    """
    makers: tuple[Callable[[Study], Finding], ...] = (_bound, _training, _filters, _labels)
    lines = []
    for make in makers:
        try:
            lines.append(make(study))
        except InputError:
            continue
    correlations = [effect for effect in found if effect.kind == CORRELATION]
    if correlations:
        first = correlations[0]
        words = "Of the posterior correlations this lies farthest from its null. "
        lines.append((words + first.sentence + ".", first.entry))
    return lines


def _bound(study: Study) -> Finding:
    table = terms.per_run(study, "natural")
    per_patch = terms.data_terms(study, "natural", ["log_likelihood"])
    told = [
        f"{model} {_spread(rows, 'log_likelihood', per_patch, 1)}"
        for model, rows in table.groupby("model", sort=False)
    ]
    sentence = f"Bound with {study.settings.eval_particles} particles, in nats: {', '.join(told)}"
    for row in per_patch[per_patch.model != per_patch.model.iloc[0]].itertuples():
        if np.isfinite(row.difference):
            sentence += (
                f"; {row.model} less {per_patch.model.iloc[0]} {row.difference:+.2f} ± "
                f"{row.standard_error_of_difference:.2f} (standard error over patches)"
            )
    return sentence + ".", "bounds-at-equal-k-natural"


def _spread(rows: pd.DataFrame, value: str, per_patch: pd.DataFrame, digits: int) -> str:
    """A model's mean with its sd over seeds; with one seed the standard error over patches."""
    found = summary(rows, value).iloc[0]
    if len(rows) > 1:
        return mean_and_spread(found["mean"], found["sd"], len(rows), digits)
    own = per_patch[(per_patch.model == rows.model.iloc[0]) & (per_patch.quantity == value)]
    return mean_and_spread(found["mean"], float(own.standard_error.iloc[0]), digits=digits)


def _training(study: Study) -> Finding:
    table, _ = start.gains(study)
    told = []
    for model, rows in table.groupby("model", sort=False):
        stages, words_of = {}, {}
        for stage, part in rows.groupby("stage", sort=False):
            name = stage.split(" (")[0]
            stages[name], words_of[name] = part.elbo.mean(), stage
        if start.ALONE not in stages:
            continue
        gain = stages[start.TRAINED] - stages[start.ALONE]
        words = f"{model} {gain:+.1f} nats, from {stages[start.ALONE]:.1f}"
        if start.TWIN in stages:
            words += f"; its {words_of[start.TWIN]} ends at {stages[start.TWIN]:.1f}"
        told.append(words)
    if not told:
        raise InputError("no run wrote down its start")
    return f"Training adds to the ELBO of the start: {'; '.join(told)}.", "start-and-training"


def _filters(study: Study) -> Finding:
    told, noise = [], ""
    for subject in study.examples():
        try:
            counts = class_counts(filters.classified(subject))
        except InputError:
            continue
        told.append(f"{subject.label} {counts.localised} of {counts.active}{_at_start(subject)}")
        own = start.summary_of(subject.run).filters
        if own is not None and own.noise:
            noise = f"; of {own.noise} filters of noise {own.noise_localised}"
    if not told:
        raise InputError("no run has filters with Gabor fits")
    return (
        f"Localised filters of active units of z1: {', '.join(told)}{noise}.",
        "z1-filter-classes",
    )


def _at_start(subject) -> str:
    """How many filters the start alone had, where the run wrote it down."""
    begun = start.summary_of(subject.run).start
    if begun is None or begun.filters is None:
        return ""
    return f" (the start alone: {begun.filters.localised} of {begun.filters.units})"


def _labels(study: Study) -> Finding:
    names = {"z2": "means of z2", "z2_draw": "draws of z2", "pixels": "pixels"}
    table, _ = collect(study, lambda decoded: groups_of(decoded, names))

    def parts() -> Iterator[str]:
        for model, rows in table.groupby("model", sort=False):
            each = rows.groupby("group", sort=False).accuracy.mean()
            yield f"{model} " + ", ".join(
                f"{value:.2f} from {name}" for name, value in each.items()
            )

    return (
        f"Labels are decoded with an accuracy of {'; '.join(parts())}; chance "
        f"{table.chance.mean():.2f}.",
        "decoding-draws",
    )
