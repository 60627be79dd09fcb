"""``make fuzz MINUTES=10``: changed files for every reader, and random command lines.

    python -m tests.fuzz --minutes 10
    python -m tests.fuzz --case a.npz:123

A reader may give something or refuse in one line (``InputError``); a command may end with 0, 1 or 2
and, unless with 0, one line. All else is printed with the case, which can be repeated by name.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from pyro_vae.cli import main as pyro_vae
from pyro_vae.errors import InputError
from pyro_vae.runs import job
from tests.conftest import run_fit, write_images
from tests.fuzz.changes import changed
from tests.fuzz.files import Kind, every_kind
from tests.fuzz.words import command_line

SLOW = 60  # seconds of a case; 200 million pixels take ten on a machine that is free
MEMORY = 8 * 2**30  # of this process, in bytes
WORDS = "words"  # the kind of cases that are command lines


@dataclass
class Found:
    """What the cases of a kind gave."""

    counts: Counter = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class Reached(InputError):
    """A command line that is in order: training would begin."""


class TooSlow(BaseException):
    """A case that takes longer than ``SLOW`` seconds."""


def read_case(kind: Kind, number: int, folder: Path) -> str:
    """Read a changed file; "read", "refused", or what went wrong."""
    folder.mkdir()
    (folder / kind.name).write_bytes(changed(kind.content, random.Random(f"{kind.name}:{number}")))
    return outcome(lambda: kind.read(folder))


def outcome(call: Callable[[], object]) -> str:
    """What a reader did."""
    try:
        with limited(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except InputError as error:
        return "refused" if "\n" not in str(error) else f"several lines: {error}"
    except TooSlow:
        return f"took more than {SLOW} s"
    except BaseException:
        return traceback.format_exc()
    return "read"


def words_case(number: int, folder: Path) -> str:
    """Give a command line to ``pyro-vae`` in a folder with a run; what it did."""
    words = command_line(random.Random(f"{WORDS}:{number}"))
    err = io.StringIO()
    try:
        with (
            limited(),
            contextlib.chdir(folder),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(err),
        ):
            code = pyro_vae(words)
    except TooSlow:
        return f"{words} took more than {SLOW} s"
    except BaseException:
        return f"{words}\n{traceback.format_exc()}"
    shown = [line.rpartition("\r")[2] for line in err.getvalue().split("\n")]  # bars are erased
    lines = [line for line in shown if line.strip() and ": warning: " not in line]
    if "--json" in words:  # which has what else would be on stdout there
        lines = lines[-1:]
    if code not in (0, 1, 2) or (code and len(lines) != 1):
        return f"{words} ended with {code}: {err.getvalue()}"
    return "carried out" if code == 0 else "refused"


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """TooSlow after ``SLOW`` seconds."""

    def late(*_: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SLOW)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def cases(kinds: list[Kind], folder: Path, minutes: float, first: int) -> dict[str, Found]:
    """Cases of every kind in turn, numbered from ``first``, until the time is over."""
    found = {name: Found() for name in (WORDS, *(kind.name for kind in kinds))}
    deadline, number = time.monotonic() + 60 * minutes, first
    while time.monotonic() < deadline:
        for kind in kinds:
            _note(
                found[kind.name], f"{kind.name}:{number}", read_case(kind, number, folder / "case")
            )
            shutil.rmtree(folder / "case")
        for each in range(4):
            case = 4 * number + each
            _note(found[WORDS], f"{WORDS}:{case}", words_case(case, folder))
        number += 1
    return found


def _note(found: Found, case: str, told: str) -> None:
    if told in ("read", "refused", "carried out"):
        found.counts[told] += 1
        return
    found.counts["wrong"] += 1
    last = told.strip().splitlines()[-1]
    if last not in found.wrong:
        found.wrong.append(last)
        print(f"{case}: {told}", flush=True)


def prepare(folder: Path) -> list[Kind]:
    """A folder with data and a run, where nothing trains any more; the kinds of files."""
    write_images(folder / "images.npy", rows=20)
    with contextlib.redirect_stdout(io.StringIO()):
        code = run_fit("--dataset", folder / "images.npy", "--run-dir", folder / "run")
    if code != 0:
        raise RuntimeError("no run to begin with")

    def reached(*arguments: object, **settings: object) -> None:
        raise Reached("training would begin")

    job.fit_pair = reached
    return every_kind(folder / "run")


def main(arguments: list[str] | None = None) -> int:
    """Run the cases; 1 where something went wrong."""
    p = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    p.add_argument("--minutes", type=float, default=10.0, metavar="M", help="default: 10")
    p.add_argument("--first", type=int, default=0, metavar="N", help="number of the first case")
    p.add_argument("--case", metavar="KIND:N", help="this case alone")
    flags = p.parse_args(arguments)
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="pyro-vae-fuzz-"))
    try:
        kinds = prepare(folder)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))
        if flags.case is not None:
            name, _, number = flags.case.rpartition(":")
            of_files = {kind.name: kind for kind in kinds}
            if name == WORDS:
                print(words_case(int(number), folder))
            else:
                print(read_case(of_files[name], int(number), folder / "case"))
            return 0
        found = cases(kinds, folder, flags.minutes, flags.first)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for name, one in found.items():
        print(f"{name:26}" + ", ".join(f"{count} {what}" for what, count in one.counts.items()))
    wrong = sum(one.counts["wrong"] for one in found.values())
    total = sum(one.counts.total() for one in found.values())
    print(f"{total} cases, {wrong} wrong, in {flags.minutes:g} minutes")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
