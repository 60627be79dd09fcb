"""The study of TD-IWAE as a campaign: models and seeds, all alike but for the objective."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from experiments.campaign.campaign import Campaign
from experiments.campaign.cell import Cell, Place
from experiments.campaign.plan import Plan
from experiments.study.estimates_table import write_study
from experiments.study.study_models import MODELS, Models, checked_models, checked_rates
from pyro_vae.cli import pictures
from pyro_vae.errors import InputError
from pyro_vae.runs import Finished, Hooks, RunConfig
from pyro_vae.training.recipes import named_recipe

MOST_EPOCHS = named_recipe("s0").epochs  # of Vas 2024, whatever the preset


class StudyCampaign(Campaign):
    """The models of Vas 2024 (chapter 5), each a run as ``pyro-vae fit`` trains it.

    A seed chooses the patches as well as weights and noise, so the models of one seed share their
    data.
    """

    noun = "study"
    room = "runs"
    shared = (
        "preset",
        "init",
        "recipe",
        "hidden",
        "dataset",
        "batch_size",
        "lr",
        "num_train",
        "components",
        "test_size",
        "eval_particles",
    )
    selection = Models
    draws = True
    fewer = "fewer --models, --seeds or --num-train"

    def selected(self, flags: argparse.Namespace) -> Models:
        return Models(
            checked_models(flags.models),
            flags.also_without_annealing,
            flags.also_from_random,
            checked_rates(flags.also_lr),
        )

    def complete(self, asked: Models) -> Models:
        return asked if asked.models else dataclasses.replace(asked, models=MODELS)

    def default_folder(self, flags: argparse.Namespace) -> Path:
        if flags.resume:
            raise InputError("--resume wants --run-dir DIR, the study to continue")
        data = Path(flags.dataset or "natural").stem
        return Path("runs") / f"td-iwae-{flags.preset or 'small'}-{data}"

    def completed(self, plan: Plan) -> Plan:
        """With the defaults of ``pyro-vae fit``, written down."""
        settings = self.config(plan, plan.cells[0], 0).settings
        return dataclasses.replace(plan, shared={name: settings[name] for name in self.shared})

    def most_epochs(self, plan: Plan) -> int:
        return MOST_EPOCHS

    def config(self, plan: Plan, cell: Cell, seed: int) -> RunConfig:
        """As every campaign; InputError where a swept learning rate has none to be compared with.

        That of the study is trained already, and a recipe with stages has no single one.
        """
        rate, of_all = cell.settings.get("lr"), plan.shared.get("lr")
        if rate is not None and of_all is None:
            raise InputError(
                f"--also-lr {rate:g} has no learning rate to be compared with: recipe "
                f"{plan.shared.get('recipe')} goes through stages; give --lr or another --recipe"
            )
        if rate is not None and rate == of_all:
            raise InputError(f"--also-lr {rate:g} is the learning rate of all models already")
        return super().config(plan, cell, seed)

    def hooks(self, plan: Plan, place: Place) -> Hooks:
        return Hooks(on_finish=_draw)

    def title(self, plan: Plan, folder: Path, jobs: int) -> str:
        data, preset = plan.shared.get("dataset"), plan.shared.get("preset")
        return (
            f"{len(plan.trainings)} cells, {plan.epochs} epochs each on {data} ({preset}), {jobs} "
            f"at a time, in {folder}"
        )

    def facts(self, plan: Plan, places: Sequence[Place]) -> list[str]:
        settings = ", ".join(
            f"{name} {_word(value)}" for name, value in plan.shared.items() if value is not None
        )
        return [
            f"settings: {settings}; seeds 0 to {plan.seeds - 1}, which choose patches, weights and "
            "noise"
        ]

    def write(self, folder: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
        return write_study(folder, plan, plan.places(folder / self.room), facts)


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _draw(finished: Finished) -> None:
    pictures.draw(finished, lambda line: None)
