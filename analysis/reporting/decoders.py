"""What the sections on decoding share: reading the measurement, tables over runs, one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from analysis.measures.by_name import Named
from analysis.measures.decoding import binomial_error
from analysis.measures.seeds import in_words, spread_or_error
from analysis.pictures import decoding as pictures
from analysis.pictures.panels import panel
from analysis.reporting.item import Item
from analysis.reporting.over_runs import Rows, by_model, tables, without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

HEIGHT = 3.8  # of a panel, inches
BARS = (
    "Dots are runs, bars mean and standard deviation over seeds, as is ±; with one seed it is the "
    "binomial error over test patches"
)
ERROR = "standard_error"  # the column of binomial errors


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
    """The rows that are read of all runs, and name -> reason; InputError where none has any.

    Accuracies have their binomial error, of the test rows, in the column behind them.
    """

    def rows(subject: Subject) -> pd.DataFrame:
        decoded = subject.measured("decoding")
        found = read(decoded)
        table = pd.DataFrame([found] if isinstance(found, Mapping) else found)
        if "accuracy" in table:
            error = [binomial_error(one, int(decoded.num_test)) for one in table.accuracy]
            table.insert(table.columns.get_loc("accuracy") + 1, ERROR, error)
        return table

    return tables(by_model(study), rows)


def accuracies_in_words(table: pd.DataFrame) -> str:
    """Every model's accuracy, ± its sd over seeds, or the binomial error where it has one seed."""
    return in_words(spread_or_error(table, "accuracy", ERROR))


def grouped(table: pd.DataFrame, title: str, what: str, left_out: Mapping[str, str]) -> Item:
    """Accuracies by ``group`` and model as one picture, and ``what`` they are with the numbers."""
    figure, ax = panel(max(5.5, 2.2 * table.model.nunique()), HEIGHT)
    chance = table.chance.mean()
    pictures.plot_accuracies(ax, table, chance, title)
    parts = [
        f"{group} {accuracies_in_words(rows)}" for group, rows in table.groupby("group", sort=False)
    ]
    sentence = f"{what}: {'; '.join(parts)}; chance {chance:.3f}. {BARS}."
    return Item(sentence + without(left_out), figure, table)
