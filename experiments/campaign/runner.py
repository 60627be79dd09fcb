"""Cells claimed, trained or continued, told of, and stopped together."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError

from experiments.campaign.campaign import Campaign
from experiments.campaign.cell import Place, chains
from experiments.campaign.plan import Plan
from experiments.campaign.taking_over import take_over
from pyro_vae.datasets import Dataset, load_dataset
from pyro_vae.errors import InputError, InUse, TrainingDiverged, check_count
from pyro_vae.runs import Hooks, RunConfig, RunDirectory, new_config, resume_config, train
from pyro_vae.storage import write_text
from pyro_vae.training.progress import Row

SAY_EVERY_SECONDS = 60.0
# Settings that change no number beyond rounding: a run that was trained by hand may differ in them.
FREE = {"data_dir", "device", "compile", "chunk_size", "precision"}

Told = list[tuple[str, str]]  # names of cells, and what became of them


@dataclass(frozen=True)
class Work:
    """What a process that trains cells has to know.

    Attributes:
        folder: of the results. data_dir: where data files lie now.
        threads: of this process; None leaves them.
        parent: the process that this one works for; when it is gone, training stops.
    """

    campaign: Campaign
    plan: Plan
    folder: Path
    data_dir: str | None = None
    threads: int | None = None
    quiet: bool = False
    parent: int | None = None

    @property
    def room(self) -> Path:
        """The folder of the run directories."""
        return self.folder / self.campaign.room


def workers(jobs: int | None, device: torch.device) -> tuple[int, int | None]:
    """(cells at a time, threads of each): by default one per CPU core, one on a GPU."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    on_gpu = device.type == "cuda"
    jobs = check_count("--jobs", (1 if on_gpu else cores) if jobs is None else jobs)
    return jobs, None if on_gpu else max(1, cores // jobs)


@contextlib.contextmanager
def waiting_for(folder: Path, seconds: float = 600.0) -> Iterator[None]:
    """The folder's lock; several processes that start at once make one plan."""
    deadline = time.monotonic() + seconds
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(RunDirectory(folder).locked())
                break
            except InUse:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
        yield


def train_all(
    prog: str, work: Work, jobs: int, say: Callable[[str], None]
) -> tuple[str | None, bool]:
    """Train all cells, ``jobs`` at a time; what cut them off, or None, and whether a cell failed.

    Args:
        prog: the command as it was typed, for the lines on stderr.
    """
    work = dataclasses.replace(work, parent=os.getpid() if jobs > 1 else None)
    tasks = [
        [Place(work.room, cell, seed) for cell in chain if seed in cell.seeds(work.plan.seeds)]
        for seed in range(work.plan.seeds)
        for chain in chains(work.plan.cells)
    ]
    # The longest first, so that none is left alone at the end.
    tasks.sort(key=lambda places: -max((p.cell.num_particles for p in places), default=0))
    calls = [delayed(train_chain)(work, places) for places in tasks if places]
    failed = False
    before = signal.getsignal(signal.SIGTERM)
    if jobs == 1:  # in this process, where signals reach the training itself
        outcomes = (function(*args, **kwargs) for function, args, kwargs in calls)
    else:
        outcomes = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill is like Ctrl-C
    try:
        for told in outcomes:
            for name, outcome in told:
                say(f"{name}: {outcome}")
                if outcome == "stopped":
                    return "stopped", failed
                if outcome.startswith("failed"):
                    failed = True
                    print(f"{prog}: {name} {outcome}; the others go on", file=sys.stderr)
    except KeyboardInterrupt:
        return "interrupted", failed
    except TerminatedWorkerError:
        return "a process was killed, perhaps for its memory", True
    finally:
        signal.signal(signal.SIGTERM, before)
        outcomes.close()
        _load.cache_clear()
    return None, failed


def ending(prog: str, cut_off: str | None, failed: bool) -> int:
    """The exit code: 130 for what was cut off, 1 where a cell failed, else 0."""
    if cut_off is not None:
        print(f"{prog}: {cut_off}; with --resume it goes on", file=sys.stderr)
    return 1 if failed else 0 if cut_off is None else 130


def train_chain(work: Work, places: Sequence[Place]) -> Told:
    """Train cells one after the other, or go on with them; a cell that fails ends no other."""
    if work.threads is not None:
        torch.set_num_threads(work.threads)
    told = []
    for place in places:
        try:
            with place.claim.locked():
                outcome = _train(work, place)
        except InUse:
            outcome = "another process is at it"
        except Exception as error:
            outcome = _told(place.failure, error)
        told.append((place.name, outcome))
        if outcome == "stopped":
            break
    return told


def _train(work: Work, place: Place) -> str:
    """What becomes of a cell that this process has claimed."""
    plan, directory, start = work.plan, place.directory, place.start
    planned = work.campaign.config(plan, place.cell, place.seed)
    if directory.config.is_file():
        check_run(place.name, planned, directory.read_config())
    if place.finished:
        return "done before"
    if place.diverged:
        return "diverged before"
    if start is not None and not start.finished:
        if start.diverged:
            return place.write_divergence(f"{start.name}, from which it starts, diverged")
        return f"waits for {start.name}, from which it starts"
    place.failure.unlink(missing_ok=True)
    changes: dict[str, Any] = {"device": torch.device(plan.device).type}
    if work.data_dir is not None:
        changes["data_dir"] = work.data_dir
    resume = to_be_continued(directory)
    config = resume_config(directory.path, changes) if resume else new_config(changes, planned)
    if start is not None:
        config = config.with_facts(other={**config.facts.other, "started_from": start.name})
    try:
        data = _data_of(config)
        hooks = _hooks(work, place, config, data)
        outcome = train(config, directory, hooks, data=data, resume=resume)
    except TrainingDiverged as error:
        return place.write_divergence(str(error))
    return "finished" if outcome.fitted.signal is None else "stopped"


def _hooks(work: Work, place: Place, config: RunConfig, data: Dataset) -> Hooks:
    """The campaign's, with a line for the epochs and a look at who waits for this process."""
    given = work.campaign.hooks(work.plan, place)
    lines = EpochLines(place.name, place.cell.epochs(work.plan.epochs), work.quiet)

    def on_epoch(history: list[Row]) -> None:
        lines.say(history[-1])
        stop_without(work.parent)

    def initialise(model: torch.nn.Module, guide: torch.nn.Module) -> None:
        if place.start is not None:
            take_over(place.start, model, guide, config, data)

    return given.also(on_epoch=on_epoch, initialise=initialise)


def check_run(name: str, planned: RunConfig, stored: RunConfig) -> None:
    """InputError where a run, perhaps trained by hand, has other settings than the plan."""
    found = stored.settings
    for setting, wanted in planned.settings.items():
        if setting not in FREE and found[setting] != wanted:
            raise InputError(
                f"{name} holds a run with {setting} = {found[setting]}, the plan has {wanted}; "
                "move it away, or name another --run-dir"
            )


def to_be_continued(directory: RunDirectory) -> bool:
    """Whether there is a checkpoint; a config without one, of a run that never began, goes."""
    if directory.holds_checkpoint:
        return True
    if directory.config.is_file():
        with directory.locked():  # a run by hand may be about to save its first
            if directory.holds_checkpoint:
                return True
            directory.config.unlink()
    return False


def _data_of(config: RunConfig) -> Dataset:
    """The data of a run; cells that follow each other in a process may share them."""
    return _load(tuple(config.data_arguments.items()))


@lru_cache(maxsize=1)
def _load(arguments: tuple[tuple[str, Any], ...]) -> Dataset:
    return load_dataset(**dict(arguments))


def _told(failure: Path, error: Exception) -> str:
    """What became of a cell that failed, in a line; the whole story goes to the file."""
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    write_text(failure, "".join(traceback.format_exception(error)))
    return f"failed: {reason} (see {failure})"


def stop_without(parent: int | None) -> None:
    """Ask this process's training to stop, with a checkpoint, where nobody waits for it."""
    if parent is not None and os.getppid() != parent:
        signal.raise_signal(signal.SIGTERM)


class EpochLines:
    """A line on stderr for a cell's epochs, one a minute and the last."""

    def __init__(self, name: str, epochs: int, quiet: bool = False) -> None:
        self.name, self.epochs, self.quiet = name, epochs, quiet
        self.said, self.stream = -math.inf, sys.stderr

    def say(self, row: Row) -> None:
        """Args: row: of the history."""
        now, epoch = time.monotonic(), int(row["epoch"])
        if self.quiet or (now - self.said <= SAY_EVERY_SECONDS and epoch != self.epochs):
            return
        self.said = now
        print(
            f"{self.name}: epoch {epoch} of {self.epochs}, validation ELBO {row['elbo']:.2f}, "
            f"L_k {row['bound']:.2f}",
            file=self.stream,
            flush=True,
        )
