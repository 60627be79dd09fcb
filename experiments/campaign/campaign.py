"""What a table and the study each say for themselves; everything else they share."""

from __future__ import annotations

import argparse
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from experiments.campaign.cell import Cell, Place
from experiments.campaign.plan import Plan, Request, Selection, frozen, read_plan
from pyro_vae.errors import InputError, check_count
from pyro_vae.runs import Hooks, RunConfig, new_config


class Campaign(ABC):
    """A kind of campaign; it holds nothing, so that processes may each have their own.

    Attributes:
        noun: what a folder of results holds.
        room: the folder of its run directories.
        shared: settings that all cells have and that flags may give. later: those of them that
            plans of earlier versions lack, which left them open.
        selection: the class of its choice of cells.
        draws: whether its runs keep posterior draws.
        fewer: what a call may do where the budget is too small.
    """

    noun: ClassVar[str]
    room: ClassVar[str]
    shared: ClassVar[Sequence[str]]
    later: ClassVar[Sequence[str]] = ()
    selection: ClassVar[type]
    draws: ClassVar[bool]
    fewer: ClassVar[str]

    @abstractmethod
    def selected(self, flags: argparse.Namespace) -> Selection:
        """The cells that the flags ask for; what they leave open is None."""

    @abstractmethod
    def complete(self, asked: Selection) -> Selection:
        """The cells of a new plan; InputError where there are none."""

    @abstractmethod
    def default_folder(self, flags: argparse.Namespace) -> Path:
        """Of the results, where ``--run-dir`` is not given; InputError where it must be."""

    @abstractmethod
    def completed(self, plan: Plan) -> Plan:
        """A new plan with the shared settings that were not given."""

    @abstractmethod
    def most_epochs(self, plan: Plan) -> int:
        """Epochs of the published recipe, which no budget exceeds."""

    @abstractmethod
    def title(self, plan: Plan, folder: Path, jobs: int) -> str:
        """Lines that say what is going to be trained."""

    @abstractmethod
    def facts(self, plan: Plan, places: Sequence[Place]) -> list[str]:
        """Lines of the finished table on how it was made, beside those of every campaign."""

    @abstractmethod
    def write(self, folder: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
        """Write the table of the cells that are finished, as Markdown and CSV."""

    def settings(self, plan: Plan) -> Mapping[str, Any]:
        """What is chosen for all cells, beside what flags may give."""
        return {}

    def hooks(self, plan: Plan, place: Place) -> Hooks:
        """How its runs are judged and drawn."""
        return Hooks()

    def check_plan(self, plan: Plan, path: Path) -> None:  # noqa: B027 - most need no check
        """InputError where the folder of an earlier call cannot go on."""

    def config(self, plan: Plan, cell: Cell, seed: int) -> RunConfig:
        """The configuration of a cell's run; InputError where a setting cannot be used."""
        shared = {name: value for name, value in plan.shared.items() if value is not None}
        chosen = {
            **self.settings(plan),
            **shared,
            **cell.settings,
            "objective": cell.objective,
            "num_particles": cell.num_particles,
            "seed": seed,
            "epochs": cell.epochs(plan.epochs),
        }
        return new_config(chosen)

    def request(self, flags: argparse.Namespace) -> Request:
        """What the flags ask for."""
        return Request(
            selection=self.selected(flags),
            shared={name: frozen(getattr(flags, name)) for name in self.shared},
            seeds=None if flags.seeds is None else check_count("--seeds", flags.seeds),
            epochs=flags.epochs,
            budget_minutes=flags.budget,
            device=None if flags.device == "auto" else flags.device,
        )

    def read_plan(self, path: Path) -> Plan:
        """The plan of an earlier call; InputError where it is damaged or cannot go on."""
        plan = read_plan(path, self.selection)
        plan = dataclasses.replace(plan, shared=dict.fromkeys(self.later) | dict(plan.shared))
        missing = [name for name in self.shared if name not in plan.shared]
        if missing:
            raise InputError(f"{path} is damaged: it lacks {', '.join(missing)}")
        self.check_plan(plan, path)
        return plan

    def new_plan(
        self, asked: Request, device: str, jobs: int, data_dir: str | None, seeds: int = 1
    ) -> Plan:
        """The plan of a request; its epochs are 1 where a budget is still to decide.

        Args:
            seeds: of every cell, where the request leaves them open.
        """
        plan = Plan(
            selection=self.complete(asked.selection),
            shared=asked.shared,
            seeds=seeds if asked.seeds is None else asked.seeds,
            epochs=1 if asked.epochs is None else check_count("--epochs", asked.epochs),
            budget_minutes=asked.budget_minutes,
            device=device,
            data_dir=data_dir,
            jobs=jobs,
        )
        plan = self.completed(plan)
        for cell in plan.cells:
            self.config(plan, cell, 0)
        return plan
