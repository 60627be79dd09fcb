"""What the runs of a report are called, by what sets them apart, and which runs are twins."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from analysis.reporting.finished import FinishedRun

if TYPE_CHECKING:
    from analysis.reporting.study import Subject

GUIDES = {"topdown": "top-down", "meanfield": "mean-field", "bottomup": "bottom-up"}
STARTS = {"data": "start from the data", "random": "random start"}
NO_ANNEALING = ", no annealing"  # what the label of a run without annealing ends with
# Settings that a label has in its own words, and those that change no model.
IN_WORDS = {"guide", "init", "objective", "num_particles", "annealing", "inner"}
NO_MODEL = {"seed", "data_seed", "data_dir", "note", "recipe", "device", "compile", "chunk_size"}
NO_MODEL |= {"precision", "valid_size", "test_size", "eval_particles"}
NO_MODEL |= {"posterior_data", "posterior_draws", "image_shape"}
MAX_SETTINGS = 3  # that a label names


def labels(runs: Sequence[FinishedRun]) -> list[str]:
    """A label per run, the same for runs that differ in their seed alone.

    Vas 2024's names of models, vanilla (closed-form KL) or k = ..., others by their objective;
    the guide and the start where the runs differ in them: "top-down, k = 3" beside "mean-field,
    k = 3". Runs that would still share label and seed have the settings that differ, and
    their folder where none does.
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


def random_twin(subject: Subject, subjects: Sequence[Subject]) -> Subject | None:
    """The run that differs from this one in its start alone, which is random; None for none."""
    if subject.run.config.pair.init == "random":
        return None

    def but_for_start(one: Subject) -> tuple:
        return one.seed, {**_of_model(one.run), "init": None}

    own = but_for_start(subject)
    for other in subjects:
        if other.run.config.pair.init == "random" and but_for_start(other) == own:
            return other
    return None
