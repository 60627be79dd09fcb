"""Sections of the page drawn side by side: laying figures out takes most of their time."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from joblib import Parallel, delayed

from analysis.reporting.elsewhere import Source, study_of
from analysis.reporting.page import Page, add_entries
from analysis.reporting.sections import SECTIONS
from analysis.reporting.study import Study
from pyro_vae.errors import InputError

Failure = tuple[str, str]  # the name of an entry, and the traceback of its error


def draw_sections(
    page: Page, study: Study, source: Source, jobs: int
) -> Iterator[tuple[str, list[Failure]]]:
    """Add all sections in reading order; yields the title of each with what failed of it.

    Args:
        source: of the study, which other processes read again.
        jobs: processes; 1 is this one.
    """
    if jobs == 1:
        parts = (_draw(page.part(), study, index) for index in range(len(SECTIONS)))
    else:
        # One section a task: some take no time, and others ten seconds.
        parts = Parallel(n_jobs=jobs, batch_size=1, return_as="generator")(
            delayed(_draw_elsewhere)(page.part(), source, index) for index in range(len(SECTIONS))
        )
    for (title, _), (part, failures) in zip(SECTIONS, parts, strict=True):
        page.section(title)
        page.take(part)
        yield title, failures


def told(error: Exception) -> str:
    """The error with its traceback."""
    return "".join(traceback.format_exception(error))


def _draw(part: Page, study: Study, index: int) -> tuple[Page, list[Failure]]:
    _, entries = SECTIONS[index]
    failed = add_entries(part, entries(study), missing=(InputError,))
    return part, [(entry.name, told(error)) for entry, error in failed]


def _draw_elsewhere(part: Page, source: Source, index: int) -> tuple[Page, list[Failure]]:
    return _draw(part, study_of(source), index)
