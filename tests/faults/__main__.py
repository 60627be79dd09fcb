"""``make faults``: kills and shortages, counted.

    python -m tests.faults --kills 50
    python -m tests.faults --kills 3 --jobs training export --only kills

Prints a line for each job and fault, and ends with 1 where anything went wrong. Full disks want a
user who may mount a tmpfs (root), and are left out with the reason where there is none.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import torch

from tests.faults import jobs, shortages
from tests.faults.children import call
from tests.faults.kills import Counts, Reference, killed

KINDS = ("kills", "disk", "read-only", "files", "memory", "two")
IMPORTED = (
    "torch._inductor.compile_fx",
    "matplotlib.pyplot",
    "pandas",
    "scipy.sparse",
    "sklearn.decomposition",
    "xarray",
    "analysis.report",
    "experiments.replicate",
    "experiments.td_iwae",
)
TWICE = ("training", "table", "study")  # which two processes may share a folder of
DISK = (0, 8, 40, 120, 400)  # kilobytes that are left
FILES = (4, 16, 64, 256)  # kilobytes of the largest file, which what is said goes to as well
MEMORY = (4, 16, 48, 96)  # megabytes


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.split("\n")[0])
    names = [job.name for job in jobs.JOBS]
    p.add_argument("--kills", type=int, default=50, metavar="N", help="of each job (default: 50)")
    for flag, allowed in (("--jobs", names), ("--only", KINDS)):
        p.add_argument(flag, nargs="+", default=allowed, choices=allowed, help="default: all")
    p.add_argument("--seed", type=int, default=0, help="of the moments")
    return p


def warm() -> None:
    """Import what the commands import, so that forked processes need not."""
    for name in IMPORTED:
        importlib.import_module(name)
    torch.set_num_threads(1)


def faults_of(
    reference: Reference, scratch: Path, flags: argparse.Namespace
) -> Iterator[tuple[str, Callable[[], Counts]]]:
    """(kind, what makes the faults of that kind and counts them)."""
    yield "kills", partial(killed, reference, scratch, flags.kills, flags.seed)
    yield "disk", partial(shortages.full_disk, reference, scratch, DISK)
    yield "read-only", partial(shortages.read_only, reference, scratch)
    for kind, limits in (
        ("files", shortages.limited_files(FILES)),
        ("memory", shortages.limited_memory(MEMORY)),
    ):
        yield kind, partial(shortages.starved, reference, scratch, kind, limits)
    if reference.job.name in TWICE:
        yield "two", partial(shortages.two_at_once, reference, scratch, 3)


def main(arguments: list[str] | None = None) -> int:
    """Make the faults; 1 where something went wrong."""
    flags = parser().parse_args(arguments)
    started, wrong, total = time.monotonic(), 0, 0
    warm()
    scratch = Path(tempfile.mkdtemp(prefix="pyro-vae-faults-"))
    scratch.chmod(0o755)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(scratch / "compiled")
    try:
        home = scratch / "home"
        home.mkdir()
        jobs.prepare_home(home, call)
        for job in jobs.JOBS:
            if job.name not in flags.jobs:
                continue
            reference = Reference.of(job, home, scratch)
            print(f"{job.name}: unbroken in {reference.ended.seconds:.1f} s", flush=True)
            for kind, make in faults_of(reference, scratch, flags):
                if kind not in flags.only:
                    continue
                try:
                    counts = make()
                except OSError as error:
                    print(f"{job.name}, {kind}: left out: {error}", flush=True)
                    continue
                print(counts, flush=True)
                for line in counts.wrong:
                    print(f"    {line}", flush=True)
                wrong, total = wrong + len(counts.wrong), total + counts.faults
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    minutes = (time.monotonic() - started) / 60
    print(f"{total} faults, {wrong} wrong, {minutes:.1f} minutes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
