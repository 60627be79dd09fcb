"""Cells of an experiment trained side by side: claimed, watched, told of, and stopped together."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from joblib import Parallel
from joblib.externals.loky.process_executor import TerminatedWorkerError

from pyro_vae.errors import InUse, check_count
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import write_text

SAY_EVERY_SECONDS = 60.0


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


def run_all(
    command: str, calls: list, jobs: int, say: Callable[[str], None]
) -> tuple[str | None, bool]:
    """Run the calls side by side; what cut them off, or None, and whether a cell failed.

    Args:
        command: its name, for the lines on stderr.
        calls: of ``joblib.delayed``; each returns pairs of a cell's name and what became of it, and
            "stopped" ends the others.
    """
    failed = False
    before = signal.getsignal(signal.SIGTERM)
    if jobs == 1:  # in this process, where signals reach the training itself
        outcomes = (function(*args, **kwargs) for function, args, kwargs in calls)
    else:
        outcomes = Parallel(n_jobs=jobs, return_as="generator_unordered")(calls)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill is like Ctrl-C
    try:
        for named in outcomes:
            for name, outcome in named:
                say(f"{name}: {outcome}")
                if outcome == "stopped":
                    return "stopped", failed
                if outcome.startswith("failed"):
                    failed = True
                    print(f"{command}: {name} {outcome}; the others go on", file=sys.stderr)
    except KeyboardInterrupt:
        return "interrupted", failed
    except TerminatedWorkerError:
        return "a process was killed, perhaps for its memory", True
    finally:
        signal.signal(signal.SIGTERM, before)
        outcomes.close()
    return None, failed


def ending(command: str, cut_off: str | None, failed: bool) -> int:
    """The exit code: 130 for what was cut off, 1 where a cell failed, else 0."""
    if cut_off is not None:
        print(f"{command}: {cut_off}; with --resume it goes on", file=sys.stderr)
    return 1 if failed else 0 if cut_off is None else 130


def told(failure: Path, error: Exception) -> str:
    """What became of a cell that failed, in a line; the whole story goes to the file."""
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    write_text(failure, "".join(traceback.format_exception(error)))
    return f"failed: {reason} (see {failure})"


def stop_without(parent: int | None) -> bool:
    """Ask this process's training to stop, with a checkpoint, where nobody waits for it.

    Returns:
        whether it was asked; asking twice would kill it.
    """
    gone = parent is not None and os.getppid() != parent
    if gone:
        signal.raise_signal(signal.SIGTERM)
    return gone


class EpochLines:
    """A line on stderr for a cell's epochs, one a minute and the last."""

    def __init__(self, name: str, epochs: int, quiet: bool = False) -> None:
        self.name, self.epochs, self.quiet = name, epochs, quiet
        self.said, self.stream = -math.inf, sys.stderr

    def say(self, row: Mapping[str, Any]) -> None:
        """Args: row: of the history, or of ``metrics.csv``."""
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
