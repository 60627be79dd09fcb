"""One cell of a table: claimed, trained (or continued), evaluated, and written down."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import pyro_vae
from experiments.replication.clock import Clock
from experiments.replication.plan import SECOND_STAGE_RATE, Plan, build
from experiments.replication.table_rows import Cell, Table
from experiments.side_by_side import EpochLines, stop_without
from pyro_vae import activity
from pyro_vae.datasets import Batches, Dataset
from pyro_vae.errors import InUse, TrainingDiverged
from pyro_vae.evaluation import evaluate, pruned_log_likelihood
from pyro_vae.evaluation.statistics import mean_and_error
from pyro_vae.runs import RunConfig, RunDirectory, load_run, new_config
from pyro_vae.storage import write_whole
from pyro_vae.torch_state import own_generators
from pyro_vae.training.recipes import named_recipe
from pyro_vae.training.schedules import Stages

PRUNING_IMAGES, PRUNING_PARTICLES = 100, 1_000
DATA_SEED = 0  # all cells and seeds share their data, test images included


@dataclass(frozen=True)
class Place:
    """Where a cell's files lie: a run directory, which ``pyro_vae.load_run`` opens.

    Its ``summary.json`` has the figures, and ``per_datum.npz`` those of every test image.
    """

    folder: Path
    cell: Cell
    seed: int

    @property
    def path(self) -> Path:
        return self.folder / "cells" / f"{self.cell.name}-seed{self.seed}"

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, where it did; the next one starts from the checkpoint."""
        return self.path / "failure.txt"

    @property
    def per_datum(self) -> Path:
        return self.path / "per_datum.npz"

    def read_result(self) -> dict[str, Any] | None:
        """The figures, or None while there are none."""
        directory = RunDirectory(self.path)
        return directory.read_summary() if directory.summary.is_file() else None


def load_data(table: Table, recipe: str, data_dir: str | None) -> Dataset:
    """The data of a table as the recipe's paper binarises them."""
    return pyro_vae.load_dataset(
        table.dataset,
        data_dir=data_dir,
        pixels="binary",
        binarise=table.binarise[recipe],
        seed=DATA_SEED,
    )


