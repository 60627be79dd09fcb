"""One cell of a study: claimed, then trained and evaluated by ``fit.py`` itself."""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from pathlib import Path

import torch

from experiments import fit
from experiments.side_by_side import EpochLines, stop_without, told
from experiments.study.plan import Cell, Plan
from pyro_vae.errors import InputError, InUse
from pyro_vae.runs import RunDirectory

LOOK_EVERY_SECONDS = 0.5


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
        where = ["--run-dir", str(directory.path), "--device", torch.device(plan.device).type]
        if data_dir is not None:
            where += ["--data-dir", data_dir]
        flags = ["--resume"] if _to_be_continued(directory) else cell.flags(plan)
        if threads is not None:
            torch.set_num_threads(threads)
        lines = EpochLines(cell.name, plan.epochs, quiet)
        with watched(directory, lines, parent), contextlib.redirect_stdout(io.StringIO()):
            code = fit.run([*flags, *where, "--quiet"])
        return "stopped" if code else "finished"


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


@contextlib.contextmanager
def watched(directory: RunDirectory, lines: EpochLines, parent: int | None) -> Iterator[None]:
    """Tell of the epochs in ``metrics.csv`` as they come; stop the training of a gone parent."""
    done = threading.Event()
    before = _last_row(directory)
    seen = None if before is None else before["epoch"]

    def look() -> None:
        nonlocal seen
        row = _last_row(directory)
        if row is not None and row["epoch"] != seen:
            seen = row["epoch"]
            lines.say(row)

    def watch() -> None:
        while not done.wait(LOOK_EVERY_SECONDS):
            look()
            # Before there are metrics nothing catches the signal yet, nor is anything lost.
            if seen is not None and stop_without(parent):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        look()


def _last_row(directory: RunDirectory) -> dict[str, float] | None:
    try:
        columns = directory.read_metrics()
    except InputError:  # not there yet
        return None
    return {name: column[-1] for name, column in columns.items()} or None
