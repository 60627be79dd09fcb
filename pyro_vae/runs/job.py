"""train(): the one body behind the command, the tables, the study and the estimator."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.errors import InputError
from pyro_vae.export import model_card
from pyro_vae.objectives import check_objective_fits
from pyro_vae.options import resolved
from pyro_vae.programs import Generative, Guide
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.devices import device_named
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.facts import check_same_data, with_facts
from pyro_vae.runs.hooks import Finished, Hooks, Outcome, Trained
from pyro_vae.runs.judging import judge
from pyro_vae.runs.resuming import resume_notices
from pyro_vae.runs.run import Run
from pyro_vae.runs.starting import judge_start, lines_of
from pyro_vae.runs.summary import RunSummary, Start, Summary
from pyro_vae.storage import write_text
from pyro_vae.ticking import ticking
from pyro_vae.torch_state import own_generators
from pyro_vae.training import FitResult, fit
from pyro_vae.training.parallel import Processes
from pyro_vae.training.progress import Row


def train(
    config: RunConfig,
    directory: RunDirectory | str | Path,
    hooks: Hooks | None = None,
    *,
    data: Dataset | None = None,
    resume: bool = False,
) -> Outcome:
    """Train, judge and write a run directory.

    Args:
        config: of :func:`pyro_vae.runs.new_config`, or for ``resume`` of
            :func:`pyro_vae.runs.resume_config`.
        directory: of the run; see :mod:`pyro_vae.runs.directory` for its files.
        hooks: what is told and added.
        data: the data that ``config`` names, where they are loaded already.
        resume: go on with the run that the directory holds, bit for bit on the CPU; one that was
            killed before its first checkpoint starts again.

    Raises:
        InputError: a setting, the data or the directory cannot be used; nothing was written.
        TrainingDiverged: see :func:`pyro_vae.fit`.
    """
    hooks = hooks or Hooks()
    directory = directory if isinstance(directory, RunDirectory) else RunDirectory(directory)
    processes = Processes()
    if not resume and (directory.checkpoint.exists() or directory.config.exists()):
        raise _taken(directory)
    device = device_named(config.speed.device)
    if data is None:
        with ticking("reading the data", hooks.progress):
            data = load_dataset(**config.data_arguments)
    if resume:
        check_same_data(config, data, directory.path)
        for line in resume_notices(directory, config):
            hooks.say(line)
        if directory.never_saved:
            resume = False
            hooks.say(f"{directory.path} holds no checkpoint yet: the run starts again")
    config.data.augmentation(data)  # refused before anything is started
    config = with_facts(config, data)
    # Of several processes the first one starts the pair; the loop gives its weights to the others.
    starting, notices = not resume and processes.first, list[str]()
    if starting and config.pair.init != "random":
        hooks.say(f"starting from the {config.pair.init}: {len(data.train)} rows")
    with ticking("starting the pair", hooks.progress):
        model, guide = build(config, data, start=starting, say=notices.append)
    if not resume:
        hooks.initialise(model, guide)
    hooks.say(_describe(model, config, data, directory, device))
    model, guide = model.to(device), guide.to(device)
    if starting:
        with ticking("judging the start", hooks.progress):
            start = judge_start(model, guide, data, config, notices, figures=hooks.judge is None)
        config = config.with_facts(start=dataclasses.asdict(start))
        for line in lines_of(start):
            hooks.say(line)
    with directory.locked() if processes.first else contextlib.nullcontext():
        if starting and directory.holds_checkpoint:  # of a process that was faster
            raise _taken(directory)

        def on_start() -> None:
            if processes.first:
                directory.write_config(config)
                data.preprocessing.save(directory.preprocessing)
                hooks.on_start(model, guide)

        def on_epoch(history: list[Row]) -> None:
            directory.write_metrics(history)
            hooks.on_epoch(history)

        fitted = fit_pair(
            model,
            guide,
            config,
            data,
            checkpoint=directory.checkpoint,
            resume=resume,
            on_start=on_start,
            on_epoch=on_epoch,
            progress=hooks.progress,
        )
        if not processes.first:
            return Outcome(fitted)
        directory.write_metrics(fitted.history)
        if fitted.signal is not None:
            return Outcome(fitted)
        hooks.say(f"{fitted.ending}; evaluating on test data")
        trained = Trained(directory, config, model.eval(), guide.eval(), data, device, fitted)
        begun = Start.of(config.facts.start) if config.facts.start else None
        if hooks.judge is None:
            summary = _judged(trained, begun, hooks)
        else:
            summary = dataclasses.replace(hooks.judge(trained), start=begun)
        directory.write_summary(summary.entries())
        if hooks.judge is None:
            write_text(directory.card, model_card(Run(model, guide, config, directory.path)))
    return Outcome(fitted, summary)


def _taken(directory: RunDirectory) -> InputError:
    return InputError(
        f"{directory.path} holds a run already; continue it with --resume or name another --run-dir"
    )


def _judged(trained: Trained, start: Start | None, hooks: Hooks) -> Summary:
    """Judge a trained pair and write its posterior draws."""
    judged = judge(
        trained.model,
        trained.guide,
        trained.data,
        trained.config,
        trained.device,
        hooks.progress,
    )
    trained.directory.write_posterior(judged.posterior)
    summary = judged.summary(RunSummary.of(trained.fitted), start)
    finished = Finished(
        **vars(trained),
        posterior=judged.posterior,
        means=judged.means,
        filters=judged.filters,
        summary=summary,
    )
    with ticking("drawing pictures", hooks.progress):
        hooks.on_finish(finished)
    return summary


def build(
    config: RunConfig,
    data: Dataset,
    *,
    start: bool = True,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Generative, Guide]:
    """The pair of a configuration before its first step.

    Args:
        start: whether it starts from the training rows, where the configuration has it so; not
            where its weights will come from elsewhere.
        say: is told what a start did instead where something did not fit.

    Raises:
        InputError: the objective has no right gradient for the guide, or is of single units where
            a level has none, or the rows are none that the configuration's start can use.
    """

    def built(rows: Tensor | None) -> tuple[Generative, Guide]:
        return config.pair.build(
            data.train.shape[1], data.channels_first, rows=rows, seed=config.seed, say=say
        )

    objective: Any = config.objective.make()
    if start and config.pair.init != "random":  # which can take minutes
        check_objective_fits(objective, built(None)[1])
    model, guide = built(data.train_in_memory if start else None)
    check_objective_fits(objective, guide)
    if getattr(objective, "per_unit", False):
        with own_generators():  # units that depend on each other are found by a loss
            objective.differentiable_loss(model, guide, data.train[:1])
    return model, guide


def fit_pair(
    model: Generative,
    guide: Guide,
    config: RunConfig,
    data: Dataset,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    on_start: Callable[[], None] = lambda: None,
    on_epoch: Callable[[list[Row]], None] = lambda history: None,
    progress: bool = False,
) -> FitResult:
    """:func:`pyro_vae.fit` as a configuration says; no file is written but the checkpoint."""
    valid = data.valid[: config.evaluation.valid_size]
    return fit(
        model,
        guide,
        data.train,
        valid=valid if len(valid) else None,
        objective=config.objective.make(),
        epochs=resolved(config.training.epochs),
        batch_size=resolved(config.training.batch_size),
        optimiser=config.training.optimiser,
        lr_schedule=config.training.lr_schedule,
        binarise=config.binarisation(data.pixels),
        augment=config.data.augmentation(data),
        annealing=config.training.schedules,
        seed=config.seed,
        compile=config.speed.compile,
        chunk_size=config.speed.chunk_size,
        precision=config.speed.precision,
        max_minutes=config.training.max_minutes,
        patience=config.training.patience,
        checkpoint=checkpoint,
        resume=resume,
        on_start=on_start,
        on_epoch=on_epoch,
        progress=progress,
    )


def with_command(config: RunConfig, words: list[str]) -> RunConfig:
    """The configuration that remembers the command line that began the run."""
    return config.with_facts(command=shlex.join(words))


def _describe(
    model: Generative,
    config: RunConfig,
    data: Dataset,
    directory: RunDirectory,
    device: torch.device,
) -> str:
    pair, objective = config.pair, config.objective
    sizes = zip(model.latent_names, model.latent_sizes, strict=True)
    levels = " and ".join(f"{name} of {units}" for name, units in sizes)
    return (
        f"{pair.model} ({pair.preset}), {levels} units, with a {pair.guide} guide, "
        f"objective {objective.name}, k = {objective.num_particles}, on {device}\n"
        f"{data.description}\nrun directory {directory.path}"
    )
