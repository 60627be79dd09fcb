"""How long a cell has taken, over all the calls that worked on it."""

from __future__ import annotations

import json
import time
from pathlib import Path

from pyro_vae.storage import write_text


class Clock:
    """Minutes spent on a cell, over all calls; kept in a small file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.before = json.loads(path.read_text()) if path.is_file() else 0.0
        self.started = time.monotonic()

    @property
    def minutes(self) -> float:
        return self.before + (time.monotonic() - self.started) / 60

    def add(self) -> None:
        write_text(self.path, json.dumps(self.minutes))
