"""How many epochs, the same for every cell, fit into the minutes of a study."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import torch

import pyro_vae
from experiments.study.plan import Cell, Plan
from experiments.timing import (
    SLACK,
    makespan,
    most_epochs,
    on_threads,
    seconds_of_steps,
    seconds_per_datum,
)
from pyro_vae.datasets import Batches, Dataset
from pyro_vae.errors import InputError, check_positive
from pyro_vae.runs import RunConfig, new_config
from pyro_vae.training import Gradients
from pyro_vae.training.fitting import default_chunk_size
from pyro_vae.training.optimisation import GradientStep
from pyro_vae.training.recipes import named_recipe
from pyro_vae.training.validation import validation_columns

START_SECONDS = 30.0  # of a cell: loading, compiling, activity, pictures
MOST_EPOCHS = named_recipe("s0").epochs


class Times(NamedTuple):
    """Seconds of an epoch with its validation, by model; and of a test datum's likelihood."""

    epoch: dict[str, float]
    datum: float


def check_budget(plan: Plan) -> None:
    """Refuse, before anything is measured, what does not even start all cells."""
    check_positive("--budget", plan.budget_minutes)
    seconds = makespan([START_SECONDS] * len(plan.cells), plan.jobs)
    _check_seconds(plan, seconds, "more than")


def measure(plan: Plan, data_dir: str | None, threads: int | None) -> Times:
    """Times of this process; to be called in as many as will train side by side."""
    first = Cell(plan.models[0], 0)
    config = new_config(first.settings(plan) | {"data_dir": data_dir})
    data = pyro_vae.load_dataset(**config.data_arguments)
    device = torch.device(plan.device)
    with on_threads(threads):
        epoch = {model: _epoch_seconds(plan, model, data, device) for model in plan.models}
        model, guide, _ = _build(config, data, device)
        datum = seconds_per_datum(
            model, guide, data.test.to(device), config.evaluation.eval_particles
        )
    return Times(epoch, datum)


def slowest(times: Sequence[Times]) -> Times:
    """Of several processes."""
    return Times(
        {model: max(one.epoch[model] for one in times) for model in times[0].epoch},
        max(one.datum for one in times),
    )


def with_epochs(plan: Plan, times: Times) -> Plan:
    """The plan with as many epochs as fit its minutes, less what evaluation takes.

    Raises:
        InputError: not even one epoch fits; says how many minutes one wants.
    """

    def wall_seconds(epochs: int) -> float:
        return makespan(
            [
                epochs * times.epoch[cell.model] + evaluation_seconds(plan, cell, times.datum)
                for cell in plan.cells
            ],
            plan.jobs,
        )

    _check_seconds(plan, wall_seconds(1), "about")
    available = 60 * plan.budget_minutes * (1 - SLACK)
    return dataclasses.replace(plan, epochs=most_epochs(wall_seconds, available, MOST_EPOCHS))


def evaluation_seconds(plan: Plan, cell: Cell, datum: float) -> float:
    """Of a cell's test figures, of the draws in ``posterior.nc``, and of what all cells have."""
    config = cell.config(plan)
    per_particle = datum / config.evaluation.eval_particles
    draws = (
        config.evaluation.posterior_data * config.evaluation.posterior_draws * cell.num_particles
    )
    return START_SECONDS + config.evaluation.test_size * datum + draws * per_particle


def _epoch_seconds(plan: Plan, name: str, data: Dataset, device: torch.device) -> float:
    config = Cell(name, 0).config(plan)
    model, guide, objective = _build(config, data, device)
    gradients = Gradients(objective, model, guide, default_chunk_size(model))
    step = GradientStep([model, guide], config.training.optimiser)
    batches = Batches(data.train.to(device), config.training.batch_size, seed=0)
    seconds = seconds_of_steps(gradients, step, batches)
    start = time.perf_counter()
    valid = data.valid[: config.evaluation.valid_size].to(device)
    validation_columns(model, guide, valid, config.objective.num_particles)
    return seconds + time.perf_counter() - start


def _build(config: RunConfig, data: Dataset, device: torch.device):
    """A fresh pair and objective, as a run builds them."""
    model, guide = config.pair.build(data.train.shape[1], rows=data.train, seed=config.seed)
    return model.to(device), guide.to(device), config.objective.make()


def _check_seconds(plan: Plan, seconds: float, word: str) -> None:
    if seconds > 60 * plan.budget_minutes * (1 - SLACK):
        wanted = math.ceil(seconds / (1 - SLACK) / 60)
        raise InputError(
            f"--budget {plan.budget_minutes:g} minutes is too small for one epoch of "
            f"{len(plan.cells)} cells with --jobs {plan.jobs}: that takes {word} {wanted} minutes "
            "here. Raise it, or choose fewer --models, --seeds or --num-train"
        )
