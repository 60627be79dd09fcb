"""Rows of the tables of Burda et al. 2016 and Arnal et al. 2021: cells beside published numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from experiments.campaign.cell import Cell
from experiments.replication.published import ARNAL_SWITCHING, BURDA_SWITCHING, Published
from experiments.replication.published_table import Row

RECIPES = ("burda", "mlmi4")
# Of cells that go on from another: the share of its epochs, and the learning rate, in both papers.
SECOND_STAGE = 3**7 / 3_280
SECOND_STAGE_RATE = 1e-4
_LABELS = {"elbo": "VAE", "iwae": "IWAE", "beta-vae": "L_alpha"}


def cell_of(
    levels: int,
    objective: str,
    num_particles: int,
    settings: Mapping[str, Any] | None = None,
    start: Cell | None = None,
) -> Cell:
    """A model of one or two levels of Burda et al. 2016 (https://arxiv.org/abs/1509.00519).

    Args:
        levels: 1 (``burda1``) or 2 (``burda2``).
        objective, num_particles, settings: as ``pyro_vae.make_objective`` takes them.
        start: the cell whose trained pair this one goes on training, at its own learning rate and
            for its own share of the epochs.
    """
    settings = settings or {}
    written = "".join(f"-{key}{value:g}" for key, value in settings.items())
    name, label = (
        f"{objective}-k{num_particles}{written}",
        _label(objective, num_particles, settings),
    )
    chosen = {"model": f"burda{levels}", **settings}
    if start is None:
        return Cell(f"{levels}L-{name}", label, levels, objective, num_particles, chosen)
    return Cell(
        name=f"{start.name}-then-{name}",
        label=f"{start.label} k = {start.num_particles}, then {label}",
        levels=levels,
        objective=objective,
        num_particles=num_particles,
        settings=chosen | {"lr_stages": (SECOND_STAGE_RATE,)},
        start=start,
        share=SECOND_STAGE,
    )


def _label(objective: str, num_particles: int, settings: Mapping[str, Any]) -> str:
    """The objective as the papers name it."""
    name = _LABELS.get(objective, objective.upper())
    if objective == "beta-vae":
        name += ", alpha = {beta:g}".format(**settings)
    elif objective == "miwae":
        inner = settings.get("inner", 1)
        name += f" ({inner}, {num_particles // inner})"
    elif settings:
        name += ", " + ", ".join(f"{key} = {value:g}" for key, value in settings.items())
    return name


def densities(*sources: tuple[str, Mapping]) -> tuple[Row, ...]:
    """VAE and IWAE rows of tables (levels, k) -> (VAE, IWAE)."""
    rows = []
    for levels, k in sources[0][1]:
        for place, objective in enumerate(("elbo", "iwae")):
            if k == 1 and objective == "iwae":
                continue
            known = {
                recipe: table[levels, k][place] for recipe, table in sources if (levels, k) in table
            }
            rows.append(Row(cell_of(levels, objective, k), known))
    return tuple(rows)


def of_arnal(cells: Iterable[tuple[Cell, Published]]) -> tuple[Row, ...]:
    """Rows that Arnal et al. 2021 alone print: compared with them under both recipes."""
    return tuple(Row(cell, dict.fromkeys(RECIPES, row)) for cell, row in cells)


def switches() -> tuple[Row, ...]:
    """First and second stages of the tables that switch the objective."""
    rows = []
    for key in ARNAL_SWITCHING:
        first = cell_of(1, key[0], key[1])
        second = cell_of(1, key[2], key[3], start=first)
        sources = (("mlmi4", ARNAL_SWITCHING), ("burda", BURDA_SWITCHING))
        known = {recipe: table[key] for recipe, table in sources if key in table}
        for place, cell in enumerate((first, second)):
            rows.append(Row(cell, {recipe: pair[place] for recipe, pair in known.items()}))
    return tuple({row.cell.name: row for row in rows}.values())
