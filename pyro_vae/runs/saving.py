"""Pairs that were trained in Python, of this library or anybody's, written down as runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pyro_vae.datasets import Dataset
from pyro_vae.datasets.preprocessing import ArrayPreprocessing
from pyro_vae.errors import InputError, check_choice
from pyro_vae.evaluation import evaluate
from pyro_vae.evaluation.activity import ACTIVITY_THRESHOLD, posterior_means
from pyro_vae.export import model_card
from pyro_vae.options import resolved
from pyro_vae.programs import Guide, PairConfig
from pyro_vae.rows import as_data
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.facts import with_facts, with_versions
from pyro_vae.runs.judging import ACTIVITY_DATA, ACTIVITY_SAMPLES, activity_of
from pyro_vae.runs.resolving import new_config
from pyro_vae.runs.run import Run
from pyro_vae.runs.summary import Judged, RunSummary, Summary
from pyro_vae.storage import save_checkpoint, write_text
from pyro_vae.torch_state import evaluating, own_generators
from pyro_vae.training import FitResult

OWN_ROWS = "own rows"  # where a data set would be named
_ELSEWHERE = RunSummary("trained elsewhere", 0, 0, False, 0.0)


def save_run(
    directory: RunDirectory | str | Path,
    model: nn.Module,
    guide: nn.Module,
    data: Dataset | Any,
    *,
    settings: Mapping[str, Any] | None = None,
    fitted: FitResult | None = None,
) -> Run:
    """Judge a trained pair and write it down as a run, for :func:`load_run`.

    Writes ``config.json``, ``checkpoint.pt`` (weights alone: training does not go on from it),
    ``summary.json``, ``model_card.md`` and ``preprocessing.npz``, by which new images become rows;
    ``metrics.csv`` with ``fitted``.

    Args:
        directory: holds no run. model, guide: modules.
        data: the :class:`Dataset`, whose test rows are judged, or the rows (N, D) to judge,
            anything that :func:`pyro_vae.rows.as_data` takes.
        settings: how the pair was made and trained, by the names of ``config.json``, as far as that
            is to be kept: ``{"objective": "iwae", "num_particles": 50, "epochs": 10}``. With
            ``model`` among them the pair is one of this library and rebuilt from them. Without, the
            programs are the user's own, of which only the weights are kept: ``load_run`` is then
            given the programs to load them into. ``test_size`` and ``eval_particles`` say how much
            is judged; ``seed`` is that of the draws.
        fitted: what :func:`pyro_vae.fit` returned.

    Raises:
        InputError: programs that are no modules, a setting that is none, settings that make
            another pair, or a directory that holds a run; nothing was written.
    """
    directory = directory if isinstance(directory, RunDirectory) else RunDirectory(directory)
    if directory.checkpoint.exists() or directory.config.exists():
        raise InputError(f"{directory.path} holds a run already; name another directory")
    for what, program in (("model", model), ("guide", guide)):
        if not isinstance(program, nn.Module):
            raise InputError(
                f"{what} is no module, so its parameters cannot be told: give a torch.nn.Module "
                "that holds them"
            )
    rows = as_data(data.test if isinstance(data, Dataset) else data, model, guide, what="data")
    if not isinstance(rows, Tensor) or rows.ndim != 2:
        raise InputError("data must be rows (N, D) of one argument, or a Dataset")
    config = _config(model, guide, data, rows.shape[1], dict(settings or {}))
    _check_rebuilt(config, model, guide)
    summary = _judged(config, model, guide, rows, fitted)
    with directory.locked():
        directory.write_config(config)
        as_it_is = ArrayPreprocessing(config.pixels, (rows.shape[1],), 0.0, 1.0)
        preprocessing = data.preprocessing if isinstance(data, Dataset) else as_it_is
        preprocessing.save(directory.preprocessing)
        if fitted is not None:
            directory.write_metrics(fitted.history)
        pair = {"model": model.state_dict(), "guide": guide.state_dict()}
        save_checkpoint(directory.checkpoint, pair)
        directory.write_summary(summary.entries())
        run = Run.of_modules(model, guide, config, directory.path)
        write_text(directory.card, model_card(run))
    return run


def _config(
    model: nn.Module, guide: nn.Module, data: Any, num_pixels: int, settings: dict[str, Any]
) -> RunConfig:
    """The settings that are known, and the facts."""
    # Never the default, which would say that the rows are photographs.
    settings.setdefault("dataset", data.name if isinstance(data, Dataset) else OWN_ROWS)
    if "model" in settings:
        config = new_config(settings)
    else:
        for name in settings:
            check_choice("setting", name, RunConfig().settings)
        own = PairConfig(model=_name(model), guide=_name(guide))
        config = dataclasses.replace(RunConfig.from_settings(settings), pair=own)
        pixels = str(data.pixels) if isinstance(data, Dataset) else "standardised"
        config = config.with_facts(own_pixels=pixels)
    if not isinstance(data, Dataset):
        return with_versions(config.with_facts(num_pixels=num_pixels))
    return with_facts(config, data)


def _name(program: nn.Module) -> str:
    return f"{type(program).__module__}.{type(program).__qualname__}"


def _check_rebuilt(config: RunConfig, model: nn.Module, guide: nn.Module) -> None:
    """InputError where the settings make another pair than the one that was trained."""
    if config.facts.own_pixels is not None:
        return
    built = config.pair.build(resolved(config.facts.num_pixels), config.facts.channels_first)
    for what, wanted, given in zip(("model", "guide"), built, (model, guide), strict=True):
        shapes = [{k: v.shape for k, v in one.state_dict().items()} for one in (wanted, given)]
        if shapes[0] != shapes[1]:
            differing = sorted(
                name
                for name in shapes[0].keys() | shapes[1].keys()
                if shapes[0].get(name) != shapes[1].get(name)
            )
            raise InputError(
                f"the settings make another {what} than the one given; they differ in "
                f"{differing[0]!r}. Leave the setting 'model' out to save programs of your own"
            )


def _judged(
    config: RunConfig, model: nn.Module, guide: nn.Module, rows: Tensor, fitted: FitResult | None
) -> Summary:
    wanted, bound_particles = config.evaluation, config.objective.num_particles
    judged = rows[: wanted.test_size]
    with own_generators(), evaluating(model, guide):
        torch.manual_seed(config.seed)
        found = evaluate(
            model,
            guide,
            judged,
            num_particles=wanted.eval_particles,
            bound_particles=min(bound_particles, wanted.eval_particles),
        )
        active = {}
        if isinstance(guide, Guide):
            means = posterior_means(guide, rows[:ACTIVITY_DATA], num_samples=ACTIVITY_SAMPLES)
            active = activity_of(means)
    settings = Judged(
        test_data=len(judged),
        particles=wanted.eval_particles,
        bound_particles=bound_particles,
        activity_threshold=ACTIVITY_THRESHOLD,
        activity_data=min(ACTIVITY_DATA, len(rows)),
        activity_samples=ACTIVITY_SAMPLES,
        bound_of=getattr(model, "bound_of", "x"),
    )
    ended = _ELSEWHERE if fitted is None else RunSummary.of(fitted)
    return Summary(found.summary(), found.warning, active, settings, ended)
