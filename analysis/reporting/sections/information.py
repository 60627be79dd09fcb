"""Decoding beyond Vas 2024: against pixels, paired tests, q_EW, information of single units."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from analysis.measures.seeds import paired, words
from analysis.pictures import decoding as pictures
from analysis.pictures.panels import panel
from analysis.reporting.decoders import (
    ERROR,
    HEIGHT,
    collect,
    decoder_row,
    entry_of,
    grouped,
    groups_of,
)
from analysis.reporting.item import BEYOND, Entry, Item
from analysis.reporting.over_patches import one_seed
from analysis.reporting.over_runs import without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study

TITLE = "Decoding beyond Vas 2024: pixels, draws, information"
REPRESENTATIONS = ("z2", "z1", "pixels")


def entries(study: Study) -> list[Entry]:
    """The items of this section."""
    build: dict[str, Callable[[], Item]] = {
        "decoding-overview": lambda: _overview(study),
        "decoding-draws": lambda: _draws(study),
        "decoding-models-paired": lambda: _models_paired(study),
        "decoding-levels-paired": lambda: _levels_paired(study),
        "decoding-weighted": lambda: _weighted(study),
        "z2-information": lambda: _information(study, "z2"),
        "z1-information": lambda: _information(study, "z1"),
    }
    return [Entry(name, BEYOND, item) for name, item in build.items()]


def _overview(study: Study) -> Item:
    names = {name: name for name in REPRESENTATIONS} | {"z2_pair": "two units of z2"}
    table, left_out = collect(study, lambda d: groups_of(d, names))
    return grouped(
        table,
        "labels from each representation",
        "Accuracy on test data from all units of z2, the active ones of z1, the data rows "
        "themselves (a linear decoder of pixels), and the two most certain units of z2",
        left_out,
    )


def _weighted(study: Study) -> Item:
    names = {"z2": "z2, q", "z2_ew": "z2, q_EW", "z1": "z1, q", "z1_ew": "z1, q_EW"}

    def rows(decoded: Named) -> list[dict]:
        entry_of(decoded, "z1_ew", "accuracy")
        return groups_of(decoded, names)

    table, left_out = collect(study, rows)
    sets = study.subjects[0].settings.weighted_groups
    return grouped(
        table,
        "means of q and of q_EW",
        "Accuracy on test data from posterior means of the guide q and of the resampled q_EW; the "
        f"latter, averages over {sets} sets of k proposals, carry Monte Carlo noise, which "
        "alone lowers their accuracy: less than that of q is no finding",
        left_out,
    )


def _draws(study: Study) -> Item:
    names = {
        "z2": "z2, means",
        "z2_draw": "z2, draws",
        "z2_inactive": "z2 inactive, means",
        "z2_inactive_draw": "z2 inactive, draws",
        "z1": "z1, means",
        "z1_draw": "z1, draws",
    }
    table, left_out = collect(study, lambda d: groups_of(d, names))
    return grouped(
        table,
        "posterior means and posterior draws",
        "Accuracy on test data from posterior means and from one posterior draw per row; "
        "standardised, the means of inactive units show variations far below their posterior "
        "standard deviation, which no draw carries",
        left_out,
    )


def _models_paired(study: Study) -> Item:
    if one_seed(study) and len(study.labels) > 1:
        return _models_apart(study)
    baseline, parts = study.labels[0], []
    for name in ("z2", "z1", "z1_above_gap"):
        try:
            table, _ = collect(study, lambda d, name=name: [decoder_row(d, name)])
            found = paired(table, "accuracy", baseline)
        except InputError as error:
            reason = error
            continue
        parts.append(found.assign(representation=name))
    if not parts:
        raise reason
    sentence = (
        f"Differences of accuracy from {baseline}, paired by seed, with 95 % intervals and two-"
        "sided p of the paired t-test (Holm: over the models of one representation); no "
        "difference is 0."
    )
    return Item(sentence, table=pd.concat(parts, ignore_index=True))


def _models_apart(study: Study) -> Item:
    """With one seed each: differences with the binomial errors of both accuracies."""
    names = {name: name for name in ("z2", "z1", "z1_above_gap")}
    table, left_out = collect(study, lambda d: groups_of(d, names))
    parts = []
    for name, group in table.groupby("group", sort=False):
        first, others = group.iloc[0], group.iloc[1:]
        parts.append(
            pd.DataFrame(
                {
                    "representation": name,
                    "model": others.model,
                    "baseline": first.model,
                    "difference": others.accuracy - first.accuracy,
                    "standard_error": np.hypot(others[ERROR], first[ERROR]),
                }
            )
        )
    found = pd.concat(parts, ignore_index=True)
    if found.empty:
        raise InputError("no two models have a representation in common")
    sentence = (
        "Differences of accuracy from the first model that has the representation; standard errors "
        "are binomial, of both models' test rows counted as independent. With one seed of each "
        "model nothing tells how much another training would change; no difference is 0."
    )
    return Item(sentence + without(left_out), table=found)


def _levels_paired(study: Study) -> Item:
    names = {name: name for name in REPRESENTATIONS}
    table, left_out = collect(study, lambda d: groups_of(d, names))
    alone = one_seed(study)
    parts = []
    for model, rows in table.groupby("model", sort=False):
        if "z2" not in set(rows.group):
            continue
        found = paired(rows, "accuracy", "z2", by="group").assign(model=model)
        if alone:
            errors = rows.set_index("group")[ERROR]
            found[ERROR] = np.hypot(found.group.map(errors), errors["z2"])
        parts.append(found)
    if not parts:
        raise InputError("no run has a level z2 to compare with")
    tested = (
        "standard errors are binomial, of both accuracies counted as independent, which errors of "
        "the same test rows are not"
        if alone
        else "with 95 % intervals and two-sided p of the paired t-test over seeds"
    )
    sentence = (
        f"Differences of accuracy from that of z2 within the same runs, {tested}; no difference "
        "is 0."
    )
    return Item(sentence + without(left_out), table=pd.concat(parts, ignore_index=True))


def _information(study: Study, level: str) -> Item:
    def rows(decoded: Named) -> pd.DataFrame:
        values = {
            column: entry_of(decoded, f"{level}_information", key)
            for column, key in (
                ("information", "nats"),
                ("null", "null"),
                ("null_high", "null_high"),
                ("label_entropy", "label_entropy"),
            )
        }
        table = pd.DataFrame(values)
        return table.assign(unit=np.arange(len(table)))

    table, left_out = collect(study, rows)
    figure, ax = panel(6.0, HEIGHT)
    pictures.plot_information(ax, table, f"information of single units of {level}")
    above = (table.information > table.null_high).groupby([table.model, table.seed])
    shares = above.mean().reset_index(name="share")
    best = table.groupby(["model", "seed"], sort=False).information.max().reset_index()
    sentence = (
        f"Mutual information of each unit of {level} with the label (quantile bins, bias "
        f"corrected, a lower estimate), sorted in every run; the best unit has "
        f"{words(best, 'information')} nats of {table.label_entropy.mean():.2f}; "
        f"{shares.share.mean():.2f} of the units are above the 0.95 quantile under shuffled "
        "labels, where 0.05 are expected by chance. It is of posterior means, also of inactive "
        "units, whose small movements no draw carries (decoding-draws)."
    )
    return Item(sentence + without(left_out), figure, table)
