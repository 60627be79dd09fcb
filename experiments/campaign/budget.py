"""How many epochs, the same for every cell, fit into the minutes of a campaign.

All cells train for the same number of epochs, so that they can be compared; the budget decides how
many. The time of a step is measured on this machine, in as many processes at once as will train
side by side, since they slow each other down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from joblib import Parallel, delayed

from experiments.campaign.campaign import Campaign
from experiments.campaign.cell import Cell, chains
from experiments.campaign.plan import Plan
from pyro_vae.datasets import Batches, Dataset, load_dataset
from pyro_vae.errors import InputError, check_positive
from pyro_vae.evaluation import evaluate
from pyro_vae.runs import RunConfig
from pyro_vae.training import Gradients
from pyro_vae.training.fitting import default_chunk_size
from pyro_vae.training.optimisation import GradientStep
from pyro_vae.training.validation import validation_columns

START_SECONDS = 30.0  # of a cell: loading, compiling, active units, pictures
STEPS_TIMED = 15
# Of the budget: for what no measurement beforehand knows, such as another program on the machine.
SLACK = 0.15
# Where the budget decides how many test data are judged: one of these, in that share of it.
TEST_SIZES = (10_000, 5_000, 2_000, 1_000, 500, 200, 100)
EVALUATION_SHARE = 0.1

# Of a cell, see Cell.pair and Cell.kind.
Pair = tuple[tuple[str, Any], ...]
Kind = tuple[Pair, str, int]


class Times(NamedTuple):
    """Seconds of an epoch by kind of cell, and of a test datum's likelihood by pair."""

    epoch: dict[Kind, float]
    datum: dict[Pair, float]


def check_budget(campaign: Campaign, plan: Plan) -> None:
    """Refuse, before anything is measured, what does not even start all cells."""
    check_positive("--budget", plan.budget_minutes)
    seconds = _makespan_of(plan, lambda cell: START_SECONDS)
    _check_seconds(campaign, plan, seconds, "more than")


def planned(
    campaign: Campaign, plan: Plan, threads: int | None, say: Callable[[str], None]
) -> Plan:
    """The plan with epochs, and test data where their number is open, that fit its minutes."""
    check_budget(campaign, plan)
    say("measuring the time of a step")
    call = delayed(measure)(campaign, plan, threads)
    measured = Parallel(n_jobs=plan.jobs)([call] * plan.jobs)
    num_test = max(size for _, size in measured)
    return with_epochs(campaign, plan, slowest([times for times, _ in measured]), num_test)


def measure(campaign: Campaign, plan: Plan, threads: int | None) -> tuple[Times, int]:
    """Times of this process, and the number of test data there are.

    To be called in as many processes as will train side by side.
    """
    kinds = {cell.kind: campaign.config(plan, cell, 0) for cell in plan.cells}
    by_pair = {pair: config for (pair, *_), config in kinds.items()}
    arguments = next(iter(kinds.values())).data_arguments | {"data_dir": plan.data_dir}
    data = load_dataset(**arguments)
    device = torch.device(plan.device)
    with _on_threads(threads):
        times = Times(
            {kind: _epoch_seconds(config, data, device) for kind, config in kinds.items()},
            {pair: _datum_seconds(config, data, device) for pair, config in by_pair.items()},
        )
    return times, len(data.test)


def slowest(times: Sequence[Times]) -> Times:
    """Of several processes."""
    first = times[0]
    return Times(
        {kind: max(one.epoch[kind] for one in times) for kind in first.epoch},
        {pair: max(one.datum[pair] for one in times) for pair in first.datum},
    )


def with_epochs(campaign: Campaign, plan: Plan, times: Times, num_test: int) -> Plan:
    """The plan with as many epochs as fit its minutes, less what judging takes.

    Args:
        num_test: test data there are; where the plan leaves open how many are judged, as many as
            a tenth of the budget allows.

    Raises:
        InputError: not even one epoch fits; says how many minutes one wants.
    """
    available = _available(plan)
    if plan.shared.get("test_size") is None:
        each = sum(times.datum[cell.pair] for cell, _ in plan.trainings) / plan.jobs
        fitting = (
            size
            for size in TEST_SIZES
            if size <= num_test and size * each <= EVALUATION_SHARE * available
        )
        size = next(fitting, min(TEST_SIZES[-1], num_test))
        plan = dataclasses.replace(plan, shared={**plan.shared, "test_size": size})

    def wall_seconds(epochs: int) -> float:
        return _makespan_of(
            plan,
            lambda cell: (
                cell.epochs(epochs) * times.epoch[cell.kind]
                + judging_seconds(campaign, plan, cell, times.datum[cell.pair])
            ),
        )

    _check_seconds(campaign, plan, wall_seconds(1), "about")
    epochs = _most_epochs(wall_seconds, available, campaign.most_epochs(plan))
    return dataclasses.replace(plan, epochs=epochs)


