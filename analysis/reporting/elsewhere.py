"""The runs of a report, as other processes that measure and draw them read them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from analysis.reporting.measurements import MEASUREMENTS
from analysis.reporting.store import Store
from analysis.reporting.study import Settings, Study, load_study


@dataclass(frozen=True)
class Source:
    """From what a process reads the study of a report.

    Attributes:
        paths: run directories. settings: how much is measured. store: folder of measurements.
        began: when the report was begun, ns: a process that lives on, and works on a later report
            of the same runs, reads them again, since they may be others.
    """

    paths: tuple[Path, ...]
    settings: Settings
    store: Path
    began: int = field(default_factory=time.time_ns)


@lru_cache(maxsize=1)
def study_of(source: Source) -> Study:
    """Runs and data, read once by each process: what measures them draws them later."""
    return load_study(source.paths, source.settings, Store(source.store, MEASUREMENTS))
