"""What the models generate: samples and reconstructions beside data, textures, families."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from analysis.measures.units import active_units
from analysis.reporting import generated
from analysis.reporting.item import Entry, Item, each_of
from analysis.reporting.run_pictures import reconstructions
from analysis.reporting.sections.arviz_plots import read_posterior
from pyro_vae.errors import InputError
from pyro_vae.evaluation.activity_gap import above_clear_gap

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "What the models generate"


def entries(study: Study) -> list[Entry]:
    """Of one seed of every model: samples, reconstructions, textures along z2, families."""
    pictures = (
        ("samples", _samples),
        ("reconstructions", _reconstructions),
        ("textures", _textures),
        ("families", _families),
    )
    return each_of(study.examples(), pictures)


def _samples(subject: Subject) -> Item:
    return Item(
        f"{subject.name}: patches of the test data beside samples of the model, E[x | z1] at draws "
        "of the prior, on one grey scale, in the units of the rows and, for patches, with "
        "whitening and logarithm undone as far as the kept components hold them.",
        generated.samples(subject.run.model, subject.natural, subject.settings.seed),
    )


def _reconstructions(subject: Subject) -> Item:
    return Item(
        f"{subject.name}: test patches over the means of their posterior-predictive draws, from "
        "the posterior that the run wrote at its end.",
        reconstructions(read_posterior(subject), subject.natural),
    )


def _textures(subject: Subject) -> Item:
    return Item(
        f"{subject.name}: the most active units of z2, each moved over its prior with the others "
        "at their means; at every place nine draws of z1 given z2, decoded. The draws share their "
        "noise along a row: what differs between columns is the unit's doing.",
        _of_z2(subject, partial(generated.textures, seed=subject.settings.seed)),
    )


def _families(subject: Subject) -> Item:
    def draw(model, data, activity) -> Figure:
        return generated.families(
            model, data, activity, above_clear_gap(subject.measured("activity").z1_activity)
        )

    return Item(
        f"{subject.name}: filters of the units of z1 whose standard deviation given z2 changes "
        "most along each of these units, with the factor.",
        _of_z2(subject, draw),
    )


def _of_z2(subject: Subject, draw: Callable[..., Figure]) -> Figure:
    found = subject.measured("activity")
    if "z2_activity" not in found:
        raise InputError("the model has one level: there is no z2 to move along")
    active_units(found, "z2")  # says how far from active the most active one is
    return draw(subject.run.model, subject.natural, np.asarray(found.z2_activity))
