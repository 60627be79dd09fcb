"""What sections do with every run: a table of all that have it, the reasons of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd
from matplotlib.axes import Axes

from analysis.pictures.style import note
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

Rows = pd.DataFrame | list[dict] | dict


def by_model(study: Study) -> list[Subject]:
    """All runs, model by model and each by seed."""
    return [subject for label in study.labels for subject in study.of(label)]


def tables(
    subjects: Iterable[Subject], build: Callable[[Subject], Rows]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """The rows of all subjects with ``model`` and ``seed`` in front, and name -> reason of others.

    Args:
        build: a table, rows, or one row of a subject; its InputError is the reason that there is
            none.

    Raises:
        InputError: no subject has rows; with all reasons, or the one that all share.
    """
    found, left_out = [], {}
    for subject in subjects:
        try:
            rows = build(subject)
        except InputError as error:
            left_out[subject.name] = str(error)
            continue
        table = pd.DataFrame([rows] if isinstance(rows, Mapping) else rows)
        if "model" not in table:
            table.insert(0, "model", subject.label)
            table.insert(1, "seed", subject.seed)
        found.append(table)
    if not found:
        shared = len(set(left_out.values())) == 1  # one reason for all wants no names
        words = [why if shared else f"{who}: {why}" for who, why in left_out.items()]
        raise InputError("; ".join(dict.fromkeys(words)) or "there is no run")
    return pd.concat(found, ignore_index=True), left_out


def drawn(
    subjects: Iterable[Subject],
    axes: Iterable[Sequence[Axes]],
    draw: Callable[[Sequence[Axes], Subject], Rows],
) -> pd.DataFrame:
    """:func:`tables` of what ``draw`` returns, each subject in axes of its own.

    Axes of a subject that has nothing to draw are cleared and say why.
    """
    places = iter(axes)

    def attempt(subject: Subject) -> Rows:
        own = next(places)
        try:
            return draw(own, subject)
        except InputError as error:
            for ax in own:
                ax.clear()
                note(ax, f"{subject.name}: {error}")
            raise

    return tables(subjects, attempt)[0]


def without(left_out: Mapping[str, str]) -> str:
    """What to add to a sentence about runs that are not shown; each reason once."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    return "".join(f" Without {'; '.join(names)}: {why}." for why, names in by_reason.items())
