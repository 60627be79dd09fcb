"""A published table as a campaign: its rows, its recipe, and what its runs share."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.campaign.campaign import Campaign
from experiments.campaign.cell import Cell, Place
from experiments.campaign.plan import Plan
from experiments.replication.published_table import Row, Table, cells_of
from experiments.replication.render import write_table
from experiments.replication.results import Judge, read_result
from experiments.replication.tables import table_named
from pyro_vae.datasets import load_dataset
from pyro_vae.errors import InputError, check_choice, check_count
from pyro_vae.runs import Hooks
from pyro_vae.training.recipes import named_recipe
from pyro_vae.version import __version__
from pyro_vae.weights.diagnostics import MIN_PARTICLES_FOR_KHAT


@dataclass(frozen=True)
class Rows:
    """The rows of a table that are rebuilt.

    Attributes:
        table: one of ``TABLES``. levels, num_particles: rows with one of these; None for all.
    """

    table: str | None
    levels: tuple[int, ...] | None = None
    num_particles: tuple[int, ...] | None = None

    @property
    def of(self) -> Table:
        return table_named(self.table)

    @property
    def rows(self) -> list[Row]:
        """InputError where there are none."""
        found = [
            row
            for row in self.of.rows
            if (self.levels is None or row.cell.levels in self.levels)
            and (self.num_particles is None or row.cell.num_particles in self.num_particles)
        ]
        if not found:
            have = sorted({(row.cell.levels, row.cell.num_particles) for row in self.of.rows})
            raise InputError(
                f"no row of the table has levels {self.levels or 'any'} and k "
                f"{self.num_particles or 'any'}; it has (levels, k) = {', '.join(map(str, have))}"
            )
        return found

    @property
    def cells(self) -> list[Cell]:
        return cells_of(self.rows)

    def extended(self, asked: Rows, folder: Path) -> Rows:
        """With more rows; InputError where it is another table, or planned rows are left out."""
        if asked.table not in (None, self.table):
            raise InputError(
                f"{folder} was planned with table = {self.table}, not {asked.table}; name another "
                "--run-dir"
            )
        given = {name: value for name, value in vars(asked).items() if value is not None}
        more = dataclasses.replace(self, **given)
        kept = {cell.name for cell in more.cells}
        left_out = [cell.name for cell in self.cells if cell.name not in kept]
        if left_out:
            raise InputError(
                f"{folder} was planned with the cells {', '.join(c.name for c in self.cells)}; a "
                f"resume may add some, not leave out {', '.join(left_out)}"
            )
        return more


class TableCampaign(Campaign):
    """A published table: all its cells and seeds share their data.

    Everything else, recipes included, is what the table says:
    :class:`experiments.replication.published_table.Table`.
    """

    noun = "table"
    room = "cells"
    shared = ("recipe", "dataset", "crop", "test_size", "eval_particles")
    later = ("dataset", "crop")
    selection = Rows
    draws = False
    fewer = "rows with --levels and --num-particles"

    def selected(self, flags: argparse.Namespace) -> Rows:
        if flags.table is not None and flags.recipe is not None:
            check_choice("recipe", flags.recipe, table_named(flags.table).regimes)
        levels, num_particles = (
            None if given is None else tuple(given) for given in (flags.levels, flags.num_particles)
        )
        return Rows(flags.table, levels, num_particles)

    def complete(self, asked: Rows) -> Rows:
        if asked.table is None:
            raise InputError("a new table wants --table NAME; see --help for the names")
        _ = asked.rows
        return asked

    def default_folder(self, flags: argparse.Namespace) -> Path:
        if flags.table is None:
            raise InputError("give --table NAME or, to go on with one, --run-dir DIR --resume")
        return Path("runs") / f"{flags.table}-{flags.recipe or table_named(flags.table).recipe}"

    def completed(self, plan: Plan) -> Plan:
        """With the table's recipe and particles and, without a budget, all test images."""
        given = {name: value for name, value in plan.shared.items() if value is not None}
        table = plan.selection.of
        chosen = {"recipe": table.recipe, "eval_particles": table.particles, "test_size": None}
        shared = {**chosen, **given}
        check_count(
            "--eval-particles", shared.get("eval_particles"), minimum=MIN_PARTICLES_FOR_KHAT
        )
        plan = dataclasses.replace(plan, shared=shared)
        wants = _data_to_bring(plan)
        if wants is not None and shared.get("dataset") is None:
            raise InputError(
                f"the data of {plan.selection.table} under recipe {recipe_of(plan)} must be "
                f"brought with --dataset FOLDER: {wants}"
            )
        wanted = shared.get("test_size")
        if wanted is not None or plan.budget_minutes is None:
            config = self.config(plan, plan.cells[0], 0)
            data = load_dataset(**config.data_arguments | {"data_dir": plan.data_dir})
            number = len(data.test)
            if wanted is not None:
                number = min(check_count("--test-size", wanted, minimum=2), number)
            plan = dataclasses.replace(plan, shared={**shared, "test_size": number})
        return plan

    def check_plan(self, plan: Plan, path: Path) -> None:
        if plan.version != __version__:
            raise InputError(
                f"{path.parent} holds results of pyro_vae {plan.version}, this is {__version__}: "
                "cells of two versions are not put into one table; name another --run-dir"
            )

    def most_epochs(self, plan: Plan) -> int:
        return named_recipe(recipe_of(plan)).epochs

    def settings(self, plan: Plan) -> Mapping[str, Any]:
        return plan.selection.of.settings_under(recipe_of(plan))

    def hooks(self, plan: Plan, place: Place) -> Hooks:
        judge = Judge(place, plan.selection.of.measures)
        return Hooks(judge=judge, on_epoch=lambda history: judge.clock.add())

    def title(self, plan: Plan, folder: Path, jobs: int) -> str:
        recipe = recipe_of(plan)
        share = plan.epochs / self.most_epochs(plan)
        return (
            f"{plan.selection.of.title}\nrecipe {recipe}: {plan.epochs} of "
            f"{self.most_epochs(plan)} epochs ({100 * share:.3g} %), {plan.seeds} seed(s), {jobs} "
            f"at a time, in {folder}"
        )

    def facts(self, plan: Plan, places: Sequence[Place]) -> list[str]:
        results = filter(None, map(read_result, places))
        spent = sum(result.minutes for result in results)
        lines = [f"{spent:.1f} minutes of all cells; seeds 0 to {plan.seeds - 1}"]
        given = plan.shared.get("dataset")
        if given is not None:
            brought = _data_to_bring(plan) is not None
            lines.append(f"data: {given}{'' if brought else ', not those of the table'}")
        return lines

    def write(self, folder: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
        return write_table(folder, folder / self.room, plan, facts)


def recipe_of(plan: Plan) -> str:
    """The recipe of all cells of a table."""
    return plan.shared.get("recipe") or plan.selection.of.recipe


def _data_to_bring(plan: Plan) -> str | None:
    """Which data a call must give, in words; None where the table has its own."""
    regime = plan.selection.of.regimes.get(recipe_of(plan))
    return None if regime is None else regime.data
