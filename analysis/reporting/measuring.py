"""All measurements of a report's runs, runs side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence

import torch
from joblib import Parallel, delayed

from analysis.reporting.elsewhere import Source, study_of
from analysis.reporting.study import Study, Subject
from pyro_vae.errors import InputError
from pyro_vae.ticking import waited_for


def measure(study: Study, source: Source, jobs: int, say: Callable[[str], None]) -> None:
    """Make what is not in the store yet; what cannot be measured is said in its place.

    Args:
        source: of the study. jobs: processes; 1 is this one.
    """
    started = time.monotonic()
    waiting = [n for n, subject in enumerate(study.subjects) if subject.store.missing(subject)]
    if not waiting:
        return
    jobs = min(jobs, len(waiting))
    say(f"measuring {len(waiting)} runs, {jobs} at a time")
    names = _measured(study, source, waiting, jobs)
    for done, name in enumerate(waited_for(names, "measuring the next run"), start=1):
        minutes = (time.monotonic() - started) / 60
        say(f"measured {name} ({done} of {len(waiting)}, {minutes:.1f} min)")


def _measured(study: Study, source: Source, waiting: Sequence[int], jobs: int) -> Iterator[str]:
    """The names of runs as they are done."""
    if jobs == 1:
        return (_measure(study.subjects[number]) for number in waiting)
    threads = torch.get_num_threads() // jobs or 1
    return Parallel(n_jobs=jobs, return_as="generator_unordered")(
        delayed(_measure_elsewhere)(source, number, threads) for number in waiting
    )


def _measure_elsewhere(source: Source, number: int, threads: int) -> str:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _measure(study_of(source).subjects[number])
    finally:
        torch.set_num_threads(before)


def _measure(subject: Subject) -> str:
    for name in subject.store.missing(subject):
        try:
            subject.measured(name)
        except InputError:
            pass  # met again, and said, where the item would stand
        except Exception as error:
            print(f"report: {subject.name}, {name}: {error}", file=sys.stderr, flush=True)
    return subject.name