def run_chain(
    folder: Path,
    table: Table,
    plan: Plan,
    chain: list[Cell],
    seed: int,
    data_dir: str | None,
    threads: int | None,
    quiet: bool,
    parent: int | None = None,
) -> list[str]:
    """Train the cells of a chain, each after the one it starts from; what became of each.

    Args:
        parent: the process that this one works for; when it is gone, training stops.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = torch.device(plan.device)
    data = None
    outcomes = []
    for cell in chain:
        place = Place(folder, cell, seed)
        if place.read_result() is not None:
            outcomes.append("done before")
            continue
        if cell.start is not None:
            before = Place(folder, cell.start, seed).read_result()
            if before is None:
                outcomes.append("waits for the cell it starts from")
                continue
            if before["status"] != "finished":
                message = f"the cell it starts from {before['status']}"
                RunDirectory(place.path).write_summary({"status": "diverged", "message": message})
                outcomes.append(message)
                continue
        data = load_data(table, plan.recipe, data_dir) if data is None else data
        directory = RunDirectory(place.path)
        try:
            with directory.locked():
                if place.read_result() is None:
                    report = _reporter(directory, place, plan, quiet, parent)
                    outcome = _run(place, directory, table, plan, data, device, data_dir, report)
                    outcomes.append(outcome)
                else:  # another process finished it in the meantime
                    outcomes.append("done before")
        except InUse:
            outcomes.append("another process is at it")
        if outcomes[-1] == "stopped":
            break
    return outcomes


def _run(
    place: Place,
    directory: RunDirectory,
    table: Table,
    plan: Plan,
    data: Dataset,
    device: torch.device,
    data_dir: str | None,
    on_epoch: Callable,
) -> str:
    cell, seed = place.cell, place.seed
    recipe, epochs = named_recipe(plan.recipe), plan.epochs_of(cell)
    model, guide, objective = build(cell, data, seed, device)
    if cell.start is None:
        lr_schedule = recipe.lr_schedule(epochs)
    else:
        start = load_run(Place(place.folder, cell.start, seed).path, device)
        model.load_state_dict(start.model.state_dict())
        guide.load_state_dict(start.guide.state_dict())
        lr_schedule = Stages((SECOND_STAGE_RATE,), (1.0,))
    clock = Clock(place.path / "minutes.json")

    def after_epoch(history) -> None:
        clock.add()
        on_epoch(history)

    try:
        fitted = pyro_vae.fit(
            model,
            guide,
            data.train,
            valid=data.valid,
            objective=objective,
            epochs=epochs,
            batch_size=recipe.batch_size,
            optimiser=recipe.optimiser,
            lr_schedule=lr_schedule,
            binarise=table.binarise[plan.recipe],
            annealing={},
            seed=seed,
            checkpoint=directory.checkpoint,
            resume=directory.checkpoint.is_file(),
            on_start=lambda: directory.write_config(_config(place, table, plan, data, data_dir)),
            on_epoch=after_epoch,
            progress=False,
        )
    except TrainingDiverged as error:
        directory.write_summary({"status": "diverged", "message": str(error)})
        return f"diverged: {error}"
    clock.add()
    if fitted.stopped != "finished":
        return "stopped"
    figures = _figures(model.eval(), guide.eval(), data, plan, place, device)
    clock.add()
    figures["minutes"] = clock.minutes
    if not math.isfinite(figures["nll"] + figures["kl_to_posterior"]):
        figures |= {"status": "diverged", "message": "its test figures are not finite"}
    directory.write_summary(figures)
    return figures["status"]


def _figures(
    model, guide, data: Dataset, plan: Plan, place: Place, device: torch.device
) -> dict[str, Any]:
    """The figures of ``summary.json``; per test image they go to ``per_datum.npz``."""
    test = data.test[: plan.test_size].to(device)
    with own_generators():
        torch.manual_seed(place.seed)
        found = evaluate(
            model,
            guide,
            test,
            num_particles=plan.particles,
            bound_particles=min(place.cell.num_particles, plan.particles),
        )
        means = activity.posterior_means(guide, test)
        active = {name: activity.active_units(level) for name, level in means.items()}
        seen = _binarised(data.train[: activity.BURDA_DATA]).to(device)
        burda = activity.count_active_units(guide, seen, definition="burda")
        units = {
            "test": {name: int(mask.sum()) for name, mask in active.items()},
            "pca": {name: activity.pca_active_units(level) for name, level in means.items()},
            "burda": {name: level.count for name, level in burda.items()},
        }
        pruning = _pruning_cost(model, guide, test[:PRUNING_IMAGES], active)
    stream = io.BytesIO()
    np.savez_compressed(stream, **found.columns())
    write_whole(place.per_datum, stream.getbuffer())
    return {
        "status": "finished",
        "epochs": plan.epochs_of(place.cell),
        "nll": -float(found.log_likelihood.mean()),
        "kl_to_posterior": float(found.kl_to_posterior.mean()),
        "summary": found.summary(),
        "active_units": units,
        "pruning_cost": pruning,
        "test_images": len(test),
        "particles": plan.particles,
    }


def _binarised(x: torch.Tensor) -> torch.Tensor:
    """Training rows, which may be probabilities, drawn once."""
    (drawn,) = Batches(x, len(x), seed=DATA_SEED, binarise="access").epoch(0)
    return drawn


def _pruning_cost(model, guide, x: torch.Tensor, active: dict[str, np.ndarray]) -> dict[str, float]:
    """What removing the inactive units costs in log-likelihood, nats, on the same noise."""
    values = []
    for masks in ({}, active):
        torch.manual_seed(0)
        values.append(pruned_log_likelihood(model, guide, x, masks, PRUNING_PARTICLES))
    return mean_and_error((values[0] - values[1]).double().numpy()).as_dict()


def _reporter(
    directory: RunDirectory, place: Place, plan: Plan, quiet: bool, parent: int | None
) -> Callable:
    lines = EpochLines(place.path.name, plan.epochs_of(place.cell), quiet)

    def on_epoch(history) -> None:
        directory.write_metrics(history)
        stop_without(parent)
        lines.say(history[-1])

    return on_epoch


def _config(
    place: Place, table: Table, plan: Plan, data: Dataset, data_dir: str | None
) -> RunConfig:
    """What ``load_run`` and the analysis want to know of a run."""
    cell = place.cell
    config = new_config(
        {
            "model": f"burda{cell.levels}",
            "guide": "bottomup",
            "preset": "paper",
            "dataset": table.dataset,
            "data_dir": data_dir,
            "binarise": table.binarise[plan.recipe],
            "data_seed": DATA_SEED,
            "objective": cell.objective,
            "num_particles": cell.num_particles,
            **cell.settings,
            "annealing": (),
            "seed": place.seed,
            "recipe": plan.recipe,
            "epochs": plan.epochs_of(cell),
        }
    )
    started_from = None if cell.start is None else cell.start.name
    return config.with_facts(
        num_pixels=data.train.shape[1],
        data=data.info,
        other={"started_from": started_from, "plan": asdict(plan)},
    )
