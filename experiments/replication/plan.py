"""How long every cell of a table trains, so that all of them fit the budget.

All cells of a table train for the same number of epochs under the same stages, so that its rows can
be compared; the budget decides how many. The time of a step is measured on this machine, in as many
processes at once as will train side by side, which slow each other down.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import pyro_vae
from experiments.replication.table_rows import Cell
from experiments.timing import (
    SLACK,
    makespan,
    most_epochs,
    on_threads,
    seconds_of_steps,
    seconds_per_datum,
)
from pyro_vae.datasets import Batches, Dataset
from pyro_vae.errors import InputError
from pyro_vae.storage import write_text
from pyro_vae.training import Gradients
from pyro_vae.training.fitting import default_chunk_size
from pyro_vae.training.optimisation import GradientStep
from pyro_vae.training.recipes import named_recipe

START_SECONDS = 30.0  # of a cell: loading, compiling, figures of activity
EVALUATION_SHARE = 0.1  # of the budget, at most
TEST_SIZES = (10_000, 5_000, 2_000, 1_000, 500, 200, 100)
# Of cells that go on from another: the share of its epochs, and the learning rate, in both papers.
SECOND_STAGE = 3**7 / 3_280
SECOND_STAGE_RATE = 1e-4


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a results folder was made with; a resume takes it from ``plan.json``.

    Attributes:
        epochs: of every cell that starts afresh. test_size, particles: of the likelihoods.
        levels, num_particles: which rows of the table, None for all.
        budget_minutes: None where the epochs were given.
        version: of pyro_vae.
    """

    table: str
    recipe: str
    seeds: int
    epochs: int
    test_size: int
    particles: int
    levels: tuple[int, ...] | None
    num_particles: tuple[int, ...] | None
    budget_minutes: float | None
    jobs: int
    device: str
    version: str

    def epochs_of(self, cell: Cell) -> int:
        """Epochs of a cell's own training; a second stage is shorter than the first."""
        return epochs_of(cell, self.epochs)

    @property
    def share(self) -> float:
        """Of the published epochs."""
        return self.epochs / named_recipe(self.recipe).epochs

    def write(self, path: Path) -> None:
        write_text(path, json.dumps(dataclasses.asdict(self), indent=2) + "\n")


def epochs_of(cell: Cell, epochs: int) -> int:
    """Epochs of a cell of a table that trains ``epochs``; a second stage is shorter."""
    return epochs if cell.start is None else max(1, round(SECOND_STAGE * epochs))


def read_plan(path: Path) -> Plan:
    """The plan of a results folder; InputError where it is damaged or of another version."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        version = content["version"]
        if version == pyro_vae.__version__:
            for name in ("levels", "num_particles"):
                content[name] = None if content[name] is None else tuple(content[name])
            return Plan(**content)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error
    raise InputError(
        f"{path.parent} holds results of pyro_vae {version}, this is {pyro_vae.__version__}: "
        "cells of two versions are not put into one table; name another --run-dir"
    )


class Times(NamedTuple):
    """Seconds of an epoch by (levels, particles), and of a test image's likelihood by levels."""

    epoch: dict[tuple[int, int], float]
    image: dict[int, float]


def measure(
    cells: Sequence[Cell],
    data: Dataset,
    recipe: str,
    binarise: str,
    particles: int,
    device: torch.device,
    threads: int | None,
) -> Times:
    """Times of this process; to be called in as many as will train side by side."""
    with on_threads(threads):
        kinds = {(cell.levels, cell.num_particles): cell for cell in cells}
        epoch = {
            kind: seconds_per_epoch(cell, data, recipe, binarise, device)
            for kind, cell in kinds.items()
        }
        image = {
            cell.levels: seconds_per_image(cell, data, particles, device)
            for cell in {cell.levels: cell for cell in cells}.values()
        }
        return Times(epoch, image)


