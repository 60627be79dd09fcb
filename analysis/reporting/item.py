"""What the report is made of: entries, each built into a picture or a table with one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import pandas as pd
from matplotlib.figure import Figure

Subject = TypeVar("Subject")
BEYOND = "beyond Vas 2024"  # the source of what goes beyond the study that the report follows


@dataclass(frozen=True)
class Item:
    """A finished picture, a table, or both, and the sentence that says what they show."""

    sentence: str
    figure: Figure | None = None
    table: pd.DataFrame | None = None


@dataclass(frozen=True)
class Entry:
    """An item to be built.

    Attributes:
        name: stem of its files, unique in the report.
        source: the figure or table it follows, such as "Vas 2024, Figure 5.12", or ``BEYOND``.
        build: makes the item; InputError where it cannot be shown, with the reason.
    """

    name: str
    source: str
    build: Callable[[], Item]


def each_of(
    subjects: Iterable[Subject], builds: Iterable[tuple[str, Callable[[Subject], Item]]]
) -> list[Entry]:
    """Items of single runs, beyond the study: all of the first run, then all of the second."""
    builds = tuple(builds)
    return [
        Entry(f"{name}-{place}", BEYOND, partial(build, subject))
        for place, subject in enumerate(subjects, start=1)
        for name, build in builds
    ]
