"""What the runs of a report are called, by what sets them apart, and which runs are twins."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.reporting.finished import FinishedRun

GUIDES = {"topdown": "top-down", "meanfield": "mean-field", "bottomup": "bottom-up"}
STARTS = {"data": "start from the data", "random": "random start"}
NO_ANNEALING = ", no annealing"  # what the label of a run without annealing ends with
# Settings that a label has in its own words, and those that change no model.
IN_WORDS = {"guide", "init", "objective", "num_particles", "annealing", "inner"}
NO_MODEL = {"seed", "data_seed", "data_dir", "note", "recipe", "device", "compile", "chunk_size"}
NO_MODEL |= {"precision", "valid_size", "test_size", "eval_particles"}
NO_MODEL |= {"posterior_data", "posterior_draws", "image_shape"}
MAX_SETTINGS = 3  # that a label names
# What twins may differ in besides the start and the length of training.
OF_TRAINING = ("recipe", "lr", "lr_shape", "lr_stages", "annealing", "batch_size")
OF_TRAINING += ("adam_beta1", "adam_eps", "gradient", "second_moment", "clip_norm", "skip_norm")
LENGTH = {"epochs", "max_minutes"}


def labels(runs: Sequence[FinishedRun]) -> list[str]:
    """A label per run, the same for runs that differ in their seed alone.

    Vas 2024's names of models, vanilla (closed-form KL) or k = ..., others by their objective;
    the guide and the start where the runs differ in them: "top-down, k = 3" beside "mean-field,
    k = 3". Runs that would still share label and seed have the settings that differ, and
    their folder where none does. What else sets a twin apart is said beside it, where it stands
    (:func:`random_twin`): pictures have no room for it.
    """
    guides = {run.config.pair.guide for run in runs}
    starts = {run.config.pair.init for run in runs}
    found = [_label(run, len(guides) > 1, len(starts) > 1) for run in runs]
    for make in (_settings, lambda run, _: run.path.name):
        found = _told_apart(runs, found, make)
    return found


def _label(run: FinishedRun, with_guide: bool, with_start: bool) -> str:
    pair, objective = run.config.pair, run.config.objective
    if objective.name == "elbo-analytic" and objective.num_particles == 1:
        name = "vanilla"
    elif objective.name == "iwae":
        name = f"k = {objective.num_particles}"
    else:
        name = run.name
    if with_guide:
        name = f"{GUIDES.get(pair.guide, pair.guide)}, {name}"
    if with_start:
        name += f", {STARTS.get(pair.init, pair.init)}"
    two_levels = run.model.num_levels > 1
    return name + (NO_ANNEALING if two_levels and not run.config.training.annealing else "")


def _told_apart(runs: Sequence[FinishedRun], found: list[str], make: Any) -> list[str]:
    """The labels with more words in brackets for runs that share label and seed."""
    keys = [(name, run.config.seed) for name, run in zip(found, runs, strict=True)]
    twice = {name for name, seed in keys if keys.count((name, seed)) > 1}
    told = []
    for name, run in zip(found, runs, strict=True):
        alike = [other for other, label in zip(runs, found, strict=True) if label == name]
        more = make(run, alike) if name in twice else ""
        told.append(f"{name} ({more})" if more else name)
    return told


def _settings(run: FinishedRun, alike: Sequence[FinishedRun]) -> str:
    """The run's own values of the first settings in which runs of one label differ."""
    values = [_of_model(other) for other in alike]
    own = _of_model(run)
    differ = [
        name
        for name in own
        if name not in IN_WORDS and any(other.get(name) != own[name] for other in values)
    ]
    return ", ".join(f"{name.replace('_', ' ')} {own[name]}" for name in differ[:MAX_SETTINGS])


def _of_model(run: FinishedRun) -> dict[str, Hashable]:
    settings = run.config.settings
    return {name: value for name, value in settings.items() if name not in NO_MODEL}


@dataclass(frozen=True)
class Twin:
    """A run from random weights beside one that started otherwise.

    Attributes:
        run: the twin. differs: in words, what of its training is not the other run's: "recipe vas,
            2400 steps"; empty where they differ in the start alone.
    """

    run: FinishedRun
    differs: str


def random_twin(run: FinishedRun, runs: Sequence[FinishedRun]) -> Twin | None:
    """The run from random weights that shares seed, data, pair and objective; None for none.

    How it was trained may differ (``OF_TRAINING``), since another start may want another learning
    rate; of several twins the one is taken that shares most of these settings, then the first.
    """
    if run.config.pair.init == "random":
        return None
    own = _but_for_training(run)
    twins = [
        other
        for other in runs
        if other.config.pair.init == "random"
        and other.config.seed == run.config.seed
        and _but_for_training(other) == own
    ]
    if not twins:
        return None
    nearest = min(twins, key=lambda other: len(_trained_apart(other, run)))
    return Twin(nearest, ", ".join(_trained_apart(nearest, run)))


def _but_for_training(run: FinishedRun) -> dict[str, Hashable]:
    ours = {"init", *OF_TRAINING, *LENGTH}
    return {name: value for name, value in _of_model(run).items() if name not in ours}


def _trained_apart(run: FinishedRun, other: FinishedRun) -> list[str]:
    """The settings of a run's training that are not those of the other, and its length."""
    own, others = run.config.settings, other.config.settings
    told = [_setting(name, own[name]) for name in OF_TRAINING if own[name] != others[name]]
    steps = run.summary.steps
    return [*told, f"{steps} steps"] if steps != other.summary.steps else told


def _setting(name: str, value: Hashable) -> str:
    if name == "annealing":
        return f"annealing {schedules(value or {})}"
    return f"{name.replace('_', ' ')} {value}"


def schedules(annealing: Mapping[str, Sequence[float]]) -> str:
    """Of every annealed level: beta at the start and the end, and the share of training between."""
    told = [
        f"{level}: {start:g} to {end:g} in {share:.0%}"
        for level, (start, end, share) in annealing.items()
    ]
    return ", ".join(told) or "none"
