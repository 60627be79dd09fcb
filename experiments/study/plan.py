"""What a study trains: models and seeds, all alike but for the objective, in run directories."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro_vae
from pyro_vae.errors import InputError, check_count
from pyro_vae.runs import RunConfig, RunDirectory, new_config
from pyro_vae.storage import write_text

VANILLA = "vanilla"
MODELS = (VANILLA, "1", "4", "10", "50")  # Vas 2024's
SEEDS = 3
# Given on the command line, or what fit.py takes without them; equal in all cells.
SHARED = (
    "preset",
    "dataset",
    "batch_size",
    "lr",
    "num_train",
    "components",
    "test_size",
    "eval_particles",
)
# Entries of a config that change no figure beyond rounding.
FREE = {"data_dir", "device", "compile", "chunk_size"}


@dataclass(frozen=True)
class Plan:
    """What a folder was made with; a resume takes it from ``plan.json``.

    Attributes:
        models: "vanilla" (analytic KL), or the number of particles of a TD-IWAE.
        seeds: of every model, 0 to seeds - 1; a seed chooses patches, weights and noise.
        epochs: of every cell.
        shared: flags of ``fit.py`` that all cells have, None where it has no such setting.
        without_annealing: train seed 0 of every model once more without it.
        budget_minutes: None where the epochs were given.
        data_dir, jobs: of the call that made the plan; later ones may have others.
        version: of pyro_vae, of that call.
    """

    models: tuple[str, ...]
    seeds: int
    epochs: int
    shared: dict[str, Any]
    without_annealing: bool
    budget_minutes: float | None
    device: str
    data_dir: str | None
    jobs: int
    version: str = pyro_vae.__version__

    @property
    def cells(self) -> list[Cell]:
        """Every training, model by model."""
        cells = [Cell(model, seed) for model in self.models for seed in range(self.seeds)]
        if self.without_annealing:
            cells += [Cell(model, 0, annealed=False) for model in self.models]
        return cells

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def read_plan(path: Path) -> Plan:
    """The plan of a folder; InputError where it is damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["models"] = tuple(content["models"])
        plan = Plan(**content)
        missing = [name for name in SHARED if name not in plan.shared]
        if missing:
            raise KeyError(", ".join(missing))
        return plan
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error


@dataclass(frozen=True)
class Cell:
    """One training: a model of :attr:`Plan.models` under one seed."""

    model: str
    seed: int
    annealed: bool = True

    @property
    def num_particles(self) -> int:
        return 1 if self.model == VANILLA else int(self.model)

    @property
    def objective(self) -> str:
        return "elbo-analytic" if self.model == VANILLA else "iwae"

    @property
    def label(self) -> str:
        """As Vas 2024's figures name it."""
        return self.model if self.model == VANILLA else f"k = {self.model}"

    @property
    def name(self) -> str:
        """Of the cell's folder."""
        kind = self.model if self.model == VANILLA else f"k{self.model}"
        return f"{kind}{'' if self.annealed else '-noanneal'}-seed{self.seed}"

    def directory(self, folder: Path) -> RunDirectory:
        """Where it is trained, by this command or by hand."""
        return RunDirectory(folder / "runs" / self.name)

    def failure(self, folder: Path) -> Path:
        """Why the last attempt failed, where it did; the next one starts from the checkpoint."""
        return self.directory(folder).path / "failure.txt"

    def finished(self, folder: Path) -> bool:
        return self.directory(folder).summary.is_file()

    def settings(self, plan: Plan) -> dict[str, Any]:
        """What is chosen of its run's settings, by name."""
        chosen = {
            "objective": self.objective,
            "num_particles": self.num_particles,
            "seed": self.seed,
            "epochs": plan.epochs,
            **plan.shared,
        }
        if not self.annealed:
            chosen["annealing"] = ()
        return {name: value for name, value in chosen.items() if value is not None}

    def config(self, plan: Plan) -> RunConfig:
        """The configuration of its run; InputError where a setting cannot be used."""
        return new_config(self.settings(plan))

    def check_run(self, plan: Plan, stored: RunConfig) -> None:
        """InputError where a run, perhaps trained by hand, has other settings than the plan."""
        found = stored.settings
        for name, wanted in self.config(plan).settings.items():
            if name not in FREE and found[name] != wanted:
                raise InputError(
                    f"{self.name} holds a run with {name} = {found[name]}, the plan has "
                    f"{wanted}; move it away, or name another --run-dir"
                )


def checked_models(given: list[str] | None) -> tuple[str, ...]:
    """Names of models, each once; InputError where one is neither vanilla nor a count."""
    models = MODELS if given is None else tuple(dict.fromkeys(given))
    for model in models:
        if model != VANILLA and not (model.isdecimal() and model == str(int(model)) != "0"):
            raise InputError(
                f"unknown model {model!r}; allowed: {VANILLA}, or a number of particles such as 10"
            )
    return models


def new_plan(flags, device: str, jobs: int) -> Plan:
    """The plan of the flags, epochs apart: 1 where a budget is still to decide.

    What was not given is taken from ``fit.py``'s own defaults and written down.
    """
    plan = Plan(
        models=checked_models(flags.models),
        seeds=check_count("--seeds", SEEDS if flags.seeds is None else flags.seeds),
        epochs=check_count("--epochs", 1 if flags.epochs is None else flags.epochs),
        shared={name: getattr(flags, name) for name in SHARED},
        without_annealing=flags.also_without_annealing,
        budget_minutes=flags.budget,
        device=device,
        data_dir=flags.data_dir,
        jobs=jobs,
    )
    configs = [cell.config(plan) for cell in plan.cells]
    return dataclasses.replace(plan, shared={name: configs[0].settings[name] for name in SHARED})


def resumed_plan(plan: Plan, flags, folder: Path) -> Plan:
    """The folder's plan with what a call may add: models, seeds, runs without annealing.

    Raises:
        InputError: names the first setting that is another one than planned.
    """
    asked = {name: getattr(flags, name) for name in SHARED}
    planned = dict(plan.shared)
    for name, value in (("epochs", flags.epochs), ("budget_minutes", flags.budget)):
        asked[name], planned[name] = value, getattr(plan, name)
    if flags.device != "auto":
        asked["device"], planned["device"] = flags.device, plan.device.partition(":")[0]
    for name, value in asked.items():
        if value is not None and value != planned[name]:
            raise InputError(
                f"{folder} was planned with {name} = {planned[name]}, not {value}; go on with the "
                "same, or name another --run-dir"
            )
    models, seeds = plan.models, plan.seeds
    if flags.models is not None:
        models = checked_models(flags.models)
        left_out = [model for model in plan.models if model not in models]
        if left_out:
            raise InputError(
                f"{folder} was planned with models {' '.join(plan.models)}; a resume may add some, "
                f"not leave out {' '.join(left_out)}"
            )
        models = (*plan.models, *(model for model in models if model not in plan.models))
    if flags.seeds is not None:
        if flags.seeds < plan.seeds:
            raise InputError(
                f"{folder} was planned with {plan.seeds} seeds; a resume may add some, not leave "
                f"out any: --seeds {flags.seeds}"
            )
        seeds = flags.seeds
    plan = dataclasses.replace(
        plan,
        models=models,
        seeds=seeds,
        without_annealing=plan.without_annealing or flags.also_without_annealing,
    )
    for cell in plan.cells:
        cell.config(plan)
    return plan
