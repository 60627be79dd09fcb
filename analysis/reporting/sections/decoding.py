"""Decoding of the labels from z2 and z1: S0, Tables 5.1 to 5.4 and 5.6, Figures 5.12 to 5.21."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.measures.selection import most_certain_units
from analysis.pictures import decoding as pictures
from analysis.pictures.style import note
from analysis.reporting.decoded import (
    BARS,
    Decoded,
    collect,
    decoder_row,
    each_run,
    entry_of,
    grouped,
    groups_of,
    means,
    panels,
    refuse_none,
    without,
)
from analysis.reporting.item import Entry, Item
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "Labels decoded from the representation"


def entries(study: Study) -> list[Entry]:
    """The items of this section, in S0's order."""
    build: list[tuple[str, str, Callable[[], Item]]] = [
        ("z2-scatter", "S0, Figure 5.12", lambda: _scatters(study, "z2")),
        ("z2-decoding", "S0, Table 5.1", lambda: _z2_accuracies(study)),
        ("z2-confusion", "S0, Figure 5.13", lambda: _confusions(study, "z2")),
        ("z2-units-added", "S0, section 5.3", lambda: _units_added(study)),
        ("z2-selective-units", "S0, Table 5.2", lambda: _selective_units(study)),
        ("z2-selective-accuracy", "S0, Table 5.3", lambda: _selective_accuracy(study)),
        ("z1-decoding", "S0, Table 5.4", lambda: _z1_accuracies(study)),
        ("z1-confusion", "S0, Figure 5.20", lambda: _confusions(study, "z1")),
        ("z1-scatter", "S0, Figure 5.21", lambda: _scatters(study, "z1")),
        ("z1-classes-decoding", "S0, Table 5.6", lambda: _classes(study)),
    ]
    return [Entry(name, source, item) for name, source, item in build]


def _z2_accuracies(study: Study) -> Item:
    table, left_out = collect(study, lambda d: [decoder_row(d, "z2")])
    figure, (ax,) = panels(1, 5.5)
    pictures.plot_accuracies(ax, table, table["chance"].mean(), "labels from all units of z2")
    sentence = (
        "Labels decoded from the posterior means of all units of z2 by logistic regression, fitted "
        f"five times to {_span(table['num_train'])} rows: {means(table)}, where shuffled labels "
        f"give {table['null'].mean():.3f} and the most frequent label "
        f"{table['chance'].mean():.3f} (binomial standard error "
        f"{table['chance_error'].mean():.3f}, test patches counted as independent). {BARS}. "
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
    figure, axes = panels(len(study.labels), 4.0)
    rows, left_out = [], {}
    for ax, label in zip(axes, study.labels, strict=True):
        found, missing = each_run(study.of(label), lambda d: entry_of(d, level, "confusion"))
        left_out |= missing
        if not found:
            note(ax, f"{label}: {next(iter(missing.values()))}")
            continue
        names = [str(name) for name in found[0][0].measured("decoding")["class_names"]]
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
    def rows(decoded: Decoded) -> list[dict]:
        columns = [entry_of(decoded, "added", key) for key in ("unit", "accuracy", "sd")]
        return [
            {
                "units": count,
                "unit": int(unit),
                "accuracy": accuracy,
                "sd_repeats": sd,
                "chance": float(decoded["chance"]),
            }
            for count, (unit, accuracy, sd) in enumerate(zip(*columns, strict=True), start=1)
        ]

    table, left_out = collect(study, rows)
    figure, (ax,) = panels(1, 5.5)
    chance = table["chance"].mean()
    pictures.plot_accuracy_curve(ax, table, chance, "labels from the best units of z2")
    sentence = (
        "Accuracy on test data as units of z2 are added, from the one that decodes best alone "
        "(cross-validated on the training rows) to the worst: mean and standard deviation over "
        f"seeds, chance {chance:.3f}."
    )
    return Item(sentence + without(left_out), figure, table)


def _selective_units(study: Study) -> Item:
    def row(decoded: Decoded) -> list[dict]:
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
        f"Number of units: {means(table, 'number', digits=1)}; under shuffled labels the same "
        f"rule takes {table['number_null'].mean():.1f}."
    )
    return Item(sentence + without(left_out), table=table)


def _selective_accuracy(study: Study) -> Item:
    names = {"selective": "selective units", "other": "other units", "random": "as many at random"}

    def rows(decoded: Decoded) -> list[dict]:
        entry_of(decoded, "groups", "selective")
        return [
            {
                "group": name,
                "accuracy": values.mean(),
                "sd_repeats": values.std(ddof=1),
                "chance": float(decoded["chance"]),
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
    subjects = study.examples()
    figure, axes = panels(len(subjects), 4.0)
    rows, left_out = [], {}
    for ax, subject in zip(axes, subjects, strict=True):
        try:
            rows.append(_scatter(ax, subject, level, legend=not rows))
        except InputError as error:
            left_out[subject.name] = str(error)
            note(ax, f"{subject.label}: {error}")
    refuse_none(rows, left_out)
    table = pd.DataFrame(rows)
    what = "posterior means" if level == "z2" else "a posterior draw each"
    whose = "" if level == "z2" else " (of q_EW where it differs)"
    sentence = (
        f"Labelled test data on the two units of {level} with the lowest posterior variance, "
        f"{what}{whose}, coloured by label; a decoder of these two units' means is right for "
        f"{table['accuracy'].mean():.3f} of the test data on average, under shuffled labels for "
        f"{table['null'].mean():.3f}, chance {table['chance'].mean():.3f}."
    )
    return Item(sentence + without(left_out), figure, table)


def _scatter(ax: Axes, subject: Subject, level: str, legend: bool) -> dict[str, object]:
    decoded = subject.measured("decoding")
    found = decoder_row(decoded, f"{level}_pair")
    moments = subject.measured("moments_labelled_test")
    if level == "z2":
        units = most_certain_units(moments["z2_sd"])
        values = moments["z2_mean"][:, units]
    else:
        units, values = entry_of(decoded, "scatter", "units"), entry_of(decoded, "scatter", "draws")
    labels = subject.labelled.labels["test"][: len(values)].numpy()
    names = [str(name) for name in decoded["class_names"]]
    axis_names = [f"{level}, unit {unit}" for unit in units]
    codes = np.searchsorted(decoded["classes"], labels)
    pictures.plot_label_scatter(ax, values, codes, names, axis_names, subject.name, legend=legend)
    sd = np.sqrt(np.square(moments[f"{level}_sd"][:, units]).mean(axis=0))
    keep = ("accuracy", "sd_repeats", "null", "chance")
    return {
        "model": subject.label,
        "seed": subject.seed,
        "unit_x": units[0],
        "unit_y": units[1],
        "posterior_sd_x": sd[0],
        "posterior_sd_y": sd[1],
    } | {key: found[key] for key in keep}


def _span(numbers: pd.Series) -> str:
    low, high = int(numbers.min()), int(numbers.max())
    return str(low) if low == high else f"{low} to {high}"
