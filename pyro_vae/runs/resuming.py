"""Runs that go on: what a resume may change of their configuration, and what it says of that."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pyro_vae.errors import InputError, check_choice
from pyro_vae.objectives import OBJECTIVES, SETTINGS
from pyro_vae.options import resolved
from pyro_vae.runs.config import OPTIONS, RunConfig
from pyro_vae.runs.directory import RunDirectory
from pyro_vae.runs.loading import load_to_resume
from pyro_vae.runs.resolving import FLAGS, annealing_of, check_config, flag_of, thin_of

_MAY_CHANGE = {named.name for named in OPTIONS if named.option.may_change} | {*SETTINGS}


def resume_config(run_dir: str | Path, given: dict[str, Any]) -> RunConfig:
    """The configuration of a run that goes on, with the settings that a resume may change.

    Raises:
        InputError: the run's files are damaged, or a setting cannot change.
    """
    # Checks the files before anything of the run is written; metrics.csv is written anew from what
    # the checkpoint holds.
    directory = RunDirectory(run_dir)
    if directory.never_saved:
        stored, epochs = directory.read_config(), 0
    else:
        run, epochs = load_to_resume(run_dir)
        stored = run.config
    directory.check_config()
    return resumed_config(stored, given, epochs)


def resume_notices(directory: RunDirectory, config: RunConfig) -> Iterator[str]:
    """What may surprise in a run that goes on by ``config``, a line each.

    Schedules are functions of the share of training done, so another number of epochs moves them.
    """
    try:
        done = int(directory.read_metrics()["epoch"][-1])
    except (InputError, LookupError):  # a resume writes them anew
        return
    training, before = config.training, resolved(directory.read_config().training.epochs)
    epochs = resolved(training.epochs)
    scheduled = [
        f"the beta of {name}" for name, ramp in training.schedules.items() if ramp.fraction
    ]
    rate = training.lr_schedule
    if rate is not None and not getattr(rate, "counts_steps", False):
        scheduled.insert(0, "the learning rate")
    if done >= epochs:
        yield f"the run has done {done} epochs of {epochs} already: it is judged again"
    elif epochs != before and scheduled:
        way = "back" if epochs > before else "ahead"
        yield (
            f"{epochs} epochs instead of {before}: the share of training done is "
            f"{done / epochs:.0%} now, not {done / before:.0%}, and by it go {way} "
            f"{' and '.join(scheduled)}"
        )


def resumed_config(stored: RunConfig, given: Mapping[str, Any], epochs_done: int) -> RunConfig:
    """The stored configuration with those of the given settings that a resume may change.

    Args:
        epochs_done: of the run; one that has ended is not renamed by another objective.

    Raises:
        InputError: a setting that belongs to the run is given another value.
    """
    if given.get("objective") is not None:
        check_choice("objective", given["objective"], OBJECTIVES)
    values = SimpleNamespace(**stored.settings)
    for name, value in given.items():
        check_choice("setting", name, FLAGS)
        if name == "annealing":
            value = annealing_of(value, len(stored.pair.architecture.units))
        if name not in _MAY_CHANGE and getattr(values, name) != value:
            kept = getattr(values, name)
            if name == "lr" and values.lr_stages:
                kept = f"the stages {', '.join(f'{rate:.2g}' for rate in values.lr_stages)}"
            flag = "--no-anneal" if name == "annealing" and not value else flag_of(name)
            raise InputError(f"{flag} {value} cannot change on --resume: the run has {kept}")
    vars(values).update(given)
    if values.objective != stored.objective.name:
        # Settings and estimator belong to the objective that was; those of the new one are given.
        vars(values).update({name: given.get(name) for name in (*SETTINGS, "estimator")})
    if given.keys() & {"thin", "num_particles", "objective", "chunk_size"}:
        values.thin = thin_of(values, given.get("thin", "auto"))
    values.annealing = stored.training.annealing
    config = RunConfig.from_settings(vars(values), stored.facts)
    check_config(config)
    return _with_history(stored, config, epochs_done)


def _with_history(stored: RunConfig, config: RunConfig, epochs_done: int) -> RunConfig:
    """Write down until where another objective trained; refuse to rename a finished run."""
    before, now = _identity(stored), _identity(config)
    if before == now:
        return config
    if epochs_done >= resolved(config.training.epochs):
        raise InputError(
            f"the run has finished its {epochs_done} epochs with objective "
            f"{stored.objective.name} and k = {stored.objective.num_particles}; to go on with "
            f"another one give --epochs above {epochs_done}"
        )
    earlier = (*config.facts.earlier_objectives, {"until_epoch": epochs_done, **before})
    return config.with_facts(earlier_objectives=earlier)


def _identity(config: RunConfig) -> dict[str, Any]:
    values = config.settings
    names = ("objective", "num_particles", "estimator", *SETTINGS)
    return {name: values[name] for name in names if values[name] is not None}
