"""What the sections on decoding share: reading the measurement, tables over runs, one figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.measures.seeds import mean_and_spread, summary
from analysis.pictures import decoding as pictures
from analysis.reporting.item import Item
from analysis.reporting.over_runs import Rows, by_model, tables, without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

PANELS_PER_ROW = 3
BARS = "Dots are runs, bars mean and standard deviation over seeds"

Decoded = Mapping[str, np.ndarray]


def entry_of(decoded: Decoded, part: str, key: str) -> np.ndarray:
    """An array of :func:`analysis.probes.decoded.decode_subject`, or why there is none."""
    if f"{part}_{key}" in decoded:
        return decoded[f"{part}_{key}"]
    raise InputError(str(decoded.get(f"{part}_missing", f"there is no {part}")))


def decoder_row(decoded: Decoded, name: str) -> dict[str, float]:
    """One decoder's figures: accuracies are shares of the rows, spread over its repeats."""
    accuracy = entry_of(decoded, name, "accuracy")
    return {
        "units": int(entry_of(decoded, name, "units")),
        "accuracy": accuracy.mean(),
        "sd_repeats": accuracy.std(ddof=1),
        "train_accuracy": entry_of(decoded, name, "train_accuracy").mean(),
        "null": entry_of(decoded, name, "null").mean(),
        "chance": float(decoded["chance"]),
        "chance_error": float(decoded["chance_error"]),
        "num_train": int(decoded["num_train"]),
        "num_test": int(decoded["num_test"]),
        "unconverged": int(entry_of(decoded, name, "unconverged")),
    }


def groups_of(decoded: Decoded, names: Mapping[str, str]) -> list[dict]:
    """A row per representation that this run has; InputError where it has none."""
    have = [name for name in names if f"{name}_accuracy" in decoded]
    if not have:
        entry_of(decoded, next(iter(names)), "accuracy")
    rows = []
    for name in have:
        accuracy, null = decoded[f"{name}_accuracy"], decoded.get(f"{name}_null")
        rows.append(
            {
                "group": names[name],
                "units": int(decoded[f"{name}_units"]),
                "accuracy": accuracy.mean(),
                "sd_repeats": accuracy.std(ddof=1),
                "null": np.nan if null is None else null.mean(),
                "chance": float(decoded["chance"]),
            }
        )
    return rows


def each_run(subjects: Iterable[Subject], read: Callable[[Decoded], object]) -> tuple[list, dict]:
    """(subject, what was read) of those that have it, and name -> reason of the others."""
    found, left_out = [], {}
    for subject in subjects:
        try:
            found.append((subject, read(subject.measured("decoding"))))
        except InputError as error:
            left_out[subject.name] = str(error)
    return found, left_out


def collect(study: Study, read: Callable[[Decoded], Rows]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows that are read of all runs, and name -> reason; InputError where none has any."""
    return tables(by_model(study), lambda subject: read(subject.measured("decoding")))


def refuse_none(found: list, left_out: Mapping[str, str]) -> None:
    """InputError with the reasons where nothing was found."""
    if not found:
        raise InputError("; ".join(dict.fromkeys(left_out.values())) or "there is no run")


def means(table: pd.DataFrame, value: str = "accuracy", digits: int = 3) -> str:
    """Mean, spread and number of seeds of every model, in words."""
    found = summary(table, value)
    return ", ".join(
        f"{row.model} {mean_and_spread(row.mean, row.sd, row.n, digits)}"
        for row in found.itertuples()
    )


def grouped(table: pd.DataFrame, title: str, what: str, left_out: Mapping[str, str]) -> Item:
    """Accuracies by ``group`` and model as one figure, and ``what`` they are with the numbers."""
    models = table["model"].nunique()
    figure, (ax,) = panels(1, max(5.5, 2.2 * models))
    chance = table["chance"].mean()
    pictures.plot_accuracies(ax, table, chance, title)
    parts = [f"{group} {means(rows)}" for group, rows in table.groupby("group", sort=False)]
    sentence = f"{what}: {'; '.join(parts)}; chance {chance:.3f}. {BARS}."
    return Item(sentence + without(left_out), figure, table)


def panels(count: int, width: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, each ``width`` inches wide."""
    columns = min(count, PANELS_PER_ROW)
    rows = -(-count // columns)
    figure = Figure(figsize=(width * columns, 3.8 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    return figure, list(axes[:count])
