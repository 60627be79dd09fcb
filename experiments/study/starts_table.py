"""What is the start's and what is training's: each model before its first step and after its last.

Twins from random weights stand below the models of the same seed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from experiments.study.trained import ABOVE_GAP, FILTERS, START, Trained, over_seeds, pipes

# Column -> its title and decimals.
_COLUMNS = {
    FILTERS: ("localised filters", 1),
    ABOVE_GAP: ("units of z1 above the gap", 1),
    "active_z2": ("active units of z2", 1),
    "elbo": ("ELBO", 2),
    "bound": ("L_k at own k", 2),
    "log_likelihood": ("log p(x)", 2),
}
_HEAD = ["model", "starts from", "seeds", "", *(title for title, _ in _COLUMNS.values())]


def starts(found: Sequence[Trained]) -> list[str]:
    """Lines of the section on starts; none where nothing is finished."""
    done = [one for one in found if one.annealed and not one.swept and one.summary is not None]
    mains, twins = ([one for one in done if one.twin is twin] for twin in (False, True))
    if not mains:
        return []
    lines = [
        "## Before and after training",
        "",
        "The start alone is the pair before its first step, on the same test data; its log p(x) is "
        "not estimated. A seed is left out where activity has no clear gap or filters were not "
        "counted (those of random weights are noise); n counts those that are there.",
        "",
        *pipes(_HEAD, _pairs(mains)),
        "",
    ]
    return lines + (_twins(mains, twins) if twins else [])


def _twins(mains: Sequence[Trained], twins: Sequence[Trained]) -> list[str]:
    known = {(one.place.cell.label, one.place.seed) for one in twins}
    partners = [one for one in mains if (one.place.cell.label, one.place.seed) in known]
    rows = sorted(_pairs([*partners, *twins]), key=lambda row: _order(row[0], twins))
    return [
        "Twins from random weights, each below the model of the same seed. Both took equally many "
        "steps of the study's recipe, which was not chosen anew for random weights; steps of both "
        "cost the same. The start from the data is extra, which no run writes down and the twin "
        "was not given: half a minute of one core for 80000 patches of 314 components.",
        "",
        *pipes(_HEAD, rows),
        "",
    ]


def _order(label: str, twins: Sequence[Trained]) -> int:
    return [one.place.cell.label for one in twins].index(label)


def _pairs(chosen: Sequence[Trained]) -> Iterator[list[str]]:
    """Two lines for every model and what it starts from."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in chosen:
        groups.setdefault((one.place.cell.label, one.init), []).append(one.columns())
    for (label, init), rows in groups.items():
        for title, prefix in (("start alone", START), ("trained", "")):
            cells = [
                over_seeds(rows, f"{prefix}{name}", digits)
                for name, (_, digits) in _COLUMNS.items()
            ]
            yield [label, init, str(len(rows)), title, *cells]
