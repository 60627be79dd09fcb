"""The finished table as Markdown, and as CSV, from the results that there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.campaign.plan import Plan
from experiments.replication.published_table import Row
from experiments.replication.rebuilt import Rebuilt
from experiments.replication.recipe_text import recipe_lines
from experiments.replication.records import csv_of
from pyro_vae.storage import write_text


def write_table(folder: Path, runs: Path, plan: Plan, facts: Sequence[str]) -> tuple[Path, Path]:
    """Write ``table.md`` and ``table.csv``.

    Args:
        folder: of the results. runs: of the run directories. facts: lines on how they were made.
    """
    rebuilt = Rebuilt.of(runs, plan)
    table = rebuilt.table
    lines = [f"# {table.title}", "", *(f"- {fact}" for fact in [*recipe_lines(rebuilt), *facts])]
    lines += ["", _pipes([column.head for column in table.columns])]
    lines += ["|" + "---|" * len(table.columns)]
    lines += [_line(rebuilt, row) for row in rebuilt.rows]
    lines += ["", *_reading(rebuilt)]
    markdown, comma = folder / "table.md", folder / "table.csv"
    write_text(markdown, "\n".join(lines) + "\n")
    write_text(comma, csv_of(rebuilt, plan.selection.table, plan.version))
    return markdown, comma


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _line(rebuilt: Rebuilt, row: Row) -> str:
    """A row; the first column that is found, and not known, also says what is not finished."""
    places, results = rebuilt.of_cell(row.cell), rebuilt.finished(row.cell)
    columns = rebuilt.table.columns
    texts = [one.text(rebuilt, row) if one.known or results else "" for one in columns]
    first = next((place for place, one in enumerate(columns) if not one.known), None)
    if first is not None and not results:
        texts[first] = ", ".join(sorted({place.status for place, _ in places}))
    elif first is not None and len(results) < len(places):
        texts[first] += f" ({len(results)} of {len(places)} seeds)"
    return _pipes(texts)


def _reading(rebuilt: Rebuilt) -> list[str]:
    """What the columns mean, how far the numbers can be trusted, and the table's notes."""
    table = rebuilt.table
    meanings = [column.meaning for column in table.columns if column.meaning]
    lines = [" ".join(meanings).format(particles=rebuilt.particles), ""]
    if rebuilt.found:
        lines += [f"- {remark(rebuilt)}" for remark in table.remarks]
    lines += [
        f"- {place.name} diverged: {place.read_divergence()}"
        for row in rebuilt.rows
        for place, result in rebuilt.of_cell(row.cell)
        if result is None and place.diverged
    ]
    return lines + [f"- {note}" for note in table.notes]
