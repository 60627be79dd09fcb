"""What sections do with every run: a table or a panel of all that have it, the others' reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.pictures.panels import PER_ROW, panels
from analysis.pictures.style import note
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

Rows = pd.DataFrame | list[dict] | dict
Run = TypeVar("Run")  # anything with a name
Found = TypeVar("Found")


def by_model(study: Study) -> list[Subject]:
    """All runs, model by model and each by seed."""
    return [subject for label in study.labels for subject in study.of(label)]


def run_or_reason(
    runs: Iterable[Run], attempt: Callable[[Run], Found]
) -> tuple[list[tuple[Run, Found]], dict[str, str]]:
    """What every run gives, and why the others give nothing.

    Args:
        attempt: what to ask of a run; its InputError is the reason that there is nothing.

    Returns:
        (run, what it gives) of those that give something, and name -> reason of the others.
    """
    found, left_out = [], {}
    for run in runs:
        try:
            found.append((run, attempt(run)))
        except InputError as error:
            left_out[run.name] = str(error)
    return found, left_out


def refuse_none(found: Sequence, left_out: Mapping[str, str]) -> None:
    """InputError where nothing was found; with all reasons, or the one that all share."""
    if not found:
        shared = len(set(left_out.values())) == 1  # one reason for all wants no names
        words = [why if shared else f"{who}: {why}" for who, why in left_out.items()]
        raise InputError("; ".join(dict.fromkeys(words)) or "there is no run")


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
    found, left_out = run_or_reason(subjects, build)
    refuse_none(found, left_out)
    return pd.concat([_of_run(*pair) for pair in found], ignore_index=True), left_out


def _of_run(subject: Subject, rows: Rows) -> pd.DataFrame:
    table = pd.DataFrame([rows] if isinstance(rows, Mapping) else rows)
    if "model" in table:
        return table
    table.insert(0, "model", subject.label)
    table.insert(1, "seed", subject.seed)
    return table


def drawn(
    subjects: Sequence[Subject],
    draw: Callable[[Sequence[Axes], Subject], Rows],
    size: tuple[float, float],
    *,
    each: int = 1,
    per_row: int = PER_ROW,
    least: float = 0.0,
) -> tuple[Figure, pd.DataFrame, dict[str, str]]:
    """A figure with panels for every subject: the figure, and :func:`tables` of what was drawn.

    Panels of a subject that has nothing to draw are cleared and say why.

    Args:
        draw: draws a subject into its axes and returns its rows.
        size, per_row, least: of :func:`analysis.pictures.panels.panels`; several panels of one
            subject stand side by side, those of others below.
        each: panels of a subject.
    """
    across = per_row if each == 1 else each
    figure, axes = panels(each * len(subjects), size, per_row=across, least=least)
    places = iter(range(0, len(axes), each))

    def attempt(subject: Subject) -> Rows:
        start = next(places)
        own = axes[start : start + each]
        try:
            return draw(own, subject)
        except InputError as error:
            for ax in own:
                ax.clear()
                note(ax, f"{subject.name}: {error}")
            raise

    return figure, *tables(subjects, attempt)


def without(left_out: Mapping[str, str]) -> str:
    """What to add to a sentence about runs that are not shown; each reason once."""
    by_reason: dict[str, list[str]] = {}
    for name, reason in left_out.items():
        by_reason.setdefault(reason, []).append(name)
    return "".join(f" Without {'; '.join(names)}: {why}." for why, names in by_reason.items())
