"""What a run keeps beside its own files: estimates of every test datum, and the time it took."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pyro_vae.storage import write_text, write_whole

PER_DATUM = "per_datum.npz"


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Write arrays by name, whole or not at all."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **columns)
    write_whole(path, stream.getvalue())


class Clock:
    """Minutes spent on a run, over all calls; kept in a small file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = json.loads(path.read_text()) if path.is_file() else 0.0
        self.started = time.monotonic()

    @property
    def minutes(self) -> float:
        return self.before + (time.monotonic() - self.started) / 60

    def add(self) -> None:
        write_text(self.path, json.dumps(self.minutes))
