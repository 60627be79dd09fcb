"""The prior card: what the prior costs and another would gain, and pictures of what it is."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from analysis.reporting import prior_pictures
from analysis.reporting.item import BEYOND, Entry, Item, each_of
from analysis.reporting.over_runs import by_model, tables, without
from pyro_vae.errors import InputError

if TYPE_CHECKING:
    from analysis.reporting.study import Study, Subject

TITLE = "The prior of the top level"


def entries(study: Study) -> list[Entry]:
    """The card of all runs; of one seed of every model the pictures."""
    pictures = (
        ("sample-draws", _draws),
        ("interpolation", _interpolation),
        ("components", _components),
    )
    card = Entry("prior-card", BEYOND, partial(_card, study))
    return [card, *each_of(study.examples(), pictures)]


def _card(study: Study) -> Item:
    def row(subject: Subject) -> dict:
        found = subject.measured("prior")
        prior = {"prior": subject.run.config.pair.prior}
        return prior | {name: float(value) for name, value in found.items()}

    table, left_out = tables(by_model(study), row)
    told = "; ".join(_told(one) for one in table.itertuples(index=False))
    return Item(
        "Nats per datum on test rows, errors over rows. The rate KL(q(z | x) || p(z)) of all "
        "levels (of the top level, where those below follow images made of x) is the information "
        "of a code about its datum, at most log N, plus the marginal KL of the aggregated "
        "posterior, which alone a better prior could lower. Where the information is near log N "
        "the marginal KL is too large; what a mixture of Normals, fitted to codes of the training "
        "rows with all else held fixed, gains on the test rows is what is there to be had. A small "
        "network that is trained to tell samples from test rows is right as often as is told, "
        "beside how often it tells test rows from others; chance is 0.5: "
        f"{told}." + without(left_out),
        table=pd.DataFrame(table),
    )


def _told(one) -> str:
    words = (
        f"{one.model}, seed {one.seed} ({one.prior}): rate {one.rate:.2f} ± {one.rate_error:.2f} = "
        f"information {one.mutual_information:.2f} (log N = {one.log_num_data:.2f}) + marginal KL "
        f"{one.marginal_kl:.2f}; a mixture of {one.components:.0f} gains {one.gain:.2f} ± "
        f"{one.gain_error:.2f}"
    )
    if not math.isnan(one.of):  # where the prior is a mixture
        effective = f"{one.effective:.1f} ± {one.effective_error:.1f}"
        words += f"; {effective} effective components of {one.of:.0f}"
    if not math.isnan(one.told_apart):  # where there are rows enough
        words += (
            f"; samples are told from test rows with accuracy {one.told_apart:.3f} ± "
            f"{one.told_apart_error:.3f} (test rows from others: {one.null:.3f} ± "
            f"{one.null_error:.3f})"
        )
    return words


def _draws(subject: Subject) -> Item:
    if not subject.natural.pixels.whole and not subject.natural.pixels.drawn:
        raise InputError(
            "pixels are real numbers with independent noise, which has no structure: the means are "
            "among the samples beside data"
        )
    return Item(
        f"{subject.name}: samples as draws, and the means at the same codes.",
        prior_pictures.draws_and_means(subject.run.model, subject.natural, subject.settings.seed),
    )


def _interpolation(subject: Subject) -> Item:
    return Item(
        f"{subject.name}: between the codes E[z | x] of pairs of test images, E[x | z] on the way; "
        "of a flow prior also on lines in its base, where codes on the way are as likely as the "
        "prior has it.",
        prior_pictures.interpolation(
            subject.run.model, subject.run.guide, subject.natural, subject.settings.seed
        ),
    )


def _components(subject: Subject) -> Item:
    rows = subject.natural.test[: subject.settings.test_size]
    if subject.natural.pixels.drawn:
        rows = subject.natural.preprocessing.draw(rows, "test")
    return Item(
        f"{subject.name}: the components of its prior that test codes use most, each with its "
        "share, its pseudo-input (or the image at its location) and images at draws of it.",
        prior_pictures.used_components(
            subject.run.model, subject.run.guide, rows, subject.natural, subject.settings.seed
        ),
    )
