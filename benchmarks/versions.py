"""Printed numbers and times of this version of the library against those of an earlier one.

    python benchmarks/versions.py HEAD~20
    python benchmarks/versions.py HEAD~20 --cases td image --rounds 5

Every case is a short training with its evaluation, run as a user would by ``experiments/fit.py``,
on photographs that scikit-image brings and on scanned digits of scikit-learn. The earlier version
is checked out into a folder of its own, for the time of the comparison. The two are run in turns,
in an order that changes every round, each with the same seed and on one thread.
Printed are, for each case,

- every number of ``summary.json`` and of the last row of ``metrics.csv`` that is another one now,
  with both values and, where it has a standard error, the change in standard errors (of paired
  runs: the data and the noise are the same, so that an unchanged computation gives an unchanged
  number); how many are the same to the last bit, and how many to rounding, within a thousandth;
- the ratio of processor time, now over then, median and quartiles over rounds. Compilation takes
  part in it only where a case compiles.

The exit code is 1 where a number changed by more than rounding or a case is slower than
``--slower``: changes that are meant have a line in ``CHANGELOG.md``.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.turns import Spread

HERE = Path(__file__).resolve().parents[1]
SMALL = "--epochs 1 --test-size 100 --eval-particles 500 --no-compile --precision float32 --quiet"
CASES = {
    "td": "--guide topdown --num-particles 50 --num-train 2000",
    "td-random": "--guide topdown --num-particles 50 --num-train 2000 --init random",
    "elbo": "--guide topdown --objective elbo-analytic --num-particles 1 --num-train 2000",
    "dreg": "--guide bottomup --objective dreg --num-particles 10 --num-train 2000 --init random",
    "burda2": "--model burda2 --dataset digits.npy --num-particles 5",
    "mixture": "--model burda1 --dataset digits.npy --num-particles 5 --prior mixture",
    "image": "--model image --preset conv-small --dataset digits.npy",
    "ssvae": "--model ssvae --guide meanfield --dataset digits.npy",
}
ROUNDING = 1e-3  # relative, at most; orders of summation grow over the steps of a run
# What a run says of its own time, place and version.
OF_THE_RUN = ("minutes", "seconds", "time", "version", "date", "path", "command", "host", "memory")


@dataclass(frozen=True)
class Outcome:
    """Numbers of a run by their names, standard errors of some, and its processor time."""

    numbers: Mapping[str, float]
    errors: Mapping[str, float]
    seconds: float


@dataclass(frozen=True)
class Change:
    """A number that is another one now; ``error``: its standard error then, where it has one."""

    name: str
    then: float
    now: float
    error: float | None

    @property
    def relative(self) -> float:
        """Of the larger of both."""
        return abs(self.now - self.then) / max(abs(self.now), abs(self.then))

    def __str__(self) -> str:
        far = ""
        if self.error:
            far = f"   {(self.now - self.then) / self.error:+.3f} standard errors"
        return f"  {self.name:44} {self.then:>14.6g} -> {self.now:>14.6g}{far}"


def flattened(content: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a nested JSON value, by their dotted names; those of the run itself left out."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if not any(word in key for word in OF_THE_RUN):
                yield from flattened(value, f"{name}.{key}" if name else key)
    elif isinstance(content, list):
        for index, value in enumerate(content):
            yield from flattened(value, f"{name}.{index}")
    elif isinstance(content, (int, float)) and not isinstance(content, bool):
        yield name, float(content)


def read_run(run_dir: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Numbers of a run directory, and the standard errors of those that have one."""
    numbers = dict(flattened(json.loads((run_dir / "summary.json").read_text())))
    with (run_dir / "metrics.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    for key, text in last.items():
        if text and not any(word in key for word in OF_THE_RUN):
            numbers[f"metrics.{key}"] = float(text)
    errors = {
        name: numbers[f"{stem}.standard_error"]
        for name in numbers
        if (stem := name.removesuffix(".mean")) != name and f"{stem}.standard_error" in numbers
    }
    return numbers, errors


def changes(then: Outcome, now: Outcome) -> list[Change]:
    """Numbers that both have and that differ; NaN is the same as NaN."""
    both = [name for name in then.numbers if name in now.numbers]
    differ = (
        Change(name, then.numbers[name], now.numbers[name], then.errors.get(name)) for name in both
    )
    return [c for c in differ if c.then != c.now and not (math.isnan(c.then) and math.isnan(c.now))]


def run(checkout: Path, case: str, run_dir: Path) -> Outcome:
    """One case by the ``fit.py`` of a checkout.

    Raises:
        SystemExit: it failed; what it printed is shown.
    """
    flags = f"{CASES[case]} {SMALL} --seed 0".split()
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    flags = [str(digits(run_dir.parent)) if flag == "digits.npy" else flag for flag in flags]
    command = [sys.executable, "experiments/fit.py", *flags, "--run-dir", str(run_dir)]
    before = _processor_time()
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )
    taken = _processor_time() - before
    if done.returncode:
        raise SystemExit(f"{case} failed in {checkout}:\n{done.stdout}{done.stderr}")
    return Outcome(*read_run(run_dir), taken)


def digits(folder: Path) -> Path:
    """A file with scikit-learn's 1797 digits as 8 x 8 images of levels up to 255."""
    images = np.rint(load_digits().images * (255 / 16)).astype(np.uint8)
    path = folder / "digits.npy"
    np.save(path, images)
    return path


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@contextmanager
def checked_out(version: str) -> Iterator[Path]:
    """A folder with that version of the repository, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "then"
        _git("worktree", "add", "--quiet", "--detach", str(path), version)
        try:
            yield path
        finally:
            _git("worktree", "remove", "--force", str(path))


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"git {words[0]}: {done.stderr.strip()}")


def compare(case: str, then: Path, rounds: int) -> tuple[list[Change], int, Spread]:
    """Changes of a case, how many numbers both versions have, and the ratio of times."""
    outcomes: dict[Path, list[Outcome]] = {HERE: [], then: []}
    for turn in range(rounds):
        for checkout in (HERE, then) if turn % 2 else (then, HERE):
            with tempfile.TemporaryDirectory() as folder:
                outcomes[checkout].append(run(checkout, case, Path(folder) / "run"))
    old, new = outcomes[then], outcomes[HERE]
    shared = len(old[0].numbers.keys() & new[0].numbers.keys())
    ratios = [b.seconds / a.seconds for a, b in zip(old, new, strict=True)]
    return changes(old[0], new[0]), shared, Spread.of(ratios)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", help="the earlier one: a tag, branch or commit")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=CASES, metavar="NAME")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each version (default: 3)")
    parser.add_argument(
        "--slower", type=float, default=0.03, help="share that is too much (default: 0.03)"
    )
    flags = parser.parse_args(arguments)
    bad = 0
    with checked_out(flags.version) as then:
        for case in flags.cases:
            changed, shared, ratio = compare(case, then, flags.rounds)
            slow = ratio.median > 1 + flags.slower
            rounded = [c for c in changed if c.relative <= ROUNDING]
            others = [c for c in changed if c.relative > ROUNDING]
            bad += bool(others) or slow
            same = f"{shared - len(changed)} of {shared} numbers are the same"
            if rounded:
                largest = max(c.relative for c in rounded)
                same += f", {len(rounded)} but for rounding (at most {largest:.0e} of a number)"
            print(
                f"{case}: {same}; processor time {ratio.median:.3f} "
                f"[{ratio.lower:.3f}, {ratio.upper:.3f}] of the earlier version's"
                f"{' - slower' if slow else ''}",
                flush=True,
            )
            for change in others:
                print(change, flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
