"""One cell of a study: claimed, then trained and evaluated as ``fit.py`` does it."""

from __future__ import annotations

from pathlib import Path

import torch

from experiments.side_by_side import EpochLines, stop_without, told
from experiments.study.plan import Cell, Plan
from pyro_vae.cli import pictures
from pyro_vae.errors import InUse
from pyro_vae.runs import Hooks, RunDirectory, new_config, resume_config, train


def run_cell(
    folder: Path,
    plan: Plan,
    cell: Cell,
    data_dir: str | None,
    threads: int | None,
    quiet: bool,
    parent: int | None = None,
) -> list[tuple[str, str]]:
    """Train a cell, or go on with it; its name and what became of it. Others go on if it fails.

    Args:
        parent: the process that this one works for; when it is gone, training stops.
    """
    try:
        outcome = _claimed(folder, plan, cell, data_dir, threads, quiet, parent)
    except InUse:
        outcome = "another process is at it"
    except Exception as error:
        outcome = told(cell.failure(folder), error)
    return [(cell.name, outcome)]


def _claimed(folder, plan: Plan, cell: Cell, data_dir, threads, quiet, parent) -> str:
    # fit.py locks the run directory itself, but only once it has loaded the data.
    with RunDirectory(folder / "claims" / cell.name).locked():
        directory = cell.directory(folder)
        if directory.config.is_file():
            cell.check_run(plan, directory.read_config())
        if cell.finished(folder):
            return "done before"
        cell.failure(folder).unlink(missing_ok=True)
        changes = {"device": torch.device(plan.device).type}
        if data_dir is not None:
            changes["data_dir"] = data_dir
        if threads is not None:
            torch.set_num_threads(threads)
        resume = _to_be_continued(directory)
        if resume:
            config = resume_config(directory.path, changes)
        else:
            config = new_config(cell.settings(plan) | changes)
        lines = EpochLines(cell.name, plan.epochs, quiet)

        def on_epoch(history) -> None:
            lines.say(history[-1])
            stop_without(parent)

        hooks = Hooks(
            on_epoch=on_epoch, on_finish=lambda found: pictures.draw(found, lambda line: None)
        )
        outcome = train(config, directory, hooks, resume=resume)
        return "finished" if outcome.fitted.signal is None else "stopped"


def _to_be_continued(directory: RunDirectory) -> bool:
    """Whether there is a checkpoint; a config without one, of a run that never began, goes."""
    if directory.checkpoint.is_file():
        return True
    if directory.config.is_file():
        with directory.locked():  # a run by hand may be about to save its first
            if directory.checkpoint.is_file():
                return True
            directory.config.unlink()
    return False
