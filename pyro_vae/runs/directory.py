"""Run directories: ``config.json``, ``metrics.csv``, ``checkpoint.pt``, ``summary.json``, ...

==================  ===============================================================================
file                content
==================  ===============================================================================
config.json         every setting of the run, its data, its seed, its command and the versions
metrics.csv         one row per epoch, row 0 before training; nats per datum on held-out data
checkpoint.pt       parameters, optimiser, position and generators: what a resume needs; the best
                    weights too, where --patience keeps them. checkpoint.previous.pt is the one
                    before, which a resume takes where this one is damaged
summary.json        estimates on the test data after training
model_card.md       all that told to people, and what the run should not be used for
posterior.nc        ArviZ data
preprocessing.npz   what turned images into rows, for new images
checksums.json      SHA-256 of config, metrics, summary and posterior, which readers compare
figures/            pictures
model.safetensors   parameters and buffers alone, in a folder of ``pyro-vae pack`` instead of the
                    checkpoint
tensorboard/        curves, where --tensorboard asks for them
==================  ===============================================================================
"""

from __future__ import annotations

import contextlib
import csv
import difflib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

from pyro_vae.errors import InputError, InUse
from pyro_vae.export import netcdf_bytes
from pyro_vae.runs.config import RunConfig
from pyro_vae.runs.migrations import check_whole, read_config
from pyro_vae.storage import Checksums, json_text, previous, sweep, write_text
from pyro_vae.training.progress import Row

if TYPE_CHECKING:
    from pyro_vae.export.arviz_forms import ArvizData


class RunDirectory:
    """The files of one run, by name."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoint = self.path / "checkpoint.pt"
        self.summary = self.path / "summary.json"
        self.weights = self.path / "model.safetensors"
        self.card = self.path / "model_card.md"
        self.posterior = self.path / "posterior.nc"
        self.preprocessing = self.path / "preprocessing.npz"
        self.figures = self.path / "figures"
        self._checksums = Checksums(self.path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Refuse a second process in this directory, where the system has file locks."""
        self.path.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise InUse(f"another process is running in {self.path}") from error
        try:
            sweep(self.path)
            yield
        finally:
            os.close(handle)

    def write_metrics(self, history: list[Row]) -> None:
        """Write one CSV row per epoch; numbers keep all their digits."""
        stream = io.StringIO()
        writer = csv.DictWriter(stream, fieldnames=list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        self._checksums.write(self.metrics, stream.getvalue().encode())

    def copy_metrics(self, other: RunDirectory) -> None:
        """Take the metrics of another run, where it has any."""
        if other.metrics.is_file():
            self._checksums.write(self.metrics, other._checksums.read(other.metrics))

    def write_config(self, config: RunConfig) -> None:
        content = json.dumps(config.entries(), indent=2) + "\n"
        self._checksums.write(self.config, content.encode())

    def write_posterior(self, posterior: ArvizData) -> None:
        """Write ``posterior.nc``, which ``arviz.from_netcdf`` opens."""
        self._checksums.write(self.posterior, netcdf_bytes(posterior))

    def write_summary(self, summary: dict[str, Any]) -> None:
        self._checksums.write(self.summary, (json_text(summary, indent=2) + "\n").encode())

    def check_posterior(self) -> None:
        """InputError where ``posterior.nc`` is missing, or not as it was written."""
        self._checksums.read(self.posterior)

    @staticmethod
    def write_json(path: Path, content: dict[str, Any]) -> None:
        """Write JSON; numbers that are not finite become null, which every parser reads."""
        write_text(path, json_text(content, indent=2) + "\n")

    def check_config(self) -> None:
        """InputError where ``config.json`` lacks what a run needs to go on."""
        check_whole(_read_json(self.config), self.config)

    @property
    def holds_checkpoint(self) -> bool:
        """Whether a resume has something to go on from."""
        return self.checkpoint.is_file() or previous(self.checkpoint).is_file()

    @property
    def never_saved(self) -> bool:
        """Whether the run was killed after its config and before its first checkpoint."""
        later = self.holds_checkpoint or self.metrics.is_file() or self.weights.is_file()
        return self.config.is_file() and not later

    def read_config(self) -> RunConfig:
        """The configuration, whatever version wrote it.

        Raises:
            InputError: there is no such run, or its ``config.json`` is damaged.
        """
        if not self.config.is_file():
            raise self._no_run()
        return self.read_config_file(self.config)

    @staticmethod
    def read_config_file(path: Path) -> RunConfig:
        """The configuration of a ``config.json``, wherever it lies."""
        return read_config(_read_json(path), path)

    def _no_run(self) -> InputError:
        beside = sorted(path.parent.name for path in self.path.parent.glob("*/config.json"))
        near = difflib.get_close_matches(self.path.name, beside, n=3, cutoff=0.5)
        runs = ", ".join(str(self.path.parent / name) for name in near or beside[-3:])
        return InputError(
            f"there is no run in {self.path}: it has no {self.config.name}"
            + (f"; runs beside it: {runs}" if runs else "")
        )

    def read_summary(self) -> dict[str, Any]:
        return _read_json(self.summary)

    def read_metrics(self) -> dict[str, list[float]]:
        """Columns of ``metrics.csv``; InputError where the file is missing or damaged."""
        content = self._checksums.read(self.metrics)
        try:
            rows = list(csv.DictReader(io.StringIO(content.decode(), newline="")))
            return {name: [float(row[name]) for row in rows] for name in (rows[0] if rows else {})}
        except (TypeError, ValueError, csv.Error) as error:
            raise InputError(f"{self.metrics} is damaged: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(Checksums(path.parent).read(path).decode())
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is damaged: it holds no table of settings")
    return content
