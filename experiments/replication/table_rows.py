"""What a table is made of: its cells, and the rows that compare a cell with published numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from experiments.replication.published import Published


@dataclass(frozen=True)
class Cell:
    """One training: a model of one or two levels under one objective.

    Attributes:
        levels: 1 (``burda1``) or 2 (``burda2``), with the bottom-up guide of Burda et al.
        objective, num_particles, settings: as ``pyro_vae.make_objective`` takes them.
        start: the cell whose trained pair this one goes on training, or None.
    """

    levels: int
    objective: str
    num_particles: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: Cell | None = None

    @property
    def name(self) -> str:
        """The cell's folder: what differs between cells, in letters and digits."""
        settings = "".join(f"-{key}{value:g}" for key, value in self.settings.items())
        own = f"{self.objective}-k{self.num_particles}{settings}"
        return f"{self.levels}L-{own}" if self.start is None else f"{self.start.name}-then-{own}"

    @property
    def label(self) -> str:
        """The objective as the table names it."""
        name = {"elbo": "VAE", "iwae": "IWAE", "beta-vae": "L_alpha"}.get(
            self.objective, self.objective.upper()
        )
        if self.objective == "beta-vae":
            name += f", alpha = {self.settings['beta']:g}"
        elif self.objective == "miwae":
            inner = self.settings["inner"]
            name += f" ({inner}, {self.num_particles // inner})"
        elif self.settings:
            name += ", " + ", ".join(f"{key} = {value:g}" for key, value in self.settings.items())
        if self.start is None:
            return name
        return f"{self.start.label} k = {self.start.num_particles}, then {name}"


@dataclass(frozen=True)
class Row:
    """A line of a table: a cell beside the published figures, recipe -> row, of who printed it."""

    cell: Cell
    published: Mapping[str, Published] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A published table.

    Attributes:
        binarise: recipe -> when pixels are drawn.
        sources: recipe -> whose figures stand in the published columns.
        reference: the cell against which differences on the same images are printed.
        notes: what a reader must know, what the papers got wrong included.
    """

    title: str
    dataset: str
    rows: tuple[Row, ...]
    sources: Mapping[str, str]
    binarise: Mapping[str, str]
    reference: Cell
    notes: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """Every cell once, those that others start from before them."""
        found: dict[str, Cell] = {}
        for row in self.rows:
            for cell in filter(None, (row.cell.start, row.cell)):
                found.setdefault(cell.name, cell)
        return list(found.values())
