"""What the sections on decoding share: reading the measurement, tables over runs, one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from analysis.measures.seeds import words
from analysis.pictures import decoding as pictures
from analysis.pictures.panels import panel
from analysis.reporting.item import Item
from analysis.reporting.over_runs import Rows, by_model, tables, without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study

HEIGHT = 3.8  # of a panel, inches
BARS = "Dots are runs, bars mean and standard deviation over seeds"


def entry_of(decoded: Named, part: str, key: str) -> np.ndarray:
    """An array of :func:`analysis.probes.decoding.decode_subject`, or why there is none."""
    if f"{part}_{key}" in decoded:
        return decoded[f"{part}_{key}"]
    raise InputError(str(decoded.get(f"{part}_missing", f"there is no {part}")))


def decoder_row(decoded: Named, name: str) -> dict[str, float]:
    """One decoder in numbers: accuracies are shares of the rows, spread over its repeats."""
    accuracy = entry_of(decoded, name, "accuracy")
    return {
        "units": int(entry_of(decoded, name, "units")),
        "accuracy": accuracy.mean(),
        "sd_repeats": accuracy.std(ddof=1),
        "train_accuracy": entry_of(decoded, name, "train_accuracy").mean(),
        "null": entry_of(decoded, name, "null").mean(),
        "chance": float(decoded.chance),
        "chance_error": float(decoded.chance_error),
        "num_train": int(decoded.num_train),
        "num_test": int(decoded.num_test),
        "unconverged": int(entry_of(decoded, name, "unconverged")),
    }


def groups_of(decoded: Named, names: Mapping[str, str]) -> list[dict]:
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
                "chance": float(decoded.chance),
            }
        )
    return rows


def collect(study: Study, read: Callable[[Named], Rows]) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows that are read of all runs, and name -> reason; InputError where none has any."""
    return tables(by_model(study), lambda subject: read(subject.measured("decoding")))


def grouped(table: pd.DataFrame, title: str, what: str, left_out: Mapping[str, str]) -> Item:
    """Accuracies by ``group`` and model as one picture, and ``what`` they are with the numbers."""
    figure, ax = panel(max(5.5, 2.2 * table.model.nunique()), HEIGHT)
    chance = table.chance.mean()
    pictures.plot_accuracies(ax, table, chance, title)
    parts = [
        f"{group} {words(rows, 'accuracy')}" for group, rows in table.groupby("group", sort=False)
    ]
    sentence = f"{what}: {'; '.join(parts)}; chance {chance:.3f}. {BARS}."
    return Item(sentence + without(left_out), figure, table)
