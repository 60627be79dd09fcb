"""The sentence under a run's table says what the run shows, and what it does not."""

import dataclasses
import json

import pytest

from pyro_vae.errors import InputError
from pyro_vae.evaluation.statistics import Mean
from pyro_vae.runs.reading import reading
from pyro_vae.runs.summary import FilterCounts, Judged, LevelActivity, RunSummary, Start, Summary

NOISE = FilterCounts(450, 3, 1, 446, noise=100)
LEARNED = FilterCounts(450, 250, 5, 195, 314, 248, noise=100)
ICA = FilterCounts(450, 240, 5, 205)


def estimate(mean):
    return {"elbo": {"mean": mean, "standard_error": 1.0, "monte_carlo_error": 0.1}}


def summary_with(filters=NOISE, z1=(449, None), z2=4, start=None, **settings):
    active, gap = z1
    return Summary(
        test=estimate(-300.0),
        warning=None,
        active_units={
            "z1": LevelActivity(active, active, 450, gap),
            "z2": LevelActivity(z2, z2, 20),
        },
        settings=Judged(10, 50, 5, 0.01, 10, 100),
        run=RunSummary("finished", 1, 100, False, 0.1),
        start=start,
        filters=filters,
        **settings,
    )


DATA = Start("data", (), estimate(-450.5), filters=ICA, elbo_of_data=(-450.0, -451.0))
FEW = dataclasses.replace(DATA, filters=dataclasses.replace(ICA, localised=120))


@pytest.mark.parametrize(
    ("summary", "words"),
    [
        (
            summary_with(),
            "The filters are still noise (3 of 450 filters are localised): train longer, or start "
            'from the data (--init data); z1\'s 449 "active" units of 450 have no clear gap below '
            "them, so that their number is the threshold's; z2 uses 4 of its 20 units.",
        ),
        (
            summary_with(LEARNED, (314, 314), 20, DATA),
            "The filters come from the start (ICA of the training rows), not from training: 240 "
            "localised at the start, 250 after training; training changed the ELBO by +150.5 nats; "
            "z2 uses 20 of its 20 units.",
        ),
        (
            summary_with(LEARNED, (314, 314), 20, FEW, elbo_gain=Mean(150.5, 2.25)),
            "Filters were started by ICA of the training rows and trained: 120 localised at the "
            "start, 250 after training; training changed the ELBO by +150.5 ± 2.2 nats; z2 uses 20 "
            "of its 20 units.",
        ),
        (
            summary_with(LEARNED, (314, 314), 1, Start("random", (), estimate(-900.0))),
            "250 of 450 filters are localised, learned from a random start; z2 uses one of its 20 "
            "units, which is as a rule the contrast of the patch.",
        ),
        (
            summary_with(None, (314, 314), 0, filters_missing="rows of a.npy have no image shape"),
            "Filters are not counted: rows of a.npy have no image shape; z2 is not used.",
        ),
    ],
)
def test_the_sentence(summary, words):
    assert reading(summary) == words


def test_units_that_move_as_one_are_one():
    summary = summary_with()
    units = dict(summary.active_units, z2=LevelActivity(19, 1, 20))
    told = reading(dataclasses.replace(summary, active_units=units))
    assert told.endswith(
        "z2's 19 active units move along one direction, which is as a rule the contrast of the "
        "patch."
    )


def test_units_that_all_have_a_filter_want_no_gap():
    full = dataclasses.replace(LEARNED, units=450, localised=400, above_gap=None)
    full = dataclasses.replace(full, localised_above_gap=None)
    assert "gap" not in reading(summary_with(full, (450, None)))
    assert "gap" in reading(summary_with(full, (449, None)))
    assert "gap" in reading(summary_with(NOISE, (450, None)))


@pytest.mark.parametrize(
    "summary", [summary_with(start=DATA, elbo_gain=Mean(1, 0.1)), summary_with(None)]
)
def test_summaries_survive_the_file(summary):
    content = json.loads(json.dumps(summary.entries()))
    assert Summary.of(content, "summary.json") == dataclasses.replace(
        summary,
        start=None if summary.start is None else dataclasses.replace(DATA, notices=()),
    )
    for name in ("filters", "filters_missing", "start", "elbo_gain"):
        content.pop(name)  # as versions before did
    assert Summary.of(content, "summary.json").filters is None


def test_a_damaged_count_is_refused():
    content = summary_with(LEARNED).entries()
    content["filters"] = {"units": 3, "squares": 1}
    with pytest.raises(InputError, match=r"summary\.json is no summary"):
        Summary.of(content, "summary.json")
