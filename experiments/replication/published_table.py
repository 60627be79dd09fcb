"""What a published table is: rows, the columns that it states, and how its cells are trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from experiments.campaign.cell import Cell

if TYPE_CHECKING:
    from experiments.replication.columns import Column
    from experiments.replication.measures import Measure
    from experiments.replication.rebuilt import Rebuilt

PARTICLES = 5_000  # behind a likelihood, where a table says nothing else


@dataclass(frozen=True)
class Row:
    """A line of a table: a cell beside the published numbers, recipe -> row, of who printed it.

    A published row is a named tuple; its numbers have the names that ours have in ``table.csv``,
    where they are the same quantity.
    """

    cell: Cell
    published: Mapping[str, NamedTuple] = field(default_factory=dict)


@dataclass(frozen=True)
class Regime:
    """How all cells of a table are trained under one recipe.

    Attributes:
        source: whose numbers stand in the published columns then.
        settings: of all cells, by the names of :func:`pyro_vae.runs.new_config`.
        data: what images a call must bring, where the published ones do not come with the library.
    """

    source: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        settings: of all cells, data set and guide included, under every recipe.
        regimes: recipe -> what goes with it; the first one is the default.
        columns: in their order.
        measures: what is found out about a trained cell beside the estimates of every run.
        remarks: lines under the table that depend on what was found.
        notes: what a reader must know, what the papers got wrong included.
        particles: behind the likelihoods, unless a call says otherwise.
    """

    title: str
    settings: Mapping[str, Any]
    rows: tuple[Row, ...]
    regimes: Mapping[str, Regime]
    columns: tuple[Column, ...]
    measures: tuple[Measure, ...] = ()
    remarks: tuple[Callable[[Rebuilt], str], ...] = ()
    notes: tuple[str, ...] = ()
    particles: int = PARTICLES

    @property
    def recipe(self) -> str:
        """The default."""
        return next(iter(self.regimes))

    def settings_under(self, recipe: str) -> dict[str, Any]:
        """Settings of all cells under one of its recipes."""
        regime = self.regimes.get(recipe)
        return {**self.settings, **(regime.settings if regime is not None else {})}


def cells_of(rows: Iterable[Row]) -> list[Cell]:
    """Every cell once, those that others start from before them."""
    found: dict[str, Cell] = {}
    for row in rows:
        for cell in filter(None, (row.cell.start, row.cell)):
            found.setdefault(cell.name, cell)
    return list(found.values())
