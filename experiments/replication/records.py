"""The finished table as CSV: one line per cell and seed, all digits."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from experiments.campaign.cell import Place
from experiments.replication.published_table import Row
from experiments.replication.results import Result

if TYPE_CHECKING:
    from experiments.replication.rebuilt import Rebuilt


def csv_of(rebuilt: Rebuilt, name: str, version: str) -> str:
    """The text of ``table.csv``.

    Published numbers stand as ``NAME_published``, and as ``NAME_difference`` what ours is more,
    where it has the same name.

    Args:
        name: of the table. version: of pyro_vae, which trained all cells.
    """
    records = [
        {"table": name, "recipe": rebuilt.recipe_name}
        | _planned(rebuilt, row, place)
        | {"version": version}
        | _published(rebuilt, row)
        | (_found(rebuilt, row, result) if result is not None else {})
        for row in rebuilt.rows
        for place, result in rebuilt.of_cell(row.cell)
    ]
    names = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)
    return stream.getvalue()


def _planned(rebuilt: Rebuilt, row: Row, place: Place) -> dict[str, Any]:
    cell = row.cell
    return {
        "cell": cell.name,
        "levels": cell.levels,
        "num_particles": cell.num_particles,
        "objective": cell.objective,
        "seed": place.seed,
        "status": place.status,
        "epochs": cell.epochs(rebuilt.epochs),
        "share_of_recipe": round(rebuilt.share, 5),
        "test_images": rebuilt.test_size,
        "particles": rebuilt.particles,
    }


def _printed(rebuilt: Rebuilt, row: Row) -> dict[str, Any]:
    """Name -> published number."""
    published = row.published.get(rebuilt.recipe_name)
    return {} if published is None else published._asdict()


def _published(rebuilt: Rebuilt, row: Row) -> dict[str, Any]:
    return {f"{name}_published": value for name, value in _printed(rebuilt, row).items()}


def _found(rebuilt: Rebuilt, row: Row, result: Result) -> dict[str, Any]:
    printed, found = _printed(rebuilt, row), result.entries
    differences = {
        f"{name}_difference": found.get(name) - value
        for name, value in printed.items()
        if value is not None and name in found
    }
    return differences | dict(found)
