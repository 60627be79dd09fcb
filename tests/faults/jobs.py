"""What is killed and starved: a command on tiny data, how it goes on, and what it has done."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_vae.runs import RunDirectory
from pyro_vae.storage import load_checkpoint
from tests.conftest import QUICK, write_images

PAIR = ["--latent", "6", "3", "--hidden", "8", "--init", "random"]
TINY = [*QUICK, *PAIR, "--valid-size", "5", "--test-size", "5", "--eval-particles", "20"]
FIT = ["fit", *TINY, "--dataset", "images.npy", "--run-dir", "run", "--batch-size", "10"]
CAMPAIGN = ["--epochs", "2", "--jobs", "1", "--test-size", "5", "--eval-particles", "60", "--quiet"]
STUDY = ["study", "--models", "1", "2", "--seeds", "1", "--no-report", "--init", "random"]
STUDY += ["--dataset", "images.npy", "--hidden", "8", "--run-dir", "study", *CAMPAIGN]
TABLE = ["replicate", "--table", "burda-mnist", "--levels", "1", "--num-particles", "1"]
TABLE += ["--run-dir", "table", "--data-dir", "digits", *CAMPAIGN]
REPORT = ["report", "run", "--out", "report", "--jobs", "1", "--quiet"]
REPORT += ["--test-size", "5", "--eval-particles", "20", "--labelled-train", "20"]
REPORT += ["--labelled-test", "10", "--moment-draws", "3", "--weighted-groups", "2"]
REPORT += ["--patches", "4", "--weighted-patches", "2", "--draws", "5", "--stimuli", "3"]
REPORT += ["--refit-steps", "3"]
# Files of no fixed content: of locks, of checksums of files that hold times, and times themselves.
FREE = ("checksums.json", "plan.json", "minutes.json")
TIMES = ("training_minutes_of_this_call", "minutes", "generation")


@dataclass(frozen=True)
class Job:
    """A command that is killed and goes on.

    Attributes:
        prepare: makes what it needs in an empty folder, from one with a trained run.
        words: the command that begins or goes on, whatever lies in the folder.
        results: what it writes there.
    """

    name: str
    prepare: Callable[[Path, Path], None]
    words: Callable[[Path], Sequence[str]]
    results: Sequence[str]

    def outcome(self, folder: Path) -> dict[str, Any]:
        """What the results hold, file by file, without times."""
        return dict(sorted(contents(folder, self.results)))

    def done(self, folder: Path) -> int:
        """How much has been finished: epochs and files that lie there for good."""
        metrics = [*folder.rglob("metrics.csv")]
        epochs = sum(len(path.read_bytes().splitlines()) for path in metrics)
        names = ("summary.json", "*.npz", "codes.nc", "new.json")
        return epochs + sum(len([*folder.rglob(name)]) for name in names)


def contents(folder: Path, results: Sequence[str]):
    """(file, its content as it is compared) of everything that a job wrote."""
    for result in results:
        top = folder / result
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            locks = "claims" in path.parts or path.name in FREE or "previous" in path.name
            if path.is_file() and not locks:
                yield str(path.relative_to(folder)), content(path)


def content(path: Path) -> Any:
    if path.suffix == ".pt":
        return _plain(load_checkpoint(path))
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".npz":
        with np.load(path) as file:
            return {name: file[name].tobytes() for name in file.files}
    if path.suffix == ".nc":
        return _netcdf(path)
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return without_times(list(csv.reader(file)))
    if path.suffix == ".md":
        return without_times([line.split("|") for line in path.read_text().splitlines()])
    return hashlib.sha256(path.read_bytes()).hexdigest()


def without_times(rows: list[list[str]]) -> list[list[str]]:
    """Rows of a table, or lines of a page of tables, less the cells that are times.

    A column whose head says minutes or seconds goes, and so do lines of text that say them, and
    the command, which has --resume where it was given again.
    """
    kept, timed = [], set()
    for before, row in zip([[], *rows], rows, strict=False):
        if len(row) != len(before):  # a table begins
            timed = {i for i, cell in enumerate(row) if is_time(cell)}
        if len(row) > 1 or not (is_time(row[0]) or row[0].startswith("- command: ")):
            kept.append([cell for i, cell in enumerate(row) if i not in timed])
    return kept


def is_time(text: str) -> bool:
    return any(word in text for word in ("minutes", "seconds"))


def _plain(value: Any) -> Any:
    if torch.is_tensor(value):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if k not in TIMES}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return repr(value)


def _netcdf(path: Path) -> dict[str, Any]:
    import h5py

    found = {}
    with h5py.File(path) as file:

        def visit(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                found[name] = entry[()].tobytes() if entry.dtype.kind != "O" else repr(entry[()])

        file.visititems(visit)
    return found


def _images(home: Path, folder: Path) -> None:
    shutil.copy(home / "images.npy", folder)


def _run(home: Path, folder: Path) -> None:
    _images(home, folder)
    shutil.copytree(home / "run", folder / "run")


def _digits(home: Path, folder: Path) -> None:
    shutil.copytree(home / "digits", folder / "digits")


def _fit(*more: str) -> Callable[[Path], Sequence[str]]:
    def words(folder: Path) -> Sequence[str]:
        again = RunDirectory(folder / "run").config.is_file()
        return ["fit", "--resume", "--run-dir", "run", "--quiet"] if again else [*FIT, *more]

    return words


def _campaign(words: Sequence[str], folder_name: str) -> Callable[[Path], Sequence[str]]:
    def called(folder: Path) -> Sequence[str]:
        again = (folder / folder_name / "plan.json").is_file()
        return [*words, "--resume"] if again else words

    return called


EVALUATE = ["evaluate", "run", "images.npy", "--eval-particles", "40", "--size", "20"]
ENCODE = ["encode", "run", "images.npy"]
JOBS = [
    Job("training", _images, _fit("--epochs", "6", "--no-compile"), ["run"]),
    Job("evaluation", _run, lambda _: [*EVALUATE, "--out", "new.json", "--quiet"], ["new.json"]),
    Job("export", _run, lambda _: [*ENCODE, "--out", "codes.nc"], ["codes.nc"]),
    Job("table", _digits, _campaign(TABLE, "table"), ["table"]),
    Job("study", _images, _campaign(STUDY, "study"), ["study"]),
    Job("report", _run, lambda _: REPORT, ["report"]),
    Job("compiling", _images, _fit("--epochs", "2", "--compile"), ["run"]),
]


def prepare_home(home: Path, call: Callable[..., Any]) -> None:
    """The data of all jobs and a trained run; ``call`` runs a command."""
    write_images(home / "images.npy", rows=60)
    digits = home / "digits"
    digits.mkdir()
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (520, 4, 4), dtype=np.uint8)
    np.savez(digits / "mnist.npz", x_train=pixels[:500], x_test=pixels[500:])
    ended = call([*FIT, "--no-compile"], home)
    if ended.code != 0:
        raise RuntimeError(f"no run to begin with: {ended.err}")