def judging_seconds(campaign: Campaign, plan: Plan, cell: Cell, datum: float) -> float:
    """Of a cell's estimates on test data, of its posterior draws, and of what all cells have."""
    wanted = campaign.config(plan, cell, 0).evaluation
    seconds = START_SECONDS + wanted.test_size * datum
    if campaign.draws:
        proposals = wanted.posterior_data * wanted.posterior_draws * cell.num_particles
        seconds += proposals * datum / wanted.eval_particles
    return seconds


def makespan(seconds: Sequence[float], jobs: int) -> float:
    """Time until all are done, the longest first, each given to the first free of ``jobs``."""
    loads = [0.0] * jobs
    for duration in sorted(seconds, reverse=True):
        loads[loads.index(min(loads))] += duration
    return max(loads)


def _makespan_of(plan: Plan, seconds: Callable[[Cell], float]) -> float:
    """Of all trainings; a cell that goes on from another waits for it."""
    whole = [
        sum(seconds(cell) for cell in chain if seed in cell.seeds(plan.seeds))
        for seed in range(plan.seeds)
        for chain in chains(plan.cells)
    ]
    return makespan(whole, plan.jobs)


def _most_epochs(wall_seconds: Callable[[int], float], available: float, most: int) -> int:
    """The most epochs, from 1 to ``most``, that take no longer than what is available."""
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if wall_seconds(middle) <= available else (low, middle - 1)
    return low


def _available(plan: Plan) -> float:
    return 60 * plan.budget_minutes * (1 - SLACK)


def _check_seconds(campaign: Campaign, plan: Plan, seconds: float, word: str) -> None:
    if seconds > _available(plan):
        wanted = math.ceil(seconds / (1 - SLACK) / 60)
        raise InputError(
            f"--budget {plan.budget_minutes:g} minutes is too small for one epoch of "
            f"{len(plan.trainings)} cells with --jobs {plan.jobs}: that takes {word} "
            f"{wanted} minutes here. Raise it, or choose {campaign.fewer}"
        )


@contextlib.contextmanager
def _on_threads(threads: int | None) -> Iterator[None]:
    """So many threads for the length of the block; None leaves them."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _epoch_seconds(config: RunConfig, data: Dataset, device: torch.device) -> float:
    """Of an epoch of plain steps and its validation; compiled steps are faster."""
    model, guide = _pair(config, data, device)
    gradients = Gradients(config.objective.make(), model, guide, default_chunk_size(model))
    step = GradientStep([model, guide], config.training.optimiser)
    batches = Batches(
        data.train.to(device),
        config.training.batch_size,
        seed=0,
        binarise=config.binarisation(data.pixels),
        augment=config.data.augmentation(data),
    )
    times = []
    for _, x in zip(range(STEPS_TIMED), batches.epoch(0), strict=False):
        start = time.perf_counter()
        loss = gradients(x)
        step(len(x), loss.value.item())
        times.append(time.perf_counter() - start)
    start = time.perf_counter()
    valid = data.valid[: config.evaluation.valid_size].to(device)
    validation_columns(model, guide, valid, config.objective.num_particles)
    return statistics.median(times) * len(batches) + time.perf_counter() - start


def _datum_seconds(config: RunConfig, data: Dataset, device: torch.device) -> float:
    """Of a test datum's likelihood from all particles."""
    model, guide = _pair(config, data, device)
    x = data.test[:5].to(device)
    particles = config.evaluation.eval_particles
    times = []
    for rows in (x[:1], x):  # the first one imports what k-hat wants
        start = time.perf_counter()
        evaluate(model, guide, rows, num_particles=particles, bound_particles=1)
        times.append(time.perf_counter() - start)
    return times[-1] / len(x)


def _pair(config: RunConfig, data: Dataset, device: torch.device):
    """A fresh pair, as a run builds it."""
    model, guide = config.pair.build(
        data.train.shape[1], data.channels_first, rows=data.train, seed=config.seed
    )
    return model.to(device), guide.to(device)
