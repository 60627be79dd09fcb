"""kill -9 at random moments, again and again, until the job is done; then the same as unbroken."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.faults.children import Ended, call
from tests.faults.jobs import Job


@dataclass
class Counts:
    """What became of a job under its faults.

    Attributes:
        faults: that were made. finished: times that it was carried to its end between them.
        wrong: what should not have happened, a line each.
    """

    name: str
    faults: int = 0
    finished: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.faults} faults, {self.refused} ended in one line, "
            f"{self.finished} times finished and equal, {len(self.wrong)} wrong"
        )


@dataclass(frozen=True)
class Reference:
    """An unbroken run of a job.

    Attributes:
        home: with its data. outcome: what it writes. ended: how it ends.
    """

    job: Job
    home: Path
    outcome: dict
    ended: Ended

    @classmethod
    def of(cls, job: Job, home: Path, scratch: Path) -> Reference:
        folder = fresh(job, home, scratch / f"{job.name}-unbroken")
        ended = call(job.words(folder), folder)
        if ended.code not in (0, 1) or "Traceback" in ended.err:
            raise RuntimeError(f"{job.name} does not run here: {ended.code} {ended.err}")
        return cls(job, home, job.outcome(folder), ended)

    def compare(self, folder: Path, ended: Ended, counts: Counts) -> None:
        """Count a job that was carried to its end: its code and files are the unbroken ones."""
        if ended.code != self.ended.code:
            counts.wrong.append(f"ended with {ended.code}, not {self.ended.code}: {last(ended)}")
            return
        found = self.job.outcome(folder)
        names = found.keys() | self.outcome.keys()
        differ = sorted(name for name in names if found.get(name) != self.outcome.get(name))
        if differ:
            counts.wrong.append(f"other than unbroken: {', '.join(differ[:4])}")
        else:
            counts.finished += 1


def last(ended: Ended) -> str:
    """The end of what a command said."""
    return " / ".join(ended.err.strip().splitlines()[-2:])[-300:]


def fresh(job: Job, home: Path, folder: Path) -> Path:
    """An empty folder with what the job needs."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(home, folder)
    return folder


def killed(reference: Reference, scratch: Path, kills: int, seed: int = 0) -> Counts:
    """Kill a job so often at moments drawn uniformly over its length, going on after each."""
    job, rng = reference.job, np.random.default_rng(seed)
    counts = Counts(f"{job.name} killed")
    folder, done = fresh(job, reference.home, scratch / job.name), 0
    while True:
        moment = rng.uniform(0, reference.ended.seconds) if counts.faults < kills else None
        ended = call(job.words(folder), folder, moment)
        if ended.code == -9:
            counts.faults += 1
            before, done = done, job.done(folder)
            if done < before:
                counts.wrong.append(f"{before} things were finished, {done} after a kill")
            continue
        reference.compare(folder, ended, counts)
        if counts.faults >= kills:
            return counts
        folder, done = fresh(job, reference.home, folder), 0
