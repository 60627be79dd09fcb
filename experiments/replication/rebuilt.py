"""A table with the results that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.campaign.cell import Cell, Place
from experiments.campaign.plan import Plan
from experiments.replication.published_table import Row, Table
from experiments.replication.results import Result, read_result
from pyro_vae.training.recipes import Recipe, named_recipe


@dataclass(frozen=True)
class Rebuilt:
    """A table with the results of its cells.

    Attributes:
        results: name of a cell -> its seeds, each with what was found or None; cells that columns
            compare with, too.
        recipe_name, epochs, test_size, particles, seeds: of the plan.
    """

    table: Table
    rows: Sequence[Row]
    results: Mapping[str, Sequence[tuple[Place, Result | None]]]
    recipe_name: str
    epochs: int
    test_size: int
    particles: int
    seeds: int

    @classmethod
    def of(cls, runs: Path, plan: Plan) -> Rebuilt:
        """Read back. Args: runs: folder of the run directories."""
        table, rows, shared = plan.selection.of, plan.selection.rows, plan.shared
        compared = [cell for one in table.columns for row in rows for cell in one.reads(row)]
        cells = {cell.name: cell for cell in (*plan.cells, *compared)}
        return cls(
            table=table,
            rows=rows,
            results={
                cell.name: [
                    (place, read_result(place))
                    for place in (Place(runs, cell, seed) for seed in cell.seeds(plan.seeds))
                ]
                for cell in cells.values()
            },
            recipe_name=shared.get("recipe"),
            epochs=plan.epochs,
            test_size=shared.get("test_size"),
            particles=shared.get("eval_particles"),
            seeds=plan.seeds,
        )

    @property
    def recipe(self) -> Recipe:
        return named_recipe(self.recipe_name)

    @property
    def share(self) -> float:
        """Of the recipe's epochs."""
        return self.epochs / self.recipe.epochs

    def of_cell(self, cell: Cell) -> Sequence[tuple[Place, Result | None]]:
        return self.results.get(cell.name, ())

    def finished(self, cell: Cell) -> list[Result]:
        return [result for _, result in self.of_cell(cell) if result is not None]

    @property
    def found(self) -> list[Result]:
        """Of all rows."""
        return [result for row in self.rows for result in self.finished(row.cell)]
