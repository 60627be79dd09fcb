"""What a folder of results was made with, and which of it a later call may change."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from experiments.campaign.cell import Cell, Place
from pyro_vae.errors import InputError
from pyro_vae.storage import write_text
from pyro_vae.version import __version__


class Selection(Protocol):
    """Which cells a campaign has: a frozen dataclass, whose fields stand in ``plan.json``."""

    @property
    def cells(self) -> list[Cell]:
        """Every cell once, those that others start from before them."""
        ...

    def extended(self, asked: Selection, folder: Path) -> Selection:
        """With the cells that a later call asks for; InputError where it leaves some out."""
        ...


@dataclass(frozen=True)
class Request:
    """What a call asks for; None, or absent from ``shared``, where it leaves a setting open.

    Attributes:
        selection: the cells. shared: settings of all cells. The others are those of :class:`Plan`.
    """

    selection: Any = None
    shared: Mapping[str, Any] = field(default_factory=dict)
    seeds: int | None = None
    epochs: int | None = None
    budget_minutes: float | None = None
    device: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a folder was made with; a resume takes it from ``plan.json``.

    Attributes:
        selection: the cells.
        shared: settings that all cells have, by the names of :func:`pyro_vae.runs.new_config`; None
            where the data have no such setting.
        seeds: of every cell, 0 to seeds - 1.
        epochs: of every cell that starts afresh.
        budget_minutes: None where the epochs were given.
        device: that torch was found to have.
        data_dir, jobs: of the call that made the plan; later ones may have others.
        version: of pyro_vae, of that call.
    """

    selection: Any
    shared: Mapping[str, Any]
    seeds: int
    epochs: int
    budget_minutes: float | None
    device: str
    data_dir: str | None
    jobs: int
    version: str = __version__

    @property
    def cells(self) -> list[Cell]:
        return self.selection.cells

    @property
    def trainings(self) -> list[tuple[Cell, int]]:
        """Every cell with each of its seeds, cell by cell."""
        return [(cell, seed) for cell in self.cells for seed in cell.seeds(self.seeds)]

    def places(self, folder: Path) -> list[Place]:
        """Where they lie. Args: folder: of the campaign's run directories."""
        return [Place(folder, cell, seed) for cell, seed in self.trainings]

    def write(self, path: Path) -> None:
        content = dataclasses.asdict(self)
        content = content.pop("selection") | content
        write_text(path, json.dumps(content, indent=2) + "\n")

    def resumed(self, asked: Request, folder: Path) -> Plan:
        """The plan with what a call may add: cells and seeds. Nothing else may differ.

        Raises:
            InputError: names the first setting that is another one than planned.
        """
        wanted = {**asked.shared, "epochs": asked.epochs, "budget_minutes": asked.budget_minutes}
        planned = {**self.shared, "epochs": self.epochs, "budget_minutes": self.budget_minutes}
        wanted |= {"device": asked.device}
        planned |= {"device": self.device.partition(":")[0]}
        for name, value in wanted.items():
            if value is not None and value != planned[name]:
                raise InputError(
                    f"{folder} was planned with {name} = {planned[name]}, not {value}; go on with "
                    "the same, or name another --run-dir"
                )
        if asked.seeds is not None and asked.seeds < self.seeds:
            raise InputError(
                f"{folder} was planned with {self.seeds} seeds; a resume may add some, not leave "
                f"out any: --seeds {asked.seeds}"
            )
        return dataclasses.replace(
            self,
            selection=self.selection.extended(asked.selection, folder),
            seeds=self.seeds if asked.seeds is None else asked.seeds,
        )


def read_plan(path: Path, selection: type) -> Plan:
    """The plan of a folder, of this version or an earlier one.

    Args:
        selection: of the campaign, see :class:`Selection`.

    Raises:
        InputError: the file is damaged, or of another campaign.
    """
    try:
        content = _of_0_4(json.loads(path.read_text(encoding="utf-8")))
        names = [one.name for one in dataclasses.fields(selection)]
        chosen = {name: frozen(content.pop(name)) for name in names}
        shared = {name: frozen(value) for name, value in content.pop("shared").items()}
        plan = Plan(selection=selection(**chosen), shared=shared, **content)
        _ = plan.cells
        return plan
    except InputError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged: {error!r}") from error


def _of_0_4(content: dict[str, Any]) -> dict[str, Any]:
    """Up to 0.4 tables had shared settings beside the others, studies one start and one rate."""
    if "table" in content and "shared" not in content:
        names = {"recipe": "recipe", "test_size": "test_size", "particles": "eval_particles"}
        content |= {"shared": {new: content.pop(old) for old, new in names.items()}}
        content |= {"data_dir": None}
    if "models" in content:
        content = {"from_random": False, "rates": ()} | content
        first = {"init": "random", "recipe": None, "hidden": None}
        content["shared"] = first | content["shared"]
    return content


def frozen(value: Any) -> Any:
    """Lists, of JSON and of the command line, as tuples."""
    return tuple(value) if isinstance(value, list) else value
