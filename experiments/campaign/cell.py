"""One training of a campaign: what is chosen for it, what it starts from, where its files lie."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyro_vae.options import options_of
from pyro_vae.programs import PairConfig
from pyro_vae.runs import RunDirectory, Summary
from pyro_vae.storage import write_text

_OF_PAIR = frozenset(named.name for named in options_of(PairConfig))


@dataclass(frozen=True)
class Cell:
    """What one row of a campaign's table trains; each of its seeds is a training.

    Attributes:
        name: what differs between cells, in letters and digits: its folder, without the seed.
        label: as the table names it.
        levels: of its model.
        objective, num_particles: as ``pyro_vae.make_objective`` takes them.
        settings: what else differs between cells, by the names of :func:`pyro_vae.runs.new_config`.
        start: the cell whose trained pair this one goes on training, or None; under another prior
            it goes on from the one that is refitted to that pair.
        share: of the epochs of the plan that it trains.
        most_seeds: of the plan's seeds; None for all.
    """

    name: str
    label: str
    levels: int
    objective: str
    num_particles: int
    settings: Mapping[str, Any] = field(default_factory=dict)
    start: Cell | None = None
    share: float = 1.0
    most_seeds: int | None = None

    @property
    def pair(self) -> tuple[tuple[str, Any], ...]:
        """What its pair has of its own: names and values of settings of ``PairConfig``."""
        return tuple(sorted(item for item in self.settings.items() if item[0] in _OF_PAIR))

    @property
    def kind(self) -> tuple[tuple[tuple[str, Any], ...], str, int]:
        """Cells of one kind take the same time to train, those of one pair to judge."""
        return self.pair, self.objective, self.num_particles

    def seeds(self, planned: int) -> range:
        """Its seeds, where so many are planned."""
        return range(planned if self.most_seeds is None else min(planned, self.most_seeds))

    def epochs(self, planned: int) -> int:
        """Epochs of its own training, where so many are planned."""
        return max(1, round(self.share * planned))


def chains(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells that start afresh, each followed by those that go on from it."""
    found: dict[str, list[Cell]] = {}
    for cell in cells:
        first = cell.start or cell
        chain = found.setdefault(first.name, [first])
        if cell.start is not None:
            chain.append(cell)
    return list(found.values())


@dataclass(frozen=True)
class Place:
    """Where the files of a cell's seed lie: a run directory, which ``pyro_vae.load_run`` opens.

    Attributes:
        folder: of the campaign's run directories.
    """

    folder: Path
    cell: Cell
    seed: int

    @property
    def name(self) -> str:
        return f"{self.cell.name}-seed{self.seed}"

    @property
    def directory(self) -> RunDirectory:
        return RunDirectory(self.folder / self.name)

    @property
    def claim(self) -> RunDirectory:
        """Its lock is held while the cell is looked at or trained.

        A run locks its own directory too, but only once it has loaded its data.
        """
        return RunDirectory(self.folder.parent / "claims" / self.name)

    @property
    def failure(self) -> Path:
        """Why the last attempt failed, where it did; the next one starts from the checkpoint."""
        return self.directory.path / "failure.txt"

    @property
    def divergence(self) -> Path:
        """Where training diverged, if it did; it would again, so it is not tried again."""
        return self.directory.path / "diverged.txt"

    @property
    def start(self) -> Place | None:
        """Where the cell that this one starts from lies."""
        return None if self.cell.start is None else Place(self.folder, self.cell.start, self.seed)

    @property
    def finished(self) -> bool:
        return self.directory.summary.is_file()

    @property
    def diverged(self) -> bool:
        return self.divergence.is_file()

    @property
    def status(self) -> str:
        """finished, diverged, failed or not finished."""
        if self.finished:
            return "finished"
        if self.diverged:
            return "diverged"
        return "failed" if self.failure.is_file() else "not finished"

    def read_summary(self) -> Summary | None:
        """The estimates on test data, or None while there are none."""
        if not self.finished:
            return None
        return Summary.of(self.directory.read_summary(), self.directory.summary)

    def write_divergence(self, reason: str) -> str:
        """Write down why it diverged; what became of the cell."""
        write_text(self.divergence, f"{reason}\n")
        return f"diverged: {reason}"

    def read_divergence(self) -> str:
        """Why it diverged."""
        return self.divergence.read_text(encoding="utf-8").strip()
