"""A finished run with another prior, as a run directory of its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.errors import InputError
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.likelihood_change import LikelihoodChange
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.export import model_card
from pyro_vae.options import resolved
from pyro_vae.programs import Generative
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.facts import check_same_data
from pyro_vae.runs.hooks import Hooks
from pyro_vae.runs.judging import Judgement, judge
from pyro_vae.runs.loading import load_run
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import Start, Summary
from pyro_vae.storage import load_checkpoint, save_checkpoint, write_text
from pyro_vae.ticking import ticking
from pyro_vae.torch_state import own_generators
from pyro_vae.training import GradientStep
from pyro_vae.training.prior_refit import STEPS, Refit, refit_prior


@dataclass(frozen=True)
class RefitSettings:
    """How the prior of a run is refitted, see :func:`pyro_vae.refit_prior`.

    Attributes:
        prior: ``NAME`` or ``NAME:key=value``. steps, lr: of the optimiser; no lr for what
            the prior's kind had best.
        seed: of the new prior and the draws that it is fitted to.
        eval_particles: of the log-likelihoods; None for the run's own number.
        data_dir: where the run's data lie now, if elsewhere.
    """

    prior: str
    steps: int = STEPS
    lr: float | None = None
    seed: int = 0
    eval_particles: int | None = None
    data_dir: str | None = None


@dataclass(frozen=True)
class RefittedRun:
    """What :func:`refit_run` found.

    Attributes:
        refit: the prior and its gain on the test rows.
        change: of the estimates on the test data that the run judges, the same particles.
        summary: of the new run's ``summary.json``, with both under ``refit``.
    """

    refit: Refit[Generative]
    change: LikelihoodChange
    summary: Summary


def refit_run(
    run_dir: str | Path,
    directory: RunDirectory | str | Path,
    settings: RefitSettings,
    *,
    device: str | torch.device = "cpu",
    command: str | None = None,
    hooks: Hooks | None = None,
) -> RefittedRun:
    """Refits the prior of a finished run and writes the pair with it as a run of its own.

    The prior is fitted to the training rows, its gain is that on the test rows. The new directory
    has the files of any run: everything that takes a run takes it. ``metrics.csv`` is that of the
    run it came from, whose training it tells; ``fit --resume`` with more epochs trains all parts
    together from there, Adam starting anew.

    Args:
        run_dir: a finished run.
        directory: of the new one.
        command: the line that asked for it.
        hooks: ``say`` and ``progress`` count.

    Raises:
        InputError: a setting, the run or its data cannot be used, or ``directory`` holds a run;
            nothing was written.
        TrainingDiverged: the density of the new prior is not finite.
    """
    hooks = hooks or Hooks()
    directory = directory if isinstance(directory, RunDirectory) else RunDirectory(directory)
    if directory.checkpoint.exists() or directory.config.exists():
        raise InputError(f"{directory.path} holds a run already; name another --run-dir")
    run = load_run(run_dir, device)
    if not RunDirectory(run_dir).summary.is_file():
        raise InputError(f"{run_dir} is no finished run: it has no summary.json")
    finished = Summary.of(RunDirectory(run_dir).read_summary(), RunDirectory(run_dir).summary)
    config = _with_prior(run.config, settings)
    moved = {} if settings.data_dir is None else {"data_dir": settings.data_dir}
    with ticking("reading the data", hooks.progress):
        data = load_dataset(**run.config.data_arguments | moved)
    check_same_data(run.config, data, run_dir)
    count = len(data.train_in_memory)
    hooks.say(
        f"fitting the prior {settings.prior} to {count} training rows of {data.name}, "
        f"{settings.steps} steps; judged on {len(data.test)} test rows"
    )
    refit = _refitted(run, data, settings, hooks.progress)
    hooks.say("evaluating on test data, with the old prior and with the new one")
    judged, change = _judged(run, refit, data, config, hooks.progress)
    config = config.with_facts(command=command, refit=_origin(run, refit, settings))
    start = Start.of(config.facts.start) if config.facts.start else None
    summary = judged.summary(finished.run, start)
    summary = dataclasses.replace(summary, extra={"refit": _entries(refit, change)})
    _write(directory, run, refit, config, judged, summary)
    return RefittedRun(refit, change, summary)


def _with_prior(config: RunConfig, settings: RefitSettings) -> RunConfig:
    """The configuration of the new run; InputError where its prior is none."""
    pair = dataclasses.replace(config.pair, prior=settings.prior)
    _ = pair.architecture
    judged = config.evaluation
    if settings.eval_particles is not None:
        judged = dataclasses.replace(judged, eval_particles=settings.eval_particles)
        if settings.eval_particles < config.objective.num_particles:
            raise InputError(
                f"--eval-particles {settings.eval_particles} is fewer than the run's "
                f"{config.objective.num_particles} particles"
            )
    return dataclasses.replace(config, pair=pair, evaluation=judged)


def _refitted(
    run: Run, data: Dataset, settings: RefitSettings, progress: bool
) -> Refit[Generative]:
    with tqdm(total=settings.steps, unit="step", disable=not progress, leave=False) as bar:
        return refit_prior(
            run.model,
            run.guide,
            data.train_in_memory.to(run.device),
            settings.prior,
            held_out=data.test.to(run.device),
            steps=settings.steps,
            lr=settings.lr,
            binarise=run.config.binarisation(data.pixels),
            seed=settings.seed,
            on_step=bar.update,
        )


def _judged(
    run: Run, refit: Refit[Generative], data: Dataset, config: RunConfig, progress: bool
) -> tuple[Judgement, LikelihoodChange]:
    """The new pair judged as any run is, and the old one on the same data and noise."""
    judged = judge(refit.model, run.guide, data, config, run.device, progress)
    wanted = config.evaluation
    rows = data.test[: wanted.test_size].to(run.device)
    with (
        own_generators(),
        tqdm(total=len(rows), desc="old prior", disable=not progress, leave=False) as bar,
    ):
        torch.manual_seed(config.seed)  # as judge() has it
        before = evaluate(
            run.model,
            run.guide,
            rows,
            num_particles=wanted.eval_particles,
            bound_particles=config.objective.num_particles,
            on_progress=bar.update,
        )
    return judged, LikelihoodChange.of(before, judged.estimates)


def _origin(run: Run, refit: Refit[Generative], settings: RefitSettings) -> dict[str, Any]:
    """Where the run came from, for ``config.json``."""
    return {
        "from": str(run.path),
        "prior_before": run.config.pair.prior,
        "steps": settings.steps,
        "lr": refit.lr,
        "seed": settings.seed,
        "rows_fitted": refit.num_fitted,
        "rows_judged": refit.num_held_out,
    }


def _entries(refit: Refit[Generative], change: LikelihoodChange) -> dict[str, Any]:
    """What ``summary.json`` says of the refit; means in nats per datum."""

    def of(found: Refit[Generative] | LikelihoodChange) -> dict[str, Any]:
        return {
            name: value.as_dict() if isinstance(value, Mean) else value
            for name, value in vars(found).items()
            if isinstance(value, (Mean, int, float))
        }

    return of(refit) | {"change": of(change)}


def _write(
    directory: RunDirectory,
    run: Run,
    refit: Refit[Generative],
    config: RunConfig,
    judged: Judgement,
    summary: Summary,
) -> None:
    old = RunDirectory(resolved(run.path))
    with directory.locked():
        directory.write_config(config)
        run.preprocessing.save(directory.preprocessing)
        directory.copy_metrics(old)
        save_checkpoint(directory.checkpoint, _checkpoint(old, run, refit, config))
        directory.write_posterior(judged.posterior)
        directory.write_summary(summary.entries())
        new = Run(refit.model, run.guide, config, directory.path)
        write_text(directory.card, model_card(new))


def _checkpoint(
    old: RunDirectory, run: Run, refit: Refit[Generative], config: RunConfig
) -> dict[str, Any]:
    """The old checkpoint with the new model: a resume goes on from here, its optimiser anew."""
    pair = {"model": refit.model.state_dict(), "guide": run.guide.state_dict()}
    content = load_checkpoint(old.checkpoint) | pair
    if content.get("best"):  # of early stopping: the run's pair, which was refitted
        content["best"] = pair
    if "optimiser" in content:
        training = config.training
        fresh = GradientStep([refit.model, run.guide], training.optimiser, training.lr_schedule)
        content["optimiser"] = fresh.state_dict()
        # Another pair: how its step is computed is chosen anew, and early stopping waits anew.
        content["progress"] |= {"compiled": None, "precision": None, "waited": 0}
        content["progress"]["best_bound"] = None
    return content
