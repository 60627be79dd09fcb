"""What the runs show, in some five sentences with numbers, each from an item of the report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.filters import class_counts
from analysis.measures.seeds import in_words, mean_and_spread, spread_or_error
from analysis.reporting.decoders import ERROR, collect, groups_of
from analysis.reporting.effects import CORRELATION, Effect, clear
from analysis.reporting.naming import random_twin
from analysis.reporting.over_patches import one_seed
from analysis.reporting.sections import filters, start, terms
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study

Finding = tuple[str, str]  # a sentence, and the name of the entry that shows it


def findings(study: Study, found: list[Effect]) -> list[Finding]:
    """The sentences that can be said of these runs; what cannot be had is said further below.

    Args:
        found: of :func:`analysis.reporting.effects.effects`, the largest first.
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
        lines.append(_correlation(correlations))
    return lines


def _correlation(found: list[Effect]) -> Finding:
    beyond = clear(found)
    if beyond:
        told, one = "Of the posterior correlations this lies farthest from its null", beyond[0]
    else:
        told = (
            f"Of {len(found)} posterior correlations none lies beyond its null; the nearest to that"
        )
        one = max(found, key=lambda effect: abs(effect.beyond) / effect.error)
    return f"{told}: {one.sentence}.", one.entry


def _bound(study: Study) -> Finding:
    table = terms.per_run(study, "natural")
    per_patch = terms.data_terms(study, "natural", ["log_likelihood"])
    told = [
        _spread(rows, "log_likelihood", per_patch, 1)
        for _, rows in table.groupby("model", sort=False)
    ]
    sentence = (
        f"The bound on log p(x) with {study.settings.eval_particles} particles is "
        f"{', '.join(told)}, in nats per patch"
    )
    others = ~per_patch.model.isin([per_patch.model.iloc[0], *_twins(study)])
    for row in per_patch[others].itertuples():
        if np.isfinite(row.difference):
            sentence += (
                f"; {row.model} less {per_patch.model.iloc[0]} {row.difference:+.2f} ± "
                f"{row.standard_error_of_difference:.2f} (standard error over patches)"
            )
    return sentence + ".", "bounds-at-equal-k-natural"


def _spread(rows: pd.DataFrame, value: str, per_patch: pd.DataFrame, digits: int) -> str:
    """A model's mean with its sd over seeds; with one seed the standard error over patches."""
    own = per_patch[(per_patch.model == rows.model.iloc[0]) & (per_patch.quantity == value)]
    error = own.standard_error.iloc[0] if len(rows) == 1 else np.nan
    return in_words(spread_or_error(rows.assign(error=error), value, "error"), digits)


def _training(study: Study) -> Finding:
    table, _ = start.gains(study)
    told = []
    for model, rows in table[~table.model.isin(_twins(study))].groupby("model", sort=False):
        stages, words_of = {}, {}
        for stage, part in rows.groupby("stage", sort=False):
            name = stage.split(" (")[0]
            stages[name], words_of[name] = part.elbo.mean(), stage
        if start.ALONE not in stages:
            continue
        gain = stages[start.TRAINED] - stages[start.ALONE]
        ends = f"from {stages[start.ALONE]:.1f} to {stages[start.TRAINED]:.1f}"
        words = f"{gain:+.1f} nats, {ends} ({model}"
        if start.TWIN in stages:
            words += f"; its {words_of[start.TWIN]} ends at {stages[start.TWIN]:.1f}"
        told.append(words + ")")
    if not told:
        raise InputError("no run wrote down its start")
    return f"Training adds to the ELBO of the start: {'; '.join(told)}.", "start-and-training"


def _twins(study: Study) -> set[str]:
    """Labels of models from random weights that stand beside another as its twin."""
    runs = {subject.run.path: subject.label for subject in study.subjects}
    found = (random_twin(one.run, [s.run for s in study.subjects]) for one in study.subjects)
    return {runs[twin.run.path] for twin in found if twin is not None}


def _filters(study: Study) -> Finding:
    told, noise = [], ""
    for subject in study.examples():
        try:
            counts = class_counts(filters.classified(subject))
        except InputError:
            continue
        told.append(f"{counts.localised} of {counts.active} ({subject.label}{_at_start(subject)})")
        own = start.summary_of(subject.run).filters
        if own is not None and own.noise:
            noise = f"; of {own.noise} filters of noise {own.noise_localised} are"
    if not told:
        raise InputError("no run has filters with Gabor fits")
    return (
        f"Of the filters of active units of z1 these are localised: {', '.join(told)}{noise}.",
        "z1-filter-classes",
    )


def _at_start(subject) -> str:
    """How many filters the start alone had, where the run wrote it down."""
    begun = start.summary_of(subject.run).start
    if begun is None or begun.filters is None:
        return ""
    return f"; the start alone: {begun.filters.localised_shown} of {begun.filters.shown}"


def _labels(study: Study) -> Finding:
    names = {"z2": "means of z2", "z2_draw": "draws of z2", "pixels": "pixels"}
    every, _ = collect(study, lambda decoded: groups_of(decoded, names))
    of_pixels = every.group == names["pixels"]
    table = every[~of_pixels] if (~of_pixels).any() else every

    def parts() -> Iterator[str]:
        for model, rows in table.groupby("model", sort=False):
            each = rows.groupby("group", sort=False)
            told = [f"{_accuracy(part)} from {name}" for name, part in each]
            yield f"{', '.join(told)} ({model})"

    over = "over test patches" if one_seed(study) else "over seeds, or test patches of one seed"
    return (
        f"Labels are decoded with an accuracy of {'; '.join(parts())}, ± {over}; from pixels "
        f"{every[of_pixels].accuracy.mean():.2f}, by chance {every.chance.mean():.2f}.",
        "decoding-draws",
    )


def _accuracy(rows: pd.DataFrame) -> str:
    found = spread_or_error(rows, "accuracy", ERROR).iloc[0]
    return mean_and_spread(found["mean"], found["sd"], digits=2)
