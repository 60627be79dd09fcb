"""What ``summary.json`` holds: the estimates on test data, active units, and how training ended."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyro_vae.training import FitResult


@dataclass(frozen=True)
class LevelActivity:
    """Active units of one level: by unit, by principal direction, and how many there are."""

    active: int
    pca_active: int
    units: int


@dataclass(frozen=True)
class Judged:
    """How much was judged, and with how many particles."""

    test_data: int
    particles: int
    bound_particles: int
    activity_threshold: float
    activity_data: int
    activity_samples: int
    unit: str = "nats per datum"


@dataclass(frozen=True)
class RunSummary:
    """How training ended."""

    stopped: str
    epochs: int
    steps: int
    compiled: bool
    training_minutes_of_this_call: float

    @classmethod
    def of(cls, fitted: FitResult) -> RunSummary:
        """From what :func:`pyro_vae.fit` returned."""
        return cls(
            stopped=fitted.stopped,
            epochs=int(fitted.history[-1]["epoch"]),
            steps=fitted.steps,
            compiled=fitted.compiled,
            training_minutes_of_this_call=fitted.minutes,
        )


@dataclass(frozen=True)
class Summary:
    """The content of ``summary.json``.

    Attributes:
        test: name -> mean over the test data with its standard error, nats per datum.
        warning: what k-hat says of the estimates, or None.
        active_units: level -> its active units.
        settings: how much was judged.
        run: how training ended.
    """

    test: Mapping[str, Mapping[str, float]]
    warning: str | None
    active_units: Mapping[str, LevelActivity]
    settings: Judged
    run: RunSummary

    def entries(self) -> dict[str, Any]:
        """The content, as JSON has it."""
        return dataclasses.asdict(self)
