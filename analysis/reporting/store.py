"""Measurements kept on disk, so that a report that was cut off, or is drawn anew, goes on."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import pyro_vae
from analysis.measures.by_name import Named
from pyro_vae.datasets.reading import readable
from pyro_vae.errors import InputError, check_choice
from pyro_vae.runs import RunDirectory
from pyro_vae.storage import write_whole

if TYPE_CHECKING:
    from analysis.reporting.study import Subject


@dataclass(frozen=True)
class Measurement:
    """How something is measured on a run.

    Attributes:
        compute: arrays from a subject.
        settings: names of the ``Settings`` that it depends on.
        reads: names of other measurements that it is made from, whose settings count too.
    """

    compute: Callable[[Subject], Named]
    settings: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()


class Store:
    """A folder of ``.npz`` files, each named by what it was measured on and how.

    A file is read back only for the same checkpoint, settings and version of the library; no
    pickles are read.
    """

    def __init__(self, folder: Path, measurements: Mapping[str, Measurement]) -> None:
        self.folder, self.measurements = folder, measurements
        self._digests: dict[Path, str] = {}

    def get(self, subject: Subject, name: str) -> Named:
        """The named measurement of a subject; computed where there is no whole file of it."""
        path = self.path(subject, name)
        if path.is_file():
            try:
                return read(path)
            except InputError as error:
                warnings.warn(f"{error}; measured again", stacklevel=2)
        arrays = Named(self.measurements[name].compute(subject))
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, stream.getvalue())
        return arrays

    def missing(self, subject: Subject) -> list[str]:
        """Names of the measurements of a subject that have no file yet."""
        return [name for name in self.measurements if not self.path(subject, name).is_file()]

    def path(self, subject: Subject, name: str) -> Path:
        """The file of a measurement."""
        check_choice("measurement", name, self.measurements)
        run = subject.run.path
        if run not in self._digests:
            checkpoint = RunDirectory(run).checkpoint.read_bytes()
            self._digests[run] = hashlib.sha256(checkpoint).hexdigest()
        chosen = {key: getattr(subject.settings, key) for key in sorted(self._settings(name))}
        what = json.dumps([self._digests[run], chosen, pyro_vae.__version__])
        digest = hashlib.sha256(what.encode()).hexdigest()[:12]
        return self.folder / run.name / f"{name}-{digest}.npz"

    def _settings(self, name: str) -> set[str]:
        measurement = self.measurements[name]
        return set(measurement.settings).union(*map(self._settings, measurement.reads))


def read(path: Path) -> Named:
    """The arrays of a file, whose checksums are compared; InputError where one is wrong."""
    with (
        readable(path, "measurement"),
        open(path, "rb") as stream,
        np.load(stream, allow_pickle=False) as file,
    ):
        found = Named({name: file[name] for name in file.files})
        if not all(isinstance(array, np.ndarray) for array in found.values()):
            raise InputError(f"{path} is not a readable measurement: it holds more than arrays")
        return found
