"""The finished table as CSV: one line per cell and seed, all digits."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from experiments.campaign.cell import Place
from experiments.replication.results import Result
from experiments.replication.table_rows import Row

if TYPE_CHECKING:
    from experiments.replication.render import Rebuilt


def csv_of(rebuilt: Rebuilt, name: str, version: str) -> str:
    """The text of ``table.csv``.

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
        for place, result in rebuilt.of(row.cell)
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


def _published(rebuilt: Rebuilt, row: Row) -> dict[str, Any]:
    published = row.published.get(rebuilt.recipe_name)
    return {
        "nll_published": published and published.nll,
        "active_published": published and published.active,
        "pca_published": published and published.pca,
        "kl_published": published and published.kl,
    }


def _found(rebuilt: Rebuilt, row: Row, result: Result) -> dict[str, Any]:
    published = row.published.get(rebuilt.recipe_name)
    estimate = result.summary.estimate
    return {
        "nll": result.nll,
        "nll_standard_error": result.log_likelihood.standard_error,
        "difference": published and result.nll - published.nll,
        "elbo": estimate("elbo").mean,
        "bound": estimate("bound").mean,
        "kl_to_posterior": result.kl_to_posterior,
        "reconstruction": estimate("reconstruction").mean,
        "khat_above_0.7": result.khat_share,
        "pruning_cost": result.pruning_cost.mean,
        **{
            f"active_{definition}_{level}": count
            for definition in ("test", "pca", "burda")
            for level, count in result.active_units(definition).items()
        },
        "minutes": round(result.minutes, 3),
    }
