"""Columns that tables are made of: what stands in a row, and what a reader must know of it.

A table states its columns; what is printed of a cell is read by the name that it has in
``table.csv`` (:attr:`experiments.replication.results.Result.entries`), or per test image by its
name in ``per_datum.npz``.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from experiments.campaign.cell import Cell
from experiments.replication.published_table import Row
from experiments.replication.rebuilt import Rebuilt
from experiments.replication.results import Result
from pyro_vae.evaluation.statistics import mean_and_error


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        head: its title.
        text: what stands in a row.
        meaning: a sentence or more for the reader; ``{particles}`` is filled in.
        known: whether it stands there before a cell has trained.
        reads: the cells whose results it compares a row with.
    """

    head: str
    text: Callable[[Rebuilt, Row], str]
    meaning: str = ""
    known: bool = False
    reads: Callable[[Row], Sequence[Cell]] = lambda row: ()


def told(head: str, of_cell: Callable[[Cell], object]) -> Column:
    """What a cell is, such as its objective."""
    return Column(head, lambda rebuilt, row: str(of_cell(row.cell)), known=True)


def printed(head: str, name: str, digits: int = 2, meaning: str = "") -> Column:
    """What the paper prints under that name; nothing where it does not."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        value = getattr(row.published.get(rebuilt.recipe_name), name, None)
        return _written(value, digits)

    return Column(head, text, meaning, known=True)


def printed_each(head: str, prefix: str, digits: int = 2, meaning: str = "") -> Column:
    """What the paper prints under all names that begin so, in its order."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        published = row.published.get(rebuilt.recipe_name)
        names = [name for name in getattr(published, "_fields", ()) if name.startswith(prefix)]
        values = [getattr(published, name) for name in names]
        return ", ".join(_written(value, digits) for value in values if value is not None)

    return Column(head, text, meaning, known=True)


def found(head: str, name: str, digits: int = 2, meaning: str = "") -> Column:
    """A number of ours, mean and standard deviation over seeds."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        return _spread(_values(rebuilt.finished(row.cell), name), digits)

    return Column(head, text, meaning)


def found_each(head: str, prefix: str, digits: int = 2, meaning: str = "") -> Column:
    """The numbers of ours whose names begin so, by name: means and standard deviations over seeds.

    Args:
        prefix: of all levels, sites or seeds of one kind.
    """

    def text(rebuilt: Rebuilt, row: Row) -> str:
        found_of = [result.by_level(prefix) for result in rebuilt.finished(row.cell)]
        return ", ".join(_spread(values, digits) for values in zip(*found_of, strict=True))

    return Column(head, text, meaning)


def difference(head: str, name: str, digits: int = 2, meaning: str = "") -> Column:
    """Ours, mean over seeds, minus the published number of the same name."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        known = getattr(row.published.get(rebuilt.recipe_name), name, None)
        values = _values(rebuilt.finished(row.cell), name)
        if known is None or not values:
            return ""
        return f"{statistics.fmean(values) - known:+.{digits}f}"

    return Column(head, text, meaning)


def share(head: str, name: str, meaning: str = "") -> Column:
    """A share of ours in per cent, mean over seeds."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        values = _values(rebuilt.finished(row.cell), name)
        return f"{statistics.fmean(values):.0%}" if values else ""

    return Column(head, text, meaning)


def counted(head: str, prefix: str, meaning: str = "") -> Column:
    """Counts of units z1+z2, mean over seeds."""

    def text(rebuilt: Rebuilt, row: Row) -> str:
        results = rebuilt.finished(row.cell)
        counts = [result.by_level(prefix) for result in results]
        means = [statistics.fmean(level) for level in zip(*counts, strict=True)]
        return "+".join(f"{mean:.0f}" if len(results) == 1 else f"{mean:.1f}" for mean in means)

    return Column(head, text, meaning)


def with_error(head: str, name: str, digits: int = 2, meaning: str = "") -> Column:
    """A mean over the test images +- its standard error over them, and its sd over seeds.

    Args:
        name: of the values per image.
    """

    def text(rebuilt: Rebuilt, row: Row) -> str:
        values = [result.per_datum(name) for result in rebuilt.finished(row.cell)]
        return _over_images(values, digits, "") if values else ""

    return Column(head, text, meaning)


def paired(
    head: str,
    over: Callable[[Row], Cell | None],
    name: str = "log_likelihood",
    digits: int = 2,
    meaning: str = "",
) -> Column:
    """What a row has more than another cell on the same test images, seed by seed.

    Args:
        over: the other cell of a row; None, or the row's own, for none.
        name: of the values per image.
    """

    def text(rebuilt: Rebuilt, row: Row) -> str:
        other = over(row)
        if other is None or other.name == row.cell.name:
            return ""
        pairs = zip(rebuilt.of_cell(row.cell), rebuilt.of_cell(other), strict=False)
        gains = [
            mine.per_datum(name) - theirs.per_datum(name)
            for (_, mine), (_, theirs) in pairs
            if mine is not None and theirs is not None
        ]
        return _over_images(gains, digits, "+") if gains else ""

    return Column(head, text, meaning, reads=lambda row: [*filter(None, [over(row)])])


def _values(results: Sequence[Result], name: str) -> list[float]:
    """Of every seed; none where a cell has no such number."""
    return [value for value in (result.value(name) for result in results) if value is not None]


def _written(value: object, digits: int) -> str:
    if value is None:
        return ""
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation over seeds; the value alone where it is one for all."""
    if not values:
        return ""
    mean = f"{statistics.fmean(values):.{digits}f}"
    return mean if len(set(values)) == 1 else f"{mean} (sd {statistics.stdev(values):.{digits}f})"


def _over_images(values: Sequence[np.ndarray], digits: int, sign: str) -> str:
    """Mean over seeds and images +- its standard error over images, and the sd over seeds."""
    mean = mean_and_error(np.mean(values, axis=0))
    text = f"{mean.mean:{sign}.{digits}f} +- {mean.standard_error:.{digits}f}"
    if len(values) > 1:
        text += f" (sd {np.std([one.mean() for one in values], ddof=1):.{digits}f})"
    return text
