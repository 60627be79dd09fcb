"""Decoding of the labels from z2 and z1: Vas 2024, Tables 5.1-4, 5.6, Figures 5.12-21."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.measures.by_name import Named
from analysis.measures.seeds import words
from analysis.measures.selection import most_certain_units
from analysis.pictures import decoding as pictures
from analysis.pictures.panels import panel, panels
from analysis.pictures.style import note
from analysis.reporting.decoders import (
    BARS,
    HEIGHT,
    accuracies_in_words,
    collect,
    decoder_row,
    entry_of,
    grouped,
    groups_of,
)
from analysis.reporting.item import Entry, Item
from analysis.reporting.over_runs import drawn, refuse_none, run_or_reason, without

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "Labels decoded from the representation"


def entries(study: Study) -> list[Entry]:
    """The items of this section, in the order of Vas 2024."""
    build: list[tuple[str, str, Callable[[], Item]]] = [
        ("z2-scatter", "Vas 2024, Figure 5.12", lambda: _scatters(study, "z2")),
        ("z2-decoding", "Vas 2024, Table 5.1", lambda: _z2_accuracies(study)),
        ("z2-confusion", "Vas 2024, Figure 5.13", lambda: _confusions(study, "z2")),
        ("z2-units-added", "Vas 2024, section 5.3", lambda: _units_added(study)),
        ("z2-selective-units", "Vas 2024, Table 5.2", lambda: _selective_units(study)),
        ("z2-selective-accuracy", "Vas 2024, Table 5.3", lambda: _selective_accuracy(study)),
        ("z1-decoding", "Vas 2024, Table 5.4", lambda: _z1_accuracies(study)),
        ("z1-confusion", "Vas 2024, Figure 5.20", lambda: _confusions(study, "z1")),
        ("z1-scatter", "Vas 2024, Figure 5.21", lambda: _scatters(study, "z1")),
        ("z1-classes-decoding", "Vas 2024, Table 5.6", lambda: _classes(study)),
    ]
    return [Entry(name, source, item) for name, source, item in build]


def _z2_accuracies(study: Study) -> Item:
    table, left_out = collect(study, lambda d: [decoder_row(d, "z2")])
    figure, ax = panel(5.5, HEIGHT)
    pictures.plot_accuracies(ax, table, table.chance.mean(), "labels from all units of z2")
    sentence = (
        "Labels decoded from the posterior means of all units of z2 by logistic regression, fitted "
        f"five times to {_span(table.num_train)} rows: {accuracies_in_words(table)}, where "
        f"shuffled labels give {table.null.mean():.3f} and the most frequent label "
        f"{table.chance.mean():.3f} (binomial standard error "
        f"{table.chance_error.mean():.3f}, test patches counted as independent). {BARS}. "
        "Means of inactive units can be decoded, too: decoding-draws tells how much is theirs."
    )
    return Item(sentence + without(left_out), figure, table)


def _z1_accuracies(study: Study) -> Item:
    names = {"z1_all": "all", "z1": "active", "z1_above_gap": "above the gap"}
    table, left_out = collect(study, lambda d: groups_of(d, names))
    return grouped(
        table,
        "labels from units of z1",
        "Accuracy on test data from the posterior means of all units of z1, of the active ones, "
        "and of those above the gap of activity; standardised, the small movements of means below "
        "the gap count as much as any, so a few such units that pass the threshold of activity can "
        "raise the accuracy of the active",
        left_out,
    )


def _confusions(study: Study, level: str) -> Item:
    figure, axes = panels(len(study.labels), (4.0, HEIGHT))
    rows, left_out = [], {}
    for ax, label in zip(axes, study.labels, strict=True):
        found, missing = run_or_reason(
            study.of(label), lambda s: entry_of(s.measured("decoding"), level, "confusion")
        )
        left_out |= missing
        if not found:
            note(ax, f"{label}: {next(iter(missing.values()))}")
            continue
        names = [str(name) for name in found[0][0].measured("decoding").class_names]
        confusion = np.mean([matrix for _, matrix in found], axis=0)
        pictures.plot_confusion(ax, confusion, names, f"{label}, n = {len(found)}")
        for subject, matrix in found:
            rows += [
                {"model": label, "seed": subject.seed, "true": true}
                | dict(zip(names, shares, strict=True))
                for true, shares in zip(names, matrix, strict=True)
            ]
    refuse_none(rows, left_out)
    chance = 1 / len(names)
    sentence = (
        f"Confusion matrices of the decoders from {level}: share of the test rows of each class "
        f"(row) decoded as each class, averaged over repeats and the n seeds; a decoder that knows "
        f"nothing has {chance:.2f} everywhere on average."
    )
    return Item(sentence + without(left_out), figure, pd.DataFrame(rows))


def _units_added(study: Study) -> Item:
    def rows(decoded: Named) -> list[dict]:
        columns = [entry_of(decoded, "added", key) for key in ("unit", "accuracy", "sd")]
        return [
            {
                "units": count,
                "unit": int(unit),
                "accuracy": accuracy,
                "sd_repeats": sd,
                "chance": float(decoded.chance),
            }
            for count, (unit, accuracy, sd) in enumerate(zip(*columns, strict=True), start=1)
        ]

    table, left_out = collect(study, rows)
    figure, ax = panel(5.5, HEIGHT)
    chance = table.chance.mean()
    pictures.plot_accuracy_curve(ax, table, chance, "labels from the best units of z2")
    sentence = (
        "Accuracy on test data as units of z2 are added, from the one that decodes best alone "
        "(cross-validated on the training rows) to the worst: mean and standard deviation over "
        f"seeds, chance {chance:.3f}."
    )
    return Item(sentence + without(left_out), figure, table)


def _selective_units(study: Study) -> Item:
    def row(decoded: Named) -> list[dict]:
        units = entry_of(decoded, "selection", "units")
        accepted = entry_of(decoded, "selection", "steps")[: len(units)]
        return [
            {
                "units": ", ".join(map(str, units)),
                "number": len(units),
                "gains": ", ".join(f"{gain:.3f}" for gain in accepted[:, 3]),
                "number_null": entry_of(decoded, "selection", "null").mean(),
            }
        ]

    table, left_out = collect(study, row)
    sentence = (
        "Selective units of z2 in the order in which forward selection took them, with what each "
        "added to the cross-validated accuracy on training rows; it stops below a gain of 0.01. "
        f"Number of units: {words(table, 'number', digits=1)}; under shuffled labels the same "
        f"rule takes {table.number_null.mean():.1f}."
    )
    return Item(sentence + without(left_out), table=table)


def _selective_accuracy(study: Study) -> Item:
    names = {"selective": "selective units", "other": "other units", "random": "as many at random"}

    def rows(decoded: Named) -> list[dict]:
        entry_of(decoded, "groups", "selective")
        return [
            {
                "group": name,
                "accuracy": values.mean(),
                "sd_repeats": values.std(ddof=1),
                "chance": float(decoded.chance),
            }
            for key, name in names.items()
            if (values := decoded.get(f"groups_{key}")) is not None
        ]

    table, left_out = collect(study, rows)
    return grouped(
        table,
        "selective and other units of z2",
        "Accuracy on test data from the selective units of z2, from the others, and from as many "
        "units as are selective drawn at random",
        left_out,
    )


def _classes(study: Study) -> Item:
    names = {
        "z1_localised": "localised",
        "z1_non_localised": "non-localised",
        "z1_matched": "localised, as many",
    }
    table, left_out = collect(study, lambda d: groups_of(d, names))
    return grouped(
        table,
        "localised and non-localised units of z1",
        "Accuracy on test data from the active units of z1 with localised filters, from those "
        "without, and from as many localised ones, drawn at random, as there are others",
        left_out,
    )


def _scatters(study: Study, level: str) -> Item:
    legends = iter([True])  # one is enough, in the first panel that is drawn

    def draw(axes: Sequence[Axes], subject: Subject) -> dict[str, object]:
        row = _scatter(axes[0], subject, level)
        if next(legends, False):
            pictures.name_classes(axes[0], _class_names(subject))
        return row

    figure, table, left_out = drawn(study.examples(), draw, (4.0, HEIGHT))
    what = "posterior means" if level == "z2" else "a posterior draw each"
    whose = "" if level == "z2" else " (of q_EW where it differs)"
    sentence = (
        f"Labelled test data on the two units of {level} with the lowest posterior variance, "
        f"{what}{whose}, coloured by label; a decoder of these two units' means is right for "
        f"{table['accuracy'].mean():.3f} of the test data on average, under shuffled labels for "
        f"{table.null.mean():.3f}, chance {table.chance.mean():.3f}."
    )
    return Item(sentence + without(left_out), figure, table)


def _scatter(ax: Axes, subject: Subject, level: str) -> dict[str, object]:
    decoded = subject.measured("decoding")
    found = decoder_row(decoded, f"{level}_pair")
    moments = subject.measured("moments_labelled_test")
    if level == "z2":
        units = most_certain_units(moments.z2_sd)
        values = moments.z2_mean[:, units]
    else:
        units, values = entry_of(decoded, "scatter", "units"), entry_of(decoded, "scatter", "draws")
    labels = subject.labelled.labels["test"][: len(values)].numpy()
    axis_names = [f"{level}, unit {unit}" for unit in units]
    codes = np.searchsorted(decoded.classes, labels)
    names = _class_names(subject)
    pictures.plot_label_scatter(ax, values, codes, names, axis_names, subject.name, legend=False)
    sd = np.sqrt(np.square(moments[f"{level}_sd"][:, units]).mean(axis=0))
    keep = ("accuracy", "sd_repeats", "null", "chance")
    return {
        "unit_x": units[0],
        "unit_y": units[1],
        "posterior_sd_x": sd[0],
        "posterior_sd_y": sd[1],
    } | {key: found[key] for key in keep}


def _class_names(subject: Subject) -> list[str]:
    return [str(name) for name in subject.measured("decoding").class_names]


def _span(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{low} to {high}"
