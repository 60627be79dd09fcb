"""What the analysis wants to know of a run, read once from its ``config.json`` and summary."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro_vae.datasets.identity import Fingerprint
from pyro_vae.errors import InputError
from pyro_vae.objectives import CATALOGUE, SETTINGS, num_proposals

REQUIRED = ("model", "guide", "objective", "num_particles", "num_pixels", "seed", "data_settings")


@dataclass(frozen=True)
class RunFacts:
    """Settings of a run, and what it wrote down about its data.

    Attributes:
        model, guide, objective: by name. num_particles: k. num_pixels: D of a row.
        data_settings: what ``load_dataset`` is called with. data: ``Dataset.info`` of training.
        data_checksum, data_sketch: fingerprint of the rows that the run was trained on; None and
            empty where none was written.
        settings: of the objective.
        annealing: level -> (beta at the start, at the end, share of training between).
        versions: of the libraries.
    """

    model: str = ""
    guide: str = "topdown"
    objective: str = ""
    num_particles: int = 1
    num_pixels: int | None = None
    seed: int = 0
    data_settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    data_checksum: str | None = None
    data_sketch: tuple[float, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    annealing: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    batch_size: int | None = None
    lr: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Any, source: object = "config.json") -> RunFacts:
        """The facts of a run's configuration, or of the entries of its file.

        Raises:
            InputError: an entry is missing; ``source`` is named.
        """
        entries = _entries(config)
        for name in (*REQUIRED, "data"):
            if name not in entries:
                raise InputError(f"{source} lacks the entry {name!r}")
        known = {one.name for one in dataclasses.fields(cls)}
        given = {name: value for name, value in entries.items() if name in known}
        given |= {"settings": {name: entries.get(name) for name in SETTINGS}}
        return cls(**{name: value for name, value in given.items() if value is not None})

    @property
    def title(self) -> str:
        """What papers call a model of this objective."""
        known = self.objective in CATALOGUE
        return CATALOGUE[self.objective].title if known else self.objective

    @property
    def proposals(self) -> int:
        """Proposals behind each draw of what training fitted to the posterior; 1: the guide q.

        Read from the catalogue of objectives, as the draws in the run's ``posterior.nc`` are.
        """
        return num_proposals(self.objective, self.num_particles, self.settings)

    @property
    def fingerprint(self) -> Fingerprint | None:
        """Of the rows that the run was trained on; runs of versions up to 0.4 have none."""
        if self.data_checksum is None:
            return None
        return Fingerprint(self.data_checksum, tuple(self.data_sketch))

    @property
    def counts(self) -> Mapping[str, int]:
        """Rows of every split when the run was trained."""
        return self.data["counts"]


@dataclass(frozen=True)
class SummaryFacts:
    """What ``summary.json`` says of training and of the test data; None for what it lacks."""

    epochs: int | None = None
    steps: int | None = None
    reconstruction: float | None = None
    reconstruction_error: float | None = None
    test_data: int | None = None

    @classmethod
    def of(cls, summary: Any) -> SummaryFacts:
        """The facts of a summary, or of the entries of its file."""
        entries = _entries(summary)
        trained, judged = entries.get("run", {}), entries.get("settings", {})
        found = entries.get("test", {}).get("reconstruction", {})
        return cls(
            trained.get("epochs"),
            trained.get("steps"),
            found.get("mean"),
            found.get("standard_error"),
            judged.get("test_data"),
        )


def _entries(content: Any) -> Mapping[str, Any]:
    return content if isinstance(content, Mapping) else content.entries()