def slowest(times: Sequence[Times]) -> Times:
    """Of several processes."""
    first = times[0]
    return Times(
        {kind: max(one.epoch[kind] for one in times) for kind in first.epoch},
        {levels: max(one.image[levels] for one in times) for levels in first.image},
    )


def fit_budget(
    chains: Sequence[Sequence[Cell]],
    times: Times,
    num_test: int,
    *,
    recipe: str,
    seeds: int,
    minutes: float,
    jobs: int,
) -> tuple[int, int]:
    """(epochs, test size) that ``seeds`` trainings of every chain of cells fit into ``minutes``.

    Raises:
        InputError: not even one epoch fits; says how many minutes one wants.
    """
    available = 60 * minutes * (1 - SLACK)
    cells = [cell for chain in chains for cell in chain]
    images = sum(times.image[cell.levels] for cell in cells) * seeds / jobs
    affordable = (
        size
        for size in TEST_SIZES
        if size <= num_test and size * images <= EVALUATION_SHARE * available
    )
    test_size = next(affordable, min(TEST_SIZES[-1], num_test))

    def wall_seconds(epochs: int) -> float:
        per_chain = [
            sum(
                epochs_of(cell, epochs) * times.epoch[cell.levels, cell.num_particles]
                + START_SECONDS
                + test_size * times.image[cell.levels]
                for cell in chain
            )
            for chain in chains
        ]
        return makespan(per_chain * seeds, jobs)

    _check_seconds(wall_seconds(1), chains, seeds, minutes, jobs, "about")
    return most_epochs(wall_seconds, available, named_recipe(recipe).epochs), test_size


def check_budget(chains: Sequence[Sequence[Cell]], seeds: int, minutes: float, jobs: int) -> None:
    """Refuse, before anything is measured, what does not even start all cells."""
    starts = [START_SECONDS * len(chain) for chain in chains] * seeds
    _check_seconds(makespan(starts, jobs), chains, seeds, minutes, jobs, "more than")


def _check_seconds(
    seconds: float,
    chains: Sequence[Sequence[Cell]],
    seeds: int,
    minutes: float,
    jobs: int,
    word: str,
) -> None:
    if seconds > 60 * minutes * (1 - SLACK):
        wanted = math.ceil(seconds / (1 - SLACK) / 60)
        raise InputError(
            f"--budget {minutes:g} minutes is too small for one epoch of {seeds} x "
            f"{sum(map(len, chains))} cells with --jobs {jobs}: that takes {word} {wanted} minutes "
            "here. Raise it, or choose rows with --levels and --num-particles"
        )


def build(cell: Cell, data: Dataset, seed: int, device: torch.device):
    """A fresh pair and objective of a cell."""
    model, guide = pyro_vae.build_pair(
        f"burda{cell.levels}",
        "bottomup",
        num_pixels=data.train.shape[1],
        preset="paper",
        pixel_mean=data.train.mean(0),
        seed=seed,
    )
    objective = pyro_vae.make_objective(cell.objective, cell.num_particles, **cell.settings)
    return model.to(device), guide.to(device), objective


def seconds_per_epoch(
    cell: Cell, data: Dataset, recipe: str, binarise: str, device: torch.device
) -> float:
    """Time of an epoch's plain steps."""
    chosen = named_recipe(recipe)
    model, guide, objective = build(cell, data, 0, device)
    gradients = Gradients(objective, model, guide, default_chunk_size(model))
    step = GradientStep([model, guide], chosen.optimiser)
    batches = Batches(data.train.to(device), chosen.batch_size, seed=0, binarise=binarise)
    return seconds_of_steps(gradients, step, batches)


def seconds_per_image(cell: Cell, data: Dataset, particles: int, device: torch.device) -> float:
    """Time of a test image's likelihood from all particles."""
    model, guide, _ = build(cell, data, 0, device)
    return seconds_per_datum(model, guide, data.test.to(device), particles)
